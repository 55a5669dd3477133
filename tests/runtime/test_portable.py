"""Bits that other machines repeat: set before torch, or else told apart."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

from ccfs_lib.experiment import preset, settings
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import device, portable

PROBE = """
import json, os, sys
from ccfs_lib.runtime.portable import settle
if sys.argv[1] == "late":
    import torch
settle(sys.argv[2] == "portable")
from ccfs_lib.runtime import device
print(json.dumps([os.environ.get("MKL_CBWR"), device.unlike_portable()]))
"""


def probe(*arguments):
    """MKL's mode and how a fresh process without our environment says it computes."""
    clean = {k: v for k, v in os.environ.items() if k not in portable.ENVIRONMENT}
    command = [sys.executable, "-c", PROBE, *arguments]
    run = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_environment_is_set_before_torch_and_only_for_portable():
    assert probe("early", "portable") == ["COMPATIBLE", ""]
    mode, other = probe("early", "fast")
    assert mode is None and other


def test_the_tests_themselves_compute_so():
    assert portable.ENVIRONMENT.items() <= os.environ.items()
    assert not device.unlike_portable()


def test_a_process_that_imported_torch_too_early_says_how_it_computes():
    mode, other = probe("late", "portable")
    assert mode is None and other  # nothing was set that would have no effect


@pytest.mark.parametrize(("other", "told"), [("", None), ("AVX512", "AVX512")])
def test_other_arithmetic_is_another_artefact(monkeypatch, other, told):
    monkeypatch.setattr(device, "unlike_portable", lambda: other)
    stages = Trainings(settings.preset())
    recipe = stages.experiment.teacher
    key = stages.key("convnet-16-32", recipe, 0, stages.train)
    assert key.get("arithmetic") == told


def digest(tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def test_teacher_images_and_filter_have_the_bits_of_other_machines(
    monkeypatch, tmp_path
):
    """Written on AMD EPYC (Zen 4). What differs here differs in every number of digits.

    Known culprits were MKL's: its product with a single row, its square root.
    """
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path))
    short = {"epochs": 6, "teacher_epochs": 3, "ipc": 8, "curricula": 1}
    pipeline = Pipeline(preset(**short, alpha=0.5))
    images = pipeline.distilled(4)
    filtered = pipeline.trained(images, pipeline.experiment.recipe, 1, answers=True)
    weights = pipeline.teacher.network.state_dict()
    found = {
        "teacher": digest(torch.cat([w.float().flatten() for w in weights.values()])),
        "images": digest(images.images),
        "filter": digest(filtered.tensors["true_logit"]),
    }
    known = ("27cad18506a3aac6", "0126c91b52090f13", "32d7609db147b706")
    assert tuple(found.values()) == known
