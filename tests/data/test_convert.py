"""Arrays, tensors and torch Datasets become an ImageSet, or a sentence."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset
from torchvision import transforms

from ccfs_lib.data import ImageSet, from_arrays, from_dataset, load
from ccfs_lib.errors import InputError

N, SIDE = 20, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 3, SIDE, SIDE), np.uint8)
LABELS = np.arange(N) % 4


class Pictures(torch.utils.data.Dataset):
    """Map-style, of what `make` does to an image (H, W, 3)."""

    def __init__(self, make, labels=LABELS, **attributes):
        self.make, self.labels = make, labels
        vars(self).update(attributes)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.make(PIXELS[i].transpose(1, 2, 0)), self.labels[i]


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        PIXELS.transpose(0, 2, 3, 1),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS) / 255,
        (PIXELS / 255).transpose(0, 2, 3, 1),
        PIXELS[:, ::-1][:, ::-1],  # strides that torch does not have
    ],
)
@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), torch.tensor(LABELS)])
def test_arrays_of_any_layout_give_the_same_set(images, labels):
    made = from_arrays(images, labels, ["a", "b", "c", "d"], "mine")
    assert torch.equal(made.images, torch.from_numpy(PIXELS))
    assert made.labels.tolist() == LABELS.tolist() and made.name == "mine"
    assert made.classes == ("a", "b", "c", "d")
    same = ImageSet("x", torch.from_numpy(PIXELS), made.labels, made.classes)
    assert made.fingerprint == same.fingerprint


def test_grey_is_repeated_and_the_set_is_a_copy():
    for grey in (PIXELS[:, 0].copy(), PIXELS[:, :1].copy(), PIXELS[:, 0, ..., None]):
        made = from_arrays(grey, LABELS)
        for channel in range(3):
            assert np.array_equal(made.images[:, channel].numpy(), PIXELS[:, 0])
    assert made.classes == ("0", "1", "2", "3")
    for mine in (PIXELS.copy(), torch.from_numpy(PIXELS.copy())):
        labels = LABELS.copy()
        made = from_arrays(mine, labels)
        mine[:], labels[:] = 0, 0
        assert np.array_equal(made.images.numpy(), PIXELS)
        assert made.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (PIXELS[:, :2], LABELS, r"images are \(20, 2, 6, 6\), but must be \(N, 3"),
        (PIXELS[0, 0], LABELS, r"images are \(6, 6\), but"),
        (PIXELS[..., :4], LABELS, "images are 4x6 pixels, but must be square"),
        (PIXELS.astype(np.int32), LABELS, "images are torch.int32, but must be uint8"),
        (PIXELS / 127.5 - 1, LABELS, "values from -1 to 1, but floats must lie"),
        (np.full(PIXELS.shape, np.nan), LABELS, "values from nan to nan, but floats"),
        (["x"], LABELS, "images are no array of numbers"),
        (PIXELS, LABELS[:-1], r"labels are torch.int64 \(19,\); needed: int64 \(20,\)"),
        (PIXELS, LABELS / 2, r"labels are torch.float64 \(20,\), but must be whole"),
        (PIXELS, LABELS > 1, r"labels are torch.bool \(20,\), but must be whole"),
        (PIXELS, LABELS - 1, "labels go from -1 to 2"),
    ],
)
def test_bad_arrays_are_one_sentence(images, labels, told):
    with pytest.raises(InputError, match=told) as error:
        from_arrays(images, labels)
    assert "\n" not in str(error.value)


def test_names_are_as_many_as_labels_need():
    with pytest.raises(
        InputError, match="labels go from 0 to 3, but there are 3 classe"
    ):
        from_arrays(PIXELS, LABELS, ["a", "b", "c"])
    for names in ("abcd", {"a"}, frozenset("a"), 3):
        told = re.escape(f"classes is {names!r}, but must be a name")
        with pytest.raises(InputError, match=f"^{told}"):
            from_arrays(PIXELS, LABELS, names)


@pytest.mark.parametrize(
    "make",
    [
        Image.fromarray,
        lambda image: image,
        lambda image: image.transpose(2, 0, 1),
        lambda image: torch.from_numpy(image),
        transforms.ToTensor(),
    ],
)
def test_datasets_of_any_items_give_the_same_set(make):
    made = from_dataset(Pictures(make, classes=list("abcd")), name="mine")
    assert torch.equal(made.images, torch.from_numpy(PIXELS))
    assert made.labels.tolist() == LABELS.tolist() and made.classes == tuple("abcd")
    assert from_dataset(Pictures(make)).classes == ("0", "1", "2", "3")


def test_labels_may_be_tensors():
    pairs = TensorDataset(torch.from_numpy(PIXELS), torch.tensor(LABELS))
    assert from_dataset(pairs).labels.tolist() == LABELS.tolist()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


AUGMENTED = transforms.Compose([transforms.ToPILImage(), transforms.RandomCrop(4)])
NORMALISED = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.2] * 3)]
)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (Stream(), "dataset is a Stream, but must have a length and items"),
        (Pictures(Image.fromarray, []), "dataset is empty"),
        (Pictures(AUGMENTED), r"item \d+ differs when it is read again: take random"),
        (Pictures(NORMALISED), "item 0: images have values from -2"),
        (Pictures(Image.fromarray, list("ab")), r"item 0 is no \(image, int\)"),
        (Pictures(Image.fromarray, [0, 0.5]), r"item 1 is no \(image, int\)"),
        (Pictures(lambda image: image[:4, :5]), "item 0: images are 5x4 pixels"),
        ([(PIXELS[0], 0), (PIXELS[1, :, 2:, 2:], 1)], "item 1 has 4 pixels a side, bu"),
        ([PIXELS[0]], r"item 0 is no \(image, int\)"),
        (
            Pictures(Image.fromarray, classes=["a"]),
            "labels go from 0 to 3, but there a",
        ),
    ],
)
def test_bad_datasets_are_one_sentence(dataset, told):
    torch.manual_seed(0)
    with pytest.raises(InputError, match=told) as error:
        from_dataset(dataset)
    assert "\n" not in str(error.value)


def test_what_goes_wrong_inside_a_dataset_is_shown_as_it_is():
    def broken(image):
        raise TypeError("my own mistake")

    with pytest.raises(TypeError, match="my own mistake"):
        from_dataset(Pictures(broken))


MODULE = """
import numpy as np
import torch
from torch.utils.data import TensorDataset
from ccfs_lib.data import ImageSet, load

sizes = {"train": 30, "test": 12}

def arrays(split):
    pixels = np.full((sizes[split], 8, 8, 3), 7, np.uint8)
    return pixels, np.arange(sizes[split]) % 3, ["x", "y", "z"]

def dataset(split):
    pixels, labels, _ = arrays(split)
    return TensorDataset(torch.tensor(pixels), torch.tensor(labels))

def ready(split):
    return load("digits", split)

def wrong(split):
    return {"images": 1}

def bad(split):
    return arrays(split)[0] / 3.5, *arrays(split)[1:]
"""


def test_load_calls_a_function(workshop):
    (workshop / "mine.py").write_text(MODULE)
    for split, size in (("train", 30), ("test", 12)):
        made = load("mine:arrays", split)
        assert len(made) == size and made.classes == ("x", "y", "z")
        other = load("mine:dataset", split)
        assert other.fingerprint == made.fingerprint
        assert other.name == f"mine:dataset-{split}"
        ready = load("mine:ready", split)
        assert ready.fingerprint == load("digits", split).fingerprint
    with pytest.raises(
        InputError, match="dataset is 'mine:wrong', but for 'train': da"
    ):
        load("mine:wrong")
    with pytest.raises(
        InputError, match=r"dataset is 'mine:bad', but for 'train': .* 2"
    ):
        load("mine:bad")
    with pytest.raises(
        InputError, match="dataset is 'mine:none', but module mine has n"
    ):
        load("mine:none")
    with pytest.raises(InputError, match="split is 'valid'"):
        load("mine:arrays", "valid")


def test_an_unknown_name_is_told_of_functions_too():
    with pytest.raises(InputError, match=r"^dataset is 'mnist'; .*, module:function$"):
        load("mnist")
