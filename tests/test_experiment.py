"""Experiment: every bad value is one sentence, before torch is even imported."""

import re
import subprocess
import sys
import textwrap
from dataclasses import fields, replace

import pytest
from pydantic import ValidationError

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import (
    CONTROLS,
    SMALLEST_CLASS,
    STRATEGIES,
    Experiment,
    from_notebook,
    preset,
)
from ccfs_lib.recipes import Distillation, Recipe
from ccfs_lib.store import key


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        ({"ipc": 132}, "ipc", "is 132, .* 131 "),
        ({"dataset": "cifar10", "ipc": 5001}, "ipc", "is 5001, .* 5000 "),
        ({"dataset": "cifar100", "ipc": 501}, "ipc", "is 501, .* 500 "),
        ({"ipc": 0}, "ipc", "is 0: .* 1"),
        ({"ipc": "many"}, "ipc", "is 'many': .* integer"),
        ({"ipc": 2.5}, "ipc", r"is 2\.5: .* integer"),
        ({"ipc": None}, "ipc", "is None: .* integer"),
        ({"ipc": [10]}, "ipc", r"is \[10\]: .* integer"),
        ({"alpha": -0.1}, "alpha", r"is -0\.1: .* 0"),
        ({"alpha": 1.1}, "alpha", r"is 1\.1: .* 1"),
        ({"alpha": float("nan")}, "alpha", "is nan: "),
        ({"alpha": "half"}, "alpha", "is 'half': .* number"),
        ({"alpha": 0.0}, "alpha", r"is 0, .* below one .* from 0\.05 to 1"),
        ({"alpha": 0.2, "ipc": 4}, "alpha", r"is 0\.2, .* from 0\.25 to 1"),
        ({"curricula": 0}, "curricula", "is 0: .* 1"),
        ({"curricula": 17}, "curricula", "is 17, .* 16 real .* 1 to 16 "),
        ({"curricula": 2, "ipc": 4, "alpha": 0.75}, "curricula", "is 2, .* 1 real "),
        ({"dataset": "mnist"}, "dataset", "is 'mnist', .* digits, cifar10, "),
        ({"dataset": "no/such/folder"}, "dataset", "is 'no/such/folder', "),
        ({"dataset": ""}, "dataset", "is '', "),
        ({"dataset": "a\nb"}, "dataset", r"is 'a\\nb', "),
        ({"dataset": 7}, "dataset", "is 7: .* string"),
        ({"network": "vgg16"}, "network", "is 'vgg16', .* convnet"),
        ({"network": "convnet-16-"}, "network", "is 'convnet-16-', "),
        ({"network": "convnet-0"}, "network", "is 'convnet-0', "),
        ({"network": "resnet18\n"}, "network", r"is 'resnet18\\n', "),
        ({"teacher_network": "resnet34"}, "teacher_network", "is 'resnet34', "),
        ({"teacher_network": "convnet-in"}, "teacher_network", "is 'convnet-in', "),
        ({"score": "entropy"}, "score", "is 'entropy', .* forgetting, logits"),
        ({"score": "published-cscore"}, "score", "is 'published-cscore', .* digits"),
        ({"dataset": "tiny-imagenet", "score": "x.csv"}, "score", "is 'x.csv', "),
        ({"scale": "huge"}, "scale", "is 'huge', .* digits, laptop"),
        ({"scale": ["paper"]}, "scale", "is "),
        ({"coarse": "all"}, "coarse", "is 'all': .* 'misclassified' or 'classified'"),
        ({"fine": "soft"}, "fine", "is 'soft': .* 'simple', 'hard' or 'random'"),
        ({"seeds": 0}, "seeds", "is 0: .* 1"),
        ({"seeds": 101}, "seeds", "is 101: .* 100"),
        ({"epochs": 0}, "epochs", "is 0: .* 1"),
        ({"epochs": -1}, "epochs", "is -1: .* 1"),
        ({"epochs": "ten"}, "epochs", "is 'ten': .* integer"),
        ({"score_runs": 0}, "score_runs", "is 0: .* 1"),
        ({"teacher_correct": "maybe"}, "teacher_correct", "is 'maybe': .* boolean"),
        ({"data_root": 3}, "data_root", "is 3: .* string"),
        ({"recipe": {"epochs": 0}}, "recipe.epochs", "is 0: .* 1"),
        ({"recipe": 3}, "recipe", "is 3: "),
        ({"distillation": {"steps": 3}}, "distillation.steps", "is 3: unexpected"),
        ({"distilled_from": "no/folder"}, "distilled_from", "is 'no/folder', "),
        ({"pahse": 1}, "pahse", "is 1: unexpected"),
    ],
)
def test_bad_input_is_one_sentence_with_name_and_value(given, name, told):
    with pytest.raises(InputError) as error:
        preset(**given)
    sentence = str(error.value)
    assert "\n" not in sentence and re.match(f"{re.escape(name)} {told}", sentence)
    notebook = {"ipc": 20, **given}  # the same sentence where papermill gives it
    if name != "pahse":
        with pytest.raises(InputError) as error:
            from_notebook(notebook)
        assert str(error.value) == sentence


@pytest.mark.parametrize("dataset", SMALLEST_CLASS)
def test_what_is_allowed_is_allowed(dataset):
    most = SMALLEST_CLASS[dataset]
    assert preset(dataset, ipc=most, alpha=1.0).real == 0
    split = preset(dataset, ipc=10, alpha=0.1, curricula=9)
    assert (split.distilled, split.real) == (1, 9)
    assert preset(dataset, epochs=7).recipe.epochs == 7


@pytest.mark.parametrize(
    "network",
    [
        *("convnet", "convnet-in", "convnet-8", "convnet-16-32-64", "resnet18"),
        *("resnet50", "resnet101", "resnet18-s2", "densenet121", "densenet121-s1"),
        *("resnet18-imagenet",),
        *("regnet_y_8gf", "regnet_y_8gf-s1"),
    ],
)
def test_every_network_that_can_be_built_can_be_asked_for(network):
    assert preset(network=network).network == network


def test_distilled_is_alpha_times_ipc_rounded_down_in_exact_arithmetic():
    for percent in range(1, 101):
        for ipc in (1, 3, 7, 10, 20, 50, 100, 250, 500, 1000, 1500):
            whole = ipc * percent // 100
            if whole and ipc - whole in range(0, 5000):
                e = preset("cifar10", ipc=ipc, alpha=percent / 100, curricula=1)
                assert (e.distilled, e.real) == (whole, ipc - whole)


def test_direct_construction_is_checked_too():
    with pytest.raises(ValidationError, match="curricula is 30"):
        replace(preset(), curricula=30)
    with pytest.raises(ValidationError, match="ipcs"):
        Experiment(ipcs=3)


def other_values() -> dict:
    """For each field a value that its digits preset does not have."""
    return {
        "dataset": "cifar10",
        "data_root": "/elsewhere",
        "scale": "laptop",
        "ipc": 21,
        "alpha": 0.3,
        "curricula": 2,
        "coarse": "classified",
        "fine": "hard",
        "score": "logits",
        "score_runs": 2,
        "teacher_correct": False,
        "network": "resnet18",
        "teacher_network": "resnet18",
        "recipe": Recipe(epochs=1),
        "teacher": Recipe(epochs=1, loss="hard"),
        "distillation": Distillation(),
        "distilled_from": "/",
        "seeds": 99,
        "portable": False,
    }


@pytest.mark.parametrize("name", [f.name for f in fields(Experiment)])
def test_the_hash_holds_what_changes_a_result_and_nothing_else(name):
    default = preset()
    changed = replace(default, **{name: other_values()[name]})
    assert changed != default
    free = name in ("data_root", "seeds")
    assert (key(changed.hashed()) == key(default.hashed())) == free


def test_frozen():
    with pytest.raises(AttributeError):
        preset().ipc = 3


def test_table_prints_every_setting():
    rows = dict(preset(ipc=13).table())
    assert rows["ipc"] == "13" and rows["recipe.crop_scale"] == "(0.5, 1.0)"
    names = {name.split(".")[0] for name in rows}
    assert names == {f.name for f in fields(Experiment)}


def test_strategies_and_controls_are_the_papers():
    assert len(set(STRATEGIES)) == 6 and STRATEGIES[0] == "simple-misclassified"
    assert not set(STRATEGIES) & set(CONTROLS)


@pytest.mark.parametrize(
    "name", ["photos", "my photos", "photos.v2", ".hidden", "ünï (1)", "-x", "x/"]
)
def test_a_folder_of_any_name_has_a_run_that_can_be_filed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for dataset in (name, str(tmp_path / name)):
        run = preset(dataset, ipc=5).run
        assert re.fullmatch(r"\w[\w.=+-]*-ipc5", run, re.ASCII)
    monkeypatch.chdir(tmp_path / name)
    assert re.fullmatch(r"\w[\w.=+-]*-ipc5", preset(".", ipc=5).run, re.ASCII)


# -- notebooks -------------------------------------------------------------------------


def namespace(**given):
    """What `globals()` holds in a notebook's first cell, besides the parameters."""
    usual = {"__name__": "__main__", "_ih": [""], "In": [""], "Out": {}, "re": re}
    usual |= {"from_notebook": from_notebook, "Experiment": Experiment, "_": 3}
    return {**usual, **given}


def test_a_notebooks_parameters_become_its_experiment():
    e, own = from_notebook(namespace(ipc=30, alpha=0.3, dataset="digits"))
    assert e == preset(ipc=30, alpha=0.3) and own == {}
    e, own = from_notebook(namespace(ipc=30, epochs=4, phase=2))
    assert e == preset(ipc=30, epochs=4) and own == {"phase": 2}


@pytest.mark.parametrize("phase", [0, 4, -1, 1.0, True, "1"])
def test_phase_out_of_range(phase):
    with pytest.raises(InputError) as error:
        from_notebook(namespace(ipc=20, phase=phase))
    told = f"phase is {phase!r}, but must be a whole number 1 to 3"
    assert str(error.value) == told


def test_unknown_notebook_parameter():
    with pytest.raises(InputError) as error:
        from_notebook(namespace(ipc=20, alpha=0.2, ipcs=30))
    assert str(error.value).startswith("ipcs is not a parameter of this notebook")
    assert "alpha, ipc" in str(error.value) and "\n" not in str(error.value)


def test_bad_values_are_refused_before_torch_is_imported():
    code = """
        import sys, time
        from ccfs_lib.errors import InputError
        from ccfs_lib.experiment import from_notebook, preset
        preset("cifar10"); from_notebook({"ipc": 20, "phase": 1})
        try:
            preset(ipc=10**6)
        except InputError as error:
            print(error)
        for name in ("torch", "torchvision", "pandas", "sklearn", "matplotlib"):
            assert name not in sys.modules, name
        print(time.process_time())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    sentence, seconds = done.stdout.splitlines()
    assert sentence.startswith("ipc is 1000000") and float(seconds) < 1
