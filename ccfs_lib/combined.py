"""SelMatch's evaluation: one augmentation for distilled images, another for real ones.

A synthetic set of two kinds is trained on with DSA for the distilled images, as they
were made, and with crop and flip for the real ones. Labels are hard, and the last
epoch's accuracy is what counts.
"""

from functools import partial

import torch
from torch import Tensor, nn

from ccfs_lib.augment import augment
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import dsa_augment
from ccfs_lib.distill.strengths import Strengths
from ccfs_lib.presets import EVALUATION
from ccfs_lib.recipes import Recipe
from ccfs_lib.step import Step
from ccfs_lib.train import fit


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
