"""The front page's abstract and figure, and two tables beside them, from results.

The largest run comes first. No word is chosen here that an interval could contradict:
each sentence has a form for a difference above zero, below zero, and for an open one.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas
import verdicts
from findings import NOTHING

from ccfs_lib import paper
from ccfs_lib.claims import ladder
from ccfs_lib.claims.compare import (
    ALPHA0,
    CCFS,
    FAILS,
    HOLDS,
    OPEN,
    between,
    compare,
    equal_steps,
    over_teachers,
    pooled,
    printed_as,
    unequal_steps,
    values,
    verdict,
)
from ccfs_lib.claims.evidence import SHOWN_ONLY, load, source
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.experiment.presets import CLASS_SIZE
from ccfs_lib.report import forest, roles
from ccfs_lib.report.text import SPACE, bracketed, count, listed, percent, signed
from ccfs_lib.statistics import FEW, Difference, summary

PAIR = (CCFS, "random")
SAID = {HOLDS: "", FAILS: ", a loss", OPEN: ", too close to call"}
FIGURE = """```{{figure}} {file}
:name: fig-{name}
:alt: {alt}
:width: 530px

{caption}
```
"""
# On the front page the two parts of CCFS minus random; the rest beside the verdicts.
FIRST = ladder.STEPS[1:3]
PARTS = "The two parts of CCFS minus random images, "
NAMES = (
    " resnet10-w16: a ResNet of 0.3 million parameters; ConvNet: three blocks; "
    "CIFAR-100-20: 20 superclasses."
)
OTHERS = "CCFS minus random images, minus distilled images alone, and its two stages, "
CAPTION = (
    "in every run with a teacher of its own and these sets. Dots: means; ticks: seeds, "
    "or teachers; bars: 95 % t intervals, paired by seed (over teachers the wider of "
    "that over teachers and that over seeds). Blue: above zero; orange: below; grey: "
    "too close to call. Arrows: beyond the axis."
)
DIAMONDS = (
    " Diamonds: the paper's own difference (ResNet-18, its own number of epochs), "
    "where it prints one for these data and this IPC."
)


def abstract(folder: Path) -> str:
    """Write the abstract as a list; folder: data/results (MyST)."""
    rows = _read(folder)
    if rows.empty:
        return NOTHING
    runs, others = ladder.runs(rows), ladder.elsewhere(rows)
    if not runs:
        return "No run on photographs has both CCFS and a random set yet.\n"
    sentences = [
        short(runs, [*runs, *ladder.dependent(rows)]),
        control(runs[0]),
        teacher(runs[0]),
        parts(runs[0]),
        elsewhere(others),
        verdicts.counted(folder),
    ]
    return "".join(f"- {sentence}\n" for sentence in sentences if sentence)


def _read(folder: Path) -> pandas.DataFrame:
    try:
        return load(folder)
    except InputError:  # nothing measured yet
        return pandas.DataFrame()


def short(runs: list[pandas.DataFrame], every: list[pandas.DataFrame]) -> str:
    """Say in how many runs CCFS beats random images, and its distilled images none.

    runs: one of each teacher; every: all that have sets of their own.
    """
    several = [run for run in every if ALPHA0 in set(run["cell"])]
    text = (
        "**In short.** Under the same teacher, CCFS is clearly better than random "
        f"images in {_clearly(runs, PAIR)}{_teachers(runs)}{_small(runs)}: "
        f"{_tally(runs, PAIR)}."
    )
    if several:
        text += (
            " With its distilled images it is clearly better than without any (alpha "
            f"0) in {_clearly(several, (CCFS, ALPHA0))}{_teachers(several)}: "
            f"{_tally(several, (CCFS, ALPHA0))}."
        )
    return text


def _teachers(runs: list[pandas.DataFrame]) -> str:
    """Say whether every run has a teacher of its own; "" of a single one."""
    several = len({source(run.iloc[0]) for run in runs})
    if len(runs) == 1:
        return ""
    if several == len(runs):
        return ", each with its own teacher"
    return f" ({count(several, 'teacher')})"


def _clearly(runs: list[pandas.DataFrame], pair: tuple[str, str]) -> str:
    """Count the runs whose interval is above zero, and below: "3 of 8, worse in 1"."""
    words = [verdict(compare(run, *pair)) for run in runs]
    better, worse = words.count(HOLDS), words.count(FAILS)
    return (
        f"{better} of {count(len(runs), 'run')} and clearly worse in {worse or 'none'}"
    )


def control(run: pandas.DataFrame) -> str:
    """Say what CCFS gains over random images with the same teacher; the scale."""
    first, d = run.iloc[0], compare(run, *PAIR)
    means = [percent(summary(values(run, arm)).mean) for arm in PAIR]
    printed = paper.arm(CCFS, printed_as(first), int(first["ipc"]))
    if printed and first.get("scale") == "paper":
        means[0] += f" (the paper's best epoch {percent(printed)})"
    text = (
        f"**{forest.place(first)}, {forest.network(first['network'])}.** With the same "
        f"teacher, CCFS reaches {means[0]} and as many random real images {means[1]}: "
        f"{_worth(d)} ({_scale(first, d.n_a)})."
    )
    text = f"{text} {unequal_steps(run, *PAIR)}".strip()
    if equal := _equal(run, *PAIR):
        text += f" In {equal[0]} the difference is {equal[1]}."
    return text


def _equal(run: pandas.DataFrame, left: str, right: str) -> tuple[str, str] | None:
    """Name the seeds in which two arms had equal batches, and their difference."""
    if (equal := equal_steps(run, left, right)) is None:
        return None
    seeds = "the other seed" if equal.n_a == 1 else f"the other {equal.n_a} seeds"
    return seeds, signed(equal.mean)


def _scale(first: pandas.Series, seeds: int) -> str:
    """Name epochs, alpha, teacher and seeds of a run, beside what the paper has."""
    parts, data = [], printed_as(first).removesuffix("-jpeg")
    theirs = (
        preset(data, "paper", ipc=int(first["ipc"])) if data in CLASS_SIZE else None
    )
    if pandas.notna(epochs := first.get("recipe.epochs")):
        parts.append(count(int(epochs), "epoch"))
        if theirs:
            parts[0] += f", the paper has {theirs.recipe.epochs}"
    if theirs and pandas.notna(alpha := first.get("alpha")) and alpha != theirs.alpha:
        parts.append(f"alpha {alpha:g}, the authors' code has {theirs.alpha:g}")
    if pandas.notna(reached := first.get("teacher_last")):
        parts.append(f"one teacher, {percent(float(reached), 2)} right")
        if full := paper.full(data):
            parts[-1] += f", the paper's has {percent(full)}"
    return "; ".join([*parts, count(seeds, "seed")])


def _worth(d: Difference) -> str:
    text = f"{bracketed(d)} points"
    return f"**{text}**{SAID[verdict(d)]}"


def teacher(run: pandas.DataFrame) -> str:
    """Say what the teacher is worth beside the set: the paper changes both at once."""
    if "random-hard" not in set(run["cell"]):
        return ""
    alone = percent(summary(values(run, "random-hard")).mean)
    d, chosen = compare(run, "random", "random-hard"), compare(run, *PAIR)
    printed = paper.arm("random-hard", printed_as(run.iloc[0]), int(run["ipc"].iloc[0]))
    theirs = f" (the paper's, trained otherwise, {percent(printed)})" if printed else ""
    return (
        f"**The teacher.** With hard labels and else the same recipe, random images "
        f"reach {alone}{theirs}. Under this recipe, made for soft labels, the teacher "
        f"is worth {bracketed(d)} points on them, the choice of the set "
        f"{signed(chosen.mean)}."
    )


def parts(run: pandas.DataFrame) -> str:
    """Say what selection alone makes of the difference, and what distilled images."""
    if ALPHA0 not in set(run["cell"]):
        return ""
    alone, added = compare(run, ALPHA0, "random"), compare(run, CCFS, ALPHA0)
    first = {
        HOLDS: "gains {} points over the random set",
        FAILS: "is {} points from the random set, a loss",
        OPEN: "is {} points from the random set, too close to call",
    }[verdict(alone)].format(bracketed(alone))
    second = {
        HOLDS: "the distilled images add {} points",
        FAILS: "with the distilled images it changes by {} points, a loss",
        OPEN: "what distilled images add, {} points, is open",
    }[verdict(added)].format(bracketed(added))
    alone = "Selection alone (alpha 0, nothing distilled)"
    equal = _equal(run, CCFS, ALPHA0) or ()
    less = f" (with equal batches, in {equal[0]}, {equal[1]})" if equal else ""
    return f"**The parts.** {alone} {first}; {second}{less}."


def elsewhere(others: list[pandas.DataFrame]) -> str:
    """Say how the same comparison ends with other learners."""
    if not others:
        return ""
    each = listed([_learned(run) for run in others])
    return (
        "**Elsewhere.** Sets that one network selected, learnt by another one, are "
        f"worth, against random images, {each} points."
    )


def _small(runs: list[pandas.DataFrame]) -> str:
    """Say how many runs have images that were shrunk; "" of none."""
    shrunk = sum(run.iloc[0].get("image_size", 0) > 0 for run in runs)
    return f" ({shrunk} on shrunken images)" if shrunk else ""


def _by_data(
    runs: list[pandas.DataFrame], pixels: bool = False
) -> list[tuple[str, list[pandas.DataFrame]]]:
    """Group runs by their data set, or by that and its pixels: (name, runs)."""
    groups: dict[str, list[pandas.DataFrame]] = {}
    for run in runs:
        groups.setdefault(forest.data(run.iloc[0], pixels=pixels), []).append(run)
    return list(groups.items())


def _learned(run: pandas.DataFrame) -> str:
    """Say what another network's sets are worth to a learner: +1.6 [...] (ConvNet)."""
    about = [forest.network(run["learner"].iloc[0])]
    if ALPHA0 in set(run["cell"]):
        about.append(f"selection alone {bracketed(compare(run, ALPHA0, 'random'))}")
    return f"{bracketed(compare(run, *PAIR))} ({'; '.join(about)})"


def averages(folder: Path) -> str:
    """Tabulate what both parts are worth by data set (MyST); "" below three pairs.

    Further runs of the same teachers stand below: the averages leave them out.
    """
    rows = _read(folder)
    if rows.empty:
        return ""
    several = [run for run in ladder.runs(rows) if ALPHA0 in set(run["cell"])]
    pairs = forest.alike(m for run in several for m in ladder.measured(run, FIRST[:1]))
    if len(pairs) < FEW:
        return ""
    lines = []
    for name, some in _by_data(several, pixels=True):
        values, over = zip(*(_average(some, step) for step in FIRST), strict=True)
        at = listed([f"{n}" for n in sorted({int(run["ipc"].iloc[0]) for run in some})])
        lines.append((f"{name}, IPC {at}, {over[0]}", *map(bracketed, values)))
    for run in ladder.dependent(rows):
        if ALPHA0 in set(run["cell"]):
            each = [compare(run, step.left, step.right) for step in FIRST]
            seeds = count(each[0].n_a, "seed")
            name = f"{forest.place(run.iloc[0])}, {seeds} (teacher counted above)"
            lines.append((name, *map(bracketed, each)))
    return _table(
        f"All {len(pairs)} pairs of data and network with alpha 0, in points. "
        "Intervals are over pairs, over teachers or over seeds, as named, and not "
        "corrected for their number; pairs of one data set share its images.",
        ("", "selection alone", "distilled images"),
        lines,
    )


def acting(folder: Path) -> str:
    """Tabulate where distilled images act (MyST); "" where it was not measured."""
    rows = _read(folder)
    every = roles.decompose(rows) if len(rows) else []
    told = [r for r in every if r.dataset not in SHOWN_ONLY]
    if not told:
        return ""
    names = [r.name.split(", ") for r in told]
    alike = [part for part in names[0] if all(part in name for name in names[1:])]
    alike = alike if len(told) > 1 else []  # the network, where all have the same
    lines = [
        (
            ", ".join(part for part in name if part not in alike),
            bracketed(r.filter),
            bracketed(r.set),
            f"{r.filter.n_a}",
        )
        for name, r in zip(names, told, strict=True)
    ]
    about = f" ({', '.join(alike)})" * bool(alike)
    return _table(
        f"**Where distilled images act**{about}: points of accuracy for letting "
        "filters learn them, and for having them in the final set in place of random "
        "real images (alpha 0 has selected ones in their place). Each number is "
        "the mean over having and not having the other role; chapter 17 has the two. "
        "Intervals of three seeds can be narrow by chance.",
        ("", *roles.TITLES.values(), "seeds"),
        lines,
    )


def _table(lead: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a sentence and a small table without a caption (MyST).

    On a phone a cell may break between a number and its interval, not inside it.
    """
    whole = [(name, *(v.replace(", ", f",{SPACE}") for v in vs)) for name, *vs in lines]
    rows = [head, ["---", *["--:"] * (len(head) - 1)], *whole]
    return "\n".join([lead, "", *(f"| {' | '.join(r)} |" for r in rows), "", ""])


def _average(
    runs: list[pandas.DataFrame], step: ladder.Contrast
) -> tuple[Difference, str]:
    """Average a step over pairs of data and network, teachers of one pair, or seeds.

    A pair with several teachers counts once. Returns the average and what it is over.
    """
    pairs = forest.alike(m for run in runs for m in ladder.measured(run, [step]))
    each = [m.difference for m in pairs[0]]
    if len(pairs) > 1:
        d = between([pooled([m.difference for m in pair]) for pair in pairs])
        return d, count(len(pairs), "pair")
    if len(each) > 1:
        return over_teachers(each), count(len(each), "teacher")
    return each[0], count(each[0].n_a, "seed")


def _tally(runs: list[pandas.DataFrame], pair: tuple[str, str]) -> str:
    """Say on which data an arm is ahead of another, and in how many runs each."""
    said = {HOLDS: "ahead on", FAILS: "behind on", OPEN: "too close to call on"}
    parts = []
    for word, how in said.items():
        alike = [run for run in runs if verdict(compare(run, *pair)) == word]
        names = [f"{n}{f' ({len(r)})' * (len(r) > 1)}" for n, r in _by_data(alike)]
        parts += [f"{how} {listed(names)}"] * bool(names)
    return "; ".join(parts)


def figure(folder: Path, to: Path) -> str:
    """Draw the two parts of CCFS in every run (MyST); "" where there are none.

    folder: data/results; to: the folder of the generated text, which gets forest.png.
    """
    return _figure(folder, to, "forest", FIRST, PARTS + CAPTION + NAMES)


def others(folder: Path, to: Path) -> str:
    """Draw the other steps in every run (MyST), as `figure` does."""
    rest = [step for step in ladder.STEPS if step not in FIRST]
    return _figure(folder, to, "steps", rest, OTHERS + CAPTION)


def _figure(folder: Path, to: Path, name: str, steps, caption: str) -> str:
    rows = _read(folder)
    runs = ladder.runs(rows) if len(rows) else []
    measured = {
        step.name: [found for run in runs for found in ladder.measured(run, [step])]
        for step in steps
    }
    steps = {name: forest.lines(found) for name, found in measured.items() if found}
    if not steps:
        return ""
    drawn = forest.draw(steps)
    file = to / f"{name}.png"
    file.write_bytes(drawn._repr_png_()[0])
    file.with_suffix(".svg").write_text(drawn._repr_svg_(), "utf-8")
    alt = "Differences in test accuracy with intervals, a line per run: " + "; ".join(
        f"{name}: " + ", ".join(f"{line.label}, {line.aside}" for line in lines)
        for name, lines in steps.items()
    )
    printed = any(line.second is not None for ls in steps.values() for line in ls)
    caption += DIAMONDS * printed
    where = f"_generated/{file.name}"
    return FIGURE.format(file=where, name=name, alt=alt, caption=caption)
