"""Sphinx extension: the library's docstrings and signatures as they are meant.

Docstrings are sentences in which * is a wildcard; reStructuredText would read the one
in ``data/*.csv`` as the start of emphasis, and warn.
"""

import re

BOUNDS = re.compile(r"~?typing\.Annotated\[(\w+), FieldInfo\(.*?metadata=\[.*?\]\)\]")


def escape_stars(app, what, name, obj, options, lines):
    """Escape every star outside backticks; the lines are changed in place."""
    lines[:] = [
        re.sub(r"(`+[^`]*`+)|\*", lambda m: m[1] or r"\*", line) for line in lines
    ]


def readable(app, what, name, obj, options, signature, returns):
    """Show bounded numbers as their type, and defaults that Sphinx can parse."""
    if signature:
        signature = BOUNDS.sub(r"\1", signature).replace("<factory>", "...")
    return signature, returns


def setup(app):
    """Run before napoleon (priority 500), whose own output may use stars."""
    app.connect("autodoc-process-docstring", escape_stars, priority=400)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True}
