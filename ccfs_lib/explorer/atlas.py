"""The curriculum explorer's data: of every image its place, picture and fates.

A fate is what one phase did with one image, and why: picked, or the first sieve of
Algorithm 1 that stopped it. A page shows all images, or a stated sample of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.curriculum import PhaseRecord, selected
from ccfs_lib.data import ImageSet, concat
from ccfs_lib.errors import InputError
from ccfs_lib.explorer import embedding
from ccfs_lib.select import candidates

# picked | in the set already | stopped by the coarse stage | teacher wrong | behind the
# last one picked | as hard as the last one picked, but of a higher index
PICKED, BEFORE, COARSE, VETOED, BEHIND, TIED = range(6)
MOST = 10_000  # real images on one page


@dataclass(frozen=True)
class Atlas:
    """What is shown: n real images, then the d distilled ones; C classes, J phases."""

    name: str
    classes: tuple[str, ...]
    fine: str  # simple, hard or random: what the ranks mean
    coarse: str
    total: int  # training images, shown or not
    chosen: int  # of them, the picked
    index: np.ndarray = field(repr=False)  # int (n,), into the training set
    images: Tensor = field(repr=False)  # uint8 (n + d, 3, H, W)
    labels: np.ndarray = field(repr=False)  # int (n + d,)
    xy: np.ndarray = field(repr=False)  # float (n + d, 2), in [0, 1]
    strangers: np.ndarray = field(repr=False)  # int (n,): neighbours of another class
    teacher: np.ndarray = field(repr=False)  # int (n,), its predictions
    difficulty: np.ndarray = field(repr=False)  # float (1 or J, n), higher = harder
    easier: np.ndarray = field(repr=False)  # int (1 or J, n), percent of all images
    picked: np.ndarray = field(repr=False)  # int (n,), the phase, 0 for never
    answers: np.ndarray = field(repr=False)  # int (J, n), the filters' predictions
    fates: np.ndarray = field(repr=False)  # int (J, n)
    ranks: np.ndarray = field(repr=False)  # int (J, n), from 1; 0 for no candidate
    pools: np.ndarray = field(repr=False)  # int (J, C), candidates per class
    quotas: tuple[int, ...]
    unfiltered: tuple[int, ...] = ()  # phases without a filter: what `answers` holds of
    # them nobody answered


def build(stages, seed: int = 0, most: int = MOST) -> Atlas:
    """Gather the atlas of one seed's curriculum.

    stages: a Pipeline. most: real images shown, see `shown`. Equal stages
    give equal arrays on one machine; of the map, other processors may give another
    view, because t-SNE lets rounding grow. Raises InputError for a wrong `most`.
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise InputError(f"most is {most!r}, but must be a whole number from 2")
    e, train, records = stages.experiment, stages.train, list(stages.phases(seed))
    index = shown(len(train), selected(records), most)
    images = concat(train.subset(index), stages.distilled(e.distilled))
    xy, strangers = _places(stages, images, len(index))
    values = [r.scores for r in records] or [np.zeros(len(train))]
    if stages.difficulty is not None:  # one score for all phases
        values = [stages.difficulty]
    values = np.stack(values)
    codes, ranks = fates(train.labels.numpy(), records)
    answers = [r.filter.predictions for r in records]
    return Atlas(
        name=train.name.removesuffix("-train"),
        classes=train.classes,
        fine=e.fine,
        coarse=e.coarse,
        total=len(train),
        chosen=len(selected(records)),
        index=index,
        images=images.images,
        labels=images.labels.numpy(),
        xy=xy,
        strangers=strangers,
        teacher=stages.teacher.predictions[index],
        difficulty=values[:, index],
        easier=np.stack([_easier(row)[index] for row in values]),
        picked=_phase_of(records, len(train))[index],
        answers=_stacked(answers, len(train))[:, index],
        fates=codes[:, index],
        ranks=ranks[:, index],
        pools=_stacked([r.pool for r in records], train.num_classes),
        quotas=tuple(r.quota for r in records),
        unfiltered=tuple(r.phase for r in records if not r.has_filter),
    )


def _places(stages, images: ImageSet, real: int) -> tuple[np.ndarray, np.ndarray]:
    """Map and neighbours of what is shown; kept, because t-SNE takes up to a minute."""
    key = {"teacher": stages.teacher.key, "images": images.fingerprint, "real": real}
    key["version"] = embedding.VERSION

    def compute():
        """Return places (N, 2) and, of real images, their strangers (n,)."""
        network = stages.teacher.network
        seen = embedding.features(network, images.images, stages.device)
        points, labels = embedding.reduced(seen), images.labels.numpy()
        strangers = embedding.strangers(points[:real], labels[:real])
        arrays = {"xy": embedding.flat(points), "strangers": strangers}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}, {}

    kept = stages.store.get("map", key, compute).tensors
    return kept["xy"].numpy(), kept["strangers"].numpy()


def shown(total: int, chosen: np.ndarray, most: int = MOST) -> np.ndarray:
    """List indices that a page shows, ascending, int64: all of `total`, or `most`.

    Then: those that were chosen, and a random sample of the others, seed 0. Where the
    chosen would fill more than three quarters, they are sampled as well.
    """
    if total <= most:
        return np.arange(total)
    random = np.random.default_rng(0)
    some = random.permutation(chosen)[: most * 3 // 4]
    others = random.permutation(np.setdiff1d(np.arange(total), chosen))
    return np.sort(np.concatenate([some, others[: most - len(some)]]))


def fates(labels: np.ndarray, records: Sequence[PhaseRecord]):
    """Return the fate of each training image by phase: (codes, ranks), int (J, N).

    labels: int (N,). A code is one of PICKED to TIED; of several reasons the first that
    Algorithm 1 meets in that order counts, so an image of the set is BEFORE whatever a
    filter says of it. A rank is the place among the candidates of the class, in the
    order of choice, from 1; 0 for no candidate.
    """
    codes = np.zeros((len(records), len(labels)), np.int64)
    ranks = np.zeros_like(codes)
    for i, record in enumerate(records):
        before = selected(list(records[:i]))
        codes[i], ranks[i] = _fate(labels, record, before)
    return codes, ranks


def _fate(labels: np.ndarray, now: PhaseRecord, before: np.ndarray):
    queue, chosen = now.ranking, now.chosen
    kinds = labels[queue]  # classes ascend, so a class starts at its first place
    rank = np.zeros(len(labels), np.int64)
    rank[queue] = np.arange(len(queue)) - np.searchsorted(kinds, kinds) + 1
    code = np.full(len(labels), COARSE)
    code[candidates(labels, now.filter.predictions, coarse=now.coarse)] = VETOED
    code[queue] = BEHIND
    if now.fine != "random":
        for c in np.unique(labels[chosen]):
            last = now.scores[chosen[labels[chosen] == c][-1]]
            code[queue[(kinds == c) & (now.scores[queue] == last)]] = TIED
    code[before], code[chosen] = BEFORE, PICKED
    return code, rank


def _phase_of(records, total: int) -> np.ndarray:
    phase = np.zeros(total, np.int64)
    for record in records:
        phase[record.chosen] = record.phase
    return phase


def _stacked(rows, width: int) -> np.ndarray:
    return np.stack(rows) if rows else np.zeros((0, width), np.int64)


def _easier(values: np.ndarray) -> np.ndarray:
    """Compute the percent of all images that each one is strictly harder than."""
    return 100 * np.searchsorted(np.sort(values), values) // len(values)
