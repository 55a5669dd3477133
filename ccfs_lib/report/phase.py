"""Chapter 4: one curriculum phase: the filter, its candidates, the selected images.

Figure 4 of the paper, (a) the filter, (b) the difficulty and (c) the picked, for any
phase and with the coarse stage between them, which the paper does not show. `records`
are those that Algorithm 1 yields, the phase that is shown last; `stages` is the
chapter's Pipeline.
"""

from collections.abc import Sequence

import numpy as np

from ccfs_lib.curriculum import PhaseRecord
from ccfs_lib.report import charts
from ccfs_lib.report.difficulty import bins, class_means, name_zero
from ccfs_lib.report.gallery import COLUMNS, Row, evenly, gallery, remark
from ccfs_lib.report.style import (
    PALETTE,
    canvas,
    drawn,
    ends,
    legend,
    note,
    short,
    spread,
    whole_numbers,
)
from ccfs_lib.report.text import Text, percent, plain, table

Records = Sequence[PhaseRecord]
NO_FILTER = (
    "There is no filter in phase 1: alpha is 0, so no distilled image trains one, and "
    "every training image counts as misclassified."
)


def undecided(stages, record: PhaseRecord) -> int:
    """Count the selected images with ties: equally hard candidates were not selected.

    Equation 6 does not define ties, so another correct implementation may select other
    images here. A random fine stage has no ties to break, and where ties are broken at
    random no index decides.
    """
    if "random" in (stages.experiment.fine, stages.experiment.ties):
        return 0
    labels, chosen, left = stages.train.labels.numpy(), record.chosen, record.candidates
    left = left.copy()
    left[chosen] = False  # candidates that the fine stage passed over
    total = 0
    for c in np.unique(labels[chosen]):
        passed = record.scores[left & (labels == c)]
        total += int(np.isin(record.scores[chosen[labels[chosen] == c]], passed).sum())
    return total


def facts(stages, records: Records) -> Text:
    """Tabulate the phase: the set, the filter, the candidates, the selected images.

    Percent are of all training or test images. The filter's test accuracy is shown and
    never used: selection looks at the training split only.
    """
    e, now, train = stages.experiment, records[-1], stages.train
    # From the configuration; the record has only the sum. The rest came in phase by
    # phase, and is less than planned where classes ran short.
    distilled = e.distilled * train.num_classes
    rows = [
        ("distilled images in the set", f"{distilled:,}"),
        ("real images in the set", f"{now.synthetic - distilled:,}"),
        *_accuracies(now),
        ("candidates after the coarse stage", f"{now.pool.sum():,} of {len(train):,}"),
        ("quota per class", f"{now.quota:,}"),
        ("selected by the fine stage", f"{len(now.chosen):,}"),
        ("shortfall", f"{sum(now.shortfall.values()):,}"),
    ]
    return table(f"Phase {now.phase} of {e.curricula}.", ("", ""), rows)


def _accuracies(now: PhaseRecord) -> list[tuple[str, str]]:
    if not now.has_filter:
        return [("filter", "none: the set is empty")]
    return [
        ("training accuracy of the filter", percent(now.train_accuracy)),
        ("test accuracy of the filter", percent(now.filter.test_accuracy)),
    ]


def confusion(stages, records: Records):
    """Draw the filter's predictions on the training images, percent of each class.

    Off the diagonal are the candidates, before those are excluded that earlier phases
    selected or that the teacher misclassifies. A sentence where there is no filter.
    """
    if not records[-1].has_filter:
        return Text(NO_FILTER)
    answers = records[-1].filter.predictions
    return charts.confusion(stages.train.labels.numpy(), answers, stages.train.classes)


@drawn
def supply(stages, records: Records):
    """Draw candidates of each class against the quota; shortfalls in another colour.

    Every class has the same quota (Algorithm 1), but mistakes are not spread evenly: a
    class that the filter has learned has the fewest candidates.
    """
    now, data = records[-1], stages.train
    # Sorted by the number of candidates.
    order = ends(now.pool)
    sizes = now.pool[order]
    figure, ax = canvas(1.1 + 0.25 * len(order))
    y = np.arange(len(order))
    ax.barh(y, sizes, 0.72, color=PALETTE["light"], label="candidates")
    # The selected images are drawn over the candidates, as a part of them.
    taken = np.minimum(sizes, now.quota)
    enough = sizes >= now.quota
    for mask, colour, name in (
        (enough, "blue", "selected"),
        (~enough, "orange", "selected, with a shortfall"),
    ):
        if mask.any():
            ax.barh(y[mask], taken[mask], 0.72, color=PALETTE[colour], label=name)
    ax.axvline(now.quota, color=PALETTE["ink"], lw=1.3, label=f"quota: {now.quota}")
    ax.set_yticks(y, [short(data.classes[c]) for c in order])
    ax.set(xlabel="training images of the class", ylim=(len(order) - 0.4, -0.6))
    whole_numbers(ax, "x")
    legend(ax)
    if len(order) < data.num_classes:
        # The middle is left out; a line shows where.
        half = len(order) // 2
        ax.axhline(half - 0.5, color=PALETTE["grey"], lw=0.8)
        what = f"({half} smallest and {half} largest pools of {data.num_classes})"
        ax.set_xlabel(f"{ax.get_xlabel()}\n{what}")
    return figure


@drawn
def sieve(stages, records: Records):
    """Draw the difficulty of all training images, candidates and selected images.

    Each panel has a separate vertical axis, since few images are selected: compare
    shapes, not heights. The selected images need not be the leftmost candidates,
    because each class has its own quota.
    """
    values = records[-1].scores
    layers = {
        "all training images": (values, "grey"),
        "candidates": (values[records[-1].candidates], "sky"),
        "selected": (values[records[-1].chosen], "blue"),
    }
    # One set of bins for all three, or the layers could not be laid over each other.
    edges = bins(values)
    figure, axes = canvas(4.4, 3, sharex=True)
    for ax, (name, (part, colour)) in zip(axes, layers.items(), strict=True):
        heights = np.histogram(part, edges)[0]
        widths = np.diff(edges) * 0.92
        ax.bar(edges[:-1], heights, widths, align="edge", color=PALETTE[colour])
        span = f", {plain(part.min())} to {plain(part.max())}" if len(part) else ""
        note(ax, f"{name}: {len(part):,}{span}")
        whole_numbers(ax)
        ax.grid(axis="y")
    if values.min() == 0:  # a logit of 0 is a value like any other
        name_zero(axes[-1], edges)
    axes[-1].set_xlabel("difficulty (higher = harder)")
    figure.supylabel("images", fontsize=11)
    return figure


def picked(stages, records: Records, columns: int = COLUMNS):
    """Draw a gallery of the selected images, easiest first, with the filter's class.

    Figure 4(c), which shows one image of median difficulty per phase and class; a whole
    row shows how far the difficulty reaches.
    """
    now, data = records[-1], stages.train
    labels, values = data.labels.numpy()[now.chosen], now.difficulty
    rows = []
    # Classes from easy to hard, so that the rows themselves have an order.
    for c in spread(class_means(now.scores, data.labels.numpy())):
        mine = now.chosen[labels == c]
        some = evenly(mine[np.argsort(values[labels == c], kind="stable")], columns)
        answers = [short(data.classes[p], 10) for p in now.filter.predictions[some]]
        captions = (answers,) if now.has_filter else ()
        rows.append(Row(short(data.classes[c]), (data.images[some],), captions))
    if not any(len(row.blocks[0]) for row in rows):
        return Text("No image was selected here.")
    return gallery(
        rows,
        remark=remark(len(rows), data.num_classes, "from the easiest to the hardest"),
    )


@drawn
def course(stages, records: Records):
    """Draw the phases so far: filter accuracy; difficulty of candidates and selected.

    Figure 4(a) and (b), the candidates added: they show whether the selected images get
    harder because the candidates do. A phase without a filter has no accuracy.
    """
    known = [r for r in records if r.has_filter]
    if known:
        figure, (top, low) = canvas(4.8, 2, sharex=True, height_ratios=(1, 1.25))
        _accuracy(top, known)
    else:
        figure, low = canvas(2.7)
    for i, record in enumerate(records):
        members = record.scores[record.candidates]
        # Named once, or the legend would repeat itself for every phase.
        _span(low, record.phase - 0.1, members, "sky", "candidates" * (i == 0))
        _span(low, record.phase + 0.1, record.difficulty, "blue", "selected" * (i == 0))
    low.set(xlabel="phase", ylabel="difficulty", xlim=(0.5, records[-1].phase + 0.5))
    legend(low)
    low.set_xticks([r.phase for r in records])
    low.grid(axis="y")
    return figure


def _accuracy(ax, records: Records) -> None:
    """Draw the filters' accuracies, on training and on test images."""
    # Both, as in Figure 4(a). Selection uses the training images only.
    for name, colour, values in (
        ("training images", "blue", [r.train_accuracy for r in records]),
        ("test images", "green", [r.filter.test_accuracy for r in records]),
    ):
        x = [r.phase for r in records]
        ax.plot(x, values, "o-", color=PALETTE[colour], ms=7, label=name)
    ax.set(ylabel="filter accuracy (%)")
    middle, span = np.mean(ax.get_ylim()), np.ptp(ax.get_ylim())
    reach = max(6, 0.6 * span)  # a tenth of a point must not look like a mountain
    ax.set_ylim(max(0, middle - reach), min(100, middle + reach))
    ax.grid(axis="y")
    legend(ax)


def _span(ax, x: float, values: np.ndarray, colour: str, label: str) -> None:
    """Draw the range as a thin line, the middle half thick, the mean as a dot."""
    if not len(values):
        return
    ink, (low, high) = PALETTE[colour], np.percentile(values, [25, 75])
    ax.plot([x, x], [values.min(), values.max()], color=ink, lw=1.5)
    ax.plot([x, x], [low, high], color=ink, lw=8, solid_capstyle="butt", alpha=0.45)
    ax.plot([x], [values.mean()], "o", color=ink, ms=8, label=label)
