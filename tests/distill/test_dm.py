"""Distribution and gradient matching: their distances by hand, and that they learn."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ccfs_lib import networks
from ccfs_lib.distill import dm, dsa
from ccfs_lib.distill.dsa_augment import Strengths, draw
from ccfs_lib.distill.functional import Flat
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.queue import finished

VIEWS = Strengths(ops=("color", "crop", "cutout", "scale", "rotate"))
DM = dm.Distribution(iterations=4, lr_img=1.0, batch_real=12, dsa=VIEWS)
DSA = dsa.Gradients(outer=2, inner=1, iterations=3, batch_real=12, dsa=VIEWS)


@pytest.fixture(scope="module")
def some(digits):
    """200 digits, and two of each class to begin with."""
    train = digits[0].subset(torch.arange(200))
    order = torch.cat([(train.labels == c).nonzero()[:2, 0] for c in range(10)])
    return train, train.subset(order)


def test_class_means_are_means(some):
    network = networks.build("convnet-in", 10, 8, seed=0)
    begin = some[1].subset([7, 0, 3, 4, 5, 8, 10, 12, 14, 16, 18])
    x = begin.images.float() / 255
    ours = dm.means(network, network.normalize(x), begin.labels, None)
    with torch.no_grad():
        seen = network.features(x)
    for c in range(10):
        assert torch.allclose(ours[c], seen[begin.labels == c].mean(0), atol=1e-5)


def test_dm_steps_against_the_difference_of_means(some):
    """One iteration by hand: momentum's first step is the plain gradient."""
    train, begin = some
    recipe = replace(DM, iterations=1, dsa=None)
    settings = {"normalisation": ((0.5,) * 3, (0.5,) * 3), "seed": 3}
    done = dm.distill(begin, train, "convnet-in", recipe, **settings)
    network = networks.build("convnet-in", 10, 8, seed=3_000_009).train()
    batch = dm.real_batch(train, 12, torch.Generator().manual_seed(3_000_009))
    x = (begin.images.float() / 255).requires_grad_(True)
    total = 0.0
    for c in range(10):
        real = train.images[batch[train.labels[batch] == c]].float() / 255
        gap = network.features(x[begin.labels == c]).mean(0)
        total = total + (gap - network.features(real).mean(0)).square().sum()
    (slope,) = torch.autograd.grad(total, x)
    expected = (x - 0.5) / 0.5 - slope * 0.5  # the chain rule through / std
    assert done.losses[0] == pytest.approx(total.item(), rel=1e-4)
    assert torch.allclose(done.pixels, expected, atol=1e-5)


@pytest.mark.parametrize("dsa", [None, VIEWS])
def test_identical_sets_are_no_distance_apart(some, dsa):
    """All real images on both sides: DM's loss is zero, and nothing moves."""
    train = some[0]
    recipe = replace(DM, iterations=2, batch_real=99, dsa=dsa)
    done = dm.distill(train, train, "convnet-in", recipe, seed=1)
    assert max(done.losses) < 1e-8
    assert torch.equal(done.images.images, train.images)
    other = dm.distill(some[1], train, "convnet-in", recipe, seed=1)
    assert min(other.losses) > 1e-3


def test_gradient_distance_by_hand():
    flat = Flat(networks.build("convnet-4-5", 3, 8, seed=0))
    torch.manual_seed(0)
    one, other = torch.randn(2, len(flat))
    total = 0.0
    parts = zip(*(flat.weights(v).values() for v in (one, other)), strict=True)
    for a, b in parts:
        if a.dim() == 1:
            continue
        for row, column in zip(a.flatten(1), b.flatten(1), strict=True):
            total += 1 - F.cosine_similarity(row, column, dim=0).item()
    assert dsa.distance(flat, one, other).item() == pytest.approx(total, rel=1e-5)
    assert dsa.distance(flat, one, 3 * one).item() == pytest.approx(0, abs=1e-4)


def test_dsa_slopes_are_finite_differences(some):
    train, begin = some
    flat = Flat(networks.build("convnet-in", 10, 8, seed=2).double())
    pixels = flat.normalised(begin.images)

    def match(pixels):
        # A recipe without views, and all real images: nothing is drawn.
        recipe = replace(DSA, dsa=None, batch_real=99)
        generator = torch.Generator().manual_seed(0)
        given = flat, flat.start, pixels, begin.labels, train, recipe, generator
        return finished(dsa._match(*given))

    slopes, _ = match(pixels)
    torch.manual_seed(1)
    along = torch.randn_like(pixels)
    ends = [10 * match(pixels + h * along)[1] for h in (1e-6, -1e-6)]
    expected = (ends[0] - ends[1]) / 2e-6
    assert (slopes * along).sum().item() == pytest.approx(expected, rel=1e-4)


def test_draws_are_shared_within_a_class():
    draws = draw(10, 8, 8, VIEWS, torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 3, 0, 9])
    mine = dm.of_class(draws, labels)
    for part, whole in zip(mine, draws, strict=True):
        assert torch.equal(part, whole[[3, 3, 0, 9]])


def test_real_batches_are_by_class_and_random(some):
    train = some[0]
    one, two = (
        dm.real_batch(train, 5, torch.Generator().manual_seed(s)) for s in (0, 1)
    )
    assert train.labels[one].tolist() == sorted([*range(10)] * 5)
    assert len(set(one.tolist())) == 50 and not torch.equal(one, two)
    assert dm.real_batch(train, 999, torch.Generator()).unique().numel() == 200


class Stop(Checkpoint):
    """Out of time after the first iteration."""

    def step(self, state, label):
        self.save(*state())
        raise TimeUp(label)


@pytest.mark.parametrize(("method", "recipe"), [(dm, DM), (dsa, DSA)])
def test_both_learn_and_resume(some, tmp_path, method, recipe):
    train, begin = some
    arguments = begin, train, "convnet-in", recipe
    whole = method.distill(*arguments)
    with pytest.raises(TimeUp):
        method.distill(*arguments, checkpoint=Stop(tmp_path, "run"))
    parts = method.distill(*arguments, checkpoint=Checkpoint(tmp_path, "run"))
    assert torch.equal(parts.pixels, whole.pixels) and parts.losses == whole.losses
    assert not torch.equal(whole.images.images, begin.images)
    assert torch.equal(whole.images.labels, begin.labels)


def test_losses_fall(some):
    train, begin = some
    # The same network and batch again and again: descent on one function.
    recipe = replace(DM, iterations=40, lr_img=2.0, batch_real=99, dsa=None)
    found = dm.distill(begin, train, "convnet-in", recipe).losses
    assert sum(found[-10:]) < 0.7 * sum(found[:10])
    recipe = replace(DSA, iterations=8, lr_img=0.5, dsa=None)
    found = dsa.distill(begin, train, "convnet-in", recipe).losses
    assert sum(found[-3:]) < sum(found[:3])


def test_bad_input(some):
    train, begin = some
    with pytest.raises(InputError, match="network is 'convnet-8', but gradients"):
        dsa.distill(begin, train, "convnet-8", DSA)
    kept = (begin.labels != 3).nonzero()[:, 0]
    with pytest.raises(InputError, match="begin has no image of class 3"):
        dm.distill(begin.subset(kept), train, "convnet-in", DM)


def test_dsa_draws_one_operation_for_a_batch_of_its_network(some, monkeypatch):
    """Matching goes class by class; between matches, batches are mixed."""
    train, begin = some
    recipe = replace(DSA, iterations=1, outer=2, inner=3, dsa=Strengths(siamese=True))
    seen, real = [], dsa.augment

    def watched(images, strengths, generator):
        seen.append((len(images), strengths.choice, strengths.siamese))
        return real(images, strengths, generator)

    monkeypatch.setattr(dsa, "augment", watched)
    dsa.distill(begin, train, "convnet-in", recipe)
    assert seen == [(20, "batch", False)] * 3
