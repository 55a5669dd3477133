"""The networks of the papers compared, with their stems, taking images in [0, 1].

Normalisation is the first layer, not a property of the data: images stay uint8
everywhere, and a teacher and a student with different constants see the same batch.
"""

import contextlib
import math
import re
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils.weak import WeakIdKeyDictionary
from torchvision import models
from torchvision.models.resnet import BasicBlock

from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime import plugins

# name: (torchvision constructor, stride of a 3x3 stem, smallest image in pixels).
# Stride None keeps torchvision's own stem and pooling, made for 224-pixel images.
STOCK = {
    # CCFS, SRe2L and CDA: 3x3 stride 1 and no max-pool, at 32 and at 64 pixels alike.
    "resnet18": (models.resnet18, 1, 8),
    "resnet50": (models.resnet50, 1, 8),
    "resnet101": (models.resnet101, 1, 8),
    # SelMatch's network for Tiny-ImageNet: a quarter of the work of the one above.
    "resnet18-s2": (models.resnet18, 2, 8),
    "resnet18-imagenet": (models.resnet18, None, 8),
    # The released CCFS code replaces `conv1` and `maxpool`. These two call theirs
    # otherwise, so the ImageNet stem stays; the paper does not say which one it means.
    "densenet121": (models.densenet121, None, 29),  # unpadded pools: 28 px become 0
    "regnet_y_8gf": (models.regnet_y_8gf, None, 8),
    # Ours: what the paper would mean if all its networks had the small-image stem.
    "densenet121-s1": (models.densenet121, 1, 8),
    "regnet_y_8gf-s1": (models.regnet_y_8gf, 1, 8),
}
# CCFS's ResNet-18 in other sizes: "resnet10-w16" costs a 34th of it.
NARROW = re.compile(r"resnet(10|18)-w([1-9][0-9]*)")
LEAST = 8  # pixels: three halvings leave one
# Channels. A strided 1x1 convolution of fewer has wrong gradients, or ends the process,
# in oneDNN (github.com/uxlfoundation/oneDNN/issues/6035; 8 with AVX2, 16 with AVX512).
BLOCK = 16
CONVNET = re.compile(r"convnet(-in|(-[1-9][0-9]*)+)?")
_lock = threading.RLock()
_given = WeakIdKeyDictionary()  # living weights that users' factories returned
NAMES = ("convnet", "convnet-in", "convnet-W1-W2-...", "resnet10-wN", "resnet18-wN")
NAMES += (*STOCK, "module:function")


class Normalize(nn.Module):
    """(x - mean) / std per channel, with both saved beside the weights."""

    def __init__(self, mean, std):
        super().__init__()
        for name, values, least in (("mean", mean, -math.inf), ("std", std, 0.0)):
            values = [float(value) for value in values]
            if len(values) != 3 or not all(least < v < math.inf for v in values):
                kind = "positive" if name == "std" else "finite"
                raise InputError(f"{name} is {values}, but must be three {kind} floats")
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float images (N, 3, H, W) in [0, 1]."""
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """Turn normalised images (N, 3, H, W) back into images around [0, 1]."""
        return x * self.std + self.mean


class Network(nn.Module):
    """`normalize`, then `body`, whose last linear layer is the classifier."""

    def __init__(self, normalize: Normalize, body: nn.Module):
        super().__init__()
        self.normalize, self.body = normalize, body

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, C) of float images (N, 3, H, W) in [0, 1]."""
        return self.body(self.normalize(x))

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return [m for m in self.body.modules() if isinstance(m, nn.Linear)][-1]

    def features(self, x: Tensor) -> Tensor:
        """Compute the classifier's input (N, D) of float images (N, 3, H, W)."""
        # A hook, since each torchvision family arranges its forward pass differently.
        seen = []
        hook = self.head.register_forward_pre_hook(lambda _, args: seen.extend(args))
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
    """Build a network by name, with fresh weights.

    name: "convnet" (the ConvNet of DC, DM and MTT with SelMatch's BatchNorm: blocks
    of 128 channels, 3 at 32 pixels, 4 at 64), "convnet-in" (instance norm, as in DC),
    "convnet-32-64-128" (your widths, a block each, BatchNorm), "resnet10-w16" or
    "resnet18-w16" (one or two basic blocks a stage, widths N, 2N, 4N, 8N, the stem of
    "resnet18", which is "resnet18-w64"), a key of STOCK, or "module:function": your
    factory of num_classes, image_size, which returns a new nn.Module at each
    call, from normalised images to logits, whose last nn.Linear is the classifier.
    num_classes: 2 or more. image_size: side in pixels. mean, std: three floats each,
    for images in [0, 1]. With `seed`, the weights depend on it alone, are made on the
    CPU, and no global random generator moves; without, they draw from the global one.

    Returns a Network from float (N, 3, image_size, image_size) in [0, 1] to logits
    (N, num_classes). Raises InputError for a name, number of classes, size or constant
    with which this cannot be built.
    """
    for what, value in (("num_classes", num_classes), ("image_size", image_size)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InputError(f"{what} is {value!r}, but must be a whole number")
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}, but at least 2 are needed")
    make = _maker(name)
    # Without a seed, too, one at a time: a draw would shift another thread's weights.
    with _lock if seed is None else _seeded(seed):
        normalize = Normalize(mean, std)
        return Network(normalize, make(name, num_classes, image_size))


def probe(network: Network, name: str, num_classes: int, image_size: int) -> None:
    """Ask a network for its logits of two images; its state may change.

    Raises InputError where it raises, or returns anything but logits (2, num_classes).
    """
    images = torch.zeros(2, 3, image_size, image_size)
    with torch.inference_mode(), plugins.told(name, "network"):
        logits = network.eval()(images)
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, num_classes):
        raise InputError(
            f"network is {name!r}, which returned {shape} for 2 images, but must "
            f"return logits (2, {num_classes})"
        )
    one = torch.ones(2)
    if (logits >= 0).all() and torch.allclose(logits.float().sum(1), one, atol=1e-4):
        warnings.warn(
            f"network is {name!r}, which returned probabilities: the losses here are "
            "of logits, so leave out its last softmax",
            Notice,
            stacklevel=3,
        )


def _maker(name: str):
    """Find what builds the body of a network of this name."""
    if CONVNET.fullmatch(name):
        return _convnet
    if NARROW.fullmatch(name):
        return _narrow
    if name in STOCK:
        return _stock
    if plugins.named(name):
        return _factory
    raise InputError(f"network is {name!r}, but must be one of {', '.join(NAMES)}")


@contextlib.contextmanager
def _seeded(seed: int):
    # Not torch.manual_seed: it would reseed the GPU as well, which is not put back.
    # On the CPU, so that one seed is one set of weights on every machine.
    # One at a time: the generator is global, and trainings may share a process.
    with _lock, torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


def _convnet(name: str, num_classes: int, size: int) -> nn.Module:
    widths = [int(width) for width in re.findall("[0-9]+", name)]
    widths = widths or [128] * _depth(size)
    side = size >> len(widths)  # the pools round down, as they do in DC
    if side < 1:
        raise InputError(
            f"image_size is {size}, but {name} halves it {len(widths)} times and needs "
            f"{2 ** len(widths)} or more"
        )
    layers, channels = [], 3
    for width in widths:
        # One group per channel: instance norm with a scale and shift, as DC has it.
        instance = name == "convnet-in"
        norm = nn.GroupNorm(width, width) if instance else nn.BatchNorm2d(width)
        layers += [nn.Conv2d(channels, width, 3, padding=1), norm]
        layers += [nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        channels = width
    layers += [nn.Flatten(), nn.Linear(channels * side**2, num_classes)]
    return nn.Sequential(*layers)


def _depth(size: int) -> int:
    """Count the blocks that leave at least 4 pixels: 1 at 8, 3 at 32, 4 at 64 px."""
    return max(1, (size // 4).bit_length() - 1)


def _stock(name: str, num_classes: int, size: int) -> nn.Module:
    constructor, stride, smallest = STOCK[name]
    if size < smallest:
        raise InputError(f"image_size is {size}, but {name} needs {smallest} or more")
    if name.startswith("regnet") and torch.get_default_device().type == "meta":
        # It computes its widths with tensors, which have no values there.
        with torch.device("cpu"):
            body = constructor(weights=None, num_classes=num_classes).to("meta")
    else:
        body = constructor(weights=None, num_classes=num_classes)
    if stride is None:
        return body
    # The new stem keeps PyTorch's default initialisation, unlike its neighbours
    # from torchvision: the released code swaps it in after they were initialised.
    conv = partial(nn.Conv2d, 3, kernel_size=3, stride=stride, padding=1, bias=False)
    if isinstance(body, models.ResNet):
        body.conv1, body.maxpool = conv(64), nn.Identity()
    elif isinstance(body, models.DenseNet):
        body.features.conv0, body.features.pool0 = conv(64), nn.Identity()
    else:
        body.stem[0] = conv(32)  # RegNet's stem has no pooling to remove
    return body


def _narrow(name: str, num_classes: int, size: int) -> nn.Module:
    depth, width = map(int, NARROW.fullmatch(name).groups())
    if size < LEAST:
        raise InputError(f"image_size is {size}, but {name} needs {LEAST} or more")
    blocks = {10: 1, 18: 2}[depth]
    # torchvision's names of layers, so that its weights of "resnet18-w64" fit.
    layers = OrderedDict(
        conv1=nn.Conv2d(3, width, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
    )
    channels = width
    for stage, stride in enumerate((1, 2, 2, 2)):
        out = width * 2**stage
        layers[f"layer{stage + 1}"] = _stage(channels, out, blocks, stride)
        channels = out
    layers |= OrderedDict(
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(channels, num_classes),
    )
    return nn.Sequential(layers)


def _stage(channels: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    """Stack basic blocks of one width (He et al., 2016), the first with the stride."""
    shortcut = None
    if stride > 1 or channels != out:
        layers, own = OrderedDict(), stride
        if stride > 1 and channels < BLOCK:  # takes the pixels before the convolution
            layers["pixels"], own = nn.AvgPool2d(1, stride), 1
        layers["0"] = nn.Conv2d(channels, out, 1, own, bias=False)
        layers["1"] = nn.BatchNorm2d(out)
        shortcut = nn.Sequential(layers)
    first = BasicBlock(channels, out, stride, shortcut)
    stage = nn.Sequential(first, *(BasicBlock(out, out) for _ in range(blocks - 1)))
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):  # as torchvision initialises all but our stems
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return stage


def _factory(name: str, num_classes: int, size: int) -> nn.Module:
    make = plugins.resolve(name, "network", ("num_classes", "image_size"))
    body = make(num_classes, size)
    if not isinstance(body, nn.Module):
        raise InputError(
            f"network is {name!r}, which returned a {type(body).__name__}, but must "
            "return an nn.Module"
        )
    linear = [m.out_features for m in body.modules() if isinstance(m, nn.Linear)]
    if linear[-1:] != [num_classes]:
        last = f"has {linear[-1]} outputs" if linear else "is not there"
        raise InputError(
            f"network is {name!r}, but the last nn.Linear, its classifier, {last}; "
            f"there are {num_classes} classes"
        )
    _check_new(name, body)
    return body


def _check_new(name: str, body: nn.Module) -> None:
    """Raise InputError where an earlier network from a factory has the same weights."""

    def memory(weights: Tensor) -> int:
        """Tell weights apart by their memory; meta ones, which have none, by object."""
        return weights.data_ptr() or id(weights)

    # Frozen ones, such as a backbone's, may be shared: no training changes them.
    trained = [p for p in body.parameters() if p.requires_grad]
    lazy = [m for m in body.modules() if isinstance(m, LazyModuleMixin)]
    if any(m.has_uninitialized_params() for m in lazy):
        raise InputError(
            f"network is {name!r}, which has lazy layers, but weights must be made "
            "when it is built: give the layers their sizes"
        )
    new = [p for p in trained if p.numel()]
    if {memory(p) for p in _given} & {memory(p) for p in new}:
        raise InputError(
            f"network is {name!r}, which returned weights that an earlier network has, "
            "but must build a new network at each call"
        )
    for parameter in new:
        _given[parameter] = None


@dataclass(frozen=True)
class Cost:
    """Size of a network, and the work of one forward image."""

    parameters: int
    macs: int  # multiply-adds of convolutions and linear layers; a FLOP count is twice


def count(network: nn.Module, image_size: int) -> Cost:
    """Count parameters, and multiply-adds on one image (3, image_size, image_size).

    Runs where the network is: on the meta device, without memory or arithmetic.
    """
    macs = []

    def hook(layer, _, output):
        """Count the multiply-adds of one layer."""
        # A weight (out, in / groups, ...) costs its row once per output element.
        macs.append(output[0].numel() * layer.weight[0].numel())

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    training, device = network.training, next(network.parameters()).device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return Cost(sum(p.numel() for p in network.parameters()), sum(macs))
