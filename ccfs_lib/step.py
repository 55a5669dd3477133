"""One training step: what a batch does, whichever way it is run.

Nothing in a step waits for the device, so all ways to run it (`runtime.engines`) do the
same arithmetic in the same order.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccfs_lib.augment import augment, cutmix
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.device import cast


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compute T^2 KL(teacher || student) of logits (N, C) softened by T, mean of N.

    student, teacher: floats of one shape. temperature: T, a positive number. Raises
    InputError for other logits or temperatures.
    """
    # Shapes and types alone: a look at values would wait for the device, every step.
    for name, logits in (("student", student), ("teacher", teacher)):
        if logits.dim() != 2 or not logits.is_floating_point():
            raise InputError(
                f"{name} holds {logits.dtype} {tuple(logits.shape)}, but must be "
                "float logits (N, C)"
            )
    if student.shape != teacher.shape:
        raise InputError(
            f"teacher holds logits {tuple(teacher.shape)}, but must have the student's "
            f"shape, {tuple(student.shape)}"
        )
    if isinstance(temperature, Tensor) or not 0 < temperature < math.inf:
        raise InputError(
            f"temperature is {temperature!r}, but must be a positive number"
        )
    soft = F.log_softmax(student / temperature, 1)  # log p_S = log softmax(z_S / T)
    target = F.log_softmax(teacher / temperature, 1)  # log p_T
    # KL = sum_c p_T (log p_T - log p_S), summed over classes, mean over images.
    kl = F.kl_div(soft, target, reduction="batchmean", log_target=True)
    return kl * temperature**2  # gradients of the same size at every T (Hinton)


def make_optimiser(network: nn.Module, recipe: Recipe, device: torch.device):
    """Make the recipe's optimiser, with weight decay on every parameter.

    The authors, too, decay batch norm and biases.
    """
    # A graph reads its rate from the device; elsewhere a float is exact.
    cuda = device.type == "cuda"
    lr = torch.tensor(recipe.lr, device=device) if cuda else recipe.lr
    shared = {"lr": lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), **shared)
    shared |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    return torch.optim.SGD(network.parameters(), **shared)


class Step:
    """A training's moving parts; calling it with indices (B,) trains on that batch.

    images uint8 (N, 3, H, W) and labels (N,) lie on the networks' device, as does
    `generator`, so that no draw of a step has to be copied there. `watch(indices,
    logits)` sees every batch. `total` sums loss times batch size on the device.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        recipe: Recipe,
        generator: torch.Generator,
        teacher: nn.Module | None = None,
        watch=None,
    ):
        self.network, self.teacher, self.watch = network, teacher, watch
        # What is called; engines put in their place what shares the weights.
        self.forward, self.answer = network, teacher
        self.images, self.labels = images, labels
        self.recipe, self.generator = recipe, generator
        self.total = torch.zeros((), device=images.device)
        self.optimiser = make_optimiser(network, recipe, images.device)

    def begin(self, epoch: int) -> None:
        """Set the epoch's learning rate, training mode, and the sum of losses to 0."""
        group, lr = self.optimiser.param_groups[0], self.recipe.lr_at(epoch)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        self.network.train()
        self.total.zero_()

    def loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean loss and logits (B, C) of float images x (B, 3, H, W) in [0, 1].

        labels: classes (B,), or probabilities (B, C) of mixed images.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        with cast(x.device, self.recipe.precision):
            logits = self.forward(x)
        if self.recipe.loss == "hard":
            return F.cross_entropy(logits.float(), labels), logits
        with torch.no_grad(), cast(x.device, self.recipe.precision):
            soft = self.answer(x)
        return kd_loss(logits.float(), soft.float(), self.recipe.temperature), logits

    def view(self, batch: Tensor) -> Tensor:
        """Return augmented float images (B, 3, H, W) in [0, 1] of the indices (B,)."""
        return augment(self.images[batch], self.recipe, self.generator)

    def __call__(self, batch: Tensor) -> None:
        x, labels = self.view(batch), self.labels[batch]
        if self.recipe.mix == "cutmix":
            classes = self.network.head.out_features
            x, labels = cutmix(x, labels, classes, self.generator)
        loss, logits = self.loss(x, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.total += loss.detach() * len(batch)
        if self.watch is not None:
            self.watch(batch, logits.detach())
