"""What is filed in the results is not computed again, and a dry run says the same."""

import json
import re
import sys
import warnings

import pytest
from conftest import small

from ccfs_lib import cli, results, sweep
from ccfs_lib.commands.forecast import forecast, forecast_matching
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import motivation
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.store import Store
from ccfs_lib.table1 import BY_NAME

ARMS = ("random", "simple-misclassified")


def unlike(**changes):
    """An experiment whose bits need not repeat: of a portable one nothing counts."""
    return small(portable=False, score="logits", **changes)


def rows_of(paths) -> list:
    return [json.loads(path.read_text())["rows"] for path in paths]


def computed(monkeypatch) -> list[str]:
    """Kinds of the stages that are computed from now on."""
    kinds, get = [], Store.get

    def counted(self, kind, recipe, compute):
        return get(self, kind, recipe, lambda: kinds.append(kind) or compute())

    monkeypatch.setattr(Store, "get", counted)
    return kinds


def test_filed_rows_are_not_computed_again_on_an_empty_cache(house, monkeypatch):
    e = unlike(seeds=2)
    paths = sweep.sweep(e, ARMS, threads=True, workers=1)
    before = rows_of(paths)
    monkeypatch.setenv("CCFS_CACHE", str(house / "empty"))
    kinds = computed(monkeypatch)
    with pytest.warns(Notice, match=r"random: 2 of 2 rows are filed .*--again"):
        assert sweep.sweep(e, ARMS, threads=True, workers=1) == paths
    lines = {line.name: line for line in forecast([e], ARMS)[e]}
    assert set(lines) == {*ARMS} and all(line.filed for line in lines.values())
    Pipeline(e).measure("random")
    assert not kinds and rows_of(paths) == before
    # A third seed asks for the teacher and its own trainings, and joins the others.
    more = unlike(seeds=3)
    lines = {line.name: line for line in forecast([more], ARMS)[more]}
    assert (lines["random"].done, lines["random"].total) == (2, 3)
    assert lines["teacher"].total == 1 and not lines["random"].filed
    with pytest.warns(Notice, match="random: 2 of 3 rows"):
        sweep.sweep(more, ("random",), threads=True, workers=1)
    assert sorted(kinds) == ["squeeze", "train"]
    assert [row["seed"] for row in rows_of(paths)[0]] == [0, 1, 2]
    assert rows_of(paths)[0][:2] == before[0]


def test_cells_of_several_experiments_are_one_queue(house, monkeypatch):
    """And their rows are those of one sweep after the other."""
    several = [unlike(alpha=a, seeds=2) for a in (0.25, 0.5)]
    how = {"threads": True, "workers": 1}
    before = [rows for e in several for rows in rows_of(sweep.sweep(e, ARMS, **how))]
    monkeypatch.setenv("CCFS_CACHE", str(house / "empty"))
    monkeypatch.setenv("CCFS_RESULTS", str(house / "others"))
    queues, each = [], sweep.completed

    def queued(pool, shared, tasks, label, unit):
        queues.extend([len(tasks)] * (label == "sweep"))
        return each(pool, shared, tasks, label, unit)

    monkeypatch.setattr(sweep, "completed", queued)
    paths = sweep.sweep([*several, several[0]], ARMS, **how)
    assert queues == [8] and len(paths) == 4
    assert [p.parent.name for p in paths[::2]] == [e.run for e in several]
    assert rows_of(paths) == before
    with pytest.warns(Notice, match=rf"{several[1].run}, random: 2 of 2 rows are"):
        assert sweep.sweep(several, ARMS, **how) == paths
    assert queues == [8]
    # Further seeds of an experiment are the same files.
    assert len(sweep.sweep([several[0], unlike(alpha=0.25)], ARMS, **how)) == 2
    with pytest.raises(InputError, match="experiments holds 'x'"):
        sweep.sweep([several[0], "x"], ARMS)


def test_again_computes_and_replaces_what_is_filed(house, monkeypatch):
    e = unlike()
    (path,) = sweep.sweep(e, ("random",), threads=True, workers=1)
    content = json.loads(path.read_text())
    true = content["rows"][0]["last"]
    content["rows"][0]["last"] = 1.0
    path.write_text(json.dumps(content))
    sweep.sweep(e, ("random",), threads=True, workers=1)
    assert rows_of([path])[0][0]["last"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        sweep.sweep(e, ("random",), threads=True, workers=1, again=True)
    assert rows_of([path])[0][0]["last"] == true
    lines = {line.name: line for line in forecast([e], ("random",), again=True)[e]}
    assert lines["random"].done == 1 and not lines["random"].filed


def test_rows_with_another_teacher_are_named(house, monkeypatch):
    """As the teacher trained on another machine has other bits, and they stay."""
    e, how = unlike(), {"threads": True, "workers": 1}
    (path,) = sweep.sweep(e, ("random",), **how)
    content, here = json.loads(path.read_text()), Pipeline(e).teacher.last
    with pytest.warns(Notice, match="1 of 1 rows are filed and not"):
        sweep.sweep(e, ("random",), **how)
    content["config"]["teacher_last"] = 12.34
    path.write_text(json.dumps(content))
    told = Table1Pipeline(e).other_teacher(BY_NAME["random"], "teacher")
    assert told == f" with another teacher (12.34 %; the one here has {here:.2f} %)"
    with pytest.warns(Notice, match=re.escape(f"1 of 1 rows are filed{told} and not")):
        sweep.sweep(e, ("random",), **how)
    monkeypatch.setenv("CCFS_CACHE", str(house / "empty"))  # no teacher to compare with
    with pytest.warns(Notice, match="1 of 1 rows are filed and not"):
        sweep.sweep(e, ("random",), **how)
    assert rows_of([path]) == [content["rows"]]


def test_other_settings_images_or_a_portable_run_are_computed(house, monkeypatch):
    sweep.sweep(unlike(), ("random",), threads=True, workers=1)
    assert Pipeline(unlike()).filed("random") == {0}
    assert not Pipeline(unlike()).filed("distilled")
    assert not Pipeline(unlike(temperature=4.0)).filed("random")
    assert not Pipeline(small(score="logits")).filed("random")  # portable
    path = next(house.glob("results/*/random.json"))
    content = json.loads(path.read_text())
    content["config"]["train"] = "0" * 64
    path.write_text(json.dumps(content))
    assert not Pipeline(unlike()).filed("random")


def test_section_3_knows_what_is_filed(house, monkeypatch):
    run = motivation(ipc=4, alpha=0.25, seeds=1, curricula=1, portable=False)
    # Its row as a sweep would file it, whatever it measured.
    row = {"seed": 0, "last": 50.0, "best": 51.0}
    monkeypatch.setattr(Section3Pipeline, "evaluate", lambda *_: row)
    path = Section3Pipeline(run).measure("selmatch")
    kinds = computed(monkeypatch)
    with pytest.warns(Notice, match="selmatch: 1 of 1 rows are filed"):
        assert sweep.match(run, ("selmatch",), workers=1) == [path]
    (line,) = forecast_matching([run], ("selmatch",))[run]
    assert line.filed and not kinds


def test_the_command_says_what_is_filed(house, monkeypatch, capsys):
    e = unlike()
    sweep.sweep(e, ("random",), threads=True, workers=1)
    assert results.count(house / "results", e.run, "random") == 1
    monkeypatch.setattr("ccfs_lib.commands.options.Choice.experiments", lambda _: [e])
    words = ["ccfs", "sweep", "--arms", "random", "--dry-run"]
    for extra, told in (([], "filed"), (["--again"], "computed")):
        monkeypatch.setattr(sys, "argv", [*words, *extra])
        cli.main()
        assert re.search(rf"random +1 of 1 +{told}\n", capsys.readouterr().out)


def test_further_seeds_do_not_replace_rows_of_another_training_of_the_teacher(house):
    """The same settings on another machine: its teacher has other bits."""
    few, more = small(seeds=2, portable=False), small(seeds=3, portable=False)
    path = Pipeline(few).measure("random-hard")
    filed = json.loads(path.read_text())
    filed["config"]["teacher_last"] -= 1.0
    path.write_text(json.dumps(filed))
    with pytest.warns(Notice, match="replaced, another teacher_last"):
        sweep.sweep(more, ("random-hard",), threads=True, workers=1)
    rows = json.loads(path.read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1, 2]  # all under this teacher
    assert list(path.parent.glob("replaced/*.json"))  # and the others are kept
