"""The paper's own numbers (Tables 1-13) and claims, read from data/paper/*.csv.

Reports compare with these, so that no number of the paper is typed in a notebook.
Names and units are in data/paper/README.md: accuracies and ratios in percent.
"""

import pandas as pd

from ccfs_lib.arms import BY_NAME
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.runtime import paths

TABLES = range(1, 14)
# Hyperparameters (Tables 6-9) mix "SGD", "5e-4" and "<=5%": kept as the paper's text.
HYPERPARAMETERS = range(6, 10)
# What a table reports; every other column says which cell is meant.
REPORTED = ("accuracy", "std", "value", "note")
STRATEGIES = {"cifar10": 11, "cifar100": 12, "tiny-imagenet": 13}  # six ways to select


def table(number: int) -> pd.DataFrame:
    """Read one table of the paper in tidy form, one row per printed number.

    Columns are those of data/paper/table<number>.csv; cells that the paper leaves
    empty ("-") have no row. Tables 6-9 hold text, the others numbers (percent).
    Raises InputError for a number outside 1-13, or where the file cannot be read.
    """
    if number not in TABLES:
        raise InputError(
            f"number must be a table of the paper, 1 to 13, not {number!r}"
        )
    return _read(
        f"table{int(number):02d}.csv", str if number in HYPERPARAMETERS else None
    )


def value(number: int, **where) -> float:
    """Return the one number of a table that `where` (column=value) singles out.

    It is a top-1 test accuracy in percent, or the setting itself in Tables 6-9, e.g.
    ``value(1, method="ccfs", dataset="cifar10", ipc=500)`` is 92.5.
    Raises InputError unless exactly one row matches and holds a number.
    """
    frame = table(number)
    keys = [column for column in frame if column not in REPORTED]
    rows = frame
    for column, wanted in where.items():
        _check(number, frame, keys, column, wanted)
        rows = rows[rows[column] == wanted]
    cell = ", ".join(f"{column}={wanted!r}" for column, wanted in where.items())
    if rows.empty:
        raise InputError(f"Table {number} of the paper has no entry for {cell}")
    if len(rows) > 1:
        unset = ", ".join(key for key in keys if key not in where)
        raise InputError(
            f"Table {number} has {len(rows)} entries for {cell or 'no condition'}: "
            f"exactly one is wanted, so give {unset} too"
        )
    entry = rows.iloc[0]["value" if number in HYPERPARAMETERS else "accuracy"]
    try:
        return float(entry)
    except ValueError:
        raise InputError(
            f"Table {number} says {entry!r} for {cell}, not a number; use table()"
        ) from None


def arm(name: str, dataset: str, ipc: int) -> float | None:
    """Return what the paper prints for one of our arms, percent, or None.

    name: a strategy ("simple-misclassified") or a control ("random-hard"); dataset: may
    end in "-jpeg", which is compared with the paper's own. A ResNet-18 at its own
    scale, as printed: to be shown beside a measurement, not mixed with it.
    """
    base = dataset.removesuffix("-jpeg")
    try:
        arm = BY_NAME[name]
        if arm.printed:
            return value(1, method=arm.printed, dataset=base, ipc=ipc)
        coarse, fine = arm.strategy
        number = STRATEGIES[base]
        return value(number, coarse=coarse, fine=fine, dataset=base, ipc=ipc)
    except (InputError, KeyError, TypeError):
        return None


def full(dataset: str) -> float | None:
    """Return accuracy with all training images (Table 1), percent, or None.

    dataset: as for `arm`; None for any but the paper's.
    """
    base = dataset.removesuffix("-jpeg")
    size = presets.CLASS_SIZE.get(base)
    return size and value(1, method="full", dataset=base, ipc=size)


def claims() -> pd.DataFrame:
    """Read the paper's checkable claims, one row each; columns: data/paper/README.md.

    paper_difference is left minus right in `unit` (points of accuracy are percent), NaN
    where the paper gives no number. Raises InputError where the file cannot be read.
    """
    return _read("claims.csv", {"paper_difference": float})


def _check(number, frame, keys, column, wanted):
    """Refuse a column that the table lacks, or a value that stands nowhere in it."""
    if column not in keys:
        raise InputError(
            f"{column!r} does not single out an entry of Table {number}: "
            f"use {', '.join(keys)}"
        )
    allowed = frame[column].unique().tolist()
    if wanted not in allowed:
        raise InputError(
            f"{column} must be one of {', '.join(map(str, allowed))} "
            f"in Table {number}, not {wanted!r}"
        )


def _read(name, dtype):
    """Read one file of `paths.paper`."""
    path = paths.paper() / name
    if not path.is_file():
        raise InputError(
            f"the paper's numbers are not at {path}: set CCFS_PAPER to the folder "
            "data/paper of a checkout"
        )
    try:
        # Only an empty difference is missing; text such as "NA" would stay text.
        gaps = {"paper_difference": [""]}
        return pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=gaps)
    except ValueError as error:
        raise InputError(f"{path} is not a readable CSV file: {error}") from None
