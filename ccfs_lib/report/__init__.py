"""Every table, figure and computed sentence of the book, a module per chapter.

difficulty (1), teacher (2), distillation (3), phase (4), arms (5), strategies (6),
ablation (7 to 9), inside (10), explorer (11), trajectories and order (12), unsaid and
evidence (13), fair and price (14), transfer (15), table1 and ranking (16), worth and
roles (17); forest is on the front page; answers holds the findings of the first four;
they share style, text, gallery, charts and effects. Functions take what the stages or
the results files hold and return tables, figures and sentences.
"""

from ccfs_lib.report import (
    ablation,
    answers,
    arms,
    charts,
    difficulty,
    distillation,
    effects,
    evidence,
    explorer,
    fair,
    forest,
    inside,
    order,
    phase,
    price,
    probe,
    ranking,
    roles,
    sources,
    strategies,
    table1,
    teacher,
    trajectories,
    transfer,
    unsaid,
    worth,
)

# Chapters 2 and 3 call these two modules by the names of SRe2L's stages.
from ccfs_lib.report import distillation as recover
from ccfs_lib.report import teacher as squeeze
from ccfs_lib.report.gallery import samples
from ccfs_lib.report.text import stamp

__all__ = [
    "ablation",
    "answers",
    "arms",
    "charts",
    "difficulty",
    "distillation",
    "effects",
    "evidence",
    "explorer",
    "fair",
    "forest",
    "inside",
    "order",
    "phase",
    "price",
    "probe",
    "ranking",
    "recover",
    "roles",
    "samples",
    "sources",
    "squeeze",
    "stamp",
    "strategies",
    "table1",
    "teacher",
    "trajectories",
    "transfer",
    "unsaid",
    "worth",
]
