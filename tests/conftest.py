"""Shared by the tests: one thread, caches that die with a test, small digits runs."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

# Processes that a test starts inherit both: the machine may have one core to spare,
# and a bar would only mix with the output that is compared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CCFS_PROGRESS", "0")

# Before torch: a digits run in this process and one in a process that a test starts
# have to agree in every bit.
os.environ.update(ATEN_CPU_CAPABILITY="avx2", MKL_CBWR="COMPATIBLE")

import pytest
import torch

from ccfs_lib import data, networks
from ccfs_lib.experiment import Experiment, Recipe, preset
from ccfs_lib.runtime import plugins
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.train import fit

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    """The embedded data: (train, test)."""
    return data.load("digits", "train"), data.load("digits", "test")


@pytest.fixture(scope="session")
def digits_teacher(digits):
    """A small network that knows the digits; whoever borrows it must not change it."""
    recipe = Recipe(epochs=6, warmup_epochs=1, loss="hard", augment="none", flip=False)
    network = networks.build("convnet-16-32", 10, 8, seed=0)
    done = fit(network, digits[0], recipe, seed=0, test=digits[1])
    assert done.last > 90
    return network


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A cache and a results folder of the test's own; returns the folder of both."""
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCFS_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("CCFS_DATA", raising=False)
    return tmp_path


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """The current folder of a user with modules, which are forgotten afterwards."""
    folder = tmp_path / "workshop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(plugins, "_hashes", {})
    monkeypatch.setattr(plugins, "_warned", set())
    yield folder
    for name, module in list(sys.modules.items()):
        if folder in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]


@dataclass
class EachEpoch(Checkpoint):
    """A checkpoint that is written after every epoch."""

    every: float = 0.0


def small(**changes) -> Experiment:
    """A whole experiment in about a second: 1 distilled and 3 real digits a class."""
    wanted = {"ipc": 4, "alpha": 0.25, "curricula": 2, "seeds": 1, "score_runs": 1}
    full = preset(**{**wanted, "epochs": 2, **changes})
    return replace(
        full,
        teacher=replace(full.teacher, epochs=3),
        distillation=replace(full.distillation, iterations=5),
    )


@pytest.fixture
def mini():
    """`small`, for tests that cannot import this file."""
    return small
