"""Convolution and normalisation that are cheap to differentiate twice.

Matching needs the gradient of a gradient. PyTorch composes it from many small
operations: for batch norm alone about twenty passes over the activations, nearly half
of an inner step on a CPU. Written out, all of them are per-channel linear combinations
of two or three tensors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


class Conv(Function):
    """3x3 convolution, stride 1, padding 1, of x (N, C, H, W).

    images: x is the images, whose gradient is only asked for at the very end.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, images: bool) -> Tensor:
        """Compute the output, (N, O, H, W)."""
        ctx.save_for_backward(x, weight)
        ctx.images = images
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx, g: Tensor):
        """Compute gradients of x, weight, bias."""
        # A graph is built only for the slope in the weights, which needs no images.
        skip = ctx.images and torch.is_grad_enabled()
        return *ConvGradient.apply(g, *ctx.saved_tensors, not skip), None


class ConvGradient(Function):
    """The gradients of `Conv`, linear in g and in each of x and weight."""

    @staticmethod
    def forward(ctx, g: Tensor, x: Tensor, weight: Tensor, for_x: bool):
        """Compute gradients of x (if wanted), weight, bias; g = d loss / d output."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, weight)
        return _conv_backward(g, x, weight, for_x, True, True)

    @staticmethod
    def backward(ctx, v: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None):
        """Return gradients for cotangents of the three; all are usual convolutions."""
        g, x, weight = ctx.saved_tensors
        for_g = for_x = for_weight = None
        if v_bias is not None:
            for_g = v_bias.view(1, -1, 1, 1).expand_as(g)
        if v_weight is not None:
            for_g = F.conv2d(x, v_weight, v_bias, padding=1)
            for_x = _conv_backward(g, x, v_weight, True, False, False)[0]
        if v is not None:  # None below the first layer, whose input is not a weight's
            through = F.conv2d(v, weight, padding=1)
            for_g = through if for_g is None else for_g + through
            for_weight = _conv_backward(g, v, weight, False, True, False)[1]
        return for_g, for_x, for_weight, None


def _conv_backward(g: Tensor, x: Tensor, weight: Tensor, *wanted: bool):
    return torch.ops.aten.convolution_backward(
        g, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )


class Norm(Function):
    """Batch norm (over N, H, W) or instance norm (over H, W), with scale and shift.

    z = (x - m) r with r = 1 / sqrt(var + eps), y = scale z + shift.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, shift: Tensor, instance: bool, eps):
        """Compute y, of the shape of x (N, C, H, W)."""
        m = _mean(x, instance)
        r = (_mean(x * x, instance) - m * m + eps).clamp(min=eps).rsqrt()
        ctx.save_for_backward(x, m, r, scale)
        ctx.instance = instance
        scale, shift = scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
        return _sum(shift - scale * m * r, (x, scale * r))

    @staticmethod
    def backward(ctx, g: Tensor):
        """Compute gradients of x, scale, shift."""
        return *NormGradient.apply(g, *ctx.saved_tensors, ctx.instance), None, None


class NormGradient(Function):
    """The gradients of `Norm`: scale r (g - mean g - z mean gz), sum gz, sum g."""

    @staticmethod
    def forward(ctx, g, x, m, r, scale, instance: bool):
        """Compute gradients of x, scale, shift for g = d loss / d y."""
        mean_g = _mean(g, instance)
        a = (_mean(g * x, instance) - m * mean_g) * r  # mean gz
        ctx.save_for_backward(g, x, m, r, scale, mean_g, a)
        ctx.instance = instance
        k = scale.view(1, -1, 1, 1) * r
        for_x = _sum(k * (m * r * a - mean_g), (g, k), (x, -k * r * a))
        return for_x, _channels(a, x), _channels(mean_g, x)

    @staticmethod
    def backward(ctx, v: Tensor, v_scale: Tensor, v_shift: Tensor):
        """Return gradients for cotangents of the three; m and r follow x."""
        g, x, m, r, scale, mean_g, a = ctx.saved_tensors
        v_scale, v_shift = v_scale.view(1, -1, 1, 1), v_shift.view(1, -1, 1, 1)
        mean_v, k = _mean(v, ctx.instance), scale.view(1, -1, 1, 1) * r
        b = (_mean(v * x, ctx.instance) - m * mean_v) * r  # mean vz
        s = _mean(v * g, ctx.instance) - mean_v * mean_g - a * b  # mean of v, g apart
        # d/dg = k (v - mean v - z b) + v_scale z + v_shift
        of_z = v_scale - k * b
        for_g = _sum(v_shift - k * mean_v - of_z * m * r, (v, k), (x, of_z * r))
        # d/dx = -k r (a v + b g + (s - 2ab) z - a mean v - b mean g)
        #        + v_scale r (g - mean g - a z)
        q, t = -k * r, v_scale * r
        of_z = q * (s - 2 * a * b) - t * a
        rest = -q * (a * mean_v + b * mean_g) - t * mean_g - of_z * m * r
        for_x = _sum(rest, (v, q * a), (g, q * b + t), (x, of_z * r))
        return for_g, for_x, None, None, _channels(r * s, x), None


def _mean(x: Tensor, instance: bool) -> Tensor:
    """Compute the mean over H and W, and N unless `instance`; (N or 1, C, 1, 1)."""
    if instance:
        return x.mean((2, 3), keepdim=True)
    # Over channels-last memory a sum is a matrix product, many times faster.
    flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    share = flat.new_full((1, len(flat)), 1 / len(flat))
    return (share @ flat).view(1, -1, 1, 1)


def _sum(constant: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Compute constant + sum of tensor x coefficient, in one pass each."""
    (first, factor), *others = terms
    out = torch.addcmul(constant, first, factor)
    for tensor, factor in others:
        out.addcmul_(tensor, factor)
    return out


def _channels(mean: Tensor, x: Tensor) -> Tensor:
    """Compute sums per channel (C,) of means (N or 1, C, 1, 1) over a tensor like x."""
    return mean.sum(0).flatten() * (x.numel() / (mean.shape[0] * x.shape[1]))


def known(body: nn.Module) -> bool:
    """Return whether `forward` can run a body: the ConvNets of `networks`."""
    if not isinstance(body, nn.Sequential):
        return False
    for layer in body:
        if isinstance(layer, nn.Conv2d):
            plain = layer.kernel_size == (3, 3) and layer.padding == (1, 1)
            if not plain or layer.stride != (1, 1) or layer.groups != 1:
                return False
        elif isinstance(layer, nn.GroupNorm) and layer.num_groups != layer.num_channels:
            return False
    return True


def forward(body: nn.Sequential, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Compute the body's output for other weights (by parameter name)."""
    instance = any(isinstance(layer, nn.GroupNorm) for layer in body)
    # Batch norm runs over channels, instance norm over pixels: each where they lie
    # side by side.
    order = torch.contiguous_format if instance else torch.channels_last
    x = x.contiguous(memory_format=order)
    for name, layer in body.named_children():
        if isinstance(layer, nn.Conv2d):
            weight = weights[f"{name}.weight"].contiguous(memory_format=order)
            x = Conv.apply(x, weight, weights[f"{name}.bias"], name == "0")
        elif isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm)):
            affine = weights[f"{name}.weight"], weights[f"{name}.bias"]
            x = Norm.apply(x, *affine, instance, layer.eps)
        elif isinstance(layer, nn.Linear):
            x = F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
        else:
            x = layer(x)
    return x
