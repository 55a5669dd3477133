"""Chapter 10 on made-up phases: medians, overlaps, shortfalls, conclusions."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ccfs_lib.curriculum import Filter, PhaseRecord
from ccfs_lib.report import inside

SCORED = SimpleNamespace(difficulty=np.zeros(1))  # stages with a score of their own


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
        ([[20, 10], [20.1, 10], [20, 10.2]], "None of the rises of Figure 4 has"),
        ([[10, 20], [20, 10], [15, 16]], "None of the rises of Figure 4 has"),
    ],
)
def test_a_rise_counts_where_its_interval_is_above_zero(accuracies, said):
    runs = [course(a, [[1, 2], [1, 2]]) for a in accuracies]
    text = str(inside.answer(SCORED, runs))
    assert said in text.split("\n")[0]
    assert "0.0 in every seed" in text  # the difficulties
    assert "higher IPC" in text and "not measured here" in text


def test_one_phase_and_nothing_picked_are_told():
    assert "only one phase" in str(inside.answer(None, [course([10], [[1]])]))
    empty = [course([10, 20], [[1], []])]
    assert "no image was selected" in str(inside.answer(None, empty))


def test_one_seed_has_no_interval():
    text = str(inside.answer(SCORED, [course([10, 20], [[1], [2]])]))
    assert "no interval from a single seed" in text and "+1.00, one seed" in text
    assert "is not tested: so few seeds (1\N{NO-BREAK SPACE}seed)" in text
    assert "1 holds from every" in inside._tally([("accuracy", "", True)], 3)


def test_two_seeds_have_none_in_any_measure():
    two = [course([10, 20], [[1], [2]]), course([10, 21], [[1], [4]])]
    text = str(inside.answer(SCORED, two))
    assert "+2.00, two seeds" in text and "[" not in text


def blind(runs):
    """The same, but that nothing has trained the first phase's filter (alpha 0)."""
    return [[replace(r[0], synthetic=0, train_accuracy=0.0), *r[1:]] for r in runs]


def test_a_phase_without_a_filter_has_no_accuracy():
    runs = blind([course([0, 70 + s, 90 + s], [[1], [2], [3]]) for s in range(3)])
    text = str(inside.answer(SCORED, runs))
    assert "There is no filter in phase 1: alpha is 0" in text
    assert "training images: phase 2 to 3: +20.0 in every seed" in text
    assert "difficulty of the selected images: phase 1 to 2: +1.0" in text
    ax = inside.growth(runs).axes[0]
    assert list(ax.lines[0].get_xdata()) == [2, 3]
    assert list(ax.get_xticks()) == [1, 2, 3]
    assert "no filter" in str(inside.growth([records[:1] for records in runs]))
    two = blind([course([0, 70 + s], [[1], [2]]) for s in range(3)])
    text = str(inside.answer(SCORED, two))
    assert "Of the 3 rises of Figure 4 that can be compared here, 3 hold" in text
    assert "accuracy on the" not in text


def test_candidates_of_a_phase_without_a_filter_are_not_compared():
    runs = blind([[record(1, [0], [0], pool=range(8)), record(2, [1], [0], pool=[1])]])
    text = str(inside.overlaps(stages([0, 1]), [*runs, *runs]))
    assert "Phase 1 has no filter (alpha 0)" in text
    rows = [line for line in text.split("\n") if line.startswith(("| 1 ", "| 2 "))]
    assert rows[0].startswith("| 1 | 8 |  |  | ") and rows[1].startswith("| 2 | 1 |  |")


def test_logits_of_two_filters_are_not_compared():
    runs = [course(a, [[1], [2]]) for a in ([10, 20], [10, 30], [20, 10])]
    text = str(inside.answer(SimpleNamespace(difficulty=None), runs))
    assert "no common scale" in text and "difficulty selected: phase" not in text
    assert "None of the rises of Figure 4 that can be compared here" in text
    assert "no common scale" in inside.climb(runs).axes[0].get_xlabel()


def test_every_seed_has_a_colour_and_one_phase_an_axis():
    runs = [course([10], [[1, 2]]) for _ in range(5)]
    ax = inside.climb(runs).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert len({line.get_color() for line in dots}) == 5
    assert ax.get_xlim() == (0.5, 1.5) and list(ax.get_xticks()) == [1]
    assert inside.growth(runs).axes[0].get_xlim() == (0.5, 1.5)


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
