"""Arms that tell the two parts of distilled images: in the filters, in the set."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import small

from ccfs_lib.arms import CCFS, parse
from ccfs_lib.commands.forecast import forecast
from ccfs_lib.errors import InputError
from ccfs_lib.pipeline import Pipeline

PARTS = ("ccfs-filters", "ccfs-set", "ccfs-neither")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("CCFS_CACHE", str(tmp_path_factory.mktemp("parts")))
    patch.setenv("CCFS_RESULTS", str(tmp_path_factory.mktemp("results")))
    yield Pipeline(small(ipc=8, seeds=2))
    patch.undo()


def halves(run, arm: str, seed: int):
    """The part in the place of distilled images, and the selected part: pixels."""
    images, number = run.synthetic(arm, seed).images, run.experiment.distilled * 10
    return images[:number], images[number:]


@pytest.mark.parametrize("seed", [0, 1])
def test_sets_share_what_their_names_say(run, seed):
    ccfs, first, of_set, neither = (halves(run, a, seed) for a in (CCFS, *PARTS))
    assert {len(part) for part, _ in (ccfs, first, of_set, neither)} == {20}
    assert ccfs[0].equal(of_set[0]) and not ccfs[0].equal(first[0])
    assert ccfs[1].equal(first[1]) and of_set[1].equal(neither[1])
    assert not ccfs[1].equal(of_set[1])


@pytest.mark.parametrize(
    ("arm", "distilled"), [("ccfs-filters", True), ("ccfs-neither", 0)]
)
def test_random_images_fill_the_place_and_repeat_none(run, arm, distilled):
    chosen = run.chosen(1, distilled=bool(distilled))
    filled, _ = halves(run, arm, 1)
    drawn = run.random_real(30, 1).reshape(10, 30)
    wanted = [[i for i in own if i not in set(chosen)][:2] for own in drawn]
    assert run.train.subset(np.concatenate(wanted)).images.equal(filled)
    labels = run.synthetic(arm, 1).labels
    assert labels[:20].tolist() == np.repeat(range(10), 2).tolist()


def test_a_curriculum_begun_from_nothing_is_algorithm_1_on_no_images(run):
    records = list(run.phases(0, distilled=False))
    assert [r.synthetic for r in records] == [0, records[0].quota * 10]
    labels, right = run.train.labels.numpy(), run.teacher.predictions
    able = np.flatnonzero(right == labels)
    easiest = able[np.argsort(run.difficulty[able], kind="stable")]
    for c in range(10):  # it gets every image wrong, so the easiest of all are taken
        own = easiest[labels[easiest] == c][: records[0].quota]
        assert set(own) == set(records[0].chosen[labels[records[0].chosen] == c])
    # The next filter has learnt these alone, by the experiment's recipe.
    recipe = replace(run.experiment.recipe, tail=0.0)
    done = run.trained(run.train.subset(records[0].chosen), recipe, 2, answers=True)
    answers = done.tensors["predictions"].numpy()
    assert np.array_equal(records[1].filter.predictions, answers)


def test_filters_that_two_arms_share_are_priced_once(run):
    e = small(ipc=12, curricula=3)
    lines = {line.name: line for line in forecast([e], (CCFS, *PARTS))[e]}
    ccfs, first, of_set, neither = (lines[arm].seconds for arm in (CCFS, *PARTS))
    assert ccfs > of_set > neither == pytest.approx(first)


def test_rows_tell_images_and_agreement_where_there_are_any(run):
    rows = {arm: run.evaluate(arm, 0) for arm in PARTS}
    assert all(75 < r["images"] <= r["wanted"] == 80 for r in rows.values())
    assert "agreement" in rows["ccfs-set"]
    assert not {"agreement", "phases"} & set(
        rows["ccfs-filters"] | rows["ccfs-neither"]
    )
    needed = [parse(arm).distilled(run.experiment) for arm in PARTS]
    assert needed == [2, 2, 0]


@pytest.mark.parametrize("arm", PARTS)
def test_without_distilled_images_there_is_nothing_to_tell(arm):
    with pytest.raises(InputError, match=rf"arm is '{arm}', but alpha is 0: without"):
        parse(arm, small(alpha=0.0))
