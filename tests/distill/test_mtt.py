"""Matching against finite differences and a plain unrolled graph; memory; resuming."""

import gc
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ccfs_lib import networks
from ccfs_lib.distill import initial, mtt
from ccfs_lib.distill.buffer import Buffer
from ccfs_lib.distill.dsa_augment import Strengths, apply
from ccfs_lib.distill.experts import ExpertRecipe, buffer
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.mtt import matched
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Matching, Recipe
from ccfs_lib.experiment.matching import published
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.store import Store
from ccfs_lib.train import fit

VIEWS = Strengths(ops=("color", "crop", "cutout", "scale", "rotate"))
SHORT = Matching(
    iterations=6,
    syn_steps=3,
    max_start_epoch=2,
    batch_syn=7,
    lr_img=5.0,
    lr_init=0.05,
    dsa=VIEWS,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def task(name="convnet-4-6", count=9, steps=3, size=8, dsa=VIEWS, batch=5, seed=0):
    """A matching problem in float64: everything that `mtt.matching` takes."""
    flat = Flat(networks.build(name, 4, size, seed=seed).double())
    draw, double = generator(seed), {"dtype": torch.float64}
    end = flat.start + 0.1 * torch.randn(len(flat), generator=draw, **double)
    images = torch.randn(count, 3, size, size, generator=draw, **double)
    targets = torch.randn(count, 4, generator=draw, **double).softmax(1)
    recipe = Matching(syn_steps=steps, batch_syn=batch, dsa=dsa)
    steps = mtt.plan(count, size, recipe, draw)
    lr = torch.tensor(0.3, **double)
    return SimpleNamespace(
        flat=flat,
        start=flat.start,
        target=end,
        images=images,
        targets=targets,
        lr=lr,
        plan=steps,
    )


def unrolled(flat, start, target, images, targets, lr, plan):
    """The loss as a plain graph through all steps, the textbook way."""
    theta = start.clone().requires_grad_(True)
    for index, draws in plan:
        x = images[index] if draws is None else apply(images[index], draws)
        loss = F.cross_entropy(flat.logits(theta, x), targets[index])
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - lr * slope
    return (theta - target).square().sum() / (start - target).square().sum()


@pytest.mark.parametrize("name", ["convnet-4-6", "convnet-in"])
@pytest.mark.parametrize("dsa", [None, VIEWS, replace(VIEWS, choice="batch")])
def test_slopes_are_those_of_the_unrolled_graph(name, dsa):
    t = vars(task(name, dsa=dsa))
    ours, kept = (mtt.matching(**t, recompute=r) for r in (True, False))
    learned = [t[k].requires_grad_(True) for k in ("images", "targets", "lr")]
    loss = unrolled(**t)
    expected = torch.autograd.grad(loss, learned)
    assert ours.loss.item() == pytest.approx(loss.item(), rel=1e-9)
    for a, b, c in zip(ours, kept, [loss, *expected], strict=True):
        assert c.norm() > 0 and ((a - c).norm() / c.norm()).item() < 1e-8
        assert ((b - c).norm() / c.norm()).item() < 1e-8


def test_slopes_are_finite_differences():
    """Central differences of the loss alone, which no derivative entered."""
    t = task()
    ours = mtt.matching(**vars(t))
    random = generator(8)
    for name, slope in zip(("images", "targets", "lr"), ours[1:], strict=True):
        value = getattr(t, name).clone()
        for _ in range(3):
            along = torch.randn(value.shape, generator=random, dtype=torch.float64)
            along, h = along / along.norm(), 1e-6
            ends = []
            for sign in (1, -1):
                setattr(t, name, value + sign * h * along)
                ends.append(mtt.matching(**vars(t)).loss.item())
            setattr(t, name, value)
            difference = (ends[0] - ends[1]) / (2 * h)
            assert (slope * along).sum().item() == pytest.approx(
                difference, rel=1e-4, abs=1e-8
            ), name


def test_no_steps_and_no_distance():
    t = task()
    t.plan = []
    assert mtt.matching(**vars(t)).loss.item() == 1.0
    t = task(steps=1)
    _, slope = (
        vars(t),
        t.flat.descent(
            t.start,
            apply(t.images[t.plan[0].index], t.plan[0].draws),
            t.targets[t.plan[0].index],
        )[0],
    )
    t.target = t.start - t.lr * slope
    done = mtt.matching(**vars(t))
    assert done.loss.item() < 1e-25 and done.images.abs().max() < 1e-12


class Live(TorchDispatchMode):
    """Bytes of all tensors alive that were made inside; `peak` is their maximum."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage):
        place, size = storage._cdata, storage.nbytes()
        if place in self.known:
            return
        self.known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place, size):
        self.known.discard(place)
        self.now -= size


def peak(function, steps):
    t = vars(task(size=16, count=20, batch=10, steps=steps, dsa=None))
    if function is unrolled:
        for name in ("images", "targets", "lr"):
            t[name].requires_grad_(True)
    gc.collect()
    with Live() as live:
        done = function(**t)
        if function is unrolled:
            done.backward()
    return live.peak


def test_memory_does_not_grow_with_the_steps():
    """Beside the weights themselves, one vector for each step, which are few."""
    few, many = (peak(mtt.matching, steps) for steps in (2, 22))
    plain_few, plain_many = (peak(unrolled, steps) for steps in (2, 22))
    assert many - few < 1.1 * 20 * 8 * len(task(size=16).flat)
    assert many < 1.3 * few
    assert plain_many > 5 * plain_few  # the probe does see graphs
    assert peak(partial(mtt.matching, recompute=False), 22) > 3 * many


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Three short experts on some digits."""
    some = digits[0].subset(torch.arange(0, 1350, 5))
    recipe = ExpertRecipe(epochs=5, lr=0.05, batch_size=32, dsa=None)
    store = Store(tmp_path_factory.mktemp("experts"))
    return some, buffer(store, "convnet-8", some, recipe, 3)


def begin(some, per_class=2):
    order = torch.cat([(some.labels == c).nonzero()[:per_class, 0] for c in range(10)])
    return some.subset(order)


def test_the_loss_falls(trained):
    """In the mean over the same starts: what is learned serves all of them."""
    some, experts = trained
    recipe = replace(SHORT, iterations=60, syn_steps=5, lr_lr=1e-4, batch_syn=0)
    done = mtt.distill(begin(some), experts, recipe)
    blocks = torch.tensor(done.losses).view(6, 10).mean(1)
    assert (blocks[1:] < blocks[:-1]).sum() >= 4  # random starts and views
    assert blocks[-1] < 0.9 * blocks[0]
    assert done.images.labels.tolist() == begin(some).labels.tolist()
    assert done.lr != recipe.lr_init and done.label_logits is None


def test_a_fixed_problem_falls_in_the_mean():
    """One start, one target, no augmentation: gradient descent on a function."""
    t = task(dsa=None, steps=4, batch=0, count=6)
    losses = []
    for _ in range(60):
        slopes = mtt.matching(**vars(t))
        t.images = t.images - 20 * slopes.images
        t.lr = t.lr - 0.01 * slopes.lr
        losses.append(slopes.loss.item())
    means = torch.tensor(losses).view(6, 10).mean(1).tolist()
    assert means == sorted(means, reverse=True) and means[-1] < 0.95 * means[0]


class Stop(Checkpoint):
    """Out of time after some iterations; writes each."""

    def step(self, state, label):
        self.left -= 1
        self.save(*state())
        if not self.left:
            raise TimeUp(label)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_resuming_gives_the_same_bits(trained, tmp_path, labels):
    some, experts = trained
    recipe = replace(SHORT, labels=labels, lr_label=1.0)
    settings = {"real": some.subset([7, 8, 9]), "seed": 4}
    whole = mtt.distill(begin(some), experts, recipe, **settings)
    for stop in (3, 1):
        place = Stop(tmp_path, "run")
        place.left = stop
        with pytest.raises(TimeUp):
            mtt.distill(begin(some), experts, recipe, checkpoint=place, **settings)
    place.left = 99
    parts = mtt.distill(begin(some), experts, recipe, checkpoint=place, **settings)
    assert torch.equal(parts.pixels, whole.pixels) and parts.losses == whole.losses
    assert torch.equal(parts.images.images, whole.images.images)
    assert parts.lr == whole.lr
    if labels == "soft":
        assert torch.equal(parts.label_logits, whole.label_logits)
    assert not tmp_path.exists()


def test_a_stored_match_is_read_or_continued(trained, tmp_path, monkeypatch):
    some, experts = trained
    recipe = replace(SHORT, labels="soft", lr_label=1.0)
    settings = {"real": some.subset([7, 8, 9]), "seed": 2}
    whole = mtt.distill(begin(some), experts, recipe, **settings)
    store = Store(tmp_path)
    with pytest.raises(TimeUp):
        matched(store, begin(some), experts, recipe, deadline=0.0, **settings)
    assert list((tmp_path / "checkpoints").iterdir())
    first = matched(store, begin(some), experts, recipe, **settings)
    assert not list((tmp_path / "checkpoints").iterdir())
    monkeypatch.setattr(mtt, "distill", None)
    again = matched(store, begin(some), experts, recipe, recompute=False, **settings)
    for found in (first, again):
        assert found.losses == whole.losses and found.lr == whole.lr
        assert torch.equal(found.pixels, whole.pixels)
        assert torch.equal(found.label_logits, whole.label_logits)
        assert torch.equal(found.images.images, whole.images.images)
        assert found.images.classes == some.classes
    with pytest.raises(TypeError):  # another key: it would have to be computed
        matched(store, begin(some), experts, recipe, **settings | {"seed": 3})


def test_real_images_take_part_and_stay(trained):
    some, experts = trained
    real = some.subset(torch.arange(100, 140))
    with_real = mtt.distill(begin(some), experts, SHORT, real=real)
    alone = mtt.distill(begin(some), experts, SHORT)
    assert len(with_real.pixels) == len(alone.pixels) == 20
    assert not torch.equal(with_real.pixels, alone.pixels)


def test_only_labels_that_are_soft_learn(trained):
    some, experts = trained
    recipe = replace(SHORT, labels="soft", lr_label=0.5, batch_syn=0)
    done = mtt.distill(begin(some), experts, recipe)
    before = initial.soft_labels(begin(some), experts)
    assert done.label_logits.shape == (20, 10)
    assert not torch.equal(done.label_logits, before)
    assert (done.label_logits.argmax(1) == before.argmax(1)).float().mean() > 0.8


def test_soft_labels_are_means_over_the_experts_that_are_right(trained):
    some, experts = trained
    few = begin(some)
    logits = initial.opinions(few, experts, 3)
    ours = initial.soft_labels(few, experts)
    for i, label in enumerate(few.labels.tolist()):
        right = [e for e in range(3) if logits[e, i].argmax() == label] or [0, 1, 2]
        expected = sum(logits[e, i] for e in right) / len(right)
        assert torch.allclose(ours[i], expected, atol=1e-5)


def test_opinions_are_those_of_the_last_state(trained):
    some, experts = trained
    network = experts.network()
    flat = Flat(network)
    # One batch of mixed images, in the order that the function takes them.
    few = some.subset(torch.arange(200))
    with torch.no_grad():
        theta = experts.trajectories[1][-1].float()
        order = torch.randperm(200, generator=generator(0))
        expected = torch.empty(200, 10)
        expected[order] = flat.logits(theta, flat.normalised(few.images[order]))
    assert torch.allclose(initial.opinions(few, experts, 2)[1], expected, atol=1e-4)


def test_correct_only_images_are_correct(trained):
    some, experts = trained
    recipe = replace(SHORT, init="correct")
    right = initial.opinions(some, experts, 1)[0].argmax(1) == some.labels
    assert 0.5 < right.float().mean() < 1
    chosen = initial.initial(some, 5, experts, recipe, seed=2)
    assert right[chosen].all() and some.labels[chosen].bincount().tolist() == [5] * 10
    free = initial.initial(some, 5, experts, SHORT, seed=2)
    assert set(free) != set(chosen) and len(set(free)) == 50
    with pytest.raises(InputError, match="per_class is 99, but class 0 has"):
        initial.initial(some, 99, experts, recipe)


def test_batches_go_through_all_images_before_any_comes_again():
    steps = mtt.plan(10, 8, Matching(syn_steps=7, batch_syn=4, dsa=None), generator())
    assert [len(s.index) for s in steps] == [4, 4, 2, 4, 4, 2, 4]
    for a in (0, 3):
        order = torch.cat([s.index for s in steps[a : a + 3]])
        assert order.sort().values.tolist() == [*range(10)]
    whole = mtt.plan(10, 8, Matching(syn_steps=2, dsa=VIEWS), generator())
    assert [len(s.index) for s in whole] == [10, 10]
    assert len(whole[0].draws.contrast) == 10


def test_windows():
    fixed = Matching(min_start_epoch=40, max_start_epoch=60)
    assert fixed.starts(0) == fixed.starts(999) == range(40, 60)
    assert fixed.last_epoch == 61
    grows = replace(fixed, grow=100, first_max_epoch=45)
    found = [grows.starts(i) for i in (0, 20, 99, 100, 5000)]
    assert found == [range(40, stop) for stop in (45, 48, 59, 60, 60)]


def test_all_starts_of_the_window_are_drawn(trained):
    _, experts = trained
    recipe = replace(SHORT, min_start_epoch=1, max_start_epoch=4, expert_epochs=2)
    like, seen = experts.trajectories[0].float(), set()
    for i in range(80):
        start, end = mtt._ends(experts, recipe, i, generator(i), like)
        (place,) = {
            (e, n)
            for e in range(3)
            for n in range(4)
            if torch.equal(start, experts.trajectories[e][n].float())
        }
        seen.add(place)
        assert torch.equal(end, experts.trajectories[place[0]][place[1] + 2].float())
    assert seen == {(e, n) for e in range(3) for n in (1, 2, 3)}


def test_a_loss_above_the_threshold_moves_nothing(trained):
    some, experts = trained
    done = mtt.distill(begin(some), experts, replace(SHORT, skip_above=1e-9))
    assert torch.equal(done.images.images, begin(some).images)


def test_bad_input_is_one_sentence(trained):
    some, experts = trained
    with pytest.raises(InputError, match=r"max_start_epoch - 1 .* is 6, .* epoch 5"):
        mtt.distill(begin(some), experts, replace(SHORT, max_start_epoch=5))
    with pytest.raises(InputError, match=r"holds experts of convnet-8 .* convnet-9"):
        experts.fits(some, "convnet-9")
    with pytest.raises(InputError, match="engine is 'quick'"):
        Flat(experts.network(), engine="quick")
    other = Buffer(experts.trajectories, experts.identity | {"size": 16})
    with pytest.raises(InputError, match=r"at 16 px, but convnet-8 for 10 .* 8 px"):
        mtt.distill(begin(some), other, SHORT)
    for bad in ({"max_start_epoch": 3, "min_start_epoch": 3}, {"grow": 5}):
        with pytest.raises(ValueError, match=r"start_epoch is 3|first_max_epoch is 0"):
            Matching(**bad)


def test_published_cells():
    cell = published("mtt", "cifar100", 50)
    assert (cell.syn_steps, cell.batch_syn, cell.lr_img) == (80, 125, 1000)
    assert published("mtt", "cifar10-jpeg", 10) == Matching()
    cell = published("datm", "cifar10", 500)
    assert (cell.min_start_epoch, cell.last_epoch, cell.labels) == (40, 61, "soft")
    assert published("selmatch", "cifar10", 1500).lr_img == 1e4
    assert published("selmatch", "tiny-imagenet", 50).syn_steps == 20
    for method, dataset in (("mtt", "cifar10"), ("dsa", "cifar10")):
        with pytest.raises(InputError, match="no public settings; known"):
            published(method, dataset, 500)


def test_distilled_digits_beat_random_real_ones(digits, tmp_path):
    """Three images a class, hard labels, three seeds; 7 to 14 points when written.

    Bytes, not floats, are evaluated, by the training loop of everything else.
    """
    train, test = digits
    recipe = ExpertRecipe(epochs=8, lr=0.03, batch_size=32, dsa=VIEWS)
    experts = buffer(Store(tmp_path), "convnet-8", train, recipe, 3)
    matching = Matching(
        iterations=40,
        syn_steps=8,
        expert_epochs=1,
        max_start_epoch=6,
        lr_img=15.0,
        lr_lr=2e-4,
        lr_init=0.07,
        dsa=VIEWS,
    )
    hard = Recipe(
        epochs=60,
        batch_size=32,
        lr=0.05,
        warmup_epochs=0,
        loss="hard",
        augment="crop",
        pad=1,
        flip=False,
        tail=0.0,
    )

    def accuracy(images, seed):
        network = experts.network(seed)
        return fit(network, images, hard, seed=seed, test=test).last

    gains = []
    for seed in range(3):
        real = train.subset(initial.initial(train, 3, experts, matching, seed))
        made = mtt.distill(real, experts, matching, seed=seed).images
        gains.append(accuracy(made, seed) - accuracy(real, seed))
    assert min(gains) > 3 and sum(gains) / 3 > 7
