"""Recipes: how a network is trained and how images are recovered, as data.

No torch here: a notebook validates its parameters with these before importing it.
Every field says where its default comes from: *paper* (Tables 6-9), *authors* (the
executed notebooks in the history of the public code, which reproduce the headline
numbers), *released* (the scripts in the public code today), or *ours*.
"""

import math
from dataclasses import MISSING, fields, replace
from typing import Annotated, ClassVar, Literal, get_args, get_origin

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST = 10**6  # of whatever is counted, so that no loop over it takes long
Count = Annotated[int, Field(ge=1, le=MOST)]
Whole = Annotated[int, Field(ge=0, le=MOST)]


def rounded_down(number: float) -> int:
    """Round a number such as alpha x IPC down, as the code does.

    The small term undoes binary fractions: int(100 * 0.29) is 28, which nobody means.
    """
    return int(number + 1e-9)


def least_alpha(ipc: int) -> str:
    """Return the smallest alpha with a distilled image per class, as text: 0.077.

    Rounded up to four digits after the point: what is told has to be allowed.
    """
    return f"{math.ceil(1e4 / ipc - 1e-9) / 1e4:g}"


def no_booleans(cls, given):
    """Refuse yes and no where a setting is a number: to pydantic they are 1 and 0.

    A validator of configurations, before pydantic's own; "40" from a shell is 40.
    """
    if isinstance(given, ArgsKwargs):
        names = [f.name for f in fields(cls) if f.init]
        values = dict(zip(names, given.args, strict=False)) | (given.kwargs or {})
    else:
        values = given if isinstance(given, dict) else {}
    kinds = {f.name: f.type for f in fields(cls)}
    for name, value in values.items():
        several = value if isinstance(value, list | tuple) else [value]
        if kinds.get(name) is not bool and _plain(kinds.get(name)) is not bool:
            for one in several:
                if isinstance(one, bool):
                    raise ValueError(f"{name} is {one!r}, but must not be yes or no")
    return given


def _plain(kind):
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def essential(recipe) -> dict:
    """Return the fields of a recipe that are not at their default, as plain values.

    Artefacts are named by these: a new option whose default is the old behaviour
    leaves every stage that was computed before it in place.
    """
    values = {f.name: (getattr(recipe, f.name), f.default) for f in fields(recipe)}
    return {k: v for k, (v, d) in values.items() if d is MISSING or v != d}


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One training: schedule, loss and augmentation."""

    epochs: Count
    batch_size: Count = 64
    # 32/64/128 by the size of the current set: "paper" with Table 8's cut-offs,
    # "released" with those of the code (see `for_size`).
    batch_rule: Literal["fixed", "paper", "released"] = "fixed"
    # "kd": KL to the teacher at `temperature` times its square, no hard-label term.
    # The paper mentions soft labels only for the evaluation; the code trains the
    # filters so as well.
    loss: Literal["kd", "hard"] = "kd"
    temperature: Positive = 20.0  # released and authors; the paper is silent
    lr: Positive = 0.1  # Table 6 (CIFAR); 0.2 in Table 9 (Tiny-ImageNet)
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 5e-4  # Table 6; 1e-4 in Table 9
    warmup_epochs: Whole = 5  # released; the paper is silent
    warmup_start: Fraction = 0.01  # first epoch's fraction of lr
    # Cosine ends at this fraction of lr: 0 would come one epoch after the last (CCFS,
    # SRe2L), any other is that of the last epoch (SelMatch trains E + 1 epochs).
    final_lr: Fraction = 0.0
    augment: Literal["rrc", "crop", "none"] = "rrc"  # Tables 6, 9; "crop": teachers
    crop_scale: tuple[Fraction, Fraction] = (0.08, 1.0)  # of the area, torchvision's
    pad: Whole = 4  # for "crop"
    flip: bool = True
    # ours: the authors train in float32. bf16 is autocast with float32 weights: faster
    # on GPUs and on CPUs with AVX512-BF16, elsewhere as fast (`runtime.bfloat16`).
    precision: Literal["fp32", "bf16"] = "fp32"
    # Test accuracy is measured in this last part of the epochs, and its best value is
    # what the authors' code reports. We report the last epoch beside it.
    tail: Fraction = 0.2
    # What only a `LateRecipe` can choose. No fields here: the configurations of results
    # list every field of a recipe, and those of the past must stay what they are.
    optimiser: ClassVar[str] = "sgd"
    mix: ClassVar[str] = "none"
    horizon: ClassVar[float] = 1.0

    _no_booleans = model_validator(mode="before")(no_booleans)

    def lr_at(self, epoch: int) -> float:
        """Compute an epoch's learning rate (0-based): linear warm-up, then cosine."""
        if epoch < self.warmup_epochs:
            rise = epoch / self.warmup_epochs
            return self.lr * (self.warmup_start + (1 - self.warmup_start) * rise)
        last = self.epochs - (self.final_lr > 0)
        left = max(last - self.warmup_epochs, 1) * self.horizon
        fall = (1 + math.cos(math.pi * (epoch - self.warmup_epochs) / left)) / 2
        return self.lr * (self.final_lr + (1 - self.final_lr) * fall)

    def tests_at(self, epoch: int) -> bool:
        """Decide whether the test split is measured after this epoch (0-based)."""
        return epoch > (1 - self.tail) * self.epochs or epoch == self.epochs - 1

    def for_size(self, images: int, full: int) -> "Recipe":
        """Return the recipe with the batch size for `images` of `full` training images.

        Table 8: 32 up to 5 %, 64 up to 20 %, 128 above. The code, in which the authors'
        notebooks ran: 32 below 10 %, 64 below 20 %, 128 from there (on both CIFARs
        5,000 and 10,000 images), so they differ between 5 and 10 % and at 20 %.
        """
        if self.batch_rule == "fixed":
            return self
        if self.batch_rule == "paper":
            small, middle = 20 * images <= full, 5 * images <= full
        else:
            small, middle = 10 * images < full, 5 * images < full
        batch = 32 if small else 64 if middle else 128
        return replace(self, batch_size=batch, batch_rule="fixed")


@dataclass(frozen=True, config=STRICT)
class LateRecipe(Recipe):
    """A training with what came after the paper; at the defaults, a plain `Recipe`.

    A default here must be the old behaviour: `essential`, which names artefacts, leaves
    defaults out, and a plain recipe of the same fields has the same name.
    """

    optimiser: Literal["sgd", "adamw"] = "sgd"  # AdamW's betas are PyTorch's
    mix: Literal["none", "cutmix"] = "none"  # one box for each batch, alpha 1
    horizon: Positive = 1.0  # the cosine would end after so many times the epochs


# Random real images trained by BPS's recipe (CVPR 2026), in the row below Table 1:
# AdamW 1e-3, weight decay 0.01, CutMix, a cosine over twice the horizon, so that the
# rate ends at half. Ours: batch and views are those of CCFS, and no warm-up.
BPS = LateRecipe(
    epochs=500,
    lr=1e-3,
    weight_decay=0.01,
    warmup_epochs=0,
    optimiser="adamw",
    mix="cutmix",
    horizon=2.0,
)


@dataclass(frozen=True, config=STRICT)
class Distillation:
    """Recovery of images from the teacher: SRe2L, or CDA, its crop schedule."""

    method: Literal["cda", "sre2l"] = "cda"
    iterations: Count = 1000  # CIFAR: the authors' folder names; Tiny: 4000
    lr: Positive = 0.25  # SRe2L CIFAR-100; Tiny 0.1 (SRe2L), 0.4 (CDA)
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    bn_weight: NotNegative = 0.01  # Tiny: 1 (SRe2L), 0.05 (CDA)
    first_bn: NotNegative = 10.0
    # SRe2L, CDA. Batch-norm statistics are matched over a batch, not image by image,
    # and a batch shares its views: with more each image is freer, and a GPU full.
    batch_size: Count = 100
    # Each step crops the whole batch once; CDA starts from the full image and lowers
    # the smallest area to this by a cosine. SRe2L on CIFAR does not crop.
    crop_min: Fraction = 0.08
    flip: bool = True
    roll: Whole = 4  # pixels, uniform 0..roll on each axis
    roll_back: bool = False  # uniform -roll..roll: SRe2L on Tiny-ImageNet
    # The authors save 8-bit JPEGs (Pillow's default quality); ours keeps the pixels.
    save: Literal["png", "jpeg"] = "png"

    _no_booleans = model_validator(mode="before")(no_booleans)

    def crop_at(self, iteration: int) -> float:
        """Compute the smallest crop area at an iteration, CDA's cosine to crop_min."""
        if self.method == "sre2l":
            return self.crop_min
        fall = (1 + math.cos(math.pi * iteration / self.iterations)) / 2
        return self.crop_min + (1 - self.crop_min) * fall
