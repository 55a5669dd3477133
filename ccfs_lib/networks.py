"""Networks with the protocol's stems. Every network takes images in [0, 1].

Normalisation is the first layer, not a property of the data: images stay uint8
everywhere, and a teacher and a student with different constants see the same batch.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models

from ccfs_lib.errors import InputError

STOCK = ("resnet18", "resnet50", "resnet101", "densenet121", "regnet_y_8gf")
NAMES = ("convnet", "convnet-in", "convnet-W1-W2-...", *STOCK)


class Normalize(nn.Module):
    """(x - mean) / std per channel."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float images (N, 3, H, W) in [0, 1]."""
        return (x - self.mean) / self.std


class Network(nn.Module):
    """`normalize`, then `body`, whose last linear layer is the classifier."""

    def __init__(self, normalize: Normalize, body: nn.Module):
        super().__init__()
        self.normalize, self.body = normalize, body

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C) of float images (N, 3, H, W) in [0, 1]."""
        return self.body(self.normalize(x))

    def features(self, x: Tensor) -> Tensor:
        """What the classifier sees, float (N, D)."""
        seen = []
        head = [m for m in self.body.modules() if isinstance(m, nn.Linear)][-1]
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self(x)
        finally:
            hook.remove()
        return seen[0]


def build(
    name: str,
    num_classes: int,
    image_size: int,
    *,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    seed: int | None = None,
) -> Network:
    """Build a network by name.

    name: "convnet" (blocks of 128 channels with BatchNorm: 3 at 32 px, 4 at 64 px),
    "convnet-in" (instance norm), "convnet-32-64-128" (widths), "resnet18/50/101"
    (3x3 stride-1 stem, no max-pool), "resnet18-s2" (SelMatch's stride 2 for 64 px),
    "densenet121", "regnet_y_8gf" (torchvision's stems, as the released code leaves
    them; with "-s1" small-image stems). mean, std: three floats each, for [0, 1]
    images. With `seed`, weights depend on it alone and the global generator is left as
    it was. Raises InputError for names, classes or sizes that cannot be built.
    """
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}, but at least 2 are needed")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        if name.startswith("convnet"):
            body = _convnet(name, num_classes, image_size)
        else:
            body = _stock(name, num_classes, image_size)
    return Network(Normalize(mean, std), body)


def _convnet(name: str, num_classes: int, size: int) -> nn.Module:
    widths, norm = _widths(name, size)
    if size % 2 ** len(widths) or size < 2 ** len(widths):
        raise InputError(
            f"network {name!r} halves the image {len(widths)} times, but image_size "
            f"is {size}"
        )
    layers, channels = [], 3
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1), norm(width)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
        channels = width
    side = size // 2 ** len(widths)
    head = nn.Linear(channels * side**2, num_classes)
    return nn.Sequential(*layers, nn.Flatten(), head)


def _widths(name: str, size: int) -> tuple[list[int], type]:
    if name == "convnet-in":
        norm = lambda width: nn.GroupNorm(width, width)  # noqa: E731
        return [128] * _depth(size), norm
    if name == "convnet":
        return [128] * _depth(size), nn.BatchNorm2d
    if not re.fullmatch(r"convnet(-[1-9]\d*)+", name):
        raise InputError(f"network is {name!r}, but must be one of {', '.join(NAMES)}")
    return [int(width) for width in name.split("-")[1:]], nn.BatchNorm2d


def _depth(size: int) -> int:
    """Blocks of the protocol's ConvNet: it halves down to 4 pixels."""
    return max(1, (size // 4).bit_length() - 1)


def _stock(name: str, num_classes: int, size: int) -> nn.Module:
    base, _, stem = name.partition("-")
    if base not in STOCK or stem not in ("", "s1", "s2"):
        raise InputError(f"network is {name!r}, but must be one of {', '.join(NAMES)}")
    if size < 8:
        raise InputError(f"image_size is {size}, but {name} needs 8 pixels or more")
    body = getattr(models, base)(weights=None, num_classes=num_classes)
    if base.startswith("resnet"):
        body.conv1 = _conv(3, 64, 2 if stem == "s2" else 1)
        body.maxpool = nn.Identity()
    elif base == "densenet121" and stem == "s1":
        body.features.conv0, body.features.pool0 = _conv(3, 64, 1), nn.Identity()
    elif base == "regnet_y_8gf" and stem == "s1":
        body.stem[0] = _conv(3, 32, 1)
    return body


def _conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


@dataclass(frozen=True)
class Cost:
    """Size of a network: parameters, and multiply-adds of one forward image."""

    parameters: int
    macs: int  # convolutions and linear layers


def count(network: nn.Module, image_size: int) -> Cost:
    """Count parameters and the multiply-adds of one (3, S, S) image by hooks."""
    total = []

    def hook(layer, _, output):
        weight = layer.weight  # (out, in / groups, ...): work per output element
        total.append(output[0].numel() * weight[0].numel())

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    device = next(network.parameters()).device
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    for handle in handles:
        handle.remove()
    return Cost(sum(p.numel() for p in network.parameters()), sum(total))
