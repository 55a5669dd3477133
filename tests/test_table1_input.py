"""Table 1 with rows of a user's own and with bad input: one sentence for each row."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import sleep
from types import SimpleNamespace

import pytest

from ccfs_lib import table1
from ccfs_lib.cli import main
from ccfs_lib.commands import table1_price
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import preset, presets
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.report import ranking
from ccfs_lib.report import table1 as table1_report
from ccfs_lib.runtime.workers import executor
from ccfs_lib.store import Store

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

DATA = """
import torch
from ccfs_lib.data import ImageSet

def few(split):
    labels = torch.arange(120) % 2
    images = torch.zeros(120, 3, 8, 8, dtype=torch.uint8)
    return ImageSet("few", images, labels, ("a", "b"))
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


@pytest.mark.parametrize(
    "title",
    ["distilled", "selected", "reverse", "cda", "dsa", "Random", "CCFS", "Dsa"],
)
def test_a_title_that_other_results_have_is_refused(mine, title):
    with pytest.raises(InputError, match=f"'{title}'.*other rows.*another title"):
        table1.parse(f"{title}:mine.first")


def test_a_titled_function_without_module_is_named_as_it_was_given(mine):
    with pytest.raises(InputError, match=r"rows is .dark:gone\.f., but"):
        table1.parse("dark:gone.f")


def test_a_title_that_can_name_no_file_is_refused(mine):
    with pytest.raises(InputError, match="'größe', but it names a file"):
        table1.parse("größe:mine.first")


def test_two_functions_of_one_title_are_refused(mine):
    with pytest.raises(InputError, match="'a', mine:first and mine:last"):
        table1.parse_all(["a:mine.first", "a:mine.last"])
    with pytest.raises(InputError, match="two functions titled 'A'"):
        table1.parse_all(["a:mine.first", "A:mine.last"])


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


def test_one_panel_alone_is_measured_priced_and_read(threads, mini):
    names, one, said = ("random", "random-bps"), ("teacher",), []
    made, failed = table1.run(mini(), names, panels=one, workers=1, say=said.append)
    assert [p.stem for p in made] == ["random"]
    assert set(failed) == {"random-bps"} and "not in the panel 'teacher'" in said[0]
    text = table1_price.price(mini(), names, table1.Choices(), one)
    assert "random teacher" in text and "random selmatch" not in text
    assert "Random, BPS's recipe would be left out" in text
    read = table1_report.Read(mini(), ("random",), panels=one)
    assert list(read.panel(True)) == ["random"] and not read.panel(False)
    assert "as published" not in ranking.answer(read).markdown


@pytest.mark.parametrize(
    ("panels", "wrong"),
    [("shared", "has 'shared', but must name"), (3, "is 3, but must be")],
)
def test_another_panel_is_a_sentence(panels, wrong):
    with pytest.raises(InputError, match=f"panels {wrong}"):
        table1.chosen({"panels": panels})


def test_no_panel_is_a_sentence_and_none_named_is_both():
    told = "panels is empty, but must name published, teacher, or the two with a space"
    with pytest.raises(InputError, match=told):
        table1.panels_of(())
    assert table1.chosen({})[2] == table1.PANELS


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


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tiny-imagenet"])
def test_windows_have_the_score_of_selmatch_at_every_ipc(dataset):
    e = preset(dataset, "paper", ipc=30)
    with pytest.raises(InputError, match="scripts have only"):
        recipes.matching(e, "selmatch")
    known = preset(dataset, "paper", ipc=250 if dataset == "cifar10" else 100)
    theirs = recipes.matching(known, "selmatch").experiment
    for one in (e, known):
        ours = recipes.windowed(one).experiment
        assert ours.score == theirs.score and ours.ties == theirs.ties
    assert recipes.windowed(replace(e, score="forgetting")).experiment.score == (
        "forgetting"
    )


@pytest.fixture
def windows(house, monkeypatch):
    """A table whose classes have 131 digits at least, of which nothing may be trained.

    A function of changes of the experiment and of choices.
    """

    def table(choices=None, **changes):
        e = preset(**{"score": "forgetting", "score_runs": 1, **changes})
        return Table1Pipeline(e, choices or table1.DEFAULT)

    def compute(*_):
        raise AssertionError("something is computed")

    monkeypatch.setattr(Store, "get", compute)
    return table


def refused(table, name):
    """Return the sentence by which a row is refused before it trains."""
    with pytest.raises(InputError) as error:
        table.check(table1.parse(name))
    return str(error.value)


def test_windows_are_checked_before_a_score_is_counted(windows):
    wanted = "ipc is 60, but with SelMatch's beta of 0.6 a window of 60 from image 78 "
    wanted += "leaves the smallest class, which has 131: take ipc up to 53"
    assert refused(windows(ipc=60), "selmatch") == wanted
    windows(ipc=53).check(table1.parse("selmatch"))
    text = refused(windows(ipc=125), "oracle-window")
    assert text.startswith("ipc is 125, but a window must fit into the smallest class")
    assert text.endswith("without the 10 % that are held out")
    windows(ipc=60).check(table1.parse("oracle-window"))  # at SelMatch's beta it is out


def test_self_evolved_is_checked_by_the_names_of_its_options(windows):
    name, beta = "self-evolved", table1.Choices(evolved_beta=1.0)
    text = refused(windows(beta), name)
    assert "evolved_beta is 1, but" in text and "take evolved_beta up to 0.969" in text
    text = refused(windows(table1.Choices(evolved_size=10), ipc=10), name)
    assert text.startswith("evolved_size is 10, but a start must have at least 1")
    for alpha, size in ((0.0, 0), (1.0, 10)):
        text = refused(windows(ipc=10, alpha=alpha, curricula=1), name)
        assert text.startswith(f"alpha is {alpha:g}, so evolved_size is {size}, but")
    windows(ipc=10, curricula=2).check(table1.parse(name))


def test_what_is_held_out_already_is_named(windows):
    wanted = "holdout is 0.95, but the smallest class has 7 training images, of which "
    wanted += "Glister holds out 10 %: it must leave some on both sides"
    assert refused(windows(ipc=5, holdout=0.95), "glister") == wanted
    text = refused(windows(ipc=5, holdout=0.5), "oracle-window")
    assert text.startswith("holdout is 0.5, but must be 0 for the oracle window")


def test_too_few_images_of_a_class_for_selmatch_name_its_alpha(windows):
    text = refused(windows(ipc=1, alpha=1.0), "selmatch")
    assert text == (
        "ipc is 1, but with SelMatch's alpha of 0.6 that leaves no distilled image: "
        "take ipc from 2"
    )
    with pytest.raises(InputError, match=r"with ipc 1 take alpha 0 or 1$"):
        preset(ipc=1)


def test_every_row_asks_where_it_would_be_filed(windows, monkeypatch):
    def refuse(*_, **__):
        raise InputError("results is 'here', but nothing can be written there")

    monkeypatch.setattr("ccfs_lib.runtime.paths.writable", refuse)
    for row in table1.ROWS:
        assert "results is" in refused(windows(), row.name), row.name


def test_a_row_that_cannot_be_filed_leaves_the_others(mine, threads, mini, monkeypatch):
    measure = Table1Pipeline.measure

    def full(table, row, *rest):
        if row.name == "a":
            raise OSError("No space left on device")
        return measure(table, row, *rest)

    monkeypatch.setattr(Table1Pipeline, "measure", full)
    made, failed = table1.run(mini(), ("a:mine.first", "random"), workers=1, say=str)
    assert failed == {"a": "No space left on device"}
    assert {p.stem for p in made} == {"random-selmatch", "random"}


def test_an_error_that_ends_the_run_cancels_what_has_not_begun(mine, mini, monkeypatch):
    begun = []

    def evaluate(table, row, protocol, seed):
        begun.append(seed)
        return {"seed": seed, "last": 50.0, "best": 50.0}

    def stop(*_):
        raise KeyboardInterrupt

    @contextmanager
    def plain(*_):  # as processes do, it finishes what is not cancelled
        with ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr(table1, "executor", plain)
    monkeypatch.setattr(Table1Pipeline, "shared", lambda *_: [])
    monkeypatch.setattr(
        Table1Pipeline, "evaluate", lambda *a: sleep(0.05) or evaluate(*a)
    )
    monkeypatch.setattr(Table1Pipeline, "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        table1.run(mini(seeds=20), ("a:mine.first",), say=str)
    assert len(begun) < 40


# -- the command -----------------------------------------------------------------------


def ccfs(monkeypatch, capsys, *words):
    """Run the command in this process; return its exit code and what it prints."""
    monkeypatch.setattr(sys, "argv", ["ccfs", "table1", *words])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, "".join(capsys.readouterr())


def test_a_run_of_which_every_row_is_left_out_ends_with_a_code(
    mine, threads, monkeypatch, capsys
):
    code, text = ccfs(monkeypatch, capsys, "--rows", "mine:nosuch")
    assert code == 2 and text.count("left out") == 2
    assert text.endswith("every row was left out, so there is nothing to show\n")


def test_settings_can_be_printed_first(mine, monkeypatch, capsys):
    words = "--rows", "random", "--dry-run", "--verbose"
    code, text = ccfs(monkeypatch, capsys, *words)
    assert code == 0 and "teacher.epochs" in text


def test_dry_run_refuses_workers_as_the_run_does(mine, monkeypatch, capsys):
    code, text = ccfs(monkeypatch, capsys, "--workers", "-3", "--dry-run")
    assert code == 2 and "workers is -3" in text


def test_dry_run_and_run_say_the_same_of_an_ipc_that_is_too_large(mine, mini, threads):
    (mine / "data.py").write_text(DATA)
    e = mini(dataset="data:few", ipc=61, alpha=0.1, curricula=1, scale="digits")
    wanted = "ipc is 61, but the smallest class of .* has 60"
    with pytest.raises(InputError, match=wanted):
        table1_price.price(e, ("random", "dm"), table1.Choices())
    with pytest.raises(InputError, match=wanted):
        table1.run(e, ("random", "dm"), workers=1)


def test_dry_run_prices_nothing_of_a_row_that_is_left_out(house, mini, monkeypatch):
    def evaluate(table, row, *_):
        raise InputError("no set of it")

    monkeypatch.setattr(Table1Pipeline, "evaluate", evaluate)
    text = table1_price.price(mini(), ("dsa", "mtt"), table1.Choices())
    assert text.count("would be left out: no set of it") == 2
    assert not [w for w in ("grey", "  experts ", "  teacher ") if w in text]
