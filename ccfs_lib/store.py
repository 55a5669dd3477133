"""The artefact cache: a stage that has been computed is never computed again.

A stage is a pure function of a *recipe*, a dict of plain JSON values; the recipe's
hash names a folder with the tensors (safetensors, never pickle) and `recipe.json`.
Whatever changes the result belongs in the recipe: data fingerprint, seed, options.
No kept library computes once across processes, survives a kill and leaves readable
provenance, hence this small one.
"""

import hashlib
import json
import math
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

import ccfs_lib
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime import paths

if TYPE_CHECKING:  # torch takes two seconds; naming an artefact should not cost them
    from torch import Tensor

TENSORS, RECORD = "tensors.safetensors", "recipe.json"
# Everything else a read can raise (permission, too many open files) says nothing
# against the entry, so it propagates and the entry stays.
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class StoreWarning(Notice):
    """A damaged entry is computed again, or a result could not be kept."""


class _Damaged(Exception):
    """An entry that must not be used, and why."""


@dataclass(frozen=True)
class Artefact:
    """Tensors (on the CPU) and plain values of one stage, and where they are kept."""

    tensors: "dict[str, Tensor]"
    meta: dict
    key: str
    path: Path


def plain(value, name: str):
    """Copy a value as JSON gives it back, tuples as lists, or raise InputError.

    name: what the sentence calls the value; its parts become name.field and name[i].
    """
    if isinstance(value, dict):
        if odd := [field for field in value if not isinstance(field, str)]:
            raise InputError(f"{name} has the key {odd[0]!r}; keys must be strings")
        return {field: plain(item, f"{name}.{field}") for field, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}; JSON knows finite numbers only")
    if value is None or isinstance(value, str | int | float):
        return value
    raise InputError(
        f"{name} is a {type(value).__name__}; allowed are None, bool, int, float, str, "
        "and lists and dicts of them"
    )


def _canonical(value) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def key(recipe: dict) -> str:
    """Name a recipe: 20 hex digits of the SHA-256 of its canonical JSON.

    Field order does not matter, a tuple is a list, and 1, 1.0 and True are three
    different values. Raises InputError that names a field JSON cannot hold.
    """
    if not isinstance(recipe, dict):
        raise InputError(f"recipe is a {type(recipe).__name__}; it must be a dict")
    return _sha256(_canonical(plain(recipe, "recipe")))[:20]


class Store:
    """A folder of finished artefacts, `root/kind/key/`; safe to share and to kill.

    root: default `paths.cache()`. shipped: a
    folder of the same layout that is only read, for artefacts that come with the code.
    """

    def __init__(self, root: str | Path | None = None, shipped: Path | None = None):
        self.shipped = shipped
        chosen = root or paths.cache()
        # Absolute now: a notebook that changes directory keeps its cache.
        self.root = paths.expanded(chosen).absolute()

    def path(self, kind: str, recipe: dict) -> Path:
        """Return this artefact's folder, there or not; InputError as in `key`."""
        return self._folder(kind) / key(recipe)

    def has(self, kind: str, recipe: dict) -> bool:
        """Check whether a finished entry exists (its checksum is verified by `get`)."""
        path = self.path(kind, recipe)
        shipped = self.shipped and (self.shipped / kind / path.name / RECORD).is_file()
        return bool(shipped) or (path / RECORD).is_file()

    def entries(self, kind: str) -> Iterator[dict]:
        """Yield the record of each finished entry: key, recipe, meta, seconds, ..."""
        for record in sorted(self._folder(kind).glob(f"[!.]*/{RECORD}")):
            try:
                yield {"key": record.parent.name, **_read_record(record.parent)}
            except _Damaged as damage:
                _warn(f"cache entry {record.parent} is skipped: {damage}.")

    def find(self, kind: str, name: str) -> tuple[Artefact, dict] | None:
        """Return the artefact with this key and its recipe, or None for none."""
        if not re.fullmatch(r"[0-9a-f]{20}", name):
            return None
        for root in filter(None, (self.root, self.shipped)):
            with suppress(_Damaged):
                path = root / self._folder(kind).name / name
                if (path / RECORD).is_file():
                    recipe = _read_record(path)["recipe"]
                    return _read(path, recipe), recipe
        return None

    def get(self, kind: str, recipe: dict, compute: Callable[[], tuple]) -> Artefact:
        """Return the artefact of a recipe, computing it only if nobody has yet.

        compute: no arguments, returns ({name: Tensor}, meta); it runs in one process
        at a time per recipe, others wait and read. What it raises passes through and
        leaves nothing behind. A damaged entry, or a root that cannot be written, is a
        StoreWarning and costs a computation, never a result. Raises InputError for a
        recipe or a result that cannot be stored.
        """
        recipe = plain(recipe, "recipe")  # a copy: `compute` may change the caller's
        path, writable = self.path(kind, recipe), True
        with suppress(_Damaged):  # perhaps being replaced: judged again when locked
            if artefact := _read(path, recipe):  # needs no lock: works read-only
                return artefact
        with suppress(_Damaged):
            if self.shipped and (
                artefact := _read(self.shipped / kind / path.name, recipe)
            ):
                return artefact
        with ExitStack() as stack:
            try:
                stack.enter_context(_lock(path))
                if artefact := _recheck(path, recipe):
                    return artefact
            except OSError as error:
                writable = self._unsaved(error)
            start = time.perf_counter()
            tensors, meta = _checked(compute(), kind)
            seconds = round(time.perf_counter() - start, 3)
            try:
                if writable:
                    _write(path, recipe, tensors, meta, seconds)
            except OSError as error:
                self._unsaved(error)
        return Artefact(tensors, meta, path.name, path)

    def _folder(self, kind: str) -> Path:
        if not isinstance(kind, str) or not re.fullmatch(r"\w[\w.-]*", kind, re.ASCII):
            raise InputError(
                f"kind is {kind!r}; it names a folder: letters, digits, '_', '.', '-'"
            )
        return self.root / kind

    def _unsaved(self, error: OSError) -> bool:
        _warn(f"results are not kept: cache {self.root} is not writable ({error}).")
        return False


class Missing(Exception):
    """A stage that has not been computed."""


class ReadOnlyStore(Store):
    """A store that computes nothing, and counts the trainings that it holds."""

    trainings = 0

    def get(self, kind, recipe, compute) -> Artefact:
        """Read; raises Missing where there is nothing to read."""
        if not self.has(kind, recipe):
            raise Missing(kind)
        artefact = super().get(kind, recipe, _missing)
        self.trainings += kind == "train"
        return artefact


def _missing():
    raise Missing("damaged")


def _warn(message: str) -> None:
    warnings.warn(message, StoreWarning, stacklevel=4)


def _lock(path: Path) -> FileLock:
    # flock: the OS frees it with the process, however that dies. Lock files stay, for
    # removing one would let two processes lock two files of the same name.
    folder = path.parent / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / path.name)


def _recheck(path: Path, recipe: dict) -> Artefact | None:
    """List, with the lock held, what others finished meanwhile; remove leftovers."""
    # A temporary folder is dead if its writer's lock is free; ours is held by us,
    # who have written nothing yet.
    for folder in path.parent.glob(".tmp-?*-*"):
        owner = path.with_name(folder.name.split("-")[1])
        with suppress(OSError), ExitStack() as stack:  # Timeout: its writer lives
            if owner != path:
                stack.enter_context(_lock(owner).acquire(timeout=0))
            shutil.rmtree(folder)
    try:
        return _read(path, recipe)
    except _Damaged as damage:
        _warn(f"cache entry {path} is damaged ({damage}) and is computed again.")
        damaged = _temporary(path)
        os.replace(path, damaged)  # at once: a kill must not leave half of it
        shutil.rmtree(damaged, ignore_errors=True)
    return None


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:8]}")


def _read_record(path: Path) -> dict:
    try:
        record = json.loads((path / RECORD).read_bytes())
        seal = record.pop("record_sha256")
        if seal == _sha256(_canonical(record)):
            return record
    except MISSING:
        raise _Damaged(f"{RECORD} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _Damaged(f"{RECORD} is unreadable") from None
    raise _Damaged(f"{RECORD} fails its checksum")


def _read(path: Path, recipe: dict) -> Artefact | None:
    """Read the verified entry, None if there is none; raises _Damaged."""
    if not path.exists():
        return None
    record = _read_record(path)
    if _canonical(record["recipe"]) != _canonical(recipe):
        raise _Damaged("it was made for another recipe")
    try:
        # The bytes that were verified are the bytes that are decoded: no second read.
        data = (path / TENSORS).read_bytes()
    except MISSING:
        raise _Damaged(f"{TENSORS} is missing") from None
    if _sha256(data) != record["sha256"]:
        raise _Damaged(f"{TENSORS} fails its checksum")
    from safetensors.torch import load

    tensors = dict(sorted(load(data).items()))
    return Artefact(tensors, record["meta"], path.name, path)


def _checked(result, kind: str) -> tuple[dict, dict]:
    """Convert a result to what a later read gives: sorted CPU copies, JSON values."""
    from torch import Tensor, contiguous_format

    match result:
        case (dict(tensors), dict(meta)) if all(
            isinstance(name, str) and isinstance(value, Tensor)
            for name, value in tensors.items()
        ):
            # Clones: safetensors refuses shared memory, and a network may train on.
            tensors = {
                name: value.detach().cpu().clone(memory_format=contiguous_format)
                for name, value in sorted(tensors.items())
            }
            return tensors, json.loads(_canonical(plain(meta, "meta")))
    raise InputError(f"compute of {kind!r} must return ({{name: Tensor}}, meta dict)")


def _write(path: Path, recipe: dict, tensors: dict, meta: dict, seconds: float) -> None:
    from safetensors.torch import save

    data = save(tensors)
    record = {
        "kind": path.parent.name,
        "recipe": json.loads(_canonical(recipe)),
        "meta": meta,
        "sha256": _sha256(data),
        "shapes": {name: list(value.shape) for name, value in tensors.items()},
        "seconds": seconds,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "library": ccfs_lib.__version__,
    }
    record["record_sha256"] = _sha256(_canonical(record))
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        for name, content in ((TENSORS, data), (RECORD, text.encode())):
            with open(temporary / name, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _flush_folder(temporary)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too; after a kill the next writer sweeps
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    with suppress(OSError):  # some file systems cannot; the files themselves are safe
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
