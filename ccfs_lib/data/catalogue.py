"""The data sets with a name: where their files are looked for and fetched from.

The network is touched only where the caller says download=True, and what arrives must
have the known MD5 before it is used: torchvision unpickles the CIFAR files.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np

from ccfs_lib.data.parquet import ParquetSource
from ccfs_lib.data.readers import TEST_NAMES, TINY_ZIP, FolderSource, ZipSource
from ccfs_lib.errors import InputError

NAMES = ("digits", "cifar10", "cifar100", "cifar10-jpeg", "tiny-imagenet")
SIZES = {"cifar10-jpeg": 32, "tiny-imagenet": 64}  # pixels
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
TINY_URL = f"http://cs231n.stanford.edu/{TINY_ZIP}"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def find(path: Path, split: str, classes: tuple[str, ...] | None = None):
    """The source at `path`, or None where nothing there is understood.

    path: a parquet file or zip, or a folder of shards, of that zip, or of train/ and
    test/ folders. classes: names to use where parquet has none. Raises InputError
    where the layout is known but the split is missing or incomplete.
    """
    if path.suffix == ".zip" and path.is_file():
        return ZipSource(path, split)
    if path.suffix == ".parquet" and path.is_file():
        if split == "test":
            raise InputError(
                f"{path} is one parquet file and has no test split; give a folder with "
                "train-*.parquet and test-*.parquet"
            )
        return ParquetSource((path,), (path,), classes)
    if train := _shards(path, "train"):
        kinds = ("train",) if split == "train" else TEST_NAMES
        shards = next(filter(None, (_shards(path, kind) for kind in kinds)), None)
        if not shards:
            raise InputError(f"{path} has no {' or '.join(kinds)} parquet file")
        return ParquetSource(shards, train, classes)
    if (path / TINY_ZIP).is_file():
        return ZipSource(path / TINY_ZIP, split)
    return FolderSource(path, split) if (path / "train").is_dir() else None


def _shards(folder: Path, kind: str) -> tuple[Path, ...]:
    """The shards of a split in name order; a missing one would shift every index."""
    found = tuple(sorted(folder.glob(f"{kind}[-.]*parquet")))
    _, marker, total = found[-1].stem.rpartition("-of-") if found else ("", "", "")
    if marker and total.isdigit() and int(total) != len(found):
        raise InputError(
            f"{folder} has {len(found)} {kind} parquet files, but their names promise "
            f"{int(total)}"
        )
    return found


def named(dataset: str, root: Path, split: str, download: bool):
    """The source of "cifar10-jpeg" or "tiny-imagenet" in `root` or in its own folder.

    Raises InputError where neither holds it and it was not, or cannot be, downloaded.
    """
    tiny = dataset == "tiny-imagenet"
    names = None if tiny else CIFAR10_CLASSES
    places = [root / dataset, *([root / "tiny-imagenet-200"] if tiny else []), root]
    for place in places:
        if source := find(place, split, names):
            return source
    if download and tiny:
        fetch_tiny_imagenet(places[0])
        return find(places[0], split)
    hint = "pass download=True" if tiny else "it has no address to download from"
    raise InputError(f"'{dataset}' is neither in {places[0]} nor in {root}; {hint}")


def cifar(name: str, root: Path, split: str, download: bool):
    """CIFAR-10 or CIFAR-100: uint8 (N, 3, 32, 32), int64 (N,), class names.

    root: holds torchvision's cifar-10-batches-py or cifar-100-python, or a folder
    "cifar10" or "cifar100" with it. Raises InputError where the files are absent or
    altered, or cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    cls = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    places = [root, root / name]
    folder = next((p for p in places if (p / cls.base_folder).is_dir()), places[1])
    files = folder / cls.base_folder
    try:
        # The constructor checks the MD5 of every file before it unpickles one.
        data = cls(folder, train=split == "train", download=download)
    except (OSError, RuntimeError) as error:
        if download:
            raise _unreachable(name, cls.url, folder, error) from error
        if files.is_dir():
            told = f"{files} holds incomplete or altered '{name}' (MD5); remove it and"
        else:
            told = f"'{name}' is not in {folder} (no folder {cls.base_folder});"
        raise InputError(f"{told} pass download=True") from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    return images, np.array(data.targets, np.int64), tuple(data.classes)


def fetch_tiny_imagenet(folder: Path) -> None:
    """Download the official zip; it appears in `folder` only when its MD5 fits."""
    from torchvision.datasets.utils import download_url

    temporary = f"{TINY_ZIP}.part"
    try:
        download_url(TINY_URL, folder, temporary, TINY_MD5)
        os.replace(folder / temporary, folder / TINY_ZIP)
    except (OSError, RuntimeError) as error:
        (folder / temporary).unlink(missing_ok=True)
        raise _unreachable("tiny-imagenet", TINY_URL, folder, error) from error


def _unreachable(name: str, url: str, folder: Path, error: Exception) -> InputError:
    reason = str(getattr(error, "reason", error)).split("\n")[0]
    return InputError(
        f"'{name}' could not be downloaded from {url} to {folder}: {reason}"
    )


def digits(split: str):
    """scikit-learn's digits: uint8 (N, 3, 8, 8), int64 (N,), class names.

    1,352 of the 1,797 are for training. Grey levels 0-16 become 0-255.
    """
    # Its file is read without importing scikit-learn, which would take seconds.
    home = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(home / "datasets/data/digits.csv.gz", delimiter=",")
    grey = np.round(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, 64].astype(np.int64)
    # Every fourth image of a class is for testing: stratified, and no random state
    # that another version might draw differently.
    running = np.zeros_like(labels)
    for c in range(10):
        running[labels == c] = np.arange((labels == c).sum())
    chosen = (running % 4 == 3) == (split == "test")
    names = tuple(str(c) for c in range(10))
    return grey[chosen].repeat(3, axis=1), labels[chosen], names
