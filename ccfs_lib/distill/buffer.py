"""A buffer of expert trajectories, and whether it fits what it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Later:
    """A buffer that is read, or trained, only where a match has to be computed."""

    identity: dict
    count: int
    read: Callable[[], Buffer]
