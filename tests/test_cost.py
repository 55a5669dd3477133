"""The price of an experiment, against sums done by hand."""

from dataclasses import replace

import pytest
import torch

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
    monkeypatch.setattr(cost, "rate", lambda *_: 100.0)
    found = cost.seconds(experiment)
    for stage in cost.stages(experiment):
        assert found[stage.name] == stage.work / 100


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("training", [True, False])
def test_rate_is_measured(training, precision):
    threads = torch.get_num_threads()
    assert 1 < cost.rate("convnet-8", 8, "cpu", training, precision) < 1e8
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("name", "images"), [("convnet-8", 64), ("resnet50", 8)])
def test_a_whole_step_is_timed_of_as_many_images_as_take_a_second(name, images):
    seen = []

    class Seen(cost.Step):
        def loss(self, x, labels):
            seen.append((len(x), self.recipe.loss, self.teacher.training))
            return super().loss(x, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "Step", Seen)
        work, once = cost._step(name, 32 if name == "resnet50" else 8, "cpu")
        once()
    assert work == 4 * images
    assert seen == [(images, "kd", False)] * 2  # once to warm up


def test_what_looks_and_what_trains_are_timed_apart(monkeypatch):
    rate = {True: 100.0, False: 1000.0}
    monkeypatch.setattr(cost, "rate", lambda *a: rate[a[3]] * (1 + (a[4] == "bf16")))
    experiment = preset("digits")
    found = cost.seconds(experiment)
    for stage in cost.stages(experiment):
        looks = stage.name.startswith(("selection", "tests"))
        assert found[stage.name] == stage.work / (1000 if looks else 100)
    # What trains in bfloat16 is timed in it; a recovery never does.
    half = replace(experiment, recipe=replace(experiment.recipe, precision="bf16"))
    faster = cost.seconds(half)
    for name, seconds in found.items():
        same = name in ("teacher", "recovery")
        assert faster[name] == pytest.approx(seconds if same else seconds / 2)


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
def test_duration(amount, words):
    assert cost.duration(amount) == words
