"""Sphinx extension: what stands under every table and figure, and the list of them all.

Sphinx numbers whatever has a caption. Here the caption of a notebook's output also
tells the run that it is of, and below it come links: a table as CSV; a figure as PNG,
SVG and the numbers drawn, as the notebook holds them (`ccfs_lib.report.style.Figure`).
The files lie in _figures beside the pages, with manifest.csv, which says of each what
it was made of; the directive ``figure-list`` shows the same on a page. Every figure has
a second rendering there, for dark pages (`dark`).
"""

import csv
import hashlib
import html
import io
import re
import shutil
import sys
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import dark
import listing
import nbformat
import svg
from docutils import nodes
from PIL import Image

from ccfs_lib.report.forest import DATASETS, network

FOLDER = listing.FOLDER
# What `ccfs_lib.report.stamp` says at the top of every page: data and settings in a
# line, and below it all settings as a table.
STAMP = re.compile(r"^\*\*(.+?)\*\*, (.+?); scale: ")
SETTING = r"<code>{}</code></td><td>(.+?)</td>"
GENERATED = "_generated/"  # figures that `generate` draws
# What a caption tells of the line; what is no setting of the line is left out.
TOLD = {
    "data": r"only the first|shrunk",
    "ipc": r"IPC",
    "network": r"network ",
    "epochs": r"\d+ epochs$",
    "seeds": r"\d+\sseeds?$",
}
# The paper's numbers, and tables of all runs, are not of the page's run. Some captions
# name several values of a setting, or one seed of the run's.
FOREIGN = re.compile(r"Table \d+ of the paper|All runs of this book")
OWN = {
    "ipc": re.compile("(over|every) IPC"),
    "network": re.compile("(every|own) network"),
    "seeds": re.compile("first seed|(?<!of )one seed"),
}


@dataclass
class Item:
    """A numbered table or figure of a page, and what can be had of it."""

    id: str
    name: str  # Table 3, Fig. 12
    caption: str
    sha256: str  # of a table's CSV, of a figure's own file
    files: dict[str, str] = field(default_factory=dict)  # CSV -> address in the book

    @property
    def links(self) -> list[tuple[str, str, str]]:
        """(kind, address, name of the file when it is saved)."""
        stem = self.name.lower().replace(". ", "-").replace(" ", "-")
        return [(k, to, f"{stem}.{k.lower()}") for k, to in self.files.items()]


def tell(app, doctree):
    """Add data, learner and seeds to the captions of a notebook's outputs."""
    outputs = _outputs(app.env.doc2path(app.env.docname))
    texts = ("".join(data.get("text/markdown", "")) for data in outputs)
    stamp = next(filter(STAMP.match, texts), None)
    if stamp is None:
        return
    run = facts(stamp, app.env.docname.rpartition("/")[2])
    for caption in _captions(doctree):
        if not FOREIGN.match(text := caption.astext()):
            named = {key for key, own in OWN.items() if own.search(text)}
            words = [w for key, some in run.items() if key not in named for w in some]
            caption += nodes.inline("", f" ({', '.join(words)})", classes=["told"])


def facts(stamp: str, page: str) -> dict[str, list[str]]:
    """Read from the stamp of a page what its captions tell of the run, by TOLD's keys.

    page: the notebook's name; no network evaluates in the first three chapters.
    """
    data, line = STAMP.match(stamp).groups()
    found = {
        key: [part for part in line.split(", ") if re.match(pattern, part)]
        for key, pattern in TOLD.items()
    }
    found["data"].insert(0, DATASETS.get(data, data))
    found["network"] = [network(n.removeprefix("network ")) for n in found["network"]]
    if page.startswith("01_data"):  # scores come from trainings of their own
        return found | {"network": [], "epochs": [], "seeds": ["one score"]}
    if page.startswith(("02_teacher", "03_distillation")):
        name, epochs = (
            re.search(SETTING.format(key), stamp)[1]
            for key in ("teacher_network", "teacher.epochs")
        )
        found["network"] = [f"teacher {network(name)}"]
        found["epochs"] = [f"{epochs} epochs"]
    found["seeds"] = found["seeds"] or ["a single run"]
    return found


def _captions(doctree) -> list:
    """List titles of tables and captions of figures, in the order of the page."""
    return [
        node
        for node in doctree.findall()
        if (isinstance(node, nodes.title) and isinstance(node.parent, nodes.table))
        or (isinstance(node, nodes.caption) and isinstance(node.parent, nodes.figure))
    ]


def _outputs(path: str) -> list[dict]:
    """List the mime bundles of a page's outputs; none of a page that is no notebook."""
    if not str(path).endswith(".ipynb"):
        return []
    cells = nbformat.read(path, 4).cells
    return [o.data for c in cells for o in c.get("outputs", []) if "data" in o]


def collect(app, env):
    """Collect number, files and hash of all captioned, once all pages are read."""
    folder = Path(app.outdir) / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env.ccfs_figures = {}
    for docname in _order(env):
        outputs = _outputs(env.doc2path(docname))
        drawings = {_name(data): data for data in outputs if "image/png" in data}
        for caption in _captions(env.get_doctree(docname)):
            if item := _item(env, docname, caption.parent, drawings, folder):
                env.ccfs_figures.setdefault(docname, []).append(item)
    (folder / "manifest.csv").write_bytes(_csv(listing.rows(env)))


def darken(app, doctree, docname):
    """Put a dark rendering beside every picture of a page's outputs."""
    drawings = {_name(data): data for data in _outputs(app.env.doc2path(docname))}
    for image in list(doctree.findall(nodes.image)):
        data = drawings.get(Path(image["uri"]).stem)
        if data is not None or GENERATED in image["uri"]:
            # Of photographs there is no drawing: they would be their pixels again.
            photographs = data is not None and "image/svg+xml" not in data
            _add_dark(app, image, docname, photographs)


def _add_dark(app, image, docname: str, photographs: bool) -> None:
    source = Path(app.srcdir) / image["uri"]
    file = Path(app.outdir) / FOLDER / f"{source.stem}-dark.png"
    if not file.exists():  # a picture may be on several pages
        with Image.open(source) as picture:
            dark.rendering(picture, photographs).save(file, optimize=True)
    up = "../" * docname.count("/")
    to, alt = f"{up}{FOLDER}/{file.name}", html.escape(image.get("alt", ""))
    with Image.open(file) as picture:
        width, height = picture.size
    wanted = str(image.get("width", "")).removesuffix("px")  # as the light one
    wanted = int(wanted) if wanted.isdecimal() else width
    # With its height the page keeps the place of a picture that is not loaded yet.
    size = f'width="{wanted}" height="{round(height * wanted / width)}"'
    # The theme's class dark-light: "do not dim me". Its only-dark would hide captions.
    tag = (
        f'<a class="for-dark" href="{to}"><img class="dark-light" alt="{alt}" '
        f'src="{to}" {size} loading="lazy" /></a>'
    )
    image["classes"].append("for-light")
    place = nodes.raw("", tag, format="html")
    image.parent.insert(image.parent.index(image) + 1, place)


def _name(data: dict) -> str:
    """Return the name that MyST-NB gives an output's picture: the hash of it."""
    return hashlib.sha256(b64decode(data.get("image/png", ""))).hexdigest()


def _order(env) -> list[str]:
    """List all pages, in the order in which they are read."""
    order = [env.config.root_doc]
    for docname in order:  # grows: a page's children come right after it
        at = order.index(docname) + 1
        order[at:at] = env.toctree_includes.get(docname, [])
    return order


def _item(env, docname: str, node, drawings: dict, folder: Path) -> Item | None:
    kind = "table" if isinstance(node, nodes.table) else "figure"
    numbers = env.toc_fignumbers.get(docname, {}).get(kind, {})
    identity = next((i for i in node["ids"] if i in numbers), None)
    if identity is None:
        return None
    name = env.config.numfig_format[kind] % ".".join(map(str, numbers[identity]))
    caption = next(node.findall(nodes.title if kind == "table" else nodes.caption))
    item = Item(identity, name, caption.astext(), "")
    if kind == "table":
        _keep(item, "CSV", _csv(_cells(node)), folder)
        return item
    uris = [image["uri"] for image in node.findall(nodes.image)]
    if not uris:  # a phase that picks nothing draws nothing
        return None
    # MyST-NB names a picture by its hash, in a folder of its own.
    data = next((drawings[s] for u in uris if (s := Path(u).stem) in drawings), {})
    shown = next((u for u in uris if Path(u).stem in drawings), uris[0])
    item.sha256 = hashlib.sha256((Path(env.srcdir) / shown).read_bytes()).hexdigest()
    item.files[Path(shown).suffix[1:].upper()] = f"_images/{env.images[shown][1]}"
    beside = (Path(env.srcdir) / shown).with_suffix(".svg")
    if GENERATED in shown and beside.exists():
        data = {"image/svg+xml": beside.read_text("utf-8")}
    if drawing := svg.unpack(data.get("image/svg+xml", "")):
        numbers = re.search("<metadata>(.*?)</metadata>", drawing, re.S)
        if not drawing.startswith("<svg>"):  # an older page has the numbers alone
            _keep(item, "SVG", drawing.encode(), folder)
        _keep(item, "CSV", html.unescape(numbers[1]).encode(), folder)
    return item


def _cells(table) -> list[list[str]]:
    rows = table.findall(nodes.row)
    return [[_text(entry) for entry in row.findall(nodes.entry)] for row in rows]


def _text(entry) -> str:
    """Return what a cell says, without the tags that colour it."""
    return re.sub(r"</?span[^>]*>", "", entry.astext())


def _csv(rows) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


def _keep(item: Item, kind: str, content: bytes, folder: Path) -> None:
    item.sha256 = item.sha256 or hashlib.sha256(content).hexdigest()
    item.files[kind] = kind  # its link knows the file's name
    name = next(name for k, _, name in item.links if k == kind)
    item.files[kind] = f"{FOLDER}/{name}"
    (folder / name).write_bytes(content)


def link(app, doctree, docname):
    """Put the links below every table and figure, and the list where it is wanted."""
    items = {item.id: item for item in app.env.ccfs_figures.get(docname, [])}
    for caption in _captions(doctree):
        node = caption.parent
        item = next((items[i] for i in node["ids"] if i in items), None)
        if item is not None:
            links = nodes.raw("", listing.links(item, docname), format="html")
            node.parent.insert(node.parent.index(node) + 1, links)
    for place in list(doctree.findall(listing.Place)):
        place.replace_self(nodes.raw("", listing.shown(app, docname), format="html"))


def setup(app):
    """Connect to the events; the numbers are known only when all pages are read."""
    app.add_node(listing.Place)
    app.add_directive("figure-list", listing.FigureList)
    app.connect("doctree-read", tell)
    app.connect("env-check-consistency", collect)
    app.connect("doctree-resolved", link)
    app.connect("doctree-resolved", darken)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
