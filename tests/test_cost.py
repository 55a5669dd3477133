"""The price of an experiment, against sums done by hand."""

import pytest

from ccfs_lib import cost
from ccfs_lib.experiment import preset

# Million image passes of the filters and one evaluation at the paper's scale, summed by
# hand from sizes and epochs (J = 3).
PASSES = {
    ("cifar10", 250): 500 * (0.0005 + 0.00117 + 0.00184 + 0.0025),
    ("cifar10", 500): 500 * (0.001 + 0.00234 + 0.00367 + 0.005),
    ("cifar100", 50): 500 * (0.002 + 0.003 + 0.004 + 0.005),
    ("tiny-imagenet", 100): 100 * (0.004 + 0.0094 + 0.0148 + 0.02),
}


@pytest.mark.parametrize(("dataset", "ipc"), PASSES)
def test_passes_are_the_sum_of_sizes_and_epochs(dataset, ipc):
    found = {s.name: s for s in cost.stages(preset(dataset, "paper", ipc=ipc))}
    names = ["filter 1", "filter 2", "filter 3", "evaluation"]
    passes = sum(found[name].passes for name in names) / 1e6
    assert passes == pytest.approx(PASSES[dataset, ipc])
    assert all(found[name].forwards == 4 for name in names)  # teacher looks, too
    assert found["teacher"].forwards == 3 and found["recovery"].forwards == 2


def test_distilled_only_has_no_phases():
    names = [s.name for s in cost.stages(preset("digits", alpha=1.0))]
    assert names == ["teacher", "recovery", "evaluation", "tests"]


def test_seconds_are_work_over_rate(monkeypatch):
    experiment = preset("digits")
    monkeypatch.setattr(cost, "_rate", lambda *_: 100.0)
    found = cost.seconds(experiment)
    for stage in cost.stages(experiment):
        assert found[stage.name] == stage.work / 100


def test_rate_is_measured():
    assert 1 < cost._rate("convnet-8", 8, "cpu", budget=0.05) < 1e8


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (40, "40 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (7200, "2.0 h"),
        (864_000, "10 days"),
    ],
)
def test_told(amount, words):
    assert cost.told(amount) == words
