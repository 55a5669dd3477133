"""The two roles of distilled images: four sets with made-up accuracies."""

import json

import numpy as np
import pandas
import pytest
from scipy import stats

from ccfs_lib.errors import InputError
from ccfs_lib.report import roles

NEITHER = np.array([40.0, 41.0, 42.5])
NOISE = np.array([[0.1, -0.2, 0.3], [0.0, 0.1, -0.1], [0.2, 0.2, 0.0], [0.0, 0.3, 0.1]])


def accuracies(first=3.0, of_set=-1.0, both=0.5, noise=0.0):
    """Accuracies of the four sets in which the roles are worth this much."""
    exact = [first + of_set + both, first, of_set, 0.0]
    every = np.array(exact)[:, None] + NEITHER + noise * NOISE
    return dict(zip(roles.ARMS, every, strict=True))


def rows(accuracy, run="run", dataset="cifar100", **settings):
    return pandas.DataFrame(
        [
            {"run": run, "cell": arm, "dataset": dataset, "ipc": 50, "alpha": 0.2}
            | {"network": "resnet18", "recipe.epochs": 60, "teacher_last": 75.0}
            | {"seed": seed, "last": value}
            | settings
            for arm, values in accuracy.items()
            for seed, value in enumerate(values)
        ]
    )


def test_each_role_is_the_mean_with_and_without_the_other():
    (one,) = roles.decompose(rows(accuracies()))
    assert one.filter.mean == pytest.approx(3 + 0.5 / 2)
    assert one.set.mean == pytest.approx(-1 + 0.5 / 2)
    assert one.together.mean == pytest.approx(0.5)
    noisy = accuracies(noise=1.0)
    (one,) = roles.decompose(rows(noisy))
    ccfs, first, of_set, neither = noisy.values()
    both = one.filter.mean + one.set.mean
    assert both == pytest.approx((ccfs - neither).mean())
    for found, each in (
        (one.filter, (ccfs - of_set + first - neither) / 2),
        (one.set, (ccfs - first + of_set - neither) / 2),
        (one.together, ccfs - of_set - first + neither),
    ):
        low, high = stats.ttest_1samp(each, 0).confidence_interval()
        assert found.mean - found.half == pytest.approx(low)
        assert found.mean + found.half == pytest.approx(high)


def test_one_role_is_told_with_and_without_the_other():
    (one,) = roles.decompose(rows(accuracies(noise=1.0)))
    for role in roles.TITLES:
        both = [one.effect(role, other).mean for other in (True, False)]
        assert np.mean(both) == pytest.approx(getattr(one, role).mean)
        assert both[0] - both[1] == pytest.approx(one.together.mean)
    text = str(roles.apart([one]))
    for case in roles.EFFECTS:
        assert roles.bracketed(one.effect(*case)) in text
    assert str(roles.apart([])) == ""


def test_runs_without_all_four_sets_are_left_out_and_seeds_are_the_common_ones():
    whole, part = accuracies(), accuracies()
    del part["ccfs-set"]
    whole["ccfs-filters"] = whole["ccfs-filters"][:2]
    found = roles.decompose(pandas.concat([rows(whole), rows(part, "other")]))
    assert [len(r.accuracy["ccfs-neither"]) for r in found] == [2]
    assert roles.decompose(rows({"random": [1.0]})) == []
    assert roles.decompose(pandas.DataFrame()) == []


def test_sets_of_other_settings_or_a_seed_twice_are_no_comparison():
    other = rows({"ccfs-set": accuracies()["ccfs-set"]}, teacher_last=74.0)
    four = accuracies()
    del four["ccfs-set"]
    with pytest.raises(InputError, match=r"differ in teacher_last \(74.0, 75.0\)"):
        roles.decompose(pandas.concat([rows(four), other]))
    with pytest.raises(InputError, match="has seed 0 twice"):
        roles.decompose(pandas.concat([rows(accuracies())] * 2))


def test_digits_come_last_and_say_nothing_in_the_finding():
    both = [rows(accuracies(), "a", "digits"), rows(accuracies(noise=0.01), "b")]
    photographs, digits = roles.decompose(pandas.concat(both))
    assert digits.dataset == "digits" and photographs.dataset == "cifar100"
    assert roles.answer([digits]) == ""
    text = roles.answer([photographs, digits]).replace("\N{NO-BREAK SPACE}", " ")
    assert "CIFAR-100, IPC 50, ResNet-18: in the filters +3.2 points" in text
    assert "in the final set \N{MINUS SIGN}0.7 points" in text
    assert "each of them +0.5 points" in text  # clear of zero, so it is said
    (open_,) = roles.decompose(rows(accuracies(both=0.0, noise=1.0)))
    assert "each of them" not in roles.answer([open_])


def test_table_and_figure_show_every_run(monkeypatch):
    two = [rows(accuracies(noise=0.1), "a"), rows(accuracies(), "b", "cifar10")]
    found = roles.decompose(pandas.concat(two))
    table = str(roles.ledger(found)).splitlines()
    assert sum(line.startswith("| CIFAR-10") for line in table) == 2
    drawn = []
    monkeypatch.setattr(roles.forest, "grouped", lambda *given: drawn.append(given))
    roles.draw(found)
    ((groups, label),) = drawn
    assert list(groups) == [r.name for r in found] and "points" in label
    means = [[line.mean for line in lines] for lines in groups.values()]
    assert means == [[r.filter.mean, r.set.mean] for r in found]
    assert roles.draw([]) is None
    assert "No run" in str(roles.ledger([]))


def test_results_of_the_users_own_stand_beside_those_of_the_book(tmp_path, monkeypatch):
    book, own = tmp_path / "book", tmp_path / "own"
    for root in (book, own):
        for arm, values in accuracies().items():
            (root / "mine").mkdir(parents=True, exist_ok=True)
            config = {"dataset": "cifar100", "ipc": 50, "network": "resnet18"}
            config |= {"alpha": 0.2, "arm": arm, "teacher_last": 75.0, "seeds": 3}
            lines = [
                {"seed": n, "last": float(v), "best": float(v)}
                for n, v in enumerate(values)
            ]
            content = {"config": config, "rows": lines, "provenance": {}}
            (root / "mine" / f"{arm}.json").write_text(json.dumps(content))
    monkeypatch.setattr(roles.paths, "results", lambda: book)
    monkeypatch.setattr(roles.paths, "own_results", lambda: own)
    first, second = roles.measured()
    assert (first.own, second.own) == (False, True)
    assert second.name.endswith("(your run)")
    assert roles.answer([second]) == ""


def test_two_runs_of_one_name_say_which_they_are():
    both = [rows(accuracies(), run=f"run-{a}", alpha=a) for a in (0.2, 0.4)]
    one, other = roles.decompose(pandas.concat(both))
    assert one.name.endswith(", run-0.2") and other.name.endswith(", run-0.4")
