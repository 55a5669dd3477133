"""What the measured runs say, in words and tables computed from their rows.

Verdicts, arm names and differences are the library's (`ccfs_lib.claims.compare`), the
same as in the chapters: the front page cannot say otherwise than the page it sums up.
"""

import math
from pathlib import Path

import pandas

from ccfs_lib import paper, results
from ccfs_lib.arms import TITLES
from ccfs_lib.claims import compare
from ccfs_lib.claims.compare import CCFS, PAIRED, VERDICTS, printed_as, verdict
from ccfs_lib.claims.ledger import UNTESTED, ledger
from ccfs_lib.errors import InputError
from ccfs_lib.report.text import DASH, SPACE, count, plus_minus, signed, told

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
    ("reverse", "selmatch", "Distilling before selecting beats SelMatch"),
    ("two-shot", "selmatch", "Selecting in two rounds beats SelMatch's window"),
    ("ccfs-mtt", "selmatch", "CCFS on images distilled by MTT beats SelMatch"),
)
# The look of a verdict in the book's style sheet, in the order of VERDICTS.
BADGES = dict(zip(VERDICTS, ("yes", "no", "open"), strict=True))
NOTHING = "Nothing has been measured yet: `data/results` holds no results.\n"


def write_up(folder: Path, declared: dict[str, dict]) -> str:
    """MyST text: a section per run of book/runs.yaml, and how many others there are.

    folder: data/results. declared: title and scale, by the name under which results are
    filed. Where there are no results, the text says so.
    """
    try:
        table = results.load(folder)
    except InputError:
        return NOTHING
    measured = set(table.run)
    names = [n for n in declared if n in measured]
    parts = []
    for name in names:
        rows = table[table.run == name]
        title, scale = (declared.get(name, {}).get(k, "") for k in ("title", "scale"))
        parts += [f"### {title or name}", scale, orderings(rows), arms(name, rows)]
    if more := sorted(measured - set(names)):
        parts.append(others(table[table.run.isin(more)]))
    return "\n\n".join(part for part in parts if part) + "\n" if parts else NOTHING


def short(folder: Path) -> str:
    """MyST text: how many claims are tested and hold, and which hold where."""
    try:
        rows = results.load(folder)
        found = ledger(rows)
    except InputError:
        return NOTHING
    tested = found[found.verdict != UNTESTED]
    words = tested.groupby("claim", sort=False).verdict.agg(list)
    yes, no, _ = VERDICTS
    every = sum(set(w) == {yes} for w in words)
    some = sum(yes in w for w in words) - every
    against = sum(no in w for w in words)
    known = paper.claims().set_index("id")
    lines = [
        f"Of the {len(known)} claims of the paper that can be checked, {len(words)} "
        f"are tested here, by {count(tested.run.nunique(), 'run')}. Hold in every run "
        f"that tests them: {every}; in some: {some}; contradicted in at least one: "
        f"{against}. The others are too close to call with so few seeds. "
        "{doc}`verdict` has them all.",
        "",
    ]
    for claim, said in words.items():
        if yes in said or no in said:
            lines.append(_counted(known.claim[claim], said))
    if controls := _controls(rows):
        lines += ["", "And what the paper does not compare with:", ""]
        lines += [_counted(claim, said) for claim, said in controls.items()]
    return "\n".join(lines) + "\n"


def _counted(claim: str, said: list[str]) -> str:
    """A claim with the clearest of its verdicts, and in how many runs that is said."""
    yes, no, unclear = VERDICTS
    badge = yes if yes in said else no if no in said else unclear
    mark = f"[{badge}]{{.verdict .{BADGES[badge]}}}"
    other = ", ".join(
        f"{said.count(word)} {how}"
        for word, how in ((no, "against"), (unclear, "too close"))
        if word in said and word != badge
    )
    times = f"{said.count(badge)} of {count(len(said), 'run')}"
    return f"- {mark} {claim} *({times}{f'; {other}' if other else ''})*"


def _controls(rows: pandas.DataFrame) -> dict[str, list[str]]:
    """Verdicts on CCFS against random images, same teacher: claim -> one per run.

    Of the presets' own runs, since an ablation changes CCFS and not the claim; and of
    those in which another network learns from the very same sets.
    """
    same = "CCFS beats random real images that learn from the same teacher"
    asked = {
        f"{same}.": r".*-ipc\d+",
        f"{same}, on a network that took no part in choosing.": r".*-ipc\d+-on-.+",
    }
    found = {}
    for claim, name in asked.items():
        own = rows[rows["run"].str.fullmatch(name)]
        both = [r for _, r in own.groupby("run") if {CCFS, "random"} <= set(r["cell"])]
        said = [verdict(compare.compare(run, CCFS, "random")) for run in both]
        found |= {claim: said} if said else {}
    return found


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
    lines += [overview(found), "## Tested, one by one", ""]
    for claim in seen:
        lines += [f"**{known.claim[claim]}** *({known.place[claim]})*", ""]
        # Difficulties differ by hundredths, accuracies by points.
        digits = 3 if known.unit[claim] == "score" else 1
        own = tested[tested.claim == claim].itertuples()
        lines += [_tested(line, digits) for line in own]
        lines.append("")
    lines += ["## Not tested here", ""]
    rest = [claim for claim in known.index if claim not in seen]
    missing = found.drop_duplicates("claim").set_index("claim").missing
    for claim in rest:
        why = missing[claim].removeprefix("the claim ")
        lines.append(f"- {known.claim[claim]} *({known.place[claim]})*: {why}.")
    return "\n".join(lines) + "\n"


SIGNS = dict(zip(VERDICTS, ("\N{CHECK MARK}", "\N{BALLOT X}", "?"), strict=True))


def overview(found: pandas.DataFrame) -> str:
    """Table: every claim against the data sets, with what the runs there say of it."""
    tested = found[found.verdict != UNTESTED]
    sets = list(dict.fromkeys(tested.dataset))
    lines = [f"| claim | {' | '.join(sets)} |", "|:--|" + ":-:|" * len(sets)]
    for claim, own in found.groupby("claim", sort=False):
        cells = []
        for name in sets:
            words = own.verdict[(own.dataset == name) & (own.verdict != UNTESTED)]
            seen = [w for w in VERDICTS if w in set(words)]
            cells.append(" ".join(_sign(w, list(words).count(w)) for w in seen) or DASH)
        lines.append(f"| {claim.replace('-', ' ')} | {' | '.join(cells)} |")
    caption = (
        f"All claims, and how many runs say what: {SIGNS[VERDICTS[0]]} {VERDICTS[0]}, "
        f"{SIGNS[VERDICTS[1]]} {VERDICTS[1]}, {SIGNS[VERDICTS[2]]} {VERDICTS[2]}, "
        f"{DASH} not tested here."
    )
    return captioned(caption, "tab-claims", lines)


def _sign(word: str, times: int) -> str:
    told = f" {times}" if times > 1 else ""
    return f"[{SIGNS[word]}{told}]{{.verdict .{BADGES[word]}}}"


def _tested(line, digits: int) -> str:
    """One run's answer to a claim: verdict, difference and how sure it is."""
    badge = f"[{line.verdict}]{{.verdict .{BADGES[line.verdict]}}}"
    ipc = "several IPC" if math.isnan(line.ipc) else f"IPC {line.ipc:.0f}"
    where = ", ".join(word for word in (line.dataset, line.part, ipc) if word)
    text = f"- {badge} {where} ({line.scale} scale, {line.seeds} seeds, "
    text += f"{line.network}): {signed(line.difference, digits)}"
    text += "" if math.isnan(line.half) else f" ± {line.half:.{digits}f}"
    if not math.isnan(line.detectable):
        text += f", would show from {line.detectable:.{digits}f}"
    if not math.isnan(line.paper):
        text += f"; the paper, in this cell: {signed(line.paper)}"
    return text + "."


def others(rows: pandas.DataFrame) -> str:
    """A table, folded, of all arms of runs that the book has no pages of."""
    lines = ["| run | training set | last | seeds |", "|:--|:--|--:|--:|"]
    for (run, arm), own in rows.groupby(["run", "cell"]):
        name, last = TITLES.get(arm, arm), own["last"].astype(float)
        lines.append(f"| {run} | {name} | {plus_minus(list(last))} | {len(own)} |")
    caption = (
        "Test accuracy in percent of runs with other settings, as in the tables above."
    )
    body = captioned(caption, "tab-summary-others", lines)
    title = f"{count(rows.run.nunique(), 'more run')}, with other settings"
    return f"::::{{dropdown}} {title}\n{body}::::"


def arms(name: str, rows: pandas.DataFrame) -> str:
    """Table of a run: last and best test accuracy of every arm, mean and t interval."""
    lines = ["| training set | last | best | seeds |", "|:--|--:|--:|--:|"]
    measured = set(rows["cell"])
    names = TITLES
    for arm in [a for a in names if a in measured] + sorted(measured - set(names)):
        seen = [compare.values(rows, arm, column) for column in ("last", "best")]
        last, best = map(plus_minus, seen)
        lines.append(f"| {names.get(arm, arm)} | {last} | {best} | {len(seen[0])} |")
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
