"""Algorithm 1: train a filter on the set so far, select, add; J times."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ccfs_lib.data import ImageSet, concat
from ccfs_lib.errors import InputError
from ccfs_lib.select import ShortfallWarning, candidates, coarse_to_fine, ranking
from ccfs_lib.store import Artefact


@dataclass(frozen=True)
class Filter:
    """What a trained filter answered; all that selection needs of it."""

    predictions: np.ndarray  # int (N,), its class for every training image
    true_logit: np.ndarray  # float (N,), its raw logit of the true class
    test_accuracy: float  # percent, last epoch (never used to select)

    @classmethod
    def read(cls, trained: Artefact) -> "Filter":
        """Read the predictions that a training stored; shipped ones are in bytes."""
        tensors = trained.tensors
        predictions = tensors["predictions"].short().numpy()
        return cls(predictions, tensors["true_logit"].numpy(), trained.meta["last"])


@dataclass(frozen=True)
class PhaseRecord:
    """What one phase of the curriculum knew, and what it chose; N training images."""

    phase: int  # j, from 1
    quota: int  # k_j: images wanted of each class
    synthetic: int  # |S_{j-1}|: images that the filter was trained on
    filter: Filter = field(repr=False)
    train_accuracy: float  # percent, of the filter on the whole training set
    candidates: np.ndarray = field(repr=False)  # bool (N,): D_mis^j
    pool: np.ndarray = field(repr=False)  # int (C,): candidates per class
    scores: np.ndarray = field(repr=False)  # float (N,): difficulty, higher = harder
    ranking: np.ndarray = field(repr=False)  # int64: candidates in the order of choice
    chosen: np.ndarray = field(repr=False)  # int64: D_real^j, class by class
    shortfall: dict[int, int]  # class -> images missing
    coarse: str  # the strategy, as in `select.coarse_to_fine`
    fine: str

    @property
    def has_filter(self) -> bool:
        """Whether a filter was trained: an empty set (alpha 0, phase 1) teaches none.

        Without one, `filter` holds the answers of `ignorant` and no accuracy.
        """
        return self.synthetic > 0

    @property
    def difficulty(self) -> np.ndarray:
        """Difficulty of the chosen images, float, in the order of choice."""
        return self.scores[self.chosen]


def ignorant(train: ImageSet) -> Filter:
    """Return a filter that was trained on nothing (alpha 0): it gets every image wrong.

    The paper's Figure 5 has no word on how its first filter is trained without any
    distilled image; this is the reading under which the coarse stage keeps them all.
    """
    wrong = (train.labels.numpy() + 1) % train.num_classes
    return Filter(wrong, np.zeros(len(train)), 0.0)


TrainFilter = Callable[[ImageSet, int], Filter]
# (labels, predictions, scores, quota, excluded) -> indices
Rule = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray], np.ndarray]


def run(
    train: ImageSet,
    distilled: ImageSet,
    difficulty: np.ndarray | None,
    quotas: list[int],
    train_filter: TrainFilter,
    *,
    excluded: np.ndarray | Sequence[int] = (),
    teacher_predictions: np.ndarray | None = None,
    coarse: str = "misclassified",
    fine: str = "simple",
    ties: np.ndarray | None = None,
    rule: Rule | None = None,
    seed: int = 0,
) -> Iterator[PhaseRecord]:
    """Run Algorithm 1: yield one PhaseRecord per quota; stop early by not asking on.

    difficulty: float (N,), higher = harder, or None for the current filter's own
    logits (Table 4). train_filter(synthetic set, phase) trains and answers. excluded:
    indices that are never chosen. teacher_predictions: int (N,) to keep only images
    that the teacher gets right (the authors' code), or None (the paper). ties: float
    (N,), `difficulty` with its ties broken; None breaks them by the index. rule: in
    place of both stages. A class that runs short stays short, as in paper and code.
    """
    labels = train.labels.numpy()
    excluded, chosen = np.asarray(excluded, np.int64), np.empty(0, np.int64)
    for phase, quota in enumerate(quotas, 1):  # lines 3 and 4: j, k_j
        synthetic = concat(distilled, train.subset(chosen))  # S_{j-1}; lines 1-2: S_0
        trained = train_filter(synthetic, phase)  # line 5
        scores = -trained.true_logit if difficulty is None else difficulty
        order = scores if ties is None else ties
        rules = {"excluded": np.concatenate([excluded, chosen]), "coarse": coarse}
        rules["teacher_predictions"] = teacher_predictions
        draw = 1000 * seed + phase  # seed + 1 must not repeat the next phase
        mask = candidates(labels, trained.predictions, **rules)  # line 6, Eq. 5
        state = labels, trained.predictions, order, quota
        with warnings.catch_warnings():
            # The record tells it, class by class; a warning per class would drown it.
            warnings.simplefilter("ignore", ShortfallWarning)
            if rule is None:  # lines 7 and 8, Eq. 6
                selection = coarse_to_fine(*state, **rules, fine=fine, seed=draw)
            else:
                selection = _by_rule(rule, *state, rules)
        counts = np.bincount(labels[selection], minlength=train.num_classes)
        yield PhaseRecord(
            phase=phase,
            quota=quota,
            synthetic=len(synthetic),
            filter=trained,
            train_accuracy=100 * float((trained.predictions == labels).mean()),
            candidates=mask,
            pool=np.bincount(labels[mask], minlength=train.num_classes),
            scores=scores,
            ranking=ranking(labels, mask, order, fine, draw),
            chosen=selection,
            shortfall={c: quota - int(n) for c, n in enumerate(counts) if n < quota},
            coarse=coarse,
            fine=fine,
        )
        chosen = np.concatenate([chosen, selection])  # line 9: S_j


def _by_rule(rule: Rule, labels, predictions, scores, quota: int, rules: dict):
    """Apply the user's rule and check it: int64 indices, classes ascending."""
    excluded, teacher = rules["excluded"], rules["teacher_predictions"]
    if teacher is not None:  # nor what the teacher gets wrong
        excluded = np.union1d(excluded, np.flatnonzero(teacher != labels))
    # Copies: a rule may write into what it is given.
    given = [np.array(values) for values in (labels, predictions, scores)]
    selection = np.asarray(rule(*given, quota, excluded.copy()))
    integers = selection.ndim == 1 and (
        selection.dtype.kind in "iu" or not len(selection)
    )
    known = integers and np.isin(selection, np.arange(len(labels))).all()
    values, times = np.unique(selection, return_counts=True)
    if not known or len(values) < len(selection):
        twice = f" with {values[times.argmax()]} more than once" if known else ""
        raise InputError(
            f"the selection rule returned {selection.dtype} {selection.shape}{twice}, "
            f"but must return different indices from 0 to {len(labels) - 1}"
        )
    selection = selection.astype(np.int64)
    if taken := np.intersect1d(selection, excluded).size:
        raise InputError(
            f"the selection rule returned {taken} of the indices that it was told to "
            "leave out (excluded)"
        )
    most = np.bincount(labels[selection], minlength=1).max(initial=0)
    if most > quota:
        raise InputError(
            f"the selection rule returned {most} images of one class, but the quota is "
            f"{quota}"
        )
    return selection[np.argsort(labels[selection], kind="stable")]


def selected(records: list[PhaseRecord]) -> np.ndarray:
    """Concatenate the real images chosen: int64 indices, in the order of choice."""
    return np.concatenate([np.empty(0, np.int64), *(r.chosen for r in records)])
