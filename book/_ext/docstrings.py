"""Sphinx extension: docstrings of ccfs_lib are sentences, in which * is a wildcard.

reStructuredText would read ``data/*.csv`` as the start of emphasis and warn.
"""

import re


def escape_stars(app, what, name, obj, options, lines):
    """Escape every star outside backticks; the lines are changed in place."""
    lines[:] = [
        re.sub(r"(`+[^`]*`+)|\*", lambda m: m[1] or r"\*", line) for line in lines
    ]


def setup(app):
    """Run before napoleon (priority 500), whose own output may use stars."""
    app.connect("autodoc-process-docstring", escape_stars, priority=400)
    return {"parallel_read_safe": True}
