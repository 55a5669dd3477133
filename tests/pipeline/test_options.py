"""Options that later work stands on: what each of them changes, and what it leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small

from ccfs_lib.data import split
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.experiment.settings import SETTINGS, SHORTHANDS
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.store import Store


def test_every_stage_of_a_setting_is_one_that_exists():
    stages = {"data", "teacher", "images", "filter", "choice", "evaluation", ""}
    assert {s.stage for s in SETTINGS.values()} == stages
    e = small()
    parts = [e.part(stage) for stage in stages]
    assert sum(map(len, parts)) == len(e.hashed())  # each setting in one part


@pytest.mark.parametrize(
    ("changes", "part", "field", "value"),
    [
        ({"precision": "bf16"}, "recipe", "precision", "bf16"),
        ({"teacher_precision": "bf16"}, "teacher", "precision", "bf16"),
        ({"iterations": 7}, "distillation", "iterations", 7),
        ({"recovery_batch": 9}, "distillation", "batch_size", 9),
        ({"method": "sre2l"}, "distillation", "method", "sre2l"),
    ],
)
def test_short_options_change_one_field(changes, part, field, value):
    assert set(changes) <= set(SHORTHANDS)
    changed = preset(**changes)
    assert getattr(getattr(changed, part), field) == value
    assert changed.run != preset().run


def test_what_is_held_out_is_tested_on_and_never_seen(digits, house):
    run = Pipeline(small(holdout=0.2))
    whole = digits[0]
    kept, held = split(whole, 0.2)
    assert sorted([*kept, *held]) == list(range(len(whole)))
    assert torch.equal(run.train.images, whole.images[torch.from_numpy(kept)])
    assert torch.equal(run.test.images, whole.images[torch.from_numpy(held)])
    for size, count in zip(whole.class_sizes, run.test.class_sizes, strict=True):
        assert count == round(0.2 * size)
    assert run.difficulty.shape == (len(kept),)


def test_a_score_file_follows_what_is_kept(house, digits):
    scores = np.random.default_rng(0).random(len(digits[0]))
    np.save(house / "own.npy", scores)
    run = Pipeline(small(holdout=0.3, score=str(house / "own.npy")))
    kept, _ = split(digits[0], 0.3)
    assert run.difficulty.tolist() == scores[kept].tolist()


def test_a_holdout_that_empties_a_class_is_refused(digits):
    one = digits[0].subset([0, 1, 2])
    with pytest.raises(InputError, match=r"holdout is 0\.4, but class .* keep none"):
        split(one, 0.4)


def test_other_teachers_share_no_training(house):
    e = small(score="forgetting", score_runs=2)
    seeds = [set(replace(e, teacher_seed=n).squeeze_seeds) for n in range(3)]
    assert [len(s) for s in seeds] == [2, 2, 2] and len(set.union(*seeds)) == 6
    store = Store(house / "cache")
    one, other = (Pipeline(replace(e, teacher_seed=n), store) for n in (0, 1))
    assert one.teacher.key != other.teacher.key
    assert not torch.equal(one.distilled(1).images, other.distilled(1).images)


def test_another_teacher_for_the_evaluation_changes_the_evaluation_alone(house):
    store = Store(house / "cache")
    one = Pipeline(small(), store)
    other = Pipeline(small(evaluation_teacher="convnet-8"), store)
    rows = [run.evaluate("simple-misclassified", 0) for run in (one, other)]
    assert rows[0]["phases"] == rows[1]["phases"]
    assert other.evaluator.key != other.teacher.key == one.teacher.key
    assert other.experiment.run != one.experiment.run
    teachers = [entry["recipe"]["teacher"] for entry in store.entries("train")]
    assert teachers.count(other.evaluator.key) == 1
    assert one.evaluator is one.teacher


def test_a_compiled_step_has_a_key_of_its_own(house):
    run, compiled = (Pipeline(small(engine=e)) for e in ("", "compile"))
    recipe = run.experiment.recipe
    keys = [p.trainings.key("convnet-8", recipe, 0, p.train) for p in (run, compiled)]
    other = {"engine": "compile", "compiled": "full batches, teacher too"}
    assert keys[1] == keys[0] | other
    plain = Pipeline(small(engine="plain"))
    assert plain.trainings.key("convnet-8", recipe, 0, run.train) == keys[0]


def sizes(stages, monkeypatch) -> list[tuple[int, int]]:
    """Images and wanted images of every training that CCFS asks for, in order."""
    seen, trained = [], stages.trainings.trained

    def noted(synthetic, *arguments, wanted=0, **options):
        seen.append((len(synthetic), wanted))
        return trained(synthetic, *arguments, wanted=wanted, **options)

    monkeypatch.setattr(stages.trainings, "trained", noted)
    stages.evaluate("simple-misclassified", 0)
    return seen[:3]  # two filters and the evaluation


def test_batches_may_go_by_the_size_that_was_asked_for(tmp_path, monkeypatch):
    plain = sizes(Pipeline(small(), Store(tmp_path)), monkeypatch)
    assert [wanted for _, wanted in plain] == [0, 0, 0]
    asked = sizes(Pipeline(small(batch_size_by="wanted"), Store(tmp_path)), monkeypatch)
    assert [wanted for _, wanted in asked] == [10, 30, 40]
    assert [made for made, _ in asked] == [made for made, _ in plain]


def test_two_images_short_keep_the_batch_of_the_whole_set(digits, tmp_path):
    """10 % of the digits are 135.2 images, where the code's rule leaves 32 for 64."""
    short = digits[0].subset(range(134))
    batches = []
    for by in ("images", "wanted"):
        e = small(batch_size_by=by, batch_rule="released", epochs=1)
        stages = Pipeline(e, Store(tmp_path))
        recipe = replace(e.recipe, loss="hard")
        stages.trained(short, recipe, 0, wanted=136)
        batches.append(
            {
                entry["recipe"]["recipe"].get("batch_size", 64)
                for entry in stages.store.entries("train")
            }
        )
    assert batches == [{32}, {32, 64}]


def test_the_size_asked_for_is_in_the_name_and_the_letter_of_the_code_is_not():
    assert "by-wanted" in preset(batch_size_by="wanted").run
    assert preset(batch_size_by="images").run == preset().run
    assert "batch_size_by" not in preset().hashed()
