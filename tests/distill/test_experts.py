"""Experts by a plain loop, their buffers on disk, and float16 against float32."""

import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ccfs_lib import data, networks
from ccfs_lib.distill import experts, layers, mtt
from ccfs_lib.distill.dsa_augment import Strengths
from ccfs_lib.distill.experts import ExpertRecipe, buffer
from ccfs_lib.distill.functional import ENGINES, Flat
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Matching
from ccfs_lib.store import Store

RECIPE = ExpertRecipe(epochs=3, lr=0.05, batch_size=32, dsa=None, kept="float32")


@pytest.fixture(scope="module")
def some(digits):
    """120 digits."""
    return digits[0].subset(torch.arange(0, 1320, 11))


def test_an_expert_is_plain_gradient_descent(some):
    """torch's own SGD on an ordinary network, batch norm in training mode."""
    mean, std = data.channel_stats(some)
    network = networks.build("convnet-6-5", 10, 8, mean=mean, std=std, seed=7)
    flat = Flat(network)
    states, losses = experts.trajectory(flat, flat.start, some, RECIPE, seed=7)
    assert states.shape == (4, len(flat)) and states.dtype == torch.float32
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    generator = torch.Generator().manual_seed(7)
    network.train()
    for epoch in range(3):
        total = 0.0
        for batch in torch.randperm(120, generator=generator).split(32):
            logits = network(some.images[batch].float() / 255)
            loss = F.cross_entropy(logits, some.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch) / 120
        weights = torch.cat([p.detach().flatten() for p in network.parameters()])
        assert torch.allclose(states[epoch + 1], weights, atol=1e-5)
        assert losses[epoch] == pytest.approx(total, abs=1e-4)
    assert losses[0] > losses[1] > losses[2]


def test_flat_networks_are_networks(some):
    for name in ("convnet-6-5", "convnet-in"):
        network = networks.build(name, 10, 8, seed=1).train()
        flat = Flat(network)
        assert len(flat) == networks.count(network, 8).parameters == len(flat.start)
        x = some.images[:9]
        expected = network(x.float() / 255)
        ours = flat.logits(flat.start, flat.normalised(x))
        assert torch.allclose(ours, expected, atol=1e-5)
        assert torch.equal(flat.bytes(flat.normalised(x)), x)
        before = flat.start.clone()
        flat.logits(before + 1, flat.normalised(x))
        assert torch.equal(flat.start, before)


@pytest.mark.parametrize("name", ["convnet-6-5", "convnet-in"])
def test_all_engines_differentiate_alike(name, monkeypatch):
    """The slope and its derivatives; the compiler hands back what it is given."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    network, double = networks.build(name, 3, 8, seed=1), {"dtype": torch.float64}
    network.double()
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, 8, 8, **double), torch.randn(7, 3, **double).softmax(1)
    found = []
    for engine in ENGINES:
        flat = Flat(network, engine=engine)
        assert flat.fast == (engine == "fast")
        along = torch.linspace(-1, 1, len(flat), **double)
        leaves, slope = flat.pull(flat.start, x, y)
        plain, loss = flat.descent(flat.start, x, y)
        assert torch.allclose(plain, slope.detach(), atol=1e-12)
        assert not plain.requires_grad and not loss.requires_grad
        second = torch.autograd.grad(slope, leaves, along)
        found.append([flat.logits(flat.start, x, twice=True), loss, plain, *second])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert ((one - other).norm() / other.norm()).item() < 1e-9


@pytest.mark.parametrize("instance", [False, True])
def test_norm_is_torchs_and_twice_differentiable(instance):
    torch.manual_seed(0)
    double = {"dtype": torch.float64, "requires_grad": True}
    x = torch.randn(3, 2, 4, 3, **double)
    scale, shift = torch.rand(2, **double), torch.randn(2, **double)
    expected = (
        F.group_norm(x, 2, scale, shift)
        if instance
        else F.batch_norm(x, None, None, scale, shift, training=True)
    )

    def ours(x, scale, shift):
        return layers.Norm.apply(x, scale, shift, instance, 1e-5)

    assert torch.allclose(ours(x, scale, shift), expected, atol=1e-12)
    assert torch.autograd.gradcheck(ours, (x, scale, shift))
    assert torch.autograd.gradgradcheck(ours, (x, scale, shift))


def test_conv_is_torchs_and_twice_differentiable():
    torch.manual_seed(0)
    double = {"dtype": torch.float64, "requires_grad": True}
    x, weight = torch.randn(2, 2, 4, 3, **double), torch.randn(3, 2, 3, 3, **double)
    inputs = x, weight, torch.randn(3, **double)

    def ours(*inputs):
        return layers.Conv.apply(*inputs, False)

    assert torch.allclose(ours(*inputs), F.conv2d(*inputs, padding=1))
    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)


def test_other_networks_run_on_torchs_layers():
    assert not Flat(networks.build("resnet18", 3, 8, seed=0)).fast
    body = networks.build("convnet-4", 3, 8, seed=0).body
    assert layers.known(body)
    body[0] = torch.nn.Conv2d(3, 4, 5, padding=2)
    assert not layers.known(body)
    body[0] = torch.nn.Conv2d(3, 4, 3, padding=1)
    body[1] = torch.nn.GroupNorm(2, 4)
    assert not layers.known(body)


def test_a_buffer_resumes_with_the_next_expert(some, tmp_path, monkeypatch):
    store, made = Store(tmp_path), []
    real = experts.trajectory

    def spy(flat, start, train, recipe, seed):
        made.append(seed)
        if made == [0, 1]:
            raise KeyboardInterrupt
        return real(flat, start, train, recipe, seed)

    monkeypatch.setattr(experts, "trajectory", spy)
    with pytest.raises(KeyboardInterrupt):
        buffer(store, "convnet-4", some, RECIPE, 3)
    kept = buffer(store, "convnet-4", some, RECIPE, 3)
    assert made == [0, 1, 1, 2]
    again = buffer(Store(tmp_path / "other"), "convnet-4", some, RECIPE, 3)
    for a, b in zip(kept.trajectories, again.trajectories, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(kept.trajectories[0], kept.trajectories[1])
    assert len(buffer(store, "convnet-4", some, RECIPE, 2).trajectories) == 2
    assert made == [0, 1, 1, 2, 0, 1, 2]  # two of three are read
    with pytest.raises(TimeUp, match="after 3"):
        buffer(store, "convnet-4", some, RECIPE, 4, deadline=time.monotonic())
    other = replace(RECIPE, dsa=Strengths(ops=("crop",)))
    augmented = buffer(store, "convnet-4", some, other, 1).trajectories[0]
    assert torch.equal(augmented[0], kept.trajectories[0][0])
    assert not torch.equal(augmented[1], kept.trajectories[0][1])


def test_float16_moves_the_matching_loss_little(some, tmp_path):
    losses = []
    for kept in ("float32", "float16"):
        recipe = replace(RECIPE, kept=kept)
        trained = buffer(Store(tmp_path), "convnet-8", some, recipe, 2)
        assert trained.trajectories[0].dtype == getattr(torch, kept)
        matching = Matching(
            iterations=5, syn_steps=3, max_start_epoch=2, expert_epochs=1, dsa=None
        )
        begin = some.subset(torch.arange(40))
        losses.append(torch.tensor(mtt.distill(begin, trained, matching).losses))
    assert not torch.equal(*losses)
    assert ((losses[0] - losses[1]).abs() / losses[0]).max() < 0.01


def test_bad_input(some, tmp_path):
    with pytest.raises(InputError, match="count is 0"):
        buffer(Store(tmp_path), "convnet-4", some, RECIPE, 0)
    with pytest.raises(
        FloatingPointError, match=r"expert 0: the loss is .* smaller lr"
    ):
        wild = replace(RECIPE, lr=1e38)
        buffer(Store(tmp_path), "convnet-4", some, wild, 1)
    assert not any(Store(tmp_path).entries("expert"))


def test_experts_that_augment_draw_one_operation_for_a_batch(some, monkeypatch):
    """MTT's and DATM's experts; and no old expert stands in for the new default."""
    seen, real = [], experts.augment

    def watched(images, strengths, generator):
        seen.append(strengths.choice)
        return real(images, strengths, generator)

    monkeypatch.setattr(experts, "augment", watched)
    flat = Flat(networks.build("convnet-4", 10, 8, seed=0))
    recipe = ExpertRecipe(epochs=1)
    experts.trajectory(flat, flat.start, some, recipe, 0)
    assert seen == ["batch"]
    made = experts.described("convnet-4", some, recipe)["recipe"]
    assert made == {"epochs": 1, "dsa": {"choice": "batch"}}
    old = experts.described("convnet-4", some, replace(recipe, dsa=Strengths()))
    assert old["recipe"] == {"epochs": 1, "dsa": {}}
    plain = experts.described("convnet-4", some, replace(recipe, dsa=None))
    assert plain["recipe"] == {"epochs": 1, "dsa": None}  # as it was
