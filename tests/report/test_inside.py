"""Chapter 10 on made-up phases: medians, overlaps, shortfalls, conclusions."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ccfs_lib.curriculum import Filter, PhaseRecord
from ccfs_lib.report import inside


def record(phase, chosen, difficulty, train=50.0, test=40.0, shortfall=(), pool=()):
    scores = np.zeros(1 + max(chosen, default=0))
    scores[list(chosen)] = difficulty
    return PhaseRecord(
        phase=phase,
        quota=2,
        synthetic=4,
        filter=Filter(np.zeros(0, int), np.zeros(0), test),
        train_accuracy=train,
        candidates=np.isin(np.arange(8), pool),
        pool=np.array([3, 3]),
        scores=scores,
        ranking=np.zeros(0, np.int64),
        chosen=np.array(chosen, dtype=np.int64),
        shortfall=dict(shortfall),
        coarse="misclassified",
        fine="simple",
    )


def course(accuracies, difficulties):
    """One seed's phases with these accuracies and picks of these difficulties."""
    pairs = zip(accuracies, difficulties, strict=True)
    return [record(i + 1, range(len(d)), d, a, a - 5) for i, (a, d) in enumerate(pairs)]


def test_the_middle_is_that_of_the_class():
    labels = np.array([0, 1] * 5)
    r = record(1, [8, 0, 6, 2, 4, 1], [5, 4, 3, 2, 1, 0])  # class 0: 4 2 6 0 8
    assert inside._middle(r, labels, 0, 1).tolist() == [6]
    assert inside._middle(r, labels, 0, 3).tolist() == [2, 6, 0]
    assert inside._middle(r, labels, 0, 9).tolist() == [4, 2, 6, 0, 8]
    assert inside._middle(r, labels, 1, 2).tolist() == [1]


def test_steps_are_paired_by_seed():
    runs = [course([10 + s, 20 + s, 20 + 2 * s], [[0], [1], [2]]) for s in range(3)]
    first, second = inside.steps(runs, lambda r: r.train_accuracy)
    assert (first.mean, first.half) == (10, 0)  # the same rise in every seed
    assert second.mean == pytest.approx(1) and second.half > 1


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([[10, 20], [10.1, 20.3], [10, 20.2]], "accuracy on the training images"),
        ([[20, 10], [20.1, 10], [20, 10.2]], "None of the rises of Figure 4 holds"),
        ([[10, 20], [20, 10], [15, 16]], "None of the rises of Figure 4 holds"),
    ],
)
def test_a_rise_counts_where_it_is_larger_than_the_spread(accuracies, said):
    runs = [course(a, [[1, 2], [1, 2]]) for a in accuracies]
    text = str(inside.answer(SimpleNamespace(), runs))
    assert said in text.split("\n")[0]
    assert "0.0 in every seed" in text  # the difficulties
    assert "higher IPC" in text and "not measured here" in text


def test_one_phase_and_nothing_picked_are_told():
    assert "only one phase" in str(inside.answer(None, [course([10], [[1]])]))
    empty = [course([10, 20], [[1], []])]
    assert "no image was selected" in str(inside.answer(None, empty))


def test_one_seed_has_no_interval():
    text = str(inside.answer(None, [course([10, 20], [[1], [2]])]))
    assert "no interval from a single seed" in text and "+1.00, one seed" in text
    assert "is not tested: so few seeds (1\N{NO-BREAK SPACE}seed)" in text
    assert "1 holds from every" in inside._rises(["the filter's accuracy"], 3)


def test_two_seeds_have_none_in_any_measure():
    two = [course([10, 20], [[1], [2]]), course([10, 21], [[1], [4]])]
    text = str(inside.answer(None, two))
    assert "+2.00, two seeds" in text and "[" not in text


def stages(labels):
    train = SimpleNamespace(labels=torch.tensor(labels), classes=("cat", "dog"))
    e = SimpleNamespace(teacher_correct=False, coarse="misclassified")
    return SimpleNamespace(train=train, experiment=e, difficulty=np.zeros(len(labels)))


def test_overlaps_by_hand():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    first, then = [0, 1, 2, 3], [2, 4]  # candidates
    one = [record(1, [3], [0], pool=first), record(2, [2], [0], pool=then)]
    other = [record(1, [3], [0], pool=first), record(2, [4], [0], pool=then)]
    text = str(inside.overlaps(stages(labels), [one, other]))
    rows = [
        re.split(r"\s*\|\s*", line)[1:-1] for line in text.split("\n") if "|" in line
    ]
    space = "\N{NO-BREAK SPACE}"
    assert rows[2] == ["1", "4", "", f"100{space}%", f"100{space}%"]
    assert rows[3] == ["2", "2", f"50{space}%", f"100{space}%", f"0{space}%"]


def test_short_classes_are_summed_over_phases_and_seeds():
    runs = [
        [record(1, [0], [1], shortfall={1: 2}), record(2, [0], [1], shortfall={1: 1})],
        [record(1, [0], [1], shortfall={0: 1}), record(2, [0], [1])],
    ]
    text = str(inside.short_classes(stages([0, 1]), runs))
    lines = [line for line in text.split("\n") if line.startswith(("| dog", "| cat"))]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["2 of 4", "3"],
        ["1 of 4", "1"],
    ]
    full = [[record(1, [0], [1])]]
    assert "No class has a shortfall" in str(inside.short_classes(stages([0, 1]), full))


def test_every_figure_of_a_real_run(mini, house):
    from ccfs_lib.pipeline import Pipeline

    run = Pipeline(mini(seeds=2))
    found = inside.read(run)
    assert [len(records) for records in found] == [2, 2]
    for figure in (
        inside.growth(found),
        inside.climb(found),
        inside.median_images(run, found),
        inside.whole_set(run, found),
    ):
        assert figure._repr_png_()[0].startswith(b"\x89PNG")
    assert "Finding" in str(inside.answer(run, found))
