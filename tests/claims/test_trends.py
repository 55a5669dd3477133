"""Claims over several runs or phases, on made-up rows with known answers."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from scipy import stats

from ccfs_lib import paper, results
from ccfs_lib.claims.evidence import source
from ccfs_lib.claims.ledger import ledger, weigh
from ccfs_lib.claims.trends import TRENDS

ROOT = Path(__file__).parents[2]

CLAIMS = {claim.id: claim for claim in paper.claims().itertuples()}
CCFS = "simple-misclassified"
BASE = {
    "dataset": "cifar10-jpeg",
    "scale": "laptop",
    "network": "convnet",
    "alpha": 0.6,
    "recipe.epochs": 100,
    "beta": 0.8,
    "ipc": 20,
}


def arm(cell, last, **settings):
    own = BASE | {"cell": cell} | settings
    own["run"] = f"ipc{own['ipc']}-beta{own['beta']}"
    return [own | {"seed": i, "last": v, "best": v} for i, v in enumerate(last)]


def one(claim, *arms):
    rows = pandas.DataFrame(list(itertools.chain(*arms)), dtype=object)
    (line,) = weigh(CLAIMS[claim], rows)
    return line


def interval(values, level=0.95):
    """Mean and t interval, by scipy."""
    mean, error = np.mean(values), stats.sem(values)
    low, high = stats.t.interval(level, len(values) - 1, mean, error)
    return SimpleNamespace(mean=mean, low=low, high=high)


def same(line, expected):
    """Whether a line of the ledger shows an interval."""
    shown = line.difference, line.low, line.high
    return shown == pytest.approx((expected.mean, expected.low, expected.high))


OVER_IPC = [
    *(
        arm("selmatch", [50.0, 51.0, 52.0], ipc=10),
        arm("reverse", [51, 52.4, 53], ipc=10),
    ),
    *(
        arm("selmatch", [60.0, 61.0, 62.0], ipc=20),
        arm("reverse", [63, 63.8, 65], ipc=20),
    ),
    *(
        arm("selmatch", [66.0, 67.0, 68.0], ipc=40),
        arm("reverse", [71, 72.2, 73], ipc=40),
    ),
]
GAINS = np.array([[1, 1.4, 1], [3, 2.8, 3], [5, 5.2, 5]])  # IPC x seeds


def test_a_mean_over_ipc_is_taken_within_a_seed():
    line, expected = one("reverse-mean", *OVER_IPC), interval(GAINS.mean(0))
    assert line.verdict == "holds" and line.seeds == 3 and np.isnan(line.ipc)
    assert line.levels == (10, 20, 40) and same(line, expected)


def test_a_maximum_is_the_largest_gain_with_an_interval_for_all():
    line, expected = one("reverse-max", *OVER_IPC), interval(GAINS[2])
    assert line.verdict == "holds" and line.ipc == 40
    assert line.difference == pytest.approx(expected.mean)
    # "Somewhere above" may be wrong at each of three; "nowhere above" only at the best.
    assert line.low == pytest.approx(interval(GAINS[2], 1 - 0.05 / 3).low)
    assert line.high == pytest.approx(expected.high)
    # One setting shows it, against the others; none does; all show the opposite.
    low = arm("selmatch", [60, 61, 62.0]), arm("reverse", [50, 51, 52.4])
    assert one("reverse-max", *OVER_IPC[4:], *low).verdict == "holds"
    wide = arm("selmatch", [60, 61, 62.0], ipc=10), arm("reverse", [60, 61, 65], ipc=10)
    assert one("reverse-max", *wide, *low).verdict == "too close to call"
    lost = [[r | {"last": r["last"] - 20} for r in part] for part in OVER_IPC[1::2]]
    line = one("reverse-max", *OVER_IPC[::2], *lost)
    assert line.verdict == "does not hold" and line.ipc == 40


def test_growing_is_a_slope_per_doubling():
    both = [
        arm("two-shot", [r["last"] for r in part], ipc=part[0]["ipc"])
        for part in OVER_IPC[1::2]
    ]  # the same gains twice: their mean is one of them
    line = one("variants-gain-grows", *OVER_IPC, *both)
    # Equal steps of log IPC: the slope is half of the last gain minus the first.
    expected = interval((GAINS[2] - GAINS[0]) / 2)
    assert line.verdict == "holds" and same(line, expected)


OVER_BETA = [
    *(
        arm("selmatch", [34, 33, 35], beta=0.2),
        arm("reverse", [45, 44, 46.5], beta=0.2),
    ),
    *(
        arm("selmatch", [40, 41, 42], beta=0.4),
        arm("reverse", [44, 46, 45.0], beta=0.4),
    ),
    *(
        arm("selmatch", [43, 44, 43], beta=0.8),
        arm("reverse", [44, 43, 45.0], beta=0.8),
    ),
]


def test_steadiness_compares_spreads_over_the_windows():
    line = one("reverse-stable-beta", *OVER_BETA)
    wide = {
        name: np.array([[r["last"] for r in part] for part in OVER_BETA[i::2]], float)
        for i, name in enumerate(("selmatch", "reverse"))
    }
    spread = {name: values.std(0, ddof=1) for name, values in wide.items()}
    expected = interval(spread["selmatch"] - spread["reverse"])
    assert line.verdict == "holds" and same(line, expected)


def test_every_window_has_to_be_won():
    line = one("reverse-every-beta", *OVER_BETA)
    assert line.verdict == "too close to call"  # at 0.8 the seeds disagree
    closest = interval(np.subtract([44, 43, 45.0], [43, 44, 43]))
    assert line.difference == pytest.approx(closest.mean)
    assert one("reverse-every-beta", *OVER_BETA[:4]).verdict == "holds"
    lost = (
        arm("selmatch", [50, 49, 51.2], beta=0.9),
        arm("reverse", [44, 43, 45], beta=0.9),
    )
    assert one("reverse-every-beta", *OVER_BETA, *lost).verdict == "does not hold"


def phases(*courses, cell=CCFS, **settings):
    """Rows of CCFS with figures of phases: a course is {name: values by phase}."""
    rows = []
    for seed, course in enumerate(courses):
        row = arm(cell, [70.0], **settings)[0] | {"seed": seed}
        for name, values in course.items():
            row |= {f"phases.{i}.{name}": v for i, v in enumerate(values, 1)}
        rows.append(row)
    return rows


def test_a_course_rises_where_every_step_does():
    up = phases(*({"train": [30 + s, 60, 67 + s / 2]} for s in range(3)))
    line = one("filter-train-accuracy-rises", up)
    assert line.verdict == "holds"
    closest = interval([7, 7.5, 8])  # of the two steps
    assert line.difference == pytest.approx(closest.mean)
    back = phases(*({"train": [30 + s, 60, 50 + s]} for s in range(3)))
    assert one("filter-train-accuracy-rises", back).verdict == "does not hold"


def test_ablations_are_no_further_witnesses_of_a_course():
    rows = phases(*({"train": [30 + s, 60, 67 + s / 2]} for s in range(3)))
    own = [row | {"run": "cifar10-jpeg-ipc20"} for row in rows]
    ablation = [row | {"run": "cifar10-jpeg-ipc20-j2", "alpha": 0.4} for row in rows]
    assert one("filter-train-accuracy-rises", own, ablation).run == own[0]["run"]
    assert one("filter-train-accuracy-rises", ablation).run == ablation[0]["run"]


def test_both_bounds_have_to_rise():
    rows = phases(*({"low": [0, 0, 0], "high": [1 + s / 9, 2, 3]} for s in range(3)))
    line = one("difficulty-bounds-rise", rows)  # a lowest of 0 cannot be lower
    assert line.verdict == "holds"
    lows = ([1, 1 - s, 2] for s in range(3))
    rows = phases(
        *({"low": low, "high": [1 + s / 9, 2, 3]} for s, low in enumerate(lows))
    )
    assert one("difficulty-bounds-rise", rows).verdict == "too close to call"


def test_the_same_two_values_in_every_seed_are_no_test():
    """A deterministic selection once was a clear result, +0.009 [+0.009, +0.009]."""
    bounds = "difficulty-bounds-rise"
    rows = phases(*({"low": [0, 1, 2], "high": [1 + s / 9, 2, 3]} for s in range(3)))
    line = one(bounds, rows)  # by its only part with a spread
    assert line.verdict == "holds" and same(line, interval([1, 8 / 9, 7 / 9]))
    assert line.note.startswith("3 of its 4 parts have the same two values in every se")
    # A part that does not rise withholds the verdict, and is no test either.
    rows = phases(*({"low": [1, 1, 2], "high": [1 + s / 9, 2, 3]} for s in range(3)))
    line = one(bounds, rows)
    assert line.verdict == "too close to call"
    assert line.note.endswith("which is no test (1 of them not above zero)")
    # Without any spread there is no line; a single seed is no such case.
    rows = phases(*[{"low": [1, 2, 3], "high": [1, 2, 3]}] * 3)
    line = one(bounds, rows)
    assert line.verdict == "not tested here" and "same two values" in line.missing
    assert one(bounds, rows[:1]).verdict == "too close to call"


def test_difficulties_without_distilled_images_are_not_the_papers():
    def both(**more):
        low = phases(*({"mean": [1.0 + s / 9]} for s in range(3)), ipc=10, **more)
        high = phases(*({"mean": [1.5 + s / 9]} for s in range(3)), ipc=20, **more)
        return low, high

    assert one("higher-ipc-harder", *both(), *both(alpha=0.0)).alpha == 0.6
    assert one("higher-ipc-harder", *both(alpha=0.0)).verdict == "not tested here"


def test_higher_ipc_is_compared_phase_by_phase():
    low = phases(*({"mean": [1.0 + s / 9, 2.0]} for s in range(3)), ipc=10)
    high = phases(*({"mean": [1.5 + s / 9, 2.6 + s / 9]} for s in range(3)), ipc=20)
    line = one("higher-ipc-harder", low, high)
    assert line.verdict == "holds" and line.difference == pytest.approx(0.5)
    assert one("higher-ipc-harder", low).verdict == "not tested here"


@pytest.mark.parametrize("claim", sorted(TRENDS))
def test_without_its_rows_a_trend_is_not_tested(claim):
    for rows in (OVER_IPC[:1], OVER_BETA[:2], [arm(CCFS, [1.0, 2.0, 3.0])]):
        line = one(claim, *rows)
        assert line.verdict == "not tested here" and TRENDS[claim].needs in line.missing


def test_runs_that_differ_in_anything_else_are_no_trend():
    other = arm("selmatch", [66, 67, 68], ipc=40, **{"matching.iterations": 7})
    other += arm("reverse", [71, 72, 73], ipc=40, **{"matching.iterations": 7})
    known = [row | {"matching.iterations": 9} for row in OVER_IPC[0] + OVER_IPC[1]]
    assert one("reverse-mean", known, other).verdict == "not tested here"


def test_ccfs_over_cda_on_every_network_that_learnt():
    cda = {"distillation.method": "cda"}

    def learnt(by, ccfs, distilled):
        own = cda if by is None else cda | {"evaluation_network": by}
        return [*arm(CCFS, ccfs, **own), *arm("distilled", distilled, **own)]

    home = learnt(None, [60.0, 61.0, 62.0], [50.0, 51.0, 52.2])
    wide = learnt("convnet-64", [63.0, 64.0, 65.0], [58.0, 59.1, 60.0])
    line = one("ccfs-over-cda-on-five-networks", home, wide)
    gap = interval([5.0, 4.9, 5.0])  # the closest network is the one shown
    assert line.verdict == "holds" and line.network == "convnet-64, filters convnet"
    assert (line.difference, line.low) == pytest.approx((gap.mean, gap.low))
    assert line.levels == ("convnet", "convnet-64")
    lost = learnt("resnet18", [40.0, 41.0, 42.0], [50.0, 51.0, 52.2])
    assert one("ccfs-over-cda-on-five-networks", home, lost).verdict == "does not hold"
    # One network alone is no claim about several; SRe2L's images are other images.
    assert one("ccfs-over-cda-on-five-networks", home).verdict == "not tested here"
    other = [row | {"distillation.method": "sre2l"} for row in wide]
    assert one("ccfs-over-cda-on-five-networks", home, other).verdict == (
        "not tested here"
    )


def test_of_data_without_a_presets_run_each_teacher_has_one_that_counts():
    """Not alpha 0, our own reading, nor curricula begun with other images."""
    rows = results.load(ROOT / "data" / "results")
    whole = (rows["dataset"] == "cifar100") & rows["image_size"].isna()
    lines = ledger(rows[whole])
    lines = lines[lines["claim"] == "filter-test-accuracy-rises"]
    teachers = {
        source(row) for _, row in rows[whole & (rows["cell"] == CCFS)].iterrows()
    }
    assert lines["source"].is_unique and set(lines["source"]) == teachers
    assert len(teachers) >= 4 and set(lines["seeds"]) == {3}
    networks = {"resnet18", "convnet-32-64-128", "resnet10-w16"}
    assert networks == set(lines["network"])
    for run in lines["run"]:
        first = rows[rows["run"] == run].iloc[0]
        assert first["alpha"] == 0.2 and first["distilled_from"] in ("", None)


def test_without_a_presets_run_each_ipc_of_a_teacher_is_a_test():
    rows = results.load(ROOT / "data" / "results")
    rows = rows[(rows["dataset"] == "cifar100") & (rows["network"] == "resnet18")]
    more = rows.assign(run=rows["run"] + "-more", ipc=100)
    ablation = rows[rows["cell"] == CCFS].assign(run="ablation", curricula=2)
    lines = ledger(pandas.concat([rows, more, ablation]))
    lines = lines[lines["claim"] == "filter-test-accuracy-rises"]
    assert sorted(lines["ipc"]) == [50, 100] and lines["source"].nunique() == 1
