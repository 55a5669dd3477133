"""Image sets: uint8 pixels, labels and class names, with a fingerprint.

Everything later in the project takes and gives an ImageSet; where it came from
(catalogue.py, readers.py) is forgotten here. The order is the source's own, because
published difficulty scores are aligned to it by position.
"""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data import catalogue, cifar, convert, decode
from ccfs_lib.data.catalogue import NAMES, SIZES
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths, plugins


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
        size, dtype = tuple(self.labels.shape), self.labels.dtype
        if dtype != torch.int64 or size != shape[:1]:
            raise InputError(f"labels are {dtype} {size}; needed: int64 {shape[:1]}")
        low, high = self.labels.aminmax() if size[0] else (0, 0)
        if low < 0 or (size[0] and high >= self.num_classes):
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

    def copy(self) -> "ImageSet":
        """Copy pixels and labels, for a function that may write into them."""
        return replace(self, images=self.images.clone(), labels=self.labels.clone())

    def subset(self, indices, name: str | None = None) -> "ImageSet":
        """Pick the images at `indices` (ints in [0, N), in that order, repeats too)."""
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
    """Join both sets, a first. Raises InputError where sizes or classes differ."""
    if a.images.shape[1:] != b.images.shape[1:] or a.classes != b.classes:
        described = [
            f"'{s.name}' {tuple(s.images.shape[2:])}, {s.num_classes} classes"
            for s in (a, b)
        ]
        raise InputError(f"sizes or classes differ: {described[0]}; {described[1]}")
    images = torch.cat([a.images, b.images])
    labels = torch.cat([a.labels, b.labels])
    return ImageSet(f"{a.name}+{b.name}", images, labels, a.classes)


def split(data: ImageSet, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split a set in two at random: (kept, held out), indices, int64 ascending.

    share: part of each class that is held out, above 0 and below 1, rounded to at least
    one image. Raises InputError for another share, and where a class would keep none.
    """
    if not 0 < share < 1:
        raise InputError(f"holdout is {share}, but must be above 0 and below 1")
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
    """Compute mean and standard deviation of each channel over all pixels in [0, 1].

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
    convert.notice_dark(pixels)
    return ImageSet(name, pixels, numbers, names)


def from_dataset(dataset, classes=None, name: str = "dataset") -> ImageSet:
    """Read a torch Dataset whose items are (image, int), without augmentation.

    Images: PIL, or arrays or tensors as for `from_arrays`, all of one size. classes:
    names; default the data set's `classes`, else as there. Raises InputError for items
    that are not so, and for images that differ when they are read again.
    """
    images, labels = convert.items(dataset)
    convert.notice_dark(images)
    names = getattr(dataset, "classes", None) if classes is None else classes
    return ImageSet(name, images, labels, convert.class_names(names, labels))


def load(
    dataset: str | Path,
    split: str = "train",
    *,
    data_root: str | Path | None = None,
    download: bool = False,
    cache_dir: str | Path | None = None,
    image_size: int = 0,
    order: str | None = None,
) -> ImageSet:
    """Load one split of a data set, decoded, in its published order.

    dataset: "digits" | "cifar10" | "cifar100" | "cifar100-coarse" (the same images with
    their 20 superclasses) | "cifar10-jpeg" | "tiny-imagenet", or the path of an image
    folder (train/<class>/*, test/<class>/*), a parquet file, or a
    folder of train-*.parquet and test-*.parquet, or "module:function", a function of
    the split that returns an ImageSet, (images, labels, class names) as `from_arrays`
    takes them, or a torch Dataset as `from_dataset` does. split: "train" | "test";
    Tiny-ImageNet is tested on its validation images, as everywhere. data_root: the
    folder that holds <dataset>/, or <dataset>/ itself; default the environment variable
    CCFS_DATA.
    download: fetch what is missing from its official address. cache_dir: where decoded
    images are kept, see `decode.cached`. image_size: side in pixels of the squares that
    images of a path become which are not square or of several sizes; sets of one square
    size stay as they are, for `reduced` to shrink. order: "" leaves CIFAR-100 as its
    files have it, "shipped" puts the 113 images of `cifar` where the run in data/ has
    them; default the environment variable CCFS_CIFAR100_ORDER. Raises InputError for
    whatever is not there, and for images that no network here could learn from.
    """
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}; 'train' and 'test' are allowed")
    if dataset == "digits":
        return _image_set("digits", split, *catalogue.digits(split))
    if plugins.named(str(dataset)) and not Path(dataset).exists():
        return _from_function(str(dataset), split)
    coarse = dataset == catalogue.COARSE
    dataset = "cifar100" if coarse else dataset
    if dataset not in NAMES:
        path = paths.expanded(dataset)
        return _from_path(path, split, cache_dir, image_size)
    root = data_root or os.environ.get("CCFS_DATA")
    if not root:
        raise InputError(
            f"data_root is not set: '{dataset}' needs the folder that holds it, as "
            "data_root or in the environment variable CCFS_DATA"
        )
    root = paths.expanded(root)
    if dataset in ("cifar10", "cifar100"):
        data = _cifar(dataset, root, split, download, cache_dir)
    else:
        source = catalogue.named(dataset, root, split, download)
        data = _decoded(dataset, split, source, cache_dir)
    # data_root may be "the data set's own folder", hence also another data set's.
    if data.image_size != SIZES[dataset]:
        raise InputError(
            f"{root} does not hold '{dataset}': its images have {data.image_size} "
            f"pixels, not {SIZES[dataset]}"
        )
    data = _shipped(data, split, order) if dataset == "cifar100" else data
    return _superclasses(data, split) if coarse else data


def _superclasses(fine: ImageSet, split: str) -> ImageSet:
    labels = torch.from_numpy(cifar.coarse(fine.labels.numpy()))
    return ImageSet(f"{catalogue.COARSE}-{split}", fine.images, labels, cifar.TWENTY)


def _cifar(name: str, root: Path, split: str, download: bool, cache_dir) -> ImageSet:
    """Read torchvision's files, else parquet, else download torchvision's."""
    official = cifar.folder(name, root).is_dir()
    source = None if official else catalogue.present(name, root, split)
    if source is None:
        arrays = cifar.files(name, root, split, download)
        data = _image_set(name, split, *arrays)
    else:
        data = _decoded(name, split, source, cache_dir)
    if data.image_size == SIZES[name]:
        arrays = data.images.numpy(), data.labels.numpy()
        cifar.check_published(name, *arrays, split, data.fingerprint)
    return data


def _from_function(dataset: str, split: str) -> ImageSet:
    result = plugins.resolve(dataset, "dataset", ("split",))(split)
    if isinstance(result, ImageSet):
        return result
    name = f"{dataset}-{split}"
    try:
        if isinstance(result, tuple) and len(result) == 3:
            return from_arrays(*result, name)
        return from_dataset(result, name=name)
    except InputError as error:
        message = f"dataset is {dataset!r}, but for {split!r}: {error}"
        raise InputError(message) from None


def _shipped(data: ImageSet, split: str, order: str | None) -> ImageSet:
    """Put CIFAR-100 into the order asked for."""
    order = os.environ.get("CCFS_CIFAR100_ORDER", "") if order is None else order
    if order not in cifar.ORDERS:
        raise InputError(
            f"order is {order!r}, but must be '' (as the files have it) or 'shipped'"
        )
    before = data.images.numpy(), data.labels.numpy()
    images, labels = cifar.ordered(*before, split, order)
    if images is before[0]:
        return data
    return _image_set("cifar100", split, images, labels, data.classes)


def _from_path(path: Path, split: str, cache_dir, image_size: int) -> ImageSet:
    if not path.exists():
        raise InputError(
            f"dataset is '{path}'; allowed are {', '.join(NAMES)}, the path of an "
            "image folder, a parquet file or a folder of parquet files, or a function, "
            "module:function"
        )
    source = catalogue.find(path, split)
    if source is None:
        raise InputError(
            f"{path} has neither train-*.parquet files nor a folder train/ with one "
            "folder of images for each class"
        )
    data = _decoded(path.resolve().stem, split, source, cache_dir, image_size)
    if split == "test" and not image_size:
        _check_size(data, catalogue.find(path, "train"))
    return data


def _check_size(test: ImageSet, train) -> None:
    """Raise InputError where the first training image has another size."""
    if (first := next(train.read().records, None)) is None:
        return
    side = decode.decode_record(first).shape[1]
    if side != test.image_size:
        raise InputError(
            f"{first[0]} is {side}x{side} pixels, but the test split has "
            f"{test.image_size}x{test.image_size}: give image_size, and both get it"
        )


def _decoded(name: str, split: str, source, cache_dir, image_size: int = 0) -> ImageSet:
    decoded = decode.cached(source, f"{name}-{split}", cache_dir, image_size)
    data = _image_set(name, split, decoded.images, decoded.labels, decoded.classes)
    data.__dict__["fingerprint"] = decoded.fingerprint  # just computed: spares a pass
    return data


def _image_set(name: str, split: str, images, labels, classes) -> ImageSet:
    pixels, labels = torch.from_numpy(images), torch.from_numpy(labels)
    return ImageSet(f"{name}-{split}", pixels, labels, classes)
