"""Batch-norm statistics of a batch, and their distance to those a teacher remembers."""

import torch
from torch import Tensor, nn

from ccfs_lib.errors import InputError
from ccfs_lib.runtime.device import is_portable


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
