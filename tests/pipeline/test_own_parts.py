"""What users bring: functions that write into arguments, files of something else."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small
from PIL import Image

from ccfs_lib import curriculum, data
from ccfs_lib.data import decode, exchange
from ccfs_lib.data.exchange import write_folder
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.runtime import weights
from ccfs_lib.table1 import Choices, parse

WRITES = """
import numpy as np
from ccfs_lib.select import coarse_to_fine

def rule(labels, predictions, scores, quota, excluded):
    scores[excluded] = 1e9
    labels_then = labels.copy()
    chosen = coarse_to_fine(labels, predictions, scores, quota, excluded=excluded)
    labels[:], predictions[:], excluded[:] = 0, 0, 0
    return chosen

def score(train):
    values = np.arange(len(train), dtype=float)
    train.labels.numpy().sort()
    train.images.zero_()
    return values

def row(train, ipc, seed):
    chosen = [np.flatnonzero(train.labels.numpy() == c)[:ipc] for c in range(10)]
    train.labels.zero_()
    train.images.zero_()
    return np.concatenate(chosen)
"""

NETWORKS = """
from torch import nn

class Pair(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, classes))

    def forward(self, x):
        return self.body(x), x

def pair(classes, size):
    return Pair(classes)

def plain(classes, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))

def grey(classes, size):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, classes))

def lazy(classes, size):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))

def frozen(classes, size):
    return plain(classes, size).requires_grad_(False)

def softmaxed(classes, size):
    return nn.Sequential(plain(classes, size), nn.Softmax(1))
"""


# -- functions that write into what they are given -------------------------------------


def test_a_rule_may_write_into_its_arguments(house, workshop):
    (workshop / "writes.py").write_text(WRITES)
    alone = Pipeline(small()).evaluate("simple-misclassified", 0)
    stages = Pipeline(small())
    before = stages.train.fingerprint, stages.difficulty.copy()
    for _ in range(2):
        stages.evaluate("writes:rule", 0)
    assert data.ImageSet.fingerprint.func(stages.train) == before[0]
    assert np.array_equal(stages.difficulty, before[1])
    assert stages.evaluate("simple-misclassified", 0) == alone


@pytest.mark.parametrize("kind", ["score", "row"])
def test_scores_and_rows_of_ones_own_may_write_into_the_images(house, workshop, kind):
    (workshop / "writes.py").write_text(WRITES)
    if kind == "score":
        stages = Pipeline(small(score="writes:score"))
        assert stages.difficulty.tolist() == list(range(len(stages.train)))
    else:
        stages = Table1Pipeline(small(), Choices())
        assert len(stages.built(parse("writes:row"), 0).images) == 40
    images = stages.train
    assert images.images.any()
    assert data.ImageSet.fingerprint.func(images) == Pipeline(small()).train.fingerprint


# -- networks of one's own -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pair", r"returned tuple for 2 images, .* \(2, 10\)"),
        ("grey", "which raised"),
        ("lazy", "which has lazy layers, but weights must be made"),
        ("frozen", "no weight of it requires gradients"),
    ],
)
def test_networks_that_return_something_else_are_told_before_training(
    house, workshop, name, text
):
    (workshop / "nets.py").write_text(NETWORKS)
    stages = Pipeline(small(network=f"nets:{name}"))
    with pytest.raises(InputError, match=text):
        stages.check(["random"])


def test_a_network_that_ends_in_a_softmax_is_told(house, workshop):
    (workshop / "nets.py").write_text(NETWORKS)
    with pytest.warns(
        Notice, match="returned probabilities: the losses here are of lo"
    ):
        Pipeline(small(network="nets:softmaxed")).check(["random"])


def test_dropout_is_told_since_no_seed_fixes_it(house, workshop):
    text = "from torch import nn\n\nfrom ccfs_lib.networks import build\n\n\n"
    text += "def net(classes, size):\n    body = build('convnet-8', classes, size)\n"
    text += "    return nn.Sequential(nn.Dropout(0.3), body.body)\n"
    (workshop / "drops.py").write_text(text)
    with pytest.warns(Notice, match="'drops:net' has dropout"):
        Pipeline(small(network="drops:net")).check(["random"])


def test_a_teacher_without_batch_norm_recovers_nothing(house, workshop):
    (workshop / "nets.py").write_text(NETWORKS)
    stages = Pipeline(small(teacher_network="nets:plain"))
    stages.check(["random"])
    with pytest.raises(InputError, match="'nets:plain', which has no BatchNorm2d"):
        stages.check(["distilled"])


def test_the_text_of_another_evaluation_teacher_belongs_to_the_rows(house, workshop):
    text = "from ccfs_lib.networks import build\n\n\ndef net(classes, size):\n"
    text += "    return build('convnet-8', classes, size).body\n"
    (workshop / "evt.py").write_text(text)
    path = Pipeline(small(evaluation_teacher="evt:net")).measure("random")
    assert json.loads(path.read_text())["config"]["sources"]["evaluation_teacher"]


def test_a_rule_whose_name_names_no_file_is_told_before_training(house, workshop):
    (workshop / "règle.py").write_text(WRITES, "utf-8")
    with pytest.raises(InputError, match=r"cell is 'règle.rule'"):
        Pipeline(small()).check(["règle:rule"])


# -- weights and images of something else ----------------------------------------------


@pytest.fixture
def squeezed(house):
    run = Pipeline(small())
    card = {"classes": run.train.classes, "normalisation": run.normalisation}
    weights.write(run.teacher.network.state_dict(), house / "out", card)
    return run, house / "out"


def reversed_digits(split):
    images = data.load("digits", split)
    return data.ImageSet(split, images.images, 9 - images.labels, images.classes[::-1])


def test_weights_whose_classes_have_another_order_are_refused(squeezed, monkeypatch):
    run, folder = squeezed
    e = replace(run.experiment, teacher_from=str(folder))
    assert Pipeline(e).teacher.last == pytest.approx(run.teacher.last, abs=1)
    other = Pipeline(e)
    monkeypatch.setattr(other.trainings, "_load", reversed_digits)
    with pytest.raises(InputError, match=r"class 0 = '0', but .* class 0 is '9'"):
        _ = other.teacher


def test_weights_that_guess_are_noticed(squeezed, monkeypatch):
    run, folder = squeezed
    weights.write(run.teacher.network.state_dict(), folder, {})  # says no classes
    e = replace(run.experiment, teacher_from=str(folder))
    other = Pipeline(e)
    monkeypatch.setattr(other.trainings, "_load", reversed_digits)
    with pytest.warns(Notice, match="teacher_from takes .* and chance is 10.0 %"):
        assert other.teacher.last < 30


def test_constants_beside_weights_that_have_their_own_are_refused(squeezed):
    run, folder = squeezed
    six = (0.1, 0.1, 0.1, 9.0, 9.0, 9.0)
    e = replace(run.experiment, teacher_from=str(folder), normalisation=six)
    with pytest.raises(InputError, match="normalisation is given, but the weights"):
        _ = Pipeline(e).teacher


@pytest.mark.parametrize("size", [(16, 16), (8, 16)])
def test_distilled_images_of_another_size_are_told_before_training(house, size):
    pixels = torch.randint(0, 256, (40, 3, *size)).to(torch.uint8)
    labels = torch.arange(40) % 10
    classes = data.load("digits").classes
    made = data.ImageSet("made", pixels, labels, classes)
    write_folder(made, house / "made")
    stages = Pipeline(small(distilled_from=str(house / "made")))
    text = rf"has images of {size[1]}x{size[0]} pixels, but the training images are 8x8"
    with pytest.raises(InputError, match=text):
        stages.check(["distilled"])


def test_selected_indices_are_of_all_training_images(house, monkeypatch):
    from ccfs_lib.commands.files import Select
    from ccfs_lib.commands.options import Choice

    e = small(holdout=0.3)
    monkeypatch.setattr(Choice, "experiment", lambda self: e)
    Select(house / "some.json")()
    chosen = json.loads((house / "some.json").read_text())["idx_selected"]
    flat = np.unique(np.concatenate([np.ravel(c) for c in chosen]))
    stages = Pipeline(e)
    inside = curriculum.selected(list(stages.phases(0)))
    assert np.array_equal(flat, np.sort(stages.trainings.kept[inside]))


# -- images as they are seen -----------------------------------------------------------


def encoded(picture, **options):
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_images_are_turned_as_their_orientation_says(form):
    rows = np.zeros((8, 8, 3), np.uint8)
    rows[:4] = 255  # above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise: what was above is right
    found = decode.decode(encoded(Image.fromarray(rows), format=form, exif=exif))
    assert found[:, :, 5:].min() > 200 and found[:, :, :3].max() < 55


def test_transparent_pixels_are_refused_and_opaque_ones_are_not():
    opaque = Image.new("RGBA", (8, 8), (10, 20, 30, 255))
    assert decode.decode(encoded(opaque, format="png"))[:, 0, 0].tolist() == [
        10,
        20,
        30,
    ]
    opaque.putpixel((0, 0), (10, 20, 30, 254))
    with pytest.raises(InputError, match="transparent pixels: save it on a background"):
        decode.decode_record(("a.png", encoded(opaque, format="png"), 0))


def test_images_in_memory_that_would_be_read_wrongly_are_told():
    see_through = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    with pytest.raises(InputError, match="item 0 has transparent pixels"):
        data.from_dataset([(see_through, 0)])
    names = {"dog": 1, "cat": 0}
    with pytest.raises(
        InputError, match=r"classes is \{'dog': 1, 'cat': 0\}, but must"
    ):
        data.from_arrays(np.full((2, 8, 8), 9, np.uint8), [0, 1], names)
    with pytest.warns(Notice, match="no pixel is above 1 of 255"):
        data.from_arrays(np.random.rand(2, 8, 8).astype(np.uint8), [0, 1])


def test_an_empty_class_of_distilled_images_is_a_sentence(tmp_path):
    (tmp_path / "new000").mkdir()
    (tmp_path / "new001").mkdir()
    with pytest.raises(InputError, match="new000 holds no images"):
        exchange.first_image(tmp_path, ("a", "b"))
