"""Image sets: uint8 pixels, labels and class names, with a fingerprint.

Everything later in the project takes and gives an ImageSet; where it came from
(catalogue.py, readers.py) is forgotten here. The order is the source's own, because
published difficulty scores are aligned to it by position.
"""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data import catalogue, decode
from ccfs_lib.data.catalogue import NAMES, SIZES
from ccfs_lib.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size.

    images: uint8 (N, 3, H, W), grey repeated; labels: int64 (N,), index into classes.
    Raises InputError where these do not fit together.
    """

    name: str
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)

    def __post_init__(self):
        shape, dtype = tuple(self.images.shape), self.images.dtype
        if dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3:
            raise InputError(f"images are {dtype} {shape}; needed: uint8 (N, 3, H, W)")
        found, dtype = tuple(self.labels.shape), self.labels.dtype
        if dtype != torch.int64 or found != shape[:1]:
            raise InputError(f"labels are {dtype} {found}; needed: int64 {shape[:1]}")
        low, high = self.labels.aminmax() if found[0] else (0, 0)
        if low < 0 or (found[0] and high >= self.num_classes):
            raise InputError(
                f"labels go from {low} to {high}, but there are {self.num_classes} "
                "classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over shape, pixels and labels; names do not count."""
        return decode.fingerprint(self.images.cpu().numpy(), self.labels.cpu().numpy())

    @property
    def num_classes(self) -> int:
        """Classes that have a name, whether or not an image is of them."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Height in pixels; every set of the paper is square."""
        return self.images.shape[2]

    @property
    def class_sizes(self) -> list[int]:
        """Images of each class, in the order of the classes."""
        return torch.bincount(self.labels, minlength=self.num_classes).tolist()

    def subset(self, indices, name: str | None = None) -> "ImageSet":
        """The images at `indices` (ints in [0, N), in that order, repeats allowed)."""
        indices = torch.as_tensor(indices)
        if not indices.numel():
            indices = indices.long()
        kind = indices.dtype
        # A mask would pass as zeros and ones, a float would be cut: both silently.
        if indices.dim() != 1 or kind == torch.bool or kind.is_floating_point:
            raise InputError(
                f"indices are {kind} {tuple(indices.shape)}, not ints (n,)"
            )
        outside = indices[(indices < 0) | (indices >= len(self))]
        if len(outside):
            raise InputError(f"index {outside[0]} is not in 0 to {len(self) - 1}")
        indices = indices.long().to(self.labels.device)
        images, labels = self.images[indices], self.labels[indices]
        return ImageSet(name or self.name, images, labels, self.classes)


def concat(a: ImageSet, b: ImageSet) -> ImageSet:
    """Both sets, a first. Raises InputError where sizes or classes differ."""
    if a.images.shape[1:] != b.images.shape[1:] or a.classes != b.classes:
        told = [
            f"'{s.name}' {tuple(s.images.shape[2:])}, {s.num_classes} classes"
            for s in (a, b)
        ]
        raise InputError(f"sizes or classes differ: {told[0]}; {told[1]}")
    images = torch.cat([a.images, b.images])
    labels = torch.cat([a.labels, b.labels])
    return ImageSet(f"{a.name}+{b.name}", images, labels, a.classes)


def split(data: ImageSet, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split a set in two by lots: (kept, held out), indices, int64 ascending.

    share: part of each class that is held out, above 0 and below 1, rounded to at least
    one image. Raises InputError where a class would keep none.
    """
    random, labels, out = np.random.default_rng([seed, 7]), data.labels.numpy(), []
    for c in range(data.num_classes):
        members = np.flatnonzero(labels == c)
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise InputError(
                f"holdout is {share:g}, but class '{data.classes[c]}' has "
                f"{len(members)} images and would keep none"
            )
        out.append(random.permutation(members)[:count])
    held = np.sort(np.concatenate(out))
    return np.setdiff1d(np.arange(len(labels)), held), held


def channel_stats(data: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels, in [0, 1] units.

    Returns two tuples of three floats, exact up to the last division: pixels are
    counted, not summed, in chunks that fit the processor's cache.
    """
    if not len(data):
        raise InputError(f"'{data.name}' is empty and has no channel statistics")
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for chunk in data.images.split(4096):
        for c in range(3):
            counts[c] += torch.bincount(chunk[:, c].flatten(), minlength=256).cpu()
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    var = (share * (values - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(var.sqrt().tolist())


def load(
    dataset: str | Path,
    split: str = "train",
    *,
    data_root: str | Path | None = None,
    download: bool = False,
    cache_dir: str | Path | None = None,
) -> ImageSet:
    """One split of a data set, decoded, in its published order.

    dataset: "digits" | "cifar10" | "cifar100" | "cifar10-jpeg" | "tiny-imagenet", or
    the path of an image folder (train/<class>/*, test/<class>/*), a parquet file, or a
    folder of train-*.parquet and test-*.parquet. split: "train" | "test"; Tiny-ImageNet
    is tested on its validation images, as everywhere. data_root: the folder that holds
    <dataset>/, or <dataset>/ itself; default the environment variable CCFS_DATA.
    download: fetch what is missing from its official address. cache_dir: where decoded
    images are kept, see `decode.cached`. Raises InputError for whatever is not there.
    """
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}; 'train' and 'test' are allowed")
    if dataset == "digits":
        return _image_set("digits", split, *catalogue.digits(split))
    if dataset not in NAMES:
        return _from_path(Path(dataset).expanduser(), split, cache_dir)
    root = data_root or os.environ.get("CCFS_DATA")
    if not root:
        raise InputError(
            f"data_root is not set: '{dataset}' needs the folder that holds it, as "
            "data_root or in the environment variable CCFS_DATA"
        )
    root = Path(root).expanduser()
    if dataset in ("cifar10", "cifar100"):
        arrays = catalogue.cifar(dataset, root, split, download)
        return _image_set(dataset, split, *arrays)
    source = catalogue.named(dataset, root, split, download)
    data = _decoded(dataset, split, source, cache_dir)
    # data_root may be "the data set's own folder", hence also another data set's.
    if data.image_size != SIZES[dataset]:
        raise InputError(
            f"{root} does not hold '{dataset}': its images have {data.image_size} "
            f"pixels, not {SIZES[dataset]}"
        )
    return data


def _from_path(path: Path, split: str, cache_dir) -> ImageSet:
    if not path.exists():
        raise InputError(
            f"dataset is '{path}'; allowed are {', '.join(NAMES)}, or the path of an "
            "image folder, a parquet file or a folder of parquet files"
        )
    source = catalogue.find(path, split)
    if source is None:
        raise InputError(
            f"{path} has neither train-*.parquet files nor a folder train/ with one "
            "folder of images for each class"
        )
    return _decoded(path.resolve().stem, split, source, cache_dir)


def _decoded(name: str, split: str, source, cache_dir) -> ImageSet:
    found = decode.cached(source, f"{name}-{split}", cache_dir)
    data = _image_set(name, split, found.images, found.labels, found.classes)
    data.__dict__["fingerprint"] = found.fingerprint  # just computed: spares a pass
    return data


def _image_set(name: str, split: str, images, labels, classes) -> ImageSet:
    pixels, labels = torch.from_numpy(images), torch.from_numpy(labels)
    return ImageSet(f"{name}-{split}", pixels, labels, classes)
