"""Table 1 with rows of a user's own and with bad input: one sentence for each row."""

import json
from types import SimpleNamespace

import pytest

from ccfs_lib import table1
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline.table1 import Table1Pipeline

OWN = """
import numpy as np

def first(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[:ipc] for c in range(10)])

def last(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[-ipc:] for c in range(10)])
"""


@pytest.fixture
def mine(house, workshop):
    """A module of a user's functions, `mine`, in a folder of its own."""
    (workshop / "mine.py").write_text(OWN)
    return workshop


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
