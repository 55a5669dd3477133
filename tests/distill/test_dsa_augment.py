"""The six operations against loops over pixels, their ranges, and their gradients."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ccfs_lib.distill.dsa_augment import OPS, Strengths, apply, augment, draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=6, height=8, width=8, seed=0):
    shape = n, 3, height, width
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def sampled(image, source):
    """Bilinear, zeros outside, pixel by pixel; source(y, x) -> (row, column)."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            row, column = source(y, x)
            top, left = math.floor(row), math.floor(column)
            for r, c in product((top, top + 1), (left, left + 1)):
                if 0 <= r < height and 0 <= c < width:
                    share = (1 - abs(row - r)) * (1 - abs(column - c))
                    out[:, y, x] += share * image[:, r, c]
    return out


def reference(op, image, draws, i):
    """One image (C, H, W) in numpy; the numbers are read off the draws."""
    _, height, width = image.shape
    (a, b, tx), (c, d, ty) = draws.affine[i].tolist()
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    if op == "color":
        image = image + draws.brightness[i].item()
        grey = image.mean(0, keepdims=True)
        image = grey + (image - grey) * draws.saturation[i].item()
        return image.mean() + (image - image.mean()) * draws.contrast[i].item()
    if op == "cutout":
        top, bottom, left, right = draws.hole[i].tolist()
        image = image.copy()
        image[:, top:bottom, left:right] = 0
        return image
    if op == "flip":
        return image[:, :, ::-1] if a < 0 else image
    if op == "crop":
        dy, dx = round(ty * height / 2), round(tx * width / 2)
        return sampled(image, lambda y, x: (y + dy, x + dx))
    if op == "scale":
        assert b == c == tx == ty == 0
        return sampled(
            image,
            lambda y, x: (middle_y + d * (y - middle_y), middle_x + a * (x - middle_x)),
        )
    turn = math.atan2(c, a)
    assert (a, b, c, d) == pytest.approx(
        (math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn))
    )

    def rotated(y, x):
        v, u = y - middle_y, x - middle_x
        return (
            middle_y + math.sin(turn) * u + math.cos(turn) * v,
            middle_x + math.cos(turn) * u - math.sin(turn) * v,
        )

    return sampled(image, rotated)


@pytest.mark.parametrize("op", OPS)
def test_each_operation_is_its_loop(op):
    x = pictures(8)
    draws = draw(8, 8, 8, Strengths(ops=(op,)), generator(OPS.index(op)))
    ours = apply(x, draws).numpy()
    for i, image in enumerate(x.numpy()):
        expected = reference(op, image, draws, i)
        assert np.abs(ours[i] - expected).max() < 1e-5
    assert not np.allclose(ours, x.numpy())


def test_images_of_a_batch_are_alone():
    """Any image gives the same alone as in its batch: nothing leaks between them."""
    x, draws = pictures(40), draw(40, 8, 8, Strengths(), generator(3))
    together = apply(x, draws)
    for i in range(40):
        alone = apply(x[i : i + 1], type(draws)(*(part[i : i + 1] for part in draws)))
        assert torch.allclose(alone[0], together[i], atol=1e-12)


def kinds(draws):
    """Which operation each image got; None where a flip came up unmirrored."""
    (a, b, tx), (c, d, ty) = draws.affine.permute(1, 2, 0)
    found = {
        "color": draws.contrast != 1,
        "cutout": draws.hole[:, 1] > draws.hole[:, 0],
        "flip": a < 0,
        "crop": (tx != 0) | (ty != 0),
        "scale": (b == 0) & (c == 0) & (a > 0) & ((a != 1) | (d != 1)),
        "rotate": b != 0,
    }
    assert (torch.stack([*found.values()]).sum(0) <= 1).all()
    return found


def test_every_image_draws_one_operation_of_six():
    draws = draw(12000, 32, 32, Strengths(), generator())
    share = {op: got.double().mean().item() for op, got in kinds(draws).items()}
    # A flip happens half of the time; an 81st of the crops stay where they are.
    expected = dict.fromkeys(OPS, 1 / 6) | {"flip": 1 / 12, "crop": 80 / 81 / 6}
    for op in OPS:
        assert share[op] == pytest.approx(expected[op], abs=0.015), op


def test_one_operation_for_a_batch_with_a_number_for_each():
    seen = set()
    for seed in range(60):
        draws = draw(16, 32, 32, Strengths(choice="batch"), generator(seed))
        got = [op for op, which in kinds(draws).items() if which.any()]
        assert len(got) <= 1
        seen |= set(got)
        if got in (["rotate"], ["scale"]):
            assert len({tuple(a) for a in draws.affine.flatten(1).tolist()}) == 16
    assert seen == set(OPS)


def test_siamese_draws_serve_batches_of_any_size():
    x = pictures(1).expand(5, -1, -1, -1)
    for seed in range(12):
        draws = draw(99, 8, 8, Strengths(siamese=True), generator(seed))
        assert len(draws.contrast) == 1
        out = apply(x, draws)
        assert torch.equal(out, out[:1].expand_as(out))
        assert torch.equal(apply(x[:2], draws), out[:2])


def test_ranges_are_the_published_ones():
    def of(op, size=32):
        return draw(20000, size, size, Strengths(ops=(op,)), generator(7))

    def spans(values, low, high):
        assert low <= values.min() and values.max() <= high
        assert values.min() == pytest.approx(low, abs=0.02 * (high - low))
        assert values.max() == pytest.approx(high, abs=0.02 * (high - low))
        middle = (low + high) / 2
        assert values.double().mean().item() == pytest.approx(middle, abs=0.02)

    color = of("color")
    spans(color.brightness, -0.5, 0.5)
    spans(color.saturation, 0, 2)
    spans(color.contrast, 0.5, 1.5)
    spans(of("scale").affine[:, 0, 0], 1 / 1.2, 1.2)
    spans(of("scale").affine[:, 1, 1], 1 / 1.2, 1.2)
    turn = torch.rad2deg(of("rotate").affine[:, 1, 0].asin())
    assert -15 <= turn.min() < -14.9 and 14.9 < turn.max() <= 15
    shifts = of("crop").affine[:, :, 2] * 16
    assert shifts.unique().tolist() == [*range(-4, 5)]
    assert (of("flip").affine[:, 0, 0] < 0).double().mean().item() == pytest.approx(
        0.5, abs=0.02
    )
    hole = of("cutout").hole
    tall, wide = hole[:, 1] - hole[:, 0], hole[:, 3] - hole[:, 2]
    # 16 pixels, of which half may lie outside; 33 centres, at 0 to 32.
    assert tall.unique().tolist() == wide.unique().tolist() == [*range(8, 17)]
    assert (tall == 16).double().mean().item() == pytest.approx(17 / 33, abs=0.02)


def test_odd_squares_have_a_middle_pixel():
    hole = draw(5000, 10, 10, Strengths(ops=("cutout",)), generator()).hole  # 5 px
    tall = hole[:, 1] - hole[:, 0]
    assert tall.unique().tolist() == [3, 4, 5]
    assert (tall == 5).double().mean().item() == pytest.approx(6 / 10, abs=0.03)


@pytest.mark.parametrize("op", OPS)
def test_gradients(op):
    x = pictures(2, 4, 5).requires_grad_(True)
    draws = draw(2, 4, 5, Strengths(ops=(op,)), generator(1))
    assert torch.autograd.gradcheck(lambda x: apply(x, draws), x)


def test_a_seed_gives_the_same_bits_and_another_does_not():
    x = pictures(9).float()
    one, two, other = (augment(x, Strengths(), generator(s)) for s in (4, 4, 5))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.dtype == torch.float32 and one.shape == x.shape


@pytest.mark.parametrize(
    "bad", [{"ops": ()}, {"ops": ("blur",)}, {"scale": 0.9}, {"flip": 2}, {"x": 1}]
)
def test_bad_strengths_are_refused(bad):
    with pytest.raises(ValidationError):
        Strengths(**bad)
