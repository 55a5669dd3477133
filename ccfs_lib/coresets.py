"""Coresets: Table 1's selections of real images, without any distilled one.

Forgetting keeps what is forgotten most; the oracle window slides over each class sorted
by difficulty and keeps the best of its positions; self-evolved selection begins with a
window and grows it by Algorithm 1. (Glister, which asks a network, is in `glister`.)

All take arrays and give int64 indices as `select.coarse_to_fine` does: classes
ascending, within a class in the order of choice, ties to the lower index.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ccfs_lib import curriculum, scores, select
from ccfs_lib.curriculum import PhaseRecord, TrainFilter
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.recipes import rounded_down
from ccfs_lib.select import among, candidates, coarse_to_fine
from ccfs_lib.selmatch import window

# What an image counts for that no run ever learned. "hardest": Toneva's infinity;
# "easiest": its events, of which it has none, as DeepCore's Forgetting counts it.
NEVER_LEARNED = ("hardest", "easiest")


def holdout(labels, share: float, seed: int = 0) -> np.ndarray:
    """Draw a validation split: the `share` of each class, rounded down, int64 indices.

    labels: int (N,). Classes ascending, indices ascending within a class. Raises
    InputError where a class would have no image in the split, or none outside it.
    """
    labels, random = np.asarray(labels), np.random.default_rng([seed, 7])
    drawn = []
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        count = rounded_down(len(members) * share)
        if not 0 < count < len(members):
            raise InputError(
                f"share is {share!r}, but of the {len(members)} images of class {c} "
                f"that takes {count}: it must leave some on both sides"
            )
        drawn.append(np.sort(random.permutation(members)[:count]))
    return np.concatenate(drawn)


def hardest(labels, difficulty, quota: int) -> np.ndarray:
    """Choose the `quota` most difficult images of each class, the hardest first.

    labels: int (N,); difficulty: float (N,), higher = harder. With published forgetting
    scores this is the Forgetting row. Warnings and errors as in `coarse_to_fine`.
    """
    # The truth classifies every image right, so that all are candidates.
    rules = {"coarse": "classified", "fine": "hard"}
    return coarse_to_fine(labels, labels, difficulty, quota, **rules)


def forgetting(
    labels,
    runs: list[tuple[np.ndarray, np.ndarray]],
    quota: int,
    *,
    never_learned: str = "hardest",
) -> np.ndarray:
    """Choose the `quota` most forgotten images of each class, the most first.

    runs: (events int (N,), learned bool (N,)) of each counting training, averaged as in
    `scores.forgetting`; never_learned: a name of NEVER_LEARNED. Most forgotten first,
    as in DeepCore: nothing else gives the 30.7 % that Table 1 has for it. Warnings and
    errors as in `coarse_to_fine`.
    """
    among("never_learned", never_learned, NEVER_LEARNED)
    if never_learned == "easiest":
        runs = [(events, np.ones(len(events), bool)) for events, _ in runs]
    return hardest(labels, scores.forgetting(runs), quota)


def slice_of(
    labels, difficulty, size: int, beta: float, *, excluded=None
) -> np.ndarray:
    """Cut the window of `size` images at `beta` from each class, hardest first.

    SelMatch's window (`selmatch.window`) with nothing distilled; `excluded` images are
    taken out before the class is sorted. Raises InputError for a window that leaves
    its class.
    """
    labels, difficulty = np.asarray(labels), np.asarray(difficulty)
    available = _available(labels, excluded)
    if difficulty.shape != labels.shape:
        raise InputError(
            f"difficulty has shape {difficulty.shape}, but one number for each of the "
            f"{len(labels)} labels is needed"
        )
    cut = window(labels[available], difficulty[available], size, 1.0, beta)
    return available[cut.initial]


def grid(labels, ipc: int, *, step: float = 0.1, excluded=None) -> list[float]:
    """List the betas 0, step, 2 step ... whose window stays inside every class.

    The scripts of SelMatch go to the largest tenth that is not above 1 - IPC / class
    size: 0.9, 0.9, 0.8, 0.7 for the ratios of 5, 10, 20, 30 %.
    """
    labels = np.asarray(labels)
    if not 0 < step <= 1:
        raise InputError(f"step is {step!r}, but must be above 0 and at most 1")
    smallest = np.unique(labels[_available(labels, excluded)], return_counts=True)[
        1
    ].min()
    if not 0 < ipc <= smallest:
        raise InputError(
            f"ipc is {ipc}, but a window must fit into the smallest class, which has "
            f"{smallest} images"
        )
    betas = [round(i * step, 10) for i in range(rounded_down(1 / step) + 1)]
    return [b for b in betas if rounded_down(smallest * b) + ipc <= smallest]


def windows(
    labels, difficulty, ipc: int, betas=None, *, excluded=None
) -> dict[float, np.ndarray]:
    """Cut a window of `ipc` images at every beta (default: `grid`), beta -> indices."""
    betas = grid(labels, ipc, excluded=excluded) if betas is None else betas
    return {
        float(b): slice_of(labels, difficulty, ipc, b, excluded=excluded) for b in betas
    }


def best_beta(accuracies: Mapping[float, object]) -> float:
    """Pick the beta of the window with the best mean accuracy; ties to the lower one.

    accuracies: beta -> percent, or a list of them (several seeds), at least one beta.
    By the test split it is SelMatch's oracle, by held-out training images an honest
    choice. Raises InputError for an accuracy that is not finite.
    """
    means = {beta: float(np.mean(values)) for beta, values in accuracies.items()}
    if bad := [beta for beta, mean in means.items() if not np.isfinite(mean)]:
        raise InputError(f"accuracy at beta {bad[0]} is {means[bad[0]]}")
    return max(sorted(means), key=means.get)  # the first of the best: lowest beta


@dataclass(frozen=True)
class Evolved:
    """A self-evolved set: the window it began with, and every phase."""

    start: np.ndarray = field(repr=False)  # int64, hardest first within a class
    phases: list[PhaseRecord] = field(repr=False)

    @property
    def indices(self) -> np.ndarray:
        """All images, int64: the start, then each phase's."""
        return np.concatenate([self.start, curriculum.selected(self.phases)])


def self_evolved(
    train: ImageSet,
    difficulty,
    ipc: int,
    train_filter: TrainFilter,
    *,
    size: int,
    beta: float,
    curricula: int = 3,
    **rules,
) -> Evolved:
    """Choose `ipc` images of each class: a window first, then Algorithm 1 (Table 1).

    Section 5.2: "an initial coreset" by a sliding window, "of appropriate difficulty",
    expanded by the strategy of CCFS. size, beta: images per class of that window and
    where it begins; the paper has a word on neither, so they have no default. Other
    arguments as in `curriculum.run`. Raises InputError for a size that leaves nothing
    to choose, and as `slice_of` and `select.quotas`.
    """
    if not 0 < size < ipc:
        raise InputError(
            f"size is {size}, but a start must have 1 to {ipc - 1} of the {ipc} images "
            "of a class"
        )
    labels, phases = train.labels.numpy(), select.quotas(ipc - size, curricula)
    start = slice_of(labels, difficulty, size, beta)
    # The start teaches the first filter in place of distilled images.
    given = train, train.subset(start, "start"), difficulty, phases, train_filter
    return Evolved(start, list(curriculum.run(*given, excluded=start, **rules)))


def _available(labels: np.ndarray, excluded) -> np.ndarray:
    """List indices that are not excluded, ascending; InputError if a class has none."""
    available = np.flatnonzero(
        candidates(labels, labels, excluded, coarse="classified")
    )
    if len(empty := np.setdiff1d(labels, labels[available])):
        raise InputError(f"excluded holds every image of class {empty[0]}")
    return available
