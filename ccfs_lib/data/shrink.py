"""A smaller problem from the same images: fewer classes, fewer pixels.

An honest rehearsal of a large data set on a small machine: real images, all of the
method, and a name that says what was left out.
"""

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data.imageset import ImageSet
from ccfs_lib.errors import InputError

CHUNK = 500  # images shrunk in one go: their floats stay in the processor's cache


def reduced(data: ImageSet, classes: int = 0, image_size: int = 0) -> ImageSet:
    """The images of the first `classes` classes, `image_size` pixels a side; 0 = all.

    Classes and images keep the order of `data`. Raises InputError for more classes or
    pixels than there are, and for images that are not square.
    """
    for name, wanted, most in (
        ("classes", classes, data.num_classes),
        ("image_size", image_size, data.image_size),
    ):
        if not 0 <= wanted <= most:
            raise InputError(f"{name} is {wanted}, but '{data.name}' has {most}")
    images, labels, names, told = data.images, data.labels, data.classes, data.name
    if classes and classes < data.num_classes:
        kept = torch.from_numpy(members(labels, classes))
        images, labels, names = images[kept], labels[kept], names[:classes]
        told += f"-c{classes}"
    if image_size and image_size < data.image_size:
        images = shrink(images, image_size)
        told += f"-{image_size}px"
    # The very set where nothing was asked for: its fingerprint is known already.
    return data if told == data.name else ImageSet(told, images, labels, names)


def members(labels: Tensor, classes: int = 0) -> np.ndarray:
    """Positions, int64, of the images that `reduced` keeps; scores are cut by them."""
    return np.flatnonzero(labels.numpy() < (classes or np.inf))


def shrink(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, S, S) to uint8 (N, C, size, size): each pixel the mean of its area.

    The area of a new pixel covers parts of old ones where S is no multiple of `size`.
    All weights are whole numbers and every sum stays below 2^53, so that the result is
    exact, rounded half up, and the same on every machine. Raises InputError for images
    that are not square.
    """
    side = images.shape[2]
    if images.shape[3] != side:
        raise InputError(
            f"images are {images.shape[3]}x{side} pixels; only square ones can shrink"
        )
    # In units of 1 / (side x size) of the width, old pixel j covers [j, j + 1) x size,
    # and new pixel i covers [i, i + 1) x side.
    old, new = torch.arange(side + 1) * size, torch.arange(size + 1) * side
    right = torch.minimum(old[1:], new[1:, None])
    left = torch.maximum(old[:-1], new[:-1, None])
    # Floats hold these integers exactly, and multiply matrices far faster than ints.
    small = 256 * side**2 <= 2**24
    exact = torch.float32 if small else torch.float64
    whole = torch.int32 if small else torch.int64
    weights = (right - left).clamp(min=0).to(exact)  # (size, side); rows sum to side
    made = torch.empty(*images.shape[:2], size, size, dtype=torch.uint8)
    for part, out in zip(images.split(CHUNK), made.split(CHUNK), strict=True):
        total = weights @ part.to(exact) @ weights.T
        out.copy_((total + side**2 // 2).to(whole) // side**2)
    return made
