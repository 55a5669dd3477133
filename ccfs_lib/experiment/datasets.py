"""What is known of the data sets with a name before any of their files is read.

No torch here: the command line and the notebooks refuse an impossible value with these
numbers, before anything expensive is imported.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ccfs_lib.runtime import paths

Pixels = tuple[float, float, float]  # one number per channel, in [0, 1] units


@dataclass(frozen=True)
class Facts:
    """Sizes of a data set, and what others have published about it."""

    train: int  # images
    test: int
    classes: int
    size: int  # pixels a side
    smallest: int  # training images of the smallest class
    # The name that its score files carry in SelMatch's and CCFS's repositories.
    scores: str = ""
    normalisation: tuple[Pixels, Pixels] | None = None  # mean, standard deviation


# The authors normalise CIFAR-100 with CIFAR-10's constants too.
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
TINY = ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))
KNOWN = {
    "digits": Facts(1352, 445, 10, 8, smallest=131),
    "cifar10": Facts(50_000, 10_000, 10, 32, 5000, "CIFAR10", CIFAR),
    # The same images in the same order, so the same scores.
    "cifar10-jpeg": Facts(50_000, 10_000, 10, 32, 5000, "CIFAR10", CIFAR),
    "cifar100": Facts(50_000, 10_000, 100, 32, 500, "CIFAR100", CIFAR),
    # The same images with 20 labels; the scores are of networks that learnt the 100.
    "cifar100-coarse": Facts(50_000, 10_000, 20, 32, 2500, "CIFAR100", CIFAR),
    "tiny-imagenet": Facts(100_000, 10_000, 200, 64, 500, "Tiny", TINY),
}
# Where Section 3's method has constants of its own.
SELMATCH = {"tiny-imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))}
# The same by kind, for whoever asks for one of them.
SMALLEST_CLASS = {name: facts.smallest for name, facts in KNOWN.items()}
SCORE_FILES = {name: facts.scores for name, facts in KNOWN.items() if facts.scores}
NORMALISATION = {
    name: facts.normalisation for name, facts in KNOWN.items() if facts.normalisation
}


def score_file(score: str, dataset: str, data_root: str = "") -> Path:
    """Find the file of a difficulty score: a path as it is, a published one by name.

    Published files lie in scores/, in the folder of the data or beside it.
    """
    if not score.startswith("published-"):
        return paths.expanded(score)
    stem = SCORE_FILES[dataset]
    name = {"published-forgetting": f"forgetting_{stem}.npy"}.get(
        score, f"cscores_{stem}.npz"
    )
    root = paths.expanded(data_root or os.environ.get("CCFS_DATA", "."))
    beside = [folder / "scores" / name for folder in (root, root.parent)]
    return next((path for path in beside if path.exists()), beside[0])
