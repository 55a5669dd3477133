"""The table of arms, and a selection rule of the user's own."""

import json

import numpy as np
import pytest
from conftest import small

from ccfs_lib import arms, curriculum, sweep
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.select import coarse_to_fine

RULE = '''
import numpy as np

def lowest(labels, predictions, scores, quota, excluded):
    """Of what the filter gets wrong, the lowest indices of each class."""
    wrong = np.flatnonzero(predictions != labels)
    wrong = np.setdiff1d(wrong, excluded)
    return np.concatenate([wrong[labels[wrong] == c][:quota] for c in range(10)])

def ccfs(labels, predictions, scores, quota, excluded):
    from ccfs_lib.select import coarse_to_fine
    return coarse_to_fine(labels, predictions, scores, quota, excluded=excluded)
'''


def test_names_are_parsed_into_what_is_compared():
    assert len({arm.name for arm in arms.ARMS}) == len(arms.ARMS)
    assert {a.name for a in arms.ARMS if a.protocol} == {"random-selmatch"}
    assert not any(arm.rule for arm in arms.ARMS)
    palette = ("blue", "sky", "orange", "green", "grey")
    assert all(arm.colour in palette for arm in arms.ARMS)
    assert arms.BY_NAME[arms.CCFS].colour == "blue"
    assert {*arms.STRATEGIES, *arms.CONTROLS, *arms.FURTHER, *arms.SECTION3} == {
        *arms.BY_NAME
    }
    for name in arms.STRATEGIES:
        coarse, fine = arms.parse(name).strategy
        assert name == f"{fine}-{coarse}" and arms.parse(name).needs_phases
    assert arms.parse("random-hard").changes == {"loss": "hard"}
    assert arms.parse("ccfs-plain").changes == {"augment": "none", "flip": False}
    assert not arms.parse("random").needs_phases and arms.parse("random").changes == {}
    e = small(ipc=10, alpha=0.2)
    counts = {name: arms.parse(name).distilled(e) for name in arms.CONTROLS}
    assert counts == {"random": 0, "distilled": 10, "random-hard": 0, "ccfs-hard": 2}


@pytest.mark.parametrize("name", ["selmatch", "simple", "", "nowhere:rule"])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="arm is "):
        arms.parse(name, small())


@pytest.fixture
def rules(house, monkeypatch):
    """A module of the user's in the working folder."""
    (house / "my_rules.py").write_text(RULE)
    monkeypatch.chdir(house)
    return house


def test_a_rule_that_is_ccfs_chooses_what_ccfs_chooses(rules):
    run = Pipeline(small())
    one, other = (list(run.phases(0, s)) for s in (None, "my_rules:ccfs"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.chosen, b.chosen)
    row = run.evaluate("my_rules:ccfs", 0)
    assert row == {k: run.evaluate("simple-misclassified", 0)[k] for k in row}


def test_a_rule_is_swept_in_other_processes_like_any_arm(rules):
    paths = sweep.sweep(small(), ("my_rules:lowest", "random"), workers=2)
    assert sorted(p.name for p in paths) == ["my_rules.lowest.json", "random.json"]
    filed = json.loads(
        next(p for p in paths if p.stem == "my_rules.lowest").read_text()
    )
    assert filed["config"]["rule"] == "my_rules:lowest"
    assert len(filed["config"]["rule_source"]) == 64
    assert filed["rows"] == [Pipeline(small()).evaluate("my_rules:lowest", 0)]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ([0, 0], "different indices"),
        ([0.5], "different indices"),
        ([10**6], "different indices"),
        ([[1, 2]], "different indices"),
        ("all", "images of one class, but the quota is 2"),
        ("taken", "told to leave out"),
    ],
)
def test_what_a_rule_must_not_return(digits, returned, text):
    train = digits[0]

    def rule(labels, predictions, scores, quota, excluded):
        if returned == "taken":
            return excluded[:1]
        return np.arange(len(labels)) if returned == "all" else np.array(returned)

    phases = curriculum.run(
        train,
        train.subset([0]),
        np.zeros(len(train)),
        [2],
        lambda *_: curriculum.ignorant(train),
        excluded=[] if returned == "all" else [5],
        rule=rule,
    )
    with pytest.raises(InputError, match=text):
        next(phases)


def test_a_rule_leaves_out_what_the_teacher_gets_wrong(digits):
    train, seen = digits[0], []
    labels = train.labels.numpy()
    teacher = np.where(np.arange(len(labels)) < 100, (labels + 1) % 10, labels)

    def rule(labels, predictions, scores, quota, excluded):
        seen.append(excluded)
        return coarse_to_fine(labels, predictions, scores, quota, excluded=excluded)

    arguments = train, train.subset([0]), np.zeros(len(train)), [2]
    ask = {"rule": rule, "teacher_predictions": teacher}
    record = next(
        curriculum.run(*arguments, lambda *_: curriculum.ignorant(train), **ask)
    )
    assert seen[0].tolist() == list(range(100)) and record.chosen.min() >= 100


def test_random_images_by_selmatchs_protocol(house):
    run = Pipeline(small())
    row = run.evaluate("random-selmatch", 0)
    (entry,) = run.store.entries("train")
    recipe = presets.evaluation("digits", "digits", 4)
    assert entry["recipe"]["recipe"]["epochs"] == recipe.epochs
    assert entry["recipe"]["dsa"] and "teacher" not in entry["recipe"]
    assert row["images"] == 40 and run.evaluate("random-hard", 0) != row


def test_alpha_0_has_no_classified_images_to_begin_with():
    with pytest.raises(InputError, match="'hard-classified', but its first phase has"):
        arms.parse("hard-classified", small(alpha=0.0))
    assert (
        arms.parse("hard-misclassified", small(alpha=0.0)).strategy[0]
        == "misclassified"
    )
