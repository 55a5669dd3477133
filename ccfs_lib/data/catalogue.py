"""The data sets with a name: where their files are looked for and fetched from.

The network is touched only where the caller says download=True, and what arrives must
have the known MD5 before it is used: torchvision unpickles the CIFAR files.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np

from ccfs_lib.data import cifar, parquet
from ccfs_lib.data.files import subfolders
from ccfs_lib.data.parquet import ParquetSource
from ccfs_lib.data.readers import TEST_NAMES, TINY_ZIP, FolderSource, ZipSource
from ccfs_lib.errors import InputError

COARSE = "cifar100-coarse"  # CIFAR-100's images with their 20 superclasses
NAMES = ("digits", "cifar10", "cifar100", COARSE, "cifar10-jpeg", "tiny-imagenet")
SIZES = {"cifar10": 32, "cifar100": 32, "cifar10-jpeg": 32, "tiny-imagenet": 64}
CLASSES = {"cifar10": cifar.TEN, "cifar10-jpeg": cifar.TEN, "cifar100": cifar.HUNDRED}
# Where the Hugging Face hub has a data set's parquet files, below its folder.
BELOW = ("data", "plain_text", "default")
TINY_URL = f"http://cs231n.stanford.edu/{TINY_ZIP}"
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def find(path: Path, split: str):
    """Find the source at `path`; None where nothing there is understood.

    path: a parquet file or zip, or a folder of shards, of that zip, or of train/ and
    test/ folders, or a folder with one such folder in it (data/, default/, ...).
    Raises InputError where the layout is known but the split is missing or incomplete.
    """
    if path.suffix == ".zip" and path.is_file():
        return ZipSource(path, split)
    if path.suffix == ".parquet" and path.is_file():
        if split == "test":
            raise InputError(
                f"{path} is one parquet file and has no test split; give a folder with "
                "train-*.parquet and test-*.parquet"
            )
        return ParquetSource((path,), (path,))
    if not path.is_dir() or (source := _find(path, split)):
        return source if path.is_dir() else None
    inner = [folder for folder in subfolders(path) if _find(folder, "train")]
    if len(inner) > 1:
        names = ", ".join(folder.name for folder in inner)
        raise InputError(f"{path} holds several data sets ({names}): name one of them")
    return _find(inner[0], split) if inner else None


def _find(path: Path, split: str, classes: tuple[str, ...] | None = None):
    """Find the source in this very folder, or None; classes: their names, if known."""
    if train := parquet.shards(path, "train"):
        kinds = ("train",) if split == "train" else TEST_NAMES
        shards = [files for kind in kinds if (files := parquet.shards(path, kind))]
        if not shards:
            raise InputError(f"{path} has no {' or '.join(kinds)} parquet file")
        folder = path / "train"
        if train[0].parent == path and folder.is_dir() and any(subfolders(folder)):
            raise InputError(
                f"{path} holds {train[0].name} and a folder train/ with classes: move "
                "one of them away, they may be two data sets"
            )
        # The first split that can be one: some test files have no labels.
        return ParquetSource(
            next(filter(parquet.labelled, shards), shards[0]), train, classes
        )
    if (path / TINY_ZIP).is_file():
        return ZipSource(path / TINY_ZIP, split)
    return FolderSource(path, split) if (path / "train").is_dir() else None


def named(dataset: str, root: Path, split: str, download: bool):
    """Find "cifar10-jpeg" or "tiny-imagenet" in `root` or a folder of that name in it.

    Raises InputError where neither holds it and it was not, or cannot be, downloaded.
    """
    if source := present(dataset, root, split):
        return source
    tiny = dataset == "tiny-imagenet"
    if download and tiny:
        fetch_tiny_imagenet(root / dataset)
        return find(root / dataset, split)
    hint = cifar.FETCH if tiny else "it has no address to download from"
    raise InputError(
        f"'{dataset}' is neither in {root / dataset} nor in {root}; {hint}"
    )


def present(dataset: str, root: Path, split: str):
    """Find the source of a data set with a name below `root`, or None.

    Of CIFAR-10 and CIFAR-100 parquet files; torchvision's are read by `cifar.files`.
    """
    tiny = dataset == "tiny-imagenet"
    places = [root / dataset, *([root / "tiny-imagenet-200"] if tiny else []), root]
    below = [place / name for place in places for name in (*BELOW, dataset)]
    for place in (*places, *below):
        if not place.is_dir():
            continue
        source = _find(place, split, CLASSES.get(dataset))
        if isinstance(source, ParquetSource):
            if dataset == "cifar100" and not source.is_fine:
                raise InputError(
                    f"{place} does not hold 'cifar100': its labels are neither in a "
                    "column 'fine_label' nor have they names"
                )
            return source
        # Sorted by class, a folder has another order than scores are aligned to.
        if source and tiny:
            return source
    return None


def fetch_tiny_imagenet(folder: Path) -> None:
    """Download the official zip; it appears in `folder` only when its MD5 fits."""
    from torchvision.datasets.utils import download_url

    temporary = f"{TINY_ZIP}.part"
    try:
        download_url(TINY_URL, folder, temporary, TINY_MD5)
        os.replace(folder / temporary, folder / TINY_ZIP)
    except (OSError, RuntimeError) as error:
        (folder / temporary).unlink(missing_ok=True)
        raise cifar.unreachable("tiny-imagenet", TINY_URL, folder, error) from error


def digits(split: str):
    """Read scikit-learn's digits: uint8 (N, 3, 8, 8), int64 (N,), class names.

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
