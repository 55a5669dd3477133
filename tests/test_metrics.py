"""Metrics against the published definitions, worked by hand, and their limits."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest

from ccfs_lib.errors import InputError
from ccfs_lib.metrics import ars, hlr, ior, lrs, normalised


def test_differences_have_the_published_signs():
    # 95 % with all data, 60 % with the set: 35 points are lost.
    assert hlr(full_hard=0.95, distilled_hard=0.60) == pytest.approx(0.35)
    # 70 % against 72 % of random images: worse than chance.
    assert ior(distilled=0.70, random=0.72) == pytest.approx(-0.02)


def test_label_robust_score_by_hand():
    # alpha = (0.10 - 0.35) / 2 = -0.125; e^-0.125 = 0.88250, e^-1 = 0.36788,
    # e = 2.71828: (0.88250 - 0.36788) / 2.35040 = 0.21895.
    assert lrs(ior=0.10, hlr=0.35) == pytest.approx(0.21895, abs=5e-6)
    # All weight on one side: alpha = 0.10, then -0.35, by the same printed constants.
    assert lrs(0.10, 0.35, weight=1) == pytest.approx(0.73729 / 2.35040, abs=5e-6)
    assert lrs(0.10, 0.35, weight=0) == pytest.approx(0.33681 / 2.35040, abs=5e-6)


def test_augmentation_robust_score_by_hand():
    # beta = (0.04 + 0.10) / 2 = 0.07; e^0.07 = 1.07251.
    assert ars(augmented=0.04, plain=0.10) == pytest.approx(0.70463 / 2.35040, abs=5e-6)
    # A quarter on the augmented: 0.085; e^0.085 = 1.08872.
    assert ars(0.04, 0.10, weight=0.25) == pytest.approx(0.72084 / 2.35040, abs=5e-6)


def test_scores_run_from_0_to_1_and_rise():
    assert lrs(ior=1, hlr=-1) == pytest.approx(1) and lrs(ior=-1, hlr=1) == 0
    assert ars(1, 1) == pytest.approx(1) and ars(-1, -1) == 0
    assert normalised(0) == pytest.approx(0.26894, abs=5e-6)
    steps = [normalised(x / 50) for x in range(-50, 51)]
    gains = [b - a for a, b in pairwise(steps)]
    assert min(gains) > 0 and gains == sorted(gains)
    assert lrs(0.2, 0.3) > lrs(0.1, 0.3) and lrs(0.1, 0.2) > lrs(0.1, 0.3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: hlr(95.5, 0.6), "full_hard is 95.5"),
        (lambda: hlr(0.9, -0.1), "distilled_hard is -0.1"),
        (lambda: ior(math.nan, 0.5), "distilled is nan"),
        (lambda: ior(0.5, 50), "random is 50"),
        (lambda: lrs(10.0, 0.3), "ior is 10.0"),
        (lambda: lrs(0.1, 30), "hlr is 30"),
        (lambda: lrs(0.1, 0.3, weight=-0.5), "weight is -0.5"),
        (lambda: ars(4.0, 0.1), "augmented is 4.0"),
        (lambda: ars(0.1, 4.0), "plain is 4.0"),
        (lambda: normalised(1.1), "value is 1.1"),
    ],
)
def test_percent_and_nonsense_are_refused_in_one_sentence(call, named):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(named) and "\n" not in str(caught.value)


def test_scores_of_scores_survive_rounding():
    assert lrs(ior(1.0, 0.0), hlr(0.1, 0.3 - 0.2)) > 0
    assert normalised(-1 - 1e-12) == pytest.approx(0, abs=1e-11)


def test_needs_no_torch():
    code = "import ccfs_lib.metrics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
