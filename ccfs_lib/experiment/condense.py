"""DSA and DM as data: their recipes, and the settings of a data set and IPC.

Source: the public code of both (VICO-UoE/DatasetCondensation) and its readme. It has
settings up to IPC 50 (DSA) and for CIFAR; what is *ours* beyond says so. Table 1 prints
rows at IPC 250 and more, and no word on how they were made.
"""

from dataclasses import replace

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment.recipes import (
    STRICT,
    Count,
    Fraction,
    Positive,
    Whole,
    no_booleans,
)
from ccfs_lib.experiment.strengths import Strengths

# IPC: (matches in an iteration, epochs of the network between two); the released code
# knows these only.
LOOPS = {
    1: (1, 1),
    10: (10, 50),
    20: (20, 25),
    30: (30, 20),
    40: (40, 15),
    50: (50, 10),
}


@dataclass(frozen=True, config=STRICT)
class Gradients:
    """DSA: the released defaults; outer and inner are those of `loops` for an IPC."""

    outer: Count
    inner: Whole
    iterations: Count = 1000
    lr_img: Positive = 0.1
    lr_net: Positive = 0.01
    momentum: Fraction = 0.5  # of the images; the network has none
    batch_real: Count = 256  # of each class
    batch_net: Count = 256
    dsa: Strengths | None = Strengths()  # None: DC

    _no_booleans = model_validator(mode="before")(no_booleans)

    def passes(self, classes: int, ipc: int, class_size: int = 0) -> int:
        """Count the images of one iteration, forward and back through a network.

        class_size: training images of a class; 0: at least `batch_real`.
        """
        real = min(self.batch_real, class_size or self.batch_real)
        matches = self.outer * classes * (real + ipc)
        return matches + (self.outer - 1) * self.inner * classes * ipc


@dataclass(frozen=True, config=STRICT)
class Distribution:
    """DM: the released defaults."""

    iterations: Count = 20_000
    lr_img: Positive = 1.0  # 10 for CIFAR-10 from IPC 100, by the authors' readme
    momentum: Fraction = 0.5
    batch_real: Count = 256  # of each class
    # One operation and one set of numbers for each class, the same on both sides.
    dsa: Strengths | None = Strengths()

    _no_booleans = model_validator(mode="before")(no_booleans)

    def passes(self, classes: int, ipc: int, class_size: int = 0) -> int:
        """Count the images embedded in one iteration; arguments as in Gradients."""
        real = min(self.batch_real, class_size or self.batch_real)
        return classes * (real + ipc)


def loops(ipc: int) -> tuple[int, int]:
    """Give (outer, inner) of DSA at any IPC: those of the next smaller one in LOOPS.

    Ours, since the code stops at an IPC that it does not list. From 50 on the loops
    stay (50, 10), so that every image is updated as often as at IPC 50 and the cost of
    an iteration grows with the IPC, not with its square.
    """
    if ipc < 1:
        raise InputError(f"ipc is {ipc}, but must be at least 1")
    return LOOPS[max(known for known in LOOPS if known <= ipc)]


# Ours: 8x8 digits in seconds. No mirror: a mirrored 2 is no digit.
DIGITS_VIEWS = Strengths(ops=("color", "crop", "cutout", "scale", "rotate"))
DIGITS = {
    "dsa": Gradients(
        outer=3, inner=2, iterations=6, batch_real=32, batch_net=64, dsa=DIGITS_VIEWS
    ),
    "dm": Distribution(iterations=50, batch_real=32, dsa=DIGITS_VIEWS),
}


def dsa(dataset: str, ipc: int) -> Gradients:
    """Give DSA's settings: the released ones, with `loops` for the IPC.

    The code does not tell data sets apart. Raises InputError for an IPC below 1.
    """
    outer, inner = loops(ipc)
    if dataset == "digits":
        return DIGITS["dsa"]
    return Gradients(outer=outer, inner=inner)


def dm(dataset: str, ipc: int) -> Distribution:
    """Give DM's settings: lr_img 1, and 10 for CIFAR-10 from IPC 100 on (readme).

    Ours: 1 for CIFAR-10 between 50 and 100 and for all other data, as the readme has it
    for CIFAR-100. Raises InputError for an IPC below 1.
    """
    if ipc < 1:
        raise InputError(f"ipc is {ipc}, but must be at least 1")
    if dataset == "digits":
        return DIGITS["dm"]
    high = dataset.removesuffix("-jpeg") == "cifar10" and ipc >= 100
    return replace(Distribution(), lr_img=10.0 if high else 1.0)
