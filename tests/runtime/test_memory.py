"""A batch too large for the memory is told with one that fits, and that one does."""

import re
import subprocess
import sys

import pytest
import torch

from ccfs_lib import networks
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import device, memory
from ccfs_lib.runtime.engines import engine
from ccfs_lib.step import Step

# A training under a limit on the address space: (batch size, GiB beyond the start).
PROGRAM = """
import resource, sys, torch
from pathlib import Path
from ccfs_lib import data, networks
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import Recipe
from ccfs_lib.train import fit
torch.set_num_threads(1)
size, extra = int(sys.argv[1]), float(sys.argv[2])
images = torch.zeros(2048, 3, 32, 32, dtype=torch.uint8)
train = ImageSet("black", images, torch.arange(2048) % 2, ("a", "b"))
network = networks.build("convnet-16-32", 2, 32, seed=0)
recipe = Recipe(epochs=1, batch_size=size, loss="hard", augment="none")
fit(network, train.subset(range(4)), recipe, seed=0)  # libraries are loaded by now
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = taken + int(extra * 2**30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    if size > 1024:
        fit(network, train, recipe, seed=0)
    else:
        fit(network, train.subset(range(2 * size)), recipe, seed=0)
    print("fitted")
except ValueError as error:
    print(type(error).__name__, error)
"""


def attempt(size: int, extra: float) -> str:
    words = [sys.executable, "-c", PROGRAM, str(size), str(extra)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_the_batch_size_advised_fits():
    said = attempt(2048, 0.4)
    found = re.fullmatch(
        r"OutOfMemory batch_size is 2048, but a step then needs about [\d.]+ GiB and "
        r"[\d.]+ GiB are free: take (\d+) or fewer",
        said,
    )
    assert found, said
    advised = int(found[1])
    assert advised >= 64  # not simply the smallest
    assert attempt(advised, 0.4) == "fitted"


def test_saved_bytes_are_those_of_the_layers():
    """A linear map saves its input and, for log_softmax, its output: nothing else."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    recipe = Recipe(epochs=1, loss="hard")
    labels = torch.zeros(4, dtype=torch.int64)
    step = Step(network, images, labels, recipe, torch.Generator())
    each = memory.saved_bytes(step, 4)
    least = 4 * (192 + 5)  # float32 pixels and log-probabilities
    assert least <= each <= least + 4 * 16  # labels and a weight total beside them


def test_saved_bytes_grow_with_the_network():
    def each(name):
        network = networks.build(name, 10, 32, seed=0)
        images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
        labels, recipe = (
            torch.zeros(4, dtype=torch.int64),
            Recipe(epochs=1, loss="hard"),
        )
        return memory.saved_bytes(
            Step(network, images, labels, recipe, torch.Generator())
        )

    assert 1.7 < each("convnet-64-64") / each("convnet-32-32") < 2.1


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("way", ["plain", "cast"])
def test_weights_in_bfloat16_are_not_counted_as_images(way, has, monkeypatch):
    """They are saved for the backward pass as well, but once for a whole batch."""
    monkeypatch.setattr(device, "has_bf16", lambda _: has)

    def each(precision, way):
        network = networks.build("resnet10-w16", 10, 8, seed=0)
        images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        recipe = Recipe(epochs=1, loss="hard", precision=precision)
        labels = torch.zeros(4, dtype=torch.int64)
        step = Step(network, images, labels, recipe, torch.Generator())
        engine(step, way)
        return memory.saved_bytes(step)

    weights = 2 * 300_000  # bytes of them, more than all that an image leaves behind
    full, half = each("fp32", "plain"), each("bf16", way)
    assert full < weights
    # Without products in bfloat16 their rounded operands are kept, in float32.
    assert half < (full if has else 1.2 * full)


PAGES = """
import resource, sys, torch
from ccfs_lib import networks
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import memory
from ccfs_lib.step import Step
torch.set_num_threads(1)
images = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
labels, recipe = torch.arange(64) % 2, Recipe(epochs=1, loss="hard")
network = networks.build("resnet10-w16", 2, 32, seed=0)
step = Step(network, images, labels, recipe, torch.Generator())
if sys.argv[1] == "kept":
    memory.keep_freed()
for count in range(12):
    if count == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(torch.arange(64))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does with freed blocks")
def test_steps_take_no_new_pages():
    def pages(how):
        words = [sys.executable, "-c", PAGES, how]
        return int(subprocess.run(words, capture_output=True, check=True).stdout)

    assert pages("kept") < pages("returned") / 4


def test_another_error_is_not_a_lack_of_memory():
    assert not memory.ran_out(RuntimeError("shapes differ"))


def test_a_capture_that_lacked_memory_is_a_lack_of_memory():
    """Its end raises an error of its own over the one that says why."""
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory (a test)")
        finally:
            raise RuntimeError("the capture failed")
    except RuntimeError as error:
        assert memory.ran_out(error)
