"""Products in bfloat16 on a CPU that has no instructions for them.

Only CPUs with AVX512-BF16 or AMX have. On all others PyTorch 2.11 forms them some 10
times as slowly as in float32. Here operands are rounded to bfloat16, multiplied and
summed in float32, and the result is rounded, as the instructions do it; sums are formed
in another order, which changes last bits. What is no product of `PRODUCTS`, such as
attention as one function, stays PyTorch's: right, and slow.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Of what autocast computes in bfloat16: layers of `networks`, and plain products.
PRODUCTS = {torch.conv1d, torch.conv2d, F.linear}
PRODUCTS |= {torch.matmul, torch.mm, torch.bmm, torch.addmm}
PRODUCTS |= {Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm, Tensor.addmm}
KINDS = {torch.float32, torch.bfloat16, torch.float16}  # what autocast casts


class ByFloat32(TorchFunctionMode):
    """Forms `PRODUCTS` of this thread in float32, of rounded tensors, and rounds them.

    Gradients are rounded at the same places: the gradient of a cast is a cast.
    """

    def __torch_function__(self, function: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return function(*args, **kwargs)
        kinds = {a.dtype for a in (*args, *kwargs.values()) if isinstance(a, Tensor)}
        if not kinds <= KINDS:
            return function(*args, **kwargs)
        args = [_rounded(a) for a in args]
        kwargs = {name: _rounded(a) for name, a in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs).bfloat16()


def _rounded(value):
    return value.bfloat16().float() if isinstance(value, Tensor) else value
