"""Windows by hand, the three settings by their calls, and combined augmentation."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ccfs_lib import networks, selmatch
from ccfs_lib.augment import moved
from ccfs_lib.curriculum import Filter
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import dsa_augment
from ccfs_lib.distill.dsa_augment import Strengths
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.experiment.presets import SELMATCH, evaluation
from ccfs_lib.selmatch import build, parts, two_shot, window
from ccfs_lib.train import fit


def by_selmatch(
    network, synthetic, distilled, test, recipe, *, seed, pixels=None, strengths=None
):
    """Train by SelMatch's protocol on distilled and real images; percent."""
    options = {"strengths": strengths or Strengths(), "pixels": pixels}
    options["distilled"] = distilled
    make = partial(selmatch.CombinedStep, **options)
    return fit(network, synthetic, recipe, seed=seed, test=test, make=make).last


def by_real_images(network, real, test, recipe, *, seed):
    """Train by SelMatch's protocol on real images alone; percent."""
    make = selmatch.DsaStep
    return fit(network, real, recipe, seed=seed, test=test, make=make).last


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


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("difficulty", [0.0, np.nan, 1.0], "difficulty is nan at 1"),
        ("difficulty", [0.0, 1.0], "difficulty has"),
        ("difficulty", ["a", "b", "c"], "difficulty has"),
        ("labels", ["0", "0", "0"], "labels has"),
        ("labels", [0.0, 0.0, 0.0], "labels has"),
        ("labels", [], "labels has"),
        ("ipc", True, "ipc is True, but must be a whole number from 1"),
        ("ipc", 1.5, "ipc is 1.5"),
        ("ipc", 0, "ipc is 0"),
    ],
)
def test_windows_of_no_images_are_refused_as_selections_are(name, value, told):
    good = {"labels": [0, 0, 0], "difficulty": [0, 1, 2], "ipc": 2}
    assert len(window(**good, alpha=0.5, beta=0).real) == 1
    with pytest.raises(InputError, match=f"^{told}"):
        window(**{**good, name: value}, alpha=0.5, beta=0)


def test_the_beta_that_is_advised_fits_the_smallest_class():
    labels = np.repeat([0, 1], [140, 131])
    with pytest.raises(
        InputError, match="class 0, which has 140: take beta up to"
    ) as e:
        window(labels, np.zeros(271), 26, 0.5, 0.9)
    beta = float(str(e.value).rpartition(" ")[2])
    assert beta == 0.801
    assert len(window(labels, np.zeros(271), 26, 0.5, beta).real) == 26


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


def test_images_that_begin_as_distilled_are_not_selected(world):
    """Also where they are the simplest of all that the model gets wrong."""
    easiest = world.difficulty.copy()
    found = window(world.labels, easiest, 8, 0.4, 0.6)
    everything = [np.arange(60)] * 2
    for setting in ("two-shot", "reverse"):
        play = Play(world, everything)
        made = build(
            setting, world.train, easiest, 8, 0.4, 0.6, play.distil, play.answer
        )
        assert not {*made.real} & {*found.initial} and len(made.real) == 15
        # And without the rule they would be: most of them are easier than the picks.
        worst = easiest[made.real].max()
        assert (easiest[found.initial] < worst).any()


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
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])[:, None, :, None, None]
    # Crops of the images without their mean colour pad with it.
    real = (world.train.images[batch].float() / 255 - mean[0]) / std[0]
    real = moved(real, crops, torch.Generator().manual_seed(0)) * std[0] + mean[0]
    mine = batch < 25
    assert torch.allclose(seen[~mine], real[~mine], atol=1e-6)
    # No saturation, contrast in 0 .. 1: images are grey in the normalised space.
    x = (seen[mine] - mean[0]) / std[0]
    assert (x - x.mean(1, keepdim=True)).abs().max() < 1e-4
    assert not torch.allclose(seen[mine], real[mine], atol=0.05)


def test_distilled_images_are_trained_on_as_they_were_learned(world):
    """Values far outside [0, 1], and steps finer than a byte's, reach the network."""
    pixels = torch.randn(25, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 9
    none = Strengths(ops=("flip",), flip=0.0)  # leaves every image as it is
    plain = Recipe(epochs=1, loss="hard", augment="none", flip=False)
    made = step(world, 25, none, plain)
    made.pixels = pixels
    batch = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    seen = made.network.normalize(made.view(batch))
    mine = batch < 25
    assert torch.allclose(seen[mine], pixels[batch[mine]], atol=1e-4)
    real = made.network.normalize(world.train.images[batch[~mine]].float() / 255)
    assert torch.allclose(seen[~mine], real, atol=1e-5)
    # Through a training as well: floats and their bytes are two trainings.
    few = world.train
    found = []
    for given in (pixels, None):
        network = networks.build("convnet-4", 3, 8, seed=0)
        asked = {"seed": 1, "strengths": none, "pixels": given}
        by_selmatch(network, few, 25, few, plain, **asked)
        found.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert not torch.equal(*found)


def test_real_crops_are_padded_with_the_mean_colour(world):
    """SelMatch crops normalised tensors; what comes in from outside is 0 there."""
    white = world.train.images.clone().fill_(255)
    made = step(world, 0, Strengths(), Recipe(epochs=1, loss="hard", pad=4, **CROP))
    made.images = white
    seen = made.view(torch.arange(60))
    colours = seen.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = torch.tensor([[0.5, 0.4, 0.3], [1.0, 1.0, 1.0]])
    apart = torch.cdist(colours, expected)
    assert apart.min(1).values.max() < 1e-4  # nothing else, black least of all
    assert (apart.min(0).values < 1e-4).all()  # and both


def test_a_random_set_is_trained_with_dsa_on_all_images(world):
    """One operation a batch, by hand from the step's own generator."""
    network = networks.build(
        "convnet-4", 3, 8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), seed=0
    )
    generator = torch.Generator().manual_seed(5)
    recipe = Recipe(epochs=1, loss="hard", **CROP)
    images, labels = world.train.images, world.train.labels
    made = selmatch.DsaStep(network, images, labels, recipe, generator)
    batch = torch.randperm(60, generator=torch.Generator().manual_seed(1))[:32]
    seen = network.normalize(made.view(batch))
    views = Strengths(choice="batch")
    x = network.normalize(images[batch].float() / 255)
    expected = dsa_augment.augment(x, views, torch.Generator().manual_seed(5))
    assert torch.allclose(seen, expected, atol=1e-5)
    assert not torch.allclose(seen, x, atol=0.05)


def test_the_random_row_is_trained_as_selmatch_trains(digits):
    few = digits[0].subset(torch.arange(200))
    recipe = evaluation("digits", "digits", 20)
    network = networks.build("convnet-8", 10, 8, seed=0)
    accuracy = by_real_images(network, few, digits[1], recipe, seed=1)
    assert accuracy > 50
    # The last epoch alone is tested, and about as many steps at every IPC.
    assert recipe.tail == 0 and recipe.warmup_epochs == 0 and recipe.final_lr == 0.01
    steps = {
        (dataset, ipc): (evaluation(dataset, "paper", ipc).epochs - 1)
        * ipc
        / {"cifar10": 5000}.get(dataset, 500)
        for dataset, ipc in [*SELMATCH, ("cifar10", 100)]
    }
    assert all(value == pytest.approx(50, rel=0.01) for value in steps.values())


CROP = {"augment": "crop"}


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
        by_selmatch(
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
