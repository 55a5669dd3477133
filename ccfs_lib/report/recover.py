"""Chapter 3: distilled images, and what the teacher makes of them.

Recovery moves pixels until the teacher is sure of the wanted class and its batch-norm
layers see familiar statistics. Both can be measured, on real images as well.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.augment import crop_boxes
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import sre2l
from ccfs_lib.recipes import Distillation
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.gallery import COLUMNS, Row, enlarged, evenly, gallery, remark
from ccfs_lib.report.style import PALETTE, canvas, drawn, short, spread
from ccfs_lib.report.text import (
    Text,
    plus_minus,
    table,
)
from ccfs_lib.statistics import summary

COLOURS = {"recovered": "orange", "real, training": "blue", "real, test": "green"}
MOST = 2000  # images of each kind that the teacher is asked about


@dataclass(frozen=True)
class Opinion:
    """What the teacher says of a set of images, one value per image."""

    confidence: np.ndarray  # percent, of the image's own class
    right: np.ndarray  # bool, whether that class is its answer
    entropy: np.ndarray  # bits


@drawn
def schedule(image: Tensor, recipe: Distillation):
    """The crops of the recovery: five typical boxes on an image, and the areas drawn.

    image: uint8 (3, H, W). The band is where an iteration's crop area falls.
    """
    figure, axes = canvas(4.0, 2, height_ratios=(1, 1.6))
    axes[0].remove()
    grid = figure.add_gridspec(2, 5, height_ratios=(1, 1.6))
    steps = np.linspace(0, recipe.iterations - 1, 5).round().astype(int)
    generator = torch.Generator().manual_seed(0)
    for column, step in enumerate(steps):
        smallest, side = recipe.crop_at(int(step)), image.shape[1]
        boxes = crop_boxes(4, side, image.shape[2], (smallest, 1.0), generator)
        ax = figure.add_subplot(grid[0, column])
        ax.imshow(enlarged(image[None])[0], extent=(0, side, side, 0))
        for top, left, height, width in boxes.tolist():
            box = {"ec": PALETTE["orange"], "fc": "none", "lw": 1.6}
            ax.add_patch(_rectangle(left, top, width, height, box))
        ax.set(xticks=[], yticks=[], xlim=(-0.4, side + 0.4), ylim=(side + 0.4, -0.4))
        ax.spines[:].set_visible(False)
        ax.set_title(f"{step + 1}", fontsize=9.5)
    iterations = np.arange(recipe.iterations)
    least = [100 * recipe.crop_at(int(i)) for i in iterations]
    low = axes[1]
    low.fill_between(iterations + 1, least, 100, color=PALETTE["sky"], alpha=0.35, lw=0)
    low.plot(iterations + 1, least, color=PALETTE["blue"])
    low.set(xlabel="iteration", ylabel="crop (% of the area)", ylim=(0, 104))
    low.set_xlim(1, recipe.iterations)
    low.grid(axis="y")
    return figure


def _rectangle(x, y, width, height, style):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, **style)


def beside(train: ImageSet, recovered: ImageSet, each: int = COLUMNS // 2):
    """Gallery: real images of each class, and recovered ones."""
    rows = []
    for c in spread(range(train.num_classes)):
        sets = [
            data.images[evenly(torch.nonzero(data.labels == c)[:, 0], each)]
            for data in (train, recovered)
        ]
        rows.append(Row(short(train.classes[c]), sets))
    told = remark(len(rows), train.num_classes, "in their order")
    return gallery(rows, ("real", "recovered"), told)


def some(data: ImageSet, most: int = MOST) -> ImageSet:
    """At most `most` images at random (always the same), mixed over the classes."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.subset(order[:most])


def opinions(stages, recovered: ImageSet) -> dict[str, Opinion]:
    """The teacher's opinion of recovered, training and test images."""
    kinds = zip(COLOURS, (recovered, stages.train, stages.test), strict=True)
    network, device = stages.teacher.network, stages.device
    with _quiet(stages):
        return {k: opinion(network, some(data), device) for k, data in kinds}


def opinion(network, data: ImageSet, device="cpu") -> Opinion:
    """Confidence of the own class (percent), agreement and entropy (bits) per image."""
    logs = sre2l.relabel(network, data, device).double().log_softmax(1)
    own = logs.gather(1, data.labels[:, None])[:, 0].exp()
    entropy = -(logs.exp() * logs).sum(1) / np.log(2)
    right = logs.argmax(1) == data.labels
    return Opinion(100 * own.numpy(), right.numpy(), entropy.numpy())


def _quiet(stages):
    """Without oneDNN where the experiment must give the same bits everywhere."""
    enabled = torch.backends.mkldnn.enabled and not stages.experiment.portable
    return torch.backends.mkldnn.flags(enabled=enabled)


def opinion_table(found: dict[str, Opinion]) -> Text:
    """Agreement, confidence and entropy of each kind of image, with intervals."""
    rows = [
        (
            kind,
            f"{len(o.right):,}",
            plus_minus(100.0 * o.right),
            plus_minus(o.confidence),
            plus_minus(o.entropy, 2),
        )
        for kind, o in found.items()
    ]
    head = "images", "asked", "class agrees (%)", "confidence (%)", "entropy (bits)"
    return table(
        "The teacher's opinion: means and 95 % intervals over images.", head, rows
    )


@drawn
def confidence(found: dict[str, Opinion]):
    """Which part of the images the teacher is less sure of than a given confidence."""
    figure, ax = canvas(2.9)
    for kind, o in found.items():
        x = np.sort(o.confidence)
        y = 100 * np.arange(1, len(x) + 1) / len(x)
        ax.step(
            np.r_[0, x, 100],
            np.r_[0, y, 100],
            where="post",
            color=_ink(kind),
            label=kind,
        )
    ax.set(xlabel="confidence in the image's own class (%)", ylabel="% of images below")
    ax.set(xlim=(0, 100), ylim=(0, 100))
    ax.legend(loc="upper left", borderpad=0)
    ax.grid()
    return figure


def _ink(kind: str) -> str:
    return PALETTE[COLOURS.get(kind, "grey")]


def distances(stages, recovered: ImageSet, batches: int = 8) -> dict[str, list[float]]:
    """Batch-norm distance of batches of each kind of image, and of noise.

    All batches have one size, the recovery's where there are images enough: a smaller
    batch has noisier statistics and would look farther away.
    """
    e, size = (
        stages.experiment,
        min(stages.experiment.distillation.batch_size, len(recovered)),
    )
    shape = (size * batches, *recovered.images.shape[1:])
    noise = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    sets = (recovered, stages.train, stages.test)
    kinds = {
        k: some(s, size * batches).images for k, s in zip(COLOURS, sets, strict=True)
    }
    kinds["noise"] = noise.to(torch.uint8)
    network = stages.teacher.network.to(stages.device).eval()
    loss = sre2l.BatchNormLoss(network, e.distillation.first_bn)
    try:
        with _quiet(stages), torch.inference_mode():
            return {
                k: list(_distances(network, loss, v, size)) for k, v in kinds.items()
            }
    finally:
        loss.close()


def _distances(network, loss, images: Tensor, size: int):
    device = next(network.parameters()).device
    for batch in images.split(size):
        if len(batch) == size:
            network(batch.to(device).float() / 255)
            yield float(loss.read())


def distance_chart(found: dict[str, list[float]]):
    """Batch-norm distances, a tick per batch, the mean as a dot."""
    lines = []
    for kind, values in found.items():
        s = summary(values)
        aside, colour = plus_minus(s), COLOURS.get(kind, "grey")
        lines.append(Line(kind, s.mean, s.half, values, colour, aside))
    return intervals(lines, "distance to the statistics the teacher remembers", {})
