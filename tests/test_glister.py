"""Glister: gains against finite differences, the greedy against autograd and loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.glister import LastLayer, gains, glister, last_layer, residuals
from ccfs_lib.select import ShortfallWarning

C, D = 4, 3


def layer(count, seed, weights):
    """Random images under one last layer, weights (C, 1 + D)."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, D))
    labels = random.permutation(np.arange(count) % C)
    return LastLayer(labels, _one(features) @ weights.T, features)


def _one(features):
    return np.concatenate([np.ones((len(features), 1)), features], 1)


@pytest.fixture
def world():
    weights = np.random.default_rng(1).normal(size=(C, 1 + D))
    return weights, layer(60, 2, weights), layer(24, 3, weights)


def mean_loss(weights, part):
    logits = torch.as_tensor(_one(part.features)) @ torch.as_tensor(weights).T
    return F.cross_entropy(logits, torch.as_tensor(part.labels))


def gradient(weights, part):
    weights = torch.tensor(weights, requires_grad=True)
    return torch.autograd.grad(mean_loss(weights, part), weights)[0].numpy()


def some_of(part, index):
    return LastLayer(part.labels[index], part.logits[index], part.features[index])


def test_a_gain_is_the_finite_difference_of_the_validation_loss(world):
    weights, train, validation = world
    residual = residuals(train.logits, train.labels)
    slope = gradient(weights, validation)
    ours = gains(residual, _one(train.features), slope)
    for i in range(len(train.labels)):
        step = gradient(weights, some_of(train, [i]))
        ends = [mean_loss(weights - h * step, validation) for h in (1e-5, -1e-5)]
        fall = (ends[1] - ends[0]).item() / 2e-5
        assert ours[i] == pytest.approx(fall, rel=1e-5, abs=1e-9)


def slow(weights, train, validation, quota, eta, update, gone=()):
    """Greedy with autograd at every step and a loop over images."""
    chosen = []
    for c in range(C):
        judges = some_of(validation, np.flatnonzero(validation.labels == c))
        open_ = [i for i in np.flatnonzero(train.labels == c) if i not in gone]
        slopes = {i: gradient(weights, some_of(train, [i])) for i in open_}
        mine = []
        while len(mine) < quota and open_:
            total = sum((slopes[i] for i in mine), np.zeros_like(weights))
            reach = {"mean": eta / max(len(mine), 1), "sum": eta, "frozen": 0}[update]
            toward = gradient(weights - reach * total, judges)
            gain = {i: (slopes[i] * toward).sum() for i in open_}
            best = max(open_, key=lambda i, gain=gain: (gain[i], -i))
            mine.append(best)
            open_.remove(best)
        chosen += mine
    return chosen


@pytest.mark.parametrize("update", ["mean", "sum", "frozen"])
@pytest.mark.parametrize("judges", [24, 8])  # more or fewer a class than features
def test_equals_the_slow_greedy(world, update, judges):
    weights, train, validation = world
    validation = some_of(validation, validation.labels.argsort(kind="stable"))
    validation = some_of(validation, np.arange(24) % 6 < judges // C)
    gone = [0, 7, 30]
    how = {"eta": 0.8, "update": update}
    ours = glister(train, validation, 6, excluded=gone, **how)
    expected = slow(weights, train, validation, 6, 0.8, update, gone)
    assert ours.tolist() == expected and ours.dtype == np.int64
    assert train.labels[ours].tolist() == sorted([*range(C)] * 6)


def test_updates_matter_and_frozen_is_one_ranking(world):
    _, train, validation = world
    found = {
        u: glister(train, validation, 6, eta=0.8, update=u).tolist()
        for u in ("mean", "sum", "frozen")
    }
    assert len({tuple(f) for f in found.values()}) == 3
    for c in range(C):
        members = np.flatnonzero(train.labels == c)
        judges = some_of(validation, validation.labels == c)
        slope = residuals(judges.logits, judges.labels).T @ _one(judges.features)
        worth = gains(
            residuals(train.logits, train.labels)[members],
            _one(train.features)[members],
            slope,
        )
        order = members[np.argsort(-worth, kind="stable")][:6].tolist()
        assert found["frozen"][6 * c : 6 * c + 6] == order


def test_chosen_images_lower_the_validation_loss_more_than_random_ones(world):
    weights, train, validation = world

    def after(index):
        return mean_loss(
            weights - 0.3 * gradient(weights, some_of(train, index)), validation
        )

    chosen = after(glister(train, validation, 5))
    random = np.random.default_rng(0)
    others = [
        after(
            np.concatenate(
                [
                    random.permutation(np.flatnonzero(train.labels == c))[:5]
                    for c in range(C)
                ]
            )
        )
        for _ in range(50)
    ]
    assert chosen < min(others) < mean_loss(weights, validation)


def test_ties_go_to_the_lower_index_and_short_classes_are_told(world):
    _, train, validation = world
    same = LastLayer(
        train.labels,
        np.zeros_like(train.logits),
        np.ones_like(train.features),
    )
    found = glister(same, validation, 3)
    for c in range(C):
        assert found[3 * c : 3 * c + 3].tolist() == [
            *np.flatnonzero(train.labels == c)[:3]
        ]
    gone = np.flatnonzero(train.labels == 2)[2:]
    with pytest.warns(ShortfallWarning, match="class 2: wanted 3 images, got 2"):
        found = glister(train, validation, 3, excluded=gone)
    assert len(found) == 11 and not set(found) & set(gone)
    assert glister(train, validation, 0).tolist() == []


def test_last_layer_is_what_the_network_says(digits, digits_teacher):
    few = digits[0].subset([5, 1, 900])
    found = last_layer(digits_teacher, few)
    x = few.images.float() / 255
    with torch.no_grad():
        seen = digits_teacher.eval().features(x)
        assert np.allclose(found.logits, digits_teacher(x), atol=1e-4)
    assert np.allclose(found.features, seen, atol=1e-4)
    assert found.labels.tolist() == few.labels.tolist()
    assert not digits_teacher.head._forward_pre_hooks
    head = digits_teacher.head
    logits = found.features @ head.weight.detach().numpy().T
    assert np.allclose(logits + head.bias.detach().numpy(), found.logits, atol=1e-4)


def test_a_network_of_torchvision_has_a_last_layer_too():
    images = torch.randint(0, 256, (70, 3, 8, 8), dtype=torch.uint8)
    data = ImageSet("noise", images, torch.arange(70) % 2, ("a", "b"))
    found = last_layer(networks.build("resnet18", 2, 8, seed=0), data)
    assert found.features.shape == (70, 512) and found.logits.shape == (70, 2)


def test_bad_input(world):
    _, train, validation = world
    with pytest.raises(InputError, match="update is 'lazy', but must be one of"):
        glister(train, validation, 3, update="lazy")
    with pytest.raises(InputError, match="eta is 0, but"):
        glister(train, validation, 3, eta=0)
    with pytest.raises(InputError, match=r"quota is 2\.5, but"):
        glister(train, validation, 2.5)
    without = some_of(validation, validation.labels != 3)
    with pytest.raises(InputError, match="validation has no image of class 3"):
        glister(train, without, 3)
    narrow = replace(validation, features=validation.features[:, :2])
    with pytest.raises(InputError, match="validation has 2 features per image"):
        glister(train, narrow, 3)
    with pytest.raises(InputError, match="excluded holds"):
        glister(train, validation, 3, excluded=[60])
    with pytest.raises(InputError, match=r"shapes \[\(24,\), \(23, 4\)"):
        replace(validation, logits=validation.logits[1:])
