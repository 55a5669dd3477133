"""Chapter 3: distilled images, and how the teacher classifies them.

Recovery optimises pixels until the teacher predicts the wanted class with confidence
and its batch-norm statistics match those of training (SRe2L; CDA adds the growing range
of crops). Both terms of that loss are measured here, on real images as well.
"""

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from ccfs_lib.augment import crop_boxes
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import Distillation
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.gallery import COLUMNS, Row, enlarged, evenly, gallery, remark
from ccfs_lib.report.probe import MOST, Opinion
from ccfs_lib.report.style import (
    PALETTE,
    canvas,
    drawn,
    legend,
    short,
    spread,
    whole_numbers,
)
from ccfs_lib.report.text import MINUS, Text, plus_minus, table

# The same kinds in the same colours in both charts; noise is grey.
COLOURS = {"recovered": "orange", "real, training": "blue", "real, test": "green"}
LEAST = 1e-3  # percent, the left end of an axis: float32 resolves little below


@drawn
def schedule(image: Tensor, recipe: Distillation):
    """Draw the crops of the recovery: boxes at five iterations, and their areas.

    image: uint8 (3, H, W), square. The band is where an iteration's crop area falls:
    CDA's opens downwards along a cosine, SRe2L's is equally wide throughout.
    """
    figure, axes = canvas(4.0, 2, height_ratios=(1, 1.6))
    axes[0].remove()  # its place is taken by five small axes
    grid = figure.add_gridspec(2, 5, height_ratios=(1, 1.6))
    # Four boxes at each of five iterations, since a crop is random.
    steps = np.linspace(0, recipe.iterations - 1, 5).round().astype(int)
    generator = torch.Generator().manual_seed(0)
    for column, step in enumerate(steps):
        smallest, side = recipe.crop_at(int(step)), image.shape[1]
        boxes = crop_boxes(4, side, image.shape[2], (smallest, 1.0), generator)
        ax = figure.add_subplot(grid[0, column])
        ax.imshow(enlarged(image[None])[0], extent=(0, side, side, 0))
        for top, left, height, width in boxes.tolist():
            box = {"ec": PALETTE["orange"], "fc": "none", "lw": 1.6}
            ax.add_patch(Rectangle((left, top), width, height, **box))
        # A margin, or a box along the border would lose half of its line.
        ax.set(xticks=[], yticks=[], xlim=(-0.4, side + 0.4), ylim=(side + 0.4, -0.4))
        ax.spines[:].set_visible(False)
        ax.set_title(f"{'iteration ' * (column == 0)}{step + 1}", fontsize=9.5)
    iterations = np.arange(recipe.iterations)
    least = [100 * recipe.crop_at(int(i)) for i in iterations]
    low = axes[1]
    low.fill_between(iterations + 1, least, 100, color=PALETTE["sky"], alpha=0.35, lw=0)
    low.plot(iterations + 1, least, color=PALETTE["blue"])
    low.set(xlabel="iteration", ylabel="crop (% of the area)", ylim=(0, 104))
    low.set_xlim(1, recipe.iterations)
    whole_numbers(low, "x")
    low.grid(axis="y")
    return figure


def beside(train: ImageSet, recovered: ImageSet, each: int = COLUMNS // 2):
    """Draw a gallery: `each` real images of each class, and as many recovered ones.

    Evenly spread over the data's order; neither side is chosen by hand.
    """
    rows = []
    for c in spread(range(train.num_classes)):
        sets = [
            data.images[evenly(torch.nonzero(data.labels == c)[:, 0], each)]
            for data in (train, recovered)
        ]
        rows.append(Row(short(train.classes[c]), sets))
    text = remark(len(rows), train.num_classes, "in their order")
    return gallery(rows, ("real", "recovered"), text)


def opinion_table(opinions: dict[str, Opinion]) -> Text:
    """Tabulate agreement, confidence and entropy of each kind, with intervals.

    opinions: kind -> opinions, from `probe.opinions`. The intervals are over images,
    for this one teacher. Agreement has none: near 100 % a t interval of zeros and ones
    is wrong, and at 100 % it would have no width.
    """
    rows = [
        (
            kind,
            f"{len(o.right):,}",
            f"{100 * o.right.mean():.1f}",
            plus_minus(o.confidence),
            plus_minus(o.entropy, 2),
        )
        for kind, o in opinions.items()
    ]
    head = "images", "N", "correct (%)", "confidence (%)", "entropy (bits)"
    caption = (
        "The teacher's predictions: means and 95 % intervals over images, at most "
        f"{MOST:,} of a kind."
    )
    return table(caption, head, rows)


@drawn
def doubt(opinions: dict[str, Opinion]):
    """Draw the cumulative distribution of the teacher's doubt, by kind of image.

    opinions: as for `opinion_table`. Doubt is 100 % minus the confidence in the true
    class; its axis is logarithmic, because a trained teacher is confident on nearly all
    images. Curves, because a mean hides that a few images have most of the doubt.
    """
    figure, ax = canvas(3.0)
    for kind, o in opinions.items():
        x = np.sort(np.maximum(100 - o.confidence, LEAST))
        y = 100 * np.arange(1, len(x) + 1) / len(x)
        ink = PALETTE[COLOURS.get(kind, "grey")]
        # Continued to the right border, where every curve has reached 100 %.
        ax.step(np.r_[x, 100], np.r_[y, 100], where="post", color=ink, label=kind)
    ax.set(xlabel=f"doubt: 100 {MINUS} confidence (%)", ylabel="% of images below")
    ax.set(xscale="log", xlim=(LEAST, 100), ylim=(0, 100))
    ax.xaxis.set_major_formatter("{x:g}")
    legend(ax, columns=3)
    ax.grid()
    return figure


def distance_chart(distances: dict[str, list[float]]):
    """Draw batch-norm distances, a tick per batch, the mean as a dot.

    distances: kind -> distances, from `probe.distances`, in the loss's unit. Only
    ratios between the kinds mean anything: the unit grows with layers and channels.
    """
    kinds = distances.items()
    lines = [Line.of(kind, each, COLOURS.get(kind, "grey")) for kind, each in kinds]
    return intervals(lines, "distance to the teacher's batch-norm statistics", {})
