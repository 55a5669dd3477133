"""What no move may change: names of runs, and hashes that artefacts are found by.

The keys below were written down before the library was laid out in folders. A change of
what a stage computes adds an entry to that stage's key, and to no other.
"""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from ccfs_lib.experiment import (
    Experiment,
    Motivation,
    Recipe,
    checks,
    essential,
    motivation,
)
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.store import Store, key

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "data/results").glob("*/*.json"))
ARTEFACTS = sorted((ROOT / "data/artefacts").glob("*/*/recipe.json"))


def picked(kind, config: dict) -> dict:
    return {f.name: config[f.name] for f in fields(kind) if f.name in config}


def rebuilt(config: dict) -> str:
    """The run under which a committed configuration is filed today."""
    base = picked(Experiment, config)
    if "matching" not in config:
        return Experiment(**base).run
    del base["recipe"]
    own = picked(Motivation, config) | {"evaluation": config["recipe"]}
    return Motivation(experiment=Experiment(**base), **own).run


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_committed_cell_keeps_its_run(path, monkeypatch):
    # A fresh clone lacks the folders of distilled images that some were measured with.
    monkeypatch.setattr(checks, "_distilled_from", lambda experiment: None)
    monkeypatch.chdir(ROOT)
    assert rebuilt(json.loads(path.read_text())["config"]) == path.parent.name


def test_every_artefact_lies_where_its_recipe_says():
    assert ARTEFACTS
    for path in ARTEFACTS:
        assert key(json.loads(path.read_text())["recipe"]) == path.parent.name


class Named(Store):
    """A store that remembers what it was asked for."""

    def __init__(self, root):
        super().__init__(root)
        self.asked = []

    def get(self, kind, recipe, compute):
        found = super().get(kind, recipe, compute)
        self.asked.append((kind, found.key))
        return found


def tiny_section3() -> Motivation:
    changes = {"ipc": 4, "alpha": 0.5, "beta": 0.4, "curricula": 2, "seeds": 1}
    changes |= {"experts": 2, "expert_epochs": 3, "iterations": 2, "syn_steps": 2}
    changes |= {"max_start_epoch": 2, "epochs": 2, "score_runs": 1}
    return motivation(teacher=Experiment(**SMALL).teacher, **changes)


SHORT = Recipe(epochs=2, batch_size=32, lr=0.03, flip=False)
SMALL = {
    "ipc": 4,
    "alpha": 0.25,
    "curricula": 2,
    "score": "forgetting",
    "score_runs": 1,
    "seeds": 1,
    "network": "convnet-16-32",
    "teacher_network": "convnet-16-32",
    "recipe": SHORT,
    "teacher": Recipe(epochs=2, loss="hard", augment="crop", pad=1, flip=False),
    "distillation": {"iterations": 3, "flip": False, "roll": 1},
    "portable": True,
}
# Written by the library before it was laid out in folders; "recover" since portable
# moments are sums (batchnorm.Moments) and Adam is fused, which Intel and AMD have the
# same bits of; "opinion" since rows say how many distilled images the teacher
# recognises.
ASKED = {
    "opinion": [
        "acb203d77603df9169c4",
        "de6f18121919f7a4431a",
    ],
    "recover": [
        "8cff2a576aa0d95a3e57",
        "e9bed2086f001dacb9b4",
    ],
    "squeeze": [
        "3606740c3d8ad801e36c",
    ],
    "train": [
        "55060f8364290c274cc8",
        "57318eda9b237ce80e59",
        "6584be55cdfc0520ef55",
        "7a1386261e1a47e6c2c4",
        "bf3c5a00c56db46cffe2",
        "e5d2d7e6ab5454c65659",
        "efcf93e351ce4891f6f4",
    ],
}
SECTION3 = {
    "expert": [
        "5b2a6558310e108df11d",
        "f1310b889540b3e0a99d",
    ],
    "match": [
        "10affd8475ac9afd7380",
        "73c8e9874e0a578c50cd",
        "a8dfe47c7498018ddb69",
        "fb394504a99365bac6e5",
    ],
    "squeeze": [
        "3606740c3d8ad801e36c",
    ],
    "train": [
        "091304f069593d414bd2",
        "19469bc4e05089dc339b",
        "274ec3953f0d91d04234",
        "2e647a676d8662fb253e",
        "64c6ec6923a19c6a43fa",
        "70caa61b5d43edfc547c",
        "a9301c3947ae6c79c8bb",
        "ce184e37f924bac867a4",
        "f1d224a65507f43926dd",
        "f542c555571c26f91941",
    ],
}


def by_kind(asked) -> dict[str, list[str]]:
    kinds = {kind for kind, _ in asked}
    return {k: sorted({name for kind, name in asked if kind == k}) for k in kinds}


def test_stages_are_found_under_the_keys_they_had(house):
    store = Named(house / "cache")
    stages = Pipeline(Experiment(**SMALL), store)
    for arm in ("simple-misclassified", "hard-classified", "random-hard", "distilled"):
        stages.evaluate(arm, 0)
    assert by_kind(store.asked) == ASKED


def test_stages_of_section_3_are_found_under_the_keys_they_had(house):
    store = Named(house / "cache")
    stages = Section3Pipeline(tiny_section3(), store)
    for arm in ("selmatch", "two-shot", "reverse", "ccfs-mtt"):
        stages.evaluate(arm, 0)
    assert by_kind(store.asked) == SECTION3


def test_keys_of_plain_recipes():
    assert key(essential(SHORT)) == "f50f212e5400ea3890a9"
    assert key({"a": (1, 1.0, True, None, "x")}) == "bf852d99832dbd8c152a"


def test_the_shipped_teacher_of_table_1_taught_its_rows():
    """Rows that another machine adds have the teacher of those that are filed."""
    run = "cifar100-16px-ipc50-by-images-convnet-32-64-128-teacher-convnet-32-64-128"
    cells = ("random", "simple-misclassified", "mtt-10-teacher")
    files = [ROOT / "data/results" / run / f"{cell}.json" for cell in cells]
    configs = [json.loads(path.read_text())["config"] for path in files]
    (one,) = {config["teacher_last"] for config in configs}
    shipped = {
        record["meta"]["last"]
        for path in ARTEFACTS
        if path.parent.parent.name == "squeeze"
        for record in [json.loads(path.read_text())]
        if record["recipe"]["images"] == configs[0]["train"]
    }
    assert shipped == {one}
