"""Text computed from results: no measured number in the book is typed by hand.

Writes book/_generated/*.md, which the prose pages include: the summary of every measured
run, the paper's main table, and the cards of the front page.
"""

import math
from pathlib import Path

import nbformat
import pandas

import execute as runs
from ccfs_lib import paper, results
from ccfs_lib.errors import InputError
from ccfs_lib.statistics import Difference, difference, summary

# The cells of a run, in the order of the tables, as a reader calls them.
ARMS = {
    "simple-misclassified": "CCFS: simplest misclassified",
    "random-misclassified": "random misclassified",
    "hard-misclassified": "hardest misclassified",
    "simple-classified": "simplest classified",
    "random-classified": "random classified",
    "hard-classified": "hardest classified",
    "random": "random real images",
    "distilled": "distilled images only",
    "ccfs-hard": "CCFS, hard labels",
    "random-hard": "random real images, hard labels",
}
# Orderings that the paper claims or that its claims need; left should be higher.
ORDERINGS = (
    ("simple-misclassified", "random", "CCFS beats random real images"),
    ("simple-misclassified", "distilled", "CCFS beats distilled images alone"),
    (
        "simple-misclassified",
        "simple-classified",
        "the simplest misclassified images beat the simplest classified ones",
    ),
    (
        "simple-misclassified",
        "random-misclassified",
        "among misclassified images, the simplest beat a random choice",
    ),
    (
        "simple-misclassified",
        "hard-misclassified",
        "among misclassified images, the simplest beat the hardest",
    ),
    (
        "ccfs-hard",
        "random-hard",
        "CCFS beats random real images when both are trained with hard labels",
    ),
)
VERDICTS = {"holds": "yes", "does not hold": "no", "too close to call": "open"}
NOTHING = "Nothing has been measured yet: `data/results` is empty.\n"
Rows = dict[str, pandas.DataFrame]  # arm -> one row per seed


def write(root: Path = runs.ROOT) -> None:
    """Write every generated include of the book."""
    folder = root / "book" / "_generated"
    folder.mkdir(exist_ok=True)
    text = findings(root / "data" / "results", runs.declared(root))
    (folder / "summary.md").write_text(text, "utf-8")
    (folder / "paper.md").write_text(main_table(), "utf-8")
    (folder / "map.md").write_text(cards(root), "utf-8")


def verdict(d: Difference) -> str:
    """The words of VERDICTS for "left is higher", from the interval alone."""
    if math.isnan(d.half) or abs(d.mean) <= d.half:
        return "too close to call"
    return "holds" if d.mean > 0 else "does not hold"


def findings(folder: Path, declared: dict[str, dict]) -> str:
    """The front page's section of every measured run, declared ones first."""
    try:
        table = results.load(folder)
    except InputError:
        return NOTHING
    if table.empty:
        return NOTHING
    told = {runs.experiment(run).run: run for run in declared.values()}
    names = [*(n for n in told if n in set(table.run)), *sorted({*table.run} - {*told})]
    parts = []
    for name in names:
        cells = {arm: rows for arm, rows in table[table.run == name].groupby("cell")}
        title = told.get(name, {}).get("title", name)
        scale = told.get(name, {}).get("scale", "")
        parts.append(f"### {title}\n\n{scale}\n\n{orderings(cells)}\n{arms(name, cells)}")
    return "\n".join(parts)


def orderings(cells: Rows) -> str:
    """What the run says of each ordering: a counting sentence, then a list."""
    lines, words = [], []
    for left, right, claim in ORDERINGS:
        if left not in cells or right not in cells:
            continue
        d = difference(list(cells[left]["last"]), list(cells[right]["last"]))
        words.append(verdict(d))
        badge = f"[{words[-1]}]{{.verdict .{VERDICTS[words[-1]]}}}"
        lines.append(f"- {badge} {_sentence(claim, d)}{_printed(left, right, cells)}")
    if not lines:
        return ""
    counts = [words.count(word) for word in VERDICTS]
    counted = (
        f"Of the {len(words)} orderings tested here, {counts[0]} hold, {counts[1]} "
        f"fail and {counts[2]} are too close to call."
    )
    return "\n".join([counted, "", *lines, ""])


def _sentence(claim: str, d: Difference) -> str:
    seeds = f"{d.n_a} seeds" if d.n_a == d.n_b else f"{d.n_a} and {d.n_b} seeds"
    interval = f"95 % interval [{signed(d.mean - d.half)}, {signed(d.mean + d.half)}]"
    if math.isnan(d.half):
        interval = "no interval from one seed"
    start = claim[0].upper() + claim[1:]
    return f"{start}: {signed(d.mean)} points, {interval}, {seeds}."


def _printed(left: str, right: str, cells: Rows) -> str:
    """The paper's own difference, where it has the same data set and IPC."""
    row = cells[left].iloc[0]
    where = {"dataset": str(row.get("dataset")).removesuffix("-jpeg")}
    where["ipc"] = row.get("ipc")
    try:
        gap = _paper_value(left, **where) - _paper_value(right, **where)
    except (InputError, KeyError):
        return ""
    return f" The paper, with ResNet-18: {signed(gap)}."


def _paper_value(arm: str, dataset: str, ipc: int) -> float:
    """What the paper prints for an arm; KeyError where it has no such arm."""
    if arm in ("distilled", "random-hard"):
        method = {"distilled": "cda", "random-hard": "random"}[arm]
        return paper.value(1, method=method, dataset=dataset, ipc=ipc)
    fine, coarse = arm.split("-")
    number = {"cifar10": 11, "cifar100": 12, "tiny-imagenet": 13}[dataset]
    return paper.value(number, coarse=coarse, fine=fine, dataset=dataset, ipc=ipc)


def arms(name: str, cells: Rows) -> str:
    """Table of a run: last and best test accuracy of every arm, mean and t interval."""
    order = [arm for arm in ARMS if arm in cells] + sorted(set(cells) - set(ARMS))
    lines = []
    for arm in order:
        rows = cells[arm]
        last, best = (plus_minus(rows[column]) for column in ("last", "best"))
        lines.append(f"| {ARMS.get(arm, arm)} | {last} | {best} | {len(rows)} |")
    caption = (
        f"Test accuracy in percent, {name}: mean over seeds ± half the 95 % t interval. "
        "Last: after the last epoch. Best: the best of the last fifth of the epochs, "
        "chosen on the test split, which is the paper's habit."
    )
    head = "| training set | last | best | seeds |\n|:--|--:|--:|--:|"
    body = "\n".join([head, *lines])
    return f":::{{table}} {caption}\n:name: tab-summary-{name}\n\n{body}\n:::\n"


def main_table() -> str:
    """The paper's Table 1, the rows that this book speaks of, as MyST."""
    table = paper.table(1)
    methods = {
        "random": "random real images",
        "mtt": "MTT",
        "cda": "CDA",
        "selmatch": "SelMatch",
        "cudd": "CUDD",
        "ccfs": "CCFS",
    }
    cells = table[table.method == "ccfs"][["dataset", "ipc"]].to_records(index=False)
    label = {"cifar10": "C10", "cifar100": "C100", "tiny-imagenet": "Tiny"}
    head = " | ".join(f"{label[dataset]} {ipc}" for dataset, ipc in cells)
    lines = [f"| method | {head} |", "|:--|" + "--:|" * len(cells)]
    for method, told in methods.items():
        rows = table[table.method == method].set_index(["dataset", "ipc"]).accuracy
        values = [f"{rows[cell]:.1f}" if cell in rows else "–" for cell in map(tuple, cells)]
        lines.append(f"| {told} | {' | '.join(values)} |")
    body = "\n".join(lines)
    caption = (
        "What the paper prints in its Table 1: test accuracy in percent of a ResNet-18, "
        "by data set (CIFAR-10, CIFAR-100, Tiny-ImageNet) and images per class."
    )
    return f":::{{table}} {caption}\n:name: tab-paper-main\n\n{body}\n:::\n"


def cards(root: Path) -> str:
    """A grid of cards per run that has pages: title, and the question it opens with."""
    parts = []
    for name, run in runs.declared(root).items():
        pages = [page for page in runs.pages(name, root) if page.path.exists()]
        if not pages:
            continue
        grid = "\n".join(_card(page, root) for page in pages)
        parts.append(f"**{run['title']}**\n\n::::{{grid}} 1 2 2 3\n:gutter: 3\n{grid}\n::::\n")
    return "\n".join(parts) or "No notebook has been executed yet.\n"


def _card(page: runs.Page, root: Path) -> str:
    first = next(
        (c.source for c in nbformat.read(page.path, 4).cells if c.cell_type == "markdown"),
        "",
    )
    title, _, rest = first.partition("\n")
    title = title.lstrip("# ").strip() or page.path.stem
    if "phase" in page.parameters:
        title = f"Phase {page.parameters['phase']}"
    question = rest.strip().partition("\n\n")[0].replace("\n", " ")
    link = "/" + page.path.relative_to(root).with_suffix("").as_posix()
    return (
        f":::{{grid-item-card}} {title}\n:link: {link}\n:link-type: doc\n\n"
        f"{question}\n:::"
    )


def plus_minus(values) -> str:
    """Mean ± half width, in points; one seed has no width."""
    s = summary(list(values))
    return f"{s.mean:.2f}" if math.isnan(s.half) else f"{s.mean:.2f} ± {s.half:.2f}"


def signed(value: float) -> str:
    """+1.2 or −1.2, with a true minus sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
