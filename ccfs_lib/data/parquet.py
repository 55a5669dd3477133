"""Images in Hugging Face parquet shards, a source like those of readers.py.

A label in a file is a number, and only the file's own metadata says of which class. The
numbers of all files are brought to those of the training split, by the classes' names.
"""

import csv
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ccfs_lib.data.files import check_link, damaged, is_litter
from ccfs_lib.data.readers import Listing, Record, class_names, sha256
from ccfs_lib.errors import InputError, Notice

# Not every fault of a file is an ArrowException: names of columns that are no text, ...
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, MemoryError)
# Names as they stand in published files: so is the class of the hub's CIFAR-100.
MISSPELT = {"cra": "crab"}
MOST = 2**15  # classes: answers of networks are kept as int16


@dataclass(frozen=True)
class ParquetSource:
    """Hugging Face parquet: an image struct {bytes, path} and an int label column."""

    shards: tuple[Path, ...]
    train: tuple[Path, ...]  # says how classes are numbered
    names: tuple[str, ...] | None = None  # the classes, where they are known

    @property
    def table(self) -> Path:
        """Where class names lie beside the shards, if they do."""
        return self.shards[0].parent / "classes.tsv"

    def stamp(self) -> list:
        """Return what the decoded images depend on: contents of files, given names."""
        files = dict.fromkeys((*self.shards, *self.train))
        files |= {self.table: None} if self.table.exists() else {}
        return [[path.name, sha256(path)] for path in files] + [self.names]

    def read(self) -> Listing:
        """Return all rows in the order of the shards; InputError if one is damaged."""
        files = [_open_parquet(path) for path in self.shards]
        count = sum(file.metadata.num_rows for file in files)
        return Listing(self.classes, count, self._records(files))

    def _records(self, files: list) -> Iterator[Record]:
        for path, file in zip(self.shards, files, strict=True):
            image, label = _columns(path, file)
            number, row = self._numbering(path), 0
            try:
                for batch in file.iter_batches(1000, columns=[image, label]):
                    blobs = batch[image].field("bytes").to_pylist()
                    for item in zip(blobs, batch[label].to_pylist(), strict=True):
                        place = f"{path} row {row}"
                        if None in item:
                            raise InputError(f"{place} lacks image or label")
                        yield place, item[0], number(place, item[1])
                        row += 1
            except InputError:
                raise
            except ARROW_ERRORS as error:
                raise damaged(f"{path} after row {row}", error) from error

    # -- classes ---------------------------------------------------------------------

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order in which the training split numbers them."""
        declared = self.declared
        if self.table.exists():
            classes = _class_table(self.table)
            if declared and len(declared) != len(classes):
                raise InputError(
                    f"{self.table} names {len(classes)} classes, but "
                    f"{self.train[0]} {len(declared)}"
                )
            return classes
        if self.names or declared:
            return self.names or declared
        low, high = self._range
        if high >= MOST:
            raise InputError(
                f"{self.train[0].parent} has training labels up to {high} without "
                f"class names; integers below {MOST} are allowed"
            )
        return tuple(str(label) for label in range(min(low, 1), high + 1))

    @cached_property
    def declared(self) -> tuple[str, ...] | None:
        """Class names as the first training shard that has any declares them."""
        return next(filter(None, map(self._declared.get, self.train)), None)

    @property
    def is_fine(self) -> bool:
        """Whether the classes have names, or the column is CIFAR-100's "fine_label"."""
        label = _columns(self.train[0], _open_parquet(self.train[0]))[1]
        return bool(self.declared) or label == "fine_label"

    @cached_property
    def _declared(self) -> dict[Path, tuple[str, ...] | None]:
        files = dict.fromkeys((*self.train, *self.shards))
        return {path: _declared(path, _open_parquet(path)) for path in files}

    @cached_property
    def _range(self) -> tuple[int, int]:
        """Lowest and highest label of the training split; (0, -1) of none."""
        ranges = [_label_range(path) for path in self.train]
        lows, highs = (
            zip(*filter(None, ranges), strict=True) if any(ranges) else ((), ())
        )
        return min(lows, default=0), max(highs, default=-1)

    def _numbering(self, path: Path) -> Callable[[str, int], int]:
        """Return the map (place, label in this file) -> index into `classes`."""
        # Without names of its own a file is numbered as the training split is.
        names = self._declared[path] or self.declared
        if names and not self._declared[path]:
            warnings.warn(
                f"{path} names no classes: its labels are taken as numbered as those "
                "of the training split",
                Notice,
                stacklevel=2,
            )
        wanted = self.names or self.declared or self.classes
        if names is None or names == wanted:
            return self._plain
        index = {name: i for i, name in enumerate(wanted)}
        names = tuple(MISSPELT.get(n, n) if n not in index else n for n in names)
        if unknown := [name for name in names if name not in index]:
            raise InputError(
                f"{path} has a class {unknown[0]!r}, but the classes of "
                f"{'this data set' if self.names else self.train[0]} are "
                f"{_listed(wanted)}: their labels cannot be compared"
            )
        numbers = [index[name] for name in names]

        def by_name(place: str, label: int) -> int:
            """Return the index into `classes`; raises InputError for a wrong label."""
            return numbers[_check_label(place, label, len(numbers))]

        return by_name

    def _plain(self, place: str, label: int) -> int:
        # Where nothing names the classes, labels may begin at 1.
        if self.names or self.declared or self.table.exists() or self._range[0] != 1:
            return _check_label(place, label, len(self.classes))
        return _check_label(place, label, len(self.classes), 1) - 1


def _check_label(place: str, label: int, classes: int, first: int = 0) -> int:
    last = first + classes - 1
    if not first <= label <= last:
        raise InputError(
            f"{place} has label {label}; integers from {first} to {last} are allowed"
        )
    return label


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _declared(path: Path, file) -> tuple[str, ...] | None:
    """Read class names in a file's metadata; a notice where they are not understood."""
    label = _columns(path, file)[1]
    block = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if block is None:
        return None
    try:
        feature = json.loads(block)["info"]["features"].get(label)
        names = None if feature is None else feature.get("names")
        if names is None:
            return None
        if not isinstance(names, list) or not names:
            raise ValueError("class names must be a list")
        if len({name for name in names if isinstance(name, str)}) < len(names):
            raise ValueError("class names must be text, each one once")
        return tuple(names)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        warnings.warn(
            f"{path}: its 'huggingface' metadata cannot be understood, so that its "
            "labels are taken as numbers without names",
            Notice,
            stacklevel=2,
        )
        return None


def _class_table(path: Path) -> tuple[str, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, error) from error
    numbers = [str(i) for i in range(len(rows))]
    if [row[0] for row in rows if len(row) == 3] != numbers:
        raise InputError(f"{path} must have rows 'label, wnid, words', labels from 0")
    words = {wnid: text for _, wnid, text in rows}
    return class_names([wnid for _, wnid, _ in rows], words)


# -- files -----------------------------------------------------------------------------


def shards(folder: Path, kind: str) -> tuple[Path, ...]:
    """List the shards of a split in order: kind-*.parquet, or kind/*.parquet.

    Raises InputError where one is missing, which would shift every index.
    """
    beside, inside = folder.glob(f"{kind}[-.]*parquet"), folder.glob(f"{kind}/*parquet")
    for paths in map(sorted, (beside, inside)):
        if paths := tuple(path for path in paths if not is_litter(path.name)):
            for path in paths:
                check_link(path)
            _check_complete(folder, kind, paths)
            return paths
    return ()


def _check_complete(folder: Path, kind: str, paths: tuple[Path, ...]) -> None:
    marks = [re.search(r"(\d+)-of-(\d+)", path.stem) for path in paths]
    if any(marks):
        totals = {int(mark[2]) for mark in marks if mark}
        numbers = [int(mark[1]) for mark in marks if mark]
        promised = max(totals)
        complete = len(totals) == 1 and numbers == list(range(len(paths)))
    else:
        # As the hub converts: 0000.parquet, 0001.parquet, without a total.
        numbers = [int(path.stem) for path in paths if path.stem.isdecimal()]
        promised = max(numbers, default=-1) + 1
        complete = not numbers or numbers == list(range(len(paths)))
    if not complete or (any(marks) and promised != len(paths)):
        raise InputError(
            f"{folder} has {len(paths)} {kind} parquet files, but their names promise "
            f"{promised}, numbered from 0"
        )


def labelled(files: tuple[Path, ...]) -> bool:
    """Check whether these shards have labels: some test splits have -1, or none."""
    try:
        ranges = [_label_range(path) for path in files]
    except InputError:
        return False
    return any(span and span[1] >= 0 for span in ranges)


def _label_range(path: Path) -> tuple[int, int] | None:
    """Return lowest and highest label of a file; None where it has none."""
    file = _open_parquet(path)
    label = _columns(path, file)[1]
    try:
        span = pc.min_max(file.read(columns=[label])[label]).as_py()
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error
    return None if span["min"] is None else (span["min"], span["max"])


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        _ = file.schema_arrow, file.metadata.num_rows  # read lazily
        return file
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error


def _columns(path: Path, file) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    schema = file.schema_arrow
    image = next((c for c in ("image", "img") if c in schema.names), None)
    label = next((c for c in ("label", "fine_label") if c in schema.names), None)
    if image and label and schema.names.count(image) == schema.names.count(label) == 1:
        pixels, number = schema.field(image).type, schema.field(label).type
        if _packed(pixels) and pa.types.is_integer(number):
            return image, label
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise InputError(
        f"{path} has columns {columns}; needed are 'image' or 'img' (a struct with "
        "'bytes') and 'label' or 'fine_label' (integers)"
    )


def _packed(pixels: pa.DataType) -> bool:
    """Check whether a column's type is a struct with encoded images as "bytes"."""
    if not pa.types.is_struct(pixels) or pixels.get_field_index("bytes") < 0:
        return False
    kind = pixels.field("bytes").type
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
