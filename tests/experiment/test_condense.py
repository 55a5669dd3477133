"""Settings of DSA and DM as their code and readme have them, and our rules beyond."""

import subprocess
import sys

import pytest

from ccfs_lib.distill import dm as dm_module
from ccfs_lib.distill import dsa as dsa_module
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import budget, condense
from ccfs_lib.experiment.budget import within


@pytest.mark.parametrize(
    ("ipc", "outer", "inner"),
    [  # main.py of the public code
        (1, 1, 1),
        (10, 10, 50),
        (20, 20, 25),
        (30, 30, 20),
        (40, 40, 15),
        (50, 50, 10),
        # and by our rule: the next smaller one
        (9, 1, 1),
        (25, 20, 25),
        (51, 50, 10),
        (250, 50, 10),
        (1000, 50, 10),
    ],
)
def test_dsa(ipc, outer, inner):
    for dataset in ("cifar10", "cifar100", "tiny-imagenet"):
        recipe = condense.dsa(dataset, ipc)
        assert (recipe.outer, recipe.inner) == (outer, inner)
        assert (recipe.iterations, recipe.batch_real) == (1000, 256)
        assert (recipe.lr_img, recipe.lr_net, recipe.momentum) == (0.1, 0.01, 0.5)
        views = recipe.dsa
        assert (views.flip, views.scale, views.rotate) == (0.5, 1.2, 15)
        assert (views.crop, views.cutout) == (0.125, 0.5)
        assert (views.brightness, views.saturation, views.contrast) == (1, 2, 0.5)


@pytest.mark.parametrize(
    ("dataset", "ipc", "lr_img"),
    [
        ("cifar10", 50, 1),
        ("cifar10", 99, 1),
        ("cifar10", 100, 10),
        ("cifar10-jpeg", 500, 10),
        ("cifar10", 1000, 10),
        ("cifar100", 50, 1),
        ("cifar100", 150, 1),
        ("tiny-imagenet", 100, 1),
    ],
)
def test_dm(dataset, ipc, lr_img):
    recipe = condense.dm(dataset, ipc)
    assert (recipe.lr_img, recipe.momentum, recipe.batch_real) == (lr_img, 0.5, 256)
    assert recipe.iterations == 20_000 and recipe.dsa == condense.Strengths()


def test_digits_are_small_and_have_no_mirror():
    small = condense.dsa("digits", 20), condense.dm("digits", 500)
    assert all("flip" not in recipe.dsa.ops for recipe in small)
    assert sum(r.iterations * r.passes(10, 20, 131) for r in small) < 50_000


def test_passes_are_what_the_methods_pass(digits, monkeypatch):
    """Counted at the networks' first layers, in one iteration."""
    from torch import nn

    train = digits[0].subset(range(300))
    begin = train.subset(
        [i for c in range(10) for i in (train.labels == c).nonzero()[:3, 0].tolist()]
    )
    seen, real = [], nn.Conv2d.forward

    def counted(layer, x):
        if layer.in_channels == 3:
            seen.append(len(x))
        return real(layer, x)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    # Layers that are made to be differentiated twice pass by nn.Conv2d.
    monkeypatch.setattr("ccfs_lib.distill.layers.known", lambda body: False)
    dm = condense.Distribution(iterations=1, batch_real=8, dsa=None)
    dm_module.distill(begin, train, "convnet-in", dm)
    assert sum(seen) == dm.passes(10, 3) == 10 * (8 + 3)
    seen.clear()
    dsa = condense.Gradients(outer=3, inner=2, iterations=1, batch_real=8, dsa=None)
    dsa_module.distill(begin, train, "convnet-in", dsa)
    assert sum(seen) == dsa.passes(10, 3) == 3 * 10 * (8 + 3) + 2 * 2 * 30
    assert dm.passes(10, 3, class_size=5) == 80


def test_published_amounts():
    assert 20_000 * condense.dm("cifar10", 500).passes(10, 500) == 151_200_000
    dsa = condense.dsa("cifar100", 50)
    assert 1000 * dsa.passes(100, 50) == 1_530_000_000 + 2_450_000_000


# -- budgets ---------------------------------------------------------------------------


def test_iterations_within_a_budget():
    assert within(1000, 300, 1e9) == 1000
    assert within(1000, 300, 89_999) == 299
    assert within(1000, 300, 10) == 1
    assert budget.ENOUGH == 0.1


def test_bad_input():
    for make in (condense.loops, lambda n: condense.dm("cifar10", n)):
        with pytest.raises(InputError, match="ipc is 0, but must be at least 1"):
            make(0)
    with pytest.raises(InputError, match="budget is -1, but must be a positive"):
        within(10, 10, -1)
    with pytest.raises(InputError, match="passes is nan"):
        within(10, float("nan"), 10)


def test_settings_need_no_torch():
    names = "budget, condense, cudd"
    code = f"import sys; from ccfs_lib.experiment import {names}; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
