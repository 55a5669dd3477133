"""The list of all tables and figures: manifest.csv, and the same as a page shows it.

Used by the extension `figures`, whose items these are: ``env.ccfs_figures``, page by
page.
"""

import html
import shlex
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

sys.path.insert(0, str(Path(__file__).parents[1]))
import pages

FOLDER = "_figures"
COLUMNS = ("number", "caption", "page", "notebook", "command", "minutes")
COLUMNS += ("sha256", "library", "files")


def rows(env):
    """Yield the lines of manifest.csv, with their head."""
    yield COLUMNS
    for docname, items in env.ccfs_figures.items():
        provenance = _provenance(docname)
        for item in items:
            values = {"number": item.name, "caption": item.caption, "page": docname}
            values |= {"sha256": item.sha256, "files": " ".join(item.files.values())}
            yield [(values | provenance)[column] for column in COLUMNS]


def _provenance(docname: str) -> dict[str, str]:
    """Return notebook, command, minutes and library of a page."""
    keys = ("notebook", "command", "minutes", "library")
    if not docname.startswith("book/runs/"):
        values = ("", "python book/build.py html", "", pages.library_hash())
        return dict(zip(keys, values, strict=True))
    run, stem = Path(docname).parts[-2:]
    page = next(p for p in pages.pages(run) if p.path.stem == stem)
    notebook, known = f"notebooks/{page.notebook.name}", pages.manifest(run).get(stem)
    given = [f"-p {k} {shlex.quote(str(v))}" for k, v in page.parameters.items()]
    command = " ".join(["papermill --cwd notebooks", notebook, "out.ipynb", *given])
    took = f"{known['seconds'] / 60:.2g}" if known else ""
    values = (notebook, command, took, known["library"] if known else "")
    return dict(zip(keys, values, strict=True))


def links(item, docname: str) -> str:
    """Link to a figures.Item's files, as a page of that name sees them."""
    up = "../" * docname.count("/")
    anchors = (
        f'<a href="{up}{to}" download="{name}" title="{item.name} as {kind}">{kind}</a>'
        for kind, to, name in item.links
    )
    return f'<p class="downloads">{" ".join(anchors)}</p>'


def shown(app, docname: str) -> str:
    """Show the manifest as a page does: pages with their tables and figures."""
    up, parts = "../" * docname.count("/"), []
    for name, items in app.env.ccfs_figures.items():
        provenance, to = _provenance(name), app.builder.get_relative_uri(docname, name)
        title = html.escape(app.env.titles[name].astext())
        where = name.removeprefix("book/").removeprefix("runs/")
        lines = [f'<p class="made"><a href="{to}">{title}</a> <code>{where}</code>']
        facts = [provenance["minutes"] and f"{provenance['minutes']} minutes"]
        facts += [
            provenance["library"]
            and f"library <code>{provenance['library'][:8]}</code>"
        ]
        lines += [f"{', '.join(filter(None, facts))}</p>"]
        lines += [f"<pre>{html.escape(provenance['command'])}</pre><ul>"]
        for item in items:
            text = html.escape(item.caption)
            hashed = f'<code title="{item.sha256}">{item.sha256[:8]}</code>'
            number = f'<a href="{to}#{item.id}">{item.name}</a>'
            lines.append(f"<li>{number} {text} {hashed}{links(item, docname)}</li>")
        parts += [*lines, "</ul>"]
    table = f'<a href="{up}{FOLDER}/manifest.csv" download="manifest.csv">'
    return f"<p>{table}manifest.csv</a></p>" + "\n".join(parts)


class Place(nodes.General, nodes.Element):
    """Stands for the list until all pages are read."""


class FigureList(Directive):
    """``figure-list``: every table and figure of the book, and what it is made of."""

    def run(self):
        """Return a place only: other pages may not have been read yet."""
        return [Place()]
