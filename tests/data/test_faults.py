"""Random faults: `load` gives what an independent reader sees, or one InputError.

Each case is a small data set with one to three faults drawn from a seed, so that a
failure can be repeated by its number. What may come back is said by a slow reader of
the files as they then lie there (Pillow, pyarrow, sorted walks), which knows nothing of
the library.
"""

import io
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ccfs_lib.data import load
from ccfs_lib.errors import InputError

READ = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
LITTER = ("@eaDir", "__MACOSX")
NAMES = ["ant", "bee", "cat"]


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCFS_PROGRESS", "0")


def picture(rng, width=8, height=8) -> bytes:
    file = io.BytesIO()
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def spoilt(rng, blob: bytes) -> bytes:
    """Bytes flipped, cut off, lost from the middle, or doubled."""
    at, end = sorted(rng.integers(0, len(blob) + 1, 2))
    kinds = [
        blob[:at],
        blob[:at] + blob[end:],
        blob[:end] + blob[at:],
        blob[:at] + rng.bytes(int(end - at)) + blob[end:],
        b"",
        rng.bytes(50),
    ]
    return kinds[rng.integers(len(kinds))]


# -- image folders ---------------------------------------------------------------------


def make_folders(rng, root: Path) -> None:
    for split in ("train", str(rng.choice(["test", "val"]))):
        for name in NAMES:
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                (root / split / name / f"{i}.png").write_bytes(picture(rng))


def pick(rng, paths) -> Path | None:
    """One of the paths as `rng` draws it, whatever order the file system has."""
    paths = sorted(paths)
    return paths[rng.integers(len(paths))] if paths else None


def spoil_folders(rng, root: Path) -> str:
    """One fault in place; returns its name."""
    files = [p for p in root.rglob("*.*") if p.is_file()]
    folders = [p for p in root.rglob("*") if p.is_dir() and not p.is_symlink()]
    file, folder = pick(rng, files), pick(rng, folders) or root
    kinds = {
        "damage": lambda: file.write_bytes(spoilt(rng, file.read_bytes())),
        "delete": lambda: file.unlink(),
        "delete folder": lambda: shutil.rmtree(folder),
        "rename folder": lambda: folder.rename(folder.with_name("dog")),
        "hide folder": lambda: folder.rename(folder.with_name("." + folder.name)),
        "litter": lambda: (folder / str(rng.choice([".x", *LITTER]))).mkdir(),
        "litter file": lambda: (folder / "._0.png").write_bytes(b"\0\5\26\7"),
        "other kind": lambda: (folder / "a.gif").write_bytes(b"GIF89a"),
        "wrong suffix": lambda: file.rename(file.with_suffix(".jpg")),
        "upper case": lambda: file.rename(file.with_suffix(".PNG")),
        "another size": lambda: file.write_bytes(picture(rng, 9, 9)),
        "no square": lambda: file.write_bytes(picture(rng, 9, 8)),
        "deeper": lambda: (
            (folder / "deep").mkdir()
            or (folder / "deep" / "7.png").write_bytes(picture(rng))
        ),
        "more": lambda: (folder / "7.png").write_bytes(picture(rng)),
        "empty class": lambda: (root / "train" / "zoo").mkdir(parents=True),
        "dangling": lambda: (folder / "8.png").symlink_to(root / "gone"),
        "loop": lambda: (folder / "again").symlink_to(root),
        "linked": lambda: (folder / "twin").symlink_to(pick(rng, folders)),
        "a file for a folder": lambda: shutil.rmtree(folder) or folder.touch(),
        "strange name": lambda: file.rename(file.with_name("\udcff.png")),
        "words": lambda: (root / "words.txt").write_bytes(rng.bytes(20)),
        "table": lambda: (folder / "val_annotations.txt").write_bytes(rng.bytes(20)),
        "archive": lambda: (root / "tiny-imagenet-200.zip").write_bytes(rng.bytes(99)),
    }
    kind = str(rng.choice(list(kinds)))
    try:
        kinds[kind]()
    except (OSError, AttributeError, shutil.Error):
        kind += " (impossible)"  # after an earlier fault
    return kind


def read_folders(root: Path, split: str):
    """(pixels, class name) of each image by a slow reader; None where it cannot."""
    kinds = ["train"] if split == "train" else ["test", "val", "valid", "validation"]
    classes = class_names(root / "train")
    for folder in (root / kind for kind in kinds):
        if folder.is_dir() and any(class_images(folder / c) for c in classes):
            break
    else:
        return None
    found = [(path, name) for name in classes for path in class_images(folder / name)]
    return [(as_pixels(path.read_bytes()), name) for path, name in found]


def class_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not aside(f.name))


def aside(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def class_images(folder: Path) -> list[Path]:
    found = []
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        if not any(aside(part) for part in Path(place).relative_to(folder).parts):
            found += [Path(place, name) for name in sorted(names)]
    return [p for p in found if p.suffix.lower() in READ and not aside(p.name)]


def as_pixels(blob: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(blob)).convert("RGB")
    return np.asarray(image).transpose(2, 0, 1)


# -- parquet ---------------------------------------------------------------------------


def make_parquet(rng, root: Path) -> None:
    for split in ("train", "test"):
        write_parquet(rng, root, split)


def write_parquet(rng, root: Path, split: str) -> None:
    """One file with one to three faults, or none, in its columns and metadata."""
    labels = [0, 1, 2, *rng.integers(0, 3, 3).tolist()]
    rows: list = [{"bytes": picture(rng), "path": None} for _ in labels]
    names: object = list(rng.permutation(NAMES)) if rng.random() < 0.6 else None
    columns = ["image", "label"]
    at = int(rng.integers(len(rows)))
    match rng.integers(16):
        case 0:
            rows[at] = {"bytes": spoilt(rng, rows[at]["bytes"]), "path": None}
        case 1:
            rows[at] = {"bytes": None, "path": "x.png"}
        case 2:
            rows[at] = None
        case 3:
            rows[at] = {"bytes": picture(rng, 9, 8 + rng.integers(2)), "path": None}
        case 4:
            labels[at] = int(rng.choice([-1, 3, 255, 2**40]))
        case 5:
            labels[at] = None
        case 6:
            labels = [label + 1 for label in labels]
        case 7:
            names = [["ant", "bee"], ["ant", "bee", "dog"], [1, 2, 3], "abc", {}][
                at % 5
            ]
        case 8:
            columns = [["picture", "label"], ["image", "image"], ["img", "fine_label"]][
                at % 3
            ]
        case 9:
            rows = [row["bytes"] for row in rows]
        case 10:
            labels = [str(label) for label in labels]
        case 11:
            rows, labels = rows[:0], labels[:0]
        case _:
            pass
    kind = pa.string() if labels and isinstance(labels[0], str) else pa.int64()
    image = pa.array(rows) if rows else pa.array([], pa.struct({"bytes": pa.binary()}))
    table = pa.Table.from_arrays([image, pa.array(labels, kind)], names=columns)
    if names is not None:
        features = {columns[1]: {"names": names, "_type": "ClassLabel"}}
        meta = json.dumps({"info": {"features": features}})
        if rng.random() < 0.1:
            meta = meta[: rng.integers(len(meta))]
        table = table.replace_schema_metadata({"huggingface": meta})
    root.mkdir(exist_ok=True)
    pq.write_table(table, root / f"{split}.parquet", write_page_checksum=True)


def spoil_parquet(rng, root: Path) -> str:
    """One fault in place; returns its name."""
    file = pick(rng, root.rglob("*.parquet"))
    kinds = {
        "cut": lambda: file.write_bytes(
            file.read_bytes()[: rng.integers(file.stat().st_size)]
        ),
        "delete": lambda: file.unlink(),
        "rename": lambda: file.rename(file.with_name("train-00001-of-00002.parquet")),
        "valid": lambda: (root / "test.parquet").rename(root / "valid.parquet"),
        "below": lambda: (
            (root / "data").mkdir()
            or [p.rename(root / "data" / p.name) for p in root.glob("*.parquet")]
        ),
        "table": lambda: (root / "classes.tsv").write_bytes(rng.bytes(30)),
        "litter": lambda: (root / "._train.parquet").write_bytes(b"\0"),
        "dangling": lambda: (root / "train-2.parquet").symlink_to(root / "gone"),
        "folder": lambda: (root / "train-3.parquet").mkdir(),
        "again": lambda: write_parquet(rng, root, "train"),
    }
    kind = str(rng.choice(list(kinds)))
    try:
        kinds[kind]()
    except (OSError, AttributeError):
        kind += " (impossible)"
    return kind


def read_parquet(root: Path, split: str):
    """(pixels, class name) of each row by a slow reader; names or numbers as text."""
    places = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    root = next(p for p in places if list(p.glob("train[-.]*parquet")))
    kinds = ["train"] if split == "train" else ["test", "val", "valid"]
    kind = next(k for k in kinds if list(root.glob(f"{k}[-.]*parquet")))
    train = declared(sorted(root.glob("train[-.]*parquet"))[0])
    rows = []
    for path in sorted(root.glob(f"{kind}[-.]*parquet")):
        table = pq.read_table(path)
        image = next(c for c in ("image", "img") if c in table.column_names)
        label = next(c for c in ("label", "fine_label") if c in table.column_names)
        names = declared(path) or train
        for cell, number in zip(
            table[image].to_pylist(), table[label].to_pylist(), strict=True
        ):
            name = names[number] if names else str(number)
            rows.append((as_pixels(cell["bytes"]), name))
    return rows


def declared(path: Path) -> list[str] | None:
    try:
        block = json.loads(pq.read_schema(path).metadata[b"huggingface"])
        names = next(iter(block["info"]["features"].values()))["names"]
    except (ValueError, KeyError, TypeError):
        return None
    fine = isinstance(names, list) and all(isinstance(n, str) for n in names) and names
    return names if fine else None


# -- the property ----------------------------------------------------------------------

CASES = 60  # of each layout; more by hand: CCFS_FAULTS=2000


def outcome(root: Path, split: str, image_size: int):
    """The split as `load` gives it, or the sentence; any other exception is a bug."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load(root, split, image_size=image_size)
        except InputError as error:
            assert str(error) and "\n" not in str(error)
            return None


def check(found, expected, image_size: int) -> None:
    pixels = [image for image, _ in expected]
    assert [found.classes[i] for i in found.labels] == [name for _, name in expected]
    shapes = {image.shape[1:] for image in pixels}
    if len(shapes) == 1 and len(set(next(iter(shapes)))) == 1:
        assert np.array_equal(found.images, np.stack(pixels))
    else:  # resizing has tests of its own; here: only where it was asked for
        assert image_size and found.images.shape[1:] == (3, image_size, image_size)


@pytest.mark.parametrize(
    ("make", "spoil", "read"),
    [
        (make_folders, spoil_folders, read_folders),
        (make_parquet, spoil_parquet, read_parquet),
    ],
    ids=["folders", "parquet"],
)
def test_every_fault_is_a_right_answer_or_one_sentence(tmp_path, make, spoil, read):
    answers = {True: 0, False: 0}
    for case in range(int(os.environ.get("CCFS_FAULTS", CASES))):
        rng = np.random.default_rng(case)
        root = tmp_path / f"d{case}"
        make(rng, root)
        faults = [spoil(rng, root) for _ in range(rng.integers(4))]
        image_size = int(rng.choice([0, 0, 5]))
        for split in ("train", "test"):
            about = f"case {case}, {split}, image_size {image_size}: {faults}"
            try:
                found = outcome(root, split, image_size)
                if found is not None:
                    check(found, read(root, split), image_size)
            except Exception as error:
                raise AssertionError(about) from error
            answers[found is not None] += 1
        shutil.rmtree(root)
    # Neither everything nor nothing is refused.
    assert min(answers.values()) > 0.1 * sum(answers.values())
