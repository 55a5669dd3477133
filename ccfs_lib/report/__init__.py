"""Every table, figure and computed sentence of the book, a module per chapter.

difficulty (1), squeeze (2), recover (3), phase (4), arms (5), strategies (6); they
share style, text, gallery and charts. Functions take what the stages or the results
files hold and return something that a notebook shows; nothing is trained here that the
stages do not train.
"""

from ccfs_lib.report import arms, difficulty, phase, recover, squeeze, strategies
from ccfs_lib.report.gallery import samples
from ccfs_lib.report.text import Html, Text, finding, stamp, table, verdict

__all__ = [
    "Html",
    "Text",
    "arms",
    "difficulty",
    "finding",
    "phase",
    "recover",
    "samples",
    "squeeze",
    "stamp",
    "strategies",
    "table",
    "verdict",
]
