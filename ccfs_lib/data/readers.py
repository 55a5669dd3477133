"""Where images come from: parquet shards, the Tiny-ImageNet zip, folders of files.

A source has a `stamp`, which changes when its files change, and can `read` its encoded
images in order. Order matters as much as pixels: published difficulty scores are plain
arrays, aligned to it by position. Nothing is unpacked and nothing is unpickled.
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ccfs_lib.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
TEST_NAMES = ("test", "val", "valid", "validation")
TINY_ZIP = "tiny-imagenet-200.zip"
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
Record = tuple[str, bytes, int]  # place (for messages), encoded image, label


@dataclass(frozen=True)
class Listing:
    """What a source holds: `count` records, in order, and the class names."""

    classes: tuple[str, ...]
    count: int
    records: Iterator[Record]


@dataclass(frozen=True)
class FolderSource:
    """root/train/<class>/* and root/test/<class>/*, or Tiny-ImageNet unpacked."""

    root: Path
    split: str

    @property
    def folder(self) -> Path:
        """The split's own folder; raises InputError where there is none."""
        kinds = ("train",) if self.split == "train" else TEST_NAMES
        folders = [self.root / kind for kind in kinds if (self.root / kind).is_dir()]
        if not folders:
            raise InputError(f"{self.root} has no folder {' or '.join(kinds)}")
        # Tiny-ImageNet's test/ has no labels; everyone tests on val/.
        marked = [f for f in folders if (f / "val_annotations.txt").exists()]
        return (marked or folders)[0]

    @cached_property
    def wnids(self) -> list[str]:
        """Names of the class folders of the training split, sorted."""
        return sorted(p.name for p in (self.root / "train").iterdir() if p.is_dir())

    @cached_property
    def items(self) -> list[tuple[Path, int]]:
        """(file, label) in the order of torchvision's ImageFolder."""
        table = self.folder / "val_annotations.txt"
        if table.exists():
            marks = _annotations(table.read_text(), self.wnids, table)
            return [(self.folder / "images" / name, label) for label, name in marks]
        found = sorted(p.name for p in self.folder.iterdir() if p.is_dir())
        if extra := sorted(set(found) - set(self.wnids)):
            raise InputError(
                f"{self.folder / extra[0]} is a class without a folder in "
                f"{self.root / 'train'}"
            )
        items = [
            (Path(folder, name), label)
            for label, wnid in enumerate(self.wnids)
            for folder, _, names in sorted(os.walk(self.folder / wnid))
            for name in sorted(names)
            if _is_image(name)
        ]
        empty = sorted(set(range(len(self.wnids))) - {label for _, label in items})
        if empty and self.split == "train":
            raise InputError(f"{self.folder / self.wnids[empty[0]]} holds no image")
        return items

    def stamp(self) -> list:
        """What the decoded images depend on: names, sizes and times of the files."""
        # Hashing 100,000 small files would cost as much as decoding them.
        stats = [(path, path.stat()) for path, _ in self.items]
        rows = [[str(path), s.st_size, s.st_mtime_ns] for path, s in stats]
        return [str(self.root.resolve()), self._classes(), rows]

    def read(self) -> Listing:
        """All images in the order of `items`; raises InputError if one is damaged."""
        return Listing(self._classes(), len(self.items), self._records())

    def _records(self) -> Iterator[Record]:
        for path, label in self.items:
            try:
                yield str(path), path.read_bytes(), label
            except OSError as error:
                raise damaged(path, error) from error

    def _classes(self) -> tuple[str, ...]:
        table = self.root / "words.txt"
        words = _words(table.read_text()) if table.exists() else {}
        return class_names(self.wnids, words)


@dataclass(frozen=True)
class ZipSource:
    """The official Tiny-ImageNet archive, read member by member."""

    path: Path
    split: str

    def stamp(self) -> list:
        """What the decoded images depend on: the archive's content, the split."""
        return [sha256(self.path), self.split]

    def read(self) -> Listing:
        """All images in ImageFolder's order; raises InputError for a damaged file."""
        try:
            archive = zipfile.ZipFile(self.path)
            classes, items = self._items(archive)
        except (*ZIP_ERRORS, KeyError) as error:
            raise damaged(self.path, error) from error
        return Listing(classes, len(items), self._records(archive, items))

    def _items(self, archive) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
        """Class names and (member, label), in the order of ImageFolder."""
        paths = [PurePosixPath(name) for name in archive.namelist()]
        table = next((p for p in paths if p.name == "val_annotations.txt"), None)
        train = sorted(
            (p.parts[p.parts.index("train") + 1], p.name, str(p))
            for p in paths
            if "train" in p.parts[:-2] and _is_image(p.name)
        )
        if table is None or not train:
            raise InputError(f"{self.path} is not laid out as {TINY_ZIP}")
        wnids = sorted({wnid for wnid, _, _ in train})
        words = archive.read(str(table.parents[1] / "words.txt")).decode()
        classes = class_names(wnids, _words(words))
        if self.split == "train":
            number = {wnid: label for label, wnid in enumerate(wnids)}
            return classes, [(member, number[wnid]) for wnid, _, member in train]
        marks = _annotations(archive.read(str(table)).decode(), wnids, self.path)
        folder = table.parent / "images"
        return classes, [(str(folder / name), label) for label, name in marks]

    def _records(self, archive, items) -> Iterator[Record]:
        with archive:
            for member, label in items:
                place = f"{self.path}:{member}"
                try:
                    yield place, archive.read(member), label  # checks the member's CRC
                except (*ZIP_ERRORS, KeyError) as error:
                    raise damaged(place, error) from error


def _annotations(text: str, wnids: list[str], place: Path) -> list[tuple[int, str]]:
    """Tiny-ImageNet's val_annotations.txt as sorted (label, file name)."""
    number = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t")[:2] for line in text.splitlines() if line.strip()]
    unknown = next((row for row in rows if row[-1] not in number), None)
    if unknown:
        raise InputError(f"{place}: {unknown} of val_annotations.txt is no known class")
    # Sorted as ImageFolder would after the usual move into one folder per class.
    return sorted((number[wnid], name) for name, wnid in rows)


def _words(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def _is_image(name: str) -> bool:
    # Hidden files: macOS leaves "._name.jpg" twins that hold no image.
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def class_names(wnids: list[str], words: dict[str, str]) -> tuple[str, ...]:
    """First synonym of each class; where two classes share it, the wnid is added."""
    first = [words[w].split(",")[0].strip() if w in words else w for w in wnids]
    return tuple(
        f"{name} ({wnid})" if first.count(name) > 1 else name
        for name, wnid in zip(first, wnids, strict=True)
    )


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error) from error


def damaged(place, error: Exception) -> InputError:
    """The error for a file that cannot be read, with the first line of the reason."""
    reason = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
    return InputError(f"{place} cannot be read: {reason}")
