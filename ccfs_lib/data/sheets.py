"""A data set as lossless WebP sheets of 100 images: small enough to be carried by hand.

CIFAR-100 as PNG files is 130 MB, as sheets 100 MB: neighbours on a sheet share their
dictionary. They travel to machines without a network, where `unpack` gives the very
pixels back, in their order.
"""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ccfs_lib.data.files import damaged
from ccfs_lib.data.imageset import ImageSet
from ccfs_lib.errors import InputError

SIDE = 10  # images along each edge of a sheet
MOST = 15_000_000  # bytes of a file


def pack(data: ImageSet, folder: str | Path, split: str, effort: int = 6) -> list[Path]:
    """Write the images as sheets into files below 15 MB, split-00.parquet, ...

    effort: of WebP's search, 0 to 6. Returns the paths, in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chunks = list(data.images.split(SIDE**2))
    labels = [chunk.tolist() for chunk in data.labels.split(SIDE**2)]
    with ThreadPoolExecutor() as pool:
        sheets = list(pool.map(lambda chunk: _sheet(chunk.numpy(), effort), chunks))
    paths = []
    for number, part in enumerate(_parts(sheets)):
        rows = {"sheet": [sheets[i] for i in part], "labels": [labels[i] for i in part]}
        facts = json.dumps({"name": data.name, "classes": data.classes})
        table = pa.table(rows).replace_schema_metadata({"ccfs": facts})
        paths.append(folder / f"{split}-{number:02d}.parquet")
        pq.write_table(table, paths[-1], compression="NONE", use_dictionary=False)
    return paths


def unpack(folder: str | Path, split: str) -> ImageSet:
    """Read what `pack` wrote: the same pixels, labels, names, in the same order.

    Raises InputError where the folder has no such files, or a damaged one.
    """
    paths = sorted(Path(folder).glob(f"{split}-*.parquet"))
    if not paths:
        raise InputError(f"{folder} has no sheets {split}-*.parquet")
    images, labels = [], []
    for path in paths:
        try:
            table = pq.read_table(path)
            facts = json.loads(table.schema.metadata[b"ccfs"])
            counts = [len(row) for row in table["labels"].to_pylist()]
            labels += [label for row in table["labels"].to_pylist() for label in row]
            with ThreadPoolExecutor() as pool:
                images += pool.map(_cut, table["sheet"].to_pylist(), counts)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(path, error) from error
    pixels = torch.from_numpy(np.concatenate(images))
    classes = tuple(facts["classes"])
    return ImageSet(facts["name"], pixels, torch.tensor(labels), classes)


def _sheet(images: np.ndarray, effort: int) -> bytes:
    """Lay images, uint8 (N <= 100, 3, S, S), out row by row; return a WebP file."""
    size = images.shape[2]
    tiles = np.zeros((SIDE**2, 3, size, size), np.uint8)
    tiles[: len(images)] = images
    tiles = tiles.reshape(SIDE, SIDE, 3, size, size).transpose(0, 3, 1, 4, 2)
    picture = Image.fromarray(tiles.reshape(SIDE * size, SIDE * size, 3))
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, quality=60, method=effort)
    return file.getvalue()


def _cut(sheet: bytes, count: int) -> np.ndarray:
    """Cut a sheet into its `count` images, uint8 (count, 3, S, S)."""
    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
    size = len(pixels) // SIDE
    tiles = pixels.reshape(SIDE, size, SIDE, size, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(SIDE**2, 3, size, size)[:count]


def _parts(sheets: list[bytes]) -> Iterator[list[int]]:
    """Group the numbers of sheets into files, in order."""
    part, size = [], 0
    for number, sheet in enumerate(sheets):
        if part and size + len(sheet) > MOST:
            yield part
            part, size = [], 0
        part.append(number)
        size += len(sheet) + 2000  # labels and the file's own words
    if part:
        yield part
