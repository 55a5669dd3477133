"""Whitening: what it promises, by hand, and in every place that takes it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ccfs_lib import data, networks, selmatch
from ccfs_lib.distill import dm, dsa, experts, mtt, zca
from ccfs_lib.experiment import ExpertRecipe, Matching, Recipe, Strengths
from ccfs_lib.store import Store
from ccfs_lib.train import fit

RECIPE = ExpertRecipe(epochs=3, lr=0.05, batch_size=128, dsa=None, zca=True)
MATCH = Matching(iterations=3, syn_steps=2, max_start_epoch=2, lr_img=10.0, dsa=None)


@pytest.fixture(scope="module")
def whiten(digits):
    return zca.fit(digits[0])


def test_whitened_images_are_uncorrelated(digits, whiten):
    """Covariance s / (s + eps) in the axes of the data: ones where s is large."""
    x = digits[0].images.double().flatten(1) / 255
    centred = x - x.mean(0)
    s, axes = np.linalg.eigh((centred.T @ centred / (len(x) - 1)).numpy())
    seen = whiten(digits[0].images.float() / 255).flatten(1).double()
    assert seen.mean(0).abs().max() < 1e-4
    found = (seen.T @ seen / (len(x) - 1)).numpy()
    expected = axes @ np.diag(s / (s + 0.1)) @ axes.T
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # By hand, one image: U diag(1 / sqrt(s + eps)) U^T (x - mean).
    one = axes @ ((axes.T @ centred[7].numpy()) / np.sqrt(np.clip(s, 0, None) + 0.1))
    np.testing.assert_allclose(seen[7].numpy(), one, atol=1e-4)


def test_the_way_back_is_an_inverse(digits, whiten):
    x = digits[0].images[:50].float() / 255
    assert torch.allclose(whiten.inverse(whiten(x)), x, atol=1e-5)
    network = networks.build("convnet-4", 10, 8, seed=0)
    names = set(network.state_dict())
    network.normalize = whiten
    assert set(network.state_dict()) < names  # no weights of a network's


def test_experts_and_matching_see_whitened_images(digits, tmp_path):
    store, train = Store(tmp_path), digits[0].subset(torch.arange(300))
    some = store, "convnet-6", train
    plain = experts.buffer(*some, replace(RECIPE, zca=False), 1)
    made = experts.buffer(*some, RECIPE, 1)
    assert not torch.equal(plain.trajectories[0][-1], made.trajectories[0][-1])
    # By hand: a network that whitens, and torch's own SGD.
    network = networks.build("convnet-6", 10, 8, seed=experts.FIRST_SEED).train()
    network.normalize = zca.fit(train)
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    for batch in torch.randperm(300, generator=torch.Generator().manual_seed(0)).split(
        128
    ):
        logits = network(train.images[batch].float() / 255)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, train.labels[batch]).backward()
        optimiser.step()
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert torch.allclose(made.trajectories[0][1].float(), weights, atol=2e-3)
    begin = train.subset(torch.arange(20))
    done = mtt.distill(begin, made, MATCH)
    # Pictures are pixels again: near where they began, not whitened noise.
    gap = (done.images.images.float() - begin.images.float()).abs().mean()
    assert 0 < gap < 60
    start = made.whiten(begin.images.float() / 255)
    assert 0 < (done.pixels - start).abs().max() < 100
    assert (start - begin.images.float() / 255).abs().max() > 0.5


def test_a_buffer_carries_its_whitening(digits, tmp_path):
    store, train = Store(tmp_path), digits[0].subset(torch.arange(300))
    two = [experts.buffer(store, "convnet-6", train, RECIPE, 1) for _ in range(2)]
    begin = train.subset(torch.arange(20))
    both = [mtt.distill(begin, buffer, MATCH).pixels for buffer in two]  # 2nd: read
    assert torch.equal(*both)


@pytest.mark.parametrize("method", ["dm", "dsa"])
def test_dm_and_dsa_take_a_whitening(digits, whiten, method):
    train = digits[0].subset(torch.arange(200))
    first = [(train.labels == c).nonzero()[0] for c in range(10)]
    begin = train.subset(torch.cat(first))
    short = {"iterations": 2, "batch_real": 8, "lr_img": 0.01}
    module, recipe = {
        "dm": (dm, dm.Distribution(dsa=None, **short)),
        "dsa": (dsa, dsa.Gradients(outer=1, inner=0, dsa=None, **short)),
    }[method]
    constants = data.channel_stats(train)
    found = [
        module.distill(begin, train, "convnet-in", recipe, normalisation=how)
        for how in (whiten, constants)
    ]
    assert not torch.allclose(found[0].pixels, found[1].pixels, atol=0.1)
    start = whiten(begin.images.float() / 255)
    assert (found[0].pixels - start).abs().mean() < 0.5


def test_a_network_that_whitens_learns(digits, whiten):
    network = networks.build("convnet-16", 10, 8, seed=0)
    network.normalize = whiten
    recipe = Recipe(epochs=8, lr=0.05, warmup_epochs=0, loss="hard", augment="none")
    recipe = replace(recipe, flip=False)
    few = digits[0].subset(torch.arange(300))
    make = partial(selmatch.CombinedStep, distilled=0, strengths=Strengths())
    done = fit(network, few, recipe, seed=1, test=digits[1], make=make)
    assert done.last > 70
