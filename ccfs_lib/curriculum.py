"""Algorithm 1: train a filter on the set so far, select, add; J times."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ccfs_lib.data import ImageSet, concat
from ccfs_lib.select import ShortfallWarning, candidates, coarse_to_fine
from ccfs_lib.store import Artefact


@dataclass(frozen=True)
class Filter:
    """What a trained filter answered; all that selection needs of it."""

    predictions: np.ndarray  # int (N,), its class for every training image
    true_logit: np.ndarray  # float (N,), its raw logit of the true class
    test_accuracy: float  # percent, last epoch (never used to select)

    @classmethod
    def read(cls, trained: Artefact) -> "Filter":
        """The answers that a training kept; shipped ones are in bytes."""
        said = trained.tensors
        predictions = said["predictions"].short().numpy()
        return cls(predictions, said["true_logit"].numpy(), trained.meta["last"])


@dataclass(frozen=True)
class PhaseRecord:
    """Everything that happened in one curriculum phase."""

    phase: int  # 1-based
    quota: int  # images wanted per class
    synthetic: int  # |S_{j-1}|: images the filter was trained on
    filter: Filter = field(repr=False)
    train_accuracy: float  # percent, of the filter on the whole training set
    pool: np.ndarray = field(repr=False)  # int (C,): candidates per class
    chosen: np.ndarray = field(repr=False)  # int64 indices, class by class
    difficulty: np.ndarray = field(repr=False)  # float, of the chosen
    shortfall: dict[int, int]  # class -> images missing


def ignorant(train: ImageSet) -> Filter:
    """A filter that was taught by nothing (alpha 0): it gets every image wrong.

    The paper's Figure 5 has no word on how its first filter is trained without any
    distilled image; this is the reading under which the coarse stage keeps them all.
    """
    wrong = (train.labels.numpy() + 1) % train.num_classes
    return Filter(wrong, np.zeros(len(train)), 0.0)


TrainFilter = Callable[[ImageSet, int], Filter]


def run(
    train: ImageSet,
    distilled: ImageSet,
    difficulty: np.ndarray | None,
    quotas: list[int],
    train_filter: TrainFilter,
    *,
    teacher_predictions: np.ndarray | None = None,
    coarse: str = "misclassified",
    fine: str = "simple",
    seed: int = 0,
) -> Iterator[PhaseRecord]:
    """Yield one PhaseRecord per quota; stop early by not asking for the next.

    difficulty: float (N,), higher = harder, or None for the current filter's own
    logits (Table 4). `train_filter(synthetic set, phase)` trains and answers.
    teacher_predictions: int (N,) to keep only images the teacher gets right (the
    authors' code), or None (the paper). A class that runs short stays short: neither
    paper nor code refills it later, and the record says how many are missing.
    """
    labels = train.labels.numpy()
    chosen = np.empty(0, np.int64)
    for phase, quota in enumerate(quotas, 1):
        synthetic = concat(distilled, train.subset(chosen))
        answer = train_filter(synthetic, phase)
        score = -answer.true_logit if difficulty is None else difficulty
        rules = {"excluded": chosen, "teacher_predictions": teacher_predictions}
        pool = candidates(labels, answer.predictions, coarse=coarse, **rules)
        with warnings.catch_warnings():
            # The record tells it, class by class; a warning per class would drown it.
            warnings.simplefilter("ignore", ShortfallWarning)
            picked = coarse_to_fine(
                labels,
                answer.predictions,
                score,
                quota,
                coarse=coarse,
                fine=fine,
                seed=1000 * seed + phase,  # seed + 1 must not repeat the next phase
                **rules,
            )
        got = np.bincount(labels[picked], minlength=train.num_classes)
        yield PhaseRecord(
            phase=phase,
            quota=quota,
            synthetic=len(synthetic),
            filter=answer,
            train_accuracy=100 * float((answer.predictions == labels).mean()),
            pool=np.bincount(labels[pool], minlength=train.num_classes),
            chosen=picked,
            difficulty=score[picked],
            shortfall={c: quota - int(n) for c, n in enumerate(got) if n < quota},
        )
        chosen = np.concatenate([chosen, picked])


def selected(records: list[PhaseRecord]) -> np.ndarray:
    """Indices of every real image chosen, int64, in the order of choice."""
    return np.concatenate([np.empty(0, np.int64), *(r.chosen for r in records)])
