"""AdamW, CutMix and a longer cosine: by hand, resumable, unseen by plain recipes."""

import math
import time
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from ccfs_lib import networks
from ccfs_lib.augment import cutmix
from ccfs_lib.errors import TimeUp
from ccfs_lib.experiment import BPS, LateRecipe, Recipe, essential, preset
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.step import Step, kd_loss
from ccfs_lib.train import fit

PLAIN = {"epochs": 3, "lr": 2e-3, "batch_size": 32, "warmup_epochs": 0, "flip": False}
PLAIN |= {"loss": "hard", "augment": "none", "weight_decay": 0.01}
LATE = LateRecipe(**PLAIN, optimiser="adamw", mix="cutmix", horizon=2.0)


@pytest.fixture
def some(digits):
    return digits[0].subset(range(150))


def convnet(seed=0):
    return networks.build("convnet-8", 10, 8, seed=seed)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_at_its_defaults_it_is_a_plain_recipe(some):
    late, plain = LateRecipe(**PLAIN), Recipe(**PLAIN)
    assert essential(late) == essential(plain)
    assert [late.lr_at(e) for e in range(3)] == [plain.lr_at(e) for e in range(3)]
    assert same(*(fit(convnet(), some, r, seed=1).network for r in (late, plain)))


def test_a_plain_recipe_shows_nothing_of_it():
    assert len(fields(Recipe)) == 18 and not {"mix", "horizon"} & set(
        asdict(Recipe(epochs=1))
    )
    with pytest.raises(ValidationError):
        Recipe(epochs=1, mix="cutmix")
    with pytest.raises(ValidationError):
        LateRecipe(epochs=1, optimiser="lion")


def test_what_is_chosen_is_in_keys_and_in_results():
    wanted = {"optimiser": "adamw", "mix": "cutmix", "horizon": 2.0}
    assert essential(LATE).items() >= wanted.items()
    base, late = preset(), preset(recipe=BPS)
    assert late.hashed()["recipe"].items() >= wanted.items()
    assert late.run != base.run
    assert late.run != preset(recipe=replace(BPS, mix="none")).run


def test_the_rate_ends_at_half_after_half_of_the_horizon():
    late = replace(BPS, epochs=100)
    assert late.lr_at(0) == 1e-3 and late.lr_at(100) == pytest.approx(5e-4)
    for epoch in (1, 37, 99):
        fall = (1 + math.cos(math.pi * epoch / 200)) / 2
        assert late.lr_at(epoch) == pytest.approx(1e-3 * fall)


def test_cutmix_pastes_a_box_of_the_neighbour_and_mixes_labels_by_its_area():
    images = torch.rand(6, 3, 8, 12, generator=generator(9))
    labels = torch.tensor([0, 1, 2, 0, 3, 3])
    shares = []
    for seed in range(300):
        mixed, soft = cutmix(images, labels, 4, generator(seed))
        other = (mixed != images).any(1)
        box = other[0]
        share = box.float().mean().item()
        shares.append(share)
        for i in range(6):
            j = (i + 1) % 6
            assert torch.equal(other[i], box)
            assert torch.equal(mixed[i][:, box], images[j][:, box])
            expected = np.zeros(4)
            expected[labels[i]] += 1 - share
            expected[labels[j]] += share
            assert np.allclose(soft[i].numpy(), expected, atol=1e-6)
        rows, columns = (box.any(d).nonzero()[:, 0] for d in (1, 0))
        if len(rows):  # a rectangle without holes
            height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            assert box.sum() == height * width
    # lambda is uniform; boxes cut at the border are smaller than 1 - lambda.
    assert 0.2 < np.mean(shares) < 0.4 and min(shares) == 0 and max(shares) > 0.5


def test_one_step_by_hand(some, digits_teacher):
    """AdamW's first step: -lr (sign-like gradient + decay), on the mixed batch."""
    for teacher in (None, digits_teacher):
        recipe = replace(LATE, loss="hard" if teacher is None else "kd")
        network, batch = convnet(), torch.arange(32)
        before = {k: v.clone() for k, v in network.named_parameters()}
        step = Step(
            network, some.images, some.labels, recipe, generator(5), teacher, None
        )
        step.begin(0)
        step(batch)
        draws = generator(5)
        torch.rand(32, generator=draws)  # flips are drawn though not used
        x, soft = cutmix(some.images[batch] / 255, some.labels[batch], 10, draws)
        other = convnet().train()
        logits = other(x)
        if teacher is None:
            loss = -(soft * F.log_softmax(logits, 1)).sum(1).mean()
        else:
            loss = kd_loss(logits, teacher(x).detach(), 20.0)
        loss.backward()
        assert step.total.item() == pytest.approx(32 * loss.item(), rel=1e-5)
        for name, p in other.named_parameters():
            move = p.grad / (p.grad.abs() + 1e-8)
            expected = before[name] * (1 - 2e-3 * 0.01) - 2e-3 * move
            got = dict(network.named_parameters())[name]
            strong = p.grad.abs() > 1e-5  # elsewhere rounding decides the sign
            assert torch.allclose(got[strong], expected[strong], atol=2e-5)


def test_a_killed_training_continues_with_the_same_bits(some, tmp_path):
    recipe = replace(LATE, epochs=4)
    whole = fit(convnet(), some, recipe, seed=3)
    for _ in range(3):
        late = Checkpoint(tmp_path, "k", every=0, deadline=time.monotonic())
        with pytest.raises(TimeUp):
            fit(convnet(), some, recipe, seed=3, checkpoint=late)
    rest = fit(convnet(), some, recipe, seed=3, checkpoint=Checkpoint(tmp_path, "k"))
    assert same(whole.network, rest.network) and whole.losses == rest.losses


def test_it_learns(digits):
    recipe = replace(LATE, epochs=25, lr=5e-3)
    assert fit(convnet(), digits[0], recipe, seed=0, test=digits[1]).last > 85
