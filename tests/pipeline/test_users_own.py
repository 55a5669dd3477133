"""A user's network, difficulty and data, from a file in the current folder."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import small

from ccfs_lib import networks
from ccfs_lib.commands.forecast import forecast
from ccfs_lib.commands.ship import ship
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import motivation
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.runtime import plugins
from ccfs_lib.store import Store
from ccfs_lib.sweep import sweep

MINE = """
import os
import torch
from torch import nn
from ccfs_lib import data

def images(split):
    digits = data.load("digits", split)
    few = torch.nonzero(digits.labels < 3)[:120, 0]
    return digits.images[few], digits.labels[few], ["zero", "one", "two"]

def network(num_classes, image_size):
    norm = nn.BatchNorm2d(8)
    layers = nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, num_classes))

def ink(train):
    with open("calls.txt", "a") as file:
        print(os.getpid(), file=file)
    return train.images.float().mean((1, 2, 3))
"""
NETWORKS = ("network", "teacher_network")


@pytest.fixture
def mine(workshop, house):
    """The file, beside a cache of its own."""
    (workshop / "mine.py").write_text(MINE)
    return workshop


def whole(**changes):
    """All of the user's own: 120 images of 3 classes, in seconds."""
    own = dict.fromkeys(NETWORKS, "mine:network") | {"score": "mine:ink"}
    return small(**{"dataset": "mine:images", "scale": "digits", **own, **changes})


def test_worker_processes_measure_what_this_one_does(mine, house, monkeypatch):
    e = whole(seeds=2)
    assert e.run.startswith("mine-images-ipc4-digits-")
    arms = "simple-misclassified", "random"
    written = sweep(e, arms, workers=2, threads=False)
    calls = (mine / "calls.txt").read_text().split()
    assert len(calls) == 1  # the score is computed once, for all processes
    stages = Pipeline(e, Store(house / "alone"))
    assert stages.train.classes == ("zero", "one", "two")
    for path in written:
        assert path.parent == house / "results" / e.run
        content = json.loads(path.read_text())
        rows = [stages.evaluate(path.stem, seed) for seed in (0, 1)]
        assert content["rows"] == rows and rows[0] != rows[1]
        text = plugins.source_hash("mine:network")
        sources = content["config"]["sources"]
        assert sources == dict.fromkeys((*NETWORKS, "score"), text)
    ink = stages.train.images.double().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(stages.difficulty, ink, rtol=1e-6)
    assert ship(e, arms, house / "shipped")


def test_another_text_is_another_training(mine, house):
    def keys():
        t = Pipeline(whole(), Store(house / "cache")).trainings
        recipe = t.experiment.recipe
        return [t.key(n, recipe, 0, t.train) for n in ("mine:network", "convnet-8")]

    first = keys()
    text = plugins.source_hash("mine:network")
    assert first[0]["source"] == text and "source" not in first[1]
    path = Pipeline(whole()).measure("random")
    (mine / "mine.py").write_text(MINE + "# the same, but who can know\n")
    plugins._hashes.clear()  # as in another process
    del sys.modules["mine"]
    second = keys()
    assert second[0] == first[0] | {"source": plugins.source_hash("mine:network")}
    assert second[0] != first[0] and second[1] == first[1]
    old = json.loads(path.read_text())["config"]["sources"]["network"]
    Pipeline(whole()).measure("random")
    new = json.loads(path.read_text())["config"]["sources"]["network"]
    assert (old, new) == (text, plugins.source_hash("mine:network"))


def test_a_matcher_of_ones_own_is_known_by_its_text(mine, house):
    changes = {"ipc": 4, "alpha": 0.5, "curricula": 1, "experts": 1, "score_runs": 1}
    changes |= {"expert_epochs": 2, "iterations": 1, "syn_steps": 1, "epochs": 1}
    made = motivation(matcher="mine:network", max_start_epoch=1, **changes)
    identity = Section3Pipeline(made, Store(house / "cache")).buffer.identity
    assert identity["source"] == plugins.source_hash("mine:network")
    made = motivation(max_start_epoch=1, **changes)
    identity = Section3Pipeline(made, Store(house / "cache")).buffer.identity
    assert "source" not in identity


def test_a_forecast_does_not_ask_the_function(mine, house):
    lines = forecast([whole()], ("simple-misclassified",))[whole()]
    assert [line.done for line in lines] == [0, 0, 0]
    assert not (mine / "calls.txt").exists()
    with pytest.raises(
        InputError, match="score is 'mine:none', but module mine has no"
    ):
        forecast([whole(score="mine:none")], ("random",))


def test_weights_of_a_users_network_follow_the_seed(mine):
    states = [
        networks.build("mine:network", 5, 8, seed=seed).state_dict()["body.0.weight"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    network = networks.build("mine:network", 5, 8, mean=(0.5,) * 3, std=(0.25,) * 3)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(network.eval()(x), network.body((x - 0.5) / 0.25))
    assert network.features(x).shape == (2, 32)


SHARED = """
import torch
from torch import nn
body = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
weights = torch.zeros(3, 192)

def module(num_classes, image_size):
    return body

def layer(num_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.ReLU(), body[1])

def values(num_classes, image_size):
    head = nn.Linear(192, 3)
    head.weight = nn.Parameter(weights)
    return nn.Sequential(nn.Flatten(), head)
"""


@pytest.mark.parametrize("name", ["module", "layer", "values"])
def test_factories_that_return_the_same_weights_again(mine, house, name):
    (mine / "shared.py").write_text(SHARED)
    kept = networks.build(f"shared:{name}", 3, 8, seed=0)
    with pytest.raises(InputError, match="a new network at each call"):
        networks.build(f"shared:{name}", 3, 8, seed=1)
    del kept, sys.modules["shared"]
    plugins._hashes.clear()
    # Before anything is trained, though the teacher is built from another name.
    run = Pipeline(whole(network=f"shared:{name}", teacher_network="convnet-8"))
    with pytest.raises(InputError, match=f"'shared:{name}', which returned weights"):
        run.check(["random"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return 3", "network is 'bad:make', which returned a int, but must return an"),
        ("return nn.Linear(4, 7)", "the last nn.Linear, its classifier, has 7 outputs"),
        ("return nn.ReLU()", "its classifier, is not there; there are 5 classes"),
    ],
)
def test_factories_that_make_no_network(mine, body, told):
    text = f"from torch import nn\ndef make(num_classes, image_size): {body}\n"
    (mine / "bad.py").write_text(text)
    with pytest.raises(InputError, match=told) as error:
        networks.build("bad:make", 5, 8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return None", r"are object \(\), but must be one number for each of the 120"),
        ("return [1.0] * 7", r"are float64 \(7,\), but must be one number for each of"),
        ("return ['a'] * len(train)", "but must be one number for each of the 120"),
        ("return [[1], [1, 2]]", "but must be one number for each of the 120"),
        ("return train.labels / 0", "must be finite, but image 0 has"),
    ],
)
def test_scores_that_are_no_scores(mine, house, body, told):
    (mine / "bad.py").write_text(f"def rate(train): {body}\n")
    stages = Pipeline(whole(score="bad:rate"), Store(house / "cache"))
    with pytest.raises(
        InputError, match="^score is 'bad:rate', whose values .*" + told
    ) as error:
        list(stages.phases(0))
    assert "\n" not in str(error.value)
    assert not list(stages.store.entries("squeeze"))  # before anything is trained


def test_splits_that_do_not_belong_together(mine):
    (mine / "bad.py").write_text(
        "import mine\n"
        "def images(split):\n"
        "    pixels, labels, names = mine.images(split)\n"
        "    return pixels, labels, names[::-1] if split == 'test' else names\n"
    )
    stages = Pipeline(whole(dataset="bad:images"))
    with pytest.raises(InputError, match="splits do not have the same classes in one"):
        _ = stages.test
