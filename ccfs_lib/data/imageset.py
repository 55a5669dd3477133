"""Image sets: uint8 pixels, labels and class names, with a fingerprint.

Everything later in the project takes and gives an ImageSet; where it came from
(catalogue.py, readers.py) is forgotten here. The order is the source's own, because
published difficulty scores are aligned to it by position.
"""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ccfs_lib.data import catalogue, convert, decode
from ccfs_lib.data.catalogue import NAMES, SIZES
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import plugins


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


def from_arrays(images, labels, classes=None, name: str = "arrays") -> ImageSet:
    """Make a set of arrays or tensors.

    images: (N, 3, H, H) or (N, H, H, 3), uint8, or floats in [0, 1]; grey with one
    channel or none. labels: whole numbers (N,). classes: their names; default "0",
    "1", ... up to the highest label. Raises InputError where these do not fit.
    """
    numbers = convert.labels(labels)
    pixels, names = convert.pixels(images), convert.class_names(classes, numbers)
    return ImageSet(name, pixels, numbers, names)


def from_dataset(dataset, classes=None, name: str = "dataset") -> ImageSet:
    """Read a torch Dataset whose items are (image, int), without augmentation.

    Images: PIL, or arrays or tensors as for `from_arrays`, all of one size. classes:
    names; default the data set's `classes`, else as there. Raises InputError for items
    that are not so, and for images that differ when they are read again.
    """
    images, labels = convert.items(dataset)
    names = getattr(dataset, "classes", None) if classes is None else classes
    return ImageSet(name, images, labels, convert.class_names(names, labels))


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
    folder of train-*.parquet and test-*.parquet, or "module:function", a function of
    the split that returns an ImageSet, (images, labels, class names) as `from_arrays`
    takes them, or a torch Dataset as `from_dataset` does. split: "train" | "test";
    Tiny-ImageNet is tested on its validation images, as everywhere. data_root: the
    folder that holds <dataset>/, or <dataset>/ itself; default the environment variable
    CCFS_DATA.
    download: fetch what is missing from its official address. cache_dir: where decoded
    images are kept, see `decode.cached`. Raises InputError for whatever is not there.
    """
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}; 'train' and 'test' are allowed")
    if dataset == "digits":
        return _image_set("digits", split, *catalogue.digits(split))
    if plugins.named(str(dataset)) and not Path(dataset).exists():
        return _from_function(str(dataset), split)
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


def _from_function(dataset: str, split: str) -> ImageSet:
    found = plugins.resolve(dataset, "dataset", ("split",))(split)
    if isinstance(found, ImageSet):
        return found
    name = f"{dataset}-{split}"
    try:
        if isinstance(found, tuple) and len(found) == 3:
            return from_arrays(*found, name)
        return from_dataset(found, name=name)
    except InputError as error:
        told = f"dataset is {dataset!r}, but for {split!r}: {error}"
        raise InputError(told) from None


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
