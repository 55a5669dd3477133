"""Kill a training anywhere, run it again: the same bits; foreign files are refused."""

import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ccfs_lib import data, networks
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.scores import Forgetting
from ccfs_lib.train import fit

RECIPE = Recipe(
    epochs=5, loss="hard", augment="crop", pad=1, warmup_epochs=1, flip=False
)


def train(checkpoint=None, recipe=RECIPE):
    """A small training of 300 digits; returns (Fit, Forgetting)."""
    digits = data.load("digits").subset(range(300))
    network, events = (
        networks.build("convnet-8", 10, 8, seed=0),
        Forgetting(digits.labels),
    )
    done = fit(
        network,
        digits,
        recipe,
        seed=1,
        test=digits,
        watch=events,
        checkpoint=checkpoint,
    )
    return done, events


def same(a, b) -> bool:
    """Whether two trainings ended with the same bits."""
    (one, seen), (two, too) = a, b
    pairs = zip(
        one.network.state_dict().values(),
        two.network.state_dict().values(),
        strict=True,
    )
    counts = zip(seen.state().values(), too.state().values(), strict=True)
    figures = one.losses == two.losses and one.curve == two.curve
    return figures and all(torch.equal(x, y) for x, y in [*pairs, *counts])


@pytest.fixture(scope="module")
def whole():
    """An undisturbed training."""
    return train()


def test_stopped_at_every_epoch_it_ends_the_same(whole, tmp_path):
    stops = 0
    while True:
        late = Checkpoint(tmp_path / "x", "k", every=0, deadline=time.monotonic())
        try:
            resumed = train(late)
            break
        except TimeUp:
            stops += 1
    assert stops == RECIPE.epochs - 1
    assert same(whole, resumed)
    assert not (tmp_path / "x").exists()  # a finished training leaves nothing


def stopped(folder: Path, epochs: int) -> None:
    """Leave a training in `folder` that was stopped after `epochs` epochs."""
    for _ in range(epochs):
        with pytest.raises(TimeUp):
            train(Checkpoint(folder, "k", every=0, deadline=time.monotonic()))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_checkpoint_costs_one_epoch(whole, tmp_path, damage):
    stopped(tmp_path, 3)
    last = tmp_path / "last.safetensors"
    content = bytearray(last.read_bytes())
    if damage == "flip":
        content[-9] ^= 1
    last.write_bytes({"cut": content[:-50], "empty": b""}.get(damage, bytes(content)))
    checkpoint = Checkpoint(tmp_path, "k", every=0)
    with pytest.warns(UserWarning, match=r"last\.safetensors is damaged"):
        _, figures = checkpoint.load()
    assert len(figures["losses"]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert same(whole, train(checkpoint))


def test_nothing_is_left_of_a_finished_training(tmp_path):
    """Neither what safetensors leaves where it is killed while writing."""
    checkpoint = Checkpoint(tmp_path / "c", "key", every=0)
    checkpoint.save({"a": torch.zeros(2)}, {})
    (written,) = (tmp_path / "c").iterdir()
    written.with_name(".tmphp29ZJ").write_bytes(b"half")
    checkpoint.clear()
    assert not list(tmp_path.iterdir())
    checkpoint.save({"a": torch.zeros(2)}, {})
    (tmp_path / "c" / "notes.txt").write_text("somebody else's")
    checkpoint.clear()  # and nothing of anybody else
    assert [path.name for path in tmp_path.rglob("*.*")] == ["notes.txt"]


def test_another_configuration_is_refused(tmp_path):
    stopped(tmp_path, 1)
    with pytest.raises(InputError, match=r"belongs to configuration k, not to other"):
        train(Checkpoint(tmp_path, "other"))


# Imports once, then forks: twenty interpreters would take minutes. Nothing is computed
# before a fork, since torch's threads would not survive it.
KILLER = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_checkpoint import Checkpoint, Path, train
from safetensors.torch import save_file

def child(folder={folder!r}):
    done, _ = train(Checkpoint(Path(folder), "k", every=0))
    state = done.network.state_dict()
    save_file({{k: v.contiguous() for k, v in state.items()}}, {out!r})
    os._exit(0)

start = time.monotonic()  # how long one takes here, whatever else is running
os.waitpid(os.fork() or child({folder!r} + "-timed"), 0)
whole = time.monotonic() - start
moments, kills, resumed = random.Random(0), 0, 0
while kills < 20:
    pid = os.fork() or child()
    time.sleep(moments.uniform(0.2, 1.0) * whole)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    kills += os.WIFSIGNALED(status)
    resumed += Path({folder!r}, "last.safetensors").exists()
pid = os.fork() or child()
os.waitpid(pid, 0)
print(resumed)
"""


def test_twenty_kills_at_random_moments(whole, tmp_path):
    """SIGKILL a training twenty times; the last run must end with the same bits."""
    out = tmp_path / "out.safetensors"
    code = KILLER.format(
        tests=str(Path(__file__).parent),
        folder=str(tmp_path / "c"),
        out=str(out),
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # some kill left a checkpoint behind
    state = whole[0].network.state_dict()
    for name, value in load_file(out).items():
        assert torch.equal(value, state[name]), name
