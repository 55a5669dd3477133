"""Images that are in memory: arrays, tensors and torch Datasets to uint8 and labels."""

import operator
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime.progress import progress

TWICE = 16  # images that are read twice, to see whether they are augmented


def pixels(images) -> Tensor:
    """Convert images to uint8 (N, 3, H, W), a copy; grey is repeated.

    images: an array or tensor (N, C, H, W), (N, H, W, C) or (N, H, W) with C 1 or 3,
    uint8, or floats in [0, 1] as torchvision's ToTensor makes them. Raises InputError
    for any other, and for images that are not square.
    """
    given = _tensor(images, "images")
    tensor = given[:, None] if given.dim() == 3 else given
    if (
        tensor.dim() == 4
        and tensor.shape[1] not in (1, 3)
        and tensor.shape[3] in (1, 3)
    ):
        tensor = tensor.permute(0, 3, 1, 2)
    if tensor.dim() != 4 or tensor.shape[1] not in (1, 3):
        raise InputError(
            f"images are {tuple(given.shape)}, but must be (N, 3, H, W) or (N, H, W, 3)"
        )
    height, width = tensor.shape[2:]
    if height != width:
        raise InputError(f"images are {width}x{height} pixels, but must be square")
    return _bytes(tensor).expand(-1, 3, -1, -1).contiguous()


def notice_dark(images: Tensor) -> None:
    """Warn where no uint8 image has a value above 1, as of floats made bytes."""
    if images.numel() and images.max() <= 1:
        warnings.warn(
            "no pixel is above 1 of 255: bytes range from 0 to 255, floats from 0 to 1",
            Notice,
            stacklevel=3,
        )


def _bytes(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images.clone()
    if not images.is_floating_point():
        raise InputError(
            f"images are {images.dtype}, but must be uint8, or floats from 0 to 1"
        )
    low, high = images.aminmax() if images.numel() else (0.0, 1.0)
    if not (low >= 0 and high <= 1):  # nan is neither
        raise InputError(
            f"images have values from {low:g} to {high:g}, but floats must lie between "
            "0 and 1: normalising is the network's first layer, not the data's"
        )
    return (255 * images.float()).round().to(torch.uint8)


def labels(values) -> Tensor:
    """Convert labels, whole numbers (N,), to int64; InputError for any others."""
    tensor = _tensor(values, "labels")
    kind = tensor.dtype
    if tensor.dim() != 1 or kind == torch.bool or kind.is_floating_point:
        raise InputError(
            f"labels are {kind} {tuple(tensor.shape)}, but must be whole numbers (N,)"
        )
    return tensor.long().clone()


def _tensor(values, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        # A copy: what the caller changes later must not change the set.
        return torch.from_numpy(np.array(values))
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} are no array of numbers: {error}") from None


def class_names(given, values: Tensor) -> tuple[str, ...]:
    """Return names of classes as given, or "0", "1", ... up to the highest label.

    Raises InputError for one string, for a dict, and for what has no order.
    """
    if given is None:
        return tuple(str(c) for c in range(int(values.max()) + 1 if len(values) else 0))
    unordered = (str, set, frozenset, Mapping)
    if isinstance(given, unordered) or not isinstance(given, Iterable):
        raise InputError(
            f"classes is {given!r}, but must be a name for each class, in their order"
        )
    return tuple(str(name) for name in given)


def items(dataset) -> tuple[Tensor, Tensor]:
    """Read a map-style torch Dataset: uint8 (N, 3, H, W), int64 (N,).

    Its items are (image, int), an image as PIL, or one of `pixels`. Raises InputError
    for other items, images of several sizes, and images that differ when read again.
    """
    listed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not listed or isinstance(dataset, dict):
        kind = type(dataset).__name__
        raise InputError(f"dataset is a {kind}, but must have a length and items")
    if not len(dataset):
        raise InputError("dataset is empty")
    first, _ = _item(dataset, 0)
    images = torch.empty(len(dataset), *first.shape, dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    for i in progress(range(len(dataset)), "read", "image"):
        image, labels[i] = _item(dataset, i)
        if image.shape != first.shape:
            raise InputError(
                f"item {i} has {image.shape[1]} pixels a side, but item 0 has "
                f"{first.shape[1]}: all images must have one size"
            )
        images[i] = image
    for i in range(min(TWICE, len(images))):
        if not torch.equal(_item(dataset, i)[0], images[i]):
            raise InputError(
                f"item {i} differs when it is read again: take random augmentation "
                "out of the data set, trainings add their own"
            )
    return images, labels


def _item(dataset, i: int) -> tuple[Tensor, int]:
    from PIL import Image

    from ccfs_lib.data.decode import transparent

    item = dataset[i]  # what goes wrong in here is not ours to put into a sentence
    try:
        image, label = item
        label = operator.index(label)
    except (TypeError, ValueError) as error:
        raise InputError(f"item {i} is no (image, int): {error}") from None
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":
            raise InputError(f"item {i} has more than 8 bits per channel")
        if transparent(image):
            raise InputError(f"item {i} has transparent pixels: put it on a background")
        image = np.array(image.convert("RGB"))
    try:
        return pixels(_tensor(image, "pixels")[None])[0], label
    except InputError as error:
        raise InputError(f"item {i}: {error}") from None
