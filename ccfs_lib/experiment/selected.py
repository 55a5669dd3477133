"""A selected_indices.json, the authors' format of a selection, checked for its form.

Read here without torch for the first check of an experiment, and by
`ccfs_lib.data.exchange` for the images themselves.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths

# What a file that is something else makes json raise.
READING = (OSError, ValueError, LookupError, TypeError, RecursionError)


@dataclass(frozen=True)
class Selected:
    """A selection: images per class of the whole set, distilled part, real images."""

    ipc: int
    alpha: float
    indices: tuple[int, ...]  # into the training split, distinct, 0 or more


def read_selected(path: str | Path) -> Selected:
    """Read such a file; raises InputError, one sentence, for any other content."""
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        ipc, alpha, listed = (content[k] for k in ("ipc", "alpha", "idx_selected"))
        # "6", 6.0 and true are not taken for 6: whoever wrote them meant no number,
        # or another one, and the comparison with the experiment would be by accident.
        if type(ipc) is not int:
            raise TypeError(f"ipc is {ipc!r}, which is no whole number")
        if type(alpha) not in (int, float) or not 0 <= alpha <= 1:
            raise TypeError(f"alpha is {alpha!r}, which is no number from 0 to 1")
        if type(listed) is not list or any(type(i) is not int for i in listed):
            raise TypeError("idx_selected is not a list of whole numbers")
        if listed and not 0 <= min(listed) <= max(listed) < 2**63:
            raise TypeError(f"idx_selected holds {min(listed)}..{max(listed)}")
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; wanted is a selected_indices.json with ipc, alpha "
            "and idx_selected, or a folder with one for each seed"
        ) from None
    except READING as error:
        raise InputError(
            f"{path} is not a selected_indices.json with ipc, alpha and idx_selected "
            f"({_reason(error)})"
        ) from None
    if len(set(listed)) < len(listed):
        raise InputError(f"{path} holds an index twice")
    return Selected(ipc, float(alpha), tuple(listed))


def of_seed(path: str | Path, seed: int) -> Path:
    """Find the selection of a seed: the file itself, or one of a folder's.

    A folder holds a selection for each seed, as data/selected does: of seed 2 the one
    whose name ends in seed2.json. Raises InputError unless there is exactly one.
    """
    path = paths.expanded(path)
    if not os.path.isdir(path):  # False, too, for a name that is none
        return path
    found = sorted(path.glob(f"*seed{seed}.json"))
    if len(found) != 1:
        raise InputError(
            f"{path} holds {len(found)} files ending in seed{seed}.json, but one is "
            f"needed for seed {seed}"
        )
    return found[0]


def _reason(error: Exception) -> str:
    words = str(error) if type(error) is TypeError else repr(error)
    return words.split("\n")[0][:200]
