"""Fair scores of a distilled set: HLR, IOR, LRS and ARS of the benchmark DD-Ranking.

An accuracy that soft labels or an augmentation have lifted says little of the images.
The benchmark (Li et al., "DD-Ranking", arXiv 2505.13300, 2025) therefore asks how much
of the full data's accuracy is left without soft labels, and what the images add to
random real ones under one and the same recipe: the control that the CCFS paper lacks.

All accuracies are fractions, 0 to 1, of one seed each; score every seed, and summarise
the scores (`ccfs_lib.statistics`). In percent, as results files have them, the scores'
exponential would be meaningless, so a number above 1 is refused. Which epoch they are
of is the caller's: the benchmark's software takes the best one, and the best learning
rate, by test accuracy; this project concludes from last epochs only.
"""

import math

from ccfs_lib.errors import InputError


def hlr(full_hard: float, distilled_hard: float) -> float:
    """Compute Hard Label Recovery: the loss against all data, with hard labels on both.

    full_hard: accuracy of training on the full data set with hard labels;
    distilled_hard: on the distilled set. -1 to 1; lower is better, despite the name.
    Raises InputError for what is not a fraction. Source: DD-Ranking's documentation.
    """
    return _fraction(full_hard, "full_hard") - _fraction(
        distilled_hard, "distilled_hard"
    )


def ior(distilled: float, random: float) -> float:
    """Compute Improvement over Random: the gain over as many random real images.

    Both accuracies are under the same recipe, with the same teacher if there is one.
    -1 to 1; higher is better, and 0 means that choosing at random would have done.
    Raises InputError for what is not a fraction. Source: DD-Ranking's documentation.
    """
    return _fraction(distilled, "distilled") - _fraction(random, "random")


def lrs(ior: float, hlr: float, weight: float = 0.5) -> float:
    """Compute the Label-Robust Score of one set, 0 to 1, higher is better.

    It normalises alpha = weight ior - (1 - weight) hlr; weight 0.5 is that of the
    public ranking. A set that is as good as random and loses nothing scores 0.27.
    Raises InputError for a value outside -1..1 or a weight outside 0..1. Source:
    DD-Ranking's documentation.
    """
    weight = _fraction(weight, "weight")
    ior, hlr = _within(ior, "ior"), _within(hlr, "hlr")
    return normalised(weight * ior - (1 - weight) * hlr)


def ars(augmented: float, plain: float, weight: float = 0.5) -> float:
    """Compute the Augmentation-Robust Score of one set, 0 to 1, higher is better.

    augmented, plain: `ior` with the recipe's augmentation and without any, where both
    the distilled and the random set are trained again. It normalises weight augmented +
    (1 - weight) plain. Raises InputError for a value outside -1..1 or a weight outside
    0..1. Source: DD-Ranking's documentation; it gives no value of the weight (its
    gamma), so the even one is ours.
    """
    weight = _fraction(weight, "weight")
    augmented, plain = _within(augmented, "augmented"), _within(plain, "plain")
    return normalised(weight * augmented + (1 - weight) * plain)


def normalised(value: float) -> float:
    """Map -1..1 onto 0..1, (exp(value) - 1/e) / (e - 1/e): the scores' common scale.

    The exponential lets a gain near the top count for more than the same gain below, so
    a difference of two scores has no unit: compare accuracies, and rank by scores.
    Raises InputError for a value outside -1..1.
    """
    # Both parts times e: expm1 is exact where the value is nearly -1.
    return math.expm1(_within(value, "value") + 1) / math.expm1(2)


def _fraction(value: float, name: str) -> float:
    return _within(value, name, low=0, hint=" (percent divided by 100)")


def _within(value: float, name: str, low: float = -1, hint: str = "") -> float:
    # nan fails the comparison. A hair of rounding, as in 0.9 - (-0.1), is let through.
    if not low - 1e-9 <= value <= 1 + 1e-9:
        raise InputError(f"{name} is {value!r}; it must lie between {low} and 1{hint}")
    return float(value)
