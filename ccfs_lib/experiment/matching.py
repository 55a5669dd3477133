"""Recipes of experts and of matching them, as data, and the published cells."""

from dataclasses import replace
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment.recipes import (
    STRICT,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Whole,
    no_booleans,
)
from ccfs_lib.experiment.strengths import Strengths


@dataclass(frozen=True, config=STRICT)
class ExpertRecipe:
    """How an expert is trained: gradient descent, states kept before and per epoch."""

    epochs: Count = 50  # MTT; 100 in SelMatch and DATM
    lr: Positive = 0.01  # all three
    batch_size: Count = 256  # all three
    # None: no augmentation. MTT and DATM train experts with it. SelMatch's command
    # asks for it, but its buffer code passes True where "dsa" is tested: it never ran.
    dsa: Strengths | None = Strengths(choice="batch")
    # Images are whitened (`distill.zca`) in place of normalised, by the experts, in
    # matching and in the evaluation: MTT in some cells, DATM in all.
    zca: bool = False
    # ours: half the bytes. It moves what two epochs of an expert moved by about 1 %,
    # and the matching loss of given images by less than 0.1 % (measured on digits).
    kept: Literal["float32", "float16"] = "float16"

    _no_booleans = model_validator(mode="before")(no_booleans)


# DATM trains its experts by FTD (sharpness-aware, rho 0.01, alpha 0.3), which is not
# rebuilt here: its windows run on plain gradient descent with the same rate and epochs.
EXPERTS = {
    "mtt": ExpertRecipe(),
    "datm": ExpertRecipe(epochs=100, zca=True),
    "selmatch": ExpertRecipe(epochs=100, dsa=None),
}


@dataclass(frozen=True, config=STRICT)
class Matching:
    """Trajectory matching: MTT's fields, then DATM's. Defaults: MTT, CIFAR-10 IPC 10.

    Rates of images are for normalised pixels.
    """

    iterations: Count = 5000  # MTT; 10 000 in SelMatch and DATM
    syn_steps: Count = 30  # inner steps on synthetic images
    expert_epochs: Count = 2  # the expert's epochs that they should make up for
    max_start_epoch: Count = 20  # starts are uniform in min .. max - 1
    batch_syn: Whole = 0  # images of an inner step; 0: all
    lr_img: Positive = 100.0
    lr_lr: NotNegative = 1e-5  # of the learned inner step size; 0: it stays
    lr_init: Positive = 1e-3  # inner step size at the beginning
    momentum: Fraction = 0.5  # of images and step size
    dsa: Strengths | None = Strengths(choice="batch")
    # DATM. "correct": initial images are ones that the first expert gets right.
    init: Literal["random", "correct"] = "random"
    min_start_epoch: Whole = 0
    # Starts begin below `first_max_epoch`, and the bound grows linearly to
    # max_start_epoch over this many iterations. 0: the full window from the start, as
    # DATM itself has it at high IPC.
    grow: Whole = 0
    first_max_epoch: Whole = 0
    # "soft": labels start as the experts' mean logits and learn.
    labels: Literal["hard", "soft"] = "hard"
    lr_label: Positive = 10.0
    label_momentum: Fraction = 0.9
    skip_above: Positive | None = None  # no update where the loss is larger

    _no_booleans = model_validator(mode="before")(no_booleans)

    def __post_init__(self):
        low, high = self.min_start_epoch, self.max_start_epoch
        if low >= high:
            raise InputError(
                f"min_start_epoch is {low}, but must be below max_start_epoch, {high}"
            )
        if self.grow and not low < self.first_max_epoch <= high:
            raise InputError(
                f"first_max_epoch is {self.first_max_epoch}, but a window that grows "
                f"begins with {low + 1} to {high}"
            )

    @property
    def last_epoch(self) -> int:
        """The last expert epoch that is ever asked for."""
        return self.max_start_epoch - 1 + self.expert_epochs

    def starts(self, iteration: int) -> range:
        """Start epochs that may be drawn at an iteration."""
        if iteration >= self.grow:
            return range(self.min_start_epoch, self.max_start_epoch)
        rise = (self.max_start_epoch - self.first_max_epoch) * iteration / self.grow
        return range(self.min_start_epoch, self.first_max_epoch + int(rise))


# MTT, from its readme's table: (iterations 5000, expert_epochs 2 unless given). The
# table prints 1e5 for lr_img of (cifar10, 10), a typo by its author's own word.
#   syn_steps, expert_epochs, max_start_epoch, batch_syn, lr_img, lr_lr, lr_init
_MTT = {
    ("cifar10", 1): (50, 2, 2, 0, 1e2, 1e-7, 0.01),
    ("cifar10", 10): (30, 2, 20, 0, 1e2, 1e-5, 1e-3),
    ("cifar10", 50): (30, 2, 40, 0, 1e3, 1e-5, 1e-3),
    ("cifar100", 1): (20, 3, 20, 0, 1e3, 1e-5, 0.01),
    ("cifar100", 10): (20, 2, 20, 0, 1e3, 1e-5, 0.01),
    ("cifar100", 50): (80, 2, 40, 125, 1e3, 1e-5, 0.01),
    ("tiny-imagenet", 1): (10, 2, 10, 0, 1e4, 1e-4, 0.01),
    ("tiny-imagenet", 10): (20, 2, 40, 200, 1e4, 1e-4, 0.01),
    ("tiny-imagenet", 50): (20, 2, 40, 300, 1e4, 1e-4, 0.01),
}
MTT_ZCA = (("cifar10", 1), ("cifar10", 10), ("cifar100", 1), ("cifar100", 50))
# DATM, from its released configurations (lr_init 0.01 in all):
#   min_start_epoch, max_start_epoch, syn_steps, lr_img, init
_DATM = {
    ("cifar10", 500): (40, 60, 40, 50.0, "correct"),
    ("cifar10", 1000): (40, 60, 100, 50.0, "correct"),
    ("cifar100", 50): (20, 70, 80, 1000.0, "random"),
    ("cifar100", 100): (30, 70, 80, 50.0, "correct"),
    ("tiny-imagenet", 50): (40, 70, 20, 100.0, "correct"),
}
# SelMatch, common to all cells of its scripts; the lr of CIFAR-10 at IPC 1000 and 1500
# is ten times larger, Tiny-ImageNet takes 20 steps.
SELMATCH = Matching(
    iterations=10_000, syn_steps=55, max_start_epoch=80, batch_syn=125, lr_img=1e3
)


def published(method: str, dataset: str, ipc: int) -> Matching:
    """Return the published recipe of a cell: method "mtt", "datm" or "selmatch".

    Raises InputError for a cell of which no settings are public.
    """
    base = dataset.removesuffix("-jpeg")
    if method == "selmatch":
        steps = 20 if base == "tiny-imagenet" else 55
        high = base == "cifar10" and ipc >= 1000
        return replace(SELMATCH, syn_steps=steps, lr_img=1e4 if high else 1e3)
    cell = _cell(method, dataset, ipc)
    if method == "mtt":
        names = "syn_steps expert_epochs max_start_epoch batch_syn lr_img lr_lr lr_init"
        return Matching(**dict(zip(names.split(), cell, strict=True)))
    low, high, steps, lr_img, init = cell
    return Matching(
        iterations=10_000,
        syn_steps=steps,
        min_start_epoch=low,
        max_start_epoch=high,
        batch_syn=1000,
        lr_img=lr_img,
        lr_lr=1e-4 if base == "tiny-imagenet" else 1e-5,
        lr_init=0.01,
        init=init,
        labels="soft",
        skip_above=1.0,
    )


def published_experts(method: str, dataset: str, ipc: int) -> ExpertRecipe:
    """Return the recipe of the experts of a cell of `published`; errors as there.

    DATM's are plain ones here, see EXPERTS.
    """
    if method != "selmatch":
        _cell(method, dataset, ipc)
    base = dataset.removesuffix("-jpeg")
    whitened = method == "datm" or (method == "mtt" and (base, ipc) in MTT_ZCA)
    return replace(EXPERTS[method], zca=whitened)


def _cell(method: str, dataset: str, ipc: int) -> tuple:
    table = {"mtt": _MTT, "datm": _DATM}.get(method, {})
    base = dataset.removesuffix("-jpeg")
    if (base, ipc) not in table:
        known = ", ".join(f"{d} {n}" for d, n in table) or "'mtt', 'datm', 'selmatch'"
        raise InputError(
            f"{method} on {dataset} at IPC {ipc} has no public settings; known: {known}"
        )
    return table[base, ipc]
