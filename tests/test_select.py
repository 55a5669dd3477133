"""Coarse-to-fine selection against plain Python loops, ties and shortfalls included."""

import re
import warnings
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from ccfs_lib.errors import InputError
from ccfs_lib.select import (
    COARSE,
    ShortfallWarning,
    candidates,
    coarse_to_fine,
    quotas,
    ranking,
)


def slow_pools(case, coarse) -> dict[int, list[int]]:
    """Candidates of each class, one image at a time."""
    labels, teacher = case["labels"], case["teacher_predictions"]
    taken = set() if case["excluded"] is None else {int(i) for i in case["excluded"]}
    pools = {int(c): [] for c in labels}
    for i, c in enumerate(labels):
        right = case["predictions"][i] == c
        known = teacher is None or teacher[i] == c
        if known and i not in taken and right == (coarse == "classified"):
            pools[int(c)].append(i)
    return dict(sorted(pools.items()))


def slow_choice(case, coarse, fine) -> tuple[list[int], dict[int, int]]:
    """The chosen indices, and for each class that runs short what it could give."""
    sign = {"simple": 1, "hard": -1}[fine]
    chosen, short = [], {}
    for c, pool in slow_pools(case, coarse).items():
        keyed = sorted((sign * float(case["difficulty"][i]), i) for i in pool)
        chosen += [i for _, i in keyed][: case["quota"]]
        if len(pool) < case["quota"]:
            short[c] = len(pool)
    return chosen, short


def random_case(seed: int) -> dict:
    """Few classes, few distinct scores: ties everywhere, and pools that run dry."""
    random = np.random.default_rng(seed)
    n, classes = int(random.integers(1, 70)), int(random.integers(1, 7))
    labels = random.choice(random.integers(0, 12, classes), n)
    noise = random.choice([0.1, 0.5, 0.9])
    guess = random.integers(0, 12, (2, n))
    predictions = np.where(random.random(n) < noise, guess[0], labels)
    teacher = np.where(random.random(n) < 0.3, guess[1], labels)
    kind = random.choice(["f4", "f8", "u1", "i8"])
    excluded = random.choice(n, int(random.integers(0, n + 1)), replace=False)
    return {
        "labels": labels,
        "predictions": predictions.astype(random.choice(["i4", "i8", "u1"])),
        "difficulty": random.integers(0, random.choice([1, 3, 50]), n).astype(kind),
        "quota": int(random.integers(0, 9)),
        "excluded": None if random.random() < 0.3 else excluded,
        "teacher_predictions": teacher if random.random() < 0.5 else None,
    }


def choose(case, **how) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    """Run the library; (indices, {class: (wanted, got)} as the warnings tell it)."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        chosen = coarse_to_fine(**case, **how)
    told = {}
    for warning in seen:
        assert warning.category is ShortfallWarning
        numbers = re.fullmatch(
            r"class (\d+): wanted (\d+) images, got (\d+)", str(warning.message)
        )
        c, wanted, got = map(int, numbers.groups())
        assert c not in told
        told[c] = wanted, got
    return chosen, told


@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("fine", ["simple", "hard"])
def test_equals_slow_loops(coarse, fine):
    dry = 0
    for seed in range(300):
        case = random_case(seed)
        before = {k: np.copy(v) for k, v in case.items() if isinstance(v, np.ndarray)}
        chosen, told = choose(case, coarse=coarse, fine=fine)
        expected, short = slow_choice(case, coarse, fine)
        assert chosen.tolist() == expected and chosen.dtype == np.int64, seed
        assert told == {c: (case["quota"], got) for c, got in short.items()}, seed
        assert all((case[k] == v).all() for k, v in before.items())
        dry += bool(short)
    assert 50 < dry < 290  # both kinds of case occurred


@pytest.mark.parametrize("coarse", COARSE)
def test_random_takes_from_the_pool_and_repeats(coarse):
    differs = 0
    for seed in range(100):
        case = random_case(seed)
        chosen, told = choose(case, coarse=coarse, fine="random", seed=seed)
        again, _ = choose(case, coarse=coarse, fine="random", seed=seed)
        other, _ = choose(case, coarse=coarse, fine="random", seed=seed + 1)
        assert chosen.tolist() == again.tolist()
        differs += chosen.tolist() != other.tolist()
        rest = chosen.tolist()
        for pool in slow_pools(case, coarse).values():  # classes ascending
            size = min(case["quota"], len(pool))
            mine, rest = rest[:size], rest[size:]
            assert len(set(mine)) == size and set(mine) <= set(pool)
        assert not rest
        assert told.keys() == slow_choice(case, coarse, "simple")[1].keys()
    assert differs > 50


def test_random_is_uniform_over_ordered_pairs():
    case = {"labels": [0] * 7 + [1] * 3, "predictions": [1] * 5 + [0] * 5}
    counts = dict.fromkeys(permutations(range(5), 2), 0)
    for seed in range(4000):
        case |= {"difficulty": np.arange(10), "quota": 2}
        chosen, _ = choose(case, fine="random", seed=seed)
        counts[tuple(chosen[:2].tolist())] += 1
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_random_ignores_difficulty():
    case = {"labels": [0] * 9, "predictions": [1] * 9, "quota": 4}
    easy, hard = np.arange(9.0), -np.arange(9.0)
    chosen = [choose({**case, "difficulty": d}, fine="random")[0] for d in (easy, hard)]
    assert chosen[0].tolist() == chosen[1].tolist()


def test_the_papers_example():
    # Eq. 5 and 6 by hand: of the misclassified 1, 2, 3 the two least forgotten.
    chosen = coarse_to_fine([0, 0, 0, 0], [0, 1, 1, 1], [0.0, 3.0, 1.0, 2.0], 2)
    assert chosen.tolist() == [2, 3]


def test_empty_pools_and_quota_zero():
    case = {"labels": [2, 0, 2], "predictions": [2, 0, 2], "difficulty": [1, 2, 3]}
    chosen, told = choose({**case, "quota": 2})
    assert chosen.tolist() == [] and chosen.dtype == np.int64
    assert told == {0: (2, 0), 2: (2, 0)}
    assert choose({**case, "quota": 0}) == (pytest.approx([]), {})


def test_infinite_difficulty_is_a_rank_like_any_other():
    scores = [np.inf, 0, -np.inf, np.inf]
    case = {"labels": [0] * 4, "predictions": [1] * 4, "difficulty": scores}
    assert choose({**case, "quota": 4})[0].tolist() == [2, 1, 0, 3]
    assert choose({**case, "quota": 4}, fine="hard")[0].tolist() == [0, 3, 1, 2]


def test_candidates_are_the_coarse_stage():
    for seed in range(60):
        case = random_case(seed)
        arrays = [case[k] for k in ("labels", "predictions", "excluded")]
        for coarse in COARSE:
            pool = candidates(*arrays, case["teacher_predictions"], coarse)
            slow = sorted(i for p in slow_pools(case, coarse).values() for i in p)
            assert pool.dtype == bool and np.flatnonzero(pool).tolist() == slow


GOOD = {
    "labels": [0, 0, 1, 1],
    "predictions": [1, 1, 0, 0],
    "difficulty": [0.0, 1.0, 2.0, 3.0],
    "quota": 1,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", []),
        ("labels", [[0, 0], [1, 1]]),
        ("labels", [0.0, 0.0, 1.0, 1.0]),
        ("labels", [0, 0, 1, -1]),
        ("predictions", [1, 1, 0]),
        ("predictions", [1.0, 1.0, 0.0, 0.0]),
        ("predictions", [[1], [1], [0], [0]]),
        ("difficulty", [0.0, 1.0, 2.0]),
        ("difficulty", [0.0, 1.0, np.nan, 3.0]),
        ("difficulty", ["a", "b", "c", "d"]),
        ("quota", -1),
        ("quota", 1.0),
        ("quota", True),
        ("quota", None),
        ("teacher_predictions", [0, 0, 1]),
        ("teacher_predictions", [0.5, 0.5, 0.5, 0.5]),
        ("excluded", [4]),
        ("excluded", [-1]),
        ("excluded", [0.0]),
        ("excluded", [True, False, True, False]),
        ("excluded", [1, 0, 1, 0]),
        ("excluded", [0, 0, 0, 0]),
        ("excluded", [[0, 1]]),
        ("excluded", ["a"]),
        ("excluded", 1),
        ("coarse", "wrong"),
        ("coarse", None),
        ("fine", "easy"),
        ("seed", -1),
    ],
)
def test_bad_input_is_one_sentence_that_names_it(name, value):
    with pytest.raises(InputError) as error:
        coarse_to_fine(**{**GOOD, name: value})
    assert issubclass(InputError, ValueError)
    told = str(error.value)
    assert told.startswith(name) and "\n" not in told


@pytest.mark.parametrize("answers", [[1, 0, 1], [1.0, 0.0], [[1], [0]]])
def test_candidates_refuses_answers_that_do_not_fit(answers):
    with pytest.raises(InputError, match=r"^predictions has shape"):
        candidates([0, 1], answers)
    with pytest.raises(InputError, match=r"^teacher_predictions has shape"):
        candidates([0, 1], [1, 0], teacher_predictions=answers)


@pytest.mark.parametrize(
    "labels", [["0", "1"], [[0], [1]], [0.0, 1.0], [True, False], [0, -1], []]
)
def test_candidates_refuses_labels_that_are_no_classes(labels):
    with pytest.raises(InputError, match=r"^labels h"):
        candidates(labels, [1, 0])


def test_few_indices_that_are_0_and_1_are_no_mask():
    assert candidates([0, 1, 1], [1, 0, 0], [0, 1]).tolist() == [False, False, True]
    assert candidates([0, 1], [1, 0], [1, 0]).tolist() == [False, False]


def test_ranking_of_unsigned_difficulty():
    order = ranking([0, 0, 0, 1], [True] * 4, np.array([0, 2, 1, 0], np.uint8), "hard")
    assert order.tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("labels", [0.0, 1.0], "labels has"),
        ("candidates", [1, 0], "candidates has"),
        ("candidates", [True], "candidates has"),
        ("difficulty", [0.0, np.nan], "difficulty is nan at 1"),
        ("difficulty", [0.0], "difficulty has"),
        ("fine", "easy", "fine is 'easy', but must be one of .*simple"),
        ("seed", 0.5, "seed is 0.5"),
    ],
)
def test_ranking_refuses_what_the_whole_selection_would(name, value, told):
    good = {"labels": [0, 1], "candidates": [True, True], "difficulty": [0.0, 1.0]}
    with pytest.raises(InputError, match=f"^{told}"):
        ranking(**{**good, name: value})


def test_candidates_refuses_an_unknown_stage():
    with pytest.raises(InputError, match="coarse is 'clasified'"):
        candidates([0, 1], [1, 0], coarse="clasified")


def test_quotas_add_up_with_the_remainder_first():
    for real in range(1, 40):
        for curricula in range(1, real + 1):
            split = quotas(real, curricula)
            assert sum(split) == real and len(split) == curricula
            assert split == sorted(split, reverse=True)
            assert split[0] - split[-1] <= 1
    assert quotas(400, 3) == [134, 133, 133]


@pytest.mark.parametrize(("real", "curricula"), [(3, 4), (3, 0), (3, -1), (0, 1)])
def test_quotas_refuse_empty_phases(real, curricula):
    with pytest.raises(InputError, match=f"curricula is {curricula}"):
        quotas(real, curricula)
