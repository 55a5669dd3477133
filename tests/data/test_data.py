"""ImageSet and load: every source from small fixtures, against independent oracles."""

import hashlib
import io
import json
import os
import pickle
import urllib.error
import urllib.request
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ccfs_lib.data import (
    ImageSet,
    catalogue,
    channel_stats,
    concat,
    decode,
    load,
    members,
    reduced,
)
from ccfs_lib.data.shrink import shrink
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import KNOWN, preset
from ccfs_lib.pipeline import Pipeline

SHARED = Path(
    os.environ.get("CCFS_DATA") or Path(__file__).parents[3] / "shared" / "data"
)
needs_shared = pytest.mark.skipif(
    not (SHARED / "cifar10-jpeg").is_dir() or not (SHARED / "tiny-imagenet").is_dir(),
    reason=f"development images are not in {SHARED}",
)


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CCFS_DATA", raising=False)


@pytest.fixture
def offline(monkeypatch):
    """No network: returns the list of addresses that were asked for."""
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(getattr(request, "full_url", request))
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


@pytest.fixture
def decodes(monkeypatch):
    """Counts decoded images."""
    count, real = [], decode.decode
    monkeypatch.setattr(decode, "decode", lambda blob: count.append(1) or real(blob))
    return count


def photo(seed, size=8, grey=False):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4) if grey else (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG"):
    file = io.BytesIO()
    image.save(file, kind, quality=80)
    return file.getvalue()


def pixels(blob):
    """Oracle: what Pillow makes of an encoded image, (3, H, W)."""
    return np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")).transpose(2, 0, 1)


def write_parquet(path, blobs, labels, image="image", label="label", names=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    structs = [{"bytes": blob, "path": f"{i}.jpg"} for i, blob in enumerate(blobs)]
    table = pa.table({image: structs, label: pa.array(labels, pa.int64())})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path, write_page_checksum=True)


def shards(folder, size=8, **kwargs):
    """Two training shards and a test shard, the second training image grey."""
    blobs = [encoded(photo(i, size, grey=i == 1)) for i in range(9)]
    labels = [2, 0, 1, 1, 0, 2, 0, 1, 2]
    write_parquet(
        folder / "train-00000-of-00002.parquet", blobs[:4], labels[:4], **kwargs
    )
    write_parquet(
        folder / "train-00001-of-00002.parquet", blobs[4:6], labels[4:6], **kwargs
    )
    write_parquet(
        folder / "valid-00000-of-00001.parquet", blobs[6:], labels[6:], **kwargs
    )
    return blobs, labels


def same(found, blobs, labels):
    assert found.images.dtype == torch.uint8 and found.labels.dtype == torch.int64
    np.testing.assert_array_equal(found.images, np.stack([pixels(b) for b in blobs]))
    assert found.labels.tolist() == labels


def make(n=12, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 5, 5), generator=generator, dtype=torch.uint8)
    names = tuple("abcdefgh"[:classes])
    return ImageSet("made", images, torch.arange(n) % classes, names)


# ------------------------------------------------------------------- ImageSet


def test_fingerprint_is_the_documented_hash_and_sees_one_pixel_or_label():
    a = make()
    text = b"(12, 3, 5, 5)" + a.images.numpy().tobytes() + a.labels.numpy().tobytes()
    assert a.fingerprint == hashlib.sha256(text).hexdigest()
    image, label = a.images.clone(), a.labels.clone()
    image[7, 1, 2, 3] ^= 1
    label[7] = (label[7] + 1) % 3
    other = [
        ImageSet("a", image, a.labels, a.classes),
        ImageSet("a", a.images, label, a.classes),
        ImageSet("a", a.images.reshape(3, 3, 10, 10), a.labels[:3], a.classes),
    ]
    assert len({a.fingerprint, *(o.fingerprint for o in other)}) == 4
    renamed = ImageSet("b", a.images, a.labels, tuple("xyz"))
    assert renamed.fingerprint == a.fingerprint


def test_subset_and_concat_keep_images_with_their_labels():
    a = make()
    part = a.subset(np.array([5, 0, 5]), "part")
    assert (part.name, len(part), part.class_sizes) == ("part", 3, [1, 0, 2])
    assert torch.equal(part.images, torch.stack([a.images[i] for i in (5, 0, 5)]))
    assert len(a.subset([])) == 0 and a.subset([]).class_sizes == [0, 0, 0]
    both = concat(a.subset(range(4)), a.subset(range(4, 12)))
    assert both.fingerprint == a.fingerprint
    assert (both.num_classes, both.image_size) == (3, 5)


@pytest.mark.parametrize("indices", [[True] * 12, [0.0, 1.0], [12], [-1], [[0, 1]]])
def test_subset_refuses_what_would_select_the_wrong_images(indices):
    with pytest.raises(InputError, match="ind"):
        make().subset(indices)


def test_image_set_refuses_parts_that_do_not_fit():
    a = make()
    with pytest.raises(InputError, match=r"images are torch.float32"):
        ImageSet("a", a.images.float(), a.labels, a.classes)
    with pytest.raises(InputError, match=r"labels are .*\(11,\)"):
        ImageSet("a", a.images, a.labels[1:], a.classes)
    with pytest.raises(InputError, match="from 0 to 2, but there are 2 classes"):
        ImageSet("a", a.images, a.labels, ("a", "b"))
    with pytest.raises(InputError, match="sizes or classes differ"):
        concat(a, make(classes=4))


def test_channel_stats_are_those_of_all_pixels():
    a = make(5000)
    mean, std = channel_stats(a)
    unit = a.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, unit.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, unit.std((0, 2, 3)), rtol=1e-12)
    assert all(type(v) is float for v in (*mean, *std))


# --------------------------------------------------------------------- digits


def test_digits_are_scikit_learns_split_by_running_number():
    from sklearn.datasets import load_digits

    bundle = load_digits()
    expected = {"train": [], "test": []}
    seen = [0] * 10
    for i, label in enumerate(bundle.target):
        expected["test" if seen[label] % 4 == 3 else "train"].append(i)
        seen[label] += 1
    for split, indices in expected.items():
        found = load("digits", split)
        grey = (bundle.images[indices] * 255 / 16).round()
        for channel in range(3):
            np.testing.assert_array_equal(found.images[:, channel], grey)
        assert found.labels.tolist() == bundle.target[indices].tolist()
        assert found.classes == tuple("0123456789")
    assert [len(v) for v in expected.values()] == [1352, 445]


# -------------------------------------------------------------------- parquet


@pytest.mark.parametrize(
    "image, label", [("image", "label"), ("img", "label"), ("img", "fine_label")]
)
def test_parquet_shards_in_order_with_grey_images(tmp_path, image, label):
    blobs, labels = shards(tmp_path / "p", image=image, label=label)
    same(load(tmp_path / "p"), blobs[:6], labels[:6])
    test = load(str(tmp_path / "p"), "test")
    same(test, blobs[6:], labels[6:])
    assert test.classes == ("0", "1", "2")
    grey = load(tmp_path / "p").images[1]
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])
    one = load(tmp_path / "p" / "train-00001-of-00002.parquet")
    same(one, blobs[4:6], labels[4:6])


def test_class_names_from_table_then_metadata_then_cifar(tmp_path):
    shards(tmp_path / "cifar10-jpeg", size=32, image="img")
    found = load("cifar10-jpeg", data_root=tmp_path)
    assert found.classes[3:6] == ("cat", "deer", "dog") and found.num_classes == 10
    own = load("cifar10-jpeg", "test", data_root=tmp_path / "cifar10-jpeg")
    assert own.image_size == 32
    shards(tmp_path / "named", names=["ant", "bee", "crow"])
    assert load(tmp_path / "named", "test").classes == ("ant", "bee", "crow")
    table = "0\tn1\tcrane, bird\n1\tn2\tcrane\n2\tn3\tdog, hound\n"
    (tmp_path / "named" / "classes.tsv").write_text(table)
    assert load(tmp_path / "named").classes == ("crane (n1)", "crane (n2)", "dog")
    (tmp_path / "named" / "classes.tsv").write_text(table[8:])
    with pytest.raises(InputError, match=r"classes\.tsv must have rows"):
        load(tmp_path / "named")


def test_truncated_parquet_names_the_file(tmp_path):
    shards(tmp_path / "p")
    path = tmp_path / "p" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"train-00001.* cannot be read"):
        load(tmp_path / "p")


def test_flipped_bytes_in_parquet_are_noticed(tmp_path):
    shards(tmp_path / "p")
    path = tmp_path / "p" / "train-00000-of-00002.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[400:404] = b"\0\0\0\0"  # inside the first page of image bytes
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"train-00000.*row 0.* cannot be read"):
        load(tmp_path / "p")


def test_bad_image_label_size_or_column_names_the_row(tmp_path):
    good = [encoded(photo(i)) for i in range(3)]
    path = tmp_path / "p" / "train.parquet"

    def message(blobs, labels, **kwargs):
        write_parquet(path, blobs, labels, **kwargs)
        with pytest.raises(InputError) as error:
            load(path)
        return str(error.value)

    names = {"names": ["a", "b"]}
    assert "row 2 cannot" in message([*good[:2], good[2][:-200]], [0, 1, 1])
    assert "row 1 cannot" in message([good[0], b"GIF89a?", good[2]], [0, 1, 1])
    assert "row 1 lacks image or label" in message([good[0], None], [0, 1])
    assert "row 2 has label 2" in message(good, [0, 1, 2], **names)
    assert "row 0 has label -1" in message(good, [-1, 1, 1], **names)
    odd = message([*good[:2], encoded(photo(0, 9))], [0, 1, 1])
    assert "row 2 is 9x9" in odd and "row 0 is 8x8" in odd
    assert "columns picture (struct" in message(good, [0, 1, 1], image="picture")
    empty = pq.read_table(path).slice(0, 0).rename_columns(["image", "label"])
    pq.write_table(empty, path)
    with pytest.raises(InputError, match="holds no images"):
        load(path)


def test_a_missing_shard_or_split_is_noticed(tmp_path):
    shards(tmp_path / "p")
    with pytest.raises(InputError, match="one parquet file and has no test split"):
        load(tmp_path / "p" / "train-00000-of-00002.parquet", "test")
    (tmp_path / "p" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"1 train parquet files, .* promise 2"):
        load(tmp_path / "p")
    (tmp_path / "p" / "train-00001-of-00002.parquet").rename(
        tmp_path / "p/train.parquet"
    )
    (tmp_path / "p" / "valid-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match="has no test or val"):
        load(tmp_path / "p", "test")


# ---------------------------------------------------- Tiny-ImageNet and folders


def tiny_tree(root):
    """The official layout with three classes; returns {path in the archive: bytes}."""
    files = {
        "wnids.txt": b"n03\nn01\nn02\n",  # unsorted, as the official one
        "words.txt": b"n01\tgoldfish, Carassius\nn02\ttoad\nn03\tnewt\nn99\tother\n",
        "val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t0\t9\t9\n"
        b"val_1.JPEG\tn01\t0\t0\t9\t9\nval_10.JPEG\tn01\t0\t0\t9\t9\n"
        b"val_2.JPEG\tn01\t0\t0\t9\t9\n",
        "test/images/test_0.JPEG": encoded(photo(99, 64)),
    }
    for k, wnid in enumerate(("n03", "n01", "n02")):
        for i in (0, 1, 10, 2):
            name = f"train/{wnid}/images/{wnid}_{i}.JPEG"
            files[name] = encoded(photo(10 * k + i, 64, grey=i == 1))
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"boxes"
    for i in (0, 1, 10, 2):
        files[f"val/images/val_{i}.JPEG"] = encoded(photo(50 + i, 64))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return files


def tiny_zip(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)


def test_tiny_zip_and_folder_follow_image_folder_order(tmp_path):
    from torchvision.datasets import ImageFolder

    files = tiny_tree(tmp_path / "a" / "tiny-imagenet-200")
    tiny_zip(tmp_path / "b" / "tiny-imagenet" / "tiny-imagenet-200.zip", files)
    oracle = ImageFolder(tmp_path / "a" / "tiny-imagenet-200" / "train")
    blobs = [Path(path).read_bytes() for path, _ in oracle.samples]
    order = ["val_1", "val_10", "val_2", "val_0"]  # by label, then name
    held = [files[f"val/images/{name}.JPEG"] for name in order]
    for root in ("a", "b"):
        train = load("tiny-imagenet", data_root=tmp_path / root)
        same(train, blobs, [label for _, label in oracle.samples])
        assert train.classes == ("goldfish", "toad", "newt")
        same(
            load("tiny-imagenet", "test", data_root=tmp_path / root), held, [0, 0, 0, 1]
        )
    assert not (tmp_path / "b" / "tiny-imagenet" / "tiny-imagenet-200").exists()


def test_damaged_zip_names_the_member(tmp_path):
    files = tiny_tree(tmp_path / "x")
    path = tmp_path / "tiny-imagenet-200.zip"
    tiny_zip(path, files)
    whole = path.read_bytes()
    blob = files["train/n02/images/n02_1.JPEG"]
    path.write_bytes(whole.replace(blob, blob[:-9] + b"\0" * 9))
    with pytest.raises(InputError, match=r"n02_1\.JPEG cannot be read: Bad CRC"):
        load("tiny-imagenet", data_root=tmp_path)
    path.write_bytes(whole[:-50])
    with pytest.raises(InputError, match=r"200\.zip cannot be read"):
        load(path)


def folder_tree(root):
    for split, n in (("train", 3), ("val", 1)):
        for k, name in enumerate(("zebra", "ant, red")):
            for i in range(n):
                path = root / split / name / f"{i}.{['png', 'JPG', 'webp'][i]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                kind = ["PNG", "JPEG", "WEBP"][i]
                path.write_bytes(encoded(photo(7 * k + i, 12), kind))
    (root / "train" / "zebra" / "notes.txt").write_text("no image")
    (root / "train" / "zebra" / "._0.png").write_text("no image either")


def test_image_folder_is_read_as_torchvision_reads_it(tmp_path):
    from torchvision.datasets import ImageFolder

    folder_tree(tmp_path / "mine")
    (tmp_path / "mine" / "train" / "zebra" / "._0.png").unlink()  # ImageFolder trips
    for split, folder in (("train", "train"), ("test", "val")):
        oracle = ImageFolder(tmp_path / "mine" / folder)
        blobs = [Path(path).read_bytes() for path, _ in oracle.samples]
        found = load(tmp_path / "mine", split)
        same(found, blobs, [label for _, label in oracle.samples])
        assert found.classes == ("ant, red", "zebra") and found.image_size == 12


def test_image_folder_faults_are_named(tmp_path):
    root = tmp_path / "mine"
    folder_tree(root)
    assert len(load(root)) == 6  # the hidden file is not an image
    odd = root / "train" / "zebra" / "1.JPG"
    odd.write_bytes(encoded(photo(0, 13)))
    with pytest.raises(InputError, match=r"zebra/1\.JPG is 13x13 .* 12x12"):
        load(root)
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(odd, "PNG")
    with pytest.raises(InputError, match="more than 8 bits"):
        load(root)
    (root / "train" / "bat").mkdir()
    with pytest.raises(InputError, match=r"train/bat holds no image"):
        load(root)
    (root / "val" / "cow").mkdir()
    with pytest.raises(InputError, match=r"val/cow is a class without a folder in"):
        load(root, "test")


# ----------------------------------------------------------------------- cache


def test_cache_hit_is_identical_and_decodes_nothing(tmp_path, decodes):
    blobs, labels = shards(tmp_path / "p")
    first = load(tmp_path / "p")
    assert len(decodes) >= 6
    decodes.clear()
    again = load(tmp_path / "p")
    assert not decodes
    same(again, blobs[:6], labels[:6])
    assert again.fingerprint == first.fingerprint == make_fingerprint(again)
    again.images[:] = 0  # private to this process: the file keeps its pixels
    same(load(tmp_path / "p"), blobs[:6], labels[:6])
    assert not decodes
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def make_fingerprint(found):
    """The hash of the arrays themselves, not what the set carries along."""
    return ImageSet("x", found.images, found.labels, found.classes).fingerprint


def test_changed_source_is_decoded_again(tmp_path, decodes):
    shards(tmp_path / "p")
    load(tmp_path / "p")
    blobs = [encoded(photo(40)), encoded(photo(41))]
    write_parquet(tmp_path / "p" / "train-00001-of-00002.parquet", blobs, [1, 1])
    assert load(tmp_path / "p").labels.tolist() == [2, 0, 1, 1, 1, 1]
    folder_tree(tmp_path / "f")
    load(tmp_path / "f")
    path = tmp_path / "f" / "train" / "zebra" / "0.png"
    path.write_bytes(encoded(photo(42, 12), "PNG"))
    np.testing.assert_array_equal(
        load(tmp_path / "f").images[3], pixels(path.read_bytes())
    )


@pytest.mark.parametrize("fault", ["flip", "cut", "sidecar"])
def test_damaged_cache_is_noticed_and_repaired(tmp_path, fault, decodes):
    blobs, labels = shards(tmp_path / "p")
    load(tmp_path / "p")
    path = next((tmp_path / "cache").rglob("*.npy"))
    content = bytearray(path.read_bytes())
    if fault == "sidecar":
        path.with_suffix(".json").write_text("{")
    else:
        content[-1] ^= 1
        path.write_bytes(content[: -5 if fault == "cut" else None])
    with pytest.warns(UserWarning, match="is damaged, so its images are decoded again"):
        same(load(tmp_path / "p"), blobs[:6], labels[:6])
    decodes.clear()
    same(load(tmp_path / "p"), blobs[:6], labels[:6])
    assert not decodes


def test_unwritable_cache_warns_once_and_loses_nothing(tmp_path):
    blobs, labels = shards(tmp_path / "p")
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="cannot be kept in .*file") as told:
        found = load(tmp_path / "p", cache_dir=tmp_path / "file" / "cache")
    assert len(told) == 1
    same(found, blobs[:6], labels[:6])


def test_full_disk_warns_and_leaves_nothing_behind(tmp_path, monkeypatch):
    blobs, labels = shards(tmp_path / "p")

    def full(file, *args, **kwargs):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        same(load(tmp_path / "p"), blobs[:6], labels[:6])
    left = [p.suffix for p in (tmp_path / "cache" / "images").iterdir()]
    assert set(left) <= {".lock"}


def test_read_only_cache_serves_what_it_has(tmp_path, monkeypatch, decodes):
    shards(tmp_path / "p")
    first = load(tmp_path / "p")
    decodes.clear()

    def refuse(*args, **kwargs):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path / "p").fingerprint == first.fingerprint
    assert not decodes


def test_loading_at_the_same_time_decodes_once(tmp_path, monkeypatch):
    shards(tmp_path / "p")
    calls, real = [], decode.decode_all
    monkeypatch.setattr(
        decode, "decode_all", lambda *args: calls.append(1) or real(*args)
    )
    with ThreadPoolExecutor(4) as pool:
        prints = {s.fingerprint for s in pool.map(load, [tmp_path / "p"] * 4)}
    assert len(calls) == 1 and len(prints) == 1


def test_jpeg_decoding_equals_pillows():
    for seed in range(4):
        for grey in (False, True):
            for size in (8, 33, 64):
                blob = encoded(photo(seed, size, grey))
                np.testing.assert_array_equal(decode.decode(blob), pixels(blob))


# --------------------------------------------------------- missing data, network


def test_missing_data_says_where_it_looked(tmp_path, monkeypatch, offline):
    with pytest.raises(InputError, match="CCFS_DATA"):
        load("tiny-imagenet")
    for name in ("cifar10", "cifar100", "tiny-imagenet"):
        with pytest.raises(InputError, match=f"{tmp_path}/{name}.*download=True"):
            load(name, data_root=tmp_path)
    monkeypatch.setenv("CCFS_DATA", str(tmp_path))
    with pytest.raises(InputError, match=f"{tmp_path}/cifar10-jpeg .*no address"):
        load("cifar10-jpeg", download=True)
    assert not offline


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'cifar-10'; .*digits, cifar10.* path"):
        load("cifar-10")
    with pytest.raises(InputError, match="split is 'val'"):
        load("digits", "val")
    with pytest.raises(InputError, match="neither train-"):
        load(tmp_path)
    shards(tmp_path / "other")
    with pytest.raises(InputError, match=r"does not hold 'tiny-imagenet'.* 8 pixels"):
        load("tiny-imagenet", data_root=tmp_path / "other")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tiny-imagenet"])
def test_download_without_network_is_one_sentence(tmp_path, name, offline):
    with pytest.raises(InputError, match=r"could not be .* from http.*no route") as e:
        load(name, data_root=tmp_path, download=True)
    assert "\n" not in str(e.value) and offline
    assert not list(tmp_path.rglob("*.zip"))


def test_download_that_is_not_the_official_zip_is_thrown_away(tmp_path, monkeypatch):
    class Response(io.BytesIO):
        url, length, headers = catalogue.TINY_URL, 9, {}

    monkeypatch.setattr(
        urllib.request, "urlopen", lambda *args, **kwargs: Response(b"not a zip")
    )
    with pytest.raises(InputError, match=r"tiny-imagenet.*corrupted"):
        load("tiny-imagenet", data_root=tmp_path, download=True)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def cifar_files(folder, batches):
    folder.mkdir(parents=True)
    for name, content in batches.items():
        (folder / name).write_bytes(content)


def test_altered_cifar_is_refused_before_it_is_unpickled(tmp_path):
    from torchvision.datasets import CIFAR10

    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    names = [n for n, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    cifar_files(folder, dict.fromkeys([*names, "batches.meta"], trap))
    with pytest.raises(InputError, match="incomplete or altered 'cifar10'"):
        load("cifar10", data_root=tmp_path)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)  # the trap does work
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_cifar_files_are_read_in_order(tmp_path, monkeypatch, below):
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (5, 3072), np.uint8)  # channel, row, column
    train, test = {"data": rows[:3], "labels": [3, 0, 2]}, {"data": rows[3:]}
    test["labels"] = [1, 1]
    batches = {"data_batch_1": train, "test_batch": test}
    batches["batches.meta"] = {"label_names": ["a", "b", "c", "d"]}
    batches = {name: pickle.dumps(content) for name, content in batches.items()}
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in batches.items()}
    cifar_files(tmp_path / below / "cifar-10-batches-py", batches)
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {**CIFAR10.meta, "md5": md5["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    found = load("cifar10", data_root=tmp_path)
    assert found.labels.tolist() == [3, 0, 2] and found.classes == tuple("abcd")
    np.testing.assert_array_equal(found.images, rows[:3].reshape(3, 3, 32, 32))
    assert load("cifar10", "test", data_root=tmp_path).labels.tolist() == [1, 1]


# ----------------------------------------------------------- development images


@needs_shared
def test_cifar10_jpeg_keeps_the_original_order():
    source = catalogue.named("cifar10-jpeg", SHARED, "train", False)
    labels = [label for _, _, label in source.read().records]
    assert labels[:10] == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    scores = SHARED / "scores" / "cscores_CIFAR10.npz"
    if scores.exists():  # the published scores carry their own labels
        assert labels == np.load(scores, allow_pickle=False)["labels"].tolist()
    test = load("cifar10-jpeg", "test", data_root=SHARED)
    assert test.images.shape == (10000, 3, 32, 32)
    assert test.class_sizes == [1000] * 10 and test.classes[0] == "airplane"


@needs_shared
def test_tiny_imagenet_is_in_image_folder_order():
    source = catalogue.named("tiny-imagenet", SHARED, "train", False)
    listing = source.read()
    labels = [label for _, _, label in listing.records]
    assert labels == [k for k in range(200) for _ in range(500)]
    assert len(set(listing.classes)) == 200 and listing.classes[0] == "goldfish"
    test = load("tiny-imagenet", "test", data_root=SHARED)
    assert test.images.shape == (10000, 3, 64, 64) and test.class_sizes == [50] * 200


# ----------------------------------------------- fewer classes, fewer pixels


def sixteen() -> ImageSet:
    """Six images of 16 pixels and three classes, not in the order of these."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 3, 16, 16), generator=random)
    labels = torch.tensor([2, 0, 1, 0, 2, 1])
    return ImageSet("x", pixels.to(torch.uint8), labels, ("a", "b", "c"))


def test_reduced_keeps_the_first_classes_in_their_order():
    whole = sixteen()
    assert reduced(whole) is whole and reduced(whole, 3, 16) is whole
    some = reduced(whole, 2, 8)
    assert some.labels.tolist() == [0, 1, 0, 1] and some.classes == ("a", "b")
    assert some.name == "x-c2-8px" and some.image_size == 8
    kept = [1, 2, 3, 5]
    assert members(whole.labels, 2).tolist() == kept
    assert members(whole.labels).tolist() == list(range(6))
    assert torch.equal(some.images, shrink(whole.images[kept], 8))
    assert torch.equal(reduced(whole, 2).images, whole.images[kept])


@pytest.mark.parametrize(
    ("side", "size"), [(16, 8), (16, 4), (16, 5), (9, 7), (32, 13), (257, 2), (7, 7)]
)
def test_a_shrunk_pixel_is_the_mean_of_its_area(side, size):
    """With every pixel repeated `size` times, new ones are means of whole blocks."""
    random = torch.Generator().manual_seed(side)
    pixels = torch.randint(0, 256, (3, 3, side, side), generator=random)
    large = pixels.numpy().repeat(size, 2).repeat(size, 3)
    blocks = large.reshape(3, 3, size, side, size, side).sum((3, 5))
    expected = (2 * blocks + side**2) // (2 * side**2)  # rounded half up
    found = shrink(pixels.to(torch.uint8), size)
    assert found.dtype == torch.uint8 and found.numpy().tolist() == expected.tolist()


def test_shrinking_is_antialiased():
    stripes = (torch.arange(16) % 2 * 255).to(torch.uint8).expand(1, 3, 16, 16)
    assert shrink(stripes, 8).unique().tolist() == [128]  # nearest: all 0 or all 255


def test_many_images_shrink_as_one_does():
    pixels = torch.randint(0, 256, (1001, 3, 6, 6)).to(torch.uint8)
    assert torch.equal(shrink(pixels, 4)[1000:], shrink(pixels[1000:], 4))


@pytest.mark.parametrize(
    ("classes", "size", "told"),
    [
        (4, 0, "classes is 4, .* 3"),
        (0, 17, "image_size is 17, .* 16"),
        (-1, 0, "is -1"),
    ],
)
def test_reduced_refuses_more_than_there_is(classes, size, told):
    with pytest.raises(InputError, match=told):
        reduced(sixteen(), classes, size)


def test_only_squares_shrink():
    with pytest.raises(InputError, match="images are 9x8 pixels; only square"):
        shrink(torch.zeros(1, 3, 8, 9, dtype=torch.uint8), 4)


# ------------------------------------------------------- what is known of them


def test_facts_of_the_digits(digits):
    facts = KNOWN["digits"]
    assert [len(split) for split in digits] == [facts.train, facts.test]
    assert digits[0].num_classes == facts.classes
    assert digits[0].image_size == facts.size
    assert min(digits[0].class_sizes) == facts.smallest


@needs_shared
@pytest.mark.parametrize("name", ["cifar10-jpeg", "tiny-imagenet"])
def test_facts_of_the_files(name):
    facts = KNOWN[name]
    for split, count in (("train", facts.train), ("test", facts.test)):
        listing = catalogue.named(name, SHARED, split, False).read()
        assert (listing.count, len(listing.classes)) == (count, facts.classes)
        image = decode.decode_record(next(listing.records))
        assert image.shape == (3, facts.size, facts.size)


@needs_shared
def test_published_scores_follow_the_first_classes():
    changes = {"classes": 20, "image_size": 32, "ipc": 20, "data_root": str(SHARED)}
    e = preset("tiny-imagenet", **changes)
    assert (e.scale, e.score) == ("laptop", "published-forgetting")
    stages, labels = Pipeline(e), torch.arange(200).repeat_interleave(500)
    # Black images, for speed; their order is that of the files, as tested above.
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8).expand(100_000, 3, 64, 64)
    names = tuple(map(str, range(200)))
    stages.trainings.__dict__["whole"] = ImageSet("tiny", black, labels, names)
    assert stages.train.images.shape == (10_000, 3, 32, 32)
    assert stages.train.class_sizes == [500] * 20
    published = np.load(SHARED / "scores" / "forgetting_Tiny.npy")
    assert stages.difficulty.tolist() == published[:10_000].tolist()
    assert stages.network(e.network)(torch.zeros(1, 3, 32, 32)).shape == (1, 20)
