"""Chapter 10: the curriculum phase by phase (Figure 4), and galleries (Figures 6-11).

Figure 4 is of Tiny-ImageNet and has no spread; here a rise from phase to phase counts
where its 95 % interval is above zero. At alpha 0 the first phase has no filter, so its
accuracy and its candidates, which are all images, are left out.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from ccfs_lib.claims.compare import HOLDS, verdict
from ccfs_lib.curriculum import PhaseRecord
from ccfs_lib.report.charts import band
from ccfs_lib.report.gallery import Row, gallery, remark
from ccfs_lib.report.phase import NO_FILTER
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend, short, spread
from ccfs_lib.report.text import (
    UNTESTED,
    Text,
    count,
    few,
    finding,
    interval,
    listed,
    percent,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.statistics import FEW, Difference, difference

Runs = Sequence[Sequence[PhaseRecord]]  # one list of phases per seed
COLOURS = ("blue", "orange", "green", "sky", "purple", "grey", "ink")  # of seeds
NO_SCALE = (
    "The difficulty is that of each filter's own logits, and logits of two filters "
    "have no common scale: difficulties of two phases are not compared."
)


def read(stages) -> Runs:
    """Read all phases of every seed."""
    return [list(stages.phases(seed)) for seed in range(stages.experiment.seeds)]


@drawn
def growth(runs: Runs):
    """Draw Figure 4(a): the filter's accuracy by phase, training and test images.

    A sentence where no phase has a filter.
    """
    known = _filtered(runs)
    if not known[0]:
        return Text(NO_FILTER)
    figure, ax = canvas(3.1)
    x = [record.phase for record in known[0]]
    band(ax, x, _by_phase(known, lambda r: r.train_accuracy), "blue", "training images")
    tested = _by_phase(known, lambda r: r.filter.test_accuracy)
    band(ax, x, tested, "green", "test images")
    ax.set(xlabel="phase", ylabel="filter accuracy (%)")
    _phases(ax, runs)
    ax.grid(axis="y")
    legend(ax)
    return figure


def _filtered(runs: Runs) -> Runs:
    """Leave out the phases that have no filter."""
    return [[r for r in records if r.has_filter] for records in runs]


def _phases(ax, runs: Runs) -> None:
    """Set a tick at every phase, and room for half a phase beside the outer ones."""
    x = [record.phase for record in runs[0]]
    ax.set(xticks=x, xlim=(x[0] - 0.5, x[-1] + 0.5))


def _by_phase(runs: Runs, value) -> list[list[float]]:
    """Return value(record) of every seed, phase by phase."""
    return [[value(r) for r in phase] for phase in zip(*runs, strict=True)]


@drawn
def climb(runs: Runs):
    """Draw Figure 4(b): difficulty of the selected images: range, middle half, mean."""
    figure, ax = canvas(3.1 + 0.2 * ((len(runs) - 1) // 3))  # lines of the legend
    shift = min(0.16, 0.7 / len(runs))  # the seeds of a phase stay beside its tick
    for seed, records in enumerate(runs):
        aside = shift * (seed - (len(runs) - 1) / 2)
        for record in records:
            values, x = record.difficulty, record.phase + aside
            if not len(values):
                continue
            ink = PALETTE[COLOURS[seed % len(COLOURS)]]
            low, high = np.percentile(values, [25, 75])
            ax.plot([x, x], [values.min(), values.max()], color=ink, lw=1.4)
            ax.plot([x, x], [low, high], color=ink, lw=7, alpha=0.4)
            name = f"seed {seed}" * (record is records[0])
            ax.plot([x], [values.mean()], "o", color=ink, ms=6, label=name)
    ax.set(xlabel="phase", ylabel="difficulty of the selected")
    _phases(ax, runs)
    ax.grid(axis="y")
    if any(not np.array_equal(r.scores, runs[0][0].scores) for r in runs[0]):
        ax.set_xlabel("phase\n(logits of each phase's filter: no common scale)")
    legend(ax, columns=3)
    return figure


def median_images(stages, runs: Runs, columns: int = 4):
    """Draw Figure 4(c): selected images of median difficulty, by class and phase."""
    labels, data = stages.train.labels.numpy(), stages.train
    rows = []
    for c in spread(range(data.num_classes), 6):
        blocks = []
        for record in runs[0]:
            blocks.append(data.images[_middle(record, labels, c, columns)])
        rows.append(Row(short(data.classes[c]), blocks))
    if not any(len(block) for row in rows for block in row.blocks):
        return Text("No image was selected here.")
    heads = [f"phase {record.phase}" for record in runs[0]]
    return gallery(rows, heads, remark(len(rows), data.num_classes, "in their order"))


def _middle(record: PhaseRecord, labels: np.ndarray, c: int, most: int) -> np.ndarray:
    """Return the `most` selected images of a class nearest to its median difficulty."""
    mine = labels[record.chosen] == c
    picked, values = record.chosen[mine], record.difficulty[mine]
    order = picked[np.argsort(values, kind="stable")]
    start = max(0, (len(order) - most) // 2)
    return order[start : start + most]


def whole_set(stages, runs: Runs):
    """Draw Figures 6-11: at most two real images of a phase, then four distilled."""
    data, labels, e = stages.train, stages.train.labels.numpy(), stages.experiment
    distilled = stages.distilled(e.distilled)
    rows = []
    for c in spread(range(data.num_classes)):
        real = [_middle(record, labels, c, 2) for record in runs[0]]
        blocks = [data.images[np.concatenate(real)]]
        blocks.append(distilled.images[distilled.labels == c][:4])
        rows.append(Row(short(data.classes[c]), blocks))
    heads = "real, by phase", "distilled"
    return gallery(rows, heads, remark(len(rows), data.num_classes, "in their order"))


def overlaps(stages, runs: Runs) -> Text:
    """Tabulate the candidates shared with the phase before and with other seeds."""
    pools = [[record.candidates for record in records] for records in runs]
    others = list(permutations(range(len(runs)), 2))
    picked = [[set(record.chosen.tolist()) for record in records] for records in runs]
    body = []
    for i, record in enumerate(runs[0]):
        # Without a filter the candidates are all images, and sharing them says nothing.
        earlier = i and runs[0][i - 1].has_filter
        before = [_part(p[i], p[i - 1]) for p in pools] if earlier else []
        seeds = [
            _part(pools[a][i], pools[b][i]) for a, b in others if record.has_filter
        ]
        same = [
            100 * len(picked[a][i] & picked[b][i]) / max(len(picked[a][i]), 1)
            for a, b in others
        ]
        sizes = f"{np.mean([p[i].sum() for p in pools]):,.0f}"
        shown = [percent(np.mean(v), 0) if v else "" for v in (before, seeds, same)]
        body.append([record.phase, sizes, *shown])
    head = ["phase", "candidates", "shared with the phase before"]
    head += ["shared with another seed", "selected images shared with another seed"]
    caption = "Candidates after the coarse stage; means over seeds."
    if not runs[0][0].has_filter:
        caption += " Phase 1 has no filter (alpha 0): its candidates are compared with "
        caption += "none."
    return table(caption, head, body)


def _part(a: np.ndarray, b: np.ndarray) -> float:
    """Return the percent of `a` that is also in `b`."""
    return 100 * float((a & b).sum() / max(a.sum(), 1))


def short_classes(stages, runs: Runs) -> Text:
    """Tabulate the classes with a shortfall."""
    lacking: dict[int, list[int]] = {}
    for records in runs:
        for record in records:
            for c, missing in record.shortfall.items():
                lacking.setdefault(c, []).append(missing)
    wanted = sum(r.quota for r in runs[0]) * len(runs)
    body, phases = [], len(runs) * len(runs[0])
    for c, missing in sorted(lacking.items(), key=lambda item: -sum(item[1]))[:12]:
        part = percent(100 * sum(missing) / wanted, 0)
        often = f"{len(missing)} of {phases}"
        body.append([stages.train.classes[c], often, sum(missing), part])
    if not body:
        return Text("No class has a shortfall in any phase.")
    head = ["class", "phases", "images missing", "of the quotas"]
    more = len(lacking) - len(body)
    caption = f"Classes with a shortfall, {count(len(runs), 'seed')}."
    return table(caption + f" {more} more are not shown." * bool(more), head, body)


def steps(runs: Runs, value) -> list[Difference]:
    """Return value(record) of each phase minus the one before, paired by seed."""
    by_phase = _by_phase(runs, value)
    pairs = zip(by_phase[1:], by_phase, strict=False)
    return [difference(later, earlier, paired=True) for later, earlier in pairs]


ACCURACY = {
    "the filter's accuracy on the training images": lambda r: r.train_accuracy,
    "the filter's accuracy on the test images": lambda r: r.filter.test_accuracy,
}
DIFFICULTY = {
    "the mean difficulty of the selected images": lambda r: r.difficulty.mean(),
    "the lowest difficulty selected": lambda r: r.difficulty.min(),
    "the highest difficulty selected": lambda r: r.difficulty.max(),
}
TOLD = len(ACCURACY) + len(DIFFICULTY)  # rises of Figure 4


def answer(stages, runs: Runs) -> Text:
    """Return the finding: which of Figure 4's rises are rises here, phase by phase."""
    if len(runs[0]) < 2:
        return finding("There is only one phase, so nothing can be compared.")
    if any(not len(record.chosen) for records in runs for record in records):
        return finding("In some phase no image was selected, so nothing is compared.")
    scaled, filtered = stages.difficulty is not None, _filtered(runs)
    compared = list(_rises(filtered, ACCURACY, "points"))
    compared += _rises(runs, DIFFICULTY, "") if scaled else []
    last = [records[-1].train_accuracy for records in runs]
    return finding(
        _tally(compared, len(runs)),
        *(line for _, line, _ in compared),
        "" if scaled else NO_SCALE,
        "" if runs[0][0].has_filter else NO_FILTER,
        f"The last filter classifies {plus_minus(last)} % of the training images "
        "correctly.",
        "Figure 4(b) also has harder images at a higher IPC, phase by phase. This page "
        "has one IPC, so that is not measured here; the overview of claims compares "
        "runs at two IPC, where there are any.",
    )


def _rises(runs: Runs, measures: dict, unit: str):
    """Yield name, sentence and whether it rises in every step; none of one phase."""
    first = [record.phase for record in runs[0]]
    for name, value in measures.items() if len(first) > 1 else ():
        rises = steps(runs, value)
        course = "; ".join(
            f"phase {i} to {i + 1}: {_step(d, unit)}"
            for i, d in zip(first, rises, strict=False)
        )
        line = f"{name[0].upper()}{name[1:]}: {course}."
        yield name, line, all(verdict(d) == HOLDS for d in rises)


def _tally(compared: list[tuple[str, str, bool]], seeds: int) -> str:
    """Count the rises of Figure 4 that hold from every phase to the next."""
    rising = [name for name, _, holds in compared if holds]
    if not compared:
        return "Nothing can be compared between two phases here."
    if seeds < FEW:
        return (
            "Whether the rises of Figure 4 are above zero is "
            f"{UNTESTED}: so few seeds ({count(seeds, 'seed')}) have no interval."
        )
    part = "" if len(compared) == TOLD else " that can be compared here"
    if not rising:
        return (
            f"None of the rises of Figure 4{part} has an interval above zero from "
            "every phase to the next."
        )
    hold = "1 holds" if len(rising) == 1 else f"{len(rising)} hold"
    return (
        f"Of the {len(compared)} rises of Figure 4{part}, {hold} from every phase to "
        f"the next, by an interval above zero: {listed(rising)}."
    )


def _step(d: Difference, unit: str) -> str:
    if d.half == 0:  # every seed gave the same, as for a lowest score of zero
        return f"{signed(d.mean)} in every seed"
    return interval(d, unit) if unit else _bare(d)


def _bare(d: Difference) -> str:
    if few(d):
        seeds = "one seed" if d.n_a == 1 else "two seeds"
        return f"{signed(d.mean, 2)}, {seeds}"
    low, high = (signed(d.mean + s * d.half, 2) for s in (-1, 1))
    return f"{signed(d.mean, 2)} [{low}, {high}]"
