"""Measured cells: one JSON per cell, in git; all of them are one tidy table.

A cell is one configuration measured with several seeds. Its rows stay one per seed:
means and intervals are computed where they are shown (`ccfs_lib.statistics`).
"""

import itertools
import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

import ccfs_lib
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.store import plain

if TYPE_CHECKING:
    import pandas
    import torch

MEASURED = ("seed", "last", "best")  # every row has them; accuracies in percent


def write(
    root: str | Path,
    run: str,
    cell: str,
    *,
    config: dict,
    rows: list[dict],
    provenance: dict,
) -> Path:
    """File rows in root/run/cell.json, beside what was measured under this config.

    rows: one dict per seed with seed (int), last and best (percent), and what else was
    measured; what differs between equal runs, such as seconds, belongs in provenance,
    so that re-running a notebook leaves the git tree clean. A row replaces that of its
    seed, others stay; `seeds` of the config counts them. A file of another
    configuration, or a damaged one, is kept in root/run/replaced, with a Notice; that
    of a portable run, which repeats in seconds, is overwritten, unless it had other
    passes. Parallel writers wait for each other. Raises InputError for a bad name, no
    rows, a repeated seed, or an accuracy that is not a percentage.
    """
    path = _path(root, run, cell)
    config, rows = plain(config, "config"), _rows(rows)
    provenance = plain(provenance, "provenance")
    if _holds(old := _old(path), _merged(old, config, rows)):
        return path  # nothing to write: works where nothing can be written
    with _locked(path):
        old = _old(path)
        if old and not same(old["config"], config):
            old = _put_aside(path, old, config)
        content = _merged(old, config, rows)
        if _holds(old, content):
            return path
        content["provenance"] = _together(old.get("provenance", {}), provenance)
        _replace(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def _merged(old: dict, config: dict, rows: list[dict]) -> dict:
    """Put rows beside those of a file of the same configuration; seeds ascending."""
    kept = old["rows"] if same(old.get("config"), config) else []
    by_seed = {row["seed"]: row for row in [*kept, *rows]}
    number = {"seeds": len(by_seed)} if "seeds" in config else {}
    return {
        "config": config | number,
        "rows": [by_seed[seed] for seed in sorted(by_seed)],
    }


def _holds(old: dict, content: dict) -> bool:
    return all(old.get(name) == value for name, value in content.items())


def seeds(
    root: str | Path, run: str, cell: str, config: dict, aside: Sequence[str] = ()
) -> set[int]:
    """List the seeds that root/run/cell.json holds, measured with this very config.

    aside: entries of the config that are not compared.
    """
    old = _old(_path(root, run, cell))
    known, config = (
        _without(c, {*aside}) for c in (old.get("config", {}), plain(config, "config"))
    )
    if not same(known, config):
        return set()
    return {row["seed"] for row in old["rows"]}


def count(root: str | Path, run: str, cell: str) -> int:
    """Count the rows of root/run/cell.json, of whatever configuration."""
    return len(_old(_path(root, run, cell)).get("rows", []))


def setting(root: str | Path, run: str, cell: str, name: str):
    """Return an entry of the config of root/run/cell.json; None for none."""
    return _old(_path(root, run, cell)).get("config", {}).get(name)


def same(one: dict | None, other: dict | None) -> bool:
    """Check whether two configurations give equal rows for equal seeds.

    How many seeds there are takes no part, nor does where the data lie: the
    fingerprints of the images say what they are.
    """
    if not one or not other:
        return False
    free = {"seeds"} | ({"dataset"} if "train" in one else set())
    return _without(one, free) == _without(other, free)


def check_images(root: str | Path, run: str, fingerprints: dict[str, str]) -> None:
    """Raise InputError where the run was measured on other images.

    fingerprints: of the splits, "train" and "test". Two data sets in folders of one
    name have one name for their runs, too.
    """
    for path in sorted((Path(root) / run).glob("[!.]*.json")):
        known = _old(path).get("config", {})
        if odd := [k for k, v in fingerprints.items() if known.get(k, v) != v]:
            raise InputError(
                f"run {run} has results in {path.parent}, but of another data set of "
                f"this name (other {odd[0]} images): rename its folder, move the "
                "results away, or let $CCFS_RESULTS name a folder for new ones"
            )


def _without(config: dict, names: set[str]) -> dict:
    return {name: value for name, value in config.items() if name not in names}


def check_names(run: str, cell: str) -> None:
    """Raise InputError for a run or a cell that cannot name its file."""
    for label, name in (("run", run), ("cell", cell)):
        if not re.fullmatch(r"\w[\w.=+-]*", name, re.ASCII):
            raise InputError(
                f"{label} is {name!r}; it names a file: letters, digits and _ . = + -"
            )


def _path(root: str | Path, run: str, cell: str) -> Path:
    check_names(run, cell)
    return Path(root) / run / f"{cell}.json"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a results file: rows of parallel processes must not drop each other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parents[1] / ".locks"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{path.parent.name}.{path.stem}"):
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a killed writer
            left.unlink()
        yield


def _old(path: Path) -> dict:
    """Read what a file holds; {} for none, and with a Notice for a damaged one."""
    try:
        _cell(path)
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (InputError, OSError):
        return {"config": {}}


def _put_aside(path: Path, old: dict, config: dict) -> dict:
    """Move a file of another configuration out of the way; return {}, what is left."""
    known = old["config"]
    repeats = known.get("portable") and config.get("portable")
    if repeats and known.get("passes") == config.get("passes"):
        return {}
    folder = path.parent / "replaced"
    folder.mkdir(exist_ok=True)
    free = (folder / f"{path.stem}-{number}.json" for number in itertools.count(1))
    kept = next(name for name in free if not name.exists())
    os.replace(path, kept)
    names = [k for k in {**known, **config} if known.get(k) != config.get(k)]
    odd = next((n for n in names if n not in ("seeds", "dataset")), "")
    why = f"another {odd} ({known.get(odd)})" if known else "it is damaged"
    warnings.warn(f"{path} is replaced, {why}; it is kept as {kept}", Notice, 4)
    return {}


def _together(old: dict, new: dict) -> dict:
    """Say how all rows of a file were measured: the last ones first, then `earlier`.

    Those that differ in nothing but date and command count once.
    """
    if not old:
        return new

    def plainly(one: dict) -> dict:
        """Leave out date, command and what was measured before."""
        return _without(one, {"date", "command", "earlier"})

    earlier = [*old.get("earlier", []), _without(old, {"earlier"})]
    earlier = [one for one in earlier if plainly(one) != plainly(new)]
    return new | ({"earlier": earlier} if earlier else {})


def load(root: str | Path, run: str | None = None) -> "pandas.DataFrame":
    """Read the cells of one run, or of all, as a tidy table with one row per seed.

    Columns: run, cell, each scalar config entry (nested names joined by dots; a name
    that a row also has becomes config.name), seed, last, best (percent), other scalars
    of the rows. Sorted by run, cell, seed. Raises InputError for a root or run that
    does not exist; a file that is not a cell is left out, with a Notice.
    """
    return _table(root, run).infer_objects()


def gather(root: str | Path, path: str | Path) -> Path:
    """Write all cells under root as one table, that of `load`, to a CSV; return it.

    Equal results give equal bytes. Raises InputError as `load`.
    """
    text = _table(root, None).to_csv(index=False, lineterminator="\n")
    _replace(Path(path), text)
    return Path(path)


def devices(folder: Path, run: str) -> list[str]:
    """List the names of the devices on which the results of a run were trained.

    folder: as for `load`. [] where nothing is filed, or no file names a device.
    """
    names = set()
    for path in sorted((Path(folder) / run).glob("*.json")):
        last = json.loads(path.read_text("utf-8")).get("provenance", {})
        every = [last, *last.get("earlier", [])]
        names |= {one["device"] for one in every if one.get("device")}
    return sorted(names)


def provenance(device: "str | torch.device", command: str | None = None) -> dict:
    """Say how a cell was measured: versions, hardware, code revision, UTC time.

    device: where it ran. `dirty` says that the library differs from `revision`,
    `bfloat16` whether the device multiplies such numbers itself. No host or user name:
    results are published. Raises InputError for an unknown device.
    """
    import numpy
    import torch

    from ccfs_lib.runtime.device import has_bf16

    try:
        on_gpu = torch.device(device).type == "cuda"
    except RuntimeError:
        raise InputError(f"device is {device!r}; allowed are cpu, cuda, ...") from None
    revision, dirty = _revision(Path(ccfs_lib.__file__).parent)
    return {
        "library": ccfs_lib.__version__,
        "revision": revision,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # importing it costs seconds
        "numpy": numpy.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu(),
        "bfloat16": "itself" if has_bf16(device) else "by float32",
        "threads": torch.get_num_threads(),
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _rows(rows: list[dict]) -> list[dict]:
    if not rows:
        raise InputError("rows is empty; a measured cell has one row per seed")
    for i, row in enumerate(rows):
        if missing := [name for name in MEASURED if name not in row]:
            raise InputError(f"rows[{i}] lacks {missing[0]!r}; rows need {MEASURED}")
        for name in ("last", "best"):
            value = row[name]  # nan fails the comparison
            if not (isinstance(value, int | float) and 0 <= value <= 100):
                raise InputError(
                    f"rows[{i}].{name} is {value!r}; it must be a percentage, 0 to 100"
                )
    seeds = [row["seed"] for row in rows]
    if not all(type(seed) is int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"the seeds in rows are {seeds}; they must be distinct ints")
    return plain(rows, "rows")


def _table(root: str | Path, run: str | None) -> "pandas.DataFrame":
    import pandas

    root = Path(root)
    if not root.is_dir():
        raise InputError(f"root is {str(root)!r}; there is no such folder of results")
    runs = sorted({path.parent.name for path in root.glob("*/[!.]*.json")})
    if run is not None and run not in runs:
        raise InputError(f"run is {run!r}; {root} has {', '.join(runs) or 'none'}")
    paths = sorted(root.glob(f"{run or '*'}/[!.]*.json"))
    cells = [(path, *cell) for path in paths if (cell := _sound(path))]
    measured = {name for _, _, rows in cells for row in rows for name in row}
    taken = {"run", "cell", *MEASURED, *measured}
    records, configured = [], set()
    for path, config, rows in cells:
        place = {"run": path.parent.name, "cell": path.name.removesuffix(".json")}
        config = {f"config.{k}" if k in taken else k: v for k, v in config.items()}
        configured |= set(config)
        records += [{**config, **row, **place} for row in rows]
    records.sort(key=lambda record: (record["run"], record["cell"], record["seed"]))
    extra = sorted(measured - {"run", "cell", *MEASURED})
    columns = ["run", "cell", *sorted(configured), *MEASURED, *extra]
    # Objects: an int beside a missing value stays an int, in the CSV too.
    return pandas.DataFrame(records, columns=columns, dtype=object)


def _sound(path: Path) -> tuple[dict, list[dict]] | None:
    """Read a cell; None, and a Notice, where the file is damaged."""
    try:
        return _cell(path)
    except InputError as error:
        warnings.warn(f"{error}; it is left out", Notice, stacklevel=5)
        return None


def _cell(path: Path) -> tuple[dict, list[dict]]:
    try:
        content = json.loads(path.read_text("utf-8"))
        config, rows = content["config"], _rows(content["rows"])
        return dict(_scalars(config)), [dict(_scalars(row)) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a results file: {error}") from None


def _scalars(value: dict, prefix: str = ""):
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _scalars(item, f"{prefix}{name}.")
        elif not isinstance(item, list):
            yield prefix + name, item


def _revision(folder: Path) -> tuple[str, bool | None]:
    """Return the commit of the folder's code, and whether the code differs from it."""

    def git(*words: str) -> str:
        """Run git in the folder; return what it prints."""
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    try:
        # An installed copy inside somebody else's repository has no revision of ours.
        git("ls-files", "--error-unmatch", "__init__.py")
        revision = git("rev-parse", "HEAD").strip()
        return revision, bool(git("status", "--porcelain", "--", ".").strip())
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None


def _cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
        return re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)[1].strip()
    except (OSError, TypeError):  # not Linux, or an ARM kernel that names no model
        return platform.processor() or platform.machine()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
