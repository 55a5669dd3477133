"""Data sets as people keep them: read with the right labels, or refused by name."""

import io
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import center_crop, pil_to_tensor

from ccfs_lib.cli import main
from ccfs_lib.data import decode, load, reduced
from ccfs_lib.data.resize import shrink, square
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import preset
from ccfs_lib.pipeline.trainings import Trainings


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCFS_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("CCFS_DATA", raising=False)


@pytest.fixture
def decoded(monkeypatch):
    """Counts the images that are decoded."""
    count, real = [], decode.decode
    monkeypatch.setattr(decode, "decode", lambda blob: count.append(1) or real(blob))
    return count


def picture(seed, width=8, height=8):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def blob(image, kind="PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write(path: Path, image, kind="PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob(image, kind))
    return path


def folders(root: Path, classes=("ant", "bee"), count=3, size=(8, 8)) -> Path:
    """root/train/<class>/*.png and root/test/<class>/*.png, no two alike."""
    for s, split in enumerate(("train", "test")):
        for c, name in enumerate(classes):
            for i in range(count - s):
                seed = 100 * s + 10 * c + i
                write(root / split / name / f"{i}.png", picture(seed, *size))
    return root


def pixels(paths) -> np.ndarray:
    """What Pillow reads, uint8 (N, 3, H, W)."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    return np.stack(images).transpose(0, 3, 1, 2)


def as_image_folder(root: Path, split="train", folder=None):
    """Compare with torchvision's ImageFolder, which must like every file."""
    oracle, found = ImageFolder(root / (folder or split)), load(root, split)
    assert np.array_equal(found.images, pixels([path for path, _ in oracle.samples]))
    assert found.labels.tolist() == [label for _, label in oracle.samples]


# -- A 2: numbers of classes -----------------------------------------------------------


def parquet(path: Path, labels, names=None, meta=None, size=(8, 8), start=0) -> Path:
    """One parquet file; names or a whole metadata block tell what labels mean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"bytes": blob(picture(start + i, *size)), "path": None}
        for i in range(len(labels))
    ]
    table = pa.table({"image": rows, "label": pa.array(labels, pa.int64())})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        meta = json.dumps({"info": {"features": features}})
    if meta is not None:
        table = table.replace_schema_metadata({"huggingface": meta})
    pq.write_table(table, path)
    return path


def test_splits_that_number_classes_differently_are_mapped_by_name(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 2], ["a", "b", "c"])
    parquet(tmp_path / "test.parquet", [0, 1, 1], ["b", "c"])
    test = load(tmp_path, "test")
    assert test.labels.tolist() == [1, 2, 2] and test.classes == ("a", "b", "c")
    # So are shards of one split.
    first, second = (f"train-0000{i}-of-00002.parquet" for i in (0, 1))
    parquet(tmp_path / "s" / first, [0, 1], ["a", "b"])
    parquet(tmp_path / "s" / second, [0, 1], ["b", "a"])
    assert load(tmp_path / "s").labels.tolist() == [0, 1, 1, 0]


def test_labels_without_names_beside_labels_with_names_are_noticed(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1], ["a", "b"])
    parquet(tmp_path / "test.parquet", [1, 1])
    with pytest.warns(Notice, match=r"test\.parquet names no classes: its labels"):
        assert load(tmp_path, "test").labels.tolist() == [1, 1]


def test_classes_without_a_test_image_are_noticed(tmp_path):
    parquet(tmp_path / "toy/train.parquet", [0, 1, 2] * 5)
    parquet(tmp_path / "toy/test.parquet", [1, 2] * 3)  # or did they mean 0 and 1?
    e = preset(str(tmp_path / "toy"), ipc=3, score="logits", curricula=1, alpha=0.4)
    with pytest.warns(Notice, match=r"toy-test has no image of 1 of 3 .* as '0'"):
        assert len(Trainings(e, device="cpu").test) == 6


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        (
            ["a", "b"],
            ["a", "d"],
            r"test\.parquet has a class 'd', .*train\.parquet are",
        ),
        (None, ["b", "a"], r"test\.parquet has a class 'b', .* are 0, 1"),
        (["a", "b"], ["a"], r"test\.parquet row 1 has label 1; integers from 0 to 0"),
    ],
)
def test_classes_that_cannot_be_compared_are_refused(tmp_path, train, test, told):
    parquet(tmp_path / "train.parquet", [0, 1], train)
    parquet(tmp_path / "test.parquet", [0, 1], test)
    with pytest.raises(InputError, match=told) as error:
        load(tmp_path, "test")
    assert "\n" not in str(error.value)


def test_a_table_of_another_number_of_classes_is_refused(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1], ["a", "b"])
    (tmp_path / "classes.tsv").write_text("0\ta\tant\n1\tb\tbee\n2\tc\tcat\n")
    with pytest.raises(InputError, match=r"classes\.tsv names 3 classes, but .* 2"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_splits_of_different_sizes_are_refused(tmp_path, kind):
    if kind == "folders":
        folders(tmp_path)
        for path in (tmp_path / "test").rglob("*.png"):
            write(path, picture(0, 6, 6))
    else:
        parquet(tmp_path / "train.parquet", [0, 1], ["a", "b"])
        parquet(tmp_path / "test.parquet", [0, 1], ["a", "b"], size=(6, 6))
    assert load(tmp_path).image_size == 8
    with pytest.raises(InputError, match=r"is 8x8 pixels, but the test split has 6x6"):
        load(tmp_path, "test")
    for split in ("train", "test"):
        found = reduced(load(tmp_path, split, image_size=4), image_size=4)
        assert found.image_size == 4


# -- A 4: litter -----------------------------------------------------------------------

LITTER = (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", "$RECYCLE.BIN")


def test_hidden_and_litter_folders_are_no_classes(tmp_path):
    root = folders(tmp_path / "d")
    before = {split: load(root, split) for split in ("train", "test")}
    for name in LITTER:
        for place in ("train", "train/ant", "test", "test/bee"):
            write(root / place / name / "x.png", picture(9))
            write(root / place / name / "deep" / "x.png", picture(9))
        write(root / name / "train/ant/x.png", picture(9))
    write(root / "train/ant/._0.png", picture(9))
    for split, known in before.items():
        found = load(root, split)
        assert found.classes == ("ant", "bee")
        assert found.fingerprint == known.fingerprint


def test_litter_in_the_archive_is_no_class(tmp_path):
    members = {"words.txt": b"n1\tant\n", "val/val_annotations.txt": b"0.JPEG\tn1\n"}
    members["val/images/0.JPEG"] = blob(picture(0), "JPEG")
    members["train/n1/images/0.JPEG"] = blob(picture(1), "JPEG")
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
            archive.writestr(f"__MACOSX/tiny-imagenet-200/{name}", content)
        archive.writestr("tiny-imagenet-200/train/@eaDir/x/0.JPEG", b"thumbnail")
    for split in ("train", "test"):
        found = load(tmp_path / "tiny-imagenet-200.zip", split)
        assert (len(found), found.classes) == (1, ("ant",))


def test_litter_beside_parquet_is_no_shard(tmp_path):
    parquet(tmp_path / "train/0000.parquet", [0, 1])
    (tmp_path / "train/._0000.parquet").write_bytes(b"\0\5\26\7")
    assert len(load(tmp_path)) == 2


def test_parquet_and_class_folders_side_by_side_are_refused(tmp_path):
    root = folders(tmp_path / "d")
    parquet(root / "train-0.parquet", [0, 1])
    parquet(root / "test-0.parquet", [0, 1])
    for split in ("train", "test"):
        with pytest.raises(InputError, match=r"train-0\.parquet and a folder train/"):
            load(root, split)


# -- A 5: nothing left out without a word ----------------------------------------------


def test_image_folders_suffixes_and_linked_folders_are_read(tmp_path):
    root = folders(tmp_path / "d")
    for i, kind in enumerate(("TIFF", "TIFF", "PPM", "BMP")):
        name = ("5.tif", "6.TIFF", "7.ppm", "8.bmp")[i]
        write(root / "train/ant" / name, picture(50 + i), kind)
    Image.open(io.BytesIO(blob(picture(60)))).convert("L").save(
        root / "train/bee/9.pgm", "PPM"
    )
    write(tmp_path / "elsewhere/more/1.png", picture(61))
    (root / "train/bee/linked").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "cat/0.png", picture(62))
    (root / "train/cat").symlink_to(tmp_path / "cat")
    (root / "train/ant/twin.png").symlink_to(root / "train/ant/0.png")
    as_image_folder(root)
    assert len(load(root)) == 14


def test_what_is_not_read_is_counted_in_one_notice(tmp_path):
    root = folders(tmp_path / "d")
    for name in ("a.gif", "b.gif", "c.HEIC", "notes.txt", "boxes.csv", "Thumbs.db"):
        (root / "train/ant" / name).touch()
    write(root / "train/loose.png", picture(1))
    with pytest.warns(Notice) as told:
        assert len(load(root)) == 6
    assert len(told) == 1
    counts = "not read are 2 .gif, 1 .heic, 1 images outside of class folders;"
    assert counts in str(told[0].message)


@pytest.mark.parametrize("place", ["train/ant/x.png", "train/ant/more", "train/cat"])
def test_a_dangling_link_is_a_sentence(tmp_path, place):
    root = folders(tmp_path / "d")
    (root / place).symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=rf"{place} is a link to .*gone, which is not"):
        load(root)


def test_a_link_to_its_own_folder_is_a_sentence(tmp_path):
    root = folders(tmp_path / "d")
    (root / "train/ant/again").symlink_to(root / "train")
    with pytest.raises(InputError, match=r"again is a link to .*, in which it lies"):
        load(root)
    (root / "train/ant/again").unlink()
    (root / "train/ant/a").symlink_to(root / "train/bee")
    (root / "train/bee/b").symlink_to(root / "train/ant")
    with pytest.raises(InputError, match="is a link to"):
        load(root)


def test_a_folder_that_cannot_be_read_is_a_sentence(tmp_path, monkeypatch):
    root, scan = folders(tmp_path / "d"), os.scandir

    def refuse(path="."):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"bee cannot be read: .*Permission denied"):
        load(root)


# -- A 6: Tiny-ImageNet as people re-order it ------------------------------------------


def tiny(root: Path) -> Path:
    """The official layout with two classes of three images, and an unlabelled test."""
    (root / "val/images").mkdir(parents=True)
    (root / "words.txt").write_text("n1\tant\nn2\tbee\n")
    rows = []
    for c, wnid in enumerate(("n2", "n1")):
        for i in range(3):
            write(root / f"train/{wnid}/images/{wnid}_{i}.JPEG", picture(i), "JPEG")
            write(root / f"val/images/val_{c}{i}.JPEG", picture(10 * c + i), "JPEG")
            rows.append(f"val_{c}{i}.JPEG\t{wnid}\t0\t0\t9\t9\n")
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("boxes")
    (root / "val/val_annotations.txt").write_text("".join(rows))
    write(root / "test/images/test_0.JPEG", picture(99), "JPEG")
    return root


def reorder(root: Path, below="", keep_images=False) -> None:
    """As the usual script does: val/<wnid>/[images/]val_*.JPEG."""
    for row in (root / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = row.split("\t")[:2]
        (root / "val" / wnid / below).mkdir(parents=True, exist_ok=True)
        os.replace(root / "val/images" / name, root / "val" / wnid / below / name)
    if not keep_images:
        (root / "val/images").rmdir()


@pytest.mark.parametrize("below", ["", "images"])
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.filterwarnings("ignore:.*test holds no class")
def test_a_reordered_validation_folder_is_the_same_split(tmp_path, below, table, keep):
    root = tiny(tmp_path / "tiny-imagenet-200")
    before = load(root, "test")
    assert before.labels.tolist() == [0] * 3 + [1] * 3
    reorder(root, below, keep)
    if not table:
        (root / "val/val_annotations.txt").unlink()
    after = load(root, "test")
    assert after.fingerprint == before.fingerprint and after.classes == ("ant", "bee")


def test_a_split_that_is_passed_over_is_named(tmp_path):
    root = tiny(tmp_path / "t")
    reorder(root)
    with pytest.warns(Notice, match=r"t/test holds no class of .*, so .* is .*t/val"):
        load(root, "test")


def test_an_image_that_the_table_names_twice_is_a_sentence(tmp_path):
    root = tiny(tmp_path / "t")
    table, before = root / "val/val_annotations.txt", load(root, "test")
    rows = table.read_text()
    wnids = {row.split("\t")[1] for row in rows.splitlines()}
    for wnid in wnids:  # the same row again, and another class for the same image
        table.write_text(f"{rows}val_00.JPEG\t{wnid}\t0\t0\t9\t9\n")
        with pytest.raises(InputError, match=r"names val_00\.JPEG twice"):
            load(root, "test")
    # As an editor of Windows saves it.
    table.write_bytes(b"\xef\xbb\xbf" + rows.replace("\n", "\r\n").encode())
    assert load(root, "test").fingerprint == before.fingerprint


def test_a_test_split_that_cannot_be_one_is_a_sentence(tmp_path):
    root = tiny(tmp_path / "t")
    (root / "val/images/val_11.JPEG").unlink()
    with pytest.raises(
        InputError, match=r"val_11\.JPEG cannot be read: .*No such file"
    ):
        load(root, "test")
    for path in sorted((root / "val").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match="test/images is a class without a folder in"):
        load(root, "test")


def test_parquet_without_labels_is_no_test_split(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1], ["a", "b"])
    parquet(tmp_path / "test.parquet", [-1, -1], ["a", "b"])
    parquet(tmp_path / "validation.parquet", [1, 0], ["a", "b"], start=5)
    assert load(tmp_path, "test").labels.tolist() == [1, 0]
    (tmp_path / "validation.parquet").unlink()
    with pytest.raises(InputError, match=r"test\.parquet row 0 has label -1"):
        load(tmp_path, "test")


# -- A 7: odd sizes --------------------------------------------------------------------


def oracle(image: Image.Image, size: int) -> torch.Tensor:
    """torchvision's centre square, then each pixel the mean of its area."""
    whole = pil_to_tensor(image)
    return shrink(center_crop(whole, min(image.size))[None], size)[0]


def mixed(root: Path) -> Path:
    """Two classes of images of 12x9, 9x12, 16x16, 6x6, 8x8 pixels."""
    sizes = [(12, 9), (9, 12), (16, 16), (6, 6), (8, 8)]
    for split in ("train", "test"):
        for c in ("ant", "bee"):
            for i, size in enumerate(sizes):
                seed = 20 * (split == "test") + 10 * (c == "bee") + i
                write(root / split / c / f"{i}.png", picture(seed, *size))
    return root


@pytest.mark.parametrize("split", ["train", "test"])
def test_mixed_sizes_are_cropped_and_resized(tmp_path, split, decoded):
    root = mixed(tmp_path / "d")
    with pytest.warns(Notice, match=r"0\.png is 12x9 pixels, so all are .* to 8x8"):
        found = load(root, split, image_size=8)
    paths = [path for path, _ in ImageFolder(root / split).samples]
    expected = torch.stack([oracle(Image.open(path), 8) for path in paths])
    assert torch.equal(found.images, expected)
    assert reduced(found, image_size=8) is found
    decoded.clear()
    assert load(root, split, image_size=8).fingerprint == found.fingerprint
    assert not decoded
    assert load(root, split, image_size=6).images.shape[2:] == (6, 6)


def test_resizing_covers_what_torchvision_covers():
    """A ramp that is resized first and cropped then, the usual order."""
    ramp = np.add.outer(np.arange(32) * 3, np.arange(48) * 2).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp] * 3, 2))
    small = image.resize((12, 8), Image.Resampling.BOX)
    expected = center_crop(pil_to_tensor(small), 8)
    found = square(pil_to_tensor(image), 8)
    assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((9, 8), "1.png is 9x8 pixels: all images must be squares"),
        ((9, 9), "1.png is 9x9 pixels, but .*0.png is 8x8: all images must be squares"),
    ],
)
@pytest.mark.parametrize("kind", ["folders", "parquet"])
def test_odd_sizes_are_refused_before_anything_is_decoded(
    tmp_path, size, told, kind, decoded
):
    if kind == "folders":
        write(folders(tmp_path) / "train/bee/1.png", picture(0, *size))
    else:
        rows = [{"bytes": blob(picture(i))} for i in range(2)]
        rows += [{"bytes": blob(picture(2, *size))}]
        table = pa.table({"image": rows, "label": [0, 1, 1]})
        pq.write_table(table, tmp_path / "train.parquet")
        told = told.replace("1.png", "row 2").replace("0.png", "row 0")
    with pytest.raises(InputError, match=f"{told}.*; with image_size given") as error:
        load(tmp_path)
    assert not decoded and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF"])
def test_sizes_by_header_are_those_of_the_pixels(kind):
    for width, height in ((7, 9), (300, 2), (1, 1), (64, 64)):
        image = picture(width, width, height)
        assert decode.size(blob(image, kind)) == (width, height)
    if kind == "JPEG":  # progressive, with a thumbnail and a comment before the frame
        file = io.BytesIO()
        options = {"progressive": True, "comment": b"x" * 5000, "dpi": (72, 72)}
        picture(0, 33, 21).save(file, "JPEG", exif=b"Exif\0\0" + b"y" * 9000, **options)
        assert decode.size(file.getvalue()) == (33, 21)


def test_the_dry_run_refuses_and_takes_the_same(tmp_path, monkeypatch, capsys, decoded):
    root = mixed(tmp_path / "d")

    def dry(*more) -> int:
        arms = ["--arms", "random", "--ipc", "4", "--seeds", "1", "--alpha", "0"]
        words = ["sweep", "--dataset", str(root), "--score", "forgetting", *arms, *more]
        monkeypatch.setattr(sys, "argv", ["ccfs", *words, "--dry-run"])
        try:
            main()
        except SystemExit as stop:
            return stop.code or 0
        return 0

    assert dry() == 2
    told = capsys.readouterr().err
    assert "0.png is 12x9 pixels: all images must be squares of one size; with" in told
    assert told.count("\n") == 1 and not decoded
    assert dry("--image-size", "8") == 0
    assert "nothing was trained" in capsys.readouterr().out


# -- A 8: metadata, first numbers, places ----------------------------------------------


@pytest.mark.parametrize(
    "meta",
    [
        "{",
        "\xff\xfe",
        "[]",
        "3",
        "null",
        '{"info": null}',
        '{"info": {"features": []}}',
        '{"info": {"features": {"label": {"names": 3}}}}',
        '{"info": {"features": {"label": {"names": "ab"}}}}',
        '{"info": {"features": {"label": {"names": ["a", 1]}}}}',
        '{"info": {"features": {"label": {"names": ["a", "a"]}}}}',
        "[" * 100_000,
    ],
)
def test_damaged_metadata_is_noticed_and_the_file_read(tmp_path, meta):
    path = parquet(tmp_path / "train.parquet", [0, 1, 1], meta=meta.encode("latin-1"))
    with pytest.warns(
        Notice, match=r"train\.parquet: its 'huggingface' metadata"
    ) as told:
        found = load(path)
    assert found.labels.tolist() == [0, 1, 1] and found.classes == ("0", "1")
    assert len(told) == 1


def test_labels_that_are_no_classes_are_a_sentence(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 2**40])
    with pytest.raises(InputError, match="training labels up to 1099511627776 without"):
        load(tmp_path)


def test_labels_may_begin_at_one(tmp_path):
    parquet(tmp_path / "train.parquet", [1, 3, 2])
    parquet(tmp_path / "test.parquet", [3, 1])
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.labels.tolist() == [0, 2, 1] and train.classes == ("1", "2", "3")
    assert test.labels.tolist() == [2, 0] and test.classes == train.classes
    parquet(tmp_path / "test.parquet", [3, 0])
    with pytest.raises(InputError, match=r"row 1 has label 0; integers from 1 to 3"):
        load(tmp_path, "test")
    parquet(tmp_path / "named.parquet", [1, 3, 2], ["a", "b", "c"])
    with pytest.raises(
        InputError, match=r"named\.parquet row 1 has label 3; .* 0 to 2"
    ):
        load(tmp_path / "named.parquet")


@pytest.mark.parametrize(
    "place",
    ["train/0000", "default/train/0000", "data/train-00000-of-00001", "mine/train"],
)
def test_the_hubs_folders_are_found(tmp_path, place):
    parquet(tmp_path / f"{place}.parquet", [0, 1], ["a", "b"])
    test = place.replace("train", "test")
    parquet(tmp_path / f"{test}.parquet", [1], ["a", "b"], start=7)
    assert load(tmp_path).labels.tolist() == [0, 1]
    assert load(tmp_path, "test").labels.tolist() == [1]


def test_folders_of_images_below_data_are_found(tmp_path):
    root = folders(tmp_path / "d/data")
    assert load(tmp_path / "d").fingerprint == load(root).fingerprint
    folders(tmp_path / "d/other")
    with pytest.raises(
        InputError, match=r"several data sets \(data, other\): name one"
    ):
        load(tmp_path / "d")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train/0000", "train/0002"], "has 2 train parquet files, .* promise 3"),
        (["train/0001"], "1 train parquet files, .* promise 2, numbered from 0"),
        (["train-00000-of-00001", "train-00000-of-00002"], "has 2 train .* promise 2"),
        (["train-00001-of-00002", "train-00002-of-00002"], "has 2 train"),
    ],
)
def test_shards_that_are_not_whole_are_refused(tmp_path, names, told):
    for name in names:
        parquet(tmp_path / f"{name}.parquet", [0, 1])
    with pytest.raises(InputError, match=told):
        load(tmp_path)


def test_text_that_is_none_is_a_sentence(tmp_path):
    root = tiny(tmp_path / "t")
    (root / "words.txt").write_bytes(b"n1\t\xff\xfe\n")
    with pytest.raises(InputError, match=r"words\.txt cannot be read"):
        load(root)
    (root / "words.txt").unlink()
    (root / "val/val_annotations.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt cannot be read"):
        load(root, "test")
