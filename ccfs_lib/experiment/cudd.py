"""CUDD as data: curriculum dataset distillation (Ma et al., 2024), on small images.

Its code is public for ImageNet-1K only, and so are its settings; what is *ours* here is
what small images force. Rows of it are no reproduction of CUDD's own numbers.
"""

from dataclasses import replace
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment.datasets import KNOWN
from ccfs_lib.experiment.recipes import (
    STRICT,
    Count,
    Distillation,
    LateRecipe,
    NotNegative,
    Positive,
    no_booleans,
)


@dataclass(frozen=True, config=STRICT)
class Cudd:
    """Everything that CUDD's distillation depends on, beside teacher and IPC."""

    # Ours: equal shares, as many as CCFS has phases. The readme's example goes to 20
    # images per class, then to 50.
    curricula: Count = 3
    # lr, BN weights and crops are the code's; ours: iterations and rolls (`cudd`).
    recovery: Distillation = Distillation(method="sre2l", crop_min=0.08)
    # Mean squared distance to the real image, in the same view.
    anchor: NotNegative = 1.0
    # -log(1 - p(student, target)) where the teacher is right.
    adversarial: NotNegative = 1.0
    # AdamW 1e-3, weight decay 0.01, batches of 128, T = 20, CutMix, 150 epochs; it
    # goes on from the student before, at half the rate. The code's KL lacks T^2, which
    # Adam's scaled steps hardly see.
    student: LateRecipe = LateRecipe(
        epochs=150,
        batch_size=128,
        lr=1e-3,
        weight_decay=0.01,
        warmup_epochs=0,
        optimiser="adamw",
        mix="cutmix",
    )
    student_start: Literal["previous", "fresh"] = "previous"
    student_lr_next: Positive = 5e-4  # of one that goes on from the one before

    _no_booleans = model_validator(mode="before")(no_booleans)


# Ours: digits in seconds, with the network and views of their preset.
DIGITS = Cudd(
    recovery=Distillation(
        method="sre2l", iterations=100, crop_min=0.5, flip=False, roll=1
    ),
    student=replace(
        Cudd().student,
        epochs=30,
        batch_size=32,
        lr=5e-3,
        crop_scale=(0.5, 1.0),
        flip=False,
    ),
    student_lr_next=2.5e-3,
)


def cudd(dataset: str, size: int = 0) -> Cudd:
    """Give the settings of a data set at `size` pixels a side (0: its own).

    Ours: iterations are those of the SRe2L family on the same images, 1000 on CIFAR
    and 4000 on Tiny-ImageNet, and images are rolled by up to an eighth of a side: the
    code's 32 of 224 pixels are a seventh, SRe2L's family takes 4 of 32. Raises
    InputError for other data whose size is not given.
    """
    if dataset == "digits":
        return DIGITS
    known = KNOWN.get(dataset)
    if not (size := size or (known.size if known else 0)):
        raise InputError(
            f"size is 0, but of {dataset!r} it is not known: give its pixels a side"
        )
    iterations = 4000 if dataset == "tiny-imagenet" else 1000
    base = Cudd()
    recovery = replace(base.recovery, iterations=iterations, roll=size // 8)
    return replace(base, recovery=recovery)
