"""Section 3: presets against the scripts' numbers, stages on a tiny run, the report."""

import sys
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch

from ccfs_lib import results, sweep
from ccfs_lib.commands import ship
from ccfs_lib.commands.options import Section3
from ccfs_lib.commands.run import Match
from ccfs_lib.distill import experts
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import ExpertRecipe, Matching, motivation, section3
from ccfs_lib.experiment.section3 import ARMS, ladder, windows
from ccfs_lib.pipeline import Section3Pipeline
from ccfs_lib.report import order
from ccfs_lib.report.text import MINUS
from ccfs_lib.store import Store


def tiny(**changes):
    """A whole run in seconds: 2 distilled and 2 real digits a class."""
    made = motivation(ipc=4, alpha=0.5, beta=0.4, curricula=2, epochs=2, seeds=1)
    experiment = replace(made.experiment, score_runs=1)
    experiment = replace(experiment, teacher=replace(experiment.teacher, epochs=2))
    small = {
        "experts": 2,
        "expert": ExpertRecipe(epochs=4, lr=0.05, batch_size=128, dsa=None),
        "matching": Matching(
            iterations=3, syn_steps=2, max_start_epoch=2, batch_syn=16, lr_img=1e3
        ),
    }
    return replace(made, experiment=experiment, **{**small, **changes})


# Alpha, beta, evaluation epochs, lr of images and inner steps of the released scripts.
PUBLISHED = [
    ("cifar10", 250, 0.6, 0.5, 1000, 1e3, 55),
    ("cifar10", 1500, 0.1, 0.2, 167, 1e4, 55),
    ("cifar100", 50, 0.6, 0.7, 500, 1e3, 55),
    ("tiny-imagenet", 100, 0.5, 0.7, 250, 1e3, 20),
]


@pytest.mark.parametrize("cell", PUBLISHED)
def test_the_papers_cells_are_the_scripts(cell):
    dataset, ipc, alpha, beta, epochs, lr_img, steps = cell
    m = motivation(dataset, "paper", ipc=ipc)
    assert (m.experiment.alpha, m.beta, m.evaluation.epochs) == (alpha, beta, epochs)
    assert (m.matching.lr_img, m.matching.syn_steps) == (lr_img, steps)
    assert (m.experts, m.expert.epochs, m.expert.dsa) == (100, 100, None)
    assert m.evaluation.loss == "hard" and m.experiment.network == "resnet18"
    score = "forgetting" if dataset == "tiny-imagenet" else "cscore"
    assert m.experiment.score == f"published-{score}"
    # 100 x 100 epochs of a buffer; 68.75 M inner passes on CIFAR.
    passes = m.passes(50_000, m.experiment.ipc)
    assert passes["all experts"] == 500_000_000
    if steps == 55:
        assert passes["matching of one set"] == 68_750_000


def test_runs_are_named_by_what_differs():
    base = motivation("cifar10-jpeg", image_size=16, ipc=50)
    assert base.run == "cifar10-jpeg-16px-ipc50-alpha0.6-mtt"
    others = [
        replace(base, beta=0.3),
        replace(base, experts=2),
        replace(base, matching=replace(base.matching, iterations=7)),
        motivation("cifar10-jpeg", ipc=50),
        motivation("cifar10-jpeg", image_size=16, ipc=50, alpha=0.4),
    ]
    assert others[0].run == f"{base.run}-beta0.3"
    assert len({m.run for m in [base, *others]}) == 6
    more = replace(base, experiment=replace(base.experiment, seeds=9))
    assert more.run == base.run  # more seeds are more of the same


def test_the_ladder_and_the_windows_are_of_one_setting():
    base = motivation()
    assert [m.experiment.ipc for m in ladder(base)] == [10, 20, 40]
    assert [m.beta for m in windows(replace(base, beta=0.5))] == [
        0.2,
        0.4,
        0.5,
        0.6,
        0.8,
    ]
    # Half of 8 leaves 2 real images for 3 phases: that step is left out.
    assert [m.experiment.ipc for m in ladder(motivation(ipc=8))] == [8, 16]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"alpha": 0.0}, "alpha is 0, but must leave at least one distilled"),
        ({"alpha": 0.04, "ipc": 10}, "alpha is 0.04, but alpha x ipc is then below"),
        ({"max_start_epoch": 12}, "within the experts' 12"),
        ({"beta": 1.5}, "beta is 1.5"),
        ({"experts": 0}, "experts is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"matcher": 7}, "matcher is 7"),
    ],
)
def test_bad_input_is_one_sentence(changes, told):
    with pytest.raises(InputError) as error:
        motivation(**changes)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_notebooks_and_commands_name_what_they_do_not_know(house):
    with pytest.raises(InputError, match="betta is not a parameter"):
        section3.from_notebook({"betta": 0.5})
    with pytest.raises(InputError, match="arms holds 'ccfs', but must be among selm"):
        Match(arms=("ccfs",)).runs()
    with pytest.raises(InputError, match="SelMatch's scripts have only cifar10 250"):
        Match(Section3(dataset="cifar10", scale="paper", ipc=(7,))).runs()
    grid = Match(Section3(ipc=(10, 20), beta=(0.2, 0.4))).runs()
    assert [(m.experiment.ipc, m.beta) for m in grid] == [
        (10, 0.2),
        (10, 0.4),
        (20, 0.2),
        (20, 0.4),
    ]
    with pytest.raises(InputError, match="leaves class"):
        sweep.match(replace(tiny(), beta=0.99))
    assert not (house / "cache" / "expert").exists()  # told before anything trains


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """All arms of a tiny run: Section3Pipeline, arm -> (Combined, Matched), rows."""
    stages = Section3Pipeline(tiny(), Store(tmp_path_factory.mktemp("cache")))
    made = {arm: stages.combined(arm) for arm in ARMS}
    return stages, made, {arm: stages.evaluate(arm, 0) for arm in ARMS}


def test_settings_share_where_distillation_begins(world):
    stages, made, _ = world
    window = stages.window()
    for arm in ("selmatch", "two-shot", "reverse"):
        combined, matched = made[arm]
        np.testing.assert_array_equal(combined.initial, window.initial)
        begin = stages.train.images[window.initial]
        assert (matched.images.images != begin).any()  # something was learned
        labels = stages.train.labels[window.initial]
        assert torch.equal(combined.distilled.labels, labels)
    np.testing.assert_array_equal(made["selmatch"][0].real, window.real)


def test_reverse_distils_alone_and_selmatch_does_not(world):
    stages, made, _ = world
    alone = stages.distilled(
        stages.train.subset(stages.window().initial), stages.train.subset([]), 0
    )
    assert torch.equal(alone.images.images, made["reverse"][1].images.images)
    assert not torch.equal(alone.images.images, made["selmatch"][1].images.images)


@pytest.mark.parametrize("arm", ["two-shot", "reverse", "ccfs-mtt"])
def test_the_first_picks_are_the_simplest_mistakes(world, arm):
    """Against a filter trained here by hand, and Python's sort."""
    stages, made, _ = world
    combined, train = made[arm][0], stages.train
    if arm == "two-shot":  # before distillation
        begin, learned = train.subset(combined.initial), 0
    else:
        begin, learned = combined.distilled, len(combined.distilled)
    said = stages.trained(begin, learned, 1, answers=True).tensors["predictions"]
    labels, score = train.labels.numpy(), stages.difficulty
    gone = set() if arm == "ccfs-mtt" else set(combined.initial.tolist())
    wrong = np.flatnonzero(said.numpy() != labels)
    for c in range(train.num_classes):
        pool = [i for i in wrong if labels[i] == c and i not in gone]
        first = sorted(pool, key=lambda i: (score[i], i))[:1]  # 2 real in 2 rounds
        assert set(first) <= set(combined.real.tolist())


def test_rows_say_what_the_sets_hold(world):
    _, made, rows = world
    for arm, row in rows.items():
        combined, matched = made[arm]
        assert row["images"] == len(combined.images) <= row["wanted"] == 40
        assert row["first"] == pytest.approx(matched.losses[0], abs=1e-6)
        assert row["final"] == pytest.approx(matched.losses[-1], abs=1e-6)
        images = combined.images.images[: len(combined.distilled)]
        assert torch.equal(images, matched.images.images)


def test_a_finished_run_trains_nothing_again(world, monkeypatch):
    stages, _, rows = world

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(experts, "trajectory", never)
    monkeypatch.setattr("ccfs_lib.pipeline.trainings.fit", never)
    monkeypatch.setattr("ccfs_lib.distill.mtt.distill", never)
    again = Section3Pipeline(stages.motivation, stages.store)
    assert again.evaluate("reverse", 0) == rows["reverse"]


def test_shipped_matches_need_neither_experts_nor_training(
    world, tmp_path, monkeypatch
):
    """A machine that has the shipped sets and the results shows the chapter."""
    stages, made, _ = world
    monkeypatch.setenv("CCFS_CACHE", str(stages.store.root))
    shipped = tmp_path / "shipped"
    # Two matches, and the training that counted what is difficult.
    assert len(ship.ship_matches(stages.motivation, shipped)) == 3

    def never(*_, **__):
        raise AssertionError("trained")

    trained = "distill.experts.trajectory", "distill.mtt.distill"
    for name in (*trained, "pipeline.trainings.fit"):
        monkeypatch.setattr(f"ccfs_lib.{name}", never)
    other = Store(tmp_path / "empty", shipped)
    again = Section3Pipeline(stages.motivation, other)
    for arm in ("selmatch", "reverse"):
        found = again.alone_or_beside(arm, 0)
        assert torch.equal(found.images.images, made[arm][1].images.images)
        assert found.losses == made[arm][1].losses and found.pixels is None


def test_results_that_are_there_are_read(house, world, monkeypatch):
    stages = world[0]
    path = stages.measure("reverse")
    refuse = lambda *_: pytest.fail("measured")  # noqa: E731
    monkeypatch.setattr(Section3Pipeline, "evaluate", refuse)
    other = replace(
        stages.motivation, experiment=replace(stages.experiment, portable=False)
    )
    free = Section3Pipeline(other, stages.store)
    with pytest.raises(pytest.fail.Exception):  # other settings, another file
        free.measure("reverse")
    with pytest.raises(pytest.fail.Exception):  # portable: it has to repeat
        stages.measure("reverse")
    text = path.read_text().replace('"portable": true', '"portable": false')
    own = house / "results" / other.run / "reverse.json"
    own.parent.mkdir()
    own.write_text(text)
    assert free.measure("reverse") == own


def test_other_arithmetic_is_another_expert(world, monkeypatch):
    stages = world[0]
    assert stages.buffer.identity["portable"] is True
    monkeypatch.setattr("ccfs_lib.runtime.device.unlike_portable", lambda: "AVX512")
    other = Section3Pipeline(stages.motivation, stages.store)
    assert other.trainings.arithmetic == {"arithmetic": "AVX512"}


def test_match_writes_what_the_stages_measure(house, world):
    paths = sweep.match(tiny(), ("selmatch", "reverse"), workers=2)
    assert sorted(p.name for p in paths) == ["reverse.json", "selmatch.json"]
    rows = results.load(house / "results", tiny().run)
    assert (rows["beta"] == 0.4).all() and (rows["recipe.loss"] == "hard").all()
    for arm in ("selmatch", "reverse"):
        row = rows[rows["cell"] == arm].iloc[0]
        assert row["last"] == world[2][arm]["last"]  # the same bits in other processes


# -- the chapter's sentences, on made-up rows


def made_up(column, table):
    """Rows of {level: {arm: accuracies by seed}}."""
    rows = [
        {
            column: level,
            "cell": arm,
            "seed": seed,
            "last": value,
            "images": 10,
            "wanted": 10,
            "first": 1.0,
            "final": 0.75,
        }
        for level, arms in table.items()
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return pandas.DataFrame(rows)


OVER_IPC = {
    10: {
        "selmatch": [50, 51, 52],
        "two-shot": [51, 51, 54],
        "reverse": [53, 54.5, 55],
        "ccfs-mtt": [50, 52, 51],
    },
    20: {
        "selmatch": [60, 61, 62],
        "two-shot": [61, 60, 64],
        "reverse": [64, 65, 66.5],
        "ccfs-mtt": [66, 67, 68.2],
    },
}
OVER_BETA = {
    0.2: {"selmatch": [30, 31, 32], "reverse": [50, 51, 52]},
    0.6: {"selmatch": [50, 50.5, 52], "reverse": [51, 51.5, 52]},
}


def test_gains_are_means_within_a_seed():
    d = order.gain(made_up("ipc", OVER_IPC), "reverse", "selmatch", "ipc")
    by_seed = [(3 + 4) / 2, (3.5 + 4) / 2, (3 + 4.5) / 2]
    assert d.mean == pytest.approx(np.mean(by_seed))
    half = 4.302653 * np.std(by_seed, ddof=1) / np.sqrt(3)
    assert d.half == pytest.approx(half, rel=1e-5)


def test_steadiness_is_the_spread_over_windows():
    d = order.steadiness(made_up("beta", OVER_BETA))
    spreads = [
        [
            np.std([30, 50], ddof=1),
            np.std([31, 50.5], ddof=1),
            np.std([32, 52], ddof=1),
        ],
        [np.std([50, 51], ddof=1), np.std([51, 51.5], ddof=1), 0],
    ]
    assert d.mean == pytest.approx(np.mean(spreads[0]) - np.mean(spreads[1]))


def test_the_finding_follows_the_numbers():
    rows, over = made_up("ipc", OVER_IPC), made_up("beta", OVER_BETA)
    text = str(order.answer(rows, over)).replace("\xa0", " ")
    assert "Distilling before selecting pays here" in text
    assert "+3.7 points" in text and "clearly ahead at 1 of 2 (beta 0.2)" in text
    assert f"two-shot {MINUS} SelMatch" in text and "IPC 20: +6.1 points" in text
    assert "from 1.0 to 0.75" in text or "from 1.00 to 0.75" in text
    turned = rows.assign(
        cell=rows["cell"].replace({"reverse": "x", "selmatch": "reverse"})
    )
    turned["cell"] = turned["cell"].replace({"x": "selmatch"})
    assert "costs accuracy here" in str(order.answer(turned, over))
    level = rows.assign(last=[50 + (i * 7) % 5 for i in range(len(rows))])
    assert "cannot be told apart" in str(order.answer(level, over))


def test_tables_tell_sets_that_are_not_full():
    rows = made_up("ipc", OVER_IPC)
    rows.loc[rows["cell"] == "reverse", "images"] = 8
    text = str(order.ranking(rows))
    assert text.count("(80") == 2 and "IPC 10" in text


def test_presets_need_no_torch():
    import subprocess

    code = "import sys, ccfs_lib.experiment as m; m.motivation(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
