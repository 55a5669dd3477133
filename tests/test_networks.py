"""Sizes against published counts and torch's own FLOP counter; stems, seeds, errors."""

from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from ccfs_lib.errors import InputError
from ccfs_lib.networks import NAMES, STOCK, Network, _seeded, build, count

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
SMALL = ("convnet", "convnet-in", "convnet-8-16", "resnet10-w4")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def meta(name, num_classes=10, size=32):
    """A network in training mode without memory or arithmetic; shared, not changed."""
    with torch.device("meta"):
        return build(name, num_classes, size)


@pytest.mark.parametrize("name", ["regnet_y_8gf", "regnet_y_8gf-s1", "densenet121"])
def test_large_networks_are_counted_without_memory(name):
    """Chapter 15 counts its networks so, after everything has been trained."""
    with torch.device("meta"):
        network = build(name, 200, 64)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    assert count(network, 64).parameters > 7_000_000


def pixels(n, size, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def shape_into(network, module, size):
    """Shape of what `module` receives of two images through a meta network."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, args: seen.extend(args))
    network(torch.zeros(2, 3, size, size, device="meta"))
    hook.remove()
    return tuple(seen[0].shape)


# -- size ------------------------------------------------------------------------------

# GMAC and million parameters as measured beforehand by other code, to the digit kept.
TABLE = [
    ("resnet18", 10, 32, "0.555", "11.2"),
    ("resnet18", 100, 32, "0.555", "11.2"),
    ("resnet18", 200, 64, "2.222", "11.3"),
    ("resnet18-s2", 200, 64, "0.556", "11.3"),
    ("resnet18-imagenet", 200, 64, "0.148", "11.3"),
    ("resnet10-w16", 100, 32, "0.016", "0.32"),
    ("resnet50", 200, 64, "5.19", "23.9"),
    ("resnet101", 200, 64, "10.04", "42.9"),
    ("densenet121", 200, 64, "0.231", "7.2"),
    ("densenet121-s1", 200, 64, "3.55", "7.2"),
    ("regnet_y_8gf", 200, 64, "0.697", "37.8"),
    ("regnet_y_8gf-s1", 200, 64, "2.77", "37.8"),
    ("convnet", 10, 32, "0.051", "0.32"),
    ("convnet", 100, 32, "0.051", "0.50"),
    ("convnet", 200, 64, "0.213", "0.86"),
    ("convnet-in", 200, 64, "0.213", "0.86"),
]


def printed(value, like):
    return f"{value:.{len(like.split('.')[1])}f}"


@pytest.mark.parametrize(("name", "classes", "size", "gmac", "million"), TABLE)
def test_cost_is_as_measured_and_as_torch_counts(name, classes, size, gmac, million):
    network = meta(name, classes, size)
    cost = count(network, size)
    assert printed(cost.macs / 1e9, gmac) == gmac
    assert printed(cost.parameters / 1e6, million) == million
    with FlopCounterMode(display=False) as flops:
        network(torch.zeros(2, 3, size, size, device="meta"))
    assert flops.get_total_flops() == 2 * 2 * cost.macs  # 2 images, 2 per multiply-add


@pytest.mark.parametrize(
    ("name", "classes", "size", "parameters"),
    [
        # The CIFAR ResNet-18 of 11,173,962 weights, and its head for more classes.
        ("resnet18", 10, 32, 11_173_962),
        ("resnet18", 100, 32, 11_173_962 + 513 * 90),
        ("resnet18", 200, 64, 11_173_962 + 513 * 190),
        ("resnet18-w64", 10, 32, 11_173_962),
        ("resnet18-w64", 200, 64, 11_173_962 + 513 * 190),
        # By hand: a stem, four blocks, three shortcuts, two numbers per norm and
        # channel, and a head on 16.
        (
            "resnet10-w2",
            10,
            32,
            (27 * 2 + 4)
            + (9 * 2 * 2 + 4) * 2
            + (9 * 2 * 4 + 9 * 4 * 4 + 2 * 4 + 3 * 8)
            + (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8 + 3 * 16)
            + (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16 + 3 * 32)
            + (16 * 10 + 10),
        ),
        ("resnet50", 10, 32, 23_520_842),
        # torchvision publishes these for 1000 classes.
        ("resnet18-imagenet", 1000, 64, 11_689_512),
        ("densenet121", 1000, 64, 7_978_856),
        ("regnet_y_8gf", 1000, 64, 39_381_472),
        # DC's and MTT's ConvNet on CIFAR-10.
        ("convnet", 10, 32, 320_010),
        ("convnet-in", 10, 32, 320_010),
        # By hand: three convolutions, their norms, and a head on 128 x 4 x 4.
        (
            "convnet-32-64-128",
            10,
            32,
            (27 * 32 + 32 + 64) + (9 * 32 * 64 + 64 + 128) + (9 * 64 * 128 + 128 + 256)
            + (2048 * 10 + 10),
        ),
    ],
)  # fmt: skip
def test_parameters_are_the_known_ones(name, classes, size, parameters):
    assert count(meta(name, classes, size), size).parameters == parameters


def test_count_changes_nothing_in_the_network():
    network = build("convnet-8-16", 10, 8, seed=0)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for mode in (True, False):
        network.train(mode)
        assert count(network, 8) == count(meta("convnet-8-16", 10, 8), 8)
        assert all(m.training is mode for m in network.modules())
    assert not any(m._forward_hooks for m in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_count_cleans_up_when_the_image_does_not_fit():
    network = build("convnet-8-16", 10, 8, seed=0)
    with pytest.raises(RuntimeError):
        count(network, 32)
    assert network.training
    assert not any(m._forward_hooks for m in network.modules())


# -- shape -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "first", "kernel", "stride", "after"),
    [
        # what the first stage after the stem receives: (channels, side)
        ("resnet18", 32, "conv1", 3, 1, (64, 32)),
        ("resnet18", 64, "conv1", 3, 1, (64, 64)),
        ("resnet10-w16", 32, "conv1", 3, 1, (16, 32)),
        ("resnet18-w32", 64, "conv1", 3, 1, (32, 64)),
        ("resnet50", 64, "conv1", 3, 1, (64, 64)),
        ("resnet101", 64, "conv1", 3, 1, (64, 64)),
        ("resnet18-s2", 64, "conv1", 3, 2, (64, 32)),
        ("resnet18-imagenet", 64, "conv1", 7, 2, (64, 16)),
        ("densenet121", 64, "features.conv0", 7, 2, (64, 16)),
        ("densenet121-s1", 64, "features.conv0", 3, 1, (64, 64)),
        ("regnet_y_8gf", 64, "stem.0", 3, 2, (32, 32)),
        ("regnet_y_8gf-s1", 64, "stem.0", 3, 1, (32, 64)),
    ],
)
def test_stems(name, size, first, kernel, stride, after):
    network = meta(name, 200, 64)
    conv = network.body.get_submodule(first)
    assert (conv.kernel_size[0], conv.stride[0]) == (kernel, stride)
    assert conv.padding[0] == kernel // 2 and conv.bias is None
    convs = [m for m in network.body.modules() if isinstance(m, nn.Conv2d)]
    assert convs[0] is conv  # no unused layer hung beside the real one
    stage = {"res": "layer1", "den": "features.denseblock1", "reg": "trunk_output"}
    module = network.body.get_submodule(stage[name[:3]])
    assert shape_into(network, module, size) == (2, after[0], after[1], after[1])


@pytest.mark.parametrize("name", ["resnet18-imagenet", "densenet121", "regnet_y_8gf"])
def test_stock_stems_are_torchvisions_networks(name):
    base = name.partition("-")[0]
    theirs = getattr(models, base)(weights=None, num_classes=200)
    assert str(meta(name, 200, 64).body) == str(theirs)


def test_resnet18_w64_is_resnet18():
    wide, stock = build("resnet18-w64", 7, 8, seed=1), build("resnet18", 7, 8, seed=2)
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (wide, stock)]
    assert list(shapes[0]) == list(shapes[1]) and shapes[0] == shapes[1]
    x = pixels(4, 8)
    assert not torch.equal(wide.eval()(x), stock.eval()(x))
    wide.load_state_dict(stock.state_dict())
    assert torch.equal(wide(x), stock(x))


@pytest.mark.parametrize("name", ["resnet18", "resnet18-w64", "resnet10-w16"])
def test_resnets_begin_as_torchvisions_but_for_the_stem(name):
    body = build(name, 10, 8, seed=0).body
    stem = body.conv1.weight
    assert 0.9 * 27**-0.5 < stem.abs().max() <= 27**-0.5  # PyTorch's: uniform
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d) and layer is not body.conv1:
            fan = layer.out_channels * layer.kernel_size[0] ** 2
            std = (2 / fan) ** 0.5  # He's normal, by what leaves
            assert layer.weight.std().item() == pytest.approx(std, rel=0.15)
            assert layer.weight.abs().max() > 2.5 * std
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("size", "blocks"), [(4, 1), (8, 1), (16, 2), (28, 2), (32, 3), (50, 3), (64, 4)]
)
def test_convnet_depth_follows_the_image(size, blocks):
    network = meta("convnet", 10, size)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [128] * blocks
    out = network(torch.zeros(2, 3, size, size, device="meta"))
    assert out.shape == (2, 10)


@pytest.mark.parametrize("name", ["convnet", "convnet-in"])
def test_convnet_is_the_one_of_dc(name):
    network = build(name, 10, 16, **CIFAR, seed=3).eval()
    torch.manual_seed(0)
    for module in network.modules():  # norms that do something
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = pixels(4, 16)
    mean, std = (torch.tensor(CIFAR[k]).view(3, 1, 1) for k in ("mean", "std"))
    h = (x - mean) / std
    for i in (0, 4):
        conv, norm = network.body[i], network.body[i + 1]
        h = F.conv2d(h, conv.weight, conv.bias, padding=1)
        if name == "convnet":
            statistics = norm.running_mean, norm.running_var
            h = F.batch_norm(h, *statistics, norm.weight, norm.bias)
        else:
            h = F.instance_norm(h, weight=norm.weight, bias=norm.bias)
        h = h.relu().unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    expected = F.linear(h.reshape(4, -1), network.head.weight, network.head.bias)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "width"),
    [
        ("convnet", 32, 2048),
        ("convnet", 64, 2048),
        ("convnet-in", 8, 2048),
        ("convnet-32-64-128", 32, 2048),
        ("convnet-16-32", 8, 128),
        ("resnet18", 32, 512),
        ("resnet18", 64, 512),
        ("resnet18-s2", 64, 512),
        ("resnet10-w16", 32, 128),
        ("resnet18-w16", 64, 128),
        ("resnet50", 64, 2048),
        ("densenet121", 64, 1024),
        ("densenet121-s1", 32, 1024),
        ("regnet_y_8gf", 64, 2016),
        ("regnet_y_8gf-s1", 32, 2016),
    ],
)
def test_features_are_flat(name, size, width):
    # Only the ConvNet's weights depend on the size of the image.
    network = meta(name, 200, 64 if name in STOCK else size)
    x = torch.zeros(2, 3, size, size, device="meta")
    assert network.features(x).shape == (2, width)
    assert network(x).shape == (2, 200)


@pytest.mark.parametrize("name", [*SMALL, "resnet18"])
def test_logits_are_the_head_of_the_features(name):
    network = build(name, 7, 8, seed=0).eval()
    x = pixels(3, 8).requires_grad_()
    features = network.features(x)
    logits = F.linear(features, network.head.weight, network.head.bias)
    assert torch.equal(logits, network(x))
    assert not any(m._forward_pre_hooks for m in network.modules())
    features.square().sum().backward()  # distillation differentiates them
    assert x.grad.abs().sum() > 0


def test_body_holds_every_batch_norm():
    norms = [m for m in meta("resnet18").body.modules() if type(m) is nn.BatchNorm2d]
    assert len(norms) == 20  # 1 stem, 16 in blocks, 3 shortcuts


# -- normalisation ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["convnet-8-16", "resnet18"])
def test_first_convolution_sees_normalised_pixels(name):
    network = build(name, 10, 8, **CIFAR, seed=0).eval()
    seen = []
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, args: seen.extend(args))
    x = pixels(5, 8)
    logits = network(x)
    mean, std = (np.reshape(CIFAR[k], (1, 3, 1, 1)) for k in ("mean", "std"))
    expected = torch.from_numpy((x.double().numpy() - mean) / std).float()
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(logits, network.body(expected), rtol=1e-4, atol=1e-4)
    plain = build(name, 10, 8, mean=(0, 0, 0), std=(1, 1, 1), seed=0).eval()
    assert torch.equal(plain.body(seen[0]), logits)
    assert not torch.allclose(plain(x), logits)


def test_constants_travel_with_the_weights():
    saved = build("convnet-8", 10, 8, **CIFAR, seed=0)
    other = build("convnet-8", 10, 8, seed=1)
    other.load_state_dict(saved.state_dict())
    x = pixels(2, 8)
    assert torch.equal(other.eval()(x), saved.eval()(x))


@pytest.mark.parametrize(
    ("constants", "argument"),
    [
        ({"mean": (0.5,)}, "mean"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
        ({"std": (0.5, -1.0, 0.5)}, "std"),
        ({"std": (0.5, float("inf"), 0.5)}, "std"),
        ({"std": (0.5, 0.5, 0.5, 0.5)}, "std"),
    ],
)
def test_bad_constants(constants, argument):
    with pytest.raises(InputError, match=f"^{argument} is"):
        build("convnet-8", 10, 8, **constants)


# -- seeds -----------------------------------------------------------------------------


def same(a: Network, b: Network) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", [*SMALL, "resnet18"])
def test_seed_alone_decides_the_weights(name):
    torch.manual_seed(1)
    first = build(name, 10, 8, seed=5)
    torch.manual_seed(2)
    torch.rand(17)
    assert same(first, build(name, 10, 8, seed=5))
    assert not same(first, build(name, 10, 8, seed=6))


def test_a_network_without_a_seed_waits_for_one_that_is_seeded():
    """Drawn beside it, in another thread, its weights would shift the other's."""
    with ThreadPoolExecutor(1) as pool:
        with _seeded(0):
            before = torch.get_rng_state()
            job = pool.submit(build, "convnet-8", 10, 8)
            wait([job], timeout=0.5)
            assert torch.equal(torch.get_rng_state(), before) and not job.done()
        job.result()


def test_seed_leaves_every_generator_alone(monkeypatch):
    gpu = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", gpu.append)
    torch.default_generator.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    build("convnet-8", 10, 8, seed=0)
    with pytest.raises(InputError):
        build("convnet-8", 10, 1, seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert gpu == []


def test_without_seed_the_global_generator_decides():
    torch.manual_seed(4)
    first, second = build("convnet-8", 10, 8), build("convnet-8", 10, 8)
    assert not same(first, second)
    torch.manual_seed(4)
    assert same(first, build("convnet-8", 10, 8))


def test_seed_gives_torchvisions_weights():
    torch.manual_seed(9)
    theirs = models.resnet18(weights=None, num_classes=10)
    ours = build("resnet18-imagenet", 10, 32, seed=9)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.body.state_dict()[key], value), key


def test_seed_is_one_set_of_weights_whatever_the_default_device():
    with torch.device("meta"):
        elsewhere = build("convnet-8", 10, 8, seed=5)
    assert same(elsewhere, build("convnet-8", 10, 8, seed=5))


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "resnet",
            "resnet34",
            "ResNet18",
            "resnet18-",
            "resnet50-s2",
            " resnet18",
        ],
        *["resnet10", "resnet10-w", "resnet10-w0", "resnet18-w08", "resnet50-w16"],
        *["densenet121-s2", "convnet-", "convnet-0", "convnet-08", "convnet-in-32"],
        *["convnet32", "convnet--32", "convnet-32-", "convnet-bn", "convnet-3.5"],
    ],
)
def test_unknown_names(name):
    with pytest.raises(InputError, match="must be one of convnet, convnet-in") as error:
        build(name, 10, 32)
    assert repr(name) in str(error.value)
    assert all(known in str(error.value) for known in NAMES)


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_numbers_that_are_not_whole(value):
    with pytest.raises(InputError, match=f"^num_classes is {value!r}, but must be a w"):
        build("convnet-4", value, 8)
    with pytest.raises(InputError, match=f"^image_size is {value!r}, but must be a w"):
        build("convnet-4", 3, value)


@pytest.mark.parametrize("num_classes", [1, 0, -3])
@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_too_few_classes(name, num_classes):
    with pytest.raises(InputError, match=f"num_classes is {num_classes}, "):
        build(name, num_classes, 32)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnet", 1),
        ("convnet-in", 0),
        ("convnet-8", -4),
        ("convnet-8-8-8-8", 15),
        ("resnet18", 7),
        ("resnet10-w16", 7),
        ("regnet_y_8gf", 0),
        ("densenet121", 28),
        ("densenet121-s1", 7),
    ],
)
def test_too_small_images(name, size):
    with pytest.raises(InputError, match=f"image_size is {size}, "):
        build(name, 10, size)


@pytest.mark.parametrize("name", [*STOCK, "convnet-8-8-8", "resnet10-w4"])
def test_smallest_images_work(name):
    size = STOCK[name][2] if name in STOCK else 8
    network = meta(name, 200, 64) if name in STOCK else meta(name, 200, size)
    out = network(torch.zeros(2, 3, size, size, device="meta"))
    assert out.shape == (2, 200)


@pytest.mark.parametrize("size", [8, 15])
@pytest.mark.parametrize("width", [1, 4, 8, 16])
def test_gradients_of_narrow_shortcuts_are_those_of_a_strided_convolution(width, size):
    network = build(f"resnet10-w{width}", 10, size, seed=0)
    network = network.to(memory_format=torch.channels_last)
    shortcut = network.body.layer2[0].downsample.train()
    x = torch.rand(32, width, size, size).to(memory_format=torch.channels_last)
    y = shortcut(x)
    given = torch.rand_like(y)
    y.backward(given)
    weight = shortcut.get_submodule("0").weight
    w = weight.detach().double().requires_grad_()
    plain = F.conv2d(x.double(), w, stride=2)
    plain = F.batch_norm(plain, None, None, training=True)
    torch.testing.assert_close(y.double(), plain, rtol=1e-3, atol=1e-4)
    plain.backward(given.double())
    torch.testing.assert_close(weight.grad.double(), w.grad, rtol=1e-2, atol=2e-2)


def test_densenet_really_cannot_take_28_pixels():
    with torch.device("meta"):
        theirs = models.densenet121(weights=None, num_classes=10)
    with pytest.raises(RuntimeError, match="too small"):
        theirs(torch.zeros(2, 3, 28, 28, device="meta"))
