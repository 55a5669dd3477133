"""Table 1 as rows: protocols, resumption, sentences for what is missing, prices."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ccfs_lib import cost, paper, results, table1
from ccfs_lib.arms import BY_NAME as ARMS
from ccfs_lib.arms import CCFS
from ccfs_lib.commands import table1_price
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import motivation, preset
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.experiment.notebook import OF_TABLE1
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline import work as working
from ccfs_lib.pipeline.oracle import Oracle
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.report.table1 import Clock, Read
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.workers import executor
from ccfs_lib.store import ReadOnlyStore, Store
from ccfs_lib.table1 import BY_NAME, ROWS, SHARED, Choices, cells, parse

# From PROTOCOL.md: what the printed numbers of Table 1 come from.
PRINTED_BY = {
    "selmatch": "random forgetting glister oracle-window self-evolved dsa dm mtt datm "
    "selmatch",
    "teacher": "sre2l cda cudd ccfs",
    "squeeze": "full",
    "bps": "random-bps",
}


class Computed(Store):
    """A store that remembers what it had to compute."""

    def __init__(self, root):
        super().__init__(root)
        self.computed = []

    def get(self, kind, recipe, compute):
        def counted():
            self.computed.append(kind)
            return compute()

        return super().get(kind, recipe, counted)


@pytest.fixture
def quick(house, monkeypatch, mini):
    """A table of a tiny experiment, with short distillations and matchings."""
    e = mini(ipc=4, alpha=0.5, curricula=2, score="forgetting")
    short(monkeypatch)
    return Table1Pipeline(e, store=Computed(house / "cache"))


def short(monkeypatch):
    """Cut every recipe of digits to a second."""
    from ccfs_lib.experiment import condense, cudd, presets

    matched = presets.MATCHED["digits"]
    few = {"iterations": 2, "syn_steps": 2, "max_start_epoch": 2}
    monkeypatch.setitem(matched, "matching", replace(matched["matching"], **few))
    monkeypatch.setitem(matched, "experts", 1)
    monkeypatch.setitem(matched, "expert", replace(matched["expert"], epochs=4))
    monkeypatch.setitem(matched, "evaluation", replace(matched["evaluation"], epochs=2))
    for name, recipe in condense.DIGITS.items():
        cut = replace(recipe, iterations=1, batch_real=8)
        monkeypatch.setitem(condense.DIGITS, name, cut)
    c = cudd.DIGITS
    cut = replace(
        c,
        curricula=2,
        recovery=replace(c.recovery, iterations=2),
        student=replace(c.student, epochs=1),
    )
    monkeypatch.setattr(cudd, "DIGITS", cut)


# -- the table -------------------------------------------------------------------------


def test_every_method_of_the_papers_table_has_a_row():
    printed = set(paper.table(1)["method"])
    assert printed == {row.name for row in ROWS if not row.after}
    assert [row.name for row in ROWS if row.after] == ["random-bps"]


def test_each_row_has_the_protocol_that_its_numbers_come_from():
    declared = {row.name: row.protocol for row in ROWS}
    wanted = {n: p for p, names in PRINTED_BY.items() for n in names.split()}
    assert declared == wanted


def test_every_row_is_measured_under_the_same_teacher_too():
    for row in ROWS:
        assert row.protocol in cells(row)
        assert row.after or SHARED in cells(row)
    named = [(row.method, cell) for row in ROWS for cell in cells(row).values()]
    assert len(named) == len(set(named))


def test_rows_that_are_arms_are_filed_as_those_arms():
    assert cells(BY_NAME["random"]) == {
        "selmatch": "random-selmatch",
        "teacher": "random",
    }
    assert cells(BY_NAME["ccfs"]) == {"teacher": CCFS}
    assert cells(BY_NAME["dsa"]) == {"selmatch": "dsa", "teacher": "dsa-teacher"}
    others = {c for r in ROWS for c in cells(r).values()} - {
        c for r in ROWS for _, c in r.arms
    }
    # No other cell of a run's folder has such a name; SelMatch's own has its own run.
    assert others & set(ARMS) == {"selmatch"}


def test_a_panel_alone_has_its_own_cells():
    dsa, ccfs, bps = (BY_NAME[name] for name in ("dsa", "ccfs", "random-bps"))
    assert cells(dsa, panels=("teacher",)) == {"teacher": "dsa-teacher"}
    assert cells(dsa, panels=("published",)) == {"selmatch": "dsa"}
    # What was published under CCFS's teacher stands in both.
    assert cells(ccfs, panels=("teacher",)) == cells(ccfs, panels=("published",))
    assert cells(bps, panels=("published",)) == {"bps": "random-bps"}
    with pytest.raises(InputError, match="'random-bps', which is not in the panel"):
        cells(bps, panels=("teacher",))


def test_an_option_that_is_not_default_has_results_of_its_own():
    frozen, beta = Choices(glister_update="frozen"), Choices(evolved_beta=0.5)
    assert cells(BY_NAME["glister"], frozen)["selmatch"] == "glister-frozen"
    assert cells(BY_NAME["dsa"], frozen) == cells(BY_NAME["dsa"])
    assert cells(BY_NAME["self-evolved"], beta)[SHARED] == "self-evolved-0.5-teacher"


@pytest.mark.parametrize("name", ["gilster", "CCFS", "x.npy", ""])
def test_another_row_is_a_sentence(name):
    with pytest.raises(InputError, match="must be among random, forgetting"):
        parse(name)


# -- every row, small ------------------------------------------------------------------


def test_every_row_can_be_measured_and_a_second_time_is_read(quick, monkeypatch):
    table = quick
    for row in ROWS:
        table.check(row)
        for protocol in cells(row):
            figures = table.evaluate(row, protocol, 0)
            assert 0 <= figures["last"] <= 100 and figures["images"] > 0
    assert {"squeeze", "recover", "condense", "match", "cudd", "glister"} < set(
        table.store.computed
    )
    again = Table1Pipeline(table.experiment, store=Computed(table.store.root))
    for row in ROWS:
        for protocol in cells(row):
            again.evaluate(row, protocol, 0)
    assert again.store.computed == []


def test_pipelines_of_other_settings_have_the_same_images(quick):
    table = quick
    run = table.section3("mtt").trainings
    assert run.whole is table.trainings.whole and run.test is table.test
    held, out = table.held  # its test images are some of the training images
    assert len(held.test) == len(out) and len(held.train) + len(out) == len(table.train)
    other = replace(table.experiment, classes=3)
    assert table.beside(Pipeline, other).train.num_classes == 3
    assert table.train.num_classes == 10


def test_a_set_is_built_once_for_both_panels(quick):
    row = BY_NAME["dm"]
    for protocol in cells(row):
        quick.evaluate(row, protocol, 0)
    assert quick.store.computed.count("condense") == 1


def test_minutes_of_rows_that_match_have_those_of_their_experts(quick, monkeypatch):
    """A second row finds the experts of the first, and needs them as much."""
    seen = []

    class Kinds(Clock):
        def get(self, kind, recipe, compute):
            seen.append(kind)
            return super().get(kind, recipe, compute)

    for name in ("mtt", "selmatch"):
        quick.built(BY_NAME[name], 0)
    monkeypatch.setattr("ccfs_lib.report.table1.Clock", Kinds)
    read = Read(quick.experiment, ())
    assert read.minutes(BY_NAME["selmatch"]).endswith(" s") and "expert" in seen
    seen.clear()
    assert read.minutes(BY_NAME["forgetting"]) and "expert" not in seen


def test_one_counting_run_serves_three_rows(quick):
    for name in ("forgetting", "oracle-window", "self-evolved"):
        quick.evaluate(BY_NAME[name], "selmatch", 0)
    # The teacher is the first of the counting runs.
    assert quick.store.computed.count("squeeze") == 1


def test_the_forgetting_row_is_the_most_forgotten_first(quick):
    images = quick.built(BY_NAME["forgetting"], 0).images
    score, labels = quick.pipeline.difficulty, quick.train.labels.numpy()
    for c in range(10):
        members = np.flatnonzero(labels == c)
        hardest = members[np.argsort(-score[members], kind="stable")][:4]
        wanted = quick.train.images[torch.from_numpy(hardest)]
        assert torch.equal(images.images[images.labels == c], wanted)


def test_the_oracle_is_the_best_of_its_windows(quick):
    found = quick.evaluate(BY_NAME["oracle-window"], "selmatch", 0)
    labels = quick.train.labels.numpy()
    best = []
    for beta in (0.0, 0.2, 0.4, 0.6, 0.8):
        cut = table_window(quick, labels, beta)
        best.append(quick.trained(quick.real(cut), "selmatch", 0).meta["last"])
    assert found["last"] == max(best)
    assert found["window_beta"] == (0.0, 0.2, 0.4, 0.6, 0.8)[int(np.argmax(best))]
    assert found["held_last"] <= found["last"]


def test_seeds_that_choose_the_window_belong_to_its_rows(house, mini):
    """The same seed can have another window, where more seeds choose it."""
    one, row = Table1Pipeline(mini(seeds=1)), BY_NAME["oracle-window"]
    three = Table1Pipeline(mini(seeds=3))
    configs = [t._settings(row, "selmatch") for t in (one, three)]
    assert not results.same(*configs)
    others = [t._settings(BY_NAME["random"], "selmatch") for t in (one, three)]
    assert results.same(*others)


def test_a_look_with_fewer_seeds_keeps_the_window_of_more(house, mini):
    one, row = Table1Pipeline(mini(seeds=1)), BY_NAME["oracle-window"]
    three = Table1Pipeline(mini(seeds=3))
    assert (one.judges("selmatch"), three.judges("selmatch")) == (1, 3)
    config = three.experiment.hashed() | three._settings(row, "selmatch")
    rows = [{"seed": 0, "last": 1.0, "best": 1.0, "images": 40, "wanted": 40}]
    where = three.path(row, "selmatch")
    place = where.parent.parent, where.parent.name, where.stem
    results.write(*place, config=config, rows=rows, provenance={})
    assert one.judges("selmatch") == 3 and one.judges(SHARED) == 1
    assert results.same(*(t._settings(row, "selmatch") for t in (one, three)))


@pytest.mark.parametrize("portable", [True, False])
def test_a_window_of_more_seeds_never_leaves_fewer_rows(house, mini, portable):
    """Its file is replaced at once, and whole, whichever seed is filed first."""
    row = BY_NAME["oracle-window"]
    for seeds, first in ((2, [0, 1]), (3, [0])):
        table = Table1Pipeline(mini(seeds=seeds, portable=portable))
        path = table.measure(row, "selmatch", seeds=first)
        content = json.loads(path.read_text())
        assert [r["seed"] for r in content["rows"]] == [0, 1]
        assert content["config"]["judged_by"] == seeds


def test_after_the_trainings_of_the_oracle_its_rows_train_nothing(quick):
    """So `run` can do all of them side by side, and no worker waits for another."""
    oracle = Oracle(quick, "selmatch")
    every = oracle.trainings()
    seeds = [*range(quick.experiment.seeds), None]
    assert every == [(b, s) for s in seeds for b in oracle.betas]
    for beta, seed in every:
        oracle.trained(beta, seed)
    before = len(quick.store.computed)
    rows = [oracle.row(seed) for seed in range(quick.experiment.seeds)]
    assert len(quick.store.computed) == before
    assert len({row["window_beta"] for row in rows}) == 1  # of the mean over seeds
    nothing = Table1Pipeline(quick.experiment, store=ReadOnlyStore(quick.store.root))
    row = BY_NAME["oracle-window"]
    (line, _) = table1_price._row(
        nothing, row, working.work(nothing, row), {}, {"selmatch": set(), SHARED: set()}
    )
    assert (line.done, line.seconds) == (quick.experiment.seeds, 0)


def test_windows_are_trained_after_the_other_rows_and_before_their_own(quick):
    row, other = BY_NAME["oracle-window"], BY_NAME["glister"]
    cell = table1._cell
    asked = [(cell, row, "selmatch", 0), (cell, row, "selmatch", 1)]
    given = [*asked, (cell, other, "selmatch", 0)]
    windows = [
        (table1._window, "selmatch", *t) for t in Oracle(quick, "selmatch").trainings()
    ]
    assert table1._windows(quick, given) == [given[-1], *windows, *asked]
    assert table1._windows(quick, given[-1:]) == given[-1:]


def test_the_oracle_under_the_teacher_is_other_work(quick):
    row, e = BY_NAME["oracle-window"], quick.experiment
    own, taught = (working.work(quick, row, p) for p in ("selmatch", SHARED))
    assert own == working.work(quick, row)
    (windows,) = (s for s in taught.stages if s.name == "windows")
    assert windows.passes == 5 * e.recipe.epochs * 40
    assert [s.name for s in taught.stages] == ["scores", "teacher", "windows"]
    assert taught.published == own.published


def test_ties_at_random_change_self_evolved_selection_too(house, mini, monkeypatch):
    e = mini(score="forgetting", score_runs=1)
    tables = [Table1Pipeline(replace(e, ties=how)) for how in ("index", "random")]
    tied = np.zeros(len(tables[0].train))
    monkeypatch.setattr(Table1Pipeline, "difficulty", tied)
    seen = []
    for table in tables:
        seen.append(table.built(BY_NAME["self-evolved"], 0).images.fingerprint)
    assert seen[0] != seen[1]


def test_experts_of_two_recipes_are_priced_and_shared_apart(house, monkeypatch):
    e = preset(ipc=4, alpha=0.5, curricula=1)
    table, both = Table1Pipeline(e), [BY_NAME["mtt"], BY_NAME["selmatch"]]
    alike = {task[0] for task in table.shared(both)} - {"squeeze", "recover"}
    assert alike == {"mtt"}  # on digits one buffer serves both
    matching = recipes.matching

    def apart(e, method):
        made = matching(e, method)
        if method == "mtt":
            made = replace(made, expert=replace(made.expert, lr=0.007))
        return made

    monkeypatch.setattr(recipes, "matching", apart)
    table = Table1Pipeline(e)
    assert {task[0] for task in table.shared(both)} >= {"mtt", "selmatch"}
    text = table1_price.price(e, ("mtt", "selmatch"), Choices())
    assert text.count("  experts ") == 2


def table_window(table, labels, beta):
    from ccfs_lib import coresets

    return coresets.slice_of(labels, table.pipeline.difficulty, 4, beta)


def test_distilled_images_of_ccfs_are_counted_over_all_classes(quick):
    made, count = quick.built(BY_NAME["ccfs"], 0), quick.experiment.distilled
    distilled = quick.pipeline.distilled(count).images
    assert made.distilled == len(distilled) == 10 * count > 0
    assert torch.equal(made.images.images[: made.distilled], distilled)


def test_forgetting_is_below_random_at_a_low_ratio(house):
    """As the literature has it without exception: 3 of 134 images of a class."""
    table = Table1Pipeline(preset(ipc=3, alpha=0.4, curricula=1, score_runs=1))
    last = {
        name: np.mean(
            [table.evaluate(BY_NAME[name], "selmatch", s)["last"] for s in range(3)]
        )
        for name in ("forgetting", "random")
    }
    assert last["forgetting"] < last["random"] - 5


# -- soft labels -----------------------------------------------------------------------


def test_soft_labels_are_what_the_evaluation_learns(quick):
    made = quick.built(BY_NAME["datm"], 0)
    assert made.targets.shape == (40, 10)
    assert torch.allclose(made.targets.sum(1), torch.ones(40), atol=1e-5)
    hard = torch.nn.functional.one_hot(made.images.labels, 10).float()
    last = {
        name: quick.trained(replace(made, targets=t), "selmatch", 0).meta["losses"]
        for name, t in (("none", None), ("hard", hard), ("soft", made.targets))
    }
    # One-hot targets are the hard labels; the learned ones are not.
    assert last["hard"] == pytest.approx(last["none"], rel=1e-5)
    assert last["soft"] != pytest.approx(last["none"], rel=1e-3)


@pytest.fixture
def threads(monkeypatch):
    """Workers as threads of this process: processes take seconds to import torch."""
    monkeypatch.setattr(table1, "executor", lambda count, _: executor(count, True))


# -- resumption ------------------------------------------------------------------------


def test_a_stopped_command_continues(house, threads, mini):
    e = mini(seeds=2, score="forgetting")
    names = ("random", "forgetting")
    with pytest.raises(TimeUp):
        table1.run(e, names, workers=1, time_limit=0.0)
    paths_, failed = table1.run(e, names, workers=1)
    filed = {p.stem for p in paths_}
    assert filed == {"random-selmatch", "random", "forgetting", "forgetting-teacher"}
    assert failed == {}
    stamps = {p: p.stat().st_mtime_ns for p in house.rglob("recipe.json")}
    table1.run(e, names, workers=1)
    assert {p: p.stat().st_mtime_ns for p in house.rglob("recipe.json")} == stamps
    rows = results.load(paths.results(), e.run)
    assert rows.groupby("cell").size().eq(2).all()
    assert set(rows["cell"]) == filed


def test_a_row_without_its_score_is_a_sentence_and_others_go_on(house, threads, mini):
    e, said = mini(score=str(house / "nothing.npy")), []
    files, failed = table1.run(e, ("forgetting", "random"), workers=1, say=said.append)
    assert list(failed) == ["forgetting"] and "nothing.npy" in failed["forgetting"]
    assert said == [f"Forgetting is left out: {failed['forgetting']}"]
    assert {p.stem for p in files} == {"random-selmatch", "random"}


def test_a_row_that_fails_while_it_trains_is_a_sentence_too(house, threads, mini):
    # No distilled image per class: self-evolved selection has no window to begin with.
    e = mini(alpha=0.0, curricula=1)
    files, failed = table1.run(e, ("self-evolved", "random"), workers=1, say=str)
    assert "size is 0" in failed["self-evolved"]
    assert {p.stem for p in files} == {"random-selmatch", "random"}


def test_validation_that_leaves_a_class_empty_is_said_before_anything_trains(
    quick, monkeypatch
):
    monkeypatch.setattr(recipes, "HELD", 0.001)
    with pytest.raises(InputError, match="must leave some on both sides"):
        quick.check(BY_NAME["glister"])
    assert quick.store.computed == []


def test_a_method_without_settings_at_an_ipc_is_a_sentence():
    e = preset("cifar100", "paper", ipc=10)
    with pytest.raises(InputError, match="has no public settings"):
        recipes.matching(e, "datm")
    assert recipes.matching(e, "mtt").matching.syn_steps == 20


# -- a user's own ----------------------------------------------------------------------

OWN = """
import numpy as np
import torch
from ccfs_lib.data import ImageSet

def firsts(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[:ipc] for c in range(10)])

def grey(train, ipc, seed):
    labels = torch.arange(10)
    images = torch.full((10, 3, 8, 8), 100 + seed, dtype=torch.uint8)
    return ImageSet("grey", images, labels, train.classes)

def everything(train, ipc, seed):
    return np.arange(len(train))
"""


def test_own_functions_are_rows(quick, workshop):
    (workshop / "mine.py").write_text(OWN)
    row = parse("mine:firsts")
    assert (row.title, row.function) == ("mine.firsts", "mine:firsts")
    assert cells(row)[SHARED] == "mine.firsts-teacher"
    quick.check(row)
    assert quick.evaluate(row, "selmatch", 0)["images"] == 40
    named = parse("shades:mine.grey")
    assert (named.title, named.function) == ("shades", "mine:grey")
    made = quick.built(named, 0)
    assert isinstance(made.images, ImageSet) and made.distilled == 10
    for protocol in cells(named):
        assert quick.evaluate(named, protocol, 0)["images"] == 10
    path = quick.measure(row, "selmatch")
    assert json.loads(path.read_text())["config"]["rule"] == "mine:firsts"


def test_own_functions_that_return_too_much_are_a_sentence(quick, workshop):
    (workshop / "mine.py").write_text(OWN)
    with pytest.raises(InputError, match="at most 4 of a class"):
        quick.evaluate(parse("mine:everything"), "selmatch", 0)
    with pytest.raises(InputError, match="no module yours"):
        parse("yours:rule")


def test_own_functions_are_asked_before_anything_is_trained(house, mini, workshop):
    (workshop / "mine.py").write_text(OWN)
    _, failed = table1.run(mini(ipc=4), ("mine:everything",), say=lambda _: None)
    assert "at most 4 of a class" in failed["mine.everything"]
    assert not list((house / "cache").glob("train/*"))
    assert not list((house / "cache").glob("squeeze/*"))


def test_a_notebook_has_the_options_of_rows():
    chapter = {"rows": "forgetting", "never_learned": "easiest", "evolved_size": 2}
    names, choices, panels = table1.chosen(chapter)
    assert (names, panels) == (("forgetting",), table1.PANELS)
    assert choices == Choices(never_learned="easiest", evolved_size=2)
    assert {f.name for f in fields(Choices)} == {*OF_TABLE1}


# -- work and budget -------------------------------------------------------------------


def test_work_of_ccfs_is_that_of_its_stages(quick):
    e = quick.experiment
    stages = {
        s.name: s.passes for s in cost.stages(e, cost.Size.of(quick.train, quick.test))
    }
    spent = {s.name: s.passes for s in working.work(quick, BY_NAME["ccfs"]).stages}
    names = ["teacher", "recovery", "filter 1", "filter 2"]
    assert [spent[n] for n in names] == [stages[n] for n in names]
    assert spent["scores"] == len(quick.train) * e.teacher.epochs


def test_random_costs_nothing_and_lacks_nothing(quick):
    assert working.work(quick, BY_NAME["random"]).passes == 0
    assert working.work(quick, BY_NAME["random"]).enough
    few = working.work(quick, BY_NAME["dsa"])
    assert 0 < few.share < 0.1 and not few.enough


def test_published_settings_are_all_of_the_published_work():
    usual = preset("cifar10", "paper", ipc=500)
    theirs = recipes.as_published(usual)
    assert theirs.recipe.epochs == usual.recipe.epochs == 500
    assert theirs.teacher.epochs == usual.teacher.epochs
    assert theirs.distillation == usual.distillation


def test_a_budget_cuts_iterations_and_is_kept(house, mini, monkeypatch):
    monkeypatch.setattr(cost, "rate", lambda *_: 1000.0)
    table = Table1Pipeline(mini(), Choices(budget=1.0))
    # 60 s at 1000 forward images a second, three for each pass of ten.
    assert table.cut(20_000, 10, 3, "convnet-8") == 2000
    monkeypatch.setattr(cost, "rate", lambda *_: 5.0)  # a busy machine, continued
    assert (
        Table1Pipeline(mini(), Choices(budget=1.0)).cut(20_000, 10, 3, "convnet-8")
        == 2000
    )
    assert Table1Pipeline(mini()).cut(20_000, 10, 3, "convnet-8") == 20_000


def test_matching_takes_the_published_iterations_unless_a_budget_cuts_them(
    house, mini, monkeypatch
):
    laptop = preset("cifar100", ipc=50)
    count = {m: recipes.matching(laptop, m).matching for m in ("mtt", "datm")}
    assert [m.iterations for m in count.values()] == [5000, 10_000]
    own = motivation("cifar100", ipc=50).matching  # the rest is the scale's
    assert count["mtt"] == replace(own, iterations=5000)

    monkeypatch.setattr(cost, "rate", lambda *_: 1000.0)
    digits = Table1Pipeline(mini(), Choices()).section3("mtt").motivation.matching
    total = mini().ipc * 10
    each = 12 * digits.syn_steps * min(digits.batch_syn, total)
    minutes = 5.5 * each / 1000 / 60  # of five iterations
    cut = Table1Pipeline(mini(), Choices(budget=minutes)).section3("mtt")
    assert digits.iterations > cut.motivation.matching.iterations == 5


def test_the_oracle_is_priced_by_its_windows_in_each_panel(quick, monkeypatch):
    monkeypatch.setattr(table1_price, "_seconds", lambda t, stage: stage.passes)
    row, known = BY_NAME["oracle-window"], {"selmatch": set(), SHARED: set()}
    nothing = ReadOnlyStore(quick.store.root)
    table = Table1Pipeline(quick.experiment, store=nothing)
    lines = table1_price._row(table, row, working.work(quick, row), {}, known)
    epochs = quick.evaluation.epochs, quick.experiment.recipe.epochs
    # Five windows of 40 images; held-out images ask for one seed more.
    seeds = quick.experiment.seeds + 1  # nothing is filed: all of them judge
    assert [line.seconds for line in lines] == [5 * 40 * n * seeds for n in epochs]


def test_dry_run_prices_each_row_and_trains_nothing(house, mini):
    text = table1_price.price(mini(), tuple(BY_NAME), Choices())
    for row in ROWS:
        for protocol in cells(row):
            assert f"  {row.name} {protocol} " in text
    assert "less than a tenth of the published work" in text and "dsa 0.55 %" in text
    assert not list(Path(house / "cache").glob("*/*/recipe.json"))
    assert not (house / "results").exists()


def test_dry_run_counts_the_teacher_that_every_cell_names(house, mini):
    random, dm = (table1_price.price(mini(), (n,), Choices()) for n in ("random", "dm"))
    assert "  teacher " in random and "  teacher " in dm
    assert "  scores " not in random


def test_dry_run_says_what_would_be_left_out(house, mini):
    e = mini(score=str(house / "nothing.npy"))
    text = table1_price.price(e, ("random", "forgetting"), Choices())
    assert "Forgetting would be left out" in text and "  random " in text


def test_what_rows_share_is_no_more_than_they_need(quick):
    """CCFS recovers alpha x IPC images of a class, CDA all of them."""
    e, classes = quick.experiment, quick.train.num_classes

    def images(*names):
        tasks = quick.shared([BY_NAME[name] for name in names])
        batches = quick.pipeline.recover.batches(max(t[2] for t in tasks if t[2:]))
        return sum(len(batches[t[1]]) for t in tasks if t[0] == "recover")

    assert images("ccfs") == e.distilled * classes < e.ipc * classes
    assert images("cda", "ccfs") == images("cda") == e.ipc * classes
    assert not [t for t in quick.shared([BY_NAME["random"]]) if t[0] == "recover"]


def test_what_is_filed_is_not_measured_again(house, threads, monkeypatch, mini):
    e = mini(ipc=4, alpha=0.5, curricula=2, score="logits", portable=False)
    names, count, told = ("random", "glister"), [], []
    row = {"seed": 0, "last": 50.0, "best": 51.0}

    def measured(table, row_, protocol, seed):
        count.append((row_.name, protocol))
        return row

    monkeypatch.setattr(Table1Pipeline, "evaluate", measured)
    monkeypatch.setattr(Pipeline, "evaluate", lambda *_: row)
    paths_, failed = table1.run(e, names, say=told.append)
    assert not failed and not told and len(paths_) == 4  # two panels of two rows
    seen = set(count)
    count.clear()
    again, failed = table1.run(e, names, say=told.append)
    assert set(again) == set(paths_) and not failed and not count
    assert len(told) == 4 and all("1 of 1 rows are filed" in text for text in told)
    priced = table1_price.price(e, names, Choices())
    assert priced.count(" filed\n") == 4 and "teacher " not in priced.split("\n")[1]
    table1.run(e, names, say=told.append, again=True)
    assert set(count) == seen and "filed" not in table1_price.price(
        e, names, Choices(), again=True
    )
