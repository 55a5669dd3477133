"""What others use: index files, folders and parquet, written, read back, refused."""

import json
import warnings
from io import BytesIO

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from ccfs_lib import data
from ccfs_lib.data import ImageSet, cifar
from ccfs_lib.data.exchange import (
    agreement,
    read_folder,
    read_indices,
    write_folder,
    write_indices,
    write_parquet,
)
from ccfs_lib.errors import InputError, Notice


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


def test_a_folder_of_cifar100_serves_its_superclasses(tmp_path):
    pixels = torch.arange(300, dtype=torch.int16).reshape(300, 1, 1, 1) % 256
    pixels = pixels.to(torch.uint8).expand(300, 3, 8, 8).contiguous()
    labels = torch.arange(300) // 3
    fine = ImageSet("fine", pixels, labels, cifar.HUNDRED)
    root = write_folder(fine, tmp_path / "made")
    back = read_folder(root, cifar.TWENTY, 10)
    assert back.classes == cifar.TWENTY
    assert torch.equal(back.labels, torch.arange(20).repeat_interleave(10))
    for label, name in enumerate(cifar.TWENTY):
        five = [cifar.HUNDRED.index(c) for c in cifar.PLACES["superclasses"][name]]
        mine = torch.cat([pixels[labels == c][:2] for c in sorted(five)])
        assert torch.equal(back.images[back.labels == label], mine)
    with pytest.raises(InputError, match=r"11 images per class .* multiple of 5"):
        read_folder(root, cifar.TWENTY, 11)
    with pytest.raises(InputError, match="100 class folders, but there are 3"):
        read_folder(root, ("a", "b", "c"), 5)


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


# -- whose class is a folder -----------------------------------------------------------


def labelled_folders(root, names):
    """One image in each folder, its grey level ten times the folder's place."""
    for i, name in enumerate(names):
        (root / name).mkdir(parents=True)
        grey = Image.new("RGB", (8, 8), (10 * i,) * 3)
        grey.save(root / name / "0.png")
    return root


def levels(root, classes):
    """Which of the folders' places is read as class 0, 1, ...; one image each."""
    back = read_folder(root, tuple(classes), 1)
    assert back.labels.tolist() == list(range(len(classes)))
    return (back.images[:, 0, 0, 0] // 10).tolist()


TEN = ["airplane", "automobile", "bird", "cat", "deer"]
TEN += ["dog", "frog", "horse", "ship", "truck"]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ([f"new{i}" for i in range(10)], TEN),
        ([f"new{i}" for i in range(1, 11)], TEN),
        ([f"new{i:03d}" for i in range(10)], TEN),
        ([str(i) for i in range(1, 13)], [f"c{i}" for i in range(12)]),
        ([f"class_{i}" for i in range(12)], [f"c{i}" for i in range(12)]),
        (TEN, TEN),
        ([name.title() for name in TEN], TEN),
        (["e\u0301te\u0301", "ho\u0302te"], ["\u00e9t\u00e9", "h\u00f4te"]),  # as macOS
        (["palm tree", "bed", "Oak-Tree"], ["palm_tree", "bed", "oak_tree"]),
        ([str(i) for i in range(11)], [str(i) for i in range(11)]),
        (["9", "10", "8"], ["9", "10", "8"]),  # names, whatever they count
        (["n00000002", "n00000005", "n10000000"], ["goldfish", "toad", "newt"]),
    ],
)
def test_folders_are_of_the_class_they_are_named_or_numbered(tmp_path, names, classes):
    root = labelled_folders(tmp_path, names)
    assert levels(root, classes) == list(range(len(names)))


def test_class_names_need_not_be_sorted(tmp_path):
    root = labelled_folders(tmp_path, ["frog", "cat", "dog"])
    assert levels(root, ["cat", "dog", "frog"]) == [1, 2, 0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["katze", "hund", "frosch"],
            r"frosch is neither .*\(cat, dog, frog, \.\.\.\)",
        ),
        (["new0", "new1", "other"], "other is neither one of the classes"),
        (["new0", "new1", "old2"], "neither one of the classes"),
        (["new0", "new1", "new3"], "numbered 0 to 3, but 3 classes"),
        (["new2", "new3", "new4"], "numbered 2 to 4"),
        (["new998", "new999", "new1000"], "numbered 998 to 1000"),
        (["new1", "new01", "new2"], "without a gap"),
        (["cat", "dog"], "has 2 class folders, but there are 3"),
    ],
)
def test_folders_of_other_classes_are_refused(tmp_path, names, told):
    root = labelled_folders(tmp_path / "made", names)
    with pytest.raises(InputError, match=told) as error:
        levels(root, ["cat", "dog", "frog"])
    assert str(root) in str(error.value) and "\n" not in str(error.value)


def test_litter_is_no_class_and_other_kinds_are_counted(tmp_path, images):
    root = write_folder(images, tmp_path / "made")
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        (root / name).mkdir()
        (root / "new001" / name).mkdir()
    (root / "new001/tensor.npy").touch()
    with pytest.warns(Notice, match=r"made: not read are 1 \.npy;"):
        assert len(read_folder(root, images.classes, 4)) == 12
    (root / "new003").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"new003 is a link to .*gone, which is not"):
        read_folder(root, images.classes, 4)


def test_agreement_is_a_percentage_and_noticed_near_chance(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agreement(images, images.labels) == 100
        few = images.labels.clone()
        few[:2] = (few[:2] + 1) % 3
        assert agreement(images, few.numpy()) == pytest.approx(100 * 10 / 12)
    with pytest.warns(Notice, match=r"takes 0\.0 % of .*'made' .* chance is 33\.3 %"):
        agreement(images, (images.labels + 1) % 3)
    many = ImageSet(
        "many",
        torch.zeros(1000, 3, 1, 1, dtype=torch.uint8),
        torch.arange(1000) % 10,
        tuple(TEN),
    )
    # What sorting new1, new10, new2, ... makes of ten classes: only the first is right.
    answers = torch.tensor([int(n) - 1 for n in sorted(map(str, range(1, 11)))])
    with pytest.warns(Notice, match="numbered as those of the training images"):
        assert agreement(many, answers[many.labels]) == 10
    with pytest.raises(InputError, match=r"predictions are \(3,\), but there are 12"):
        agreement(images, [0, 1, 2])


# -- counts of a selection -------------------------------------------------------------


def test_counts_per_class_are_checked_against_the_quota(tmp_path):
    labels = np.arange(30) % 3
    path = tmp_path / "i.json"

    def read(indices, quota=2):
        write_indices(path, 4, 0.5, indices)
        return read_indices(path, 4, 30, labels, quota)[0].tolist()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read([5, 0, 3, 1, 4, 2]) == [5, 0, 3, 1, 4, 2]
    with pytest.raises(
        InputError, match=r"3 images of class 1, .* leave 2 real images"
    ):
        read([1, 4, 7, 0, 3, 2])
    with pytest.warns(Notice, match="3 of 6 images: fewer than 2 in 2 of 3 "):
        assert read([0, 3, 1]) == [0, 3, 1]
    with pytest.raises(InputError, match="leave 0 real"):
        read([0], quota=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ipc": "4"}, "ipc is '4', which is no whole number"),
        ({"ipc": True}, "ipc is True"),
        ({"ipc": 4.0}, r"ipc is 4\.0"),
        ({"alpha": "0.5"}, r"alpha is '0\.5', which is no number"),
        ({"alpha": True}, "alpha is True"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"alpha": 1.5}, r"alpha is 1\.5"),
        ({"idx_selected": "31"}, "idx_selected is not a list"),
    ],
)
def test_numbers_that_are_none_are_told_apart(tmp_path, change, told):
    path = tmp_path / "i.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError, match=told) as error:
        read_indices(path, 4, 10)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
