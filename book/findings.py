"""What the measured runs say, in words and tables computed from their rows."""

import math
from pathlib import Path

import pandas

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
CCFS = "simple-misclassified"
# Orderings that the paper claims or that its claims need; left should be higher.
ORDERINGS = (
    (CCFS, "random", "CCFS beats random real images with the same teacher"),
    (CCFS, "distilled", "CCFS beats distilled images alone"),
    (
        CCFS,
        "simple-classified",
        "The simplest misclassified beat the simplest classified",
    ),
    (
        CCFS,
        "random-misclassified",
        "The simplest misclassified beat a random choice of them",
    ),
    (CCFS, "hard-misclassified", "The simplest misclassified beat the hardest"),
    ("ccfs-hard", "random-hard", "With hard labels, CCFS beats random real images"),
)
VERDICTS = {"holds": "yes", "does not hold": "no", "too close to call": "open"}
NOTHING = "Nothing has been measured yet: `data/results` holds no results.\n"
Cells = dict[str, pandas.DataFrame]  # arm -> one row per seed


def write_up(folder: Path, told: dict[str, dict]) -> str:
    """MyST text: a section per measured run, those of book/runs.yaml first.

    folder: data/results. told: title and scale, by the name under which results are
    filed. Where there are no results, the text says so.
    """
    try:
        table = results.load(folder)
    except InputError:
        return NOTHING
    measured = set(table.run)
    names = [n for n in told if n in measured] + sorted(measured - set(told))
    parts = []
    for name in names:
        cells = dict(list(table[table.run == name].groupby("cell")))
        title, scale = (told.get(name, {}).get(k, "") for k in ("title", "scale"))
        parts += [f"### {title or name}", scale, orderings(cells), arms(name, cells)]
    return "\n\n".join(part for part in parts if part) + "\n" if parts else NOTHING


def verdict(d: Difference) -> str:
    """The words of VERDICTS for "left is higher", from the interval alone."""
    if math.isnan(d.half) or abs(d.mean) <= d.half:
        return "too close to call"
    return "holds" if d.mean > 0 else "does not hold"


def orderings(cells: Cells) -> str:
    """What a run says of each ordering: a counting sentence, then a list."""
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
    yes, no, unclear = (words.count(word) for word in VERDICTS)
    counted = f"Orderings tested: {len(words)}. Hold: {yes}. Do not hold: {no}."
    return "\n".join([f"{counted} Too close to call: {unclear}.", "", *lines])


def _sentence(claim: str, d: Difference) -> str:
    seeds = f"{d.n_a} seeds" if d.n_a == d.n_b else f"{d.n_a} against {d.n_b} seeds"
    ends = f"[{signed(d.mean - d.half)}, {signed(d.mean + d.half)}]"
    interval = f"95\N{NO-BREAK SPACE}% interval {ends}"
    if math.isnan(d.half):
        interval = "no interval from a single seed"
    return f"**{claim}**: {signed(d.mean)} points, {interval}, {seeds}."


def _printed(left: str, right: str, cells: Cells) -> str:
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
    if arm == "distilled":
        return paper.value(1, method="cda", dataset=dataset, ipc=ipc)
    fine, coarse = {a: a.split("-") for a in ARMS if a.endswith("classified")}[arm]
    number = {"cifar10": 11, "cifar100": 12, "tiny-imagenet": 13}[dataset]
    return paper.value(number, coarse=coarse, fine=fine, dataset=dataset, ipc=ipc)


def arms(name: str, cells: Cells) -> str:
    """Table of a run: last and best test accuracy of every arm, mean and t interval."""
    lines = ["| training set | last | best | seeds |", "|:--|--:|--:|--:|"]
    for arm in [a for a in ARMS if a in cells] + sorted(set(cells) - set(ARMS)):
        last, best = (plus_minus(cells[arm][column]) for column in ("last", "best"))
        lines.append(f"| {ARMS.get(arm, arm)} | {last} | {best} | {len(cells[arm])} |")
    caption = (
        f"Test accuracy in percent, {name}: mean over seeds ± half of the "
        "95\N{NO-BREAK SPACE}% t interval. Last: after the last epoch. Best: the "
        "highest near the end, chosen on the test split, as the paper does."
    )
    return captioned(caption, f"tab-summary-{name}", lines)


def captioned(caption: str, label: str, lines: list[str]) -> str:
    """A numbered table, as MyST."""
    body = "\n".join(lines)
    return f":::{{table}} {caption}\n:name: {label}\n\n{body}\n:::\n"


def plus_minus(values) -> str:
    """Mean ± half width, in points; one seed has no width."""
    s = summary(list(values))
    return f"{s.mean:.1f}" if math.isnan(s.half) else f"{s.mean:.1f} ± {s.half:.1f}"


def signed(value: float) -> str:
    """Points with a sign, and a true minus."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
