"""A sitting on digits: what fits is computed, kept in pieces, and continued."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from realdata import DATA

from ccfs_lib import data
from ccfs_lib.data import sheets
from ccfs_lib.errors import InputError
from ccfs_lib.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
H100 = "shared/data/h100-cifar100"
sys.path.insert(0, str(ROOT / "workflow"))
sitting = import_module("sitting")

SETTINGS = {"ipc": 4, "alpha": 0.25, "curricula": 1, "score": "logits", "epochs": 2}
SETTINGS |= {"teacher": {"epochs": 2}, "distillation": {"iterations": 5}, "seeds": 2}
# Not portable, as on a GPU.
SETTINGS |= {"portable": False, "network": "convnet-8", "teacher_network": "convnet-8"}
CCFS = "simple-misclassified"
ARMS = [CCFS, "random"]
SPEED = {"network": "convnet-8", "size": 8, "precision": "fp32", "batch": [8]}
SPEED |= {"together": [2], "seconds": 0.0}


@pytest.fixture
def sit(house, monkeypatch):
    """A function that sits: (name, further words, entries of the plan) -> manifest."""
    for name in ("CCFS_CACHE", "CCFS_RESULTS"):
        monkeypatch.delenv(name)

    def run(name, *words, plan=None):
        for variable in ("CACHE", "RESULTS"):  # a machine of its own
            folder = house / name / variable.lower()
            monkeypatch.setenv(f"CCFS_{variable}", str(folder))
        path = house / "plan.yaml"
        entries = plan or [
            {"name": "speed", "speed": SPEED},
            {"name": "digits", "arms": ARMS, **SETTINGS},
        ]
        path.write_text("# a comment\n" + json.dumps(entries))
        words = [*words, "--plan", str(path), "--home", str(house / name)]
        words += ["--out", str(house / name / "out"), "--calibration", "0"]
        words += ["--together", "2", "--reserve", "0"]
        return sitting.sit(sitting.parsed(words)), house / name / "out"

    return run


def rows(out):
    lines = (out / "rows.jsonl").read_text().splitlines()
    return sorted((r["arm"], r["seed"], r["last"]) for r in map(json.loads, lines))


def test_a_sitting_is_kept_and_continued_elsewhere(sit, house, monkeypatch, capsys):
    first, out = sit("first", plan=[{"name": "a", "arms": ARMS[:1], **SETTINGS}])
    assert not first["next"] and not first["failed"] and not first["left_out"]
    assert "the plan is finished" in capsys.readouterr().out
    assert [row[:2] for row in rows(out)] == [(ARMS[0], 0), (ARMS[0], 1)]
    made = set(os.listdir(house / "first/kept"))
    assert made == {"artefacts", "results", "selected", "teacher"}
    (teacher,) = (house / "first/kept/artefacts/squeeze").glob("*/recipe.json")
    assert not any("weights" in n for n in json.loads(teacher.read_text())["shapes"])

    # Another machine: what is there is recognised, the rest is trained by the teacher
    # that came back in half precision, and says so.
    second, out_two = sit("second", "--from", str(out))
    assert not second["next"] and not second["failed"]
    assert [row[:2] for row in rows(out_two)] == [(ARMS[1], 0), (ARMS[1], 1)]
    assert (out_two / "speed.json").exists()
    run = next((house / "second/results").iterdir())
    assert {path.stem for path in run.iterdir()} == set(ARMS)
    records = (house / "second/cache/train").glob("*/recipe.json")
    teachers = [json.loads(p.read_text())["recipe"].get("teacher") for p in records]
    assert sum(str(t).endswith("-float16") for t in teachers) == 2
    # The one that was kept is whole: a third machine repeats both without training.
    monkeypatch.setattr("ccfs_lib.pipeline.trainings.fit", lambda *_, **__: 1 / 0)
    third, _ = sit("third", "--from", str(out_two))
    assert not third["next"] and not third["failed"]


def test_rows_of_table_1_are_cells_and_are_kept(sit, house, monkeypatch):
    named = [f"row:{name}" for name in ("forgetting", "self-evolved", "glister")]
    plan = [{"name": "rows", "arms": named, **SETTINGS, "score": "forgetting"}]
    first, out = sit("first", plan=plan)
    assert not first["next"] and not first["failed"]
    wanted = sorted((arm, seed) for arm in named for seed in (0, 1))
    assert [row[:2] for row in rows(out)] == wanted
    (run,) = (house / "first/results").glob("digits-*")
    filed = {"forgetting-teacher", "self-evolved-teacher", "glister-teacher"}
    assert {path.stem for path in run.iterdir()} == filed
    # What came back is recognised: nothing is trained again. (Trainings that forgetting
    # is counted in do not come back; a plan with a published score has none.)
    monkeypatch.setattr("ccfs_lib.pipeline.trainings.fit", lambda *_, **__: 1 / 0)
    plan[0]["arms"] = named[2:]
    second, _ = sit("second", "--from", str(out), plan=plan)
    assert not second["next"] and not second["failed"]


def test_no_time_trains_nothing_and_says_what_is_next(sit, capsys):
    plan = [{"name": "ten", "dataset": "cifar10", "arms": ["random"]}]
    plan += [{"name": "digits", "arms": ARMS, **SETTINGS}]
    manifest, out = sit("late", "--minutes", "0", plan=plan)
    assert not (out / "rows.jsonl").exists()
    assert [cell.split(" ", 1)[1] for cell in manifest["next"]] == [
        f"{arm} seed {seed}" for arm in ARMS for seed in (0, 1)
    ]
    told = capsys.readouterr().out
    assert "the next sitting begins with" in told
    assert "ten is left out: " in told


FLAT = {k: v for k, v in SETTINGS.items() if k not in ("teacher", "distillation")}
FLAT |= {"teacher_epochs": 2, "iterations": 5}  # as a notebook has them
CHAPTER = {"name": "chapter", "chapter": "05_evaluation", "of": "digits"}


def test_a_chapter_is_executed_with_what_is_finished(sit, house):
    """By papermill and a kernel of its own, in the time that is left."""
    pytest.importorskip("papermill")
    pytest.importorskip("ipykernel")
    arms = [*ARMS, "random-hard"]  # its text is about all three
    plan = [{"name": "digits", "arms": arms, **FLAT}, CHAPTER]
    manifest, out = sit("book", plan=plan)
    assert not manifest["failed"] and not manifest["left_out"]
    folder = sitting.unpacked(out, house / "unpacked")
    page = json.loads((folder / "chapters" / "05_evaluation.ipynb").read_text())
    outputs = json.dumps([c.get("outputs") for c in page["cells"]])
    assert '"output_type": "error"' not in outputs
    means = dict.fromkeys(arms, 0.0)
    for arm, _, last in rows(out):
        means[arm] += last / 2
    for mean in means.values():  # of this sitting, on the page
        assert f"{mean:.1f}" in outputs
    injected = [c for c in page["cells"] if "injected" in str(c["metadata"])]
    assert CCFS in "".join(injected[0]["source"])
    assert not (house / "book" / "jupyter" / "profile_default" / "db").exists()


def test_a_chapter_waits_for_its_arms_and_for_time(sit, house, monkeypatch, tmp_path):
    plan = [{"name": "digits", "arms": ARMS, **FLAT}, CHAPTER]
    manifest, _ = sit("late", "--minutes", "0", plan=plan)
    (told,) = manifest["failed"]
    assert told.startswith("05_evaluation: no arm of ") and "has all its seeds" in told
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(plan))
    item = sitting.read_plan(path)[1]
    assert (item.chapter, item.arms) == ("05_evaluation", tuple(ARMS))
    both = {(arm, seed): {} for arm in ARMS for seed in (0, 1)}
    monkeypatch.setattr(sitting, "finished", lambda *_: both)
    assert sitting.execute(item, tmp_path / "c", 0.0) == "05_evaluation: time is up"
    told = sitting.execute(item, tmp_path / "c", 0.01)
    assert told == "05_evaluation: 0 s were not enough"
    monkeypatch.setattr(sitting.sys, "executable", "false")  # a machine without one
    told = sitting.execute(item, tmp_path / "c", 5.0)
    assert told == "05_evaluation: no reason was given"


def test_wheels_are_what_the_machine_lacks_and_all_of_it():
    pytest.importorskip("ipykernel")
    wheels = import_module("wheels")
    there = wheels.packages(wheels.THERE)
    pins = wheels.lacking(wheels.roots(), there)
    assert {"papermill", "ipykernel", "pyzmq", "tyro", "pydantic-core"} <= set(pins)
    assert not set(pins) & there and {"torch", "pandas", "pillow"} <= there
    for name in pins:  # whatever one of them asks for is there, or travels too
        for line in wheels.distribution(name).requires or ():
            wanted = wheels.Requirement(line)
            if not wanted.marker or wanted.marker.evaluate(wheels.MARKERS):
                name = wheels.canonicalize_name(wanted.name)
                assert name in there or name in pins
    assert wheels.lacking(["papermill"], there | {"papermill"}) == {}


def cell(name, arm, seconds):
    return sitting.Cell(name, arm, 0, seconds)


def test_what_fits_is_taken_in_order_of_worth():
    cells = [cell("a", "1", 50), cell("a", "2", 30), cell("b", "1", 15)]
    cells += [cell("b", "2", 5), cell("c", "1", 1)]
    shared = {"a": 20.0, "b": 10.0, "c": 1000.0}
    taken = [str(c.experiment) + c.arm for c in sitting.choose(cells, shared, 100)]
    # a: 20 + 50 and then 30 fit exactly; nothing is left.
    assert taken == ["a1", "a2"]
    taken = [str(c.experiment) + c.arm for c in sitting.choose(cells, shared, 90)]
    assert taken == ["a1", "b2"]  # b's images and its small cell: 15 of 20
    assert sitting.choose(cells, shared, 0) == []


def test_pieces_are_below_their_limit_and_a_damaged_one_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sitting, "MOST", 60_000)
    monkeypatch.setattr(sitting, "FILES", 5)  # a speed table and the manifest are two
    kept, out = tmp_path / "kept", tmp_path / "out"
    out.mkdir()
    (out / "speed.json").write_text("{}")
    sizes = {"small": 10, "a/x": 20_000, "a/y": 20_000, "b": 30_000, "c": 44_000}
    sizes |= {"d": 45_000, "huge": 70_000}
    for name, size in sizes.items():
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_bytes(os.urandom(size))
    sums, left = sitting.pack(kept, out)
    assert len(sums) == 3 and set(left) == {"huge", "d"}
    assert all((out / name).stat().st_size <= 60_000 for name in sums)
    (out / "manifest.json").write_text(json.dumps({"pieces": sums}))
    folder = sitting.unpacked(out, tmp_path / "home")
    for name in set(sizes) - set(left):
        assert (folder / name).read_bytes() == (kept / name).read_bytes()
    (out / "piece-1.tar").write_bytes(b"else")
    with pytest.raises(InputError, match=r"piece-1\.tar is missing or not what"):
        sitting.unpacked(out, tmp_path / "home")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("- a: b", "is not YAML in JSON form"),
        ('[{"name": "a", "arms": ["simple"]}]', "arm is 'simple'"),
        ('[{"name": "a", "arms": ["random"], "width": 1}]', "width is 1"),
        ('[{"name": "a", "chapter": "05_evaluation", "of": "b"}]', "of is 'b'"),
        (
            '[{"name": "a", "arms": ["random"]},'
            '{"name": "b", "chapter": "05", "of": "a"}]',
            "chapter is '05', but there is no",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_one_sentence(tmp_path, text, match):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        sitting.read_plan(path)


def test_the_plan_for_an_h100_can_be():
    import yaml

    items = sitting.read_plan(sitting.PLAN)
    assert items[0].speed and items[1].experiment.dataset == "cifar100"
    entries = yaml.safe_load(sitting.PLAN.read_text())  # it is YAML, too
    assert [entry["name"] for entry in entries] == [item.name for item in items]


def test_sheets_give_the_very_pixels_back(tmp_path, house, digits, monkeypatch):
    train, test = digits
    for part, split in ((train.subset(range(230)), "train"), (test, "test")):
        sheets.pack(part, tmp_path / "sheets" / "set", split, effort=0)
        again = sheets.unpack(tmp_path / "sheets" / "set", split)
        assert again.fingerprint == part.fingerprint
        assert torch.equal(again.images, part.images) and again.classes == part.classes
    monkeypatch.setenv("CCFS_DATA", "")
    sitting.place_data(tmp_path / "sheets", tmp_path / "home")
    placed = data.load(tmp_path / "home" / "data" / "set", "train")
    assert placed.fingerprint == train.subset(range(230)).fingerprint
    with pytest.raises(InputError, match=r"has no sheets valid-\*"):
        sheets.unpack(tmp_path / "sheets" / "set", "valid")


def test_sheets_are_split_into_files(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(sheets, "MOST", 20_000)
    paths = sheets.pack(digits[0], tmp_path, "train", effort=0)
    assert len(paths) > 2
    assert sheets.unpack(tmp_path, "train").fingerprint == digits[0].fingerprint


def test_the_run_of_an_h100_is_recognised(house, monkeypatch):
    folders = (parent / H100 for parent in Path(__file__).parents)
    folder = next(filter(Path.is_dir, folders), None)
    if folder is None or not (DATA / "cifar100").is_dir():
        pytest.skip(f"needs {H100} beside the checkout, and cifar100 in CCFS_DATA")
    monkeypatch.setenv("CCFS_DATA", str(DATA))
    items = {item.name: item for item in sitting.read_plan(sitting.PLAN)}
    some = [items[name] for name in ("table 3", "seeds 3 and 4", "alpha 0")]
    sitting.restore(folder, some)
    done = [set(sitting.finished(item.experiment, item.arms)) for item in some]
    both = {(arm, seed) for arm in ("random", CCFS) for seed in range(3)}
    assert done[0] == both | {("random-hard", seed) for seed in range(3)}
    assert done[1] == both and done[2] == {(CCFS, seed) for seed in range(3)}
    teacher = Pipeline(some[0].experiment).teacher
    assert teacher.mark == "float16" and teacher.network.head.out_features == 100
