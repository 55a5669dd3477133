"""Augmentation of a whole batch on its device, every image with its own draw.

torchvision's ``v2.RandomResizedCrop`` gives one crop to a whole batch, and per-image
transforms in a loader cost more than a small network's step. A crop with bilinear
resizing is linear and separable, ``Y = A X B^T``, so a batch of crops is two batched
matrix products whose rows are torchvision's own antialiased weights; a flip reverses
the rows of B.
"""

import math

import torch
from torch import Tensor

from ccfs_lib.experiment import Recipe


def resample(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Crop each image to its box, resize to size x size, mirror where asked.

    images: float (N, C, H, W); boxes: int (N, 4) as top, left, height, width in pixels;
    flips: bool (N,). Returns float (N, C, size, size), equal to torchvision's
    ``resized_crop(antialias=True)`` up to rounding.
    """
    rows, columns = matrices(boxes, flips, size, images)
    wide = torch.matmul(images, columns.transpose(1, 2).unsqueeze(1))
    return torch.matmul(rows.unsqueeze(1), wide)


def matrices(
    boxes: Tensor, flips: Tensor, size: int, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute A (N, size, H) and B (N, size, W) of `resample`: Y = A X B^T."""
    top, left, height, width = boxes.unbind(1)
    rows = _weights(top, height, images.shape[2], size, images)
    columns = _weights(left, width, images.shape[3], size, images)
    return rows, torch.where(flips[:, None, None], columns.flip(1), columns)


def _weights(start: Tensor, length: Tensor, extent: int, size: int, like: Tensor):
    """Compute interpolation matrices (N, size, extent) of intervals start, length."""
    start, length = start.to(like.dtype)[:, None], length.to(like.dtype)[:, None]
    scale = length / size
    centre = start + (torch.arange(size, device=like.device) + 0.5) * scale
    pixel = torch.arange(extent, device=like.device) + 0.5
    # Triangle filter, widened when shrinking (antialias), cut at the crop's border.
    reach = scale.clamp(min=1)[:, :, None]
    weight = (1 - (pixel - centre[:, :, None]).abs() / reach).clamp(min=0)
    inside = (pixel > start) & (pixel < start + length)
    weight = weight * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def crop_boxes(
    count: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    generator: torch.Generator,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Draw boxes, int (count, 4), distributed as torchvision's RandomResizedCrop.

    Ten proposals per image, the first that fits wins, else the central crop. All
    draws come from `generator` on its own device.
    """
    rand = {"generator": generator, "device": generator.device}
    area = (
        height
        * width
        * torch.empty(count, 10, device=generator.device).uniform_(
            *scale, generator=generator
        )
    )
    logs = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.empty_like(area).uniform_(*logs, generator=generator).exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    # Nothing fitted: the largest central crop within the aspect bounds.
    none = ~fits.any(1)
    w = torch.where(none, min(width, round(height * ratio[1])), w)
    h = torch.where(none, min(height, round(width / ratio[0])), h)
    u = torch.rand(2, count, **rand)
    top = torch.where(none, (height - h) // 2, (u[0] * (height - h + 1)).floor())
    left = torch.where(none, (width - w) // 2, (u[1] * (width - w + 1)).floor())
    return torch.stack([top, left, h, w], 1).long()


def pad_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Pad each image with `pad` zero pixels and cut a random window of the old size."""
    n, _, h, w = images.shape
    padded = torch.nn.functional.pad(images, [pad] * 4)
    shift = torch.randint(
        0, 2 * pad + 1, (2, n), generator=generator, device=generator.device
    ).to(images.device)
    rows = shift[0][:, None] + torch.arange(h, device=images.device)
    columns = shift[1][:, None] + torch.arange(w, device=images.device)
    batch = torch.arange(n, device=images.device)[:, None, None]
    # Indexing NHWC once moves whole pixels; NCHW would gather each channel apart.
    picked = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]]
    return picked.permute(0, 3, 1, 2)


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images whose flag is set. flips: bool (N,)."""
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Augment one batch as the recipe says.

    images: uint8 (N, 3, H, W). Returns float in [0, 1], the same shape, on the
    images' device. `generator` may live there or on the CPU.
    """
    return moved(images.float().div_(255), recipe, generator)


def moved(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Crop and flip float images (N, 3, H, W) on any scale, normalised ones too.

    What a crop pads with is 0: black in [0, 1], the mean colour in normalised images.
    """
    device, (n, _, h, w) = images.device, images.shape
    flips = torch.rand(n, generator=generator, device=generator.device) < 0.5
    flips = (flips & recipe.flip).to(device)
    if recipe.augment == "rrc":
        boxes = crop_boxes(n, h, w, recipe.crop_scale, generator).to(device)
        return resample(images, boxes, flips, h)
    if recipe.augment == "crop":
        images = pad_crop(images, recipe.pad, generator)
    return mirror(images, flips) if recipe.flip else images


def cutmix(
    images: Tensor, labels: Tensor, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of each image's neighbour into it; labels become probabilities.

    images: float (B, C, H, W); labels: int (B,). Returns images alike and (B, classes).
    One box for the whole batch, its area 1 - lambda with lambda uniform in 0 .. 1, its
    centre anywhere, cut at the border (Yun et al., ICCV 2019, alpha 1). The neighbour
    is the next image of the batch, which is in random order itself.
    """
    h, w = images.shape[2:]
    draws = torch.rand(3, generator=generator, device=generator.device)
    lam, row, column = draws.to(images.device)
    inside = []
    # Tensors, not numbers: nothing here waits for the device.
    for side, centre in ((h, row), (w, column)):
        half = (side * (1 - lam).sqrt()).floor() // 2
        middle = (centre * side).floor()
        place = torch.arange(side, device=images.device)
        inside.append((place >= middle - half) & (place < middle + half))
    box = inside[0][:, None] & inside[1]
    mixed = torch.where(box, images.roll(-1, 0), images)
    one_hot = images.new_zeros(len(labels), classes).scatter_(1, labels[:, None], 1)
    share = box.to(images.dtype).mean()
    return mixed, one_hot * (1 - share) + one_hot.roll(-1, 0) * share
