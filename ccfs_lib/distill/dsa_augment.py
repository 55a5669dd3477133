"""Differentiable siamese augmentation: one of six operations, drawn for every image.

Zhao and Bilen (ICML 2021). All images go through the same arithmetic (colour, one
bilinear sampling, one mask), each with separate numbers; those of operations that
were not drawn are neutral. So a batch needs no loop and no indexing by operation. The
random draws are a value: the same ones on real and synthetic images make the
augmentation siamese, and a step can be repeated exactly.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ccfs_lib.experiment import Strengths
from ccfs_lib.experiment.strengths import OPS as OPS
from ccfs_lib.runtime.device import sent


class Draws(NamedTuple):
    """Numbers for n images (n = 1: shared by any batch), float unless noted."""

    brightness: Tensor  # (n,), added
    saturation: Tensor  # (n,), factor
    contrast: Tensor  # (n,), factor
    affine: Tensor  # (n, 2, 3), output to input coordinates in [-1, 1]
    moved: Tensor  # bool (n,), whether `affine` is not the identity
    hole: Tensor  # int (n, 4), rows from, to, columns from, to; empty if from = to

    def to(self, like: Tensor) -> "Draws":
        """Move to another tensor's device, floats to its type."""
        kinds = [like.dtype if x.is_floating_point() else x.dtype for x in self]
        typed = (x.to(dtype=kind) for x, kind in zip(self, kinds, strict=True))
        return Draws(*(sent(x, like.device) for x in typed))


def draw(count: int, height: int, width: int, strengths: Strengths, generator) -> Draws:
    """Draw an operation, and its numbers, for `count` images of a size in pixels.

    A seed gives the same random draws on every machine if `generator` is a CPU's. With
    `strengths.siamese` one random draw serves all.
    """
    n = 1 if strengths.siamese else count
    place = {"generator": generator, "device": generator.device}
    kinds = n if strengths.choice == "image" else 1
    drawn = torch.randint(len(strengths.ops), (kinds,), **place).expand(n)
    color, crop, cutout, flip, scale, rotate = (
        _is_drawn(drawn, op, strengths.ops) for op in OPS
    )
    # Every number is drawn for every image: what one image gets does not depend on
    # which operations the others got.
    u = torch.rand(9, n, dtype=torch.float64, **place)
    zero, one = torch.zeros_like(u[0]), torch.ones_like(u[0])
    mirror = flip & (u[3] < strengths.flip)
    low = 1 / strengths.scale
    stretch = [
        torch.where(scale, low + v * (strengths.scale - low), one) for v in u[4:6]
    ]
    angle = torch.where(rotate, (2 * u[6] - 1) * math.radians(strengths.rotate), zero)
    shift = [
        torch.where(crop, _whole(v, -reach, reach) * 2 / side, zero)
        for v, side, reach in (
            (u[7], width, int(width * strengths.crop + 0.5)),
            (u[8], height, int(height * strengths.crop + 0.5)),
        )
    ]
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([torch.where(mirror, -one, stretch[0] * cos), -sin, shift[0]], 1),
        torch.stack([sin, stretch[1] * cos, shift[1]], 1),
    ]
    return Draws(
        torch.where(color, (u[0] - 0.5) * strengths.brightness, zero).float(),
        torch.where(color, u[1] * strengths.saturation, one).float(),
        torch.where(color, u[2] + strengths.contrast, one).float(),
        torch.stack(rows, 1).float(),
        crop | mirror | scale | rotate,
        _hole(u[7], u[8], height, width, strengths.cutout) * cutout[:, None],
    )


def _is_drawn(drawn: Tensor, op: str, ops: tuple[str, ...]) -> Tensor:
    """Return bool (n,): whether places in `ops`, int (n,), are those of `op`."""
    # By numbers, not by a tensor of them: a copy from the host cannot be captured.
    hits = torch.zeros_like(drawn, dtype=torch.bool)
    for place, name in enumerate(ops):
        if name == op:
            hits = hits | (drawn == place)
    return hits


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Augment normalised float images (N, C, H, W); differentiable in them."""
    draws = draws.to(images)
    x = images + draws.brightness.view(-1, 1, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * draws.saturation.view(-1, 1, 1, 1)
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + (x - level) * draws.contrast.view(-1, 1, 1, 1)
    grid = F.affine_grid(
        draws.affine.expand(len(x), 2, 3), list(x.shape), align_corners=False
    )
    there = F.grid_sample(x, grid, align_corners=False)  # bilinear, zeros outside
    x = torch.where(draws.moved.view(-1, 1, 1, 1), there, x)
    return x * _kept(draws.hole, *x.shape[2:])[:, None].to(x.dtype)


def augment(images: Tensor, strengths: Strengths, generator) -> Tensor:
    """Augment a batch of normalised images (N, C, H, W): `draw`, then `apply`."""
    count, _, height, width = images.shape
    return apply(images, draw(count, height, width, strengths, generator))


def _whole(u: Tensor, low: int, high: int) -> Tensor:
    """Return uniform whole numbers from low to high, both included, of u in [0, 1)."""
    return (u * (high - low + 1)).floor() + low


def _hole(u: Tensor, v: Tensor, height: int, width: int, share: float) -> Tensor:
    """Return squares cut at the border, int (n, 4); centres as in the public code."""
    spans = []
    for value, side in ((u, height), (v, width)):
        size = int(side * share + 0.5)
        # One more place for an even square: its middle lies between two pixels.
        first = _whole(value, 0, side - size % 2) - size // 2
        spans += [first.clamp(min=0), (first + size).clamp(max=side)]
    return torch.stack(spans, 1).long()


def _kept(hole: Tensor, height: int, width: int) -> Tensor:
    """Return bool (n, height, width): False inside the hole."""
    row = torch.arange(height, device=hole.device)
    column = torch.arange(width, device=hole.device)
    top, bottom, left, right = (edge[:, None] for edge in hole.unbind(1))
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return ~(rows[:, :, None] & columns[:, None, :])
