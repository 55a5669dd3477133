"""The page of the paper's tables and figures, each beside what this book has of it.

The paper's numbers are those of data/paper, ours those of data/results: none is typed.
"""

from pathlib import Path

import beside
import findings
import pandas
from beside import NOT, Item
from pages import ROOT, declared, pages
from paper_figures import figures
from paper_tables import tables

from ccfs_lib import results
from ccfs_lib.claims.ledger import methods
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.experiment.budget import ENOUGH

DIGITS = "on digits only"
SIZE = {"ipc": "IPC {}", "classes": "{} classes", "image_size": "{} px"}


def write_up(root: Path = ROOT) -> str:
    """Write a list of all items, then a section for each (MyST)."""
    try:
        rows = worked(results.load(root / "data" / "results").copy())  # in one block
    except InputError:  # nothing measured yet: the paper stands alone
        rows = pandas.DataFrame(columns=["run", "cell", "dataset", "ipc", "last"])
    items = [*tables(rows), *figures(rows)]
    shown = chapters(root)
    places = {item.name: here(item, shown) for item in items}
    lines = ["| in the paper | what it shows | in this book |", "|:--|:--|:--|"]
    for item in items:
        ours = "; ".join(dict.fromkeys(c.share(item.noun) for c in item.columns))
        if not ours:
            kind = item.kind + other_size(item, shown)
            ours = NOT if places[item.name].startswith(NOT) else kind or DIGITS
        lines.append(f"| [{item.name}](#{item.anchor}) | {item.title} | {ours} |")
    caption = "The paper's tables and figures, and their counterparts in this book."
    parts = [findings.captioned(caption, "tab-paper-items", lines)]
    return "\n".join([*parts, *(section(i, places[i.name], root) for i in items)])


def worked(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Leave out rows of Table 1 with too little work; of the others, name the method.

    Chapter 16 shows all of them, grey. `file` is the cell that a row is filed under.
    """
    if "share" in rows:
        rows = rows[~(rows["share"].astype(float) < ENOUGH)]
    return methods(rows.assign(file=rows["cell"]))


def section(item: Item, place: str, root: Path) -> str:
    """Write an item's heading, what it shows, tables, pages and commands."""
    parts = [f"({item.anchor})=", f"## {item.name}: {item.title}", "", item.shows, ""]
    parts += [item.body] if item.body else []
    parts += [f"**In this book:** {place}.", ""]
    lines = []
    if measured := beside.commands(item.columns, root):
        typed = "# as typed when this was measured; defaults may have changed since"
        lines += [typed, *measured]
    if item.commands:
        lines += ["# the paper's own cells, on a GPU", *item.commands]
    if lines:
        body = "\n".join(lines)
        parts += [f"::::{{dropdown}} Commands\n```bash\n{body}\n```\n::::", ""]
    return "\n".join(parts)


def here(item: Item, shown: list[tuple[str, str, str, str]]) -> str:
    """Name the pages that are an item's counterpart, or say that it is not measured."""
    pages_of = [(link, data) for stem, link, data, _ in shown if stem in item.chapters]
    matching = [link for link, data in pages_of if _same(item, data)]
    others = [link for link, data in pages_of if not _same(item, data)]
    if size := other_size(item, shown):
        return f"{', '.join(matching)}{size}"
    if item.where or matching:
        return "; ".join(filter(None, [item.where, ", ".join(matching)]))
    if item.columns:
        return "the table above"
    return f"{NOT}: the same on other data in {', '.join(others)}" if others else NOT


def _same(item: Item, dataset: str) -> bool:
    return item.dataset in ("", dataset.removesuffix("-jpeg"))


def other_size(item: Item, shown: list[tuple[str, str, str, str]]) -> str:
    """Say of which IPC and part of the data our counterparts are, if not the paper's.

    "" for an item that is not about one size.
    """
    sizes = dict.fromkeys(
        size
        for stem, _, dataset, size in shown
        if stem in item.chapters and _same(item, dataset)
    )
    if not item.size or not sizes or set(sizes) == {item.size}:
        return ""
    return f" (ours: {'; '.join(sizes)})"


def chapters(root: Path) -> list[tuple[str, str, str, str]]:
    """List (notebook, link, data set, size) of all executed chapters, run by run.

    The link is MyST. The size is IPC, and what is smaller than the data set.
    """
    result = {}
    for name, run in declared(root).items():
        given = run["parameters"] or {}
        dataset = given.get("dataset", "digits")
        given = given if "ipc" in given else {"ipc": preset(dataset).ipc, **given}
        size = ", ".join(
            text.format(given[key])
            for key, text in SIZE.items()
            if given.get(key)  # absent: the whole data set
        )
        for page in filter(lambda page: page.path.exists(), pages(name, root)):
            where = page.path.relative_to(root / "book").with_suffix("").as_posix()
            stem = page.notebook.stem
            number = stem.partition("_")[0].lstrip("0")
            link = f"{{doc}}`chapter {number}, {run['title']} <{where}>`"
            # Of a chapter with a page per phase, the first stands for all.
            result.setdefault((name, stem), (stem, link, dataset, size))
    return list(result.values())
