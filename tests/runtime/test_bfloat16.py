"""Products in bfloat16 where a CPU has none: in float32, of rounded tensors."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ccfs_lib import networks
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime import device
from ccfs_lib.train import fit, predict

RECIPE = Recipe(2, batch_size=32, precision="bf16", warmup_epochs=0, lr=0.01)


class Seen(TorchDispatchMode):
    """Notes in which types products are computed, forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if any(part in name for part in ("conv", "mm")):
            self.types |= {a.dtype for a in args if isinstance(a, Tensor)}
        return function(*args, **(kwargs or {}))


def computed_in(precision: str, layer: nn.Module) -> set:
    """Return the types in which a layer's products and their gradients are formed."""
    x = torch.rand(4, 3, 8, 8, requires_grad=True)
    with Seen() as seen:
        with device.cast("cpu", precision):
            y = layer(x)
        y.float().sum().backward()
    return seen.types


class Attention(nn.Module):
    """A product of two activations."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply pixels with pixels."""
        x = x.flatten(2)
        return torch.bmm(x, (x.mT @ x).softmax(2))


LAYERS = {
    "convolution": nn.Conv2d(3, 4, 3, padding=1),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(192, 5)),
    "attention": Attention(),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_only_cpus_that_multiply_bfloat16_are_asked_to(layer, monkeypatch):
    for has, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "has_bf16", lambda _, has=has: has)
        assert computed_in("bf16", layer) == {kind}
        assert computed_in("fp32", layer) == {torch.float32}
        with device.arithmetic(portable=True):  # the same on every machine
            assert computed_in("bf16", layer) == {torch.float32}


def rounded(x: Tensor) -> Tensor:
    """Round to the next bfloat16, as float64."""
    return x.detach().to(torch.bfloat16).double()


def test_operands_results_and_gradients_are_rounded(monkeypatch):
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5, 24, generator=draw, requires_grad=True)
    w = torch.randn(7, 24, generator=draw, requires_grad=True)
    b = torch.randn(7, generator=draw, requires_grad=True)
    with device.cast("cpu", "bf16"):
        y = F.linear(x, w, bias=b)
    assert y.dtype == torch.bfloat16
    exact = rounded(x) @ rounded(w).T + rounded(b)
    assert torch.equal(y, exact.to(torch.bfloat16))
    assert not torch.equal(y, (x.double() @ w.double().T + b).to(torch.bfloat16))
    g = torch.randn(5, 7, generator=draw).to(torch.bfloat16)
    y.backward(g)
    g = g.double()
    expected = {"x": g @ rounded(w), "w": g.T @ rounded(x), "b": g.sum(0)}
    for found, wanted in zip((x, w, b), expected.values(), strict=True):
        assert found.grad.dtype == torch.float32
        assert torch.equal(found.grad, wanted.to(torch.bfloat16).float())


def test_what_autocast_leaves_alone_is_left_alone(monkeypatch):
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
    a, b = torch.tensor([[3, 257]]), torch.tensor([[1], [1000]])
    with device.cast("cpu", "bf16"):
        assert (a @ b).item() == 257003
        assert (a.double() @ b.double()).item() == 257003
        assert (a.float() @ b.float()).dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            assert (a.float() @ b.float()).item() == 257003


@pytest.mark.parametrize("name", ["convnet-8-16", "resnet10-w4"])
def test_a_training_is_that_of_bfloat16(digits, name, monkeypatch):
    some = digits[0].subset(range(150))
    done, logits = {}, {}
    teacher = networks.build(name, 10, 8, seed=9)
    for has in (True, False):
        monkeypatch.setattr(device, "has_bf16", lambda _, has=has: has)
        network = networks.build(name, 10, 8, seed=0)
        logits[has] = predict(network, some.images, precision="bf16")
        done[has] = fit(network, some, RECIPE, seed=3, teacher=teacher)
    plain = networks.build(name, 10, 8, seed=0)
    fp32 = predict(plain, some.images)
    # Nearer to each other than either is to float32: what differs is last bits.
    between = (logits[True] - logits[False]).abs().mean()
    assert 2 * between < (logits[False] - fp32).abs().mean()
    assert done[False].losses == pytest.approx(done[True].losses, rel=0.02)
    exact = fit(plain, some, replace(RECIPE, precision="fp32"), seed=3, teacher=teacher)
    assert done[False].losses != exact.losses
