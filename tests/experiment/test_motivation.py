"""Section 3: presets against the scripts' numbers, stages on a tiny run, the report."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch

from ccfs_lib import cost, results, sweep
from ccfs_lib.commands import ship
from ccfs_lib.commands.options import Section3
from ccfs_lib.commands.run import Match
from ccfs_lib.distill import experts, zca
from ccfs_lib.distill.pixels import outside
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import ExpertRecipe, Matching, motivation, preset, section3
from ccfs_lib.experiment.section3 import ARMS, ladder, windows
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.pipeline import section3 as section3_stages
from ccfs_lib.pipeline.measure import given
from ccfs_lib.report import marks, order, trajectories
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


def test_other_contents_of_a_score_file_are_another_configuration(house):
    """The same path, written again, must not pass for what is filed."""
    score, configs = house / "s.npy", []
    made = tiny()
    for seed in (0, 1):
        stages = Section3Pipeline(made)
        values = np.random.default_rng(seed).random(len(stages.train))
        np.save(score, values)
        e = replace(made.experiment, score=str(score))
        ranked = replace(made, experiment=e, ccfs_score=str(score))
        configs.append(given(Section3Pipeline(ranked), ranked)["given"])
    assert set(configs[0]) == set(configs[1]) == {"score", "ccfs_score"}
    assert not {*configs[0].values()} & {*configs[1].values()}
    assert given(Section3Pipeline(made), made) == {}


def test_images_of_all_classes_are_counted_for_a_whole_batch(house):
    """batch_syn=0 is all images; a batch is never larger than the set."""
    texts = []
    for batch in (0, 40, 4000):
        made = tiny()
        made = replace(made, matching=replace(made.matching, batch_syn=batch))
        texts.append(trajectories.scale(Section3Pipeline(made)).markdown)
    assert len(set(texts)) == 1  # IPC 4 of ten classes


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
    assert (m.experiment.alpha, m.beta) == (alpha, beta)
    assert m.evaluation.epochs == epochs + 1  # the code's loop has one more
    assert (m.matching.lr_img, m.matching.syn_steps) == (lr_img, steps)
    assert (m.experts, m.expert.epochs, m.expert.dsa) == (100, 100, None)
    assert m.evaluation.loss == "hard"
    stem = "-s2" if dataset == "tiny-imagenet" else ""
    assert m.experiment.network == f"resnet18{stem}"
    score = "forgetting" if dataset == "tiny-imagenet" else "cscore"
    assert m.experiment.score == f"published-{score}"
    # 100 x 100 epochs of a buffer; 68.75 M inner passes on CIFAR.
    data = cost.Size(50_000, 10_000, m.experiment.ipc, 32)
    passes = {stage.name: stage.passes for stage in cost.matching(m, data)}
    assert passes["experts"] == 500_000_000
    if steps == 55:
        assert passes["matching"] == 68_750_000


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


def test_ccfs_on_mtt_ranks_by_forgetting():
    base = motivation("cifar10-jpeg", image_size=16, ipc=50)
    assert base.experiment.score == "published-cscore"
    assert base.ranking == "published-forgetting"
    other = replace(base, ccfs_score="published-cscore")
    assert other.ranking == "published-cscore" and other.run != base.run
    assert motivation("cifar10-jpeg", score="own.npy").ranking == "own.npy"
    assert motivation().ranking == "forgetting"
    # Invisible where it is not used: runs and settings stay what they are.
    assert "ccfs_score" not in base.hashed() and "ccfs_score" in other.hashed()
    counted = replace(base, ccfs_score="forgetting").hashed()
    assert "teacher" in counted and "teacher" not in base.hashed()
    for score, told in (
        ("entropy", "ccfs_score is 'entropy', but must be one of"),
        ("logits", "ccfs_score is 'logits', but the filters"),
    ):
        with pytest.raises(InputError, match=told):
            motivation("cifar10-jpeg", ccfs_score=score)


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
    assert [m.experiment.ipc for m in ladder(base, "8 30")] == [8, 20, 30]
    assert [m.beta for m in windows(base, "0.7 0")] == [0, 0.6, 0.7]
    for values in ({"ipcs": 12, "betas": 0.3}, {"ipcs": "12", "betas": "0.3"}):
        assert section3.from_notebook(values) == base


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ipcs": "10 many"}, "ipcs has 'many', which is no whole number"),
        ({"ipcs": "10.5"}, "ipcs has '10.5', which is no whole number"),
        ({"ipcs": "10 1"}, "ipcs has 1: alpha is 0.6, but alpha x ipc"),
        ({"betas": "early"}, "betas has 'early', which is no number"),
        ({"betas": "0.4 1.5"}, "betas is 1.5: "),
        ({"betas": [0.4]}, "betas is [0.4], but must be "),
    ],
)
def test_what_is_compared_is_checked_with_the_parameters(given, told):
    with pytest.raises(InputError) as error:
        section3.from_notebook(given)
    assert told in str(error.value) and "\n" not in str(error.value)


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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ipc": 1}, "ipc is 1, but this chapter needs at least one distilled image"),
        ({"ipc": 6, "alpha": 1.0}, "nothing is selected"),
        ({"ipc": 13, "alpha": 0.01}, "with ipc 13 take alpha from 0.077 to 1"),
    ],
)
def test_a_notebook_is_not_sent_to_an_alpha_that_it_refuses(given, told):
    with pytest.raises(InputError) as error:
        section3.from_notebook(given)
    assert told in str(error.value) and "alpha 0 " not in str(error.value)


def test_windows_are_checked_before_anything_is_matched(house):
    run = motivation(ipc=13, alpha=0.5, beta=0.9)
    stages = Section3Pipeline(run)
    with pytest.raises(InputError, match=r"beta is 0.9.*; IPC 26 is run beside 13$"):
        stages.check_windows(ladder(run))
    usual = motivation(ipc=30)
    assert [m.beta for m in windows(usual) if stages.fits(m)] == [0.2, 0.4, 0.6]
    assert not (house / "cache").exists()


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
        begin, pixels = train.subset(combined.initial), None
    else:
        begin, pixels = combined.distilled, made[arm][1].pixels
    said = stages.trained(begin, pixels, 1, answers=True).tensors["predictions"]
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


@pytest.mark.parametrize("curricula", [1, 2])
def test_ccfs_on_mtt_has_its_own_phases_and_ranking(world, curricula, monkeypatch):
    """As many filters as phases; and it is `ranking` that decides who is simple."""
    stages, *_ = world
    e = replace(stages.experiment, curricula=curricula)
    other = Section3Pipeline(replace(stages.motivation, experiment=e), stages.store)
    asked, real = [], Section3Pipeline.trained

    def watched(self, synthetic, pixels, seed, answers=False):
        asked.append((len(synthetic), seed))
        return real(self, synthetic, pixels, seed, answers)

    monkeypatch.setattr(Section3Pipeline, "trained", watched)
    found, _ = other.combined("ccfs-mtt")
    assert [seed for _, seed in asked] == [1, 2][:curricula]
    assert asked[0][0] == 20 < asked[-1][0] or curricula == 1
    turned = Section3Pipeline(other.motivation, stages.store)
    turned.ranking = -other.difficulty  # the hardest of the mistakes first
    hard, _ = turned.combined("ccfs-mtt")
    assert other.difficulty[hard.real].mean() > other.difficulty[found.real].mean()


def test_another_ranking_is_read_and_named(house, tmp_path, monkeypatch):
    score = np.random.default_rng(0).random(1352)
    np.save(tmp_path / "own.npy", score)
    made = tiny(ccfs_score=str(tmp_path / "own.npy"))
    stages = Section3Pipeline(made, Store(tmp_path / "cache"))
    np.testing.assert_array_equal(stages.ranking, score)
    row = {"last": 50.0, "best": 50.0, "images": 40, "wanted": 40}
    monkeypatch.setattr(
        Section3Pipeline, "evaluate", lambda _, arm, seed: {"seed": seed, **row}
    )
    for arm, told in (("ccfs-mtt", made.ccfs_score), ("reverse", None)):
        config = json.loads(stages.measure(arm).read_text())["config"]
        assert config.get("ranking") == told and config["score"] == "forgetting"


def test_whitening_is_the_same_for_experts_and_students(world):
    stages, *_ = world
    whitened = replace(stages.motivation.expert, zca=True)
    made = replace(stages.motivation, expert=whitened)
    other = Section3Pipeline(made, stages.store)
    assert isinstance(other.student("convnet-4").normalize, zca.Whiten)
    student = other.student("convnet-4").normalize
    assert torch.equal(student.matrix, other.buffer.whiten.matrix)
    row = other.evaluate("reverse", 0)
    assert row["first"] != stages.evaluate("reverse", 0)["first"]
    assert made.run != stages.motivation.run
    assert "zca" not in stages.motivation.hashed()["expert"]


def test_section_3_has_selmatchs_constants_for_tiny_imagenet():
    for dataset, deviation in (("tiny-imagenet", 0.2770), ("cifar10", 0.2023)):
        made = motivation(dataset, ipc=10, image_size=16)
        assert Section3Pipeline(made).normalisation[1][0] == deviation
    # CCFS's own trainings keep theirs.
    assert Pipeline(preset("tiny-imagenet")).normalisation[1][0] == 0.2302


def test_floats_are_trained_on_and_named(world, monkeypatch):
    """Sets of equal bytes and other floats are two trainings; so are two of floats."""
    stages, made, _ = world
    combined, matched = made["reverse"]
    given, real = [], section3_stages.CombinedStep

    def watched(*arguments, **options):
        given.append(options["pixels"])
        return real(*arguments, **options)

    monkeypatch.setattr(section3_stages, "CombinedStep", watched)
    other = matched.pixels + 1e-4  # the same bytes
    keys = {
        stages.trained(combined.images, pixels, 77).key
        for pixels in (matched.pixels, other)
    }
    assert len(keys) == 2 and len(given) == 2
    assert torch.equal(given[0], matched.pixels) and torch.equal(given[1], other)
    # Matching pushes values out of what a byte holds; none of that is lost.
    network = stages.trainings.network(stages.motivation.matcher)
    assert outside(matched.pixels, network.normalize) > 1
    begin = network.normalize(combined.distilled.images.float() / 255)
    assert outside(begin, network.normalize) == 0


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
    monkeypatch.setattr("ccfs_lib.runtime.paths.shipped", lambda: shipped)
    # Two matches, and the training that counted what is difficult.
    assert len(ship.ship_matches(stages.motivation)) == 3

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
        assert found.losses == made[arm][1].losses
        # The floats, too: an evaluation from what is shipped is the same.
        assert torch.equal(found.pixels, made[arm][1].pixels)


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
    # Of two windows, in one queue: this one's row, and another's beside it.
    other = replace(tiny(), beta=0.2)
    again = sweep.match([tiny(), other, other], ("selmatch",), workers=2)
    assert [p.parent.name for p in again] == [tiny().run, other.run]
    rows = results.load(house / "results", other.run)
    assert list(rows["cell"]) == ["selmatch"] and (rows["beta"] == 0.2).all()
    with pytest.raises(InputError, match=r"beta is 0\.99"):  # before the first trains
        sweep.match([replace(tiny(), beta=0.3), replace(tiny(), beta=0.99)])
    assert not (house / "results" / replace(tiny(), beta=0.3).run).exists()


# -- the chapter's sentences, on made-up rows


def made_up(column, table):
    """Rows of {level: {arm: accuracies by seed}}."""
    rows = [
        {
            "ipc": 20,
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
    assert "in place of the window raises the accuracy here" in text
    assert f"distilling first, reverse {MINUS} two-shot: " in text
    assert "(IPC 10 " in text  # a mean may hide opposite differences
    assert "+3.7 points" in text
    assert "at IPC 20, reverse is clearly ahead at 1 of 2 (beta 0.2)" in text
    assert "means over IPC 25 to 150" in text
    assert f"two-shot {MINUS} SelMatch" in text and "IPC 20: +6.1 points" in text
    assert "from 1.0 to 0.75" in text or "from 1.00 to 0.75" in text
    turned = rows.assign(
        cell=rows["cell"].replace({"reverse": "x", "selmatch": "reverse"})
    )
    turned["cell"] = turned["cell"].replace({"x": "selmatch"})
    assert "lowers the accuracy here" in str(order.answer(turned, over))
    level = rows.assign(last=[50 + (i * 7) % 5 for i in range(len(rows))])
    assert "an effect that is too close to call here" in str(order.answer(level, over))


def test_tables_tell_sets_that_are_not_full():
    rows = made_up("ipc", OVER_IPC)
    rows.loc[rows["cell"] == "reverse", "images"] = 8
    text = str(order.ranking(rows))
    assert text.count("(80") == 2 and "IPC 10" in text and "at every IPC" in text
    short = rows["ipc"].eq(20) & rows["cell"].eq("ccfs-mtt")
    rows.loc[short, "images"] = 9
    over = made_up("beta", OVER_BETA)
    said = str(order.answer(rows, over)).replace("\xa0", " ")
    assert "+2.5]; IPC 20: +6.1" in said and "] (set 90 % full)." in said
    assert "lacks most: reverse 80 % and CCFS on MTT 90 % of the budget" in said
    # One start, and one IPC, leave nothing to vary.
    alone = over[over["beta"] == over["beta"].min()]
    said = str(order.answer(rows[rows["ipc"] == 10], alone)).replace("\xa0", " ")
    assert "SelMatch, at IPC 10, is" in said and "depends less" not in said
    full = str(order.answer(made_up("ipc", OVER_IPC), over))
    assert " full" not in full


def test_marks_stand_beside_each_other_and_their_numbers_do_not():
    figure = order.curves(made_up("ipc", OVER_IPC), "ipc", "IPC")
    head, *lines = csv.reader(marks.table(figure).splitlines())
    reverse = [dict(zip(head, line, strict=True)) for line in lines]
    reverse = [m for m in reverse if m["series"] == "reverse"]
    assert {m["x"] for m in reverse} == {"10", "20"}
    assert {m["mark"] for m in reverse} == {"point", "interval", "seed"}
    places = {line.get_transform().transform((10, 50))[0] for line in drawn_in(figure)}
    assert len(places) == 4
    single = {n: {arm: v[:1] for arm, v in by.items()} for n, by in OVER_IPC.items()}
    drawn = marks.table(order.curves(made_up("ipc", single), "ipc", "IPC"))
    assert "interval" not in drawn and "seed" in drawn
    low, high = figure.axes[0].get_xlim()
    assert 8 < low < 10 and 20 < high < 25  # not where the marks were shifted to
    assert figure._repr_png_()[0].startswith(b"\x89PNG")


def drawn_in(figure):
    """The lines of the legend's arms."""
    return [n for n in figure.axes[0].lines if not n.get_label().startswith("_")]


def test_presets_need_no_torch():
    import subprocess

    code = "import sys, ccfs_lib.experiment as m; m.motivation(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_two_rounds_need_two_real_images_of_a_class(house):
    run = motivation(ipc=2, alpha=0.5, curricula=1)
    stages = Section3Pipeline(run)
    with pytest.raises(InputError, match=r"alpha is 0\.5, which with ipc 2 leaves one"):
        stages.check(["selmatch", "reverse"])
    sizes = [
        m.experiment.ipc for m in ladder(motivation(ipc=4, alpha=0.5, curricula=1))
    ]
    assert sizes == [4, 8]  # not 2
    with pytest.raises(
        InputError, match=r"ipcs has 2: alpha is 0\.5, which with ipc 2"
    ):
        ladder(motivation(ipc=4, alpha=0.5, curricula=1), "2")
    with pytest.raises(InputError, match="matcher is 'resnet19', but must be convnet"):
        motivation(matcher="resnet19")


def test_a_part_of_a_recipe_of_section_3_changes_the_presets():
    usual = motivation()
    assert motivation(evaluation={"epochs": 3}) == motivation(epochs=3)
    some = motivation(matching={"iterations": 3}, expert={"epochs": 9})
    assert some.matching == replace(usual.matching, iterations=3)
    assert some.expert == replace(usual.expert, epochs=9)
