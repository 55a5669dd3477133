"""What is shipped with the code is enough to repeat a run without training."""

import pytest
import torch
from conftest import small

import ccfs_lib.pipeline.trainings
from ccfs_lib.commands.ship import narrow, ship
from ccfs_lib.errors import InputError
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.store import Store

ARMS = ("simple-misclassified", "random")


def test_a_shipped_run_repeats_without_training(tmp_path, monkeypatch):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"\(squeeze\) has not been computed"):
        ship(small(), ARMS, tmp_path / "shipped")
    stages = Pipeline(small(), Store(tmp_path / "cache"))
    rows = [stages.evaluate(arm, s) for arm in ARMS for s in range(small().seeds)]
    assert len(ship(small(), ARMS, tmp_path / "shipped")) > 4

    def refuse(*_, **__):
        pytest.fail("trained again")

    monkeypatch.setattr(ccfs_lib.pipeline.trainings, "fit", refuse)
    elsewhere = Pipeline(small(), Store(tmp_path / "empty", tmp_path / "shipped"))
    again = [elsewhere.evaluate(arm, s) for arm in ARMS for s in range(small().seeds)]
    assert again == rows


def test_another_machine_goes_on_from_the_same_teacher_and_images(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    here = Pipeline(small(), Store(tmp_path / "cache"))
    row = here.evaluate("simple-misclassified", 0)
    kept = ship(small(), ARMS, tmp_path / "shipped", start_only=True)
    assert {path.parent.name for path in kept} == {"squeeze", "recover"}
    began = []
    fit = ccfs_lib.pipeline.trainings.fit
    monkeypatch.setattr(
        ccfs_lib.pipeline.trainings,
        "fit",
        lambda *args, **kwargs: began.append(1) or fit(*args, **kwargs),
    )
    elsewhere = Pipeline(small(), Store(tmp_path / "empty", tmp_path / "shipped"))
    assert elsewhere.evaluate("simple-misclassified", 0) == row
    assert len(began) == small().curricula + 1  # filters and evaluation, no teacher


@pytest.mark.parametrize(
    ("highest", "kind"), [(9, torch.uint8), (999, torch.int16), (99_999, torch.int64)]
)
def test_whole_numbers_are_shipped_in_few_bytes(highest, kind):
    values = torch.tensor([0, 3, highest])
    assert narrow(values).dtype is kind and narrow(values).tolist() == values.tolist()
    assert narrow(values - 1).dtype is (torch.int64 if highest > 999 else torch.int16)
