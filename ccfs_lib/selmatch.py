"""SelMatch, and the two variants of it that motivate the paper: Section 3.

SelMatch (Lee and Chung, ICML 2024) sorts each class by difficulty and slides a window
over it; the harder part of the window stays real, with the easier part distillation
begins. Section 3.2 changes one thing at a time: "two-shot" chooses the real part by
what a model trained on the initial part gets wrong, and "reverse" by what one trained
on the distilled part gets wrong.

Its evaluation augments by kind: DSA for the distilled images, as they were made, crop
and flip for the real ones; sets of real images alone get DSA throughout. Labels are
hard, and the last epoch's accuracy counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.augment import moved
from ccfs_lib.curriculum import TrainFilter, run
from ccfs_lib.data import ImageSet, concat
from ccfs_lib.distill import dsa_augment
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Strengths
from ccfs_lib.experiment.recipes import least_alpha, rounded_down
from ccfs_lib.experiment.section3 import SETTINGS, STARTS
from ccfs_lib.select import check_whole, checked_difficulty, checked_labels, quotas
from ccfs_lib.step import Step

BATCHWISE = Strengths(choice="batch")

# Distils the first set while the second takes part unchanged (it may be empty).
Distil = Callable[[ImageSet, ImageSet], ImageSet]


@dataclass(frozen=True)
class Window:
    """Indices of a sliding window, int64, classes ascending, hardest first."""

    real: np.ndarray  # the harder part, which stays
    initial: np.ndarray  # the easier part, where distillation begins


@dataclass(frozen=True)
class Combined:
    """A finished synthetic set: distilled images first, then real ones."""

    distilled: ImageSet = field(repr=False)
    real: np.ndarray = field(repr=False)  # int64, indices into the training set
    initial: np.ndarray = field(repr=False)  # what the distilled images began as
    images: ImageSet = field(repr=False)  # both parts


def parts(ipc: int, alpha: float) -> tuple[int, int]:
    """Split IPC into real and distilled images per class, floor(alpha IPC) of these.

    Raises InputError where alpha x IPC rounds to zero, alpha is not in 0 .. 1, or ipc
    is no whole number from 1.
    """
    check_whole("ipc", ipc, 1)
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}, but must be from 0 to 1")
    distilled = rounded_down(ipc * alpha)
    if not distilled:
        raise InputError(
            f"alpha is {alpha:g}, but with ipc {ipc} that rounds to no distilled image "
            f"per class: take alpha from {least_alpha(ipc)} to 1"
        )
    return ipc - distilled, distilled


def window(
    labels, difficulty, ipc: int, alpha: float, beta: float, start: str = "class"
) -> Window:
    """Cut the sliding window of `ipc` images out of each class (Section 3.1).

    labels: int (N,); difficulty: float (N,), higher = harder, ties to the lower index;
    beta: where the window begins in the class sorted hardest first, 0 .. 1; start: a
    name of STARTS. Raises InputError for a window that leaves the class, and as
    `parts` and `select.coarse_to_fine`.
    """
    labels = checked_labels(labels)
    difficulty = checked_difficulty(difficulty, labels)
    real, _ = parts(ipc, alpha)
    if start not in STARTS or not 0 <= beta <= 1:
        raise InputError(
            f"start is {start!r} and beta {beta}, but must be one of {STARTS} and from "
            "0 to 1"
        )
    halves = [], []
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        # Hardest first; the window begins at image beta |class|, or beta IPC.
        order = members[np.argsort(-difficulty[members], kind="stable")]
        first = rounded_down((len(order) if start == "class" else ipc) * beta)
        if first + ipc > len(order):
            raise InputError(
                f"beta is {beta:g}, but a window of {ipc} from image {first} leaves "
                f"class {c}, which has {len(order)}: take beta up to "
                f"{_most(labels, ipc, start):g}"
            )
        # The harder (1 - alpha) IPC stay real, the easier alpha IPC are distilled.
        halves[0].append(order[first : first + real])
        halves[1].append(order[first + real : first + ipc])
    return Window(*map(np.concatenate, halves))


def _most(labels: np.ndarray, ipc: int, start: str) -> float:
    """Return the largest beta, three digits, that the smallest class allows."""
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    most = max(fewest - ipc, 0) / (fewest if start == "class" else ipc)
    return rounded_down(1000 * most) / 1000


def two_shot(
    train: ImageSet,
    begin: ImageSet,
    difficulty,
    real: int,
    answer: TrainFilter,
    *,
    excluded=(),
    shots: int = 2,
) -> list[np.ndarray]:
    """Choose `real` images per class in `shots` rounds (Section 3.2, setting 2).

    Each round trains a model on `begin` and what was chosen so far (`answer`, as in
    `curriculum.run`) and takes the simplest images that it gets wrong. excluded:
    indices that must not be chosen. Returns int64 indices, one array a round; a class
    with too few wrong images stays short. This is Algorithm 1 with another start.
    """
    split = quotas(real, shots)  # k_j of Algorithm 1, S_0 = `begin`
    phases = run(train, begin, difficulty, split, answer, excluded=excluded)
    return [record.chosen for record in phases]


def build(
    setting: str,
    train: ImageSet,
    difficulty,
    ipc: int,
    alpha: float,
    beta: float,
    distil: Distil,
    answer: TrainFilter,
    *,
    start: str = "class",
) -> Combined:
    """Build the synthetic set of one of the three settings of Section 3.2.

    All begin distillation with the easier part of the same window. "selmatch" keeps
    its harder part and distils beside it; "two-shot" replaces the harder part by two
    rounds of selection with the initial images, then distils beside that; "reverse"
    distils alone, then selects with the distilled images. The initial images
    themselves are not selected (ours; the paper does not say). Raises InputError as
    `window`, and for another setting.
    """
    if setting not in SETTINGS:
        raise InputError(f"setting is {setting!r}, but must be one of {SETTINGS}")
    real, _ = parts(ipc, alpha)
    cut = window(train.labels.numpy(), difficulty, ipc, alpha, beta, start)
    begin = train.subset(cut.initial, "initial")

    def chosen(images: ImageSet) -> np.ndarray:
        """Select the real images beside these by Algorithm 1."""
        if not real:
            return cut.real
        rounds = two_shot(train, images, difficulty, real, answer, excluded=cut.initial)
        return np.concatenate(rounds)

    # Section 3.2: select in the window; in two shots; or distil first, then select.
    if setting == "reverse":
        distilled = distil(begin, train.subset([]))
        kept = chosen(distilled)
    else:
        kept = cut.real if setting == "selmatch" else chosen(begin)
        distilled = distil(begin, train.subset(kept))
    combined = concat(distilled, train.subset(kept))
    return Combined(distilled, kept, cut.initial, combined)


class CombinedStep(Step):
    """A step in which the first images are distilled ones and get DSA, the rest not.

    SelMatch's "combined" augmentation: one DSA operation for each distilled image, the
    recipe's crop and flip for each real one. Both happen to normalised images, so that
    what is cut out, or padded, is the mean colour. pixels: the distilled images as they
    were learned, float (distilled, 3, H, W), normalised as `network` normalises,
    neither cut nor rounded; without them their bytes are trained on. targets: labels of
    all images as probabilities, float (N, C), where a method has soft ones (DATM).
    """

    def __init__(
        self,
        *arguments,
        distilled: int,
        strengths: Strengths,
        pixels: Tensor | None = None,
        targets: Tensor | None = None,
    ):
        super().__init__(*arguments)
        if targets is not None:  # cross-entropy takes probabilities as it takes classes
            self.labels = targets.to(self.images.device)
        self.distilled, self.strengths = distilled, strengths
        self.pixels = None if pixels is None else pixels.to(self.images.device)

    def view(self, batch: Tensor) -> Tensor:
        """Return augmented images (B, 3, H, W) around [0, 1] of the indices (B,)."""
        normalize = self.network.normalize
        x = normalize(self.images[batch].float() / 255)
        first = (batch < self.distilled)[:, None, None, None]
        if self.pixels is not None and self.distilled:
            exact = self.pixels[batch.clamp(max=self.distilled - 1)]
            x = torch.where(first, exact, x)
        real = moved(x, self.recipe, self.generator)
        learned = dsa_augment.augment(x, self.strengths, self.generator)
        return normalize.inverse(torch.where(first, learned, real))


class DsaStep(Step):
    """A step with DSA on every image, one operation a batch: SelMatch's "dsa".

    Its rows Random and Oracle (a window of real images) are trained so.
    """

    def view(self, batch: Tensor) -> Tensor:
        """Return augmented images (B, 3, H, W) around [0, 1] of the indices (B,)."""
        normalize = self.network.normalize
        x = normalize(self.images[batch].float() / 255)
        return normalize.inverse(dsa_augment.augment(x, BATCHWISE, self.generator))
