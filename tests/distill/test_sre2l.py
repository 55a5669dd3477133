"""SRe2L and CDA: the loss by hand, three steps by hand, and images that are digits."""

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import batchnorm, sre2l
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Distillation
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.device import arithmetic, is_portable
from ccfs_lib.runtime.queue import Queue
from ccfs_lib.train import predict

CLASSES = tuple("0123456789")
PLAIN = Distillation(method="sre2l", iterations=3, crop_min=1.0, flip=False, roll=0)
SHORT = Distillation(iterations=4, crop_min=0.5, flip=False, roll=1, batch_size=20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hand_bn_loss(inputs, layers, first):
    """Sum over layers of two plain norms, in numpy; inputs (N, C, H, W) per layer."""
    total = 0.0
    for i, (x, layer) in enumerate(zip(inputs, layers, strict=True)):
        x = x.detach().double().numpy().transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
        var = ((x - x.mean(1, keepdims=True)) ** 2).mean(1)  # biased
        apart = np.sqrt(((var - layer.running_var.numpy()) ** 2).sum())
        apart += np.sqrt(((x.mean(1) - layer.running_mean.numpy()) ** 2).sum())
        total += apart * (first if i == 0 else 1)
    return total


def test_batch_norm_loss_is_its_formula(digits_teacher):
    teacher = copy.deepcopy(digits_teacher).eval()
    x = torch.randn(7, 3, 8, 8, generator=generator())
    conv1, bn1, relu, pool, conv2, bn2 = list(teacher.body)[:6]
    with torch.no_grad():
        one = conv1(x)
        two = conv2(pool(relu(bn1(one))))
    loss = batchnorm.BatchNormLoss(teacher, 10.0)
    for _ in range(2):  # read() begins anew
        teacher.body(x)
        expected = hand_bn_loss([one, two], [bn1, bn2], 10.0)
        assert loss.read().item() == pytest.approx(expected, rel=1e-4)
    loss.close()
    teacher.body(x)
    assert not loss.terms


def test_three_steps_by_hand(digits_teacher):
    """Adam on normalised pixels, cosine to zero, clamped to what a pixel can be."""
    teacher = copy.deepcopy(digits_teacher).eval().requires_grad_(False)
    targets = torch.arange(10)
    recipe = Distillation(**{**vars(PLAIN), "lr": 0.3, "bn_weight": 0.2})
    ours = sre2l.recover_batch(teacher, targets, 8, recipe, 0, 4)
    mean, std = (getattr(teacher.normalize, k).view(3, 1, 1) for k in ("mean", "std"))
    x = torch.randn(10, 3, 8, 8, generator=generator(4))
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    layers = [m for m in teacher.body if isinstance(m, nn.BatchNorm2d)]
    for step, rate in enumerate([0.3, 0.3 * 0.75, 0.3 * 0.25], 1):  # (1 + cos) / 2
        x.requires_grad_(True)
        y, inputs = x, []
        for layer in teacher.body:
            if isinstance(layer, nn.BatchNorm2d):
                inputs.append(y)
            y = layer(y)
        value = nn.functional.cross_entropy(y, targets)
        for i, (z, layer) in enumerate(zip(inputs, layers, strict=True)):
            var, mu = z.var((0, 2, 3), correction=0), z.mean((0, 2, 3))
            apart = (var - layer.running_var).norm() + (mu - layer.running_mean).norm()
            value = value + 0.2 * apart * (10 if i == 0 else 1)
        (g,) = torch.autograd.grad(value, x)
        first, second = 0.5 * first + 0.5 * g, 0.9 * second + 0.1 * g**2
        move = (first / (1 - 0.5**step)) / ((second / (1 - 0.9**step)).sqrt() + 1e-8)
        x = (x - rate * move).detach()
        x = x.maximum(-mean / std).minimum((1 - mean) / std)
    expected = ((x * std + mean) * 255).round()
    apart = (ours.float() - expected).abs()
    assert ours.dtype == torch.uint8 and ours.shape == (10, 3, 8, 8)
    assert (apart > 1).float().mean() < 0.01  # a rounding may tip; hardly ever twice


def test_recovered_images_are_called_their_class(digits_teacher):
    recipe = Distillation(
        iterations=60, crop_min=0.5, flip=False, roll=1, batch_size=20
    )
    made = sre2l.recover(digits_teacher, CLASSES, 8, 2, recipe)
    assert isinstance(made, ImageSet) and made.images.dtype == torch.uint8
    assert made.labels.tolist() == sorted([*range(10)] * 2) and made.classes == CLASSES
    answers = predict(digits_teacher, made.images).argmax(1)
    assert (answers == made.labels).float().mean() >= 0.8  # chance is 0.1
    # Their statistics come nearer to the teacher's memory than the noise they were.
    noise = sre2l.recover(digits_teacher, CLASSES, 8, 2, Distillation(iterations=1))

    def strangeness(images):
        loss = batchnorm.BatchNormLoss(digits_teacher, 1.0)
        predict(digits_teacher, images)
        loss.close()
        return loss.read().item()

    assert strangeness(made.images) < strangeness(noise.images)


def test_fewer_images_are_the_first_of_more(digits_teacher):
    four = sre2l.recover(digits_teacher, CLASSES, 8, 4, SHORT)  # two batches of 20
    two = sre2l.recover(digits_teacher, CLASSES, 8, 2, SHORT)
    for c in range(10):
        mine, all_ = two.images[two.labels == c], four.images[four.labels == c]
        assert torch.equal(mine, all_[:2]) and not torch.equal(mine, all_[2:])


def test_batches_go_image_by_image_over_the_classes():
    assert [b.tolist() for b in sre2l.batches(3, 2, 4)] == [[0, 1, 2, 0], [1, 2]]
    for per_class, size in ((1, 7), (5, 100), (4, 10)):
        todo = sre2l.batches(10, per_class, size)
        assert torch.cat(todo).bincount().tolist() == [per_class] * 10
        assert all(len(b) == size for b in todo[:-1])


def test_a_seed_gives_the_same_bits(digits_teacher):
    one, two, other = (
        sre2l.recover(digits_teacher, CLASSES, 8, 2, SHORT, seed=s).images
        for s in (0, 0, 1)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_batches_may_be_recovered_in_any_order(digits_teacher):
    plain = sre2l.recover(digits_teacher, CLASSES, 8, 4, SHORT)
    todo = sre2l.batches(10, 4, 20)
    done = {
        n: sre2l.recover_batch(digits_teacher, todo[n], 8, SHORT, 0, n) for n in (1, 0)
    }
    again = sre2l.assemble([done[0], done[1]], todo, CLASSES, "again")
    assert torch.equal(again.images, plain.images)
    assert again.labels.tolist() == plain.labels.tolist()
    assert not torch.equal(done[0], done[1])


def crops_of(recipe, monkeypatch) -> list[tuple[float, float]]:
    """The scale that each iteration asks of crop_boxes."""
    seen, real = [], sre2l.crop_boxes

    def spy(count, height, width, scale, *rest):
        seen.append(scale)
        return real(count, height, width, scale, *rest)

    monkeypatch.setattr(sre2l, "crop_boxes", spy)
    list(sre2l.views(recipe, 16, generator()))
    return seen


def test_a_batch_stops_in_time_and_goes_on_with_the_same_bits(digits_teacher, tmp_path):
    recipe = Distillation(iterations=7, roll=1, crop_min=0.5)
    (targets,) = sre2l.batches(10, 1, 10)
    given = digits_teacher, targets, 8, recipe, 0, 0, "cpu"
    whole, stops, images = sre2l.recover_batch(*given), 0, None
    while images is None:
        try:
            images = sre2l.recover_batch(*given, Checkpoint(tmp_path, "k", deadline=0))
        except TimeUp:  # after one more iteration
            stops += 1
    assert stops == 6 and torch.equal(images, whole)


def test_cda_begins_with_the_whole_image_and_sre2l_crops_alike(monkeypatch):
    cda = Distillation(method="cda", iterations=50, crop_min=0.2)
    low, high = zip(*crops_of(cda, monkeypatch), strict=True)
    assert set(high) == {1.0} and low[0] == 1.0
    assert all(a > b for a, b in pairwise(low))
    assert low[25] == pytest.approx(0.6) and 0.2 < low[-1] < 0.21
    flat = Distillation(method="sre2l", iterations=50, crop_min=0.2)
    assert set(crops_of(flat, monkeypatch)) == {(0.2, 1.0)}


def test_a_view_is_shared_by_the_batch_and_differentiable():
    recipe = Distillation(method="sre2l", iterations=6, crop_min=0.2, roll=3)
    image = torch.rand(1, 3, 16, 16, generator=generator())
    pixels = image.expand(5, -1, -1, -1).clone().requires_grad_(True)
    out = [view(pixels) for view in sre2l.views(recipe, 16, generator())]
    assert all(torch.equal(o, o[:1].expand_as(o)) for o in out)
    assert len({tuple(o.flatten()[:9].tolist()) for o in out}) == 6
    out[0].sum().backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("back", [False, True])
def test_rolls_and_flips_are_those_of_the_recipe(back):
    recipe = Distillation(
        method="sre2l", iterations=400, crop_min=1.0, roll=2, roll_back=back
    )
    image = torch.rand(1, 3, 6, 6, generator=generator())
    span = range(-2, 3) if back else range(3)
    known = {
        (flip, a, b): torch.roll(image.flip(3) if flip else image, (a, b), (2, 3))
        for flip in (False, True)
        for a in span
        for b in span
    }
    counts = dict.fromkeys(known, 0)
    for view in sre2l.views(recipe, 6, generator(1)):
        (place,) = (k for k, v in known.items() if torch.equal(view(image), v))
        counts[place] += 1
    assert min(counts.values()) > 0  # every roll, mirrored and not
    assert 150 < sum(n for (flip, *_), n in counts.items() if flip) < 250


def test_no_flip_no_roll_no_crop_is_the_image():
    image = torch.rand(2, 3, 6, 6, generator=generator())
    assert all(torch.equal(v(image), image) for v in sre2l.views(PLAIN, 6, generator()))


def test_jpegs_are_pillows():
    images = torch.randint(
        0, 256, (3, 3, 32, 32), generator=generator(), dtype=torch.uint8
    )
    images = torch.nn.functional.avg_pool2d(images.float(), 5, 1, 2).to(torch.uint8)
    assert sre2l.as_saved(images, "png") is images
    ours = sre2l.as_saved(images, "jpeg")
    assert ours.dtype == torch.uint8 and not torch.equal(ours, images)
    for image, back in zip(images, ours, strict=True):
        file = BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG")
        theirs = np.asarray(Image.open(file)).transpose(2, 0, 1).astype(int)
        assert np.abs(theirs - back.numpy()).max() <= 3


def hooks(network):
    return sum(len(m._forward_pre_hooks) for m in network.modules())


def unchanged(network, before):
    after = network.state_dict()
    return all(torch.equal(v, after[k]) for k, v in before.items()) and not hooks(
        network
    )


@pytest.mark.parametrize("stop", [False, True])
def test_the_teacher_leaves_as_it_came_even_when_stopped(
    digits_teacher, monkeypatch, stop
):
    teacher = copy.deepcopy(digits_teacher)
    before = copy.deepcopy(teacher.state_dict())
    real = sre2l.views

    def broken(*args):
        yield from list(real(*args))[:2]
        raise KeyboardInterrupt

    if stop:
        monkeypatch.setattr(sre2l, "views", broken)
        with pytest.raises(KeyboardInterrupt):
            sre2l.recover(teacher, CLASSES, 8, 1, SHORT)
    else:
        sre2l.recover(teacher, CLASSES, 8, 1, SHORT)
    assert unchanged(teacher, before)
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


def test_a_teacher_without_batch_norm_is_refused():
    teacher = networks.build("convnet-in", 10, 8, seed=0)
    with pytest.raises(InputError, match=r"^teacher has no BatchNorm2d layer"):
        sre2l.recover(teacher, CLASSES, 8, 1, SHORT)
    assert not hooks(teacher) and all(p.requires_grad for p in teacher.parameters())


def test_portable_moments_are_the_same_numbers_by_other_sums():
    x = torch.randn(7, 5, 6, 6, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    usual = batchnorm.Moments.apply(x)
    with arithmetic(True):
        sums = batchnorm.Moments.apply(x)
        assert is_portable()
    assert not is_portable()
    for a, b in zip(usual, sums, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(sums[0], x.mean((0, 2, 3)), rtol=0, atol=0)


RICH = Distillation(iterations=6, crop_min=0.3, roll=2, roll_back=True, batch_size=20)


def test_a_recovery_goes_on_inside_a_batch_with_the_same_bits(digits_teacher, tmp_path):
    targets = torch.arange(20) % 10
    whole, stops = sre2l.recover_batch(digits_teacher, targets, 8, RICH, 0, 3), 0
    while True:
        late = Checkpoint(tmp_path / "c", "k", every=0, deadline=time.monotonic())
        try:
            images = sre2l.recover_batch(
                digits_teacher, targets, 8, RICH, 0, 3, checkpoint=late
            )
            break
        except TimeUp:
            stops += 1
    assert stops == RICH.iterations - 1
    assert torch.equal(images, whole)
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_from_before_there_were_kinds_is_read(digits_teacher, tmp_path):
    targets = torch.arange(20) % 10
    given = digits_teacher, targets, 8, RICH, 0, 3, "cpu"
    whole, kept = sre2l.recover_batch(*given), Checkpoint(tmp_path / "c", "k")
    with pytest.raises(TimeUp):
        sre2l.recover_batch(*given, replace(kept, deadline=0))
    tensors, figures = kept.load()
    assert figures.pop("kind") == "Descent" and figures["done"] == 1
    tensors["pixels"] += 0.5  # so that it is seen to be read
    kept.save(tensors, figures)
    assert not torch.equal(sre2l.recover_batch(*given, kept), whole)


def test_recoveries_side_by_side_keep_their_bits(digits_teacher):
    """Of one teacher: the hooks of one must not see what the other asks."""
    targets = torch.arange(20) % 10
    alone = [
        sre2l.recover_batch(digits_teacher, targets, 8, RICH, 0, n) for n in (0, 1)
    ]
    with Queue(2), ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(sre2l.recover_batch, digits_teacher, targets, 8, RICH, 0, n)
            for n in (0, 1)
        ]
        together = [job.result() for job in jobs]
    assert all(map(torch.equal, alone, together))
    assert hooks(digits_teacher) == 0


@pytest.mark.parametrize("method", ["cda", "sre2l"])
def test_planned_on_the_device_is_the_descent_up_to_rounding(
    digits_teacher, monkeypatch, tmp_path, method
):
    """What a CUDA graph replays, here without one: same draws, same images."""
    recipe = replace(RICH, method=method, crop_min=1.0 if method == "sre2l" else 0.3)
    targets = torch.arange(20) % 10
    plain = sre2l.recover_batch(digits_teacher, targets, 8, recipe, 0, 3).float()
    other = sre2l.recover_batch(digits_teacher, targets, 8, recipe, 0, 4).float()
    monkeypatch.setattr(sre2l, "Descent", sre2l.Planned)
    planned = sre2l.recover_batch(digits_teacher, targets, 8, recipe, 0, 3)
    apart = (planned.float() - plain).abs()
    assert (apart > 1).float().mean() < 0.01
    assert apart.mean() < 0.01 * (other - plain).abs().mean()
    # And it goes on inside a batch, too.
    late = Checkpoint(tmp_path, "k", every=0, deadline=time.monotonic())
    with pytest.raises(TimeUp):
        sre2l.recover_batch(digits_teacher, targets, 8, recipe, 0, 3, checkpoint=late)
    late = Checkpoint(tmp_path, "k")
    how = {"checkpoint": late}
    again = sre2l.recover_batch(digits_teacher, targets, 8, recipe, 0, 3, **how)
    assert torch.equal(again, planned)


def test_memory_that_runs_out_in_a_recovery_is_told(digits_teacher, monkeypatch):
    def short(*_):
        raise torch.OutOfMemoryError("CUDA out of memory (a test)")

    monkeypatch.setattr(sre2l.Descent, "iterate", short)
    with pytest.raises(InputError, match="recovery_batch is 20, and memory ran out"):
        sre2l.recover_batch(digits_teacher, torch.arange(20) % 10, 8, RICH, 0, 0)
