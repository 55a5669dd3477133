"""CUDD: who begins a batch, its two terms by finite differences, and digits at last."""

import copy
import time
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import cudd, sre2l
from ccfs_lib.distill.pixels import Space
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Distillation, essential
from ccfs_lib.experiment.cudd import DIGITS, Cudd
from ccfs_lib.experiment.cudd import cudd as settings
from ccfs_lib.train import predict

SHORT = replace(
    DIGITS,
    curricula=2,
    recovery=replace(DIGITS.recovery, iterations=8, batch_size=20),
    student=replace(DIGITS.student, epochs=3),
)


def student_of(seed=0, widths="8"):
    constants = {"mean": (0.2, 0.3, 0.4), "std": (0.3, 0.2, 0.5)}  # not the teacher's
    return networks.build(f"convnet-{widths}", 10, 8, seed=seed, **constants)


@pytest.fixture
def some(digits):
    """Three digits of each class, in mixed order, from the training split."""
    train = digits[0]
    members = [(train.labels == c).nonzero()[:3, 0] for c in range(10)]
    return train.subset(torch.stack(members).T.flatten())


# -- who begins a batch ----------------------------------------------------------------


def group_of(i, teacher, student):
    if student is None:
        return 0 if teacher[i] else 2
    if student[i]:
        return 2
    return 0 if teacher[i] else 1


@pytest.mark.parametrize("with_student", [False, True])
@pytest.mark.parametrize("quota", [3, 9, 16])
def test_batches_begin_with_the_first_group_and_fill_up(with_student, quota):
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(60) % 3)
    teacher = random.random(60) < 0.7
    student = random.random(60) < 0.5 if with_student else None
    gone = np.array([0, 9, 12, 33])
    chosen, groups = cudd.begin(labels, teacher, student, quota, gone, random)
    assert labels[chosen].tolist() == sorted([0, 1, 2] * quota)
    assert len(set(chosen.tolist())) == len(chosen) and not set(chosen) & set(gone)
    counts = [0, 0, 0]
    for c in range(3):
        open_ = [i for i in range(60) if labels[i] == c and i not in gone]
        found = [group_of(i, teacher, student) for i in chosen if labels[i] == c]
        best = sorted(group_of(i, teacher, student) for i in open_)[:quota]
        assert found == best  # a later group only where an earlier one is used up
        for g in found:
            counts[g] += 1
    assert groups == tuple(counts)


def test_within_a_group_the_draw_is_random_and_uniform():
    labels, right = np.zeros(12, int), np.ones(12, bool)
    counts = np.zeros(12)
    for seed in range(600):
        draw = np.random.default_rng(seed)
        chosen, groups = cudd.begin(labels, right, None, 3, np.array([5]), draw)
        counts[chosen] += 1
        assert groups == (3, 0, 0)
    assert counts[5] == 0
    assert (np.abs(np.delete(counts, 5) - 600 * 3 / 11) < 45).all()  # 4 deviations


# -- the two terms ---------------------------------------------------------------------


def test_adversarial_term_by_hand():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, generator=generator).double()
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    teacher[range(3), targets[:3]] += 9  # right here
    teacher[range(3, 6), targets[3:]] -= 9  # and wrong there
    total = 0.0
    for i in range(6):
        logits = student[i] if i < 3 else torch.zeros(4)
        total -= np.log(1 - logits.softmax(0)[targets[i]].item())
    found = cudd.adversarial(student.requires_grad_(True), teacher, targets)
    assert found.item() == pytest.approx(total / 6, rel=1e-9)
    found.backward()
    assert (student.grad[3:] == 0).all() and (student.grad[:3] != 0).any(1).all()
    # Down this slope the student grows less sure of the target.
    assert (student.grad[range(3), targets[:3]] > 0).all()


def test_adversarial_term_stays_finite_where_the_student_is_sure():
    student = torch.tensor([[90.0, 0.0, 0.0]], requires_grad=True)
    found = cudd.adversarial(student, student.detach(), torch.tensor([0]))
    found.backward()
    assert found.item() == pytest.approx(90 - np.log(2), rel=1e-6)
    assert student.grad[0, 0].item() == pytest.approx(1.0)


@pytest.mark.parametrize("with_student", [False, True])
def test_slopes_of_the_terms_are_finite_differences(some, digits_teacher, with_student):
    teacher = copy.deepcopy(digits_teacher).double().eval()
    student = student_of().double().eval() if with_student else None
    space = Space(teacher.normalize)
    real = space.normalised(some.images)
    recipe = Cudd(anchor=0.7, adversarial=1.3)
    view = next(iter(sre2l.views(SHORT.recovery, 8, torch.Generator().manual_seed(4))))

    def loss(pixels):
        x = view(pixels)
        how = view, x, teacher.body(x)
        return cudd.terms(student, space, real, some.labels, recipe, *how)

    torch.manual_seed(0)
    pixels = (real + 0.1 * torch.randn_like(real)).requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(pixels), pixels)
    along = torch.randn_like(real)
    with torch.no_grad():
        ends = [loss(pixels + h * along).item() for h in (1e-5, -1e-5)]
    expected = (ends[0] - ends[1]) / 2e-5
    assert (slope * along).sum().item() == pytest.approx(expected, rel=1e-4)
    assert slope.abs().sum() > 0


def test_a_view_of_the_real_image_is_no_distance_away(some, digits_teacher):
    space = Space(digits_teacher.normalize)
    real = space.normalised(some.images)
    for view in sre2l.views(SHORT.recovery, 8, torch.Generator().manual_seed(1)):
        x = view(real)
        found = cudd.terms(None, space, real, some.labels, Cudd(), view, x, None)
        assert found.item() == 0
        # The mean square of what was added, as long as the view keeps all of it.
        plain = cudd.terms(
            None, space, real, some.labels, Cudd(anchor=2.0), lambda p: p, real + 3, x
        )
        assert plain.item() == pytest.approx(18, rel=1e-5)


# -- recovery --------------------------------------------------------------------------


def test_without_terms_it_is_sre2l_from_another_start(some, digits_teacher):
    recipe = replace(SHORT, anchor=0.0, adversarial=0.0)
    ours = cudd.recover(some, digits_teacher, student_of(), recipe, seed=2)
    teacher = copy.deepcopy(digits_teacher).eval()
    space = Space(teacher.normalize)
    todo, done = sre2l.batches(10, 3, 20), []
    by_class = [some.images[some.labels == c] for c in range(10)]
    mixed = [by_class[c][n] for n in range(3) for c in range(10)]
    for number, targets in enumerate(todo):
        start = space.normalised(torch.stack(mixed[20 * number :][: len(targets)]))
        generator = torch.Generator().manual_seed(2_000_006 + number)
        done.append(sre2l.descend(teacher, start, targets, recipe.recovery, generator))
    plain = sre2l.assemble(done, todo, some.classes, "plain")
    assert torch.equal(ours.images, plain.images)
    assert ours.labels.tolist() == plain.labels.tolist() == sorted([*range(10)] * 3)


def test_the_anchor_holds_and_the_adversary_fools(some, digits, digits_teacher):
    """Each term, with weight, does what it is there for."""
    recipe = replace(SHORT, recovery=replace(SHORT.recovery, iterations=60))
    taught = replace(DIGITS, student=replace(DIGITS.student, epochs=12))
    bind = {"build": student_of, "teacher": digits_teacher, "recipe": taught}
    student = cudd.learn(digits[0].subset(range(400)), 1, None, **bind)

    def made(**weights):
        return cudd.recover(some, digits_teacher, student, replace(recipe, **weights))

    free, held = made(anchor=0.0, adversarial=0.0), made(anchor=100.0, adversarial=0.0)
    against = made(anchor=0.0, adversarial=20.0)
    order = some.labels.argsort(stable=True)
    real = some.images[order].float()
    apart = [(s.images.float() - real).square().mean() for s in (free, held)]
    assert apart[1] < 0.5 * apart[0]

    def sure(network, images):
        logits = predict(network, images.images)
        return logits.softmax(1)[range(30), images.labels].mean()

    assert sure(student, against) < sure(student, free) - 0.2
    assert sure(digits_teacher, against) > 0.5


def test_networks_leave_as_they_came(some, digits_teacher):
    teacher, student = copy.deepcopy(digits_teacher), student_of()
    before = [copy.deepcopy(n.state_dict()) for n in (teacher, student)]
    cudd.recover(some, teacher, student, SHORT)
    for network, state in zip((teacher, student), before, strict=True):
        after = network.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in state.items())
        assert all(p.requires_grad and p.grad is None for p in network.parameters())


# -- the curriculum --------------------------------------------------------------------


def test_a_whole_run_on_digits(digits, digits_teacher):
    train, calls = digits[0].subset(range(500)), []
    bound = partial(
        cudd.learn, build=student_of, teacher=digits_teacher, recipe=SHORT, seed=1
    )

    def student(synthetic, number, previous):
        done = bound(synthetic, number, previous)
        calls.append((synthetic, previous, done))
        return done

    begun = time.monotonic()
    found = list(cudd.run(train, digits_teacher, 5, SHORT, student, seed=1))
    assert time.monotonic() - begun < 60
    labels = train.labels.numpy()
    assert [b.curriculum for b in found] == [1, 2] and len(calls) == 1
    assert [len(b.images) for b in found] == [30, 20]  # quotas 3 and 2
    for batch, quota in zip(found, (3, 2), strict=True):
        images = batch.images
        assert isinstance(images, ImageSet) and images.images.dtype == torch.uint8
        assert images.images.shape == (10 * quota, 3, 8, 8)
        assert images.labels.tolist() == labels[batch.initial].tolist()
        assert images.labels.tolist() == sorted([*range(10)] * quota)
        assert images.classes == train.classes and sum(batch.groups) == 10 * quota
        moved = images.images != train.images[batch.initial]
        assert 0.2 < moved.float().mean() < 1
    assert not set(found[0].initial) & set(found[1].initial)
    synthetic, previous, taught = calls[0]
    assert torch.equal(synthetic.images, found[0].images.images) and previous is None
    # What the second batch begins with, asked again.
    right = [
        (predict(n, train.images).argmax(1) == train.labels).numpy()
        for n in (digits_teacher, taught)
    ]
    first = right[0] & ~right[1]
    assert first[found[1].initial].sum() == found[1].groups[0] > 10
    again = list(cudd.run(train, digits_teacher, 5, SHORT, bound, seed=1))
    assert all(
        torch.equal(a.images.images, b.images.images)
        for a, b in zip(found, again, strict=True)
    )


def test_the_student_goes_on_or_begins_anew(some, digits_teacher):
    bind = {"build": student_of, "teacher": digits_teacher}
    first = cudd.learn(some, 1, None, recipe=SHORT, **bind)
    kept = copy.deepcopy(first.state_dict())
    still = replace(SHORT, student_lr_next=1e-12)
    on = cudd.learn(some, 2, first, recipe=still, **bind)
    new = cudd.learn(
        some, 2, first, recipe=replace(still, student_start="fresh"), **bind
    )
    weights = [n.head.weight for n in (first, on, new)]
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
    assert not torch.allclose(weights[0], weights[2], atol=0.01)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in kept.items())


def test_settings_of_small_images():
    cifar, tiny = settings("cifar100"), settings("tiny-imagenet")
    assert (cifar.recovery.iterations, cifar.recovery.roll) == (1000, 4)
    assert (tiny.recovery.iterations, tiny.recovery.roll) == (4000, 8)
    assert settings("cifar100", 16).recovery.roll == 2
    for found in (cifar, tiny, DIGITS):  # the code's own, everywhere
        recovery, student = found.recovery, found.student
        assert (recovery.lr, recovery.bn_weight, recovery.first_bn) == (0.25, 0.01, 10)
        assert (found.anchor, found.adversarial, found.curricula) == (1, 1, 3)
        assert (student.optimiser, student.mix) == ("adamw", "cutmix")
        assert (student.temperature, student.weight_decay) == (20, 0.01)
        assert {recovery.crop_at(i) for i in (0, 50)} == {recovery.crop_min}
    assert (cifar.student.epochs, cifar.student.batch_size) == (150, 128)
    assert (cifar.student.lr, cifar.student_lr_next) == (1e-3, 5e-4)
    assert len(fields(Cudd)) == 7 and essential(Cudd()) == {}
    assert isinstance(cifar.recovery, Distillation)


def test_bad_input(digits, digits_teacher, some):
    with pytest.raises(InputError, match="ipc is 4, but the smallest class of"):
        next(cudd.run(some, digits_teacher, 4, SHORT, None))
    with pytest.raises(InputError, match="curricula is 3, but must be from 1 to 2"):
        next(cudd.run(some, digits_teacher, 2, DIGITS, None))
    with pytest.raises(InputError, match=r"initial has .* but must have as many"):
        cudd.recover(some.subset(range(15)), digits_teacher, None, SHORT)
    with pytest.raises(InputError, match="size is 0, but of 'photos' it is not known"):
        settings("photos")
    blind = networks.build("convnet-in", 10, 8, seed=0)
    with pytest.raises(InputError, match="teacher has no BatchNorm2d layer"):
        cudd.recover(some, blind, None, SHORT)
