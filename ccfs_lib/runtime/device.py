"""Where an experiment computes, and with which arithmetic."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import portable as portability
from ccfs_lib.runtime.bfloat16 import ByFloat32


def device(portable: bool, asked: str | None = None) -> str:
    """Return the device of an experiment: the one asked for, else CUDA if there is one.

    portable: bits that another machine repeats, which only a CPU gives. Raises
    InputError where a portable experiment was asked to run elsewhere.
    """
    if portable and asked and not asked.startswith("cpu"):
        raise InputError(
            f"device is {asked!r}, but a portable experiment runs on the CPU; with "
            "portable=False it may use a GPU"
        )
    gpu = torch.cuda.is_available() and not portable
    return asked or ("cuda" if gpu else "cpu")


def unlike_portable() -> str:
    """Name what this process computes with, if that does not give portable bits.

    "" where `portable.ENVIRONMENT` was in force when torch was imported, on a CPU that
    has AVX2; else vector kernels and MKL mode, such as "AVX512".
    """
    kernels, mkl = torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR")
    usual = kernels == "AVX2" and mkl == portability.ENVIRONMENT["MKL_CBWR"]
    return "" if usual else " ".join([kernels, *filter(None, [mkl])])


# oneDNN is switched for the whole process, in which several threads may be training:
# the first of them turns it off, the last one puts it back.
_lock, _inside = threading.Lock(), []
_here = threading.local()


def is_portable() -> bool:
    """Tell whether this thread is inside `arithmetic` of a portable experiment."""
    return getattr(_here, "depth", 0) > 0


@contextmanager
def arithmetic(portable: bool) -> Iterator[None]:
    """Compute with one thread and without oneDNN for a portable experiment.

    oneDNN's blocking follows the machine's caches, and threads decide the order in
    which sums are formed: both change last bits.
    """
    if not portable:
        yield
        return
    threads = torch.get_num_threads()
    with _lock:
        # The first entry is how things were outside; later ones see it switched off.
        _inside.append(torch.backends.mkldnn.enabled)
        torch.backends.mkldnn.enabled = False
    torch.set_num_threads(1)
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
        torch.set_num_threads(threads)
        with _lock:
            before = _inside[0]
            _inside.pop()
            if not _inside:
                torch.backends.mkldnn.enabled = before


@contextmanager
def cast(device: str | torch.device, precision: str) -> Iterator[None]:
    """Autocast to bfloat16 where the recipe asks; weights and losses stay float32.

    A CPU that has no such products, and any CPU in a portable experiment, forms them
    in float32: `bfloat16.ByFloat32`.
    """
    kind, asked = torch.device(device).type, precision == "bf16"
    rounding = asked and kind == "cpu" and (is_portable() or not has_bf16(kind))
    with (
        torch.autocast(kind, torch.bfloat16, enabled=asked),
        ByFloat32() if rounding else nullcontext(),
    ):
        yield


def has_bf16(device: str | torch.device) -> bool:
    """Check whether the device multiplies bfloat16 itself, not by float32.

    A GPU from Ampere on, a CPU with AVX512-BF16 or AMX.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def own_stream(device: str | torch.device):
    """Open a CUDA stream for one training; nothing on a CPU.

    Trainings in several threads overlap on streams of their own, and only such a
    stream, never the default one, can be captured as a graph.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    outer, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)


def settle(device: str | torch.device) -> None:
    """Wait until what was moved to the device is there, for other streams, too."""
    if torch.device(device).type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def sent(value: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Begin to copy a CPU tensor to the device: valid for what follows on the stream.

    To a GPU out of pinned memory, which nothing waits for; else it is `Tensor.to`.
    """
    if torch.device(device).type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def later(value: torch.Tensor) -> torch.Tensor:
    """Begin to copy a tensor to the CPU: valid when the stream has come so far.

    From a GPU into pinned memory, which nothing waits for; a CPU tensor is handed back.
    """
    return value.to("cpu", non_blocking=True)


def place(network: nn.Module, device: str | torch.device) -> nn.Module:
    """Move the network to the device, in channels-last memory."""
    # On a CPU a ResNet's last stage is no slower contiguous, and a teacher's batch norm
    # could be folded: too little of a step, measured in turn, for a second layout.
    # Weights moved in inference mode could not be learnt or frozen any more.
    with torch.inference_mode(False):
        return network.to(device, memory_format=torch.channels_last)
