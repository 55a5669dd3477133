"""Where an experiment computes, and with which arithmetic."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ccfs_lib import portable as portability
from ccfs_lib.errors import InputError


def device(portable: bool, asked: str | None = None) -> str:
    """The device of an experiment: what was asked for, else CUDA where there is one.

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
    """With what this process computes, if not with what portable bits are made of.

    "" where `portable.ENVIRONMENT` was in force when torch was imported, on a CPU that
    has AVX2; else vector kernels and MKL mode, such as "AVX512".
    """
    kernels, mkl = torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR")
    usual = kernels == "AVX2" and mkl == portability.ENVIRONMENT["MKL_CBWR"]
    return "" if usual else " ".join([kernels, *filter(None, [mkl])])


# oneDNN is switched for the whole process, in which several threads may be training:
# the first of them turns it off, the last one puts it back.
_lock, _inside = threading.Lock(), []


@contextmanager
def arithmetic(portable: bool) -> Iterator[None]:
    """One thread and no oneDNN while a portable experiment computes.

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
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        with _lock:
            before = _inside[0]
            _inside.pop()
            if not _inside:
                torch.backends.mkldnn.enabled = before
