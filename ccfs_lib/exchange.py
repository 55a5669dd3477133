"""Reading and writing what others use: the authors' index files."""

import json
import os
from pathlib import Path

import numpy as np

from ccfs_lib.errors import InputError

# What a file that is something else makes json and numpy raise.
READING = (
    *(OSError, ValueError, LookupError, TypeError),
    *(OverflowError, RecursionError),
)


def write_indices(
    path: str | Path, ipc: int, alpha: float, indices: np.ndarray
) -> Path:
    """Write selected_indices.json in the authors' layout, atomically.

    indices: int64 flat indices into the training split, in the order of choice.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"ipc": ipc, "alpha": alpha, "idx_selected": [int(i) for i in indices]}
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
    return path


def read_indices(path: str | Path, ipc: int, size: int) -> tuple[np.ndarray, float]:
    """Read such a file: (int64 indices, alpha).

    ipc must be the file's, as the authors' evaluation asserts; indices must be distinct
    and below `size`, the number of training images. Raises InputError otherwise.
    """
    try:
        content = json.loads(Path(path).read_text())
        own, alpha = content["ipc"], float(content["alpha"])
        listed = content["idx_selected"]
        # numpy would cut 1.5 to 1 and read "3" and true as numbers, silently.
        if type(listed) is not list or any(type(i) is not int for i in listed):
            raise TypeError("idx_selected is not a list of whole numbers")
        indices = np.asarray(listed, np.int64)
    except READING as error:
        raise InputError(
            f"{path} is not a selected_indices.json with ipc, alpha and idx_selected "
            f"({error!r})"
        ) from None
    if own != ipc:
        raise InputError(f"{path} was selected for ipc {own}, but ipc is {ipc}")
    if len(np.unique(indices)) < len(indices):
        raise InputError(f"{path} holds an index twice")
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise InputError(
            f"{path} holds {indices.min()}..{indices.max()}, but the training split "
            f"has {size} images"
        )
    return indices, alpha
