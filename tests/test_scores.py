"""Difficulty scores: forgetting events one image at a time; files and their signs."""

import os
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from realdata import DATA
from scipy.stats import spearmanr

from ccfs_lib.errors import InputError
from ccfs_lib.scores import (
    Forgetting,
    checked,
    forgetting,
    load,
    untied,
)


def slow_events(outcomes: list[bool]) -> int:
    """Times that an image was right and at its next visit wrong."""
    return sum(a and not b for a, b in pairwise(outcomes))


def test_counts_as_a_per_image_loop():
    random = np.random.default_rng(0)
    n, classes, epochs = 83, 4, 25
    labels = torch.tensor(random.integers(0, classes, n))
    watch, seen = Forgetting(labels), {i: [] for i in range(n)}
    able = random.choice([0.0, 0.3, 0.9, 1.0], n)
    for _ in range(epochs):
        for batch in torch.tensor(random.permutation(n)).split(16):
            right = random.random(len(batch)) < able[batch.numpy()]
            answer = (labels[batch].numpy() + ~right * random.integers(1, 4)) % classes
            logits = torch.tensor(random.normal(size=(len(batch), classes)))
            logits[range(len(batch)), answer] = 9.0
            watch(batch, logits)
            for i, ok in zip(batch.tolist(), right, strict=True):
                seen[i].append(bool(ok))
    assert watch.events.tolist() == [slow_events(seen[i]) for i in range(n)]
    assert watch.learned.tolist() == [any(seen[i]) for i in range(n)]
    assert watch.right.tolist() == [seen[i][-1] for i in range(n)]
    assert 0 < watch.learned.sum() < n and watch.events.max() > 3


def test_never_learned_is_hardest_and_runs_are_averaged():
    first = np.array([0, 5, 2, 0]), np.array([True, True, True, False])
    second = np.array([1, 0, 0, 0]), np.array([True, True, False, True])
    assert forgetting([first]).tolist() == [0, 5, 2, 6]
    mean = forgetting([first, second])
    assert mean.tolist() == [0.5, 2.5, 2.0, 3.0] and mean.dtype == np.float64
    assert forgetting([(np.array([0, 0]), np.array([True, False]))]).tolist() == [0, 1]


def test_counts_that_fill_a_byte_do_not_overflow():
    events = np.array([255, 0], np.uint8), np.array([True, False])
    assert forgetting([events]).tolist() == [255, 256]


def test_no_run_has_no_mean():
    with pytest.raises(InputError, match=r"^runs is empty"):
        forgetting([])


@pytest.mark.parametrize("gap", [1.0, 0.2, 1e-3, 1e-9])
def test_lots_stay_within_the_gap_to_the_next_value(gap):
    """Whoever was harder still is, in every pair; equals fall in another order."""
    # Gaps of very different sizes, the smallest above a large value.
    levels = np.array([0.0, gap, 5.0, 5.0 + gap, 60.0])
    scores = np.random.default_rng(0).permutation(np.repeat(levels, 40))
    raised = untied(scores, 3)
    for low, high in pairwise(levels):
        assert raised[scores == low].max() < raised[scores == high].min()
    assert (raised >= scores).all() and len(np.unique(raised)) > len(levels) * 30
    orders = [np.argsort(untied(scores, seed)).tolist() for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


LABELS = torch.tensor([3, 1, 2, 0])


def test_signs_of_the_two_file_kinds(tmp_path):
    values = np.array([0.5, 0.0, 3.0, 1.0], np.float32)
    np.save(tmp_path / "f.npy", values)
    np.savez(tmp_path / "c.npz", labels=LABELS.numpy(), scores=values)
    events, cscores = (load(tmp_path / name, LABELS) for name in ("f.npy", "c.npz"))
    assert events.tolist() == values.tolist() and events.dtype == np.float64
    assert cscores.tolist() == (-values).tolist() and cscores.dtype == np.float64


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def written(folder, kind) -> Path:
    """A score file that is wrong in one way."""
    name = "s.npz" if "npz" in kind else "s.npy"
    path, four = folder / name, np.arange(4.0)
    arrays = {"labels": LABELS.numpy(), "scores": four}
    match kind:
        case "long":
            np.save(path, np.arange(5.0))
        case "column" | "one number":
            np.save(path, four[:, None] if kind == "column" else four[0])
        case "long npz":
            np.savez(path, labels=LABELS.numpy(), scores=np.arange(5.0))
        case "misaligned npz":
            np.savez(path, **{**arrays, "labels": LABELS.numpy()[::-1]})
        case "fewer labels npz":
            np.savez(path, **{**arrays, "labels": LABELS.numpy()[:3]})
        case "no scores npz":
            np.savez(path, labels=LABELS.numpy())
        case "no labels npz":
            np.savez(path, scores=four)
        case "nan":
            np.save(path, np.array([0, 1, np.nan, 3]))
        case "inf npz":
            np.savez(path, **{**arrays, "scores": np.array([0, 1, np.inf, 3])})
        case "text" | "complex":
            np.save(path, four.astype("U3" if kind == "text" else "c16"))
        case "pickled":
            np.save(path, np.array([Bomb()] * 4, object), allow_pickle=True)
        case "pickled npz":
            odd = np.array([Bomb()] * 4, object)
            np.savez(path, **{**arrays, "scores": odd}, allow_pickle=True)
        case "bare pickle":
            path.write_bytes(pickle.dumps(Bomb()))
        case "npz called npy":
            np.savez(folder / "x.npz", **arrays)
            path = folder / "s.npy"
            os.replace(folder / "x.npz", path)
        case "npy called npz":
            np.save(folder / "x.npy", four)
            os.replace(folder / "x.npy", path)
        case "damaged npz":
            np.savez(path, **arrays)
            raw = bytearray(path.read_bytes())
            raw[raw.index(four.tobytes()) + 9] ^= 255
            path.write_bytes(raw)
        case "empty" | "empty npz":
            path.touch()
        case "folder":
            path.mkdir()
        case "text file" | "text file npz":
            path.write_text("0 1 2 3\n")
    return path


BAD = [
    *(
        "long",
        "column",
        "one number",
        "long npz",
        "misaligned npz",
        "fewer labels npz",
        "nan",
    ),
    *("no scores npz", "no labels npz", "inf npz", "text", "complex", "pickled"),
    *("pickled npz", "bare pickle", "npz called npy", "npy called npz", "empty"),
    *("damaged npz", "empty npz", "folder", "text file", "text file npz", "missing"),
]


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    path = written(tmp_path, kind)
    with pytest.raises(InputError) as error:
        load(path, LABELS)
    told = str(error.value)
    assert str(path) in told and "\n" not in told
    assert not (tmp_path / "exploded").exists()  # nothing was unpickled
    if "called" in kind:
        assert "its content is not what its name says" in told


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_truncated_files_are_refused_wherever_they_end(suffix, tmp_path):
    path = tmp_path / f"s.{suffix}"
    if suffix == "npy":
        np.save(path, np.arange(4.0))
    else:
        np.savez(path, labels=LABELS.numpy(), scores=np.arange(4.0))
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=str(path)):
            load(path, LABELS)
    path.write_bytes(whole)
    load(path, LABELS)


def test_no_flipped_bit_of_an_archive_gets_through_as_another_error(tmp_path):
    path = tmp_path / "s.npz"
    np.savez_compressed(path, labels=LABELS.numpy(), scores=np.arange(4.0))
    whole, expected = path.read_bytes(), load(path, LABELS)
    for place in range(0, len(whole), 2):
        raw = bytearray(whole)
        raw[place] ^= 1 << place % 8
        path.write_bytes(raw)
        try:  # a date or an attribute may change without harm; a score may not
            assert (load(path, LABELS) == expected).all()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.skipif(not (DATA / "scores").is_dir(), reason=f"no {DATA}/scores")
def test_published_files_of_cifar10_agree_on_what_is_hard():
    folder = DATA / "scores"
    with np.load(folder / "cscores_CIFAR10.npz") as file:
        labels = torch.tensor(file["labels"].astype(np.int64))
    cscore = load(folder / "cscores_CIFAR10.npz", labels)
    events = load(folder / "forgetting_CIFAR10.npy", labels)
    assert len(events) == 50_000 and (events == 0).sum() == 7399
    assert spearmanr(cscore, events).statistic > 0.8
    with pytest.raises(InputError, match="another order"):
        load(folder / "cscores_CIFAR10.npz", labels.flip(0))


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3], np.array([1, 2, 3], np.uint8), torch.tensor([1, 2, 3.0]).bfloat16()],
)
def test_a_users_scores_become_float64(values):
    found = checked(values, 3, "values")
    assert found.dtype == np.float64 and found.tolist() == [1.0, 2.0, 3.0]


def test_a_users_scores_are_a_copy():
    mine = np.array([1.0, 2.0])
    found = checked(mine, 2, "values")
    mine[:] = 0
    assert found.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0], r"values are float64 \(1,\), but must be one number for each of the 2"),
        ([[1.0, 2.0]], r"values are float64 \(1, 2\)"),
        ([True, False], r"values are bool \(2,\)"),
        (
            torch.tensor([1.0, float("inf")]),
            "values must be finite, but image 1 has inf",
        ),
    ],
)
def test_a_users_scores_are_checked(values, told):
    with pytest.raises(InputError, match=told):
        checked(values, 2, "values")
