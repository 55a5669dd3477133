"""CIFAR-10 and CIFAR-100: torchvision's files, class names, the order of the images.

The CIFAR-100 of the run in data/ was rebuilt from single pictures: of 113 images
(beavers, shrews, skunks) the class and the split are known, but not the place within
them. They stand elsewhere in the official files. cifar100.json lists the places that
they have here, position -> first 16 hex digits of the SHA-256 of their pixels (uint8,
32 x 32 x 3), so that the official files can be put into that order.
"""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np

from ccfs_lib.data.decode import fingerprint
from ccfs_lib.errors import InputError, Notice

TEN = ("airplane", "automobile", "bird", "cat", "deer")
TEN += ("dog", "frog", "horse", "ship", "truck")
PLACES = json.loads(Path(__file__).with_name("cifar100.json").read_text("utf-8"))
HUNDRED = tuple(PLACES["classes"])
# The published superclasses, as the official files number them: by name.
TWENTY = tuple(PLACES["superclasses"])
ORDERS = ("", "shipped")
# Fingerprints; of CIFAR-100 in the shipped order.
PRINTS = {
    "cifar10": {
        "train": "f3120a8fa253dbdad16aeebfcbcdbe65951c58226061082bf1b61dde3add92d7",
        "test": "815bee49b92162b075142619fb16b9562d1186e49d0509d9cf0af8940f739265",
    },
    "cifar100": {
        "train": "d1235b4d81d0cf6804152e78f51f030d34b95058e1637b521e162b0fc38861d6",
        "test": "f8d592e4d5773939b2a6633b459d369a8bfbf0a519575a0f7217c025d05ad979",
    },
}


def folder(name: str, root: Path) -> Path:
    """Return the folder of torchvision's files below `root`, existing or not."""
    base = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    places = [root / base, root / name / base]
    return next((path for path in places if path.is_dir()), places[1])


# How a user asks for it: of a command, of a notebook, of the library.
FETCH = "fetch it with --download, $CCFS_DOWNLOAD=1 or load(..., download=True)"


def files(name: str, root: Path, split: str, download: bool):
    """Read torchvision's files: uint8 (N, 3, 32, 32), int64 (N,), class names.

    root: holds cifar-10-batches-py or cifar-100-python, or a folder "cifar10" or
    "cifar100" with it. Raises InputError where the files are absent or altered, or
    cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    cls = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    place = folder(name, root)
    try:
        # The constructor checks the MD5 of every file before it unpickles one.
        data = cls(place.parent, train=split == "train", download=download)
    except (OSError, RuntimeError) as error:
        if download:
            raise unreachable(name, cls.url, place.parent, error) from error
        if place.is_dir():
            fault = f"{place} holds incomplete or altered '{name}' (MD5); remove it and"
        else:
            fault = (
                f"'{name}' is neither in {root / name} nor in {root} (as {place.name} "
                "or parquet files);"
            )
        raise InputError(f"{fault} {FETCH}") from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    return images, np.array(data.targets, np.int64), tuple(data.classes)


def check_published(name: str, images: np.ndarray, labels, split: str, digest: str):
    """Warn where images are not the published ones in the published order.

    digest: their fingerprint. Scores are aligned to that order by position, and no
    other property of a file shows that it is another.
    """
    if digest == PRINTS[name][split]:
        return
    if name == "cifar100" and (order := shipped_order(images, split)) is not None:
        digest = fingerprint(images[order], labels[order])
        if digest == PRINTS[name][split]:
            return
    warnings.warn(
        f"these {len(labels)} {split} images are not the published ones of '{name}' in "
        "their order, to which published scores are aligned",
        Notice,
        stacklevel=2,
    )


def shipped_order(images: np.ndarray, split: str) -> np.ndarray | None:
    """Find positions, int64 (N,), that put CIFAR-100's images into the shipped order.

    images: uint8 (N, 3, 32, 32). None where they are not CIFAR-100's: then the listed
    positions hold other pictures.
    """
    wanted = {int(at): mark for at, mark in PLACES[split].items()}
    if not wanted or max(wanted) >= len(images):
        return None
    position = {_mark(images[at]): at for at in wanted}
    if set(position) != set(wanted.values()):
        return None
    order = np.arange(len(images))
    order[list(wanted)] = [position[mark] for mark in wanted.values()]
    return order


def _mark(image: np.ndarray) -> str:
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    return hashlib.sha256(pixels).hexdigest()[:16]


def ordered(images: np.ndarray, labels: np.ndarray, split: str, order: str):
    """Order CIFAR-100's images and labels as asked for: "" as they are, "shipped".

    A notice says what was moved, or that it could be. Raises InputError where images
    to be put in the shipped order are not CIFAR-100's.
    """
    permutation = shipped_order(images, split)
    if permutation is None:
        if order:
            raise InputError(
                f"order is {order!r}, but these {len(images)} {split} images are not "
                "CIFAR-100's: other pictures stand in the places that would change"
            )
        return images, labels
    moved = int((permutation != np.arange(len(permutation))).sum())
    if not moved:
        return images, labels
    subject = f"{moved} of CIFAR-100's {split} images"
    if order == "shipped":
        warnings.warn(
            f"{subject} were put where the run in data/ has them (order 'shipped'); "
            "published scores are aligned to the order of the files",
            Notice,
            stacklevel=2,
        )
        return images[permutation], labels[permutation]
    warnings.warn(
        f"{subject} have other places in the run in data/, which these files do not "
        "replay unless order is 'shipped' (or CCFS_CIFAR100_ORDER)",
        Notice,
        stacklevel=2,
    )
    return images, labels


def coarse(labels: np.ndarray) -> np.ndarray:
    """Return CIFAR-100's superclasses, int64 (N,), of its classes, ints (N,)."""
    of = {c: i for i, five in enumerate(PLACES["superclasses"].values()) for c in five}
    return np.array([of[name] for name in HUNDRED], np.int64)[labels]


def unreachable(name: str, url: str, folder: Path, error: Exception) -> InputError:
    """Make the error for a failed download, with the reason's first line."""
    reason = str(getattr(error, "reason", error)).split("\n")[0]
    return InputError(
        f"'{name}' could not be downloaded from {url} to {folder}: {reason}"
    )
