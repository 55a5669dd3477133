"""What others use: index files, folders and parquet, written, read back, refused."""

import json
from io import BytesIO

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from ccfs_lib import data
from ccfs_lib.data import ImageSet
from ccfs_lib.data.exchange import (
    read_folder,
    read_indices,
    write_folder,
    write_indices,
    write_parquet,
)
from ccfs_lib.errors import InputError


def test_round_trip_keeps_the_order(tmp_path):
    indices = np.array([7, 0, 99, 3], np.int64)
    path = write_indices(tmp_path / "new/folder/i.json", 4, 0.25, indices)
    assert json.loads(path.read_text()) == {
        "ipc": 4,
        "alpha": 0.25,
        "idx_selected": [7, 0, 99, 3],
    }
    read, alpha = read_indices(path, 4, 100)
    assert read.tolist() == [7, 0, 99, 3] and read.dtype == np.int64 and alpha == 0.25
    assert list(path.parent.iterdir()) == [path]  # no temporary file stays


def test_an_empty_selection_is_one(tmp_path):
    path = write_indices(tmp_path / "i.json", 4, 1.0, np.empty(0, np.int64))
    read, alpha = read_indices(path, 4, 10)
    assert read.tolist() == [] and read.dtype == np.int64 and alpha == 1.0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_indices(tmp_path / "i.json", 4, 0.5, np.array([1]))
    with pytest.raises((TypeError, ValueError)):
        write_indices(path, 4, 0.5, ["not a number"])
    assert read_indices(path, 4, 10)[0].tolist() == [1]


GOOD = {"ipc": 4, "alpha": 0.5, "idx_selected": [3, 1]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"idx_selected": [3, 3]}, "twice"),
        ({"idx_selected": [3, 10]}, r"3\.\.10"),
        ({"idx_selected": [-1, 3]}, r"-1\.\.3"),
        ({"ipc": 5}, "ipc 5"),
        ({"alpha": "half"}, "alpha"),
        ({"alpha": None}, "alpha"),
        ({"idx_selected": [1.5, 2]}, "idx_selected"),
        ({"idx_selected": [[3, 1]]}, "idx_selected"),
        ({"idx_selected": [True]}, "idx_selected"),
        ({"idx_selected": ["3"]}, "idx_selected"),
        ({"idx_selected": 3}, "idx_selected"),
        ({"idx_selected": {"3": 1}}, "idx_selected"),
        ({"idx_selected": [10**30]}, "idx_selected"),
        ({"idx_selected": None}, "idx_selected"),
    ],
)
def test_odd_content_is_refused_in_one_sentence(tmp_path, change, told):
    path = tmp_path / "i.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError, match=told) as error:
        read_indices(path, 4, 10)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"ipc": 4}', json.dumps(GOOD)[:-3], "\xff", "[" * 10**5]
)
def test_other_files_are_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "i.json"
    path.write_text(text, "latin-1")
    with pytest.raises(InputError) as error:
        read_indices(path, 4, 10)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="missing"):
        read_indices(tmp_path / "missing.json", 4, 10)


# -- images ----------------------------------------------------------------------------


@pytest.fixture
def images():
    """Twelve images of three classes, out of order, no two alike."""
    pixels = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.manual_seed(0))
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 0, 2, 1, 1, 2, 0])
    return ImageSet("made", pixels.to(torch.uint8), labels, ("a", "b", "c"))


def by_class(images):
    return [images.images[images.labels == c] for c in range(images.num_classes)]


def test_a_folder_comes_back_pixel_for_pixel(tmp_path, images):
    root = write_folder(images, tmp_path / "made")
    assert sorted(p.name for p in root.iterdir()) == ["new000", "new001", "new002"]
    assert [p.name for p in sorted((root / "new001").iterdir())] == [
        f"class001_id{i:03d}.png" for i in range(4)
    ]
    back = read_folder(root, images.classes, 4)
    assert back.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    pairs = zip(by_class(images), by_class(back), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    few = read_folder(root, images.classes, 2)
    assert torch.equal(few.images[:2], by_class(images)[0][:2]) and len(few) == 6
    # Pillow, an independent reader, sees the same pixels.
    with Image.open(root / "new002/class002_id001.png") as file:
        assert np.array_equal(
            np.asarray(file).transpose(2, 0, 1), by_class(images)[2][1].numpy()
        )


def test_a_jpeg_folder_is_lossy_and_read_as_pillow_reads_it(tmp_path, images):
    root = write_folder(images, tmp_path, "jpeg")
    back = read_folder(root, images.classes, 4)
    with Image.open(root / "new000/class000_id000.jpg") as file:
        pillow = np.asarray(file.convert("RGB")).transpose(2, 0, 1).astype(int)
    assert np.abs(pillow - back.images[0].numpy()).max() <= 2
    assert not torch.equal(back.images[:4], by_class(images)[0])
    with pytest.raises(InputError, match="form is 'gif'"):
        write_folder(images, tmp_path, "gif")


def test_files_count_in_the_authors_order(tmp_path):
    # Three digits and no more: id1000 comes between id100 and id101.
    few = torch.arange(3 * 1003, dtype=torch.int64).reshape(1003, 3, 1, 1) % 251
    pixels = few.to(torch.uint8).expand(1003, 3, 2, 2).contiguous()
    labels = torch.zeros(1003, dtype=torch.int64)
    write_folder(ImageSet("many", pixels, labels, ("a",)), tmp_path)
    back = read_folder(tmp_path, ("a",), 105)
    order = [*range(101), 1000, 1001, 1002, 101]
    assert torch.equal(back.images, pixels[torch.tensor(order)])


def spoil(root, kind):
    first = root / "new001/class001_id000.png"
    match kind:
        case "no folder":
            first.unlink()
            root.rename(root.with_name("elsewhere"))
        case "a class more":
            (root / "new003").mkdir()
        case "an image less":
            first.unlink()
        case "not an image":
            first.write_text("no image")
        case "cut off":
            first.write_bytes(first.read_bytes()[:-30])
        case "a cut jpeg":
            first.unlink()
            first.with_suffix(".jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
        case "another size":
            Image.new("RGB", (9, 8)).save(first)


@pytest.mark.parametrize(
    "kind",
    [
        *("no folder", "a class more", "an image less", "not an image", "cut off"),
        *("a cut jpeg", "another size"),
    ],
)
def test_an_odd_folder_is_refused_in_one_sentence(tmp_path, images, kind):
    root = write_folder(images, tmp_path / "made")
    spoil(root, kind)
    with pytest.raises(InputError) as error:
        read_folder(root, images.classes, 4)
    assert str(root) in str(error.value) and "\n" not in str(error.value)


def test_what_macos_leaves_in_a_folder_is_no_image(tmp_path, images):
    root = write_folder(images, tmp_path / "made")
    (root / "new001/._class001_id000.png").write_bytes(b"\0\5\26\7")
    (root / ".AppleDouble").mkdir()
    assert len(read_folder(root, images.classes, 4)) == 12


def test_parquet_is_read_by_the_library_and_by_pyarrow(tmp_path, images):
    path = write_parquet(images, tmp_path / "new/train-00000-of-00001.parquet")
    back = data.load(path.parent, "train", cache_dir=tmp_path)
    assert back.classes == images.classes and torch.equal(back.labels, images.labels)
    assert torch.equal(back.images, images.images)
    rows = pyarrow.parquet.read_table(path).to_pylist()
    with Image.open(BytesIO(rows[3]["image"]["bytes"])) as file:
        pixels = np.asarray(file).transpose(2, 0, 1)
    assert np.array_equal(pixels, images.images[3].numpy()) and rows[3]["label"] == 1
    assert list(path.parent.iterdir()) == [path]
