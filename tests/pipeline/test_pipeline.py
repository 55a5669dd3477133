"""Whole experiments of a second: same bits, nothing twice, and killed in the middle."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EachEpoch, small
from PIL import Image

import ccfs_lib.pipeline.trainings
from ccfs_lib import curriculum, data, step, sweep, train
from ccfs_lib.commands.forecast import forecast
from ccfs_lib.data.exchange import write_indices
from ccfs_lib.distill import sre2l
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import CONTROLS, STRATEGIES, motivation
from ccfs_lib.pipeline import (
    EVALUATION,
    Pipeline,
    Section3Pipeline,
    measured_rows,
)
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.store import Store, StoreWarning
from ccfs_lib.table1 import Choices, parse

SOME = ("simple-misclassified", "hard-classified", "random", "ccfs-hard")


def run(folder: Path, experiment, arms=SOME):
    """All that can be measured, in a cache of its own: (pipeline, rows by arm)."""
    stages = Pipeline(experiment, Store(folder))
    return stages, {arm: stages.evaluate(arm, 0) for arm in arms}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """One run to compare others with: (pipeline, rows by arm, seconds)."""
    start = time.monotonic()
    made = run(tmp_path_factory.mktemp("undisturbed"), small())
    return *made, time.monotonic() - start


def trained(stages) -> dict:
    """Checksums of everything in a store, under what it was computed from."""
    return {
        (kind, entry["key"]): entry["sha256"]
        for kind in ("squeeze", "recover", "train")
        for entry in stages.store.entries(kind)
    }


def test_two_fresh_caches_hold_the_same_bits(undisturbed, tmp_path):
    torch.rand(7)  # no global random number has a say
    stages, rows = run(tmp_path, small())
    first, first_rows, _ = undisturbed
    assert rows == first_rows
    assert trained(stages) == trained(first)
    assert len(trained(stages)) > 8
    weights = [s.squeeze.run(0).tensors for s in (stages, first)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    chosen = [[r.chosen.tolist() for r in s.phases(0)] for s in (stages, first)]
    assert chosen[0] == chosen[1] and sum(map(len, chosen[0])) > 20


def test_another_seed_is_another_run_with_the_same_teacher(undisturbed):
    stages, *_ = undisturbed
    before = trained(stages)
    chosen = [
        np.concatenate([r.chosen for r in stages.phases(seed)]) for seed in (0, 1)
    ]
    assert chosen[0].tolist() != chosen[1].tolist()
    new = Counter(kind for kind, _ in trained(stages).keys() - before.keys())
    assert new == {"train": 2}  # two filters; teacher and distilled images are shared


def test_rows_say_how_many_distilled_images_the_teacher_recognises(undisturbed):
    stages, rows, _ = undisturbed
    images = stages.distilled(stages.experiment.distilled)
    logits = train.predict(stages.teacher.network, images.images)
    right = float((logits.argmax(1) == images.labels).double().mean())
    row = rows["simple-misclassified"]
    assert row["agreement"] == pytest.approx(100 * right, abs=0.01)
    assert row["agreement"] == rows["hard-classified"]["agreement"]
    # No distilled image, or nobody who is asked about it.
    assert not any("agreement" in rows[arm] for arm in ("random", "ccfs-hard"))


def test_rows_of_random_ties_hold_the_scores_themselves(tmp_path):
    """The lot decides who comes first; it is no part of a difficulty."""
    stages = Pipeline(small(ties="random"), Store(tmp_path))
    row = stages.evaluate("simple-misclassified", 0)
    for record in stages.phases(0):
        np.testing.assert_array_equal(
            record.difficulty, stages.difficulty[record.chosen]
        )
        stored = row["phases"][str(record.phase)]
        assert stored["low"] == round(float(stages.difficulty[record.chosen].min()), 6)
    other = Pipeline(small(), stages.store)
    chosen = [[r.chosen.tolist() for r in s.phases(0)] for s in (stages, other)]
    assert chosen[0] != chosen[1]


def test_last_is_the_last_epoch_and_best_the_best(tmp_path, monkeypatch):
    e = small(epochs=3)
    stages = Pipeline(replace(e, recipe=replace(e.recipe, tail=1.0)), Store(tmp_path))
    stages.teacher  # noqa: B018 (tested before the accuracies are ours)
    # The last two of three epochs are tested.
    for seed, course in enumerate(([90.0, 80.0], [70.0, 85.0])):
        course = iter(course)

        def hits(tests, course=course):
            yield
            share = torch.tensor(next(course) / 100, dtype=torch.float64)
            return share * len(tests.labels)

        monkeypatch.setattr(train.Tests, "__call__", hits)
        row = stages.evaluate("random", seed)
        assert next(course, None) is None
        expected = (80.0, 90.0) if seed == 0 else (85.0, 85.0)
        assert (row["last"], row["best"]) == pytest.approx(expected)


def test_every_seed_of_an_evaluation_is_another_training(tmp_path, monkeypatch):
    """The same set, trained on by two seeds: weights, order and views are others."""
    stages, seen = Pipeline(small(), Store(tmp_path)), []
    fit = ccfs_lib.pipeline.trainings.fit

    def watched(network, images, *args, **options):
        seen.append((options["seed"], next(network.parameters()).sum().item()))
        return fit(network, images, *args, **options)

    stages.teacher  # noqa: B018 (a training of its own)
    monkeypatch.setattr(ccfs_lib.pipeline.trainings, "fit", watched)
    for seed in (0, 1, 2):
        stages.evaluate("distilled", seed)
    assert [seed for seed, _ in seen] == [999, 1999, 2999]
    assert len({weights for _, weights in seen}) == 3


def test_plain_arms_neither_crop_nor_mirror(tmp_path, monkeypatch):
    e = small()
    mirrored = replace(e, recipe=replace(e.recipe, flip=True))
    stages, seen = Pipeline(mirrored, Store(tmp_path)), []
    monkeypatch.setattr(
        Pipeline, "trained", lambda _, images, recipe, *a, **k: seen.append(recipe)
    )
    for arm in ("random-plain", "random"):
        with pytest.raises(AttributeError):  # nothing was trained
            stages.evaluate(arm, 0)
    assert (seen[0].augment, seen[0].flip) == ("none", False)
    assert (seen[1].augment, seen[1].flip) == ("rrc", True)


@pytest.fixture
def counted(monkeypatch):
    """Counts the work: {"fit": n, "recover": n}, and each training's label."""
    work = Counter()
    fit, recover = ccfs_lib.pipeline.trainings.fit, sre2l.recover_batch

    def count_fit(*args, **options):
        work["fit"] += 1
        work[options["label"]] += 1
        return fit(*args, **options)

    def count_recover(*args, **options):
        work["recover"] += 1
        return recover(*args, **options)

    monkeypatch.setattr(ccfs_lib.pipeline.trainings, "fit", count_fit)
    monkeypatch.setattr(sre2l, "recover_batch", count_recover)
    return work


def test_six_strategies_share_their_first_filter(counted, tmp_path):
    rows = run(tmp_path, small(), STRATEGIES)[1]
    assert counted["teacher 0"] == 1 and counted["recover"] == 1
    assert counted["10 images, seed 0"] == 1  # ten distilled images: the first filter
    # Two strategies may agree on what to take; none may train more than its own two.
    assert 1 + 1 + 6 <= counted["fit"] <= 1 + 1 + 6 + 6
    counted.clear()
    assert run(tmp_path, small(), STRATEGIES)[1] == rows
    assert not counted  # nothing is computed twice


def test_only_what_depends_on_a_change_is_computed_again(counted, tmp_path):
    run(tmp_path, small(), ("simple-misclassified", "random"))
    counted.clear()
    run(tmp_path, small(seeds=7, fine="hard"), ("simple-misclassified",))
    assert not counted  # the arm says the strategy; seeds only say how many
    run(tmp_path, small(epochs=3), ("simple-misclassified",))
    assert counted["teacher 0"] == counted["recover"] == 0 and counted["fit"] == 3
    counted.clear()
    run(tmp_path, replace(small(), teacher_correct=False), ("random",))
    assert not counted
    slower = replace(small().distillation, iterations=6)
    run(tmp_path, replace(small(), distillation=slower), ("simple-misclassified",))
    assert counted["teacher 0"] == 0 and counted["recover"] == 1


def test_what_each_arm_is_made_of(undisturbed):
    stages, *_ = undisturbed
    images, pool = stages.train, stages.train.labels.numpy()
    distilled = stages.distilled(1)
    assert distilled.labels.tolist() == list(range(10))
    for arm in ("simple-misclassified", "ccfs-hard"):
        made = stages.synthetic(arm, 0)
        chosen = np.concatenate([r.chosen for r in stages.phases(0)])
        assert torch.equal(made.images[:10], distilled.images)
        assert torch.equal(made.images[10:], images.images[chosen])
        assert np.bincount(pool[chosen], minlength=10).max() <= 3
    for arm in ("random", "random-hard"):
        made = stages.synthetic(arm, 0)
        assert made.labels.bincount().tolist() == [4] * 10
        assert len(torch.unique(made.images.flatten(1), dim=0)) == 40
        assert torch.equal(made.images, stages.synthetic("random", 0).images)
        assert not torch.equal(made.images, stages.synthetic(arm, 1).images)
    only = stages.synthetic("distilled", 0)
    assert only.labels.bincount().tolist() == [4] * 10
    assert torch.equal(only.images, stages.distilled(4).images)


def test_strategies_choose_by_their_name(undisturbed):
    stages, *_ = undisturbed
    labels, difficulty = stages.train.labels.numpy(), stages.difficulty
    first = {s: next(stages.phases(0, s)) for s in STRATEGIES}
    for name, record in first.items():
        fine, coarse = name.split("-")
        answers = record.filter.predictions
        right = answers[record.chosen] == labels[record.chosen]
        assert right.all() if coarse == "classified" else not right.any()
        known = stages.teacher.predictions == labels
        assert known[record.chosen].all()
        for c in range(10):
            mine = record.chosen[labels[record.chosen] == c]
            hit = (answers == labels) == (coarse == "classified")
            pool = np.sort(difficulty[hit & known & (labels == c)])
            best = {"simple": pool[:2], "hard": pool[::-1][:2]}.get(fine)
            if best is not None:
                assert difficulty[mine].tolist() == best.tolist()


def test_hard_arms_need_no_teacher_in_the_last_training(undisturbed):
    stages, _, _ = undisturbed
    entries = {e["key"]: e["recipe"] for e in stages.store.entries("train")}
    losses = Counter(r["recipe"].get("loss", "kd") for r in entries.values())
    assert losses["hard"] == 1  # of "ccfs-hard" alone, and no filter is
    hard = next(r for r in entries.values() if r["recipe"].get("loss") == "hard")
    assert hard["teacher"] is None


def test_logits_need_no_score_and_use_the_filter(tmp_path, counted):
    stages = Pipeline(small(score="logits", score_runs=3), Store(tmp_path))
    assert stages.difficulty is None
    record = next(stages.phases(0))
    assert (
        record.difficulty.tolist()
        == (-record.filter.true_logit)[record.chosen].tolist()
    )
    assert counted["teacher 0"] == 1 and counted["teacher 1"] == 0


def test_forgetting_is_averaged_over_its_runs(tmp_path, counted):
    stages = Pipeline(small(score_runs=2), Store(tmp_path))
    assert stages.difficulty.shape == (1352,) and np.isfinite(stages.difficulty).all()
    assert counted["teacher 0"] == counted["teacher 1"] == 1
    one = Pipeline(small(), Store(tmp_path)).difficulty
    assert one.tolist() != stages.difficulty.tolist() and counted["fit"] == 2


def test_the_teacher_comes_back_from_the_cache_as_it_was(undisturbed, digits):
    stages, *_ = undisturbed
    again = Pipeline(stages.experiment, stages.store).teacher
    logits = train.predict(again.network, digits[0].images)
    assert (logits.argmax(1).numpy() == again.predictions).all()
    right = (again.predictions == digits[0].labels.numpy()).mean()
    assert again.train_accuracy == pytest.approx(100 * right)
    assert train.accuracy(again.network, digits[1]) == pytest.approx(again.last)
    assert not again.network.training and again.best >= again.last > 50


def test_portable_runs_with_one_thread_and_puts_things_back(tmp_path, monkeypatch):
    seen, fit = [], ccfs_lib.pipeline.trainings.fit

    def spy(*args, **options):
        seen.append((torch.get_num_threads(), torch.backends.mkldnn.enabled))
        return fit(*args, **options)

    monkeypatch.setattr(ccfs_lib.pipeline.trainings, "fit", spy)
    before = torch.backends.mkldnn.enabled
    for portable in (True, False):
        stages = Pipeline(replace(small(), portable=portable), Store(tmp_path))
        _ = stages.teacher
    assert seen == [(1, False), (torch.get_num_threads(), before)]
    assert torch.backends.mkldnn.enabled == before


# -- what is refused, and when ---------------------------------------------------------


def test_what_others_selected_is_measured_as_ones_own(house):
    stages = Pipeline(small())
    own = stages.evaluate("simple-misclassified", 0)
    chosen = curriculum.selected(list(stages.phases(0)))
    file = write_indices(house / "selected_indices.json", 4, 0.25, chosen)
    told = Pipeline(small(selected_from=str(file)))
    row = told.evaluate("selected", 0)
    assert row == {k: own[k] for k in row}
    assert told.evaluate("selected-hard", 0) != row
    assert told.measure("selected").parent.name != stages.experiment.run
    # Another alpha is another set; 99,999 is no digit.
    with pytest.raises(InputError, match=r"chosen for ipc 4 and alpha 0\.25, but"):
        small(selected_from=str(file), alpha=0.5)
    write_indices(file, 4, 0.25, [99_999])
    with pytest.raises(InputError, match="99999, but the training split has"):
        told.evaluate("selected", 0)
    zeros = np.flatnonzero(stages.train.labels.numpy() == 0)[:4]
    write_indices(file, 4, 0.25, zeros)  # 30 real images, but not 4 of a class
    with pytest.raises(InputError, match=r"holds 4 images of class 0, .* leave 3 real"):
        told.evaluate("selected", 0)
    with pytest.raises(InputError, match="arm is 'selected', but selected_from is emp"):
        stages.measure("selected")


def test_a_selection_of_some_classes_is_numbered_as_the_whole_split(house):
    """Whoever reads the file without `classes` reads the same images."""
    stages, whole = Pipeline(small(classes=3)), Pipeline(small()).train
    own = stages.evaluate("simple-misclassified", 0)
    out = house / "some.json"
    chosen = stages.trainings.numbered(stages.chosen(0))
    write_indices(out, 4, 0.25, chosen)
    assert set(whole.labels[chosen].tolist()) <= {0, 1, 2}
    told = Pipeline(small(classes=3, selected_from=str(out)))
    assert np.array_equal(told._given(0), stages.chosen(0))
    row = told.evaluate("selected", 0)
    assert row == {k: own[k] for k in row}
    seven = np.flatnonzero(whole.labels.numpy() == 7)[:1]
    write_indices(out, 4, 0.25, seven)
    with pytest.raises(InputError, match="of class 7, but classes is 3"):
        told._given(0)


def test_a_folder_holds_a_selection_for_each_seed(house):
    stages, folder = Pipeline(small(seeds=2)), house / "selected"
    for seed in range(2):
        chosen = stages.chosen(seed)
        write_indices(folder / f"hers-seed{seed}.json", 4, 0.25, chosen)
    theirs = Pipeline(small(seeds=2, selected_from=str(folder)))
    for seed in range(2):
        row = stages.evaluate("simple-misclassified", seed)
        same = theirs.evaluate("selected", seed)
        assert same == {k: row[k] for k in same}
    with pytest.raises(InputError, match=r"holds 0 files ending in seed2\.json"):
        small(seeds=3, selected_from=str(folder))
    write_indices(folder / "his-seed1.json", 4, 0.25, chosen)
    with pytest.raises(InputError, match=r"holds 2 files ending in seed1\.json"):
        small(seeds=2, selected_from=str(folder))


def test_unknown_arms_are_refused_before_anything_is_trained(house, counted):
    stages = Pipeline(small())
    for call in (
        lambda arm: stages.measure(arm),
        lambda arm: stages.evaluate(arm, 0),
        lambda arm: stages.synthetic(arm, 0),
        lambda arm: sweep.sweep(small(), (arm,), workers=1),
    ):
        for arm in ("foo", "foo-bar", "simple-hard-x", "random-nothing", ""):
            with pytest.raises(InputError, match=f"arm.* '{arm}', but ") as error:
                call(arm)
            assert "\n" not in str(error.value)
    assert not counted and not (house / "results").exists()


def test_a_missing_score_file_is_told_before_anything_is_trained(tmp_path, counted):
    e = small(score=str(tmp_path / "none.npy"))
    with pytest.raises(InputError, match=r"none\.npy does not exist"):
        Pipeline(e, Store(tmp_path)).phases(0)
    assert not counted


def test_a_score_file_of_ones_own(tmp_path):
    scores = np.random.default_rng(0).permutation(1352).astype(float)
    np.save(tmp_path / "own.npy", scores)
    stages = Pipeline(small(score=str(tmp_path / "own.npy")), Store(tmp_path))
    record = next(stages.phases(0))
    assert record.difficulty.tolist() == scores[record.chosen].tolist()


# -- results ---------------------------------------------------------------------------


def test_measure_writes_what_evaluate_says(house, monkeypatch):
    stages = Pipeline(small(seeds=2))
    path = stages.measure("simple-misclassified", "a command")
    assert path == house / "results" / small().run / "simple-misclassified.json"
    written = json.loads(path.read_text())
    rows = [stages.evaluate("simple-misclassified", seed) for seed in (0, 1)]
    assert written["rows"] == rows and [r["seed"] for r in rows] == [0, 1]
    assert rows[0]["wanted"] == 40 >= rows[0]["images"] > 10
    config = written["config"]
    assert config["arm"] == "simple-misclassified" and config["seeds"] == 2
    assert config["ipc"] == 4 and config["train"] == stages.train.fingerprint
    assert config["teacher_last"] == stages.teacher.last
    assert written["provenance"]["command"] == "a command"
    # Measuring again, later and elsewhere, leaves the file as it is.
    before = path.read_bytes()
    monkeypatch.chdir(house)
    assert Pipeline(small(seeds=2)).measure("simple-misclassified") == path
    assert path.read_bytes() == before


@pytest.mark.parametrize("portable", [True, False])
def test_a_quick_look_drops_no_row_and_more_seeds_join(house, monkeypatch, portable):
    path = Pipeline(small(seeds=2, portable=portable)).measure("random-hard")
    before = path.read_bytes()
    assert len(json.loads(before)["rows"]) == 2
    Pipeline(small(seeds=1, portable=portable)).measure("random-hard")
    assert path.read_bytes() == before
    assert len(measured_rows(small(seeds=1, portable=portable))) == 1
    asked = []
    evaluate = Pipeline.evaluate
    monkeypatch.setattr(
        Pipeline,
        "evaluate",
        lambda self, arm, seed: asked.append(seed) or evaluate(self, arm, seed),
    )
    Pipeline(small(seeds=3, portable=portable)).measure("random-hard")
    written = json.loads(path.read_text())
    assert written["config"]["seeds"] == len(written["rows"]) == 3
    assert asked == ([0, 1, 2] if portable else [2])  # what is there is not paid again
    assert written["rows"][:2] == json.loads(before)["rows"]


def test_a_row_is_filed_before_the_next_seed_begins(house, monkeypatch):
    evaluate = Pipeline.evaluate

    def broken(self, arm, seed):
        if seed == 2:
            raise KeyboardInterrupt
        return evaluate(self, arm, seed)

    monkeypatch.setattr(Pipeline, "evaluate", broken)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(small(seeds=3)).measure("random-hard")
    rows = measured_rows(small(seeds=3))
    assert rows["seed"].tolist() == [0, 1]


def test_another_data_set_of_the_same_name_is_refused_before_it_trains(
    house, digits, monkeypatch
):
    for place, shift in (("one", 0), ("other", 7)):
        for split, images in zip(("train", "test"), digits, strict=True):
            for c in range(3):
                folder = house / place / "photos" / split / "abc"[c]
                folder.mkdir(parents=True)
                members = torch.nonzero(images.labels == c)[shift : shift + 9, 0]
                for i, image in enumerate(images.images[members]):
                    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
                    picture.save(folder / f"{i:03}.png")
    one, other = (
        small(dataset=str(house / place / "photos"), scale="digits", score="logits")
        for place in ("one", "other")
    )
    assert one.run == other.run
    path = Pipeline(one).measure("random-hard")
    before = path.read_bytes()
    monkeypatch.setattr(Trainings, "fit", lambda *_, **__: pytest.fail("it trains"))
    for refused in (
        lambda: Pipeline(other).measure("random-hard"),
        lambda: forecast([other], ["random-hard"]),
    ):
        with pytest.raises(InputError, match="another data set of this name"):
            refused()
    assert path.read_bytes() == before


def test_measured_rows_are_real_accuracies(undisturbed):
    stages, rows, _ = undisturbed
    for arm in ("simple-misclassified", "ccfs-hard"):
        recipe = stages.experiment.recipe
        loss = "hard" if arm == "ccfs-hard" else "kd"
        network = stages.network("convnet-16-32", EVALUATION)
        made = stages.synthetic(arm, 0)
        with arithmetic(True):
            done = train.fit(
                network,
                made,
                replace(recipe, loss=loss),
                seed=EVALUATION,
                teacher=stages.teacher.network,
            )
            last = train.accuracy(done.network, stages.test)
        assert rows[arm]["last"] == pytest.approx(last)
        assert rows[arm]["images"] == len(made)


# -- one's own images ------------------------------------------------------------------


def test_a_folder_of_images_end_to_end(house, digits):
    root = house / "my photos"
    for split, images in zip(("train", "test"), digits, strict=True):
        for c in range(3):
            folder = root / split / "abc"[c]
            folder.mkdir(parents=True)
            members = torch.nonzero(images.labels == c)[:24, 0]
            for i, image in enumerate(images.images[members]):
                picture = Image.fromarray(image.permute(1, 2, 0).numpy())
                picture.save(folder / f"{i:03}.png")
    e = small(dataset=str(root), scale="digits")
    stages = Pipeline(e)
    assert stages.train.classes == ("a", "b", "c") and len(stages.train) == 72
    mean, std = stages.normalisation
    assert (mean, std) == data.channel_stats(stages.train)
    path = stages.measure("simple-misclassified")
    assert path == house / "results" / e.run / "simple-misclassified.json"
    assert e.run.startswith("my-photos-ipc4-")
    row = json.loads(path.read_text())["rows"][0]
    assert row["wanted"] == 12 and 3 < row["images"] <= 12
    assert paths.cache() == house / "cache"
    cached = {p.parent.relative_to(house / "cache") for p in house.rglob("*.npy")}
    assert cached == {Path("images")}
    with pytest.raises(InputError, match=r"ipc is 25, .* 24 training images"):
        Pipeline(small(dataset=str(root), scale="digits", ipc=25)).measure("random")


# -- interrupted -----------------------------------------------------------------------


# 66 batches of the teacher, 5 iterations, filters of 2 and 2 batches, then 4.
@pytest.mark.parametrize("steps", [3, 50, 68, 72, 74, 78])
def test_ctrl_c_anywhere_then_the_same_rows(undisturbed, tmp_path, monkeypatch, steps):
    """Stop after some batches or iterations of whatever stage that is in."""
    monkeypatch.setattr(ccfs_lib.pipeline.trainings, "Checkpoint", EachEpoch)
    left, augment, views = [steps], step.augment, sre2l.views

    def tick():
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    def counting_augment(*args):
        tick()
        return augment(*args)

    def counting_views(*args):
        for view in views(*args):
            tick()
            yield view

    with monkeypatch.context() as patch:
        patch.setattr(step, "augment", counting_augment)
        patch.setattr(sre2l, "views", counting_views)
        stages = Pipeline(small(), Store(tmp_path))
        with pytest.raises(KeyboardInterrupt):
            stages.evaluate("simple-misclassified", 0)
    # In the same session, as a reader of the notebook would go on.
    assert stages.evaluate("simple-misclassified", 0) == undisturbed[1][SOME[0]]
    assert trained(stages).items() <= trained(undisturbed[0]).items()
    left_over = [*tmp_path.rglob(".tmp*"), *(tmp_path / "checkpoints").glob("*")]
    assert not left_over


def measure_some(folder: str) -> None:
    """A process of its own, to be killed: measures the arms one after the other."""
    os.environ["CCFS_CACHE"] = folder + "/cache"
    os.environ["CCFS_RESULTS"] = folder + "/results"
    ccfs_lib.pipeline.trainings.Checkpoint = EachEpoch
    torch.set_num_threads(1)
    for arm in SOME:
        Pipeline(small()).measure(arm)


def test_killed_at_random_moments_then_the_same_rows(undisturbed, tmp_path):
    # Processes that have torch already: real ones, without its seconds of import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ccfs_lib.pipeline", "safetensors.torch"])
    moments, killed = random.Random(0), 0
    for _ in range(6):
        process = context.Process(target=measure_some, args=(str(tmp_path),))
        process.start()
        # From its first sign of life: starting takes as long as the machine likes.
        while process.is_alive() and not (tmp_path / "cache").exists():
            time.sleep(0.005)
        process.join(moments.uniform(0.05, 0.3) * undisturbed[2])
        process.kill()
        process.join(20)
        killed += process.exitcode == -signal.SIGKILL
    assert killed >= 3
    process = context.Process(target=measure_some, args=(str(tmp_path),))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    for arm in SOME:
        path = tmp_path / "results" / small().run / f"{arm}.json"
        assert json.loads(path.read_text())["rows"] == [undisturbed[1][arm]]
    done = trained(Pipeline(small(), Store(tmp_path / "cache")))
    assert done.items() <= trained(undisturbed[0]).items()
    assert not list(tmp_path.rglob(".tmp*"))
    assert set(SOME) <= set(STRATEGIES + CONTROLS)


def test_alpha_zero_takes_every_image_as_a_mistake(house, mini):
    """Its first phase is the simplest of each class, and nothing is trained for it."""
    run = Pipeline(mini(alpha=0.0))
    records = list(run.phases())
    labels, difficulty = run.train.labels.numpy(), run.difficulty
    right = run.teacher.predictions == labels
    for c in range(10):
        members = np.flatnonzero((labels == c) & right)
        easiest = members[np.argsort(difficulty[members], kind="stable")][:2]
        got = records[0].chosen[labels[records[0].chosen] == c]
        assert got.tolist() == easiest.tolist()
    assert records[0].synthetic == 0 and records[0].train_accuracy == 0
    assert records[1].synthetic == 20 and records[1].train_accuracy > 0
    row = run.evaluate("simple-misclassified", 0)
    assert row["images"] == 40 - sum(sum(r.shortfall.values()) for r in records)


def test_fewer_classes_are_a_problem_of_their_own(house, mini):
    run = Pipeline(mini(classes=3))
    assert run.train.num_classes == run.test.num_classes == 3
    assert run.train.labels.unique().tolist() == [0, 1, 2]
    assert len(run.difficulty) == len(run.train)
    row = run.evaluate("simple-misclassified", 0)
    assert row["wanted"] == 12


def test_a_published_score_follows_its_images(house, mini, digits):
    """A file rates all images; with some classes only, theirs are taken."""
    path = house / "own.npy"
    np.save(path, np.arange(len(digits[0]), dtype=float))
    run = Pipeline(mini(classes=4, score=str(path)))
    kept = np.flatnonzero(digits[0].labels.numpy() < 4)
    assert run.difficulty.tolist() == kept.tolist()


def test_a_portable_run_stays_on_the_cpu(mini, monkeypatch, house):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Pipeline(mini()).device == "cpu"
    assert Pipeline(replace(mini(), portable=False)).device == "cuda"
    assert Pipeline(replace(mini(), portable=False), device="cpu").device == "cpu"
    with pytest.raises(InputError, match="device is 'cuda', but a portable"):
        Pipeline(mini(), device="cuda")


def test_threads_and_processes_measure_what_one_after_the_other_does(
    tmp_path, mini, monkeypatch
):
    """The trainings that count forgetting, too: the same bits in any of the ways."""
    e = mini(seeds=2, score="forgetting", score_runs=2)
    stages = Pipeline(e, Store(tmp_path / "alone"))
    alone = [[stages.evaluate(arm, s) for s in (0, 1)] for arm in ("random", SOME[0])]
    for threads in (False, True):
        monkeypatch.setenv("CCFS_CACHE", str(tmp_path / f"cache-{threads}"))
        monkeypatch.setenv("CCFS_RESULTS", str(tmp_path / f"results-{threads}"))
        arms = {"arms": (SOME[0], "random"), "workers": 2, "threads": threads}
        written = sorted(sweep.sweep(e, **arms))
        assert [json.loads(p.read_text())["rows"] for p in written] == alone
        assert trained(Pipeline(e)) == trained(stages)
    assert torch.backends.mkldnn.enabled


def test_one_missing_training_is_no_business_of_the_pool(house, mini, monkeypatch):
    e, seen = mini(score="forgetting", score_runs=3, epochs=1), []
    Pipeline(e).squeeze.run(0)
    squeeze = sweep._squeeze
    monkeypatch.setattr(sweep, "_squeeze", lambda *a: seen.append(a[2]) or squeeze(*a))
    how = {"arms": SOME[:1], "workers": 1, "threads": True}
    sweep.sweep(e, **how)
    assert sorted(seen) == [1, 2]  # the teacher was there
    (
        Pipeline(e).store.path("squeeze", Pipeline(e).squeeze._key(2)) / "recipe.json"
    ).unlink()
    with pytest.warns(StoreWarning, match="damaged"):
        sweep.sweep(e, **how)
    assert sorted(seen) == [1, 2]


def test_another_network_is_trained_on_the_same_set(tmp_path, counted):
    run(tmp_path, small(), SOME[:1])
    counted.clear()
    other = small(evaluation_network="convnet-8")
    stages, rows = run(tmp_path, other, SOME[:1])
    assert counted["fit"] == 1  # the last training; filters are the experiment's own
    made = [r["recipe"]["network"] for r in stages.store.entries("train")]
    assert made.count("convnet-8") == 1
    assert rows[SOME[0]]["images"] > 10


def test_filed_rows_are_shown_without_a_teacher(house, monkeypatch):
    """A chapter of shipped results once trained a teacher before it read them."""
    measured = small(seeds=2, portable=False)
    path = Pipeline(measured, Store(house / "one")).measure("random")
    before = path.read_bytes()

    def refuse(*_, **__):
        raise AssertionError("something was trained")

    monkeypatch.setattr(Trainings, "fit", refuse)
    elsewhere = Store(house / "two")
    assert Pipeline(measured, elsewhere).measure("random") == path
    assert path.read_bytes() == before
    for other in (
        replace(measured, seeds=3),  # a row that is missing
        replace(measured, recipe=replace(measured.recipe, lr=0.3)),
        small(seeds=2),  # portable: repeated
    ):
        with pytest.raises(AssertionError, match="trained"):
            Pipeline(other, elsewhere).measure("random")


def test_nothing_is_trained_where_it_is_forbidden(house, monkeypatch):
    monkeypatch.setenv("CCFS_TRAIN", "0")
    with pytest.raises(InputError, match=r"CCFS_TRAIN is 0.*teacher 0"):
        _ = Pipeline(small(), Store(house / "none")).teacher


def test_nothing_is_distilled_where_it_is_forbidden(house, monkeypatch):
    few = {"ipc": 4, "curricula": 1, "score_runs": 1}
    stages, matching = Pipeline(small()), Section3Pipeline(motivation(**few))
    _ = stages.teacher, matching.buffer, matching.difficulty
    monkeypatch.setenv("CCFS_TRAIN", "0")
    with pytest.raises(InputError, match=r"CCFS_TRAIN is 0.*batch 0 of the recovered"):
        stages.distilled(1)
    with pytest.raises(InputError, match=r"CCFS_TRAIN is 0.*a match of seed 0"):
        matching.alone_or_beside("selmatch", 0)
    other = Section3Pipeline(motivation(**few, expert_epochs=11))
    with pytest.raises(InputError, match=r"CCFS_TRAIN is 0.*expert 0"):
        _ = other.buffer
    table = Table1Pipeline(small(), Choices())
    for name in ("dm", "cudd"):
        with pytest.raises(InputError, match=rf"CCFS_TRAIN is 0.*the set of {name}"):
            table.built(parse(name), 0)
