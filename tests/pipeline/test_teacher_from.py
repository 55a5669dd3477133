"""Weights of others in place of a teacher that is trained here."""

from dataclasses import replace

import pytest
import torch
from conftest import small
from safetensors.torch import save_file

from ccfs_lib.errors import InputError
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.runtime import weights
from ccfs_lib.store import Store


@pytest.fixture
def squeezed(tmp_path):
    """A pipeline, its rows, and a folder as `ccfs squeeze --out` writes it."""
    run = Pipeline(small(), Store(tmp_path / "cache"))
    rows = {arm: run.evaluate(arm, 0) for arm in ("simple-misclassified", "random")}
    card = {"key": run.teacher.key, "normalisation": run.normalisation}
    weights.write(run.teacher.network.state_dict(), tmp_path / "out", card)
    return run, rows, tmp_path


def test_what_was_computed_from_that_teacher_is_found(squeezed, monkeypatch):
    run, rows, folder = squeezed
    e = replace(run.experiment, teacher_from=str(folder / "out"))
    monkeypatch.setattr("ccfs_lib.pipeline.trainings.fit", lambda *_, **__: 1 / 0)
    again = Pipeline(e, run.store)
    assert {arm: again.evaluate(arm, 0) for arm in rows} == rows
    assert again.teacher.key == run.teacher.key and again.teacher.mark == "float16"
    assert again.teacher.last == run.teacher.last


def test_what_is_computed_now_says_what_the_weights_went_through(squeezed, monkeypatch):
    run, _, folder = squeezed
    e = replace(run.experiment, teacher_from=str(folder / "out"), score="logits")
    new = Pipeline(e, run.store)
    new.evaluate("simple-misclassified", 0)
    teachers = {entry["recipe"]["teacher"] for entry in new.store.entries("train")}
    assert teachers == {run.teacher.key, f"{run.teacher.key}-float16"}


def test_a_name_that_nobody_can_check_is_not_taken(squeezed):
    """Where that teacher is not kept, other weights could have its card."""
    run, _, folder = squeezed
    e = replace(run.experiment, teacher_from=str(folder / "out"))
    new = Pipeline(e, Store(folder / "other"))
    assert new.teacher.key != run.teacher.key and new.teacher.mark == ""
    # Its accuracy is measured, not read from the card.
    assert abs(new.teacher.last - run.teacher.last) < 1
    assert [
        entry["recipe"].get("weights") is not None
        for entry in new.store.entries("squeeze")
    ] == [True]


def test_weights_that_name_another_teacher_are_a_sentence(squeezed):
    """They were trained on after they were written, with their card kept."""
    run, _, folder = squeezed
    state, card = weights.load(folder / "out")
    state = {k: v.float() for k, v in state.items()}
    name = next(k for k in reversed(list(state)) if k.endswith("weight"))
    weights.write(state | {name: -state[name]}, folder / "other", card)
    e = replace(run.experiment, teacher_from=str(folder / "other"))
    other = replace(e, teacher=replace(e.teacher, epochs=e.teacher.epochs + 1))
    for asked in (e, other):  # whatever recipe is asked for beside the weights
        with pytest.raises(InputError, match=f"names teacher {run.teacher.key}, but"):
            _ = Pipeline(asked, run.store).teacher


def test_a_checkpoint_without_a_card_is_known_by_its_weights(squeezed):
    run, _, folder = squeezed
    body = run.teacher.network.body.state_dict()
    body = {k: v.contiguous() for k, v in body.items()}
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in body.items()}}, folder / "a.pt"
    )
    save_file(body, folder / "b.safetensors")
    found = {}
    for name in ("a.pt", "b.safetensors"):
        e = replace(run.experiment, teacher_from=str(folder / name))
        teacher = Pipeline(e, Store(folder / name.replace(".", "-"))).teacher
        assert teacher.mark == "" and teacher.last == pytest.approx(run.teacher.last)
        found[name] = teacher.key
    assert len(set(found.values())) == 1 and run.teacher.key not in found.values()
    # Wrong constants are another network, and a worse one.
    wrong = replace(e, normalisation=(0.1, 0.1, 0.1, 0.9, 0.9, 0.9))
    other = Pipeline(wrong, Store(folder / "wrong")).teacher
    assert other.key not in found.values() and other.last < run.teacher.last


def test_weights_of_another_network_are_a_sentence(squeezed):
    run, _, folder = squeezed
    e = replace(
        run.experiment, teacher_from=str(folder / "out"), teacher_network="convnet-8"
    )
    with pytest.raises(InputError):
        _ = Pipeline(e, Store(folder / "third")).teacher


def test_a_teacher_of_which_only_answers_are_here_says_so(squeezed):
    run, _, folder = squeezed
    artefact = run.squeeze.run()
    answers = {"predictions": artefact.tensors["predictions"]}
    bare = Store(folder / "bare")
    bare.get("squeeze", run.squeeze._key(0), lambda: (answers, artefact.meta))
    there = Pipeline(replace(run.experiment, score="logits"), bare)
    assert there.teacher.last == run.teacher.last
    with pytest.raises(InputError, match="only its answers are"):
        there.evaluate("random", 0)
