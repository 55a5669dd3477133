"""SelMatch, and the two variants of it that motivate the paper: Section 3.

SelMatch (Lee and Chung, ICML 2024) sorts each class by difficulty and slides a window
over it; the harder part of the window stays real, with the easier part distillation
begins. Section 3.2 changes one thing at a time: "two-shot" chooses the real part by
what a model trained on the initial part gets wrong, and "reverse" by what one trained
on the distilled part gets wrong.

Its evaluation augments by kind: DSA for the distilled images, as they were made, crop
and flip for the real ones. Labels are hard, and the last epoch's accuracy counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ccfs_lib.augment import augment
from ccfs_lib.curriculum import TrainFilter, run
from ccfs_lib.data import ImageSet, concat
from ccfs_lib.distill import dsa_augment
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe, Strengths
from ccfs_lib.experiment.presets import EVALUATION
from ccfs_lib.experiment.section3 import SETTINGS, STARTS
from ccfs_lib.select import quotas
from ccfs_lib.step import Step
from ccfs_lib.train import fit

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
    """Real and distilled images per class: IPC - floor(alpha IPC), floor(alpha IPC).

    Raises InputError where alpha x IPC rounds to zero, or alpha is not in 0 .. 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}, but must be from 0 to 1")
    distilled = int(ipc * alpha + 1e-9)  # undoes binary fractions, as in Experiment
    if not distilled:
        raise InputError(
            f"alpha is {alpha:g}, but with ipc {ipc} that rounds to no distilled image "
            f"per class: take alpha from {1 / max(ipc, 1):.3g} to 1"
        )
    return ipc - distilled, distilled


def window(
    labels, difficulty, ipc: int, alpha: float, beta: float, start: str = "class"
) -> Window:
    """The sliding window of `ipc` images in each class (Section 3.1).

    labels: int (N,); difficulty: float (N,), higher = harder, ties to the lower index;
    beta: where the window begins in the class sorted hardest first, 0 .. 1; start: a
    name of STARTS. Raises InputError for a window that leaves the class, and as
    `parts`.
    """
    labels, difficulty = np.asarray(labels), np.asarray(difficulty, np.float64)
    real, _ = parts(ipc, alpha)
    if start not in STARTS or not 0 <= beta <= 1:
        raise InputError(
            f"start is {start!r} and beta {beta}, but must be one of {STARTS} and from "
            "0 to 1"
        )
    found = [], []
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        order = members[np.argsort(-difficulty[members], kind="stable")]
        first = int((len(order) if start == "class" else ipc) * beta + 1e-9)
        if first + ipc > len(order):
            most = max(len(order) - ipc, 0) / (len(order) if start == "class" else ipc)
            raise InputError(
                f"beta is {beta:g}, but a window of {ipc} from image {first} leaves "
                f"class {c}, which has {len(order)}: take beta up to {most:.3g}"
            )
        found[0].append(order[first : first + real])
        found[1].append(order[first + real : first + ipc])
    return Window(*map(np.concatenate, found))


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
    split = quotas(real, shots)
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
    """The synthetic set of one of the three settings of Section 3.2.

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
    found = window(train.labels.numpy(), difficulty, ipc, alpha, beta, start)
    begin = train.subset(found.initial, "initial")

    def chosen(images: ImageSet) -> np.ndarray:
        if not real:
            return found.real
        rounds = two_shot(
            train, images, difficulty, real, answer, excluded=found.initial
        )
        return np.concatenate(rounds)

    if setting == "reverse":
        distilled = distil(begin, train.subset([]))
        kept = chosen(distilled)
    else:
        kept = found.real if setting == "selmatch" else chosen(begin)
        distilled = distil(begin, train.subset(kept))
    whole = concat(distilled, train.subset(kept))
    return Combined(distilled, kept, found.initial, whole)


class CombinedStep(Step):
    """A step in which the first images are distilled ones and get DSA, the rest not.

    SelMatch's "combined" augmentation: one DSA operation for each distilled image, the
    recipe's crop and flip for each real one.
    """

    def __init__(self, *arguments, distilled: int, strengths: Strengths):
        super().__init__(*arguments)
        self.distilled, self.strengths = distilled, strengths

    def view(self, batch: Tensor) -> Tensor:
        """Augmented images (B, 3, H, W) around [0, 1] of the indices (B,)."""
        images, normalize = self.images[batch], self.network.normalize
        real = augment(images, self.recipe, self.generator)
        # DSA's strengths are for normalised pixels, and so is the 0 it fills with.
        x = normalize(images.float() / 255)
        x = dsa_augment.augment(x, self.strengths, self.generator)
        x = x * normalize.std + normalize.mean
        return torch.where((batch < self.distilled)[:, None, None, None], x, real)


def evaluate(
    network: nn.Module,
    synthetic: ImageSet,
    distilled: int,
    test: ImageSet,
    recipe: Recipe = EVALUATION,
    *,
    seed: int,
    strengths: Strengths = Strengths(),  # noqa: B008 (frozen)
    device: str | torch.device = "cpu",
) -> float:
    """Train `network`, in place, with combined augmentation; test accuracy in percent.

    distilled: how many images of `synthetic`, from the first, are distilled. Hard
    labels, the last epoch's weights: SelMatch's evaluation.
    """
    make = partial(CombinedStep, distilled=distilled, strengths=strengths)
    settings = {"seed": seed, "test": test, "device": device, "make": make}
    return fit(network, synthetic, recipe, label=f"evaluate {seed}", **settings).last
