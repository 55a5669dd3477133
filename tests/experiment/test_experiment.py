"""Experiment: every bad value is one sentence, before torch is even imported."""

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import (
    CONTROLS,
    LATER,
    SMALLEST_CLASS,
    STRATEGIES,
    Distillation,
    Experiment,
    Recipe,
    from_notebook,
    preset,
)
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
        ({"alpha": 0.01}, "alpha", r"is 0\.01, .* below one .* from 0\.05 to 1"),
        ({"classes": 1}, "classes", "is 1, .* at least 2, and digits has 10"),
        ({"classes": 11}, "classes", "is 11, .* digits has 10"),
        ({"classes": -1}, "classes", "is -1: .* 0"),
        ({"image_size": 7}, "image_size", "is 7, .* at least 8"),
        ({"image_size": 9}, "image_size", "is 9, .* digits has 8"),
        ({"evaluation_network": "vgg"}, "evaluation_network", "is 'vgg', .* convnet"),
        ({"teacher_epochs": 0}, "teacher_epochs", "is 0: .* 1"),
        ({"alpha": 0.2, "ipc": 4}, "alpha", r"is 0\.2, .* from 0\.25 to 1"),
        ({"curricula": 0}, "curricula", "is 0: .* 1"),
        ({"curricula": 17}, "curricula", "is 17, .* at most 16, the real "),
        (
            {"curricula": 2, "ipc": 4, "alpha": 0.75},
            "curricula",
            "is 2, .* at most 1, ",
        ),
        ({"dataset": "mnist"}, "dataset", "is 'mnist', .* digits, cifar10, "),
        ({"dataset": "no/such/folder"}, "dataset", "is 'no/such/folder', "),
        ({"dataset": ""}, "dataset", "is '', "),
        ({"dataset": "a\nb"}, "dataset", r"is 'a\\nb', "),
        ({"dataset": 7}, "dataset", "is 7, .* a path"),
        ({"dataset": ["digits"]}, "dataset", r"is \['digits'\], "),
        ({"selected_from": "x" * 999}, "selected_from", "is 'x.*File name too long"),
        ({"network": "vgg16"}, "network", "is 'vgg16', .* convnet"),
        ({"network": "convnet-16-"}, "network", "is 'convnet-16-', "),
        ({"network": "convnet-0"}, "network", "is 'convnet-0', "),
        ({"network": "resnet10"}, "network", "is 'resnet10', .* resnet10-wN"),
        ({"network": "resnet10-w0"}, "network", "is 'resnet10-w0', "),
        ({"network": "resnet18\n"}, "network", r"is 'resnet18\\n', "),
        ({"teacher_network": "resnet34"}, "teacher_network", "is 'resnet34', "),
        ({"teacher_network": "convnet-in"}, "teacher_network", "is 'convnet-in', "),
        ({"score": "entropy"}, "score", "is 'entropy', .* forgetting, logits"),
        ({"score": "logits", "alpha": 0.0}, "score", "is .logits., .* larger"),
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
        (
            {"selected_from": "no.json"},
            "selected_from",
            "is 'no.json', .* idx_selected",
        ),
        ({"pahse": 1}, "pahse", "is 1: unexpected"),
        ({"ip": 3}, "ip", "is 3: unexpected .*; the closest settings are ipc"),
        ({"zzzz": 3}, "zzzz", "is 3: unexpected .*; settings are dataset, .*, epochs"),
    ],
)
def test_bad_input_is_one_sentence_with_name_and_value(given, name, told):
    with pytest.raises(InputError) as error:
        preset(**given)
    sentence = str(error.value)
    assert "\n" not in sentence and re.match(f"{re.escape(name)} {told}", sentence)
    notebook = {"ipc": 20, **given}  # the same sentence where papermill gives it
    if name not in ("pahse", "ip", "zzzz"):
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
        *("resnet18-imagenet", "resnet10-w16", "resnet18-w64"),
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


@pytest.fixture
def selected(tmp_path) -> str:
    """A selected_indices.json for the preset of digits."""
    path = tmp_path / "selected_indices.json"
    path.write_text('{"ipc": 20, "alpha": 0.2, "idx_selected": [3, 1]}')
    return str(path)


def other_values(selected: str) -> dict:
    """For each field a value that its digits preset does not have."""
    return {
        "dataset": "cifar10",
        "data_root": "/elsewhere",
        "scale": "laptop",
        "classes": 5,
        "image_size": 8,
        "ipc": 21,
        "alpha": 0.3,
        "curricula": 2,
        "coarse": "classified",
        "fine": "hard",
        "score": "logits",
        "score_runs": 2,
        "teacher_correct": False,
        "batch_size_by": "wanted",
        "filter_loss": "hard",
        "ties": "random",
        "network": "resnet18",
        "teacher_network": "resnet18",
        "evaluation_network": "resnet18",
        "recipe": Recipe(epochs=1),
        "teacher": Recipe(epochs=1, loss="hard"),
        "distillation": Distillation(),
        "distilled_from": "/",
        "selected_from": selected,
        "holdout": 0.1,
        "teacher_seed": 1,
        "teacher_from": "/",
        "normalisation": (0.5, 0.5, 0.5, 0.2, 0.2, 0.2),
        "evaluation_teacher": "convnet-8",
        "engine": "compile",
        "reading": "notebooks",
        "seeds": 99,
        "portable": False,
    }


def start(name: str) -> Experiment:
    """A preset in which a field can be changed alone."""
    if name == "image_size":  # digits cannot shrink
        return preset("tiny-imagenet")
    if name == "reading":
        return preset("cifar10", "paper", ipc=500)
    return preset(teacher_from="/") if name == "normalisation" else preset()


@pytest.mark.parametrize("name", [f.name for f in fields(Experiment)])
def test_the_hash_holds_what_changes_a_result_and_nothing_else(name, selected):
    default = start(name)
    changed = replace(default, **{name: other_values(selected)[name]})
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
    later = set(LATER)
    assert names == {f.name for f in fields(Experiment)} - later  # not used here


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


# -- the name of a run -----------------------------------------------------------------

PAPER = {"dataset": "cifar10", "scale": "paper", "ipc": 500}
NAMES = [
    ({}, "digits-ipc20"),
    ({"ipc": 13, "seeds": 5, "data_root": "/a"}, "digits-ipc13"),
    ({"dataset": "cifar10-jpeg"}, "cifar10-jpeg-ipc250"),
    ({"alpha": 0.4, "curricula": 2}, "digits-ipc20-alpha0.4-j2"),
    ({"alpha": 0.0, "epochs": 7}, "digits-ipc20-alpha0-7ep"),
    (
        {"score": "logits", "teacher_correct": False},
        "digits-ipc20-logits-any-candidate",
    ),
    ({"score_runs": 1, "portable": False}, "digits-ipc20-runs1-not-portable"),
    ({"fine": "hard", "coarse": "classified"}, "digits-ipc20-hard-classified"),
    ({"network": "convnet-8"}, "digits-ipc20-convnet-8"),
    ({"evaluation_network": "resnet50"}, "digits-ipc20-on-resnet50"),
    ({"evaluation_network": "convnet-16-32"}, "digits-ipc20"),  # the network anyway
    (
        {"teacher_network": "resnet18", "teacher_epochs": 5},
        "digits-ipc20-teacher-resnet18-teacher-5ep",
    ),
    ({"scale": "laptop", "ipc": 5}, "digits-ipc5-laptop"),
    ({"classes": 5}, "digits-c5-ipc20"),
    ({"classes": 10, "image_size": 8}, "digits-ipc20"),  # all there is
    (
        {"dataset": "tiny-imagenet", "ipc": 50, "classes": 20, "image_size": 32},
        "tiny-imagenet-c20-32px-ipc50",
    ),
    (PAPER, "cifar10-ipc500-paper"),
    ({**PAPER, "reading": "released"}, "cifar10-ipc500-released"),
    ({**PAPER, "reading": "released", "epochs": 3}, "cifar10-ipc500-released-3ep"),
    ({**PAPER, "alpha": 0.1}, "cifar10-ipc500-paper-alpha0.1"),
    ({**PAPER, "reading": "notebooks"}, "cifar10-ipc500-notebooks"),
    ({**PAPER, "reading": "notebooks", "epochs": 3}, "cifar10-ipc500-notebooks-3ep"),
    # The same settings, but nobody asked for the reading.
    ({**PAPER, "batch_rule": "released"}, "cifar10-ipc500-paper-released-batches"),
    # Both readings of this cell are one.
    (
        {
            "dataset": "tiny-imagenet",
            "scale": "paper",
            "ipc": 50,
            "reading": "released",
        },
        "tiny-imagenet-ipc50-paper",
    ),
    # Below one distilled image per class by the preset's alpha, not by its own.
    ({"ipc": 4, "alpha": 0.25}, "digits-ipc4-alpha0.25"),
]


@pytest.mark.parametrize(("changes", "name"), NAMES)
def test_a_run_is_named_by_what_differs_from_its_preset(changes, name):
    assert preset(**changes).run == name


def test_committed_runs_keep_their_names():
    found = list((Path(__file__).parents[2] / "data/results").glob("*/random.json"))
    assert found
    for path in found:
        config = json.loads(path.read_text())["config"]
        names = {f.name for f in fields(Experiment)} & set(config)
        made = Experiment(**{name: config[name] for name in names})
        assert made.run == path.parent.name
        # And rows measured today would be filed with the very same settings.
        assert json.loads(json.dumps(made.hashed())).items() <= config.items()


def test_experiments_of_one_name_give_the_same_results(selected):
    """One name, one configuration: the name is as fine as the hash."""
    values = other_values(selected).items()
    elsewhere = ("image_size", "reading")  # digits have neither
    made = {k: replace(start(k), **{k: v}) for k, v in values if k not in elsewhere}
    # Nested fields, a file elsewhere, and a preset built by hand.
    made["iterations"] = replace(preset(), distillation=Distillation(iterations=6))
    made["lr"] = preset(recipe=replace(preset().recipe, lr=0.02))
    for folder in "ab":
        made[folder] = replace(preset(), score=f"/{folder}/own.npy")
    made["by hand"] = replace(preset(), scale="paper")
    free = preset().run, {"data_root", "seeds"}
    names = {what: e.run for what, e in made.items() if what not in free[1]}
    assert len(set(names.values()) - {free[0]}) == len(names)
    assert all(made[what].run == free[0] for what in free[1])
    assert re.fullmatch(r"digits-ipc20-[0-9a-f]{6}", names["iterations"])
    assert re.fullmatch(r"digits-ipc20-own-[0-9a-f]{6}", names["a"])
    assert all(re.fullmatch(r"\w[\w.=+-]*", name, re.ASCII) for name in names.values())


def test_later_options_leave_earlier_configurations_alone():
    later = set(LATER)
    assert not later & set(preset().hashed())
    assert not later & {name for name, _ in preset().table()}
    used = preset(classes=5, evaluation_network="resnet18")
    assert used.hashed()["classes"] == 5
    assert dict(used.table())["evaluation_network"] == "resnet18"


@pytest.mark.parametrize(
    ("needs", "given", "told"),
    [
        ("selected", {"ipc": 5, "alpha": 1.0}, "take alpha 0, or from 0.2 to 0.4"),
        ("selected distilled", {"ipc": 5, "alpha": 1.0}, "take alpha from 0.2 to 0.4"),
        ("selected distilled", {"ipc": 13, "alpha": 0.0}, "from 0.077 to 0.769"),
        ("distilled", {"ipc": 13, "alpha": 0.0}, "take alpha from 0.077 to 1"),
        ("selected", {"ipc": 1, "alpha": 1.0}, "with ipc 1 take alpha 0"),
        ("selected distilled", {"ipc": 1, "alpha": 1.0}, "take ipc from 4"),
        ("selected", {"alpha": 0.0, "coarse": "classified"}, "coarse is 'classified'"),
    ],
)
def test_a_chapter_needs_images_of_its_kind(needs, given, told):
    with pytest.raises(InputError, match=re.escape(told)):
        from_notebook(given, needs)
    assert from_notebook(given)[0]  # another chapter has them


@pytest.mark.parametrize("ipc", [3, 7, 13, 60, 131])
def test_the_least_alpha_that_is_told_is_allowed(ipc):
    with pytest.raises(InputError) as error:
        preset(ipc=ipc, alpha=1e-4, curricula=1)
    least = float(re.search(r"or from (\S+) to 1", str(error.value))[1])
    assert preset(ipc=ipc, alpha=least, curricula=1).distilled == 1


def test_no_phase_without_real_images():
    with pytest.raises(InputError, match="alpha 1 leaves no real images to select"):
        from_notebook({"alpha": 1.0, "phase": 1})


# -- a selection of others, before any image is read -----------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"alpha": 0.2000000001}, r"alpha 0\.2000000001, but ipc is 20 and alpha 0\.2"),
        ({"ipc": 21}, "chosen for ipc 21 .* but ipc is 20"),
        ({"ipc": "20"}, "ipc is '20', which is no whole number"),
        ({"ipc": True}, "ipc is True"),
        ({"alpha": "0.2"}, r"alpha is '0\.2', which is no number"),
        ({"idx_selected": [*range(161)]}, "lists 161 images, but .* leave 160 real"),
        ({"idx_selected": [1352]}, "lists 1352, but digits has 1352 training images"),
        ({"idx_selected": [1, 1]}, "an index twice"),
        ({"idx_selected": [0.0]}, "not a list of whole numbers"),
        ({"idx_selected": [-1]}, r"idx_selected holds -1\.\.-1"),
    ],
)
def test_selections_for_something_else_are_refused(selected, content, told):
    old = json.loads(Path(selected).read_text())
    Path(selected).write_text(json.dumps(old | content))
    with pytest.raises(InputError, match=told) as error:
        preset(selected_from=selected)
    sentence = str(error.value)
    assert sentence.startswith("selected_from is ") and "\n" not in sentence
    assert selected in sentence


def test_a_full_selection_is_taken(selected):
    old = json.loads(Path(selected).read_text())
    Path(selected).write_text(json.dumps(old | {"idx_selected": [*range(160)]}))
    assert preset(selected_from=selected).selected_from == selected
    with pytest.raises(
        InputError, match=r"lists 160 images, but .* leave 80 real ones"
    ):
        preset(selected_from=selected, classes=5)


@pytest.mark.parametrize(
    "change",
    [
        *({"alpha": True}, {"epochs": True}, {"ipc": True}, {"seeds": False}),
        *({"teacher_epochs": True}, {"iterations": True}, {"holdout": False}),
        *({"recipe": {"epochs": True}}, {"normalisation": (True,) * 6}),
    ],
)
def test_yes_and_no_are_no_numbers(change):
    """YAML reads `epochs: yes` as true, which once trained for one epoch."""
    with pytest.raises(InputError, match="yes or no"):
        preset(**change)


def test_numbers_from_a_shell_are_numbers():
    e = preset(ipc="40", alpha="0.5", portable="yes", teacher_correct=False)
    assert (e.ipc, e.alpha, e.portable, e.teacher_correct) == (40, 0.5, True, False)


def test_a_reading_without_effect_is_refused():
    with pytest.raises(InputError, match="reading is 'released', but"):
        preset("cifar10", "laptop", "released")
    assert preset("cifar10", "paper", "released").recipe.lr == 0.2


def test_a_variant_forgets_a_selection_for_other_numbers(selected):
    e = preset(selected_from=selected)
    assert e.changed(alpha=0.4).selected_from == ""
    assert e.changed(curricula=2).selected_from == selected
    with pytest.raises(InputError, match=r"alpha is 0\.01"):
        e.changed(alpha=0.01)


def test_arms_of_a_chapter_are_those_it_can_compare():
    three = "random-hard random simple-misclassified"
    _, chapter = from_notebook({"arms": three, "ipc": 20})
    assert chapter["arms"] == three.split()
    assert from_notebook({"arms": ""})[1]["arms"] == []
    with pytest.raises(InputError, match="arms is 'random distilled' and lacks simple"):
        from_notebook({"arms": "random distilled"})


def test_a_part_of_a_recipe_changes_the_preset_and_a_shorthand_beside_it_is_refused():
    usual = preset()
    changed = preset(recipe={"epochs": 3}, teacher={"lr": 0.2})
    assert changed.recipe == replace(usual.recipe, epochs=3)
    assert changed.teacher == replace(usual.teacher, lr=0.2)
    both = preset(recipe={"batch_size": 3}, epochs=2).recipe
    assert both == replace(usual.recipe, batch_size=3, epochs=2)
    assert usual.changed(recipe={"epochs": 3}) == preset(epochs=3)
    with pytest.raises(InputError, match="epochs is 2, but recipe has epochs 3: take"):
        preset(recipe={"epochs": 3}, epochs=2)
    with pytest.raises(InputError, match=r"recipe\.epoch is 3"):
        preset(recipe={"epoch": 3})
