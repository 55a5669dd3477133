"""Checkpoints of one training at epoch boundaries: kill it, run it again, same bits.

One safetensors file holds weights, momentum, generator state, what `watch` counted and
the figures so far. The file before it is kept, so that a damaged one costs one step
back, never the run.
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ccfs_lib.errors import InputError, Notice, TimeUp
from ccfs_lib.store import Store
from ccfs_lib.store import key as store_key

# What an optimiser remembers of a parameter (SGD, then AdamW), and its name in a file.
STATES = {"momentum_buffer": "momentum"}
STATES |= {"exp_avg": "mean", "exp_avg_sq": "square", "step": "steps"}


@dataclass
class Checkpoint:
    """Where and how often a training is kept.

    folder: of this training alone. key: names its configuration; a checkpoint of
    another is refused. every: seconds between writes (0 = each epoch). deadline:
    `time.monotonic()` at which to stop, or None.
    """

    folder: Path
    key: str
    every: float = 30.0
    deadline: float | None = None
    _written: float = field(default_factory=time.monotonic, repr=False)

    @classmethod
    def beside(
        cls, store: Store, recipe: dict, deadline: float | None = None
    ) -> "Checkpoint":
        """Return where the work that `recipe` names is kept until it is finished.

        Next to the artefacts, under the very key that names the finished one.
        """
        name = store_key(recipe)
        return cls(store.root / "checkpoints" / name, name, deadline=deadline)

    def due(self) -> bool:
        """Whether `step` would write now, or stop."""
        now = time.monotonic()
        return self._is_late(now) or now - self._written >= self.every

    def _is_late(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline

    def step(self, state: Callable[[], tuple[dict, dict]], label: str) -> None:
        """Write `state()` at an epoch boundary if it is time; stop if time is up."""
        now = time.monotonic()
        late = self._is_late(now)
        if late or now - self._written >= self.every:
            self.save(*state())
        if late:
            raise TimeUp(f"{label}: time is up; the same command continues here")

    def save(self, tensors: dict[str, torch.Tensor], figures: dict) -> None:
        """Write one checkpoint atomically; the last one becomes ``previous``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new, last, previous = self._paths()
        kept = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        text = json.dumps({"key": self.key, **figures})
        digest = _digest(kept, text)
        save_file(kept, new, {"figures": text, "sha256": digest})
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        if last.exists():
            os.replace(last, previous)
        os.replace(new, last)
        self._written = time.monotonic()

    def load(self) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Read the newest sound checkpoint as (tensors, figures), or None.

        A damaged file is reported and passed over. Raises InputError for one that
        belongs to another configuration.
        """
        for path in self._paths()[1:]:
            if not path.exists():
                continue
            try:
                tensors, figures = _read(path)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                reason = str(error).split("\n")[0][:80]
                warnings.warn(
                    f"checkpoint {path} is damaged ({reason}) and passed over: the one "
                    "before it is taken, or the training begins anew",
                    Notice,
                    stacklevel=2,
                )
                continue
            if (own := figures.pop("key")) != self.key:
                raise InputError(
                    f"checkpoint {path} belongs to configuration {own}, not to "
                    f"{self.key}; choose another folder or delete it"
                )
            return tensors, figures
        return None

    def clear(self) -> None:
        """Remove the checkpoints of a finished training."""
        # safetensors writes beside the file; killed meanwhile, it leaves a .tmp??????.
        for path in [*self._paths(), *self.folder.glob(".tmp??????")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _paths(self) -> tuple[Path, Path, Path]:
        return tuple(
            self.folder / f"{n}.safetensors" for n in ("new", "last", "previous")
        )


def pack(network: nn.Module, optimiser, generator, watch=None) -> dict:
    """Collect all tensors that the next epoch depends on, under flat names."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for i, p in enumerate(optimiser.param_groups[0]["params"]):
        for name, part in STATES.items():
            if (buffer := optimiser.state[p].get(name)) is not None:
                tensors[f"{part}.{i}"] = buffer
    tensors["generator"] = generator.get_state()
    if watch is not None:
        tensors |= {f"watch.{k}": v for k, v in watch.state().items()}
    return tensors


def unpack(tensors: dict, network: nn.Module, optimiser, generator, watch=None) -> None:
    """Put what `pack` gave back in place."""

    def part(name):
        """Select the tensors below a name, without it."""
        cut = len(name) + 1
        return {k[cut:]: v for k, v in tensors.items() if k.startswith(name + ".")}

    network.load_state_dict(part("network"))
    parameters = optimiser.param_groups[0]["params"]
    for name, short in STATES.items():
        for i, buffer in part(short).items():
            p = parameters[int(i)]
            # Keep the parameter's memory format: fused steps want them alike. AdamW's
            # count of steps is a scalar of its own.
            like = torch.empty_like(p, memory_format=torch.preserve_format)
            like = like if buffer.shape == p.shape else torch.empty_like(buffer).to(p)
            optimiser.state[p][name] = like.copy_(buffer)
    generator.set_state(tensors["generator"])
    if watch is not None:
        watch.restore(part("watch"))


def _digest(tensors: dict[str, torch.Tensor], text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    with safe_open(path, "pt") as file:
        meta = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _digest(tensors, meta["figures"]) != meta["sha256"]:
        raise ValueError("its checksum does not match")
    return tensors, json.loads(meta["figures"])
