"""Memory: the most that this process, or its GPU, held at once."""

import ctypes
from pathlib import Path

import torch


def memory(device: str, reset: bool = False) -> float:
    """Highest memory in bytes since the last reset; with `reset`, what is taken now."""
    if device == "cuda":
        if reset:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    if reset:  # Linux: the high-water mark of this process starts anew
        # Freed memory goes back first: kept, it would hide what the next way takes.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
