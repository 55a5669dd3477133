"""Reading and writing what others use: index files, image folders, parquet."""

import json
import os
import re
import tempfile
import unicodedata
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torchvision.io import encode_jpeg, encode_png

from ccfs_lib.data import cifar
from ccfs_lib.data.decode import decode
from ccfs_lib.data.files import damaged, is_image, say_left_out, subfolders
from ccfs_lib.data.imageset import ImageSet
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment.selected import read_selected
from ccfs_lib.statistics import guessed


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


def read_indices(
    path: str | Path, ipc: int, size: int, labels=None, quota: int | None = None
) -> tuple[np.ndarray, float]:
    """Read such a file: (int64 indices, alpha).

    ipc must be the file's, as the authors' evaluation asserts; indices must be distinct
    and below `size`, the number of training images. labels (int (N,), of these images)
    and quota: no class may have more than `quota` indices; where some have fewer, a
    notice says how many are lacking. Raises InputError otherwise.
    """
    chosen = read_selected(path)
    if chosen.ipc != ipc:
        raise InputError(f"{path} was selected for ipc {chosen.ipc}, but ipc is {ipc}")
    if chosen.indices and max(chosen.indices) >= size:
        raise InputError(
            f"{path} holds {min(chosen.indices)}..{max(chosen.indices)}, but the "
            f"training split has {size} images"
        )
    indices = np.asarray(chosen.indices, np.int64)
    if quota is not None:
        check_quota(path, np.asarray(labels), indices, quota)
    return indices, chosen.alpha


def check_quota(path, labels: np.ndarray, indices: np.ndarray, quota: int) -> None:
    """Raise InputError where a class has more than `quota` indices; notice fewer."""
    counts = np.bincount(labels[indices], minlength=int(labels.max()) + 1)
    most = int(counts.argmax())
    if counts[most] > quota:
        raise InputError(
            f"{path} holds {counts[most]} images of class {most}, but ipc and alpha "
            f"leave {quota} real images per class"
        )
    if len(indices) < quota * len(counts):
        warnings.warn(
            f"{path} holds {len(indices)} of {quota * len(counts)} images: fewer than "
            f"{quota} in {(counts < quota).sum()} of {len(counts)} classes",
            Notice,
            stacklevel=2,
        )


def write_folder(
    data: ImageSet, root: str | Path, form: str = "png", *, replace: bool = False
) -> Path:
    """Write a synthetic set as SRe2L, CDA and CCFS keep theirs.

    root/newNNN/classNNN_idNNN.png, numbers padded to three digits and no further, as
    the public code does, so that its lexicographic order puts id1000 before id101.
    form: "png" keeps the pixels, "jpeg" is what the authors publish (lossy). replace:
    a folder that is not empty gives way; else InputError, as two sets in one folder are
    none. The folder is there when it is whole.
    """
    encode = {"png": encode_png, "jpeg": partial(encode_jpeg, quality=75)}.get(form)
    if encode is None:
        raise InputError(f"form is {form!r}, but must be 'png' or 'jpeg'")
    suffix = "jpg" if form == "jpeg" else "png"
    root, numbers = Path(root), [0] * data.num_classes
    if root.exists() and not replace and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} is not an empty folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=root.parent) as part:
        made = Path(part) / "new"
        made.mkdir()
        for image, label in zip(data.images, data.labels.tolist(), strict=True):
            folder = made / f"new{label:03d}"
            folder.mkdir(exist_ok=True)
            name = f"class{label:03d}_id{numbers[label]:03d}.{suffix}"
            numbers[label] += 1
            (folder / name).write_bytes(encode(image).numpy().tobytes())
        if root.exists():
            os.replace(root, Path(part) / "old")
        os.replace(made, root)
    return root


def read_folder(root: str | Path, classes: tuple[str, ...], per_class: int) -> ImageSet:
    """Read the first `per_class` images of each class of somebody's distilled folder.

    Folders are of the class whose name they have, or whose number they end in (see
    `class_folders`); files count in lexicographic order, as the authors take them.
    A folder of CIFAR-100's classes serves its superclasses, too: each class with its
    part. Returns a uint8 ImageSet ordered by class. Raises InputError for a missing
    folder, other classes, or a class with too few images.
    """
    images, labels = [], []
    folders = class_folders(root, classes)
    label_of = {f: label for label, own in enumerate(folders) for f in own}
    each, rest = divmod(per_class, len(folders[0]))  # all classes have as many folders
    if rest:
        raise InputError(
            f"{per_class} images per class are needed, but {root} has {len(label_of)} "
            f"folders for {len(classes)} classes: take a multiple of {len(folders[0])}"
        )
    inside = {folder: list(folder.iterdir()) for folder in label_of}
    say_left_out(root, [f for files in inside.values() for f in files if f.is_file()])
    for folder, files in inside.items():
        files = sorted(file for file in files if is_image(file.name))
        if len(files) < each:
            raise InputError(
                f"{folder} holds {len(files)} images, but {each} per class are needed"
            )
        images += [_read_image(file) for file in files[:each]]
        labels += [label_of[folder]] * each
        if odd := [i for i in images if i.shape != images[0].shape]:
            raise InputError(
                f"{folder} holds an image of {tuple(odd[0].shape[1:])} pixels, but "
                f"others of {root} have {tuple(images[0].shape[1:])}"
            )
    return ImageSet("distilled", torch.stack(images), torch.tensor(labels), classes)


def first_image(root: str | Path, classes: tuple[str, ...]) -> torch.Tensor:
    """Decode one image of a folder of distilled images, uint8 (3, H, W).

    Raises InputError as `read_folder`.
    """
    folder = class_folders(root, classes)[0][0]
    files = sorted(file for file in folder.iterdir() if is_image(file.name))
    if not files:
        raise InputError(f"{folder} holds no images")
    return _read_image(files[0])


def class_folders(root: str | Path, classes: tuple[str, ...]) -> list[list[Path]]:
    """List the folders of each class in distilled images, in order of `classes`.

    That is one folder, or of CIFAR-100's superclasses the five of their classes.

    Names match names, whatever their case, spaces and underscores; else folders count
    by the number at their end, from 0 or from 1: new9 comes before new10. ImageNet's
    identifiers (n01443537) are in order by themselves. Raises InputError for another
    number of folders and for names that are neither.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder of distilled images")
    folders = subfolders(root)
    if classes == cifar.TWENTY and len(folders) == len(cifar.HUNDRED):
        fine = _one_each(root, folders, cifar.HUNDRED)
        of = cifar.coarse(np.arange(len(fine)))
        return [[fine[i] for i in np.flatnonzero(of == k)] for k in range(len(classes))]
    return [[folder] for folder in _one_each(root, folders, classes)]


def _one_each(root: Path, folders: list[Path], classes) -> list[Path]:
    """Sort as many folders as there are classes by name, or by number."""
    if len(folders) != len(classes):
        raise InputError(
            f"{root} has {len(folders)} class folders, but there are {len(classes)} "
            "classes"
        )
    for key in (str, _simple):
        named = {key(folder.name): folder for folder in folders}
        wanted = [key(name) for name in classes]
        if set(named) == set(wanted) and len(named) == len(classes):
            return [named[name] for name in wanted]
    if all(re.fullmatch(r"n\d{8}", folder.name) for folder in folders):
        return folders
    return _numbered(root, folders, classes)


def _simple(name: str) -> str:
    # Composed: macOS splits "é" into two characters, others do not.
    name = unicodedata.normalize("NFC", name)
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _numbered(root: Path, folders: list[Path], classes) -> list[Path]:
    """Sort folders by the numbers that their names end in."""
    parts = [re.fullmatch(r"(.*?)(\d+)", folder.name) for folder in folders]
    if not all(parts) or len({part[1] for part in parts}) > 1:
        odd = next(
            (f for f, p in zip(folders, parts, strict=True) if not p), folders[0]
        )
        raise InputError(
            f"{odd} is neither one of the classes ({', '.join(classes[:3])}, ...) nor "
            f"numbered as the other folders of {root} are (new000, new001, ...)"
        )
    by_number = {int(part[2]): f for f, part in zip(folders, parts, strict=True)}
    first = min(by_number)
    if first > 1 or sorted(by_number) != list(range(first, first + len(folders))):
        raise InputError(
            f"{root} has folders numbered {first} to {max(by_number)}, but "
            f"{len(classes)} classes are numbered from 0 or from 1 without a gap"
        )
    return [by_number[number] for number in sorted(by_number)]


def agreement(images: ImageSet, predictions) -> float:
    """Compute the percentage of distilled images that a teacher takes for their class.

    predictions: int (N,), its answers. Near chance a notice says that labels and
    images may not belong together: those who distilled have numbered their classes
    otherwise, or taught the teacher something else.
    """
    predictions = torch.as_tensor(predictions).to(images.labels.device)
    if predictions.shape != images.labels.shape or not len(images):
        raise InputError(
            f"predictions are {tuple(predictions.shape)}, but there are {len(images)} "
            f"images in '{images.name}'"
        )
    share = float((predictions == images.labels).double().mean())
    if guessed(share, images.num_classes, len(images)):
        warnings.warn(
            f"the teacher takes {100 * share:.1f} % of the images of '{images.name}' "
            f"for their class, and chance is {100 / images.num_classes:.1f} %: are "
            "their classes numbered as those of the training images?",
            Notice,
            stacklevel=2,
        )
    return 100 * share


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
    metadata = json.dumps({"info": {"features": features}})
    temporary = path.with_name(path.name + ".part")
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), temporary)
    os.replace(temporary, path)
    return path
