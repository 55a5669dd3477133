"""A buffer of expert trajectories, and whether it fits what it is asked for."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.distill.zca import Whiten
from ccfs_lib.errors import InputError


@dataclass(frozen=True)
class Buffer:
    """Trajectories of one network on one data set, and what they belong to.

    trajectories: one (E + 1, P) tensor per expert, float16 or float32, the state before
    training first. identity: network, classes, size, mean, std, the fingerprint of the
    training images and the experts' recipe. whiten: what experts saw images through,
    where their recipe has ZCA.
    """

    trajectories: tuple[Tensor, ...]
    identity: dict
    whiten: Whiten | None = None

    @property
    def count(self) -> int:
        """Experts."""
        return len(self.trajectories)

    def read(self) -> "Buffer":
        """Return self: it has been read."""
        return self

    @property
    def epochs(self) -> int:
        """Epochs of the shortest trajectory."""
        return min(len(t) for t in self.trajectories) - 1

    def network(self, seed: int | None = None) -> networks.Network:
        """Build a fresh network of the experts' kind."""
        i = self.identity
        shape = i["network"], i["classes"], i["size"]
        network = networks.build(*shape, mean=i["mean"], std=i["std"], seed=seed)
        network.normalize = self.whiten or network.normalize
        return network

    def state(self, expert: int, epoch: int, like: Tensor) -> Tensor:
        """Return weights (P,) of an expert after `epoch` epochs, placed as `like`."""
        return self.trajectories[expert][epoch].to(like.device, like.dtype)

    def check(
        self, network: str, train: ImageSet, experts: int = 1, epochs: int = 0
    ) -> "Buffer":
        """Return self if it fits, else raise InputError in one sentence.

        network, train: what experts are needed of; experts: how many; epochs: the last
        epoch that will be asked for.
        """
        self.fits(train, network)
        seen = self.identity["train"]
        if seen != train.fingerprint:
            raise InputError(
                f"buffer's experts saw the data set {seen[:12]}, not '{train.name}' "
                f"({train.fingerprint[:12]}): train experts on it"
            )
        if len(self.trajectories) < experts:
            raise InputError(
                f"buffer holds {len(self.trajectories)} experts, but {experts} are "
                "needed: train more or ask for fewer"
            )
        return self.reaches(epochs)

    def fits(self, images: ImageSet, network: str | None = None) -> None:
        """Raise InputError unless the experts know such images (and are `network`)."""
        held = tuple(self.identity[k] for k in ("network", "classes", "size"))
        asked = network or held[0], images.num_classes, images.image_size
        if held != asked:
            texts = ["{} for {} classes at {} px".format(*s) for s in (held, asked)]
            raise InputError(
                f"buffer holds experts of {texts[0]}, but {texts[1]} is needed"
            )

    def reaches(self, epochs: int) -> "Buffer":
        """Return self if its trajectories have so many epochs, else InputError."""
        if self.epochs < epochs:
            raise InputError(
                f"max_start_epoch - 1 + expert_epochs is {epochs}, but the buffer's "
                f"trajectories end at epoch {self.epochs}"
            )
        return self

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically, to carry to another machine."""
        path = Path(path)
        tensors = {f"{n:04}": t for n, t in enumerate(self.trajectories)}
        whiten = dict(self.whiten.named_buffers()) if self.whiten else {}
        tensors |= {f"zca.{name}": t for name, t in whiten.items()}
        temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
        try:
            save_file(tensors, temporary, {"identity": json.dumps(self.identity)})
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Later:
    """A buffer that is read, or trained, only where a match has to be computed."""

    identity: dict
    count: int
    read: Callable[[], Buffer]


def read(path: str | Path) -> Buffer:
    """Read a buffer that `Buffer.save` wrote. Raises InputError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            identity = json.loads(file.metadata()["identity"])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        whiten = {k[4:]: tensors.pop(k) for k in list(tensors) if k.startswith("zca.")}
        return Buffer(
            tuple(tensors.values()), identity, Whiten(**whiten) if whiten else None
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a buffer of experts: {error}") from None
