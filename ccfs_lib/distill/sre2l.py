"""SRe2L: squeeze, recover, relabel (Yin et al., 2023); CDA is its crop schedule.

Images are recovered from a teacher alone: pixels are moved until the teacher calls them
their class and its batch-norm layers see the statistics they remember. No real image
is touched. CDA (Yin and Shen, 2023) begins with the whole image and lets the random
crop shrink, an easy-to-hard curriculum too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.io import decode_jpeg, encode_jpeg

from ccfs_lib.augment import crop_boxes, resample
from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Distillation
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.runtime.device import is_portable, place
from ccfs_lib.runtime.progress import progress
from ccfs_lib.train import predict

# View, viewed pixels, the teacher's logits: a scalar loss beside SRe2L's.
Extra = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


class Moments(torch.autograd.Function):
    """Mean and biased variance per channel of (N, C, H, W); both float (C,).

    ``torch.var_mean`` and its gradient were half of a recovery step on a CPU. Over
    channels-last memory the sums are two matrix products, and the gradient is linear in
    x, one pass.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the moments of x."""
        if is_portable():
            # MKL's product with a single row has other last bits on Intel than on AMD,
            # whatever its mode; products of more rows have not, nor have these sums.
            mean, square = x.mean((0, 2, 3)), x.square().mean((0, 2, 3))
        else:
            flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
            share = flat.new_full((1, len(flat)), 1 / len(flat))
            mean, square = (share @ flat)[0], (share @ flat.square())[0]
        ctx.save_for_backward(x, mean)
        return mean, square - mean**2

    @staticmethod
    def backward(ctx, for_mean: Tensor, for_var: Tensor) -> Tensor:
        """Use d mean / dx = 1 / M, d var / dx = 2 (x - mean) / M."""
        x, mean = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        slope = 2 * for_var / count
        offset = for_mean / count - slope * mean
        shape = (1, -1, 1, 1)
        return torch.addcmul(offset.view(shape), x, slope.view(shape))


class BatchNormLoss:
    """Distance between a batch's statistics and those the teacher remembers.

    Sum over BatchNorm layers of ||var - running var|| + ||mean - running mean||, plain
    (not squared) norms; the first layer, nearest the pixels, weighs `first` times more.
    """

    def __init__(self, teacher: nn.Module, first: float):
        self.layers = [m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)]
        if not self.layers:
            raise InputError(
                "teacher has no BatchNorm2d layer, but SRe2L recovers images from "
                "batch-norm statistics; take a network with batch norm"
            )
        self.first, self.terms = first, []
        self.hooks = [m.register_forward_pre_hook(self._see) for m in self.layers]

    def _see(self, layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        mean, var = Moments.apply(inputs[0])
        distance = (layer.running_var - var).norm() + (layer.running_mean - mean).norm()
        self.terms.append(distance * (self.first if not self.terms else 1.0))

    def read(self) -> Tensor:
        """Return the loss of the last forward pass."""
        total = torch.stack(self.terms).sum()
        self.terms.clear()
        return total

    def close(self) -> None:
        """Take the hooks off the teacher."""
        for hook in self.hooks:
            hook.remove()


def batches(num_classes: int, per_class: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return target labels of every batch: image id by image id over the classes.

    Each batch is as mixed as it can be, since batch-norm statistics are those of a
    mixture; and fewer images per class are simply the first batches of more.
    """
    return torch.arange(num_classes).repeat(per_class).split(batch_size)


def recover(
    teacher: nn.Module,
    classes: tuple[str, ...],
    image_size: int,
    per_class: int,
    recipe: Distillation,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ImageSet:
    """Recover `per_class` images of every class from the teacher.

    teacher: a network of `ccfs_lib.networks` with batch norm, taking [0, 1] images.
    Returns a uint8 ImageSet ordered by class. Source: SRe2L Eq. 2-4, CDA Section 3.
    Raises InputError for a teacher without batch norm.
    """
    todo = batches(len(classes), per_class, recipe.batch_size)
    done = [
        recover_batch(teacher, targets, image_size, recipe, seed, number, device)
        for number, targets in enumerate(progress(todo, "recover", "batch"))
    ]
    return assemble(done, todo, classes, f"{recipe.method} x{per_class}")


def assemble(images, targets, classes: tuple[str, ...], name: str) -> ImageSet:
    """Put recovered batches, and their targets from `batches`, in order of class."""
    targets = torch.cat(list(targets))
    order = targets.argsort(stable=True)
    return ImageSet(name, torch.cat(list(images))[order], targets[order], classes)


def recover_batch(
    teacher: nn.Module,
    targets: Tensor,
    size: int,
    recipe: Distillation,
    seed: int,
    number: int,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Optimise one batch of images, uint8 (B, 3, size, size) on the CPU.

    targets: int (B,), the batch `number` of `batches`. It depends on seed and number
    alone, so a run continues at any batch with the same images. checkpoint: keeps the
    batch between iterations, and stops it in time with TimeUp.
    """
    teacher = place(teacher, device).eval()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    pixels = torch.randn(len(targets), 3, size, size, generator=generator).to(device)
    return descend(teacher, pixels, targets, recipe, generator, None, checkpoint)


def descend(
    teacher: nn.Module,
    pixels: Tensor,
    targets: Tensor,
    recipe: Distillation,
    generator: torch.Generator,
    extra: Extra | None = None,
    checkpoint: Checkpoint | None = None,
) -> Tensor:
    """Move pixels until the teacher calls them their targets; uint8 as `recover_batch`.

    teacher: in evaluation mode, on the device of `pixels`, which are normalised, float
    (B, 3, S, S), and stay as they are. extra(view, x, logits): a loss on top, of the
    step's view, the viewed pixels and the teacher's logits of them; see `cudd`.
    checkpoint: as for `recover_batch`.
    """
    mean = teacher.normalize.mean.view(3, 1, 1)
    std = teacher.normalize.std.view(3, 1, 1)
    # Pixels live in the normalised space, where Adam's steps are alike per channel.
    pixels = pixels.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([pixels], recipe.lr, betas=recipe.betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.iterations)
    targets = targets.to(pixels.device)
    moving, start = (pixels, optimiser, schedule, generator), 0
    if checkpoint is not None and (kept := checkpoint.load()):
        start = _restore(*moving, *kept)
    todo = views(recipe, pixels.shape[2], generator, start)
    with _borrowed(teacher, recipe.first_bn) as bn_loss:
        for done, view in enumerate(todo, start + 1):
            x = view(pixels).contiguous(memory_format=torch.channels_last)
            logits = teacher.body(x)
            loss = F.cross_entropy(logits, targets)
            loss = loss + recipe.bn_weight * bn_loss.read()
            if extra is not None:
                loss = loss + extra(view, x, logits)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                pixels.clamp_(-mean / std, (1 - mean) / std)
            if checkpoint is not None and done < recipe.iterations:
                checkpoint.step(lambda done=done: _state(*moving, done), "recover")
    images = (pixels.detach() * std + mean).clamp(0, 1)
    return as_saved((images * 255).round().to(torch.uint8).cpu(), recipe.save)


def _state(pixels, optimiser, schedule, generator, done: int) -> tuple[dict, dict]:
    """Collect what the next iteration depends on: tensors and figures."""
    tensors = {k: v for k, v in optimiser.state[pixels].items() if torch.is_tensor(v)}
    tensors |= {"pixels": pixels, "generator": generator.get_state()}
    # The cosine is computed from one rate to the next: every digit of it counts.
    rate = {"lr": optimiser.param_groups[0]["lr"], "schedule": schedule.state_dict()}
    return tensors, {"done": done, **rate}


def _restore(pixels, optimiser, schedule, generator, tensors, figures) -> int:
    """Put what `_state` collected back in place; return the iterations done."""
    with torch.no_grad():
        pixels.copy_(tensors.pop("pixels"))
    generator.set_state(tensors.pop("generator"))
    count = tensors.pop("step")  # Adam keeps it on the CPU
    moments = {k: v.to(pixels.device) for k, v in tensors.items()}
    optimiser.state[pixels] = {"step": count, **moments}
    optimiser.param_groups[0]["lr"] = figures["lr"]
    schedule.load_state_dict(figures["schedule"])
    return figures["done"]


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Lend the network without weight gradients; given back even on Ctrl-C."""
    trained = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield network
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _borrowed(teacher: nn.Module, first: float) -> Iterator[BatchNormLoss]:
    """Watch the batch-norm layers of the frozen teacher."""
    bn_loss = BatchNormLoss(teacher, first)
    try:
        with frozen(teacher):
            yield bn_loss
    finally:
        bn_loss.close()


def as_saved(images: Tensor, form: str) -> Tensor:
    """Return images as they come back from a file, uint8 (N, 3, H, W).

    "jpeg": quality 75 with halved chroma, Pillow's default, in which the authors keep
    theirs; "png": unchanged.
    """
    if form == "png":
        return images
    files = (encode_jpeg(image, quality=75) for image in images)
    return torch.stack([decode_jpeg(file) for file in files])


def views(
    recipe: Distillation, size: int, generator: torch.Generator, start: int = 0
) -> Iterator:
    """Yield one differentiable view (crop, flip, roll) per iteration, of the batch.

    start: iterations that are done; the generator stands where they left it.
    """
    for iteration in range(start, recipe.iterations):
        smallest = recipe.crop_at(iteration)
        box = crop_boxes(1, size, size, (smallest, 1.0), generator)
        flip = (torch.rand(1, generator=generator) < 0.5) & recipe.flip
        least = -recipe.roll if recipe.roll_back else 0
        roll = torch.randint(least, recipe.roll + 1, (2,), generator=generator).tolist()

        def view(pixels, box=box, flip=flip, roll=roll, crop=smallest < 1):
            n, device = len(pixels), pixels.device
            if crop:
                boxes, flips = box.expand(n, 4).to(device), flip.expand(n).to(device)
                pixels = resample(pixels, boxes, flips, size)
            elif flip:
                pixels = pixels.flip(3)
            return pixels.roll(roll, (2, 3))

        yield view


def relabel(teacher: nn.Module, data: ImageSet, device="cpu") -> Tensor:
    """Compute the teacher's logits (N, C) for a synthetic set."""
    return predict(teacher, data.images, device)
