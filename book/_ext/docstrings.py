"""Sphinx extension: the library's docstrings and signatures as they are meant.

Docstrings are sentences in which * is a wildcard; reStructuredText would read the one
in ``data/*.csv`` as the start of emphasis, and warn.
"""

import re

ANNOTATED = re.compile(r"~?(\w+\.)*Annotated\[")
TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|.", re.S)  # a string is one


def escape_stars(app, what, name, obj, options, lines):
    """Escape every star outside backticks; the lines are changed in place."""
    lines[:] = [
        re.sub(r"(`+[^`]*`+)|\*", lambda m: m[1] or r"\*", line) for line in lines
    ]


def readable(app, what, name, obj, options, signature, returns):
    """Show annotated types without bounds and help, and defaults that Sphinx parses."""
    while signature and (found := ANNOTATED.search(signature)):
        kind, end = first_argument(signature, found.end())
        signature = signature[: found.start()] + kind + signature[end:]
    return signature and signature.replace("<factory>", "..."), returns


def first_argument(text: str, start: int) -> tuple[str, int]:
    """Read the first of the arguments that begin at `start`, and where all have ended.

    text: Python, with brackets that close.
    """
    depth, comma = 0, None
    for token in TOKEN.finditer(text, start):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}" and (depth := depth - 1) < 0:
            break
        elif token[0] == "," and not depth and comma is None:
            comma = token.start()
    return text[start:comma], token.end()


def setup(app):
    """Run before napoleon (priority 500), whose own output may use stars."""
    app.connect("autodoc-process-docstring", escape_stars, priority=400)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True}
