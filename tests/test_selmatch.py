"""Windows by hand, the three settings by their calls, and combined augmentation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ccfs_lib import networks, selmatch
from ccfs_lib.augment import augment
from ccfs_lib.curriculum import Filter
from ccfs_lib.data import ImageSet
from ccfs_lib.distill.dsa_augment import Strengths
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.experiment.presets import SELMATCH
from ccfs_lib.selmatch import build, parts, two_shot, window


@pytest.fixture
def world():
    """3 classes of 20 images, in mixed order, difficulties with ties."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(60) % 3)
    images = torch.from_numpy(random.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8))
    train = ImageSet("train", images, torch.from_numpy(labels), ("a", "b", "c"))
    return SimpleNamespace(
        train=train, labels=labels, difficulty=random.integers(0, 9, 60) / 2
    )


def hardest_first(world, c):
    """A class by Python's sort: difficulty down, index up."""
    members = [i for i in range(60) if world.labels[i] == c]
    return sorted(members, key=lambda i: (-world.difficulty[i], i))


@pytest.mark.parametrize(
    ("beta", "start", "first"),
    [
        (0.0, "class", 0),
        (0.3, "class", 6),
        (0.29, "class", 5),
        (0.5, "class", 10),
        (0.3, "released", 3),
        (1.0, "released", 10),
    ],
)
def test_windows_are_slices_of_the_sorted_class(world, beta, start, first):
    found = window(world.labels, world.difficulty, 10, 0.4, beta, start)
    for c in range(3):
        order = hardest_first(world, c)
        real, begin = (part[world.labels[part] == c] for part in vars(found).values())
        assert real.tolist() == order[first : first + 6]
        assert begin.tolist() == order[first + 6 : first + 10]
    assert world.labels[found.real].tolist() == sorted([0, 1, 2] * 6)


def test_published_cells_split_evenly_and_fit():
    sizes = {"cifar10": 5000, "cifar100": 500, "tiny-imagenet": 500}
    for (dataset, ipc), (alpha, beta, _epochs) in SELMATCH.items():
        real, distilled = parts(ipc, alpha)
        assert distilled == round(alpha * ipc) and real + distilled == ipc
        assert int(sizes[dataset] * beta) + ipc <= sizes[dataset]
    assert parts(100, 0.29) == (71, 29) and parts(7, 1) == (0, 7)


def test_bad_windows_are_one_sentence(world):
    for alpha, ipc in ((0.0, 10), (0.09, 10), (0.3, 3)):
        with pytest.raises(InputError, match=f"alpha is {alpha:g}, but with ipc {ipc}"):
            window(world.labels, world.difficulty, ipc, alpha, 0.0)
    with pytest.raises(InputError, match=r"alpha is 1\.1, but must be from 0 to 1"):
        parts(10, 1.1)
    with pytest.raises(
        InputError, match=r"from image 12 leaves class 0, .* up to 0\.5"
    ):
        window(world.labels, world.difficulty, 10, 0.5, 0.6)
    with pytest.raises(InputError, match="start is 'code'"):
        window(world.labels, world.difficulty, 10, 0.5, 0.1, "code")
    with pytest.raises(InputError, match="beta 2"):
        window(world.labels, world.difficulty, 10, 0.5, 2)
    with pytest.raises(InputError, match="setting is 'one-shot'"):
        build("one-shot", world.train, world.difficulty, 5, 0.5, 0, None, None)


class Play:
    """Stands in for distillation and filters, and remembers what they were given."""

    def __init__(self, world, wrong):
        self.world, self.wrong = world, wrong
        self.calls = []

    def distil(self, begin, real):
        self.calls.append(("distil", begin.images.clone(), real.images.clone()))
        return ImageSet("made", 255 - begin.images, begin.labels, begin.classes)

    def answer(self, synthetic, shot):
        self.calls.append(("answer", synthetic.images.clone(), shot))
        predictions = self.world.labels.copy()
        wrong = self.wrong[shot - 1]
        predictions[wrong] = (predictions[wrong] + 1) % 3
        return Filter(predictions, np.zeros(60), 0.0)


def simplest(world, pool, quota, gone):
    chosen = []
    for c in range(3):
        members = [i for i in pool if world.labels[i] == c and i not in gone]
        members.sort(key=lambda i: (world.difficulty[i], i))
        chosen += members[:quota]
    return chosen


@pytest.mark.parametrize("setting", ["selmatch", "two-shot", "reverse"])
def test_the_three_settings(world, setting):
    random = np.random.default_rng(3)
    wrong = [random.permutation(60)[:50] for _ in range(2)]
    play = Play(world, wrong)
    made = build(
        setting, world.train, world.difficulty, 8, 0.4, 0.2, play.distil, play.answer
    )
    found = window(world.labels, world.difficulty, 8, 0.4, 0.2)
    pre = world.train.images[found.initial]
    first = simplest(world, wrong[0], 3, set(found.initial))
    second = simplest(world, wrong[1], 2, {*found.initial, *first})
    shots = [*first, *second]
    images = world.train.images
    expected = {
        "selmatch": [("distil", pre, images[found.real])],
        "two-shot": [
            ("answer", pre, 1),
            ("answer", torch.cat([pre, images[first]]), 2),
            ("distil", pre, images[shots]),
        ],
        "reverse": [
            ("distil", pre, images[:0]),
            ("answer", 255 - pre, 1),
            ("answer", torch.cat([255 - pre, images[first]]), 2),
        ],
    }[setting]
    assert len(play.calls) == len(expected)
    for (name, a, b), (wanted, c, d) in zip(play.calls, expected, strict=True):
        assert name == wanted and torch.equal(a, c)
        assert torch.equal(b, d) if name == "distil" else b == d
    real = found.real.tolist() if setting == "selmatch" else shots
    assert made.real.tolist() == real
    assert made.initial.tolist() == found.initial.tolist()
    assert torch.equal(made.distilled.images, 255 - pre)
    assert torch.equal(made.images.images, torch.cat([255 - pre, images[real]]))
    assert made.images.labels.bincount().tolist() == [8] * 3


def test_all_distilled_needs_no_filter(world):
    play = Play(world, None)
    for setting in ("selmatch", "two-shot", "reverse"):
        made = build(
            setting, world.train, world.difficulty, 4, 1.0, 0.0, play.distil, None
        )
        assert len(made.real) == 0 and len(made.images) == 12


def test_a_class_with_too_few_wrong_images_stays_short(world):
    wrong = [np.flatnonzero(world.labels > 0), np.arange(60)]
    play = Play(world, wrong)
    begin = world.train.subset([0, 1, 2])
    one, two = two_shot(world.train, begin, world.difficulty, 4, play.answer)
    assert world.labels[one].tolist() == [1, 1, 2, 2]
    assert world.labels[two].tolist() == [0, 0, 1, 1, 2, 2]
    assert not {*one} & {*two}


def step(world, distilled, strengths, recipe=None):
    recipe = recipe or Recipe(epochs=1, loss="hard", augment="crop", pad=2)
    network = networks.build(
        "convnet-4", 3, 8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), seed=0
    )
    generator = torch.Generator().manual_seed(0)
    images, labels = world.train.images, world.train.labels
    return selmatch.CombinedStep(
        network,
        images,
        labels,
        recipe,
        generator,
        distilled=distilled,
        strengths=strengths,
    )


def test_combined_augmentation_is_by_kind(world):
    batch = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    gone = Strengths(ops=("color",), contrast=0.0, brightness=0.0, saturation=1e-9)
    crops = Recipe(epochs=1, loss="hard", augment="crop", pad=2)
    seen = step(world, 25, gone).view(batch)
    real = augment(world.train.images[batch], crops, torch.Generator().manual_seed(0))
    mine = batch < 25
    assert torch.equal(seen[~mine], real[~mine])
    # No saturation, contrast in 0 .. 1: images are grey in the normalised space.
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])[:, None, :, None, None]
    x = (seen[mine] - mean[0]) / std[0]
    assert (x - x.mean(1, keepdim=True)).abs().max() < 1e-4
    assert not torch.allclose(seen[mine], real[mine], atol=0.05)


def test_combined_training_learns(digits):
    few = digits[0].subset(torch.arange(200))
    recipe = Recipe(
        epochs=12,
        batch_size=32,
        lr=0.05,
        warmup_epochs=0,
        loss="hard",
        augment="crop",
        pad=1,
        flip=False,
    )
    views = Strengths(ops=("color", "crop", "cutout", "scale", "rotate"))
    found = [
        selmatch.evaluate(
            networks.build("convnet-8", 10, 8, seed=0),
            few,
            count,
            digits[1],
            recipe,
            seed=1,
            strengths=views,
        )
        for count in (80, 80, 0)
    ]
    assert found[0] == found[1] != found[2] and min(found) > 60
