"""What DSA, DM and MTT share: pixels that learn by momentum, iteration by iteration."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ccfs_lib import networks
from ccfs_lib.data import ImageSet, channel_stats
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.queue import Steps, drain, here


@dataclass
class Learner:
    """Tensors that learn by gradient descent with momentum (torch.optim.SGD's rule).

    values: name -> tensor, changed in place; rates: name -> learning rate; momenta:
    name -> momentum.
    """

    values: dict[str, Tensor]
    rates: dict[str, float]
    momenta: dict[str, float]
    speed: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        self.speed = {k: torch.zeros_like(v) for k, v in self.values.items()}

    def step(self, slopes: dict[str, Tensor]) -> None:
        """Take one step down the slopes, name -> d loss / d value."""
        for name, slope in slopes.items():
            self.speed[name].mul_(self.momenta[name]).add_(slope)
            self.values[name].add_(self.speed[name], alpha=-self.rates[name])

    def state(self) -> dict[str, Tensor]:
        """Return all tensors the next iteration depends on."""
        flat = {f"value.{k}": v for k, v in self.values.items()}
        return flat | {f"speed.{k}": v for k, v in self.speed.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put what `state` gave back in place."""
        for name, tensor in state.items():
            part, _, name = name.partition(".")
            tensors = self.values if part == "value" else self.speed
            tensors[name].copy_(tensor)


def learn(
    learner: Learner,
    iterations: int,
    one: Callable[[int], Steps],
    *,
    checkpoint: Checkpoint | None = None,
    label: str = "distil",
) -> list[float]:
    """Run ``one(iteration)``, which moves the learner and returns its loss.

    one: a generator, a job of `runtime.queue`, that waits (WAIT) before it reads its
    loss. All that it draws must follow from the iteration's number: then a run
    continued from its checkpoint gives the same bits on a CPU. Returns the losses.
    Raises FloatingPointError for a loss that is not finite, TimeUp at the checkpoint's
    deadline.
    """
    begun = {k: v.clone() for k, v in learner.state().items()} if here() else {}

    def steps() -> Steps:
        """Begin from what the learner held; `drain` may call this twice."""
        learner.restore(begun)
        return learning(learner, iterations, one, checkpoint, label)

    deadline = None if checkpoint is None else checkpoint.deadline
    device = next(iter(learner.values.values())).device
    return drain(steps, device=device, label=label, deadline=deadline)


def learning(learner, iterations, one, checkpoint, label) -> Steps:
    """Learn as `learn` does: a job of a queue."""
    losses: list[float] = []
    if checkpoint is not None and (saved := checkpoint.load()):
        learner.restore(saved[0])
        losses = saved[1]["losses"]
    todo = range(len(losses), iterations)
    bar = progress(todo, label, "it", initial=len(losses), total=iterations)
    for iteration in bar:
        losses.append((yield from one(iteration)))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"{label}: the loss is {losses[-1]} in iteration {iteration + 1}; "
                f"smaller rates than {learner.rates} usually help"
            )
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
        if checkpoint is not None and iteration + 1 < iterations:
            checkpoint.step(lambda: (learner.state(), {"losses": losses}), label)
    if checkpoint is not None:
        checkpoint.clear()
    return losses


def seeded(seed: int, iteration: int) -> torch.Generator:
    """Return the CPU generator of one iteration, independent of those before."""
    return torch.Generator().manual_seed(seed * 1_000_003 + iteration)


def network_maker(
    name: str, train: ImageSet, normalisation: tuple | nn.Module | None, device="cpu"
) -> Callable[[int], networks.Network]:
    """Return seed -> a fresh network for the images of `train`, in training mode.

    normalisation: (mean, std), a `zca.Whiten`, or None for the channel statistics.
    """
    whiten = normalisation if isinstance(normalisation, nn.Module) else None
    mean, std = (not whiten and normalisation) or channel_stats(train)

    def make(seed: int) -> networks.Network:
        """Build a network of this seed on the device."""
        shape = train.num_classes, train.image_size
        network = networks.build(name, *shape, mean=mean, std=std, seed=seed)
        network.normalize = whiten or network.normalize
        return network.to(device).train()

    return make


class Space:
    """Normalised pixels, in which images learn, and the way there and back.

    normalize: a network's, by constants (`networks.Normalize`) or whitening
    (`zca.Whiten`); it is copied.
    """

    def __init__(self, normalize: nn.Module, device="cpu"):
        self.normalize = copy.deepcopy(normalize).to(device)

    def normalised(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) as a network's body takes them."""
        mean = self.normalize.mean
        return self.normalize(images.to(mean.device, mean.dtype) / 255)

    def bytes(self, pixels: Tensor) -> Tensor:
        """Return pixels as uint8 on the CPU, rounded, cut to what a pixel can be."""
        x = self.normalize.inverse(pixels.detach()).clamp(0, 1)
        return (x * 255).round().to(torch.uint8).cpu()


@dataclass(frozen=True)
class Distilled:
    """A distilled set and how it came about.

    `pixels` is what was learned and what is trained on; the bytes of `images` are for
    pictures and files. A byte holds no value outside [0, 1], where a part of the
    learned ones lies (see `outside`), and 256 steps within.
    """

    images: ImageSet  # uint8, in the order of the initial set and with its labels
    pixels: Tensor = field(repr=False)  # float (N, 3, H, W), normalised as in matching
    losses: list[float] = field(repr=False)  # of each iteration


def outside(pixels: Tensor, normalize: nn.Module) -> float:
    """Compute the percent of values of normalised pixels that no byte can hold."""
    x = normalize.inverse(pixels.to(normalize.mean.device))
    # Half a step of a byte is rounded, not cut.
    return 100 * ((x < -0.5 / 255) | (x > 1 + 0.5 / 255)).double().mean().item()


def finished(
    begin: ImageSet, learner: Learner, space: Space, losses: list[float], method: str
) -> Distilled:
    """Return the learner's pixels in place of the initial images."""
    pixels = learner.values["pixels"]
    images = ImageSet(method, space.bytes(pixels), begin.labels, begin.classes)
    return Distilled(images, pixels.cpu(), losses)
