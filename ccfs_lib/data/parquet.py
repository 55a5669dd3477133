"""Images in Hugging Face parquet shards, a source like those of readers.py."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ccfs_lib.data.readers import Listing, Record, class_names, damaged, sha256
from ccfs_lib.errors import InputError

ARROW_ERRORS = (pa.ArrowException, OSError)


@dataclass(frozen=True)
class ParquetSource:
    """Hugging Face parquet: an image struct {bytes, path} and an int label column."""

    shards: tuple[Path, ...]
    train: tuple[Path, ...]  # tells the number of classes where nothing names them
    names: tuple[str, ...] | None = None

    @property
    def table(self) -> Path:
        """Where class names lie beside the shards, if they do."""
        return self.shards[0].parent / "classes.tsv"

    def stamp(self) -> list:
        """What the decoded images depend on: the files' contents, the given names."""
        files = dict.fromkeys((*self.shards, *self.train))
        files |= {self.table: None} if self.table.exists() else {}
        return [[path.name, sha256(path)] for path in files] + [self.names]

    def read(self) -> Listing:
        """All rows in the order of the shards; raises InputError if one is damaged."""
        files = [_open_parquet(path) for path in self.shards]
        count = sum(file.metadata.num_rows for file in files)
        return Listing(self._classes(files[0]), count, self._records(files))

    def _records(self, files: list) -> Iterator[Record]:
        for path, file in zip(self.shards, files, strict=True):
            image, label = _columns(path, file)
            row = 0
            try:
                for batch in file.iter_batches(1000, columns=[image, label]):
                    blobs = batch[image].field("bytes").to_pylist()
                    for item in zip(blobs, batch[label].to_pylist(), strict=True):
                        if None in item:
                            raise InputError(f"{path} row {row} lacks image or label")
                        yield f"{path} row {row}", *item
                        row += 1
            except ARROW_ERRORS as error:
                raise damaged(f"{path} after row {row}", error) from error

    def _classes(self, file) -> tuple[str, ...]:
        if self.table.exists():
            return _class_table(self.table)
        label = _columns(self.shards[0], file)[1]
        info = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", "{}"))
        feature = info.get("info", {}).get("features", {}).get(label, {})
        if feature.get("names") or self.names:
            return tuple(feature.get("names") or self.names)
        top = -1
        for path in self.train:
            column = _open_parquet(path).read(columns=[label])[label]
            top = max([top, *column.drop_null().unique().to_pylist()])
        return tuple(str(k) for k in range(top + 1))


def _class_table(path: Path) -> tuple[str, ...]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    numbers = [str(i) for i in range(len(rows))]
    if [row[0] for row in rows if len(row) == 3] != numbers:
        raise InputError(f"{path} must have rows 'label, wnid, words', labels from 0")
    words = {wnid: text for _, wnid, text in rows}
    return class_names([wnid for _, wnid, _ in rows], words)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except ARROW_ERRORS as error:
        raise damaged(path, error) from error


def _columns(path: Path, file) -> tuple[str, str]:
    """Names of the image and the label column."""
    schema = file.schema_arrow
    image = next((c for c in ("image", "img") if c in schema.names), None)
    label = next((c for c in ("label", "fine_label") if c in schema.names), None)
    if image and label:
        pixels, number = schema.field(image).type, schema.field(label).type
        packed = pa.types.is_struct(pixels) and pixels.get_field_index("bytes") >= 0
        if packed and pa.types.is_integer(number):
            return image, label
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise InputError(
        f"{path} has columns {columns}; needed are 'image' or 'img' (a struct with "
        "'bytes') and 'label' or 'fine_label' (integers)"
    )
