"""Where results are filed, and whether anything can be written there."""

import json
import os
from pathlib import Path

import pytest

from ccfs_lib import results
from ccfs_lib.commands.ship import adopt
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.runtime import paths

ROW = {"seed": 0, "last": 60.0, "best": 61.0}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project with one committed run; a user's own are filed beside."""
    monkeypatch.delenv("CCFS_RESULTS", raising=False)
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    file(paths.results(), "known")
    return tmp_path / "data"


def file(root: Path, run: str) -> Path:
    return results.write(root, run, "a", config={}, rows=[ROW], provenance={})


def test_a_users_run_is_no_evidence_until_it_is_shipped(checkout):
    assert paths.filed("known") == checkout / "results"
    assert paths.filed("mine") == paths.own_results() == checkout / "results-own"
    file(paths.filed("mine"), "mine")
    assert set(results.load(paths.results())["run"]) == {"known"}
    assert adopt(["mine", "known", "absent"]) == [checkout / "results" / "mine"]
    assert paths.filed("mine") == checkout / "results"
    assert set(results.load(paths.results())["run"]) == {"known", "mine"}


def test_a_folder_that_is_named_holds_all_results(checkout, monkeypatch):
    monkeypatch.setenv("CCFS_RESULTS", "~/elsewhere")
    monkeypatch.setenv("HOME", str(checkout))
    assert paths.filed("mine") == paths.filed("known") == checkout / "elsewhere"


def test_git_ignores_what_is_a_users_own():
    rules = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert {"data/results-own/", "data/results/*/replaced/"} <= set(rules)


def test_a_place_is_tried_and_nothing_is_made(tmp_path):
    paths.writable(tmp_path / "new" / "deep" / "x.json", "out")
    paths.writable(tmp_path, "out", folder=True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for path, told in (
        (tmp_path, "but that is a folder"),
        (tmp_path / "file" / "x", "nothing can be written there"),
        (Path("/proc/x/y"), "nothing can be written there"),
        (tmp_path / ("x" * 201), "has 201 letters"),
    ):
        with pytest.raises(InputError, match=f"^out is '{path}', .*{told}"):
            paths.writable(path, "out")


def test_equal_results_need_no_place_to_write(tmp_path, monkeypatch):
    path = file(tmp_path, "run")
    before = path.read_bytes()

    def refused(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.setattr(Path, "mkdir", refused)
    assert file(tmp_path, "run").read_bytes() == before
    assert json.loads(before)["rows"] == [ROW]


def test_a_user_that_is_not_there_is_no_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.expanded("~/x") == tmp_path / "x"
    assert paths.expanded("~no-such-user/x") == Path("~no-such-user/x")
    with pytest.raises(InputError, match=r"file ~no-such-user/s\.npy does not"):
        _ = Pipeline(preset(score="~no-such-user/s.npy")).difficulty
