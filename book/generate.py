"""Text computed when the book is built: no measured number is typed by hand.

Writes book/_generated/*.md, which the prose pages include.
"""

import ast
import re
from pathlib import Path

import cite
import findings
import front
import items
import nbformat
import planned
import verdicts
from beside import DATASETS
from pages import ROOT, Page, declared, experiment, manifest, pages

import ccfs_lib
from ccfs_lib import paper
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import SCALES, preset, section3

PACKAGE = Path(ccfs_lib.__file__).parent
# Hard-label methods first, then those that learn from a teacher; see book/method.md.
METHODS = {
    "random": "random",
    "mtt": "MTT",
    "selmatch": "SelMatch",
    "cda": "CDA",
    "cudd": "CUDD",
    "ccfs": "CCFS",
}
NONE = "\N{EN DASH}"
# One of each kind: too large, too small, unknown, misspelt.
MISTAKES = ({"ipc": 200}, {"alpha": 0.01}, {"network": "resnet19"}, {"scale": "huge"})


def write(root: Path = ROOT) -> None:
    """Write every include of the book into book/_generated."""
    folder = root / "book" / "_generated"
    folder.mkdir(exist_ok=True)
    # Results are filed under what was run; runs.yaml has the names that readers see.
    runs = {filed(name, root): run for name, run in declared(root).items()}
    texts = {
        "abstract": front.abstract(root / "data" / "results"),
        "forest": front.figure(root / "data" / "results", folder),
        "averages": front.averages(root / "data" / "results"),
        "acting": front.acting(root / "data" / "results"),
        "steps": front.others(root / "data" / "results", folder),
        "short": verdicts.short(root / "data" / "results"),
        "summary": findings.write_up(
            root / "data" / "results", runs, root / "data" / "results-own"
        ),
        "claims": verdicts.claims(root / "data" / "results"),
        "paper": main_table(),
        "items": items.write_up(root),
        "planned": planned.write_up(root),
        "cite": cite.box(root),
        "map": cards(root),
        "presets": presets(),
        "costs": costs(root),
        "mistakes": mistakes(),
    } | {f"library_{name}": text for name, text in library().items()}
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, "utf-8")


def filed(name: str, root: Path) -> str:
    """Return the name under which a declared run's results are filed."""
    run = declared(root)[name]
    if run.get("notebooks") == ["12_order"]:  # another kind of run: SelMatch's
        return section3.from_notebook(run["parameters"]).run
    return experiment(name, root).run


def main_table() -> str:
    """Write the paper's Table 1, for the methods that this book speaks of."""
    table = paper.table(1).set_index(["dataset", "ipc", "method"]).accuracy
    head = " | ".join(METHODS.values())
    lines = [f"| data set, IPC | {head} |", "|:--|" + "--:|" * len(METHODS)]
    for dataset, ipc in dict.fromkeys(key[:2] for key in table.index):
        cells = [table.get((dataset, ipc, method)) for method in METHODS]
        if cells[-1] is not None:  # the full data sets have a row, but no CCFS
            values = [NONE if cell is None else f"{cell:.1f}" for cell in cells]
            lines.append(f"| {DATASETS[dataset]}, {ipc} | {' | '.join(values)} |")
    caption = "From the paper's Table 1: test accuracy in percent of a ResNet-18."
    return findings.captioned(caption, "tab-paper-main", lines)


def cards(root: Path) -> str:
    """Lay out a grid of cards for each run that has pages: title, opening question."""
    parts = []
    for name, run in declared(root).items():
        shown = [page for page in pages(name, root) if page.path.exists()]
        if shown:
            grid = "\n".join(_card(page, root) for page in shown)
            grid = f"::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{grid}\n::::\n"
            parts.append(f"## {run['title']}\n\n{grid}")
    return "\n".join(parts) or "No notebook has been executed yet.\n"


def _card(page: Page, root: Path) -> str:
    """Write a page's card: its title and the question that it opens with."""
    cells = nbformat.read(page.path, 4).cells
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    title, _, rest = text.partition("\n")
    title = title.lstrip("# ").strip()
    if "phase" in page.parameters:
        title = f"Phase {page.parameters['phase']}"
    title = f"{int(page.path.stem[:2])}. {title}"
    question, mark, _ = rest.strip().partition("\n\n")[0].partition("?")
    link = page.path.relative_to(root / "book").with_suffix("").as_posix()
    option = f":link: {link}\n:link-type: doc"
    return f":::{{grid-item-card}} {title}\n{option}\n\n{question}{mark}\n:::"


def presets() -> str:
    """Tabulate every setting of the presets, side by side."""
    scales = {scale: dict(preset("cifar10", scale).table()) for scale in SCALES[1:]}
    scales = {SCALES[0]: dict(preset().table()), **scales}  # digits know no cifar10
    lines = [f"| parameter | {' | '.join(scales)} |", "|:--|" + ":--|" * len(scales)]
    for name in scales[SCALES[0]]:
        values = [table[name] or NONE for table in scales.values()]
        lines.append(f"| `{name}` | {' | '.join(values)} |")
    caption = "All settings of the presets (the latter two: as for cifar10)."
    return findings.captioned(caption, "tab-presets", lines)


def library() -> dict[str, str]:
    """Write one section per module: package -> text, "modules" of those in none.

    In the reading order of `ccfs_lib`'s docstring. Not of the command line: ``ccfs
    --help`` tells it better.
    """
    options = "   :members:\n   :exclude-members: set\n"  # matplotlib gives figures one
    section = "## {0}\n\n```{{eval-rst}}\n.. automodule:: ccfs_lib.{0}\n{1}```\n"
    pages: dict[str, str] = {}
    for name in modules():
        package = name.partition(".")[0] if "." in name else "modules"
        if name != "cli" and package != "commands":
            pages[package] = pages.get(package, "") + section.format(name, options)
    return pages


def modules(folder: Path = PACKAGE) -> list[str]:
    """List a package's modules, dotted, in the order in which its docstring has them.

    What it does not name comes last.
    """
    source = ast.parse((folder / "__init__.py").read_text("utf-8"))
    words, result = re.findall(r"\w+", ast.get_docstring(source) or ""), []
    names = [p.stem for p in folder.glob("[!_]*.py")]
    names += [p.parent.name for p in folder.glob("*/__init__.py")]
    for name in sorted(names, key=lambda n: [*words, n].index(n)):
        inner = folder / name
        result += [f"{name}.{m}" for m in modules(inner)] if inner.is_dir() else [name]
    return result


def costs(root: Path) -> str:
    """Tabulate the seconds that each page of each run took when it was executed."""
    lines = ["| page | seconds |", "|:--|--:|"]
    for name in declared(root):
        for stem, page in manifest(name, root).items():
            lines.append(f"| {name}/{stem} | {page['seconds']:.0f} |")
    if len(lines) == 2:
        return "No page has been executed yet.\n"
    caption = "Seconds to execute each page; stages in the cache were read."
    return findings.captioned(caption, "tab-costs", lines)


def mistakes() -> str:
    """Quote what the library answers to a few wrong parameters, word for word."""
    lines = []
    for wrong in MISTAKES:
        try:
            preset(**wrong)
        except InputError as error:
            settings = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
            lines.append(f"`{settings}`\n: {error}\n")
    return "\n".join(lines)
