"""Decoding: encoded images to one uint8 array, kept in a cache on disk.

100,000 JPEGs of 64 pixels take some 10 s to decode and 1 s to map from the cache. The
cached pixels are hashed at every load: that is the set's fingerprint, which everything
computed from it is filed under, so it is never taken on trust.
"""

import hashlib
import io
import json
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from ccfs_lib.data.files import damaged
from ccfs_lib.data.readers import Listing, Record
from ccfs_lib.data.resize import square
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime import paths as places
from ccfs_lib.runtime.progress import progress

# Of the cache, part of every key. 2: labels numbered by class names; 3: turned as EXIF
# says, and nothing transparent.
VERSION = 3
CHUNK = 500  # images a thread decodes in one go


@dataclass(frozen=True)
class Decoded:
    """images: uint8 (N, 3, H, W); labels: int64 (N,); the hash of both."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    fingerprint: str


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Compute sha256 (hex) over shape, pixels and labels, the same on every machine."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, "<i8"))
    return digest.hexdigest()


def cached(
    source, name: str, cache_dir: str | Path | None = None, image_size: int = 0
) -> Decoded:
    """Decode all images of a source, at most once by however many processes.

    source: from `catalogue.find`; name: starts the file names; cache_dir: default
    `paths.cache()`. image_size: side of the squares that images become
    which are not square or of several sizes; others stay as they are. A cache that
    cannot be written costs a warning, no more. Raises InputError for a source that
    cannot be read, and for images of odd sizes without image_size.
    """
    root = Path(cache_dir or places.cache()) / "images"
    stamp = [VERSION, type(source).__name__, source.stamp()]
    # Whether they are odd is known only from reading them: both places are tried.
    paths = [_path(root, name, stamp)]
    paths += [_path(root, name, [*stamp, image_size])] if image_size else []
    if decoded := _first(paths):
        return decoded
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(paths[0].with_suffix(".lock")).acquire()
    except (OSError, NotImplementedError) as error:  # the latter: no flock there
        return _uncached(_fresh(source, name, image_size)[0], root, error)
    with lock:
        if decoded := _first(paths):  # decoded by another process in the meantime
            return decoded
        fresh, odd = _fresh(source, name, image_size)
        path = paths[-1] if odd else paths[0]
        try:
            _write(path, fresh)
        except OSError as error:
            return _uncached(fresh, root, error)
        return _read(path) or fresh  # mapped: processes share one copy in memory


def _path(root: Path, name: str, stamp: list) -> Path:
    key = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
    return root / f"{name}-{key}.npy"


def _first(paths: list[Path]) -> Decoded | None:
    return next(filter(None, map(_read, paths)), None)


def _fresh(source, name: str, image_size: int) -> tuple[Decoded, bool]:
    """Decode all images, and check whether they were odd, hence made square."""
    # Headers first: a set that cannot be used is refused before it is decoded.
    odd = odd_size(source.read())
    if odd and not image_size:
        raise InputError(
            f"{odd}: all images must be squares of one size; with image_size given, "
            "they are resized and centre-cropped to it"
        )
    if odd:
        warnings.warn(
            f"{name}: {odd}, so all are resized and centre-cropped to "
            f"{image_size}x{image_size}",
            Notice,
            stacklevel=4,
        )
    return decode_all(source.read(), name, image_size if odd else 0), bool(odd)


def _uncached(fresh: Decoded, root: Path, error: Exception) -> Decoded:
    warnings.warn(
        f"decoded images cannot be kept in {root} ({error}), so the next start decodes "
        "them again",
        Notice,
        stacklevel=4,
    )
    return fresh


def _read(path: Path) -> Decoded | None:
    """Read the cache entry; None where it is absent or not what was written."""
    try:
        side = json.loads(path.with_suffix(".json").read_text())
        # Mode "c": writing to the array stays private and cannot spoil the file.
        images = np.load(path, mmap_mode="c", allow_pickle=False)
        labels = np.array(side["labels"], np.int64)
        classes, expected = tuple(side["classes"]), side["fingerprint"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        expected, images, labels, classes = None, np.empty(0), np.empty(0), ()
    if fingerprint(images, labels) == expected:
        return Decoded(images, labels, classes, expected)
    message = f"{path} is damaged, so its images are decoded again"
    warnings.warn(message, Notice, stacklevel=4)
    return None


def _write(path: Path, decoded: Decoded) -> None:
    """Write pixels, then the sidecar that makes them valid, each in one step."""
    side = {
        "classes": decoded.classes,
        "fingerprint": decoded.fingerprint,
        "labels": decoded.labels.tolist(),
    }
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            np.save(file, decoded.images, allow_pickle=False)
        os.replace(temporary, path)
        temporary.write_text(json.dumps(side))
        os.replace(temporary, path.with_suffix(".json"))
    finally:
        temporary.unlink(missing_ok=True)


def decode_all(listing: Listing, name: str, image_size: int = 0) -> Decoded:
    """Decode every image of a listing, in parallel and in order.

    image_size: side of the squares they are cropped and resized to; 0 = as they are.
    Raises InputError that names the image that is damaged, of another size than the
    first, or labelled outside the classes.
    """
    first = next(listing.records, None)
    if first is None:
        raise InputError(f"{name} holds no images")
    _, height, width = decode_record(first, image_size).shape
    images = np.empty((listing.count, 3, height, width), np.uint8)
    labels = np.empty(listing.count, np.int64)

    def fill(start: int, chunk: list[Record]) -> int:
        """Decode a chunk into the places from `start`; return its length."""
        for i, record in enumerate(chunk, start):
            image = decode_record(record, image_size)
            _check(record, image.shape, first[0], images.shape, len(listing.classes))
            images[i], labels[i] = image.numpy(), record[2]
        return len(chunk)

    workers, waiting, done = os.cpu_count() or 1, deque(), 0
    bar = progress(None, f"decode {name}", "image", total=listing.count)
    with bar, ThreadPoolExecutor(workers) as pool:
        # Few chunks wait at a time: little memory, and an error stops the work at once.
        for start, chunk in _chunks(first, listing.records):
            waiting.append(pool.submit(fill, start, chunk))
            if len(waiting) > 2 * workers:
                done += _advance(bar, waiting.popleft())
        done += sum(_advance(bar, job) for job in waiting)
    if done != listing.count:
        raise InputError(f"{name} promises {listing.count} images, but holds {done}")
    return Decoded(images, labels, listing.classes, fingerprint(images, labels))


def _advance(bar, job) -> int:
    done = job.result()
    bar.update(done)
    return done


def _chunks(first: Record, rest: Iterator[Record]) -> Iterator[tuple[int, list]]:
    rest, start = chain([first], rest), 0
    while chunk := list(islice(rest, CHUNK)):
        yield start, chunk
        start += len(chunk)


def _check(record: Record, shape, first: str, expected, classes: int) -> None:
    place, label = record[0], record[2]
    if tuple(shape) != expected[1:]:
        raise InputError(
            f"{place} is {shape[2]}x{shape[1]} pixels, but {first} is "
            f"{expected[3]}x{expected[2]}: all images must be squares of one size"
        )
    if not (isinstance(label, int) and 0 <= label < classes):
        raise InputError(
            f"{place} has label {label!r}; integers from 0 to {classes - 1} are allowed"
        )


def odd_size(listing: Listing) -> str:
    """Describe what is odd of the images' sizes, by their headers; "" for nothing.

    Odd is an image that is not square or has another size than the first. Raises
    InputError for one whose header cannot be read.
    """
    first = None
    for place, blob, _ in listing.records:
        try:
            width, height = size(blob)
        except Exception as error:  # as in decode_record
            raise damaged(place, error) from error
        if width != height:
            return f"{place} is {width}x{height} pixels"
        first = first or (place, width)
        if width != first[1]:
            return (
                f"{place} is {width}x{height} pixels, but {first[0]} is "
                f"{first[1]}x{first[1]}"
            )
    return ""


def size(blob: bytes) -> tuple[int, int]:
    """Return (width, height) of an encoded image; raises whatever Pillow raises."""
    if blob[:8] == b"\x89PNG\r\n\x1a\n" and blob[12:16] == b"IHDR" and len(blob) > 24:
        return int.from_bytes(blob[16:20]), int.from_bytes(blob[20:24])
    if blob[:3] == b"\xff\xd8\xff" and (dimensions := _jpeg_size(blob)):
        return dimensions
    from PIL import Image

    with Image.open(io.BytesIO(blob)) as image:
        return image.size


def _jpeg_size(blob: bytes) -> tuple[int, int] | None:
    """Read the frame header, 30 times faster than Pillow; None where it is unusual."""
    at = 2
    while at + 9 <= len(blob) and blob[at] == 0xFF:
        kind, length = blob[at + 1], int.from_bytes(blob[at + 2 : at + 4])
        if kind == 0xFF or 0xD0 <= kind <= 0xDA:  # padding, no length, or too late
            return None
        # SOF0 to SOF15, but for three that are tables.
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = blob[at + 5 : at + 7], blob[at + 7 : at + 9]
            return int.from_bytes(width), int.from_bytes(height)
        at += 2 + length
    return None


def decode_record(record: Record, image_size: int = 0) -> torch.Tensor:
    """Decode one record's image; a failure is an InputError with its place.

    image_size: side of the centre square that it becomes; 0 = as it is.
    """
    try:
        image = decode(record[1])
        return square(image, image_size) if image_size else image
    except Exception as error:  # decoders meet hostile bytes with every kind of error
        raise damaged(record[0], error) from error


def decode(blob: bytes) -> torch.Tensor:
    """Decode one image to uint8 (3, H, W); greyscale becomes three equal channels.

    It is turned as its EXIF orientation says. torchvision's JPEG decoder gives Pillow's
    bits in less than half of its time. Raises ValueError for transparent pixels, whose
    colour is not what anybody sees.
    """
    if blob[:3] == b"\xff\xd8\xff":
        from torchvision.io import ImageReadMode, decode_jpeg

        data = torch.frombuffer(bytearray(blob), dtype=torch.uint8)
        mode = ImageReadMode.RGB
        return decode_jpeg(data, mode=mode, apply_exif_orientation=True)
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(blob)) as image:
        if image.mode[0] in "IF":
            raise ValueError(f"mode {image.mode} has more than 8 bits per channel")
        if transparent(image):
            raise ValueError("it has transparent pixels: save it on a background")
        pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def transparent(image) -> bool:
    """Check whether a PIL image has a pixel that is not opaque."""
    opaque = not image.has_transparency_data
    return not opaque and image.convert("RGBA").getchannel("A").getextrema()[0] < 255
