"""Difficulty scores: one number per training image, higher = harder.

Published files come with their own signs (a C-score is high for easy images); they are
turned round here, once, so that nothing after this module needs to ask.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.errors import InputError


class Forgetting:
    """Counts forgetting events while a network trains (Toneva et al., 2019).

    An event is an image answered right at one visit and wrong at the next. Give the
    object to `train.fit` as ``watch``: it reads the training predictions, so a score
    costs no extra pass.
    """

    def __init__(self, labels: Tensor):
        self.labels = labels
        self.events = torch.zeros(len(labels), dtype=torch.int32, device=labels.device)
        self.right = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        self.learned = self.right.clone()

    def __call__(self, indices: Tensor, logits: Tensor) -> None:
        """Record one batch: int indices (B,) into the training set, logits (B, C)."""
        right = logits.argmax(1) == self.labels[indices]
        # Toneva et al.: acc_i^t > acc_i^{t+1}, right at one visit, wrong at the next.
        self.events[indices] += (self.right[indices] & ~right).int()
        self.right[indices] = right
        self.learned[indices] |= right

    def state(self) -> dict[str, Tensor]:
        """Return what has been counted, for a checkpoint."""
        return {"events": self.events, "right": self.right, "learned": self.learned}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue counting from `state`."""
        for name, counted in self.state().items():
            counted.copy_(state[name])


def forgetting(runs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Average the forgetting events of several runs: float64 (N,), higher = harder.

    runs: (events int (N,), learned bool (N,)) each. An image that a run never learned
    counts as that run's maximum plus one, Toneva's infinity made finite; code that
    leaves it at zero calls the hardest images the easiest. Raises InputError for none.
    """
    if not len(runs):
        raise InputError("runs is empty, but the events of at least one run are needed")
    total = np.zeros(len(runs[0][0]))
    for events, learned in runs:
        worst = float(events.max(initial=0)) + 1  # the counts may be bytes
        total += np.where(learned, events, worst)
    return total / len(runs)


def untied(difficulty: np.ndarray, seed: int) -> np.ndarray:
    """Break ties at random: raise each score by less than its gap to the next.

    difficulty: float (N,), higher = harder. Returns float64 (N,): whoever was harder
    still is, and equals stand in an order that `seed` draws. Ours: paper and code break
    ties by whatever order their sort meets.
    """
    values, places = np.unique(difficulty, return_inverse=True)
    # Half of the gap above each value, so that rounding cannot reach the next one.
    gaps = np.append(np.diff(values), 1.0)[places]
    draws = np.random.default_rng([seed, 5]).random(len(difficulty))
    return difficulty + 0.5 * gaps * draws  # d_i + u_i gap_i / 2, u uniform in [0, 1)


def load(path: str | Path, labels: Tensor) -> np.ndarray:
    """Read difficulty from a published score file: float64 (N,), higher = harder.

    path: ``.npy`` of forgetting events (higher = harder), or ``.npz`` of C-scores with
    arrays ``labels`` and ``scores`` (higher = easier, so the sign is turned). labels:
    int (N,), the training set's; a file's labels must agree with them. Raises
    InputError for a missing, unreadable, misaligned or wrong-length file.
    """
    path = Path(path)
    try:
        scores, stored = _arrays(path)
    except FileNotFoundError:
        raise InputError(f"score file {path} does not exist") from None
    except Exception as error:  # a damaged archive raises a dozen different ones
        raise InputError(
            f"score file {path} is not a .npy of scores or a .npz with 'labels' and "
            f"'scores' ({error})"
        ) from None
    if scores.shape != (len(labels),):
        raise InputError(
            f"score file {path} holds {scores.shape} scores, but the training set has "
            f"{len(labels)} images"
        )
    if not np.isfinite(scores).all():
        raise InputError(f"score file {path} holds values that are not finite")
    if stored is not None and not np.array_equal(stored, labels.numpy()):
        raise InputError(f"score file {path} belongs to another order of the images")
    return scores


def checked(values, count: int, name: str) -> np.ndarray:
    """Return a user's scores, an array or tensor (N,), as float64, higher = harder.

    count: N. name: how sentences begin. Raises InputError for another shape, for
    values that are no numbers, and for any that is not finite.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    try:
        array = np.array(values)
    except ValueError:  # rows of several lengths
        array = np.array(None)
    if array.shape != (count,) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} are {array.dtype} {array.shape}, but must be one number for each "
            f"of the {count} training images"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite, but image {first} has {array[first]}")
    return array


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read scores as float64, higher = harder, and the labels of a C-score file."""
    file, cscores = np.load(path, allow_pickle=False), path.suffix != ".npy"
    if cscores == isinstance(file, np.ndarray):
        raise ValueError("its content is not what its name says")
    scores = file["scores"] if cscores else file
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"its scores are {scores.dtype}")
    scores = scores.astype(np.float64)
    return (-scores, file["labels"]) if cscores else (scores, None)
