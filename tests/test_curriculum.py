"""Algorithm 1 with filters that are written down instead of trained."""

import numpy as np
import pytest
import torch

from ccfs_lib.curriculum import Filter, run, selected
from ccfs_lib.data import ImageSet

N, CLASSES = 90, 4


def image_set(n, seed, name):
    """Images whose pixels are all different, so that each is known by its content."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (n, 3, 4, 4), dtype=np.uint8)
    labels = torch.tensor(random.integers(0, CLASSES, n))
    return ImageSet(name, torch.tensor(pixels), labels, tuple("abcd"))


TRAIN, DISTILLED = image_set(N, 0, "real"), image_set(8, 1, "distilled")
DIFFICULTY = np.random.default_rng(2).integers(0, 5, N).astype(float)
LABELS = TRAIN.labels.numpy()


class Written:
    """A train_filter with answers made up from the phase, and a memory."""

    def __init__(self, wrong=0.7):
        self.sets, self.phases, self.answers, self.wrong = [], [], [], wrong

    def __call__(self, synthetic, phase):
        random = np.random.default_rng(100 + phase)
        guess = random.integers(0, CLASSES, N)
        predictions = np.where(random.random(N) < self.wrong, guess, LABELS)
        self.sets.append(synthetic)
        self.phases.append(phase)
        self.answers.append(Filter(predictions, random.normal(size=N), 10.0 * phase))
        return self.answers[-1]


def slow(answers, quotas, fine="simple", coarse="misclassified", teacher=None, d=None):
    """Algorithm 1 with loops: per phase (pool sizes, chosen, missing)."""
    taken, out = [], []
    for answer, quota in zip(answers, quotas, strict=True):
        score = -answer.true_logit if d is None else d
        pools, chosen = [], []
        for c in range(CLASSES):
            pool = [
                i
                for i in range(N)
                if LABELS[i] == c
                and i not in taken
                and (answer.predictions[i] == c) == (coarse == "classified")
                and (teacher is None or teacher[i] == c)
            ]
            pools.append(len(pool))
            order = sorted(pool, key=lambda i: (score[i], i))
            if fine == "hard":
                order = sorted(pool, key=lambda i: (-score[i], i))
            chosen += order[:quota]
        missing = {c: quota - n for c, n in enumerate(pools) if n < quota}
        out.append((pools, chosen, missing))
        taken += chosen
    return out


@pytest.mark.parametrize("coarse", ["misclassified", "classified"])
@pytest.mark.parametrize("fine", ["simple", "hard"])
@pytest.mark.parametrize("given", [DIFFICULTY, None], ids=["score", "logits"])
@pytest.mark.parametrize("filtered", [False, True])
def test_equals_slow_algorithm(coarse, fine, given, filtered):
    random = np.random.default_rng(5)
    noisy = np.where(random.random(N) < 0.3, random.integers(0, CLASSES, N), LABELS)
    teacher = noisy if filtered else None
    quotas, filters = [3, 2, 9], Written()
    how = {"coarse": coarse, "fine": fine, "teacher_predictions": teacher}
    records = list(run(TRAIN, DISTILLED, given, quotas, filters, **how))
    expected = slow(filters.answers, quotas, fine, coarse, teacher, given)
    assert len(records) == 3
    for i, (record, (pools, chosen, missing)) in enumerate(
        zip(records, expected, strict=True)
    ):
        answer = filters.answers[i]
        score = -answer.true_logit if given is None else given
        assert record.phase == i + 1 and record.quota == quotas[i]
        assert record.pool.tolist() == pools and record.shortfall == missing
        assert record.chosen.tolist() == chosen and record.chosen.dtype == np.int64
        assert record.difficulty.tolist() == [score[j] for j in chosen]
        right = 100 * sum(answer.predictions == LABELS) / N
        assert record.train_accuracy == pytest.approx(right)
        assert record.filter is answer
    assert any(missing for *_, missing in expected)  # the quota of 9 runs short
    everyone = selected(records)
    assert everyone.tolist() == [i for _, chosen, _ in expected for i in chosen]
    assert len(set(everyone.tolist())) == len(everyone)


def test_teacher_clause_matters_only_where_the_teacher_errs():
    def chosen(teacher):
        how = {"teacher_predictions": teacher}
        return selected(list(run(TRAIN, DISTILLED, DIFFICULTY, [4], Written(), **how)))

    free, perfect, blind = chosen(None), chosen(LABELS), chosen((LABELS + 1) % CLASSES)
    assert free.tolist() == perfect.tolist() and len(free) == 16
    assert blind.tolist() == []


def test_phases_train_on_what_was_chosen_so_far():
    filters = Written()
    records = list(run(TRAIN, DISTILLED, DIFFICULTY, [2, 2, 2], filters))
    assert filters.phases == [1, 2, 3]
    for i, (seen, record) in enumerate(zip(filters.sets, records, strict=True)):
        before = selected(records[:i])
        assert torch.equal(seen.images[:8], DISTILLED.images)
        assert torch.equal(seen.images[8:], TRAIN.images[before])
        assert torch.equal(seen.labels[8:], TRAIN.labels[before])
        assert record.synthetic == len(seen) == 8 + len(before)
    assert [len(s) for s in filters.sets] == [8, 16, 24]


def test_can_be_stopped_and_pays_only_for_what_was_asked():
    filters = Written()
    phases = run(TRAIN, DISTILLED, DIFFICULTY, [2, 2, 2], filters)
    assert filters.phases == []
    first = next(phases)
    assert filters.phases == [1]
    phases.close()
    whole = list(run(TRAIN, DISTILLED, DIFFICULTY, [2, 2, 2], Written()))
    assert first.chosen.tolist() == whole[0].chosen.tolist()
    assert selected([]).tolist() == [] and selected([]).dtype == np.int64
    assert list(run(TRAIN, DISTILLED, DIFFICULTY, [], filters)) == []


def test_shortfall_is_recorded_without_a_warning_and_not_made_up_for(recwarn):
    everything_right = Written(wrong=0.0)
    records = list(run(TRAIN, DISTILLED, DIFFICULTY, [2, 3], everything_right))
    assert [r.shortfall for r in records] == [
        dict.fromkeys(range(CLASSES), 2),
        dict.fromkeys(range(CLASSES), 3),
    ]
    assert not len(recwarn)


def test_random_differs_by_seed_and_phase_and_repeats():
    def chosen(seed):
        same = Filter((LABELS + 1) % CLASSES, np.zeros(N), 0.0)
        how = {"fine": "random", "seed": seed}
        records = run(TRAIN, DISTILLED, DIFFICULTY, [5, 5], lambda *_: same, **how)
        return [r.chosen.tolist() for r in records]

    assert chosen(3) == chosen(3) and chosen(3)[0] != chosen(4)[0]
    first, second = (set(phase) for phase in chosen(3))
    assert first | second <= set(range(N)) and not first & second


def test_no_two_seeds_share_a_phases_random_numbers():
    same, drawn = Filter((LABELS + 1) % CLASSES, np.zeros(N), 0.0), {}
    for seed in range(4):
        for phase in range(1, 4):  # the same pool in every one of these draws
            quotas = [0] * (phase - 1) + [5]
            how = {"fine": "random", "seed": seed}
            records = run(TRAIN, DISTILLED, DIFFICULTY, quotas, lambda *_: same, **how)
            drawn[seed, phase] = tuple(list(records)[-1].chosen)
    assert len(set(drawn.values())) == 12


def test_default_is_the_papers_choice():
    records = list(run(TRAIN, DISTILLED, DIFFICULTY, [3], filters := Written()))
    expected = slow(filters.answers, [3], d=DIFFICULTY)
    assert records[0].chosen.tolist() == expected[0][1]
