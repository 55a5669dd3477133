"""Fewer pixels: areas averaged exactly, and squares cut from the centre."""

from functools import lru_cache

import torch
from torch import Tensor

from ccfs_lib.errors import InputError

CHUNK = 500  # images shrunk in one go: their floats stay in the processor's cache


def shrink(images: Tensor, size: int) -> Tensor:
    """Resize uint8 (N, C, S, S) to (N, C, size, size): each pixel the mean of its area.

    The area of a new pixel covers parts of old ones where S is no multiple of `size`;
    where S is below `size`, pixels are repeated so. All weights are whole numbers and
    every sum stays below 2^53, so that the result is exact, rounded half up, and the
    same on every machine. Raises InputError for images that are not square.
    """
    side = images.shape[2]
    if images.shape[3] != side:
        raise InputError(
            f"images are {images.shape[3]}x{side} pixels; only square ones can shrink"
        )
    # Floats hold these integers exactly, and multiply matrices far faster than ints.
    small = 256 * side**2 <= 2**24
    exact = torch.float32 if small else torch.float64
    whole = torch.int32 if small else torch.int64
    weights = _weights(side, size).to(exact)
    result = torch.empty(*images.shape[:2], size, size, dtype=torch.uint8)
    for part, out in zip(images.split(CHUNK), result.split(CHUNK), strict=True):
        total = weights @ part.to(exact) @ weights.T
        out.copy_((total + side**2 // 2).to(whole) // side**2)
    return result


@lru_cache(maxsize=256)
def _weights(side: int, size: int) -> Tensor:
    """Share of old pixel j in new pixel i, int64 (size, side); rows sum to side."""
    # In units of 1 / (side x size) of the width, old pixel j covers [j, j + 1) x size,
    # and new pixel i covers [i, i + 1) x side.
    old, new = torch.arange(side + 1) * size, torch.arange(size + 1) * side
    right = torch.minimum(old[1:], new[1:, None])
    left = torch.maximum(old[:-1], new[:-1, None])
    return (right - left).clamp(min=0)


def square(image: Tensor, size: int) -> Tensor:
    """Cut the centre square of uint8 (C, H, W), then shrink it to (C, size, size).

    torchvision's CenterCrop, then what its Resize covers; the other way round would
    round the longer side to whole pixels.
    """
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)  # as torchvision
    cut = image[:, top : top + side, left : left + side]
    return shrink(cut[None], size)[0]
