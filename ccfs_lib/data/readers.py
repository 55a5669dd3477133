"""Where images come from: parquet shards, the Tiny-ImageNet zip, folders of files.

A source has a `stamp`, which changes when its files change, and can `read` its encoded
images in order. Order matters as much as pixels: published difficulty scores are plain
arrays, aligned to it by position. Nothing is unpacked and nothing is unpickled.
"""

import hashlib
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ccfs_lib.data.files import (
    damaged,
    is_image,
    is_litter,
    say_left_out,
    subfolders,
    text,
    walk,
)
from ccfs_lib.errors import InputError, Notice

TEST_NAMES = ("test", "val", "valid", "validation")
TINY_ZIP = "tiny-imagenet-200.zip"
# The last three: a member that is missing, encrypted, or packed by another method.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
ZIP_ERRORS += (KeyError, RuntimeError, NotImplementedError)
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

    @cached_property
    def folder(self) -> Path:
        """The split's own folder: the first that can be one.

        Raises InputError where there is none.
        """
        kinds = ("train",) if self.split == "train" else TEST_NAMES
        folders = [self.root / kind for kind in kinds if (self.root / kind).is_dir()]
        if not folders:
            raise InputError(f"{self.root} has no folder {' or '.join(kinds)}")
        if self.split == "train":
            return folders[0]
        # Tiny-ImageNet's test/ has no labels; everyone tests on val/.
        if marked := [folder for folder in folders if self._marks(folder)]:
            return marked[0]
        chosen = next(filter(self._labelled, folders), folders[0])
        if chosen != folders[0]:
            warnings.warn(
                f"{folders[0]} holds no class of {self.root / 'train'}, so the test "
                f"split is {chosen}",
                Notice,
                stacklevel=2,
            )
        return chosen

    @cached_property
    def wnids(self) -> list[str]:
        """Names of the class folders of the training split, sorted."""
        return [path.name for path in subfolders(self.root / "train")]

    def _marks(self, folder: Path) -> list[tuple[int, str]]:
        """Read (label, name) of val_annotations.txt, if the images lie beside it."""
        table = folder / "val_annotations.txt"
        if not table.is_file() or not (folder / "images").is_dir():
            return []
        marks = _annotations(text(table), self.wnids, table)
        # Left behind where the images were moved into one folder for each class.
        present = any((folder / "images" / name).exists() for _, name in marks)
        return marks if present else []

    def _labelled(self, folder: Path) -> bool:
        """Check whether a class of the training split has an image there."""
        inner = {path.name: path for path in subfolders(folder)}
        folders = (inner[wnid] for wnid in self.wnids if wnid in inner)
        return any(is_image(path.name) for one in folders for path in walk(one))

    @cached_property
    def items(self) -> list[tuple[Path, int]]:
        """(file, label) in the order of torchvision's ImageFolder."""
        if self.split == "test" and (marks := self._marks(self.folder)):
            return [(self.folder / "images" / name, label) for label, name in marks]
        files_of = {path.name: walk(path) for path in subfolders(self.folder)}
        if files_of.get("images") == [] and "images" not in self.wnids:
            del files_of["images"]  # of Tiny-ImageNet, emptied
        if extra := sorted(set(files_of) - set(self.wnids)):
            raise InputError(
                f"{self.folder / extra[0]} is a class without a folder in "
                f"{self.root / 'train'}"
            )
        stray = sum(is_image(p.name) for p in self.folder.iterdir() if p.is_file())
        say_left_out(
            self.folder, [p for files in files_of.values() for p in files], stray
        )
        items = [
            (path, label)
            for label, wnid in enumerate(self.wnids)
            for path in files_of.get(wnid, [])
            if is_image(path.name)
        ]
        empty = sorted(set(range(len(self.wnids))) - {label for _, label in items})
        if empty and self.split == "train":
            raise InputError(f"{self.folder / self.wnids[empty[0]]} holds no image")
        return items

    def stamp(self) -> list:
        """Return what the decoded images depend on: names, sizes, times of files."""
        # Hashing 100,000 small files would cost as much as decoding them.
        rows = []
        for path, _ in self.items:
            try:
                facts = path.stat()
            except OSError as error:
                raise damaged(path, error) from error
            rows.append([str(path), facts.st_size, facts.st_mtime_ns])
        return [str(self.root.resolve()), self._classes(), rows]

    def read(self) -> Listing:
        """Return images in the order of `items`; raises InputError if damaged."""
        return Listing(self._classes(), len(self.items), self._records())

    def _records(self) -> Iterator[Record]:
        for path, label in self.items:
            try:
                yield str(path), path.read_bytes(), label
            except OSError as error:
                raise damaged(path, error) from error

    def _classes(self) -> tuple[str, ...]:
        table = self.root / "words.txt"
        words = _words(text(table)) if table.exists() else {}
        return class_names(self.wnids, words)


@dataclass(frozen=True)
class ZipSource:
    """The official Tiny-ImageNet archive, read member by member."""

    path: Path
    split: str

    def stamp(self) -> list:
        """Return what the decoded images depend on: the archive, the split."""
        return [sha256(self.path), self.split]

    def read(self) -> Listing:
        """Return images in ImageFolder's order; raises InputError for a damaged one."""
        try:
            archive = zipfile.ZipFile(self.path)
            classes, items = self._items(archive)
        except (*ZIP_ERRORS, UnicodeDecodeError) as error:
            raise damaged(self.path, error) from error
        return Listing(classes, len(items), self._records(archive, items))

    def _items(self, archive) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
        """List class names and (member, label), in the order of ImageFolder."""
        paths = map(PurePosixPath, archive.namelist())
        paths = [p for p in paths if not any(map(is_litter, p.parts))]
        tables = [p for p in paths if p.parts[-2:] == ("val", "val_annotations.txt")]
        train = sorted(
            (p.parts[p.parts.index("train") + 1], p.name, str(p))
            for p in paths
            if "train" in p.parts[:-2] and is_image(p.name)
        )
        if not tables or not train:
            raise InputError(f"{self.path} is not laid out as {TINY_ZIP}")
        table = tables[0]
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
                except ZIP_ERRORS as error:
                    raise damaged(place, error) from error


def _annotations(text: str, wnids: list[str], place: Path) -> list[tuple[int, str]]:
    """Read Tiny-ImageNet's val_annotations.txt as sorted (label, file name)."""
    number = {wnid: label for label, wnid in enumerate(wnids)}
    rows = [line.split("\t")[:2] for line in text.splitlines() if line.strip()]
    unknown = next((row for row in rows if row[-1] not in number), None)
    if unknown:
        raise InputError(f"{place}: {unknown} of val_annotations.txt is no known class")
    twice = [name for name, n in Counter(row[0] for row in rows).items() if n > 1]
    if twice:
        raise InputError(f"{place}: val_annotations.txt names {twice[0]} twice")
    # Sorted as ImageFolder would after the usual move into one folder per class.
    return sorted((number[wnid], name) for name, wnid in rows)


def _words(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def class_names(wnids: list[str], words: dict[str, str]) -> tuple[str, ...]:
    """Return the first synonym of each class, with its wnid where two share it."""
    first = [words[w].split(",")[0].strip() if w in words else w for w in wnids]
    return tuple(
        f"{name} ({wnid})" if first.count(name) > 1 else name
        for name, wnid in zip(first, wnids, strict=True)
    )


def sha256(path: Path) -> str:
    """Compute SHA-256 (hex) of a file's bytes; raises InputError if unreadable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error) from error
