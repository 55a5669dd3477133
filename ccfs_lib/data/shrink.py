"""A smaller problem from the same images: fewer classes, fewer pixels.

An honest rehearsal of a large data set on a small machine: real images, all of the
method, and a name that says what was left out.
"""

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data.imageset import ImageSet
from ccfs_lib.data.resize import shrink
from ccfs_lib.errors import InputError


def reduced(data: ImageSet, classes: int = 0, image_size: int = 0) -> ImageSet:
    """Keep the first `classes` classes, at `image_size` pixels a side; 0 = all.

    Classes and images keep the order of `data`. Raises InputError for more classes or
    pixels than there are, and for images that are not square.
    """
    for name, wanted, most in (
        ("classes", classes, data.num_classes),
        ("image_size", image_size, data.image_size),
    ):
        if not 0 <= wanted <= most:
            raise InputError(f"{name} is {wanted}, but '{data.name}' has {most}")
    images, labels, names, name = data.images, data.labels, data.classes, data.name
    if classes and classes < data.num_classes:
        kept = torch.from_numpy(members(labels, classes))
        images, labels, names = images[kept], labels[kept], names[:classes]
        name += f"-c{classes}"
    if image_size and image_size < data.image_size:
        images = shrink(images, image_size)
        name += f"-{image_size}px"
    # The very set where nothing was asked for: its fingerprint is known already.
    return data if name == data.name else ImageSet(name, images, labels, names)


def members(labels: Tensor, classes: int = 0) -> np.ndarray:
    """Return positions, int64, of the images that `reduced` keeps; also for scores."""
    return np.flatnonzero(labels.numpy() < (classes or np.inf))
