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
    """The lines of manifest.csv, with their head."""
    yield COLUMNS
    for docname, items in env.ccfs_figures.items():
        made = _made(docname)
        for item in items:
            told = {"number": item.name, "caption": item.caption, "page": docname}
            told |= {"sha256": item.sha256, "files": " ".join(item.files.values())}
            yield [(told | made)[column] for column in COLUMNS]


def _made(docname: str) -> dict[str, str]:
    """Notebook, command, minutes and library of a page."""
    keys = ("notebook", "command", "minutes", "library")
    if not docname.startswith("book/runs/"):
        told = ("", "python book/build.py html", "", pages.library_hash())
        return dict(zip(keys, told, strict=True))
    run, stem = Path(docname).parts[-2:]
    page = next(p for p in pages.pages(run) if p.path.stem == stem)
    notebook, known = f"notebooks/{page.notebook.name}", pages.manifest(run).get(stem)
    given = [f"-p {k} {shlex.quote(str(v))}" for k, v in page.parameters.items()]
    command = " ".join(["papermill --cwd notebooks", notebook, "out.ipynb", *given])
    took = f"{known['seconds'] / 60:.2g}" if known else ""
    told = (notebook, command, took, known["library"] if known else "")
    return dict(zip(keys, told, strict=True))


def links(item, docname: str) -> str:
    """The links to a figures.Item's files, as a page of that name sees them."""
    up = "../" * docname.count("/")
    found = (
        f'<a href="{up}{to}" download="{name}" title="{item.name} as {kind}">{kind}</a>'
        for kind, to, name in item.links
    )
    return f'<p class="downloads">{" ".join(found)}</p>'


def shown(app, docname: str) -> str:
    """The manifest as a page shows it: pages with their tables and figures."""
    up, parts = "../" * docname.count("/"), []
    for name, items in app.env.ccfs_figures.items():
        made, to = _made(name), app.builder.get_relative_uri(docname, name)
        title = html.escape(app.env.titles[name].astext())
        where = name.removeprefix("book/").removeprefix("runs/")
        lines = [f'<p class="made"><a href="{to}">{title}</a> <code>{where}</code>']
        told = [made["minutes"] and f"{made['minutes']} minutes"]
        told += [made["library"] and f"library <code>{made['library'][:8]}</code>"]
        lines += [f"{', '.join(filter(None, told))}</p>"]
        lines += [f"<pre>{html.escape(made['command'])}</pre><ul>"]
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
        """A place only: other pages may not have been read yet."""
        return [Place()]
