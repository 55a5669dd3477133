"""CIFAR-10 and CIFAR-100 by name: torchvision's files and Hugging Face's parquet."""

import hashlib
import io
import json
import pickle
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from realdata import DATA
from torchvision import datasets

from ccfs_lib.data import cifar, load
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime import paths

CACHE = paths.cache()  # before tests have one of their own: real files are decoded once

CIFAR = {
    "cifar10": (datasets.CIFAR10, "cifar-10-batches-py", "labels", "label_names"),
    "cifar100": (
        datasets.CIFAR100,
        "cifar-100-python",
        "fine_labels",
        "fine_label_names",
    ),
}
SPLITS = ("train", "test")
NAMES = {"cifar10": cifar.TEN, "cifar100": cifar.HUNDRED}


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    for name in ("CCFS_DATA", "CCFS_CIFAR100_ORDER"):
        monkeypatch.delenv(name, raising=False)


def few(classes: int):
    """Eight images, six for training: uint8 (8, 3, 32, 32) and labels."""
    rng = np.random.default_rng(classes)
    return rng.integers(0, 256, (8, 3, 32, 32), np.uint8), rng.integers(0, classes, 8)


def official(name, root, images, labels, monkeypatch):
    """torchvision's files of these images; their MD5s take the place of the real."""
    cls, folder, column, names = CIFAR[name]
    (root / folder).mkdir(parents=True)
    content = {
        split: {"data": images[part].reshape(-1, 3072), column: labels[part].tolist()}
        for split, part in (("train", slice(0, 6)), ("test", slice(6, 8)))
    }
    content["meta"] = {names: list(NAMES[name])}
    sums = {}
    for file, value in content.items():
        blob = pickle.dumps(value)
        (root / folder / file).write_bytes(blob)
        sums[file] = hashlib.md5(blob).hexdigest()
    for split in ("train", "test"):
        monkeypatch.setattr(cls, f"{split}_list", [[split, sums[split]]])
    meta = {"filename": "meta", "key": names, "md5": sums["meta"]}
    monkeypatch.setattr(cls, "meta", meta)


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def hub(name, folder, images, labels, names=None, parts=("train", "test")):
    """Parquet files as the hub has them, with class names in their metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    column = "fine_label" if name == "cifar100" else "label"
    for split, part in (("train", slice(0, 6)), ("test", slice(6, 8))):
        rows = [{"bytes": png(image), "path": None} for image in images[part]]
        table = {"img": rows, column: pa.array(labels[part], pa.int64())}
        if name == "cifar100":
            table["coarse_label"] = pa.array(labels[part] // 5, pa.int64())
        features = {column: {"names": names, "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table(table)
        if names and split in parts:
            table = table.replace_schema_metadata(meta)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def same(found, images, labels):
    assert np.array_equal(found.images, images)
    assert found.labels.tolist() == labels.tolist()


HUB = ("", "cifar", "cifar/data", "cifar/plain_text", "cifar/cifar", "plain_text")


@pytest.mark.filterwarnings("ignore:these .* are not the published")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_layout_gives_the_same_set(tmp_path, monkeypatch, name):
    images, labels = few(len(NAMES[name]))
    official(name, tmp_path / "torchvision", images, labels, monkeypatch)
    first = [load(name, s, data_root=tmp_path / "torchvision") for s in SPLITS]
    same(first[0], images[:6], labels[:6])
    same(first[1], images[6:], labels[6:])
    for i, place in enumerate(HUB):
        root = tmp_path / f"hub{i}"
        names = list(NAMES[name]) if i % 2 else None
        hub(name, root / place.replace("cifar", name), images, labels, names)
        for split, expected in zip(SPLITS, first, strict=True):
            found = load(name, split, data_root=root)
            assert found.fingerprint == expected.fingerprint
            assert found.classes == expected.classes == NAMES[name]
            assert found.name == f"{name}-{split}"


# As the official files number them, of the classes 0 to 9: apple, aquarium_fish, ...
FIRST = [4, 1, 14, 8, 0, 6, 7, 7, 18, 3]


@pytest.mark.filterwarnings("ignore:these .* are not the published")
def test_superclasses_are_the_labels_of_the_same_images(tmp_path, monkeypatch):
    five = list(cifar.PLACES["superclasses"].values())
    assert [len(classes) for classes in five] == [5] * 20
    assert sorted(name for names in five for name in names) == list(cifar.HUNDRED)
    assert cifar.coarse(np.arange(10)).tolist() == FIRST
    images, labels = few(10)
    official("cifar100", tmp_path / "a", images, labels, monkeypatch)
    hub("cifar100", tmp_path / "b" / "cifar100", images, labels)
    for root in (tmp_path / "a", tmp_path / "b", tmp_path / "b" / "cifar100"):
        found = load("cifar100-coarse", "test", data_root=root)
        same(found, images[6:], np.array(FIRST)[labels[6:]])
        assert found.classes == cifar.TWENTY and found.name == "cifar100-coarse-test"
    with pytest.raises(InputError, match="'cifar100' is neither in"):
        load("cifar100-coarse", data_root=tmp_path)


def test_superclasses_are_those_of_the_real_files():
    files = sorted((DATA / "cifar100").glob("*.parquet"))
    if not files:
        pytest.skip(f"no parquet files of cifar100 are in {DATA}")
    for file in files:
        table = pq.read_table(file, columns=["fine_label", "coarse_label"])
        found = cifar.coarse(table["fine_label"].to_numpy())
        assert found.tolist() == table["coarse_label"].to_pylist()


@pytest.mark.filterwarnings("ignore:these .* are not the published")
def test_numbers_follow_the_names_of_the_classes(tmp_path):
    images, labels = few(10)
    backwards = list(reversed(cifar.TEN))
    hub("cifar10", tmp_path / "cifar10", images, 9 - labels, backwards)
    same(load("cifar10", data_root=tmp_path), images[:6], labels[:6])
    # Without names of its own, the test split is numbered as the training split.
    hub("cifar10", tmp_path / "b", images, 9 - labels, backwards, parts=["train"])
    same(load("cifar10", "test", data_root=tmp_path / "b"), images[6:], labels[6:])
    # The hub spells a crab "cra".
    images, labels = few(100)
    names = ["cra" if n == "crab" else n for n in cifar.HUNDRED]
    hub("cifar100", tmp_path, images, labels, names)
    found = load("cifar100", data_root=tmp_path)
    assert found.classes == cifar.HUNDRED and found.labels.tolist() == [*labels[:6]]


def test_another_data_set_is_refused_by_name(tmp_path):
    images, labels = few(10)
    hub("cifar100", tmp_path / "a", images, labels, list(cifar.HUNDRED))
    with pytest.raises(InputError, match=r"has a class 'apple', but .* airplane"):
        load("cifar10", data_root=tmp_path / "a")
    hub("cifar10", tmp_path / "b", images, labels)
    with pytest.raises(
        InputError, match=r"b does not hold 'cifar100': .* 'fine_label'"
    ):
        load("cifar100", data_root=tmp_path / "b")
    # A folder of single pictures has another order than the published scores.
    (tmp_path / "c/train/frog").mkdir(parents=True)
    (tmp_path / "c/train/frog/0.png").write_bytes(png(images[0]))
    with pytest.raises(InputError, match=r"'cifar10' is neither in .*/c/cifar10 nor"):
        load("cifar10", data_root=tmp_path / "c")


def test_images_that_are_not_the_published_ones_are_noticed(tmp_path):
    images, labels = few(10)
    hub("cifar10", tmp_path, images, labels)
    with pytest.warns(Notice, match="these 6 train images are not the published ones"):
        load("cifar10", data_root=tmp_path)


@pytest.mark.filterwarnings("ignore:these .* are not the published")
def test_parquet_spares_the_download(tmp_path, monkeypatch):
    images, labels = few(10)
    hub("cifar10", tmp_path, images, labels)
    monkeypatch.setattr(datasets.CIFAR10, "download", pytest.fail)
    same(load("cifar10", data_root=tmp_path, download=True), images[:6], labels[:6])


# -- the shipped order of CIFAR-100 ----------------------------------------------------


@pytest.fixture
def moved(monkeypatch):
    """(images, labels) as official, as shipped: 1, 2 and 4 stand elsewhere."""
    images, labels = few(100)
    order = np.array([0, 4, 1, 3, 2, 5, 6, 7])
    marks = {str(at): cifar._mark(images[order[at]]) for at in (1, 2, 4)}
    monkeypatch.setattr(cifar, "PLACES", {"train": marks, "test": {}})
    return (images, labels), (images[order], labels[order])


@pytest.mark.filterwarnings("ignore:these .* are not the published")
@pytest.mark.parametrize("layout", ["torchvision", "hub"])
def test_official_files_are_put_into_the_shipped_order(
    tmp_path, monkeypatch, moved, layout
):
    files, shipped = moved
    if layout == "hub":
        hub("cifar100", tmp_path, *files)
    else:
        official("cifar100", tmp_path, *files, monkeypatch)
    with pytest.warns(Notice, match="3 of CIFAR-100's train images have other places"):
        found = load("cifar100", data_root=tmp_path)
    same(found, files[0][:6], files[1][:6])
    with pytest.warns(Notice, match="3 of CIFAR-100's train images were put where"):
        found = load("cifar100", data_root=tmp_path, order="shipped")
    same(found, shipped[0][:6], shipped[1][:6])
    monkeypatch.setenv("CCFS_CIFAR100_ORDER", "shipped")
    with pytest.warns(Notice, match="were put where"):
        assert load("cifar100", data_root=tmp_path).fingerprint == found.fingerprint


@pytest.mark.filterwarnings("ignore:these .* are not the published")
def test_shipped_order_stays_and_other_images_are_refused(tmp_path, moved):
    _, (images, labels) = moved
    hub("cifar100", tmp_path / "a", images, labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*places|.*were put")
        found = load("cifar100", data_root=tmp_path / "a", order="shipped")
    same(found, images[:6], labels[:6])
    hub("cifar100", tmp_path / "b", images ^ 1, labels)
    same(load("cifar100", data_root=tmp_path / "b"), images[:6] ^ 1, labels[:6])
    with pytest.raises(
        InputError, match="order is 'shipped', but these 6 train images"
    ):
        load("cifar100", data_root=tmp_path / "b", order="shipped")
    with pytest.raises(InputError, match="order is 'mine', but must be"):
        load("cifar100", data_root=tmp_path / "b", order="mine")


# -- the real files --------------------------------------------------------------------

# Of uint8 (N, 32, 32, 3), as ../shared/data/README.md has them.
PIXELS = {
    ("cifar10", "train"): "47af8b02cfcfb6cd",
    ("cifar10", "test"): "f9b1e2130bab680d",
    ("cifar100", "train"): "e5a39a72b6ba63b2",
    ("cifar100", "test"): "883bf32564b87a5b",
}
# What the full-size run wrote down in its results (ResNet-18, CIFAR-100, IPC 50).
RUN = {
    "train": "d1235b4d81d0cf6804152e78f51f030d34b95058e1637b521e162b0fc38861d6",
    "test": "f8d592e4d5773939b2a6633b459d369a8bfbf0a519575a0f7217c025d05ad979",
}


def there(name) -> bool:
    places = (CIFAR[name][1], f"{name}/{CIFAR[name][1]}", name)
    return any((DATA / place).is_dir() for place in places)


@pytest.mark.parametrize(("name", "split"), PIXELS)
def test_the_real_files_are_those_of_the_runs(monkeypatch, tmp_path, name, split):
    if not there(name):
        pytest.skip(f"{name} is not in {DATA}")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "these .* are not the published")
        warnings.filterwarnings("ignore", ".*CIFAR-100's")
        options = {"data_root": DATA, "order": "shipped", "cache_dir": CACHE}
        found = load(name, split, **options)
    if name == "cifar100":
        assert found.fingerprint == RUN[split]
    pixels = found.images.permute(0, 2, 3, 1).contiguous().numpy()
    assert hashlib.sha256(pixels).hexdigest()[:16] == PIXELS[name, split]
    scores = DATA / "scores" / f"cscores_{name.upper()}.npz"
    if split == "train" and scores.exists():  # they carry their own labels
        published = np.load(scores, allow_pickle=False)["labels"]
        assert found.labels.tolist() == published.tolist()
    if name == "cifar100":  # official files: any places within class and split
        other = np.arange(len(found))
        for label in (4, 74, 75):  # beaver, shrew, skunk
            at = [int(p) for p in cifar.PLACES[split] if found.labels[int(p)] == label]
            other[at] = np.roll(at, 1)
        images, labels = found.images.numpy()[other], found.labels.numpy()[other]
        back = cifar.shipped_order(images, split)
        assert torch.equal(torch.from_numpy(images[back]), found.images)
        assert (labels[back] == found.labels.numpy()).all()
        assert (back != np.arange(len(back))).sum() == len(cifar.PLACES[split])
