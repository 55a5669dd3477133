"""What the measured runs say, in words and tables computed from their rows.

Verdicts, arm names and differences are the library's (`ccfs_lib.compare`), the same as
in the chapters: the front page cannot say otherwise than the page it sums up.
"""

import math
from pathlib import Path

import pandas

from ccfs_lib import compare, paper, results
from ccfs_lib.compare import CCFS, NAMES, PAIRED, VERDICTS, printed_as, verdict
from ccfs_lib.errors import InputError
from ccfs_lib.report.text import SPACE, count, plus_minus, signed, told
from ccfs_lib.verdict import UNTESTED, ledger

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
# The look of a verdict in the book's style sheet, in the order of VERDICTS.
BADGES = dict(zip(VERDICTS, ("yes", "no", "open"), strict=True))
NOTHING = "Nothing has been measured yet: `data/results` holds no results.\n"


def write_up(folder: Path, declared: dict[str, dict]) -> str:
    """MyST text: a section per measured run, those of book/runs.yaml first.

    folder: data/results. declared: title and scale, by the name under which results are
    filed. Where there are no results, the text says so.
    """
    try:
        table = results.load(folder)
    except InputError:
        return NOTHING
    measured = set(table.run)
    names = [n for n in declared if n in measured] + sorted(measured - set(declared))
    parts = []
    for name in names:
        rows = table[table.run == name]
        title, scale = (declared.get(name, {}).get(k, "") for k in ("title", "scale"))
        parts += [f"### {title or name}", scale, orderings(rows), arms(name, rows)]
    return "\n\n".join(part for part in parts if part) + "\n" if parts else NOTHING


def orderings(rows: pandas.DataFrame) -> str:
    """What a run says of each ordering: a counting sentence, then a list.

    rows: those of one run. An ordering without both arms is left out; one whose arms
    were measured under different settings is listed with the reason, not with a number.
    """
    lines, words = [], []
    for left, right, claim in ORDERINGS:
        if not {left, right} <= set(rows["cell"]):
            continue
        try:
            d = compare.compare(rows, left, right)
        except InputError as error:
            lines.append(f"- **{claim}**: not compared, because {error}.")
            continue
        words.append(verdict(d))
        badge = f"[{words[-1]}]{{.verdict .{BADGES[words[-1]]}}}"
        # Spaces that may break: these lines are long, and a phone is narrow.
        said = f"{told(d)}, {count(d.n_a, 'seed')}".replace(SPACE, " ")
        lines.append(f"- {badge} **{claim}**: {said}.{_printed(left, right, rows)}")
    if not lines:
        return ""
    yes, no, unclear = (words.count(word) for word in VERDICTS)
    counted = f"Orderings tested, {PAIRED}: {len(words)}. Hold: {yes}."
    counted += f" Do not hold: {no}. Too close to call: {unclear}."
    return "\n".join([counted, "", *lines])


def _printed(left: str, right: str, rows: pandas.DataFrame) -> str:
    """The paper's own difference, where it has the same data set and IPC."""
    first = rows.iloc[0]
    where = printed_as(first), first.get("ipc")
    ours, theirs = (paper.arm(arm, *where) for arm in (left, right))
    if ours is None or theirs is None:
        return ""
    return f" The paper, with ResNet-18: {signed(ours - theirs)}."


def claims(folder: Path) -> str:
    """MyST text: every claim of the paper, and below it the runs that test it.

    folder: data/results. Claims in the order of the paper's ledger, those that no run
    tests at the end: they are never left out.
    """
    try:
        found = ledger(results.load(folder))
    except InputError as error:  # no results, or rows that contradict each other
        return f"No claim is tested: {error}.\n"
    tested = found[found.verdict != UNTESTED]
    known = paper.claims().set_index("id")
    seen = [claim for claim in known.index if claim in set(tested.claim)]
    lines = [f"{len(seen)} of the paper's {len(known)} claims are tested here.", ""]
    for claim in seen:
        lines += [f"**{known.claim[claim]}** *({known.place[claim]})*", ""]
        lines += [_tested(line) for line in tested[tested.claim == claim].itertuples()]
        lines.append("")
    lines += ["## Not tested here", ""]
    rest = [claim for claim in known.index if claim not in seen]
    lines += [f"- {known.claim[claim]} *({known.place[claim]})*" for claim in rest]
    return "\n".join(lines) + "\n"


def _tested(line) -> str:
    """One run's answer to a claim: verdict, difference and how sure it is."""
    badge = f"[{line.verdict}]{{.verdict .{BADGES[line.verdict]}}}"
    text = f"- {badge} {line.dataset}, IPC {line.ipc:.0f} ({line.scale} scale, "
    text += f"{line.seeds} seeds, {line.network}): {signed(line.difference)}"
    text += "" if math.isnan(line.half) else f" ± {line.half:.1f}"
    if not math.isnan(line.detectable):
        text += f", would show from {line.detectable:.1f}"
    if not math.isnan(line.paper):
        text += f"; the paper, in this cell: {signed(line.paper)}"
    return text + "."


def arms(name: str, rows: pandas.DataFrame) -> str:
    """Table of a run: last and best test accuracy of every arm, mean and t interval."""
    lines = ["| training set | last | best | seeds |", "|:--|--:|--:|--:|"]
    measured = set(rows["cell"])
    for arm in [a for a in NAMES if a in measured] + sorted(measured - set(NAMES)):
        seen = [compare.values(rows, arm, column) for column in ("last", "best")]
        last, best = map(plus_minus, seen)
        lines.append(f"| {NAMES.get(arm, arm)} | {last} | {best} | {len(seen[0])} |")
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
