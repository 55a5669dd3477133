"""Table 1 with rows of a user's own and with bad input: one sentence for each row."""

import json
from types import SimpleNamespace

import pytest

from ccfs_lib import table1
from ccfs_lib.commands import table1_price
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import preset, presets
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.runtime.workers import executor

OWN = """
import numpy as np

def first(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[:ipc] for c in range(10)])

def last(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[-ipc:] for c in range(10)])

def raises(train, ipc, seed):
    raise ValueError("three\\nlines")

def leaves(train, ipc, seed):
    raise SystemExit(3)

def ragged(train, ipc, seed):
    return [[1, 2], [3]]

def twice(train, ipc, seed):
    return [5, 7, 5]

def beyond(train, ipc, seed):
    return [0, len(train)]

def halves(train, ipc, seed):
    return [0.5]

def nothing(train, ipc, seed):
    return []

def many(train, ipc, seed):
    return np.flatnonzero(train.labels.numpy() == 3)[: ipc + 1]
"""


@pytest.fixture
def mine(house, workshop):
    """A module of a user's functions, `mine`, in a folder of its own."""
    (workshop / "mine.py").write_text(OWN)
    (workshop / "broken.py").write_text("def f(:\n")
    (workshop / "badimport.py").write_text("raise ValueError('no import')\n")
    (workshop / "leaving.py").write_text("import sys; sys.exit(4)\n")
    return workshop


@pytest.fixture
def table(mine, mini):
    """A table of a tiny experiment, IPC 4."""
    return Table1Pipeline(mini())


@pytest.fixture
def threads(monkeypatch):
    """Workers as threads of this process: processes take seconds to import torch."""
    monkeypatch.setattr(table1, "executor", lambda count, _: executor(count, True))


# -- names of a user's rows ------------------------------------------------------------


@pytest.mark.parametrize("title", ["distilled", "selected", "reverse", "cda", "dsa"])
def test_a_title_that_other_results_have_is_refused(mine, title):
    with pytest.raises(InputError, match=f"'{title}'.*other rows.*another title"):
        table1.parse(f"{title}:mine.first")


def test_a_title_that_can_name_no_file_is_refused(mine):
    with pytest.raises(InputError, match="'größe', but it names a file"):
        table1.parse("größe:mine.first")


def test_two_functions_of_one_title_are_refused(mine):
    with pytest.raises(InputError, match="'a', mine:first and mine:last"):
        table1.parse_all(["a:mine.first", "a:mine.last"])


def test_a_row_that_is_named_twice_counts_once(mine):
    rows = table1.parse_all(["random", "a:mine.first", "random", "a:mine.first"])
    assert [row.name for row in rows] == ["random", "a"]


# -- rows with a budget in minutes, on machines of other rates -------------------------


@pytest.fixture
def budgeted(house, mini, monkeypatch):
    """Measure DSA within a minute: a function of images a second, and of seeds.

    Returns the path and what it holds. Nothing trains.
    """

    def evaluate(table, row, protocol, seed):
        return {"seed": seed, "last": 50.0 + seed, "best": 60.0}

    def measured(rate, seeds, portable=False, **how):
        monkeypatch.setattr(Table1Pipeline, "rate", lambda *_: rate)
        e = mini(seeds=seeds, portable=portable)
        table, row = Table1Pipeline(e, table1.Choices(budget=1.0)), table1.parse("dsa")
        if not how and table.filed(row, "selmatch") >= set(range(seeds)):
            return read(table.path(row, "selmatch"))
        for seed in range(seeds):
            path = table.measure(row, "selmatch", seeds=[seed], **how)
        return read(path)

    def read(path):
        text = json.loads(path.read_text())
        return path, text["config"]["passes"], [row["seed"] for row in text["rows"]]

    monkeypatch.setattr(Table1Pipeline, "evaluate", evaluate)
    monkeypatch.setattr(Pipeline, "teacher", SimpleNamespace(last=90.0))
    return measured


def test_fewer_seeds_at_another_rate_replace_nothing(budgeted):
    _, passes, seeds = budgeted(1000.0, 2)
    assert seeds == [0, 1]
    _, same, seeds = budgeted(500.0, 1)  # slower: what is filed had more work
    assert (same, seeds) == (passes, [0, 1])
    with pytest.warns(Notice, match="another passes"):
        path, more, seeds = budgeted(2000.0, 1)  # faster: both seeds, measured anew
    assert more > passes and seeds == [0, 1]
    assert len(list((path.parent / "replaced").glob("dsa-*.json"))) == 1


def test_more_seeds_at_a_slower_rate_are_not_mixed_with_the_filed(budgeted):
    _, passes, _ = budgeted(1000.0, 1)
    with pytest.warns(Notice, match="another passes"):
        path, fewer, seeds = budgeted(500.0, 2)
    assert fewer < passes and seeds == [0, 1]
    assert len(list((path.parent / "replaced").glob("dsa-*.json"))) == 1


def test_a_portable_row_of_other_work_is_kept_too(budgeted):
    _, passes, _ = budgeted(1000.0, 2, portable=True)
    _, same, seeds = budgeted(500.0, 1, portable=True)
    assert (same, seeds) == (passes, [0, 1])
    with pytest.warns(Notice, match="another passes"):
        path, fewer, seeds = budgeted(500.0, 1, portable=True, again=True)
    assert fewer < passes and seeds == [0, 1]
    assert len(list((path.parent / "replaced").glob("dsa-*.json"))) == 1


# -- functions that fail ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("raises", r"raised ValueError: three lines \(.*mine.py, line \d+, in raises"),
        ("leaves", "raised SystemExit: 3"),
        ("ragged", "raised ValueError: setting an array"),
        ("twice", "returned index 5 more than once, but must return different"),
        (
            "beyond",
            r"returned index 1352, but must .* from 0 to 1351, at most 4 of a class",
        ),
        ("halves", r"returned an array of float64 and shape \(1,\), but must"),
        ("nothing", "returned nothing, but must"),
        ("many", "returned 5 of class '3', but must"),
    ],
)
def test_what_a_function_does_wrong_is_a_sentence(table, name, wrong):
    row = table1.parse(f"mine:{name}")
    table.check(row)  # does not call it
    with pytest.raises(InputError, match=f"rows has 'mine:{name}', which {wrong}"):
        table.built(row, 0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("broken:f", r"raised SyntaxError: .*broken.py, line 1"),
        ("badimport:f", r"raised ValueError: no import \(.*badimport.py, line 1"),
        ("leaving:f", r"raised SystemExit: 4"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_sentence(table, name, wrong):
    with pytest.raises(InputError, match=f"rows has '{name}', which {wrong}"):
        table.check(table1.parse(name))


def test_other_rows_go_on_when_functions_fail(mine, threads, mini):
    bad, said = ("mine:raises", "broken:f", "leaving:f"), []
    made, failed = table1.run(mini(), (*bad, "random"), workers=1, say=said.append)
    assert {p.stem for p in made} == {"random-selmatch", "random"}
    assert set(failed) == {name.replace(":", ".") for name in bad}
    assert len(said) == len(bad)


def test_dry_run_prices_other_rows_when_modules_fail(mine, mini):
    names = ("broken:f", "badimport:f", "leaving:f", "random")
    text = table1_price.price(mini(), names, table1.Choices())
    assert text.count("would be left out: rows has") == 3
    assert "  random selmatch " in text


# -- what is asked before anything trains ----------------------------------------------


def test_the_evaluation_needs_no_settings_of_mtt():
    e = preset("cifar100", "paper", ipc=25)
    with pytest.raises(InputError, match="no public settings"):
        recipes.matching(e, "mtt")
    judged = recipes.judged(e)
    assert judged.evaluation == presets.evaluation("cifar100", "paper", 25)
    known = preset("cifar100", "paper", ipc=50)
    ours, theirs = recipes.judged(known), recipes.matching(known, "mtt")
    assert ours.evaluation == theirs.evaluation
    assert ours.experiment == theirs.experiment
    assert Table1Pipeline(e).evaluator(True).motivation.expert.zca
