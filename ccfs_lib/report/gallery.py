"""Galleries: rows of small images, enlarged pixel by pixel, class names beside them.

Laid out by hand, in the pixels of the file: matplotlib's grids would resample images to
a size that is no multiple of theirs, and a blurred 8x8 digit looks like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ccfs_lib.data import ImageSet
from ccfs_lib.report.style import DPI, PALETTE, Figure, drawn, short, spread

CELL = 96  # pixels an image is enlarged to, or shrunk below
GAP, BLOCK, LINE = 6, 28, 22  # pixels between images, between blocks, of a caption
COLUMNS = 8  # as many as stay recognisable on a phone
NARROWEST = 460  # pixels: a figure of one image still has a caption below it
LETTER = 14  # pixels of a letter of a head, on average


@dataclass(frozen=True)
class Row:
    """One line of a gallery: blocks of images uint8 (n, 3, H, W), and captions."""

    label: str
    blocks: Sequence[Tensor]
    captions: Sequence[Sequence[str]] = ()  # per block, one for each of its images


def enlarged(images: Tensor) -> np.ndarray:
    """Return images uint8 (n, 3, H, W) for display, uint8 (n, side, side, 3).

    Whole multiples by repetition, so that an 8-pixel digit keeps its pixels; images
    larger than a cell shrink by averages.
    """
    # Averages and not single pixels: a shrunk photograph that skips pixels flickers.
    side = max(images.shape[2:])
    if side > CELL:
        pooled = F.avg_pool2d(images.float(), -(-side // CELL), ceil_mode=True)
        images = pooled.round().to(torch.uint8)
    factor = max(1, CELL // max(images.shape[2:]))
    big = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return big.permute(0, 2, 3, 1).numpy()


@drawn
def gallery(rows: Sequence[Row], heads: Sequence[str] = (), remark: str = "") -> Figure:
    """Draw a figure of image rows.

    heads: a title for each block of columns. remark: above all, small: which classes
    were left out. Rows may be shorter than the widest; they leave their places empty,
    and a class with too few images is seen to be short. At least one row must
    hold an image.
    """
    widths = [max(len(r.blocks[b]) for r in rows) for b in range(len(rows[0].blocks))]
    sample = next(block for row in rows for block in row.blocks if len(block))
    side = enlarged(sample[:1]).shape[1]
    # Text is measured by its letters: the exact width is known only when it is drawn.
    label = 26 + 12.5 * max(len(row.label) for row in rows)
    widths = _widths(widths, side, heads)
    starts = [label + BLOCK * b + sum(widths[:b]) for b in range(len(widths))]
    step = side + GAP + LINE * any(row.captions for row in rows)
    top = 8 + 30 * bool(remark) + 34 * bool(heads)
    width = starts[-1] + widths[-1] + 8
    # As wide as its longest line of text, or that line would be cut.
    width = max(width, NARROWEST, 32 + 11 * len(remark))
    figure, ax = _sheet(width, top + step * len(rows) + 4)
    if remark:
        ax.text(16, 20, remark, fontsize=9.5, color="#5B6770", va="center")
    for start, head in zip(starts, heads, strict=False):
        ax.text(start, top - 16, head, fontsize=11, va="center", weight="bold")
    for r, row in enumerate(rows):
        y = top + step * r
        ax.text(label - 14, y + side / 2, row.label, ha="right", va="center")
        for b, (start, block) in enumerate(zip(starts, row.blocks, strict=True)):
            captions = row.captions[b] if row.captions else ()
            _place(ax, block, captions, start, y)
    return figure


def _widths(most: Sequence[int], side: int, heads: Sequence[str]) -> list[float]:
    """Return the pixels of each block: its images or their absence, and its head.

    most: images of its longest row.
    """
    widths = [(side + GAP) * (n or 1) for n in most]
    if not heads:
        return widths
    return [
        max(width, LETTER * len(head))
        for width, head in zip(widths, heads, strict=True)
    ]


def _sheet(width: float, height: float):
    """Return an empty figure whose data coordinates are its pixels, y downwards."""
    width, height = round(width), round(height)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.photographs = True  # 128 colours are too few for them
    ax = figure.add_axes([0, 0, 1, 1])
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis("off")
    return figure, ax


def _place(ax, block: Tensor, captions, start: float, y: float) -> None:
    """Draw one block of a row, its upper left corner at (start, y)."""
    if not len(block):
        ax.text(
            start, y + 48, "none", va="center", color=PALETTE["grey"], style="italic"
        )
        return
    for i, image in enumerate(enlarged(block)):
        side, x = image.shape[0], round(start) + i * (image.shape[1] + GAP)
        extent = (x, x + image.shape[1], y + side, y)
        ax.imshow(image, extent=extent, interpolation="nearest", aspect="auto")
        if i < len(captions):
            middle = x + image.shape[1] / 2, y + side + LINE / 2
            ax.text(*middle, captions[i], ha="center", va="center", fontsize=8)


def remark(shown: int, classes: int, order: str) -> str:
    """Say which classes a gallery leaves out; empty where it shows all.

    order: the ranking that the shown ones are evenly spread over, for `style.spread`.
    """
    if shown == classes:
        return ""
    return f"{shown} of {classes} classes, evenly spread {order}"


def samples(data: ImageSet, columns: int = COLUMNS) -> Figure:
    """Draw `columns` images of every class, at even steps of the data's order."""
    classes = spread(range(data.num_classes))
    rows = []
    for c in classes:
        members = torch.nonzero(data.labels == c)[:, 0]
        rows.append(
            Row(short(data.classes[c]), [data.images[evenly(members, columns)]])
        )
    return gallery(rows, remark=remark(len(rows), data.num_classes, "in their order"))


def evenly(items, most: int):
    """Return at most `most` of a sequence or tensor, first and last among them."""
    if len(items) <= most:
        return items
    return items[np.linspace(0, len(items) - 1, most).round().astype(int)]
