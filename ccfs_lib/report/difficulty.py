"""Chapter 1: the data, and the difficulty of each image.

Curriculum selection ranks images by one score each (Section 5.4, Table 4); tied scores
leave the ranking open. `difficulty` is everywhere a float (N,), one value per training
image, higher = harder.
"""

import numpy as np

from ccfs_lib.data import ImageSet
from ccfs_lib.report.gallery import COLUMNS, Row, gallery, remark
from ccfs_lib.report.style import (
    PALETTE,
    canvas,
    drawn,
    ends,
    legend,
    note,
    short,
    spread,
)
from ccfs_lib.report.text import Text, share, table
from ccfs_lib.statistics import summary


def sizes(train: ImageSet, test: ImageSet) -> Text:
    """Tabulate both splits: images, classes, sizes, pixels, and the fingerprint.

    Different fingerprints mean different data, whatever the name: CIFAR-10 from another
    archive may be in another order, or JPEG-compressed.
    """
    rows = []
    for split, data in (("training", train), ("test", test)):
        # "Equally many of each class" meets a smallest class: it limits the IPC.
        least, most = min(data.class_sizes), max(data.class_sizes)
        per_class = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        side = f"{data.image_size} x {data.images.shape[3]}"
        row = split, f"{len(data):,}", data.num_classes, per_class, side
        rows.append((*row, f"`{data.fingerprint[:12]}`"))
    head = "split", "images", "classes", "per class", "pixels", "fingerprint"
    return table("The data, with a checksum over pixels and labels.", head, rows)


def bins(difficulty: np.ndarray) -> np.ndarray:
    """Return histogram edges, float (B + 1,): a bar per value if few, else equal.

    Of many event counts, zero keeps a separate bar: these were never forgotten.
    """
    distinct = np.unique(difficulty)
    # Counts averaged over a few trainings lie on a grid of thirds or fifths. Bins that
    # do not match the grid would show a comb that is the histogram's, not the data's.
    if 1 < len(distinct) <= 60:
        step = np.diff(distinct).min()
        if (distinct[-1] - distinct[0]) / step <= 120:
            return np.arange(distinct[0] - step / 2, distinct[-1] + step, step)
    low, high = distinct[0], distinct[-1]
    # Not counts: logits have both signs, C-scores with their sign turned are negative.
    if low < 0 or high <= 2:
        return np.linspace(low, high if high > low else low + 1, 31)
    step = max(1, int(np.ceil(high / 40)))
    # Edges a hair higher: numpy closes bins at the left, but a count of 5 belongs to
    # the bar that ends at 5, so that the first bar holds the zeros and nothing else.
    return np.concatenate([[-step], np.arange(0, high + step, step) + 1e-9])


@drawn
def histogram(difficulty: np.ndarray):
    """Draw a histogram of the difficulty; the bar of zeros has another colour.

    Zeros are images that were never forgotten (Toneva et al., 2019); they are all tied.
    """
    edges = bins(difficulty)
    heights = np.histogram(difficulty, edges)[0]
    figure, ax = canvas(2.9)
    bars = ax.bar(edges[:-1], heights, np.diff(edges) * 0.9, align="edge")
    for bar in bars:
        bar.set_color(PALETTE["blue"])
    # Zero is special only as the least of counts; logits have it as any other value.
    if (zeros := int((difficulty == 0).sum())) and difficulty.min() == 0:
        bars[0].set_color(PALETTE["orange"])
        legend(ax, [bars[0]], [f"never forgotten: {share(zeros, len(difficulty))}"])
        name_zero(ax, edges)
    ax.set(xlabel="difficulty (higher = harder)", ylabel="training images")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.grid(axis="y")
    return figure


def name_zero(ax, edges: np.ndarray) -> None:
    """Put the tick of 0 below the bar of the zeros, which may stand left of 0.

    edges: of `bins`. The bar is the axes' first, of a width that no single value has.
    """
    if edges[1] > 1e-6:  # a value a bar: this one is around its value
        return
    # Of the bar, not of the bin: so the numbers behind the figure have the 0 as well.
    middle = ax.patches[0].get_x() + ax.patches[0].get_width() / 2
    ticks = [float(t) for t in ax.get_xticks() if t > 0 and t < ax.get_xlim()[1]]
    ax.set_xticks([middle, *ticks], ["0", *(f"{t:g}" for t in ticks)])


@drawn
def staircase(difficulty: np.ndarray):
    """Draw all images in order of difficulty, easiest first; a flat step is a tie.

    Taking the k simplest images cuts this curve; on a step the rule for ties decides.
    """
    figure, ax = canvas(2.6)
    # In percent of the images, so that an IPC's share can be read off the axis.
    place = 100 * np.arange(len(difficulty)) / len(difficulty)
    ax.step(place, np.sort(difficulty), where="post", color=PALETTE["blue"])
    ax.set(xlabel="% of the training images, easiest first", ylabel="difficulty")
    ax.set_xlim(0, 100)
    ax.grid()
    return figure


def ties(difficulty: np.ndarray, labels: np.ndarray, take: int) -> np.ndarray:
    """Count, per class, the images as hard as the `take`-th easiest; int (C,).

    labels: int (N,). 1 means that the cut is unique; a class smaller than `take` is cut
    at its hardest image.
    """
    shared = []
    for c in np.unique(labels):
        values = np.sort(difficulty[labels == c])
        # All that tie with it, on both sides of the cut: so many were interchangeable.
        last = values[min(take, len(values)) - 1]
        shared.append(int((values == last).sum()))
    return np.array(shared)


def class_means(difficulty: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the mean difficulty of every class, float (C,); labels: int (N,)."""
    return np.bincount(labels, difficulty) / np.maximum(np.bincount(labels), 1)


@drawn
def by_class(difficulty: np.ndarray, data: ImageSet):
    """Draw the mean difficulty of each class, 95 % interval, easiest above.

    The interval is over the images of the class: whether the classes of this data set
    differ by more than their images scatter, not what another training would count.
    """
    labels = data.labels.numpy()
    order = ends(class_means(difficulty, labels))
    rows = [summary(difficulty[labels == c]) for c in order]
    figure, ax = canvas(0.9 + 0.27 * len(order))
    y = np.arange(len(order))
    # The mean of all images: classes right of it give harder images than a random draw.
    ax.axvline(difficulty.mean(), color=PALETTE["grey"], lw=1.2, ls=(0, (4, 3)))
    middle, half = [r.mean for r in rows], [r.half for r in rows]
    ax.errorbar(middle, y, xerr=half, fmt="o", color=PALETTE["blue"], ms=6)
    ax.set_yticks(y, [short(data.classes[c]) for c in order])
    ax.set(xlabel="mean difficulty (dashed: all images)", ylim=(len(order) - 0.4, -0.6))
    ax.grid(axis="x")
    if len(order) < data.num_classes:
        half = len(order) // 2
        note(ax, f"The {half} easiest and {half} hardest of {data.num_classes} classes")
        ax.axhline(half - 0.5, color=PALETTE["grey"], lw=0.8)
    return figure


def extremes(data: ImageSet, difficulty: np.ndarray, each: int = COLUMNS // 2):
    """Draw a gallery: the `each` easiest and hardest images of a class.

    Ties go to the lower index, as in the selection, so the easiest shown are those that
    a "simplest" strategy without any filter would take.
    """
    labels = data.labels.numpy()
    rows = []
    for c in spread(class_means(difficulty, labels)):
        members = np.flatnonzero(labels == c)
        ranked = members[np.argsort(difficulty[members], kind="stable")]
        pair = data.images[ranked[:each]], data.images[ranked[-each:]]
        rows.append(Row(short(data.classes[c]), pair))
    text = remark(len(rows), data.num_classes, "from the easiest to the hardest class")
    return gallery(rows, ("easiest", "hardest"), text)
