"""Batched augmentation against torchvision, image by image and in distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2_contingency, chisquare, ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2.functional import horizontal_flip, resized_crop

from ccfs_lib.augment import augment, crop_boxes, mirror, pad_crop, resample
from ccfs_lib.experiment import Recipe


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n, height, width, seed=0):
    return torch.rand(n, 3, height, width, generator=generator(seed))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (8, 8, 8), (64, 48, 32), (9, 9, 32)]
)
def test_resample_equals_torchvision(height, width, size):
    random = np.random.default_rng(size)
    images, n = noise(60, height, width), 60
    h, w = random.integers(1, height + 1, n), random.integers(1, width + 1, n)
    top = [random.integers(0, height - a + 1) for a in h]
    left = [random.integers(0, width - a + 1) for a in w]
    boxes = torch.tensor(np.stack([top, left, h, w], 1))
    flips = torch.arange(n) % 3 == 0
    ours = resample(images, boxes, flips, size)
    for i in range(n):
        box = boxes[i].tolist()
        theirs = resized_crop(images[i : i + 1], *box, [size, size], antialias=True)[0]
        theirs = horizontal_flip(theirs) if flips[i] else theirs
        assert torch.allclose(ours[i], theirs, atol=2e-6), (i, box)


def torchvision_boxes(n, size, scale, seed, ratio=(3 / 4, 4 / 3)):
    image = torch.zeros(3, size, size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draw = RandomResizedCrop.get_params
        rows = [draw(image, list(scale), list(ratio)) for _ in range(n)]
    return np.array(rows)


def same_counts(a, b) -> float:
    """p value of "two samples of categories are alike"; rare ones are pooled."""
    values, index = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    index = index.ravel()
    table = np.stack(
        [np.bincount(i, minlength=len(values)) for i in np.split(index, 2)]
    )
    rare = table.sum(0) < 12
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    return chi2_contingency(table[:, table.sum(0) > 0]).pvalue


@pytest.mark.parametrize(
    ("size", "scale"), [(32, (0.08, 1.0)), (8, (0.08, 1.0)), (8, (0.5, 1.0))]
)
def test_boxes_are_distributed_as_torchvisions(size, scale):
    n = 6000
    theirs = torchvision_boxes(n, size, scale, seed=1)
    ours = crop_boxes(n, size, size, scale, generator(2)).numpy()
    assert ours.shape == theirs.shape and ours.dtype == np.int64
    top, left, h, w = ours.T
    assert (ours[:, :2] >= 0).all() and (h >= 1).all() and (w >= 1).all()
    assert (top + h <= size).all() and (left + w <= size).all()
    for statistic in (
        lambda b: b[:, 2] * b[:, 3],  # area
        lambda b: np.log(b[:, 3] / b[:, 2]),  # ratio, width over height
        lambda b: b[:, 0] / np.maximum(size - b[:, 2], 1),  # place within its room
        lambda b: b[:, 1] / np.maximum(size - b[:, 3], 1),
    ):
        assert ks_2samp(statistic(ours), statistic(theirs)).pvalue > 1e-3
    # Joint tables see what the margins hide: height with width, place with length.
    for pair in ([2, 3], [0, 2], [1, 3], [0, 1]):
        assert same_counts(ours[:, pair], theirs[:, pair]) > 1e-3, pair


@pytest.mark.parametrize(
    ("height", "width", "ratio"),
    [
        (32, 32, (3.0, 4.0)),  # image narrower than allowed: full width, cut height
        (32, 32, (0.1, 0.2)),  # image wider than allowed: full height, cut width
        (8, 64, (3 / 4, 4 / 3)),
        (65, 9, (3 / 4, 4 / 3)),
        (30, 40, (1.3, 4 / 3)),
    ],
)
def test_boxes_that_cannot_fit_fall_back_to_the_centre(height, width, ratio):
    scale = (1.5, 1.5)  # more than the image: no proposal fits
    image = torch.zeros(3, height, width)
    theirs = RandomResizedCrop.get_params(image, list(scale), list(ratio))
    ours = crop_boxes(3, height, width, scale, generator(), ratio)
    assert ours.tolist() == [list(theirs)] * 3


def test_large_crops_seldom_fit_and_fall_back_as_often_as_torchvisions():
    scale = (0.9, 1.0)
    theirs = torchvision_boxes(4000, 32, scale, seed=3)
    ours = crop_boxes(4000, 32, 32, scale, generator(4)).numpy()
    assert same_counts(ours[:, 2:], theirs[:, 2:]) > 1e-3


def test_ratio_is_width_over_height():
    scale, ratio = (0.1, 0.3), (1.5, 2.0)
    theirs = torchvision_boxes(4000, 32, scale, seed=5, ratio=ratio)
    ours = crop_boxes(4000, 32, 32, scale, generator(6), ratio).numpy()
    assert (ours[:, 3] > ours[:, 2]).all()
    assert same_counts(ours[:, 2:], theirs[:, 2:]) > 1e-3


def windows(image, pad):
    """Every zero-padded window of one image, by its (row, column) offset."""
    _, h, w = image.shape
    big = torch.zeros(3, h + 2 * pad, w + 2 * pad)
    big[:, pad : pad + h, pad : pad + w] = image
    span = range(2 * pad + 1)
    return {(r, c): big[:, r : r + h, c : c + w] for r in span for c in span}


def test_pad_crop_cuts_every_window_equally_often_and_independently():
    pad, n = 1, 3000
    image = noise(1, 6, 5)
    out = pad_crop(image.expand(n, -1, -1, -1), pad, generator())
    assert out.shape == (n, 3, 6, 5)
    places = list(windows(image[0], pad).values())
    hits = torch.stack([(out == w).flatten(1).all(1) for w in places])
    assert (hits.sum(0) == 1).all()  # each output is exactly one of the nine windows
    which = hits.int().argmax(0).numpy()
    assert chisquare(np.bincount(which, minlength=9)).pvalue > 1e-3
    pairs = np.bincount(9 * which[:-1] + which[1:], minlength=81).reshape(9, 9)
    assert chi2_contingency(pairs).pvalue > 1e-3  # neighbours draw apart


def test_pad_crop_of_different_images():
    images = noise(40, 8, 8)
    out = pad_crop(images, 4, generator(1))
    for image, cut in zip(images, out, strict=True):
        assert any(torch.equal(cut, w) for w in windows(image, 4).values())
    assert torch.equal(pad_crop(images, 0, generator()), images)


def test_mirror_flips_the_marked():
    images, flips = noise(4, 3, 5), torch.tensor([True, False, False, True])
    out = mirror(images, flips)
    for i in range(4):
        expected = images[i].numpy()[:, :, ::-1] if flips[i] else images[i].numpy()
        assert (out[i].numpy() == expected).all()


def bytes_of(n, size=8, seed=0):
    shape = (n, 3, size, size)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


RECIPES = {
    "rrc": Recipe(epochs=1, augment="rrc"),
    "crop": Recipe(epochs=1, augment="crop", pad=2),
    "none": Recipe(epochs=1, augment="none"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_augment_follows_its_generator_and_treats_images_apart(kind):
    images, recipe = bytes_of(50), RECIPES[kind]
    out = augment(images, recipe, generator(3))
    assert out.dtype == torch.float32 and out.shape == images.shape
    assert out.min() >= 0 and out.max() <= 1 + 1e-6
    assert torch.equal(out, augment(images, recipe, generator(3)))
    assert not torch.equal(out, augment(images, recipe, generator(4)))
    changed = images.clone()
    changed[7] = 255 - changed[7]
    other = augment(changed, recipe, generator(3))
    assert [i for i in range(50) if not torch.equal(out[i], other[i])] == [7]
    copies = augment(images[:1].expand(50, -1, -1, -1), recipe, generator(3))
    kinds = len(torch.unique(copies.flatten(1), dim=0))
    assert kinds == 2 if kind == "none" else kinds > 10


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("flip", [True, False])
def test_augment_mirrors_half_of_the_images_or_none(kind, flip):
    # Brighter to the right: after any crop a row still rises, unless it was mirrored.
    ramp = torch.arange(20, 100, 10, dtype=torch.uint8).expand(600, 3, 8, 8)
    recipe = Recipe(epochs=1, augment=kind, pad=1, flip=flip)
    out = augment(ramp, recipe, generator(5))
    # Two columns in the middle, which no padding reaches.
    fell = (out[:, 0, 4, 5] < out[:, 0, 4, 2]).sum().item()
    if flip:
        assert binomtest(fell, 600).pvalue > 1e-3
    else:
        assert fell == 0


def test_augment_none_only_scales():
    images = bytes_of(20)
    out = augment(images, Recipe(epochs=1, augment="none", flip=False), generator())
    assert np.array_equal(out.numpy(), images.numpy().astype(np.float32) / 255)


def test_augment_crops_what_its_recipe_says():
    # A ramp of 10 a pixel: how far a crop reaches is how much brighter it gets.
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8).expand(400, 3, 16, 16)
    recipe = Recipe(epochs=1, crop_scale=(0.2, 0.3))
    out = augment(ramp, recipe, generator(6)) * 255
    width = (out.amax(3) - out.amin(3))[:, 0, 0] / 10
    # The narrowest and the widest of these crops: a fifth at 3:4, 0.3 at 4:3.
    narrow, wide = (16 * math.sqrt(v) for v in (0.2 * 3 / 4, 0.3 * 4 / 3))
    assert (width > narrow - 1.5).all() and (width < wide + 0.5).all()
    assert width.max() - width.min() > 2
