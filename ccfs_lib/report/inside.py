"""Chapter 10: the curriculum from inside (Figure 4), and galleries (Figures 6-11).

Seeds are kept apart: Figure 4 shows one run, and a rise from phase to phase that is
smaller than the spread of seeds is no finding.
"""

from collections.abc import Sequence

import numpy as np

from ccfs_lib.claims.compare import HOLDS, verdict
from ccfs_lib.curriculum import PhaseRecord
from ccfs_lib.report.charts import band
from ccfs_lib.report.gallery import Row, gallery, remark
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend, short, spread
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    listed,
    percent,
    plus_minus,
    signed,
    table,
    told,
)
from ccfs_lib.statistics import Difference, difference

Runs = Sequence[Sequence[PhaseRecord]]  # one list of phases per seed


def read(stages) -> Runs:
    """All phases of every seed."""
    return [list(stages.phases(seed)) for seed in range(stages.experiment.seeds)]


@drawn
def growth(runs: Runs):
    """Figure 4(a): the filter's accuracy by phase on training and test images."""
    figure, ax = canvas(3.1)
    x = [record.phase for record in runs[0]]
    known = _by_phase(runs, lambda r: r.train_accuracy)
    band(ax, x, known, "blue", "training images")
    tested = _by_phase(runs, lambda r: r.filter.test_accuracy)
    band(ax, x, tested, "green", "test images")
    ax.set(xlabel="phase", ylabel="filter right (%)", xticks=x)
    ax.grid(axis="y")
    legend(ax)
    return figure


def _by_phase(runs: Runs, value) -> list[list[float]]:
    """value(record) of every seed, phase by phase."""
    return [[value(r) for r in phase] for phase in zip(*runs, strict=True)]


@drawn
def climb(runs: Runs):
    """Figure 4(b): difficulty of the picked by phase: range, middle half, mean."""
    figure, ax = canvas(3.1)
    colours = ("blue", "sky", "purple")
    for seed, records in enumerate(runs):
        shift = 0.16 * (seed - (len(runs) - 1) / 2)
        for record in records:
            values, x = record.difficulty, record.phase + shift
            if not len(values):
                continue
            ink = PALETTE[colours[seed % len(colours)]]
            low, high = np.percentile(values, [25, 75])
            ax.plot([x, x], [values.min(), values.max()], color=ink, lw=1.4)
            ax.plot([x, x], [low, high], color=ink, lw=7, alpha=0.4)
            name = f"seed {seed}" * (record is records[0])
            ax.plot([x], [values.mean()], "o", color=ink, ms=6, label=name)
    ax.set(xlabel="phase", ylabel="difficulty of the picked")
    ax.set_xticks([record.phase for record in runs[0]])
    ax.grid(axis="y")
    legend(ax, columns=3)
    return figure


def median_images(stages, runs: Runs, columns: int = 4):
    """Figure 4(c): picked images of median difficulty, by class and phase."""
    labels, data = stages.train.labels.numpy(), stages.train
    rows = []
    for c in spread(range(data.num_classes), 6):
        blocks = []
        for record in runs[0]:
            blocks.append(data.images[_middle(record, labels, c, columns)])
        rows.append(Row(short(data.classes[c]), blocks))
    heads = [f"phase {record.phase}" for record in runs[0]]
    return gallery(rows, heads, remark(len(rows), data.num_classes, "in their order"))


def _middle(record: PhaseRecord, labels: np.ndarray, c: int, most: int) -> np.ndarray:
    """The `most` picks of a class whose difficulty is nearest to its median."""
    mine = labels[record.chosen] == c
    picked, values = record.chosen[mine], record.difficulty[mine]
    order = picked[np.argsort(values, kind="stable")]
    start = max(0, (len(order) - most) // 2)
    return order[start : start + most]


def whole_set(stages, runs: Runs):
    """Figures 6-11: two real images of every phase, then four distilled, by class."""
    data, labels, e = stages.train, stages.train.labels.numpy(), stages.experiment
    made = stages.distilled(e.distilled)
    rows = []
    for c in spread(range(data.num_classes)):
        real = [_middle(record, labels, c, 2) for record in runs[0]]
        blocks = [data.images[np.concatenate(real)]]
        blocks.append(made.images[made.labels == c][:4])
        rows.append(Row(short(data.classes[c]), blocks))
    heads = (f"real, two of each of {len(runs[0])} phases", "distilled")
    return gallery(rows, heads, remark(len(rows), data.num_classes, "in their order"))


def overlaps(stages, runs: Runs) -> Text:
    """How much of a phase's candidates were candidates before, and are with others."""
    pools = [[record.candidates for record in records] for records in runs]
    picked = [[set(record.chosen.tolist()) for record in records] for records in runs]
    body = []
    for i, record in enumerate(runs[0]):
        before = [_part(p[i], p[i - 1]) for p in pools] if i else []
        seeds = [
            _part(pools[a][i], pools[b][i])
            for a in range(len(runs))
            for b in range(len(runs))
            if a != b
        ]
        same = [
            100 * len(picked[a][i] & picked[b][i]) / max(len(picked[a][i]), 1)
            for a in range(len(runs))
            for b in range(len(runs))
            if a != b
        ]
        sizes = f"{np.mean([p[i].sum() for p in pools]):,.0f}"
        shown = [percent(np.mean(v), 0) if v else "" for v in (before, seeds, same)]
        body.append([record.phase, sizes, *shown])
    head = ["phase", "candidates", "were candidates before"]
    head += ["are with another seed", "picks shared with another seed"]
    caption = "Candidates after the coarse stage, means over seeds."
    return table(caption, head, body)


def _part(a: np.ndarray, b: np.ndarray) -> float:
    """Percent of `a` that is also in `b`."""
    return 100 * float((a & b).sum() / max(a.sum(), 1))


def short_classes(stages, runs: Runs) -> Text:
    """Which classes ran out of candidates, by how much, and how many others did."""
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
        return Text("No class ran short in any phase.")
    head = ["class", "phases short", "images missing", "of those wanted"]
    more = len(lacking) - len(body)
    caption = f"Classes that ran out of candidates, of {count(len(runs), 'seed')}."
    return table(caption + f" {more} more are left out." * bool(more), head, body)


def steps(runs: Runs, value) -> list[Difference]:
    """value(record) of each phase minus that of the one before, paired by seed."""
    by_phase = _by_phase(runs, value)
    pairs = zip(by_phase[1:], by_phase, strict=False)
    return [difference(later, earlier, paired=True) for later, earlier in pairs]


MEASURES = {
    "the filter's accuracy on the training images": (
        lambda r: r.train_accuracy,
        "points",
    ),
    "the filter's accuracy on the test images": (
        lambda r: r.filter.test_accuracy,
        "points",
    ),
    "the mean difficulty of the picked": (lambda r: r.difficulty.mean(), ""),
    "the lowest difficulty picked": (lambda r: r.difficulty.min(), ""),
    "the highest difficulty picked": (lambda r: r.difficulty.max(), ""),
}


def answer(stages, runs: Runs) -> Text:
    """Finding: which of Figure 4's rises are rises here, phase by phase."""
    if len(runs[0]) < 2:
        return finding("A single phase has no course: choose more curricula.")
    if any(not len(record.chosen) for records in runs for record in records):
        return finding("In some phase nothing was picked, so nothing can rise.")
    rising, lines = [], []
    for name, (value, unit) in MEASURES.items():
        found = steps(runs, value)
        if all(verdict(d) == HOLDS for d in found):
            rising.append(name)
        told_ = "; ".join(
            f"phase {i} to {i + 1}: {_step(d, unit)}" for i, d in enumerate(found, 1)
        )
        lines.append(f"{name[0].upper()}{name[1:]}: {told_}.")
    said = (
        f"From every phase to the next, beyond the spread of the seeds, rise "
        f"{listed(rising)}: {len(rising)} of the {len(MEASURES)} rises of Figure 4."
        if rising
        else "Nothing that Figure 4 shows rises from every phase to the next beyond "
        "the spread of the seeds."
    )
    last = [records[-1].train_accuracy for records in runs]
    return finding(
        said,
        *lines,
        f"The last filter knows {plus_minus(last)} % of the training images.",
    )


def _step(d: Difference, unit: str) -> str:
    if d.half == 0:  # every seed gave the same, as for a lowest score of zero
        return f"{signed(d.mean)} in every seed"
    return told(d, unit) if unit else _bare(d)


def _bare(d: Difference) -> str:
    if np.isnan(d.half):
        return f"{signed(d.mean, 2)}, one seed"
    low, high = (signed(d.mean + s * d.half, 2) for s in (-1, 1))
    return f"{signed(d.mean, 2)} [{low}, {high}]"
