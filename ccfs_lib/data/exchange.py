"""Reading and writing what others use: index files, image folders, parquet."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torchvision.io import encode_jpeg, encode_png

from ccfs_lib.data.decode import decode
from ccfs_lib.data.imageset import ImageSet
from ccfs_lib.data.readers import damaged
from ccfs_lib.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png")

# What a file that is something else makes json and numpy raise.
READING = (
    *(OSError, ValueError, LookupError, TypeError),
    *(OverflowError, RecursionError),
)


def write_indices(
    path: str | Path, ipc: int, alpha: float, indices: np.ndarray
) -> Path:
    """Write selected_indices.json in the authors' layout, atomically.

    indices: int64 flat indices into the training split, in the order of choice.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"ipc": ipc, "alpha": alpha, "idx_selected": [int(i) for i in indices]}
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
    return path


def read_indices(path: str | Path, ipc: int, size: int) -> tuple[np.ndarray, float]:
    """Read such a file: (int64 indices, alpha).

    ipc must be the file's, as the authors' evaluation asserts; indices must be distinct
    and below `size`, the number of training images. Raises InputError otherwise.
    """
    try:
        content = json.loads(Path(path).read_text())
        own, alpha = content["ipc"], float(content["alpha"])
        listed = content["idx_selected"]
        # numpy would cut 1.5 to 1 and read "3" and true as numbers, silently.
        if any(type(i) is not int for i in listed):
            raise TypeError("idx_selected is not a list of whole numbers")
        indices = np.asarray(listed, np.int64)
    except READING as error:
        raise InputError(
            f"{path} is not a selected_indices.json with ipc, alpha and idx_selected "
            f"({error!r})"
        ) from None
    if own != ipc:
        raise InputError(f"{path} was selected for ipc {own}, but ipc is {ipc}")
    if len(np.unique(indices)) < len(indices):
        raise InputError(f"{path} holds an index twice")
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise InputError(
            f"{path} holds {indices.min()}..{indices.max()}, but the training split "
            f"has {size} images"
        )
    return indices, alpha


def write_folder(data: ImageSet, root: str | Path, form: str = "png") -> Path:
    """Write a synthetic set as SRe2L, CDA and CCFS keep theirs.

    root/newNNN/classNNN_idNNN.png, numbers padded to three digits and no further, as
    the public code does, so that its lexicographic order puts id1000 before id101.
    form: "png" keeps the pixels, "jpeg" is what the authors publish (lossy).
    """
    encode = {"png": encode_png, "jpeg": partial(encode_jpeg, quality=75)}.get(form)
    if encode is None:
        raise InputError(f"form is {form!r}, but must be 'png' or 'jpeg'")
    suffix = "jpg" if form == "jpeg" else "png"
    numbers = [0] * data.num_classes
    for image, label in zip(data.images, data.labels.tolist(), strict=True):
        folder = Path(root) / f"new{label:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"class{label:03d}_id{numbers[label]:03d}.{suffix}"
        numbers[label] += 1
        temporary = folder / (name + ".part")
        temporary.write_bytes(encode(image).numpy().tobytes())
        os.replace(temporary, folder / name)
    return Path(root)


def read_folder(
    root: str | Path, classes: tuple[str, ...], per_class: int, name: str = "distilled"
) -> ImageSet:
    """Read the first `per_class` images of each class of somebody's distilled folder.

    Folders in sorted order are the classes; files count in lexicographic order, as the
    authors take them. Returns a uint8 ImageSet ordered by class. Raises InputError for
    a missing folder, another number of classes, or a class with too few images.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder of distilled images")
    # Hidden ones: macOS leaves ".AppleDouble" folders and "._name.png" twins.
    folders = sorted(f for f in root.glob("[!.]*") if f.is_dir())
    if len(folders) != len(classes):
        raise InputError(
            f"{root} has {len(folders)} class folders, but there are {len(classes)} "
            "classes"
        )
    images, labels = [], []
    for label, folder in enumerate(folders):
        files = sorted(f for f in folder.glob("[!.]*") if f.suffix.lower() in SUFFIXES)
        if len(files) < per_class:
            raise InputError(
                f"{folder} holds {len(files)} images, but {per_class} per class are "
                "needed"
            )
        images += [_read_image(file) for file in files[:per_class]]
        labels += [label] * per_class
        if odd := [i for i in images if i.shape != images[0].shape]:
            raise InputError(
                f"{folder} holds an image of {tuple(odd[0].shape[1:])} pixels, but "
                f"others of {root} have {tuple(images[0].shape[1:])}"
            )
    return ImageSet(name, torch.stack(images), torch.tensor(labels), classes)


def _read_image(file: Path) -> torch.Tensor:
    try:
        return decode(file.read_bytes())
    except Exception as error:  # each decoder has its own kinds
        raise damaged(file, error) from None


def write_parquet(data: ImageSet, path: str | Path) -> Path:
    """Write a set as one Hugging Face parquet file: image {bytes, path}, label."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"bytes": encode_png(image).numpy().tobytes(), "path": f"{i:06d}.png"}
        for i, image in enumerate(data.images)
    ]
    table = pa.table({"image": rows, "label": data.labels.numpy()})
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(data.classes)},
    }
    told = json.dumps({"info": {"features": features}})
    temporary = path.with_name(path.name + ".part")
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), temporary)
    os.replace(temporary, path)
    return path
