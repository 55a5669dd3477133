"""What the measured runs say, in words and tables computed from their rows.

Verdicts, arm names and differences are the library's (`ccfs_lib.claims.compare`), the
same as in the chapters: the front page cannot say otherwise than the page it sums up.
"""

import re
from pathlib import Path

import pandas

from ccfs_lib import paper, table1
from ccfs_lib.arms import TITLES
from ccfs_lib.claims import compare, ladder
from ccfs_lib.claims.compare import ALPHA0, CCFS, PAIRED, VERDICTS, printed_as, verdict
from ccfs_lib.claims.evidence import SHOWN_ONLY, load
from ccfs_lib.claims.ledger import BUDGET
from ccfs_lib.errors import InputError
from ccfs_lib.report import forest
from ccfs_lib.report.text import SPACE, count, interval, plus_minus, signed

# Orderings that the paper claims or that its claims need; left should be higher.
ORDERINGS = (
    (CCFS, "random", "CCFS beats random real images with the same teacher"),
    (ALPHA0, "random", "Selection alone (alpha 0) beats random real images"),
    (CCFS, ALPHA0, "CCFS beats selection alone, without distilled images"),
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
    ("two-shot", "selmatch", "Selecting in two rounds beats SelMatch's window"),
    ("reverse", "two-shot", "Distilling before these rounds beats distilling after"),
    ("reverse", "selmatch", "Both together, reverse, beat SelMatch"),
    ("ccfs-mtt", "selmatch", "CCFS on images distilled by MTT beats SelMatch"),
)
# The look of a verdict in the book's style sheet, in the order of VERDICTS.
BADGES = dict(zip(VERDICTS, ("yes", "no", "open"), strict=True))
HARDLY = 10  # percent of the matching loss; less is not much of a distillation
BARELY = "it hardly fell, so what differs between arms is hardly due to distillation"
NOTHING = "Nothing has been measured yet: `data/results` holds no results.\n"


# A run's settings in words, where they are not the usual ones.
WORDS = {
    "alpha": "alpha {}",
    "curricula": "J = {}",
    "score": "score {}",
    "score_runs": "networks trained for the score: {}",
    "ties": "ties {}",
    "recipe.epochs": "{} epochs",
    "recipe.lr": "learning rate {}",
    "recipe.weight_decay": "weight decay {}",
    "recipe.temperature": "temperature {}",
    "recipe.batch_rule": "batch rule {}",
    "batch_size_by": "batch size by images {}",
    "filter_loss": "filters learn from {} labels",
    "teacher_correct": "teacher has to be right: {}",
    "teacher.epochs": "teacher of {} epochs",
    "distillation.method": "distilled by {}",
    "beta": "window from {}",
    "matcher": "trajectories of {}",
}
DEFAULTS = {"batch_size_by": "made"}  # where a file has none
OWN = (
    "A run of your own: its results are in `data/results-own`, and no verdict of this "
    "book is about them."
)


def write_up(folder: Path, declared: dict[str, dict], own: Path | None = None) -> str:
    """Write a section per run of book/runs.yaml, and how many others there are (MyST).

    folder: data/results. declared: title and scale, by the name under which results are
    filed. own: data/results-own, of whose runs those that are declared follow. Where
    there are no results, the text says so.
    """
    try:
        table = load(folder)
    except InputError:
        return NOTHING
    measured = set(table.run)
    names = [n for n in declared if n in measured]
    parts = []
    for name in names:
        rows = ladder.without(table, table[table.run == name])
        title, scale = (declared.get(name, {}).get(k, "") for k in ("title", "scale"))
        parts += [f"### {title or name}", scale, orderings(rows)]
        parts.append(arms(name, rows, title))
    if more := sorted(measured - set(names)):
        parts.append(others(table[table.run.isin(more)], table))
    parts += _own(own, declared)
    return "\n\n".join(part for part in parts if part) + "\n" if parts else NOTHING


def _own(folder: Path | None, declared: dict[str, dict]) -> list[str]:
    """Write sections for the reader's runs of book/runs.yaml, apart from the others."""
    if folder is None or not folder.is_dir():
        return []
    table, parts = load(folder), []
    for name in (n for n in declared if n in set(table.run)):
        rows, title = table[table.run == name], declared[name].get("title", name)
        parts += [f"### {title}", OWN, orderings(rows), arms(name, rows, title)]
    return parts


def orderings(rows: pandas.DataFrame) -> str:
    """Say what a run shows of each ordering: a counting sentence, then a list.

    rows: those of one run. An ordering without both arms is left out; one whose arms
    were measured under different settings is listed with the reason, not with a number.
    """
    lines, words = [], []
    aside = bool(set(rows.get("dataset", ())) & SHOWN_ONLY)
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
        badge = f"*{words[-1]}*:" if aside else badge
        # Spaces that may break: these lines are long, and a phone is narrow.
        result = f"{interval(d)}, {count(d.n_a, 'seed')}".replace(SPACE, " ")
        lines.append(f"- {badge} **{claim}**: {result}.{_printed(left, right, rows)}")
    if not lines:
        return ""
    yes, no, unclear = (words.count(word) for word in VERDICTS)
    counted = f"Orderings tested, {PAIRED}: {len(words)}. Hold: {yes}."
    counted += f" Do not hold: {no}. Too close to call: {unclear}."
    if aside:
        counted = f"Digits show the method, and are no evidence. {counted}"
    if loss := matched(rows):
        counted += f" Where trajectories are matched, {loss}"
    return "\n".join([counted, "", *lines])


def matched(rows: pandas.DataFrame) -> str:
    """Say how far MTT moved its loss, where a run has matched any trajectories."""
    if "first" not in rows or rows["first"].isna().all():
        return ""
    first, final = (rows[name].astype(float).mean() for name in ("first", "final"))
    fell = 100 * (first - final) / first
    text = f"MTT's matching loss went from {first:.2f} to {final:.2f}, mean over all "
    text += f"that were matched ({signed(-fell, 0)}{SPACE}%)"
    return f"{text}: {BARELY}." if fell < HARDLY else f"{text}."


def _printed(left: str, right: str, rows: pandas.DataFrame) -> str:
    """Quote the paper's own difference, where it has the same data set and IPC."""
    first = rows.iloc[0]
    where = printed_as(first), first.get("ipc")
    left_value, right_value = (paper.arm(arm, *where) for arm in (left, right))
    if left_value is None or right_value is None:
        return ""
    return f" The paper, with ResNet-18: {signed(left_value - right_value)}."


def others(rows: pandas.DataFrame, every: pandas.DataFrame) -> str:
    """Tabulate, folded, all arms of runs that the book has no pages of.

    Without runs that were tested on held-out images: chapter 17 has them. every: the
    rows of all runs, for what is usual among them.
    """
    if "holdout" in rows:
        rows = rows[~(rows["holdout"].astype(float) > 0)]
    lines = ["| run | training set | last | seeds |", "|:--|:--|--:|--:|"]
    names, titles = labels(rows, every), arm_titles(rows)
    for (run, arm), group in rows.groupby(["run", "cell"]):
        name, last = titles.get(arm, arm), plus_minus([*group["last"].astype(float)])
        lines.append(f"| {names[run]} | {name} | {last} | {len(group)} |")
    caption = (
        "Test accuracy in percent of further runs, as in the tables above. A run is "
        "named by data, network and the settings that differ from those of most rows "
        "of these."
    )
    body = captioned(caption, "tab-summary-others", lines)
    title = f"{count(rows.run.nunique(), 'more run')}, with other settings"
    return f"### Further runs\n\n::::{{dropdown}} {title}\n{body}::::"


def arms(name: str, rows: pandas.DataFrame, title: str = "") -> str:
    """Tabulate a run: last and best test accuracy of every arm, mean and t interval.

    A table of digits, which are no evidence, is folded.
    """
    lines = ["| training set | last | best | seeds |", "|:--|--:|--:|--:|"]
    measured = set(rows["cell"])
    names = arm_titles(rows)
    for arm in [a for a in names if a in measured] + sorted(measured - set(names)):
        seen = [compare.values(rows, arm, column) for column in ("last", "best")]
        last, best = map(plus_minus, seen)
        lines.append(f"| {names.get(arm, arm)} | {last} | {best} | {len(seen[0])} |")
    caption = (
        f"Test accuracy in percent, {title or name}: mean over seeds ± half of the "
        "95\N{NO-BREAK SPACE}% t interval. Last: after the last epoch. Best: the "
        "highest near the end, chosen on the test split, as the authors' code does."
    )
    table = captioned(caption, f"tab-summary-{name}", lines)
    if set(rows.get("dataset", ())) & SHOWN_ONLY:
        return f"::::{{dropdown}} All training sets\n{table}::::"
    return table


def labels(rows: pandas.DataFrame, every: pandas.DataFrame) -> dict[str, str]:
    """Name runs for readers: data, network, teacher, what is not usual; none twice.

    rows: of the runs to name; every: of all runs.
    """
    by_run = {run: group.iloc[0] for run, group in every.groupby("run")}
    names = {}
    for run in sorted(set(rows.run)):
        first = by_run[run]
        beside = every
        for column in ("dataset", "classes", "image_size", "ipc", "network"):
            if column in every:
                same = 0 if _absent(first[column]) else first[column]
                beside = beside[beside[column].fillna(0) == same]
        network = forest.network(str(first["network"]))
        if not _absent(learner := first.get("evaluation_network")):
            network = f"{forest.network(learner)}, filters {network}"
        names[run] = "; ".join(
            [
                f"{forest.place(first)}, {network}{forest.teacher(first)}",
                *_unusual(first, beside, by_run),
            ]
        )
    given = list(names.values())
    return {
        run: f"{name} (`{run}`)" if given.count(name) > 1 else name
        for run, name in names.items()
    }


def _absent(value) -> bool:
    return value is None or value != value or value == ""


def _unusual(first: pandas.Series, beside: pandas.DataFrame, by_run: dict) -> list[str]:
    """List settings of a run that are not those of most rows beside it, in words."""
    parts = []
    for column, words in WORDS.items():
        if column not in beside:
            continue
        value = DEFAULTS.get(column) if _absent(first[column]) else first[column]
        usual = beside[column].where(beside[column].notna(), DEFAULTS.get(column))
        if not _absent(value) and value != usual.mode(dropna=False).get(0):
            text = f"{value:g}" if isinstance(value, float) else f"{value}"
            parts.append(words.format(text))
    if not _absent(path := first.get("selected_from")):
        parts.append(f"set of {_whose(path, by_run)}")
    elif not _absent(path := first.get("distilled_from")):
        parts.append(f"distilled images of `{path.rstrip('/').rpartition('/')[2]}`")
    return parts


def _whose(path: str, by_run: dict) -> str:
    """Name the network that selected a set, and the seed if it is one set for all."""
    parts = path.rstrip("/").split("/")
    maker = next((by_run[part]["network"] for part in parts if part in by_run), None)
    name = forest.network(maker) if maker else f"`{parts[-1]}`"
    seed = re.search(r"-seed(\d+)\.json$", path)
    return f"{name}, seed {seed[1]} for all" if seed else name


def arm_titles(rows: pandas.DataFrame) -> dict[str, str]:
    """Map the cells of results to titles, those of `ccfs table1` last.

    rows: those that are shown; a row under a budget has its minutes in its cell.
    """
    names = {**TITLES, ALPHA0: compare.NAMES[ALPHA0]}
    names |= {k: v for k, v in table1_titles().items() if k not in names}
    if BUDGET not in rows:
        return names
    limited = rows[["cell", BUDGET]].dropna().drop_duplicates().sort_values("cell")
    for cell, minutes in limited.itertuples(index=False):
        known = table1.without_budget(cell, minutes)
        if known in names and known != cell:
            names[cell] = f"{names[known]} ({minutes:g} minutes a set)"
    return names


def table1_titles() -> dict[str, str]:
    """Map the cells of `ccfs table1` to titles of rows, with the protocol."""
    titles = {}
    for row in table1.ROWS:
        titles[row.name] = row.title
        titles[f"{row.name}-teacher"] = f"{row.title}, with the teacher"
    return titles


def captioned(caption: str, label: str, lines: list[str]) -> str:
    """Number a table, as MyST."""
    body = "\n".join(lines)
    return f":::{{table}} {caption}\n:name: {label}\n\n{body}\n:::\n"
