"""A network as a pure function of one flat vector of weights.

Trajectories are vectors, and matching differentiates through steps on them, so the
network itself keeps no weights here: loss(theta, images, targets), its gradient, and
the derivative of that gradient along a direction, which is all that unrolled gradient
descent needs to be differentiated.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from ccfs_lib.distill import layers
from ccfs_lib.distill.pixels import Space
from ccfs_lib.errors import InputError
from ccfs_lib.networks import Network

# ours: how the network runs. "fast": our layers where ConvNets are differentiated
# twice, PyTorch's elsewhere; "plain": PyTorch's; "compile": those, fused by
# torch.compile, which needs a C++ compiler on a CPU, and minutes for each batch size.
ENGINES = ("fast", "plain", "compile")


class Flat(Space):
    """The body of `network` (normalised images in, logits out) without its weights.

    Batch norm uses the batch's statistics, here and in the papers' inner steps: running
    averages are no part of a trajectory. `start` holds the weights that `network` had,
    float (P,). Raises InputError for an engine that is not in ENGINES.
    """

    def __init__(self, network: Network, device="cpu", engine: str = "fast"):
        if engine not in ENGINES:
            raise InputError(f"engine is {engine!r}, but must be one of {ENGINES}")
        super().__init__(network.normalize, device)
        self.body = copy.deepcopy(network.body).to(device).train()
        for layer in self.body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = None
                layer.num_batches_tracked = None
        named = dict(self.body.named_parameters())
        self.names, self.shapes = list(named), [p.shape for p in named.values()]
        self.sizes = [p.numel() for p in named.values()]
        self.start = torch.cat([p.detach().flatten() for p in named.values()])
        self.fast = engine == "fast" and layers.known(self.body)
        if engine == "compile":
            # Traced as a function of a function: one graph for the compiler to fuse.
            self._slope = torch.compile(grad_and_value(self.loss), dynamic=False)

    def __len__(self) -> int:
        return sum(self.sizes)

    def weights(self, theta: Tensor) -> dict[str, Tensor]:
        """Return views of theta (P,) by parameter name."""
        parts = zip(self.names, theta.split(self.sizes), self.shapes, strict=True)
        return {name: part.view(shape) for name, part, shape in parts}

    def logits(self, theta: Tensor, images: Tensor, twice: bool = False) -> Tensor:
        """Compute logits (B, C) of normalised images (B, 3, H, W).

        twice: by layers that can be differentiated twice, if the engine has them;
        differentiated once, PyTorch's are faster.
        """
        weights = self.weights(theta)
        if self.fast and twice:
            return layers.forward(self.body, weights, images)
        return functional_call(self.body, weights, (images,))

    def loss(self, theta: Tensor, images: Tensor, targets: Tensor, twice: bool = False):
        """Compute mean cross-entropy; targets: probabilities (B, C), or int (B,)."""
        return F.cross_entropy(self.logits(theta, images, twice), targets)

    def descent(self, theta: Tensor, images: Tensor, targets: Tensor):
        """Compute (d loss / d theta (P,), loss), both without a graph."""
        slope, loss = self._slope(theta.detach(), images, targets)
        return slope.detach(), loss.detach()

    def pull(self, theta: Tensor, images: Tensor, targets: Tensor):
        """Compute d loss / d theta with its graph, and that graph's leaves.

        Returns (leaves, slope (P,)); leaves: copies of the three arguments; targets
        are probabilities (B, C).
        """
        leaves = [x.detach().requires_grad_(True) for x in (theta, images, targets)]
        with torch.enable_grad():
            return leaves, self._slope(*leaves)[0]

    def _slope(self, theta: Tensor, images: Tensor, targets: Tensor):
        with torch.enable_grad():
            graph = theta.requires_grad
            theta = theta if graph else theta.requires_grad_(True)
            loss = self.loss(theta, images, targets, twice=graph)
            return torch.autograd.grad(loss, theta, create_graph=graph)[0], loss
