"""Chapter 13: the questions ask what they say, and effects are paired t tests."""

from dataclasses import asdict, replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from scipy import stats

from ccfs_lib import results, scores
from ccfs_lib.arms import parse
from ccfs_lib.claims.compare import CCFS
from ccfs_lib.commands.options import Choice
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import FURTHER, essential, preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report import arms, effects, evidence, unsaid
from ccfs_lib.report.effects import Effect, effect
from ccfs_lib.runtime import paths


def rows(cell, last, best=None, **settings):
    """Rows of one cell as `results.load` gives them, seeds 0, 1, ..."""
    best = best or [value + 1 for value in last]
    made = [
        {"cell": cell, "seed": seed, "last": a, "best": b, **settings}
        for seed, (a, b) in enumerate(zip(last, best, strict=True))
    ]
    return pandas.DataFrame(made)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A cache and a results folder for those tests that may share their teacher."""
    folder = tmp_path_factory.mktemp("unsaid")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCFS_CACHE", str(folder / "cache"))
        patch.setenv("CCFS_RESULTS", str(folder / "results"))
        patch.delenv("CCFS_DATA", raising=False)
        yield folder


def made(left, right, name="left - right"):
    return Effect(name, "Doing so", left, right)


# -- effects ---------------------------------------------------------------------------


def test_an_effect_is_the_paired_t_test():
    left, right = [71.0, 73.5, 70.2, 74.0], [70.1, 72.0, 70.9, 71.5]
    d = effect("e", "E", rows("a", left), rows("b", right)).difference
    theirs = stats.ttest_rel(left, right)
    low, high = theirs.confidence_interval(0.95)
    assert d.p == pytest.approx(theirs.pvalue)
    assert (d.mean - d.half, d.mean + d.half) == pytest.approx((low, high))


def test_seeds_are_paired_by_number_and_not_by_place():
    left, right = rows("a", [1.0, 2.0, 3.0]), rows("b", [1.5, 2.5, 3.5])
    found = effect("e", "E", left, right.iloc[::-1].iloc[:2])  # seeds 2 and 1
    assert found.left == [2.0, 3.0] and found.right == [2.5, 3.5]


def test_only_what_is_asked_may_differ():
    left = rows("a", [1.0, 2.0], ties="index", alpha=0.2)
    right = rows("b", [1.0, 2.0], ties="random", alpha=0.2)
    assert effect("e", "E", left, right, ("ties",)).left == [1.0, 2.0]
    with pytest.raises(InputError, match=r"e: the two sides also differ in ties"):
        effect("e", "E", left, right)
    with pytest.raises(InputError, match=r"differ in alpha \(0.2, 0.4\)"):
        effect("e", "E", left, right.assign(alpha=0.4), ("ties",))


def test_rows_without_a_common_seed_or_with_one_twice_are_refused():
    one = rows("a", [1.0, 2.0])
    with pytest.raises(InputError, match="no seed in common"):
        effect("e", "E", one[one["seed"] == 0], one[one["seed"] == 1])
    with pytest.raises(InputError, match="e, right has seed 0 twice"):
        effect("e", "E", one, pandas.concat([one, one]))


@pytest.mark.parametrize(
    ("left", "right", "word", "said"),
    [
        ([5.0, 5.1, 5.2], [4.0, 4.0, 4.1], "higher", "**raises accuracy** (+1.1"),
        ([4.0, 4.0, 4.1], [5.0, 5.1, 5.2], "lower", "**lowers accuracy**"),
        ([5.0, 4.0, 5.0], [4.0, 5.0, 4.5], "too close to call", "80 % power"),
        ([5.0, 4.0, 5.0], [5.0, 4.0, 5.0], "equal", "has no effect here"),
        ([5.0], [4.0], "not tested", "no interval from a single seed"),
        ([5.0, 6.0], [4.0, 4.5], "not tested", "no interval from two seeds"),
        ([5.0], [5.0], "not tested", "accuracies are equal in the only seed"),
        ([5.0, 6.0], [5.0, 6.0], "not tested", "are equal in both seeds"),
    ],
)
def test_sentences_follow_from_the_numbers(left, right, word, said):
    own = made(left, right)
    assert effects.word(own) == word and said in effects.sentence(own)
    assert word in str(effects.ledger([own])).splitlines()[-3]
    assert effects.forest([own], {"p": 6.6})._repr_png_()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_decide_nothing(seeds):
    left, right = [5.0, 6.0][:seeds], [4.0, 4.4][:seeds]
    found = dict.fromkeys((*unsaid.CHOICES, "control", "whole"), made(left, right))
    text = str(unsaid.answer(found)).replace("\N{NO-BREAK SPACE}", " ")
    told = f"none is tested: so few seeds ({seeds} seed{'s' * (seeds > 1)}) have no"
    assert told in text and "would still exclude" not in text
    line = str(effects.ledger([made(left, right)])).splitlines()[-3]
    assert "[" not in line and "80 % power" not in effects.sentence(made(left, right))


def test_the_seeds_that_are_needed_are_told_in_words():
    assert effects.needed([5.0], [4.0], 1.0) == "not known: no spread over 1 seed"
    none = effects.needed([5.0, 5.0], [4.0, 4.0], 1.0)
    assert none == "not known: no spread over 2 seeds"
    assert effects.needed([5.0, 95.0], [4.0, 4.0], 0.1) == "more than 999 seeds"
    assert effects.needed([5.0, 6.0, 7.0], [5.0, 5.0, 5.5], 1.0) == "7 seeds"


# -- questions -------------------------------------------------------------------------


def flat(e):
    """Settings of an experiment, the nested ones dotted."""
    found = {}
    for name, value in asdict(e).items():
        nested = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{k}".rstrip("."): v for k, v in nested}
    return found


@pytest.mark.parametrize("where", [("digits", 20), ("cifar10-jpeg", 500)], ids=str)
def test_the_two_sides_of_a_question_differ_in_it_alone(where):
    e = preset(where[0], ipc=where[1])
    asked = unsaid.questions(e)
    assert set(asked) == set(unsaid.APART)
    for key, (one, other) in asked.items():
        both = flat(one), flat(other)
        differ = {name for name in both[0] if both[0][name] != both[1][name]}
        assert differ and differ <= set(unsaid.APART[key])
    runs = [side.run for pair in asked.values() for side in pair]
    assert runs.count(e.run) == 3  # the authors' way of three questions is the preset


def test_the_weak_teacher_has_a_tenth_of_the_epochs():
    for one, other in [unsaid.questions(preset())["weak"]]:
        assert one.teacher.epochs == other.teacher.epochs == 3
    few = unsaid.questions(preset(teacher_epochs=4))["weak"][0]
    assert few.teacher.epochs == 1


def test_logits_have_no_ties_to_ask_about():
    assert "ties" not in unsaid.questions(preset(score="logits"))
    with pytest.raises(InputError, match="ties is 'random', but score is 'logits'"):
        preset(score="logits", ties="random")


def test_without_a_filter_nothing_teaches_it():
    alone = preset(alpha=0.0, curricula=1)
    assert "filters" not in unsaid.questions(alone)
    assert "filters" in unsaid.questions(preset(alpha=0.0))  # the second phase has one
    assert "filters" in unsaid.questions(preset(curricula=1))


def test_without_a_first_filter_it_misclassifies_nothing(house, mini):
    run = Pipeline(mini(alpha=0.0, curricula=1))
    asked = unsaid.questions(run.experiment)
    text = str(evidence.teachers(run, asked))
    assert "training images (no first filter)" in text and "1,352" in text
    assert "misclassified by the first filter" not in text


def test_readings_are_those_of_the_presets_at_this_scale():
    tables, scripts = unsaid.questions(preset("cifar10-jpeg", ipc=500))["reading"]
    recipe = tables.recipe, scripts.recipe
    assert [r.lr for r in recipe] == [0.1, 0.2]
    assert [r.weight_decay for r in recipe] == [5e-4, 1e-4]
    assert [r.batch_rule for r in recipe] == ["paper", "released"]
    assert (tables.alpha, scripts.alpha) == (0.2, 0.1)
    assert {r.epochs for r in recipe} == {60}  # this run's, not Table 7's
    tables, scripts = unsaid.questions(preset())["reading"]  # read as CIFAR-10
    assert (tables.recipe.lr, scripts.recipe.lr) == (0.03, 0.06)
    assert tables.alpha == scripts.alpha == preset().alpha
    tiny = unsaid.questions(preset("tiny-imagenet", ipc=50))["reading"]
    assert tiny[0] == tiny[1]  # where both agree, there is nothing to ask
    assert "agree" in str(evidence.recipes(tiny))


def test_the_command_line_asks_the_same():
    run = {"dataset": "cifar10-jpeg", "ipc": (250,)}
    asked = unsaid.questions(preset("cifar10-jpeg", ipc=250))

    def told(**options):
        return Choice(**run, **options).experiment()

    assert told(teacher_correct=False) == asked["veto"][1]
    assert told(teacher_epochs=6) == asked["weak"][0]
    assert told(teacher_epochs=6, teacher_correct=False) == asked["weak"][1]
    assert told(batch_rule="paper") == asked["reading"][0]
    assert told(lr=0.2, weight_decay=1e-4) == asked["reading"][1]
    assert told(filter_loss="hard") == asked["filters"][1]
    assert told(ties="random") == asked["ties"][1]
    with pytest.raises(InputError, match="filter_loss is 'soft'"):
        told(filter_loss="soft")
    with pytest.raises(InputError, match="lr is -1"):
        told(lr=-1.0)


def test_new_settings_are_named_and_old_names_stay():
    assert preset(filter_loss="hard").run == "digits-ipc20-hard-filters"
    assert preset(ties="random").run == "digits-ipc20-random-ties"
    assert (
        preset(lr=0.06, batch_rule="paper").run == "digits-ipc20-lr0.06-paper-batches"
    )
    # What is there anyway is no setting.
    assert preset(filter_loss="kd", ties="index") == preset()
    hard = replace(preset(), recipe=replace(preset().recipe, loss="hard"))
    assert replace(hard, filter_loss="hard").filter_loss == ""


def test_the_papers_headlines():
    assert unsaid.printed(preset()) == {}  # the paper has no digits
    assert list(unsaid.printed(preset("cifar10-jpeg", ipc=250)).values()) == [6.6]
    (name,) = unsaid.printed(preset("tiny-imagenet", ipc=50))
    assert name.endswith("CUDD, tiny-imagenet, IPC 100")
    assert list(unsaid.printed(preset("cifar100", ipc=50)).values()) == [5.8]


# -- ties and filters ------------------------------------------------------------------


def test_a_lot_breaks_ties_and_nothing_else():
    values = np.array([3, 1, 1, 2, 1, 3, 0, 2, 1 + 1e-9, 1.0])
    found = scores.untied(values, 0)
    assert len(set(found)) == len(values)
    for i, j in product(range(len(values)), repeat=2):
        if values[i] < values[j]:
            assert found[i] < found[j]
    np.testing.assert_array_equal(found, scores.untied(values, 0))


def test_among_equals_everybody_comes_first_equally_often():
    equal = np.zeros(4)
    first = [int(scores.untied(equal, seed).argmin()) for seed in range(2000)]
    # Chi-square of four equal classes: 16.3 is passed once in a thousand.
    assert stats.chisquare(np.bincount(first, minlength=4)).statistic < 16.3


def test_a_lot_changes_the_picks_and_not_their_difficulty(shared, mini):
    """The same pool and as many of each class: equally difficult, but not the same."""
    one, other = (Pipeline(mini(ties=how, ipc=12)) for how in ("index", "random"))
    first, second = (next(iter(run.phases(0))) for run in (one, other))
    difficulty, labels = one.difficulty, one.train.labels.numpy()
    for c in range(10):
        mine = [r.chosen[labels[r.chosen] == c] for r in (first, second)]
        assert sorted(difficulty[mine[0]]) == sorted(difficulty[mine[1]])
        # Rows hold the difficulty itself, not the number that broke its ties.
        assert sorted(second.difficulty[labels[second.chosen] == c]) == sorted(
            difficulty[mine[1]]
        )
    assert set(first.chosen) != set(second.chosen)
    np.testing.assert_array_equal(first.pool, second.pool)
    np.testing.assert_array_equal(second.scores, difficulty)


def test_filters_learn_from_what_is_asked(house, mini):
    run = Pipeline(mini(filter_loss="hard"))
    record = next(iter(run.phases(0)))
    recipe = replace(run.experiment.recipe, tail=0.0, loss="hard")
    own = run.trained(run.distilled(1), recipe, 1, True)
    answers = own.tensors["predictions"].numpy()
    np.testing.assert_array_equal(answers, record.filter.predictions)
    # The evaluation still learns from the teacher, and both keys say so.
    run.evaluate(CCFS, 0)
    losses = {
        (entry["recipe"]["recipe"].get("loss"), entry["recipe"]["teacher"] is None)
        for entry in run.store.entries("train")
    }
    assert losses == {("hard", True), (None, False)}
    assert essential(recipe)["loss"] == "hard"


# -- arms ------------------------------------------------------------------------------


def test_a_short_random_set_has_ccfs_numbers_and_random_images(shared, mini):
    run = Pipeline(mini(ipc=60, curricula=2))
    ccfs, short = run.synthetic(CCFS, 0), run.synthetic("random-short", 0)
    assert short.class_sizes == ccfs.class_sizes
    assert min(ccfs.class_sizes) < 60, "no class ran dry: the test asks nothing"
    drawn = zip(run.random_real(60, 0).reshape(10, 60), ccfs.class_sizes, strict=True)
    wanted = np.concatenate([own[:size] for own, size in drawn])
    assert short.fingerprint == run.train.subset(wanted).fingerprint


def test_named_arms_change_the_last_training_alone(shared, mini):
    run = Pipeline(mini())
    assert [parse(arm).set for arm in FURTHER] == [
        *("short", "full", "distilled", "phases", "random", "distilled"),
        *("phases", "phases", "phases", "random", "selected", "selected"),
    ]
    assert parse("hard-misclassified").changes == {}
    for arm, same in (("ccfs-plain", CCFS), ("random-plain", "random")):
        assert run.synthetic(arm, 0).fingerprint == run.synthetic(same, 0).fingerprint
    row = run.evaluate("full-hard", 0)
    assert row["images"] == row["wanted"] == len(run.train)
    recipe = replace(run.experiment.recipe, augment="none")
    plain = run.trained(run.synthetic("random", 0), recipe, 999)
    assert run.evaluate("random-plain", 0)["last"] == plain.meta["last"]


# -- evidence --------------------------------------------------------------------------


def test_orders_that_the_best_epoch_turns_are_counted():
    table = pandas.concat(
        [
            rows(CCFS, [50.0, 51.0, 52.0], [50.5, 51.5, 52.5]),
            rows("random", [49.9, 50.9, 51.9], [50.9, 51.9, 52.9]),
            rows("distilled", [30.0, 31.0, 32.0], [30.0, 31.0, 32.0]),
        ]
    )
    text = str(evidence.epochs_answer(table, [CCFS, "random", "distilled"]))
    assert "adds 0.00 (distilled images only) to +1.00 points (random" in text
    assert "In 1 of 3\N{NO-BREAK SPACE}comparisons the order" in text
    line = str(evidence.epochs(table, [CCFS])).splitlines()[-3]
    assert line.endswith("| 51.0 ± 2.5 | 51.5 ± 2.5 | 0.50 ± 0.00 | +0.5 +0.5 +0.5 |")


ROW = {"seed": 0, "last": 50.0, "best": 51.0, "images": 200, "wanted": 200}


def given_sets(*images, scale="laptop"):
    """File sets of so many images, of 5,000 asked for, learned by both rules."""
    e = preset("cifar100", scale, ipc=50, batch_rule="released")
    for by, gain in (("images", 1), ("wanted", 0)):
        some = [
            {"seed": s, "last": 50 + s + gain + 0.1 * s * gain, "best": 60}
            | {"images": n, "wanted": 5000}
            for s, n in enumerate(images)
        ]
        side = e.changed(batch_size_by=by)
        config = side.hashed() | {"selected_from": "data/selected/theirs"}
        place = paths.results(), f"theirs-{by}", "selected"
        results.write(*place, config=config, rows=some, provenance={})


def test_one_set_with_two_batch_sizes_is_a_line(house):
    place = paths.results(), preset().run, "random"
    results.write(*place, config=preset().hashed(), rows=[ROW], provenance={})
    assert "No set of this book" in str(evidence.batches())
    given_sets(4998, 4998, 4998)
    (line,) = [x for x in str(evidence.batches()).splitlines() if "4,998" in x]
    assert "| resnet10-w16, cifar100 | 4,998 | 32 | " in line
    assert "| 64 | 51.0 ± 2.5 | +1.1 [" in line


def test_a_set_may_have_been_learned_in_the_run_that_selected_it(house):
    given_sets(4998, 4998, 4998)
    folder = paths.results()
    (folder / "theirs-images").rename(folder / "theirs")  # CCFS itself, by the images
    (folder / "theirs" / "selected.json").rename(folder / "theirs" / f"{CCFS}.json")
    (line,) = [x for x in str(evidence.batches()).splitlines() if "4,998" in x]
    assert "| resnet10-w16, cifar100 | 4,998 | 32 | " in line
    assert "| 64 | 51.0 ± 2.5 | +1.1 [" in line
    (folder / "theirs").rename(folder / "others")  # which selected other sets
    assert "No set of this book" in str(evidence.batches())


def test_a_full_set_has_one_batch_size(house):
    given_sets(5000, 5000, 5000)
    assert "No set of this book" in str(evidence.batches())


def test_of_several_sets_those_count_whose_batch_the_rule_changes(house):
    """At the paper's scale, too, rows without the setting go by the images."""
    given_sets(5000, 4998, 4994, scale="paper")
    (line,) = [x for x in str(evidence.batches()).splitlines() if "4,998" in x]
    assert "| 4,994 4,998 | 32 | 52.7 " in line and "| 64 | 51.5 " in line


def record(phase, chosen, shortfall=()):
    chosen = np.arange(chosen)
    return SimpleNamespace(
        phase=phase, quota=3, chosen=chosen, shortfall=dict.fromkeys(shortfall, 1)
    )


def test_ties_and_supply_are_means_over_seeds(monkeypatch):
    monkeypatch.setattr(evidence, "undecided", lambda _, r: len(r.chosen) // 2)
    stages = SimpleNamespace(
        train=SimpleNamespace(num_classes=4), experiment=SimpleNamespace(real=6)
    )
    runs = [
        [record(1, 12), record(2, 10, [0, 1])],
        [record(1, 11, [2]), record(2, 8, [2, 3])],
    ]
    tied = str(evidence.ties(stages, runs)).splitlines()
    assert "| 2 | 9 | 4 | 50.0" in tied[5] and "| 50 50 |" in tied[5]
    supply = str(evidence.supply(stages, runs)).splitlines()
    assert supply[4].startswith("| 1 | 12 | 12 | 0 |") and "0.5 of 4" in supply[4]
    # Of 24: 22 and 19. Short at last: classes 0 and 1; 2 and 3.
    assert supply[6].startswith("| all | 24 | 20 | 4 |") and "2.0 of 4" in supply[6]


def test_the_rule_under_two_teachers_is_a_difference_of_differences():
    strong = made([5.0, 6.0, 7.0], [5.0, 6.0, 7.0])
    weak = made([4.0, 5.0, 6.1], [2.0, 3.0, 4.0])
    text = str(evidence.teacher_answer({"veto": strong, "weak": weak}))
    assert "has no effect here" in text and "**raises accuracy**" in text
    assert "with the weak teacher: **holds** (+2.0" in text


def test_the_answer_names_what_moves():
    still = made([5.0, 4.0, 5.0], [4.0, 5.0, 4.5], "still")
    moved = made([7.0, 7.1, 7.2], [4.0, 4.0, 4.1], "moved")
    same = made([1.0, 2.0], [1.0, 2.0], "same")
    own = {"epoch": moved, "ties": still, "short": same, "control": still}
    text = str(unsaid.answer({**own, "whole": moved}))
    assert "Of 3\N{NO-BREAK SPACE}choices that the paper leaves open, 1 has an" in text
    assert "moved (+3.1)" in text and "the 2 intervals were independent" in text
    assert "probability of 10" in text  # 1 - 0.95^2
    assert "does not apply" in str(unsaid.said(own, "filters"))


def test_the_chapter_from_its_parameters_to_its_answer(shared, mini):
    run = Pipeline(mini())
    for arm in unsaid.ARMS:
        run.measure(arm)
    own = unsaid.arms(run.experiment)
    assert own == [CCFS, "random", "distilled", "random-hard", "ccfs-hard"]
    asked = unsaid.questions(run.experiment)
    found = unsaid.measure(run, asked)
    measured = unsaid.effects(arms.read(run.experiment, unsaid.ARMS), found, asked)
    assert list(measured) == list(unsaid.NAMED)
    one = Pipeline(asked["filters"][1]).evaluate(CCFS, 0)["last"]
    assert measured["filters"].right == [one]
    assert "7\N{NO-BREAK SPACE}choices" in str(unsaid.answer(measured))
    assert "| weak | 1 |" in str(evidence.teachers(run, asked))
