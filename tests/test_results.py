"""Results files: git sees a change only where a measurement changed."""

import csv
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
import uuid
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import torch

import ccfs_lib
from ccfs_lib import results
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime.device import has_bf16

CONFIG = {
    "dataset": "digits",
    "ipc": 10,
    "kd": True,
    "student": {"lr": 0.1, "crop_scale": (0.08, 1.0)},
    "limit": None,
}
ROWS = [
    {"seed": 1, "last": 61.25, "best": 62.5},
    {"seed": 0, "last": 60.1, "best": 60.9},
]
SORTED = [*reversed(ROWS)]  # as they are filed
ROW = {"seed": 0, "last": 60.0, "best": 61.0}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


def write(root, run="main", cell="ccfs", config=CONFIG, rows=ROWS, **provenance):
    return results.write(
        root, run, cell, config=config, rows=rows, provenance=provenance
    )


def files(root):
    found = (path.relative_to(root) for path in root.rglob("*.*"))
    return sorted(str(path) for path in found if path.parts[0] != ".locks")


# --- write ---


def test_a_cell_is_a_readable_file(root):
    path = write(root, cell="ccfs-ipc0.5", seconds=3.2)
    assert path == root / "main" / "ccfs-ipc0.5.json"
    text = path.read_text()
    content = json.loads(text)
    assert list(content) == ["config", "provenance", "rows"]
    assert content["rows"] == SORTED and content["provenance"] == {"seconds": 3.2}
    assert content["config"]["student"] == {"crop_scale": [0.08, 1.0], "lr": 0.1}
    assert text.count("\n") > 20 and text.endswith("}\n")
    assert text.index('"dataset"') < text.index('"ipc"') < text.index('"limit"')
    assert files(root) == ["main/ccfs-ipc0.5.json"]  # no temporary file


def test_equal_results_are_not_written_again(root):
    path = write(root, seconds=3)
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    write(root, seconds=4, config=dict(reversed(CONFIG.items())))
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize(
    ("changed", "filed"),
    [
        ({"rows": [ROWS[0]]}, SORTED),  # a quick look
        ({"rows": [{**ROWS[1], "last": 60.2}]}, [{**ROWS[1], "last": 60.2}, ROWS[0]]),
        ({"rows": [{**ROWS[1], "seed": 2}]}, [*SORTED, {**ROWS[1], "seed": 2}]),
    ],
)
def test_rows_of_equal_settings_merge_by_seed(root, changed, filed):
    path = write(root, config={**CONFIG, "seeds": 2})
    write(root, config={**CONFIG, "seeds": 1}, **changed)
    content = json.loads(path.read_text())
    assert content["rows"] == filed and content["config"]["seeds"] == len(filed)
    config = {**CONFIG, "seeds": 9}
    assert results.seeds(root, "main", "ccfs", config) == {r["seed"] for r in filed}
    assert not results.seeds(root, "main", "ccfs", {**config, "ipc": 11})


def test_a_data_set_is_known_by_its_images_not_by_its_path(root):
    config = {"dataset": "/a/photos", "train": "t1", "test": "t2"}
    path = write(root, config=config)
    write(root, config=config | {"dataset": "photos"}, rows=[{**ROW, "seed": 5}])
    assert len(json.loads(path.read_text())["rows"]) == 3
    results.check_images(root, "main", {"train": "t1", "test": "t2"})
    results.check_images(root, "other", {"train": "t3"})
    with pytest.raises(InputError, match=r"run main has .*other test images.*rename"):
        results.check_images(root, "main", {"train": "t1", "test": "t3"})


def test_another_configuration_replaces_a_file_and_keeps_it(root):
    path = write(root, seconds=3)
    before = path.read_text()
    with pytest.warns(Notice, match=r"ccfs\.json is replaced, another ipc \(10\); "):
        write(root, seconds=4, config={**CONFIG, "ipc": 11}, rows=[ROW])
    content = json.loads(path.read_text())
    assert content["provenance"] == {"seconds": 4} and content["rows"] == [ROW]
    assert content["config"]["ipc"] == 11
    assert (root / "main/replaced/ccfs-1.json").read_text() == before
    assert len(results.load(root)) == 1


@pytest.mark.filterwarnings("ignore:.*is replaced")
def test_files_put_aside_never_overwrite_each_other(root):
    """An arm whose name begins like another's has its own numbers."""

    def put(cell, ipc):
        how = {"config": {"ipc": ipc}, "rows": [ROW], "provenance": {}}
        results.write(root, "main", cell, **how)

    for ipc in (10, 11, 12):  # two of each are put aside
        put("ccfs", ipc)
        put("ccfs-1x", ipc)
    aside = root / "main/replaced"
    second = (aside / "ccfs-2.json").read_text()
    (aside / "ccfs-1.json").unlink()
    (aside / "ccfs-1x-1.json").unlink()
    put("ccfs", 13)
    put("ccfs", 14)
    assert (aside / "ccfs-2.json").read_text() == second
    names = {"ccfs-1.json", "ccfs-2.json", "ccfs-3.json", "ccfs-1x-2.json"}
    assert {path.name for path in aside.iterdir()} == names


def test_a_portable_run_is_overwritten_without_a_word(root, recwarn):
    write(root, config={**CONFIG, "portable": True})
    path = write(root, config={**CONFIG, "portable": True, "ipc": 3}, rows=[ROW])
    assert json.loads(path.read_text())["rows"] == [ROW]
    assert not recwarn.list and files(root) == ["main/ccfs.json"]


def test_rows_say_how_all_of_them_were_measured(root):
    path = write(root, rows=ROWS[:1], torch="2.10", date="Monday")
    write(root, rows=ROWS[1:], torch="2.11", date="Tuesday")
    write(root, rows=[{**ROW, "seed": 7}], torch="2.11", date="Wednesday")
    assert json.loads(path.read_text())["provenance"] == {
        **{"torch": "2.11", "date": "Wednesday"},
        "earlier": [{"torch": "2.10", "date": "Monday"}],
    }


def file_one(root, seed):
    write(root, rows=[{"seed": seed, "last": 50.0 + seed, "best": 60.0}])


def test_parallel_writers_do_not_drop_each_others_rows(root):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=file_one, args=(root, n)) for n in range(12)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert results.load(root)["seed"].tolist() == list(range(12))


@pytest.mark.parametrize("damaged", ["", "{", "[]", "<<<<<<< HEAD\n", '{"rows": 1}'])
def test_a_damaged_file_is_kept_aside(root, damaged):
    path = write(root)
    path.write_text(damaged)
    with pytest.warns(Notice, match="it is damaged; it is kept as .*ccfs-1"):
        write(root)
    assert json.loads(path.read_text())["rows"] == SORTED
    assert (root / "main/replaced/ccfs-1.json").read_text() == damaged


def test_a_failed_write_keeps_the_old_file(root, monkeypatch):
    path = write(root)
    before = path.read_bytes()

    def full(_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            write(root, rows=[{**ROW, "seed": 4}])
    assert path.read_bytes() == before and files(root) == ["main/ccfs.json"]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"rows": []}, "rows is empty"),
        ({"rows": [{"seed": 0, "last": 60.0}]}, r"rows\[0\] lacks 'best'"),
        ({"rows": [ROW, {**ROW, "last": math.nan}]}, r"rows\[1\]\.last is nan"),
        ({"rows": [{**ROW, "best": math.inf}]}, r"rows\[0\]\.best is inf"),
        ({"rows": [{**ROW, "best": 100.5}]}, r"rows\[0\]\.best is 100\.5"),
        ({"rows": [{**ROW, "last": "60"}]}, r"rows\[0\]\.last is '60'"),
        ({"rows": [{**ROW, "last": torch.tensor(6)}]}, r"rows\[0\]\.last is tensor"),
        ({"rows": [ROW, ROW]}, r"the seeds in rows are \[0, 0\]"),
        ({"rows": [{**ROW, "seed": "a"}]}, "the seeds in rows"),
        ({"rows": [{**ROW, "curve": {1, 2}}]}, r"rows\[0\]\.curve is a set"),
        ({"config": {"lr": math.nan}}, r"config\.lr is nan"),
        ({"device": object()}, r"provenance\.device is a object"),
        ({"run": "../up"}, r"run is '\.\./up'"),
        ({"cell": ".hidden"}, r"cell is '\.hidden'"),
        ({"cell": ""}, "cell is ''"),
    ],
)
def test_bad_input_is_named_and_nothing_written(root, bad, named):
    with pytest.raises(InputError, match=named) as caught:
        write(root, **bad)
    assert "\n" not in str(caught.value) and not root.exists()


# --- load and gather ---


def test_table_is_tidy(root):
    write(root, run="main", cell="ccfs")
    extra = [{"seed": 0, "last": 50.0, "best": 51.0, "images": 100, "curve": [1, 2]}]
    config = {"dataset": "digits", "seed": 7, "zeta": 1.0}
    write(root, run="ablation", cell="random", config=config, rows=extra)
    table = results.load(root)
    assert list(table.columns) == [
        *("run", "cell", "config.seed", "dataset", "ipc", "kd", "limit"),
        *("student.lr", "zeta", "seed", "last", "best", "images"),
    ]
    assert table["run"].tolist() == ["ablation", "main", "main"]
    assert table["seed"].tolist() == [0, 0, 1]  # sorted, unlike in ROWS
    assert table["last"].tolist() == [50.0, 60.1, 61.25]
    assert table["last"].dtype == float and table["seed"].dtype == int
    assert table["config.seed"].tolist()[0] == 7 and pd.isna(table["config.seed"][1])
    assert results.load(root, "main")["student.lr"].tolist() == [0.1, 0.1]
    assert "zeta" not in results.load(root, "main")


def test_a_name_means_one_thing_in_the_whole_table(root):
    write(root, cell="a", config={"images": 5})
    write(root, cell="b", config={}, rows=[{**ROW, "images": 99, "run": "x"}])
    table = results.load(root)
    assert table["images"].tolist()[2] == 99 and table["images"].isna().sum() == 2
    assert table["config.images"].tolist()[:2] == [5, 5]
    assert set(table["run"]) == {"main"}


def test_csv_holds_every_digit_and_is_stable(root):
    third = [{"seed": 0, "last": 100 / 3, "best": 100 / 3}]
    write(root, cell="b", rows=third)
    write(root, cell="a", config={"ipc": 5})
    write(root, cell="c", config={"name": 'a, "b"'})
    path = results.gather(root, root / "all.csv")
    assert path == root / "all.csv"
    before = path.read_bytes()
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["seed"]) for row in rows] == [
        *(("a", "0"), ("a", "1"), ("b", "0"), ("c", "0"), ("c", "1"))
    ]
    assert [row["ipc"] for row in rows] == ["5", "5", "10", "", ""]  # not 5.0
    assert float(rows[2]["last"]) == 100 / 3 and rows[3]["name"] == 'a, "b"'
    assert results.gather(root, path).read_bytes() == before and b"\r" not in before
    assert pd.read_csv(path)["last"].tolist() == results.load(root)["last"].tolist()


def test_gather_does_not_read_itself_or_leftovers(root):
    write(root)
    results.gather(root, root / "all.csv")
    (root / "main" / ".ccfs.json.99.tmp").write_text("{")
    (root / "main" / ".hidden.json").write_text("{")
    (root / "note.json").write_text("{}")
    assert len(results.load(root)) == 2


def test_a_root_without_cells_is_an_empty_table(root):
    root.mkdir()
    table = results.load(root)
    assert len(table) == 0 and list(table) == ["run", "cell", "seed", "last", "best"]
    path = results.gather(root, root / "all.csv")
    assert path.read_text() == "run,cell,seed,last,best\n"


def test_unknown_places_are_named(root):
    with pytest.raises(InputError, match=r"root is .* no such folder"):
        results.load(root)
    write(root)
    with pytest.raises(InputError, match=r"run is 'mian'; .* has main"):
        results.load(root, "mian")
    with pytest.raises(InputError, match=r"run is '\*'"):
        results.load(root, "*")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"config": {}, "rows": []}', '{"config": {}, "rows": [1]}'],
)
def test_a_damaged_file_is_named_and_left_out(root, text):
    path = write(root)
    write(root, cell="whole")
    path.write_text(text)
    with pytest.warns(Notice, match=r"ccfs\.json is not a results file.* left out"):
        table = results.load(root)
    assert table["cell"].tolist() == ["whole"] * 2


# --- provenance ---


def test_provenance_says_how_it_was_measured():
    facts = results.provenance("cpu", "ccfs run")
    assert facts["torch"] == torch.__version__ and facts["numpy"] == np.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["threads"] == torch.get_num_threads()
    assert facts["library"] == ccfs_lib.__version__
    assert facts["command"] == "ccfs run"
    assert facts["bfloat16"] == ("itself" if has_bf16("cpu") else "by float32")
    assert facts["device"] and facts["device"] != "cpu"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["date"])
    assert os.uname().nodename not in json.dumps(facts)  # results are published
    json.dumps(facts, allow_nan=False)


def test_unknown_device_is_refused():
    with pytest.raises(InputError, match="device is 'tpu9'"):
        results.provenance("tpu9")


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_revision_and_dirty(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(ccfs_lib, "__file__", str(package / "__init__.py"))

    def stamp():
        facts = results.provenance("cpu")
        return facts["revision"], facts["dirty"]

    assert stamp() == ("unknown", None)  # no repository
    git(tmp_path, "init", "-q")
    assert stamp() == ("unknown", None)  # inside one that does not know the package
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert stamp() == (head, False)
    (tmp_path / "results.json").write_text("{}")
    assert stamp() == (head, False)  # a new result is not a change of the code
    (package / "__init__.py").write_text("x = 1\n")
    assert stamp() == (head, True)
    monkeypatch.setenv("PATH", "")
    assert stamp() == ("unknown", None)  # no git


# -- nothing is lost -------------------------------------------------------------------

try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError:  # of the tests' own packages
    hypothesis = None


@pytest.mark.skipif(hypothesis is None, reason="hypothesis is not installed")
def test_whatever_is_written_in_whatever_order_stays(tmp_path):
    """Seeds, settings and damage at random: each row is filed, or kept aside."""
    write_or_damage = st.one_of(
        st.tuples(st.sampled_from([10, 20]), st.sets(st.integers(0, 3), min_size=1)),
        st.sampled_from(["<<<<<<< HEAD\n", "", "[]", '{"rows": 3}', "\0"]),
    )

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
    @hypothesis.given(st.lists(write_or_damage, min_size=1, max_size=8))
    def check(steps):
        root = tmp_path / uuid.uuid4().hex
        path, newest, current = root / "main/ccfs.json", {}, None
        for number, step in enumerate(steps):
            if isinstance(step, str):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():  # as an editor would; the rows are gone with it
                    newest = {k: v for k, v in newest.items() if k[0] != current}
                path.write_text(step)
                continue
            current, seeds = step
            rows = [{"seed": s, "last": number, "best": number} for s in seeds]
            config = {"ipc": current, "seeds": len(seeds)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Notice)
                write(root, config=config, rows=rows)
            newest |= {(current, seed): number for seed in seeds}
            content = json.loads(path.read_text())
            assert content["config"] == {"ipc": current, "seeds": len(content["rows"])}
            filed = {(current, row["seed"]): row["last"] for row in content["rows"]}
            assert {k: newest[k] for k in filed} == filed
            assert {(current, seed) for seed in seeds} <= set(filed)
        aside = [path, *root.glob("main/replaced/*.json")]
        kept = set()
        for text in (file.read_text() for file in aside if file.exists()):
            with suppress(ValueError, TypeError, KeyError):
                content = json.loads(text)
                kept |= {
                    (content["config"]["ipc"], row["seed"], row["last"])
                    for row in content["rows"]
                }
        assert {(*key, last) for key, last in newest.items()} <= kept

    check()
