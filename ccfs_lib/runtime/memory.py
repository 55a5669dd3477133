"""Memory: freed tensors are kept, and a batch that did not fit is told what does."""

import ctypes
import os
import resource
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ccfs_lib.errors import InputError

if TYPE_CHECKING:
    from ccfs_lib.step import Step

# Saved activations are most of a step's memory, not all: gradients on their way back,
# the teacher's layers and the allocator's rounding come on top.
MARGIN = 2.0
# Parameters of glibc's mallopt (malloc.h) in bytes, as M_TRIM_THRESHOLD, M_TOP_PAD and
# M_MMAP_THRESHOLD; the last one's value is the largest that glibc takes.
KEPT = {-1: 2**30, -2: 2**26, -3: 2**25}


@cache
def keep_freed() -> None:
    """Let the CPU's allocator keep what a training step frees, until `release`.

    glibc hands large blocks back at once, and the system clears the next step's pages
    anew: 5 to 15 % of a small network's time. Nothing happens without glibc, or where
    the environment has settings of glibc's own.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in KEPT.items():
        if mallopt is not None:
            mallopt(parameter, value)


def release() -> None:
    """Hand back to the system what `keep_freed` kept."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class OutOfMemory(InputError):
    """A batch that did not fit; the sentence says which batch size should."""


def ran_out(error: BaseException) -> bool:
    """Check whether the error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, OutOfMemory | torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return True  # the CPU allocator has no class
    # A capture that lacked memory ends with an error of its own.
    return error.__context__ is not None and ran_out(error.__context__)


def fits(run: Callable, argument) -> bool:
    """Call run(argument); return False if memory ran out."""
    try:
        run(argument)
    except RuntimeError as error:
        # Nothing more here: until the except clause ends, the step's tensors live on.
        if not ran_out(error):
            raise
        return False
    return True


def saved_bytes(step: "Step", count: int = 2) -> float:
    """Measure how many bytes of each image a step keeps for the backward pass.

    From `count` images and twice as many: weights are kept too, in bfloat16 as copies,
    but they do not grow with the batch.
    """
    one, two = (_kept(step, number) for number in (count, 2 * count))
    return (two - one) / count


def _kept(step: "Step", count: int) -> int:
    """Measure the bytes that a step on `count` images keeps for the backward pass."""
    kept = {}

    def pack(tensor):
        """Record the size of a tensor that is kept for the backward pass."""
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = step.images[:1].expand(count, -1, -1, -1).float().div(255)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # Kept until the sum is taken: a freed address would be given out again.
        alive = step.loss(x, step.labels[:1].expand(count))
    total = sum(kept.values())
    del alive
    return total


def free_bytes(device: torch.device) -> int:
    """Return the bytes that this process may still take on the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    release()
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return 1024 * kib
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return min(1024 * kib, limit - pages * resource.getpagesize())


def advice(step: "Step") -> str:
    """Name, in one sentence, the batch size that did not fit and one that should."""
    step.optimiser.zero_grad(set_to_none=True)
    size, fits = step.recipe.batch_size, 1
    try:
        free, each = free_bytes(step.images.device), MARGIN * saved_bytes(step)
    except RuntimeError:  # not even for two images, perhaps beside other trainings
        return f"batch_size is {size}, and memory ran out: take a smaller one"
    while 2 * fits < size and 2 * fits * each <= free:
        fits *= 2
    needed, left = size * each / 2**30, max(free, 0) / 2**30
    return (
        f"batch_size is {size}, but a step then needs about {needed:.2g} GiB and "
        f"{left:.2g} GiB are free: take {fits} or fewer"
    )
