"""The steps from a random set to CCFS: which runs, which pairs, what the paper has."""

import pytest

from ccfs_lib import paper, results
from ccfs_lib.claims import compare, ladder
from ccfs_lib.claims.compare import ALPHA0, CCFS
from ccfs_lib.errors import InputError

WHERE = {"dataset": "cifar10-jpeg", "ipc": 250, "alpha": 0.2, "scale": "laptop"}
WHERE |= {"train": "a", "teacher": {"epochs": 60}, "network": "convnet"}


def measure(folder, run, arm, last, **config):
    rows = [{"seed": i, "last": x, "best": x + 1} for i, x in enumerate(last)]
    config = WHERE | config
    results.write(folder, run, arm, config=config, rows=rows, provenance={})


def ladder_of(folder, run="c-ipc250", **config):
    measure(folder, run, CCFS, [70.0, 71.0, 72.5], **config)
    measure(folder, run, "random", [60.0, 61.5, 62.0], **config)
    measure(folder, f"{run}-alpha0", CCFS, [69.0, 68.0, 68.5], **config, alpha=0.0)


def test_alpha_0_is_an_arm_beside_the_run_that_differs_in_nothing_else(tmp_path):
    ladder_of(tmp_path)
    measure(tmp_path, "c-ipc250-j1", CCFS, [1.0, 2.0, 3.0], alpha=0.0, curricula=1)
    (run,) = ladder.runs(results.load(tmp_path))
    assert list(run["cell"].unique()) == ["random", CCFS, ALPHA0]
    found = {m.step[:2]: m for m in ladder.measured(run)}
    assert list(found) == [(CCFS, "random"), (ALPHA0, "random"), (CCFS, ALPHA0)]
    alone = found[ALPHA0, "random"]
    assert alone.difference.by_seed == ((0, 9.0), (1, 6.5), (2, 6.5))
    assert alone.difference.mean == pytest.approx(68.5 - 61.1666667)
    assert alone.printed is None  # the paper has no set without distilled images


def test_only_alpha_may_differ_between_the_two_sides(tmp_path):
    ladder_of(tmp_path)
    rows = results.load(tmp_path)
    run = rows[rows["run"] == "c-ipc250"]
    with pytest.raises(InputError, match="differ in alpha"):
        compare.matched(
            run.assign(alpha=[0.2] * 3 + [0.4] * 3), CCFS, "random"
        )  # no arm of alpha 0: any difference counts
    other = rows.assign(network="resnet18")
    assert set(ladder.without(other, run)["cell"]) == {CCFS, "random"}
    alone = run[run["cell"] == "random"]
    assert ladder.without(rows, alone) is alone  # nothing to stand beside


def test_one_run_for_each_teacher_and_digits_for_none(tmp_path):
    ladder_of(tmp_path)
    ladder_of(tmp_path, "c-ipc100", ipc=100)  # the same teacher: no further evidence
    measure(tmp_path, "c-ipc250", "hard-misclassified", [60.0, 61.0, 62.0])
    ladder_of(tmp_path, "digits-ipc250", dataset="digits", train="b")
    ladder_of(tmp_path, "big", dataset="cifar100", ipc=50, train="c", scale="paper")
    ladder_of(tmp_path, "c-ipc250-on-resnet18", evaluation_network="resnet18")
    rows = results.load(tmp_path)
    assert [run["run"].iloc[0] for run in ladder.runs(rows)] == ["big", "c-ipc250"]
    (learnt,) = ladder.elsewhere(rows)
    assert learnt["run"].iloc[0] == "c-ipc250-on-resnet18"
    assert {*learnt["maker"], *learnt["learner"]} == {"convnet", "resnet18"}


def test_sets_from_a_runs_index_files_are_that_runs(tmp_path):
    ladder_of(tmp_path)
    own = {"network": "resnet18", "teacher": {"epochs": 40}}
    measure(tmp_path, "r-ipc250", "random", [50.0, 51.0, 52.0], **own)
    chosen = {"selected_from": "data/selected/c-ipc250", "distilled_from": "images"}
    measure(tmp_path, "r-1", "selected", [55.0, 56.0, 57.5], **own, **chosen)
    chosen = {"selected_from": "data/selected/c-ipc250-alpha0/", "alpha": 0.0}
    measure(tmp_path, "r-2", "selected", [54.0, 55.0, 55.5], **own, **chosen)
    chosen = {"selected_from": "hers.json", "alpha": 0.2}  # nobody knows of which run
    measure(tmp_path, "r-3", "selected", [90.0, 91.0, 92.0], **own, **chosen)
    (away,) = ladder.elsewhere(results.load(tmp_path))
    assert (away["maker"] == "convnet").all() and (away["learner"] == "resnet18").all()
    found = {m.step[:2]: m.difference.by_seed for m in ladder.measured(away)}
    assert found[CCFS, "random"] == ((0, 5.0), (1, 5.0), (2, 5.5))
    assert found[ALPHA0, "random"] == ((0, 4.0), (1, 4.0), (2, 3.5))


def test_a_learner_of_given_sets_counts_once_and_with_a_teacher_of_its_own(tmp_path):
    ladder_of(tmp_path)
    for run, teacher in (("a", "convnet"), ("b", "resnet18")):
        own = {"network": "resnet18", "teacher_network": teacher}
        measure(tmp_path, f"{run}-0", "random", [50.0, 51.0, 52.0], **own)
        own |= {"selected_from": "data/selected/c-ipc250"}
        measure(tmp_path, f"{run}-1", "selected", [55.0, 56.0, 57.5], **own)
    rows = results.load(tmp_path)
    (away,) = ladder.elsewhere(rows)
    assert set(away["teacher_network"]) == {"resnet18"}
    other = rows[rows["teacher_network"] != "resnet18"]  # as there is no other
    (away,) = ladder.elsewhere(other)
    assert set(away["teacher_network"]) == {"convnet"}


def test_the_papers_difference_is_of_this_very_cell(tmp_path):
    ladder_of(tmp_path)
    measure(tmp_path, "c-ipc250", "hard-misclassified", [60.0, 61.0, 62.0])
    (run,) = ladder.runs(results.load(tmp_path))
    found = {m.step.right: m.printed for m in ladder.measured(run)}
    cell = {"dataset": "cifar10", "ipc": 250, "coarse": "misclassified"}
    wanted = paper.value(11, fine="simple", **cell) - paper.value(
        11, fine="hard", **cell
    )
    assert found["hard-misclassified"] == pytest.approx(wanted)
    assert found["random"] is None  # its random set has no teacher
    part = run.assign(image_size=16)
    assert all(m.printed is None for m in ladder.measured(part))
