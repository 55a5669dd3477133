"""Sphinx extension: the book's own drawings become part of the page.

An <img> knows neither the theme nor the width of the page. Inside the page a drawing
takes its inks from the style sheet, and one that has a second form for narrow screens,
NAME-narrow.svg beside NAME.svg, shows the one that fits.
"""

import html
from pathlib import Path

from docutils import nodes

FOLDER = "_static/"


def inline(app, doctree, docname):
    """Replace every image of an SVG in book/_static by the SVG itself."""
    for image in list(doctree.findall(nodes.image)):
        uri = image["uri"]
        if not uri.endswith(".svg") or FOLDER not in uri:
            continue
        # Below a figure there is a link to the file, which Sphinx copies if it is used.
        app.builder.images[uri] = app.env.images[uri][1]
        image.replace_self(
            nodes.raw("", drawing(Path(app.srcdir) / uri, image), format="html")
        )


def drawing(file: Path, image: nodes.image) -> str:
    """Write a drawing as HTML: an image with a description, in one form or two."""
    narrow = file.with_stem(f"{file.stem}-narrow")
    forms = {"wide": file, "narrow": narrow} if narrow.exists() else {"": file}
    parts = [
        path.read_text("utf-8").replace(
            "<svg ", f'<svg class="{form}" aria-hidden="true" ', 1
        )
        for form, path in forms.items()
    ]
    alt = html.escape(image.get("alt", ""))
    return f'<div class="drawing" role="img" aria-label="{alt}">{"".join(parts)}</div>'


def setup(app):
    """Connect to the event at which a page is about to be written."""
    app.connect("doctree-resolved", inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
