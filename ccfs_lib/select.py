"""Coarse-to-fine selection: Section 4, Eq. 5 and 6. Pure functions on arrays.

Coarse: which training images does the filter still get wrong? Fine: of those, which
are the easiest by a difficulty score that knows nothing of the filter?
"""

import warnings

import numpy as np

from ccfs_lib.errors import InputError, Notice

COARSE = ("misclassified", "classified")
FINE = ("simple", "hard", "random")


class ShortfallWarning(Notice):
    """A class had fewer candidates than its quota. The released code is silent here."""


def coarse_to_fine(
    labels,
    predictions,
    difficulty,
    quota: int,
    *,
    excluded=None,
    teacher_predictions=None,
    coarse: str = "misclassified",
    fine: str = "simple",
    seed: int = 0,
) -> np.ndarray:
    """Choose `quota` images of each class for the next phase (Eq. 5, then Eq. 6).

    labels, predictions: int (N,), the truth and the filter's answer. difficulty:
    float (N,), higher = harder. excluded: indices already chosen. With
    teacher_predictions, int (N,), only images that the teacher gets right are
    candidates (in the authors' code, not in the paper). fine: "simple" takes lowest
    difficulty first, "hard" highest first, "random" uniformly from `seed`.

    Returns int64 indices, classes ascending, within a class in the order of choice;
    ties go to the lower index. A class with too few candidates gives all it has and a
    ShortfallWarning naming class, wanted and got. Raises InputError (a ValueError) for
    wrong shapes, labels or names.
    """
    labels = checked_labels(labels)
    difficulty = checked_difficulty(difficulty, labels)
    check_whole("quota", quota)
    check_whole("seed", seed)
    among("fine", fine, FINE)
    mask = candidates(labels, predictions, excluded, teacher_predictions, coarse)
    ranked = ranking(labels, mask, difficulty, fine, seed)
    chosen = [np.empty(0, np.int64)]
    for c in np.unique(labels):
        members = ranked[labels[ranked] == c]
        if len(members) < quota:
            warnings.warn(
                f"class {c}: wanted {quota} images, got {len(members)}",
                ShortfallWarning,
                stacklevel=2,
            )
        chosen.append(members[:quota])  # Eq. 6: rank(x) <= k_j, the union over classes
    return np.concatenate(chosen)


def candidates(
    labels, predictions, excluded=None, teacher_predictions=None, coarse=COARSE[0]
) -> np.ndarray:
    """Return the result of the coarse stage alone: bool (N,), candidates (Eq. 5).

    Arguments as in `coarse_to_fine`; raises InputError for wrong shapes, labels,
    indices or names, and for a mask of 0 and 1 in place of the indices `excluded`.
    """
    among("coarse", coarse, COARSE)
    labels = checked_labels(labels)
    # Eq. 5: D_mis^j = {(x, y) outside D_real^{1:j-1} with phi_j(x) != y}.
    wrong = _same_length("predictions", predictions, labels) != labels
    mask = wrong if coarse == "misclassified" else ~wrong
    if teacher_predictions is not None:
        teacher = _same_length("teacher_predictions", teacher_predictions, labels)
        mask &= teacher == labels
    if excluded is not None and np.size(excluded):
        excluded = np.asarray(excluded)
        integers = excluded.ndim == 1 and excluded.dtype.kind in "iu"
        if not integers or excluded.min() < 0 or excluded.max() >= len(labels):
            held = f"{excluded.min()}..{excluded.max()}" if integers else excluded.dtype
            raise InputError(
                f"excluded holds {held} in shape {excluded.shape}, but a list of "
                f"indices, integers from 0 to {len(labels) - 1}, is needed"
            )
        if len(excluded) == len(labels) > 2 and excluded.max() <= 1:
            raise InputError(
                f"excluded holds 0 and 1 alone for {len(labels)} labels, which looks "
                "like a mask, but indices are needed, such as np.flatnonzero(mask)"
            )
        mask[excluded] = False
    return mask


def ranking(labels, candidates, difficulty, fine=FINE[0], seed: int = 0) -> np.ndarray:
    """Order all candidates as the fine stage takes them: int64 indices (Eq. 6).

    labels: int (N,); candidates: bool (N,); difficulty: float (N,), higher = harder.
    Classes ascend; within a class "simple" has the lowest difficulty first, "hard" the
    highest, ties to the lower index, and "random" is a permutation drawn from `seed`.
    Raises InputError as `coarse_to_fine`, and for candidates that are no such mask.
    """
    among("fine", fine, FINE)
    labels = checked_labels(labels)
    difficulty = checked_difficulty(difficulty, labels)
    check_whole("seed", seed)
    candidates = np.asarray(candidates)
    if candidates.shape != labels.shape or candidates.dtype != bool:
        raise InputError(
            f"candidates has shape {candidates.shape} and type {candidates.dtype}, but "
            f"one bool for each of the {len(labels)} labels is needed"
        )
    random = np.random.default_rng(seed)
    ordered = [np.empty(0, np.int64)]
    for c in np.unique(labels):
        members = np.flatnonzero(candidates & (labels == c))
        if fine == "random":
            ordered.append(random.permutation(members))
            continue
        # rank = sort_asc(D_mis^{j,c}, score), Algorithm 1, line 7. Stable: index order
        # among equals; score files are full of ties.
        values = difficulty[members] if fine == "simple" else -difficulty[members]
        ordered.append(members[np.argsort(values, kind="stable")])
    return np.concatenate(ordered)


def quotas(real: int, curricula: int) -> list[int]:
    """Split `real` images per class over the phases, the remainder to the first.

    Algorithm 1 prints floor(IPC (1 - alpha) / j), which neither divides evenly nor adds
    up to IPC; the code, and we, split evenly. Raises InputError for phases that would
    be empty.
    """
    if not 1 <= curricula <= real:
        raise InputError(
            f"curricula is {curricula}, but must be from 1 to {real}, the real images "
            "per class"
        )
    share, rest = divmod(real, curricula)  # sum of k_j = IPC - |D_distill| / C
    return [share + (phase < rest) for phase in range(curricula)]


def checked_labels(labels) -> np.ndarray:
    """Return labels as an array, int (N,).

    Raises InputError for none, for another shape or type, and for a negative one.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels has shape {labels.shape} and type {labels.dtype}, but a non-empty "
            "list of integers (N,) is needed"
        )
    if labels.min() < 0:
        raise InputError(f"labels holds {labels.min()}, but classes start at 0")
    return labels


def checked_difficulty(difficulty, labels: np.ndarray) -> np.ndarray:
    """Return difficulty as float64 (N,), one number for each of the labels (N,).

    Raises InputError for another shape, for what is no number and for nan.
    """
    difficulty = np.asarray(difficulty)
    if difficulty.shape != labels.shape or difficulty.dtype.kind not in "fiu":
        raise InputError(
            f"difficulty has shape {difficulty.shape} and type {difficulty.dtype}, but "
            f"one number for each of the {len(labels)} labels is needed"
        )
    difficulty = difficulty.astype(np.float64)  # -x of an unsigned score would wrap
    if np.isnan(difficulty).any():
        raise InputError(
            f"difficulty is nan at {np.flatnonzero(np.isnan(difficulty))[0]}"
        )
    return difficulty


def check_whole(name: str, value, least: int = 0) -> None:
    """Raise InputError unless the value is an int (no bool) of at least `least`."""
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integer or value < least:
        raise InputError(
            f"{name} is {value!r}, but must be a whole number from {least}"
        )


def among(name: str, value, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless the value is one of those that are allowed."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}, but must be one of {allowed}")


def _same_length(name: str, values, labels) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != labels.shape or values.dtype.kind not in "iu":
        raise InputError(
            f"{name} has shape {values.shape} and type {values.dtype}, but one integer "
            f"for each of the {len(labels)} labels is needed"
        )
    return values
