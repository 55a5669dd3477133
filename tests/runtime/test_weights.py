"""Weights of our own and of others: what comes back, and what is refused."""

import argparse
import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from ccfs_lib import data, networks
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import weights
from ccfs_lib.train import accuracy

TEACHER = "shared/data/h100-cifar100/teacher"  # a ResNet-18 that an H100 trained


def test_pieces_come_back_as_half_precision_of_what_went_in(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "MOST", 60_000)
    state = networks.build("convnet-32-64-32", 10, 32, seed=0).state_dict()
    files = weights.write(state, tmp_path / "new", {"network": "convnet-32-64-32"})
    assert len(files) > 2 and files[-1].name == weights.CARD
    assert all(f.stat().st_size <= weights.MOST for f in files)
    assert {f.name for f in (tmp_path / "new").iterdir()} == {f.name for f in files}
    back, told = weights.read(tmp_path / "new")
    assert told["network"] == "convnet-32-64-32" and set(back) == set(state)
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        half = value.half() if value.numel() > weights.FEW else value
        assert torch.equal(back[name], half.to(value.dtype))
    other = networks.build("convnet-32-64-32", 10, 32, seed=1)
    other.load_state_dict(back)
    files[0].unlink()
    with pytest.raises(InputError, match="holds no sound weights"):
        weights.read(tmp_path / "new")


def test_a_resnet18_goes_into_two_pieces(tmp_path):
    state = networks.build("resnet18", 200, 64, seed=0).state_dict()
    files = weights.write(state, tmp_path, {})
    assert len(files) == 3 and max(f.stat().st_size for f in files) <= 15_000_000


@pytest.mark.parametrize("harm", ["bit", "card", "none"])
def test_damage_is_a_sentence(tmp_path, harm):
    piece, card = weights.write({"a": torch.zeros(8)}, tmp_path, {})
    if harm == "bit":
        data = bytearray(piece.read_bytes())
        data[-1] ^= 1
        piece.write_bytes(data)
    elif harm == "card":
        card.write_text(json.dumps(["a"]))
    else:
        card.unlink()
    with pytest.raises(InputError, match="holds no sound weights") as error:
        weights.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_tensor_larger_than_a_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "MOST", 1000)
    with pytest.raises(InputError, match="big takes 10200 bytes"):
        weights.write({"big": torch.zeros(5000)}, tmp_path, {})
    assert not list(tmp_path.glob("*.safetensors"))


# -- of others -------------------------------------------------------------------------

NAME = "resnet18-w4"  # the layers of a ResNet-18, in some kilobytes


def trained(seed=0):
    """A network whose batch-norm statistics are not those of a fresh one."""
    network = networks.build(NAME, 7, 8, mean=(0.4,) * 3, std=(0.2,) * 3, seed=seed)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(seed)
        network(torch.rand(16, 3, 8, 8, generator=draw))
    return network.eval()


def kuangliu(body: dict) -> dict:
    """A body's weights by the names of kuangliu/pytorch-cifar."""
    return {
        k.replace("downsample", "shortcut").replace("fc.", "linear."): v
        for k, v in body.items()
    }


def under(prefix):
    return lambda state: {prefix + k: v for k, v in state.items()}


def inside(name, **more):
    return lambda state: {name: state, "epoch": 3, "acc": 71.5, **more}


ARGUMENTS = argparse.Namespace(lr=0.1, data="/data", opt=None)
FOREIGN = {
    "torchvision": [],
    "kuangliu": [kuangliu, under("module."), inside("net")],
    "state_dict": [inside("state_dict", best_acc1=torch.tensor(70.0))],
    "model": [inside("model", args=ARGUMENTS, optimizer={"state": {}, "lr": [0.1]})],
    "model_state_dict": [under("_orig_mod."), inside("model_state_dict")],
    "compiled in parallel": [under("module._orig_mod.")],
    "parallel, compiled": [under("_orig_mod.module."), inside("state_dict")],
    "wrapped twice": [inside("state_dict"), inside("model")],
    "old": [lambda s: {k: v for k, v in s.items() if "num_batches" not in k}],
    "half": [lambda s: {k: v.half() for k, v in s.items()}],
    "double": [lambda s: {k: v.double() for k, v in s.items()}],
}


@pytest.mark.parametrize("layout", FOREIGN)
def test_checkpoints_of_others_are_the_same_network(tmp_path, layout):
    network = trained()
    state = network.body.state_dict()
    for change in FOREIGN[layout]:
        state = change(state)
    torch.save(state, tmp_path / "best.pth")
    found, card = weights.load(tmp_path / "best.pth")
    assert card == {} and not any(
        v.dtype in (torch.half, torch.double) for v in found.values()
    )
    other = networks.build(NAME, 7, 8, mean=(0.4,) * 3, std=(0.2,) * 3, seed=1).eval()
    x = torch.rand(4, 3, 8, 8)
    assert not torch.allclose(other(x), network(x), atol=1e-3)
    weights.fit_into(other, found)
    tolerance = 0.02 if layout == "half" else 0
    torch.testing.assert_close(other(x), network(x), rtol=tolerance, atol=tolerance)


def test_torchvisions_resnet18_fits_with_its_own_stem(tmp_path):
    theirs = models.resnet18(weights=None, num_classes=5).eval()
    torch.save({"model": theirs.state_dict(), "args": ARGUMENTS}, tmp_path / "a.pth")
    found, _ = weights.load(tmp_path / "a.pth")
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1), "seed": 1}
    network = networks.build("resnet18-imagenet", 5, 32, **plain).eval()
    weights.fit_into(network, found)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(x), theirs(x))
    told = (
        "conv1.weight is (64, 3, 7, 7), but the network's conv1.weight is (64, 3, 3, 3)"
    )
    with pytest.raises(InputError, match=re.escape(told)):
        weights.fit_into(networks.build("resnet18", 5, 32, seed=0), found)


@pytest.mark.parametrize("kind", ["folder", "safetensors", "checkpoint"])
def test_our_own_bring_their_constants(tmp_path, kind):
    network, path = trained(), tmp_path / "it"
    if kind == "folder":
        weights.write(network.state_dict(), path, {"key": "abc", "network": NAME})
    elif kind == "safetensors":
        save_file(network.state_dict(), path := tmp_path / "it.safetensors")
    else:
        torch.save(network.state_dict(), path)
    found, card = weights.load(path)
    assert card.get("key") == ("abc" if kind == "folder" else None)
    other = networks.build(NAME, 7, 8, seed=1).eval()
    weights.fit_into(other, found)
    x = torch.rand(4, 3, 8, 8)
    assert torch.allclose(other.normalize(x), (x - 0.4) / 0.2, atol=1e-5)
    torch.testing.assert_close(other(x), network(x), rtol=0.02, atol=0.02)


def foreign() -> dict:
    return trained().body.state_dict()


def changed(**changes):
    """Weights with some replaced, or, by None, left out; "__" is a dot."""
    new = {k.replace("__", "."): v for k, v in changes.items()}
    return {k: v for k, v in (foreign() | new).items() if v is not None}


NAN = torch.full((7,), float("nan"))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            changed(layer2__0__bn1__bias=None),
            "weights lack layer2.0.bn1.bias, which th",
        ),
        (
            changed(fc__weight=torch.zeros(9, 32)),
            "fc.weight is (9, 32), but the network's fc.weight is (7, 32)",
        ),
        (
            kuangliu(changed(fc__bias=torch.zeros(9))),
            "linear.bias is (9,), but the network's fc.bias is (7,)",
        ),
        (
            kuangliu(changed(layer2__0__downsample__0__weight=torch.zeros(8, 8, 1, 1))),
            "layer2.0.shortcut.0.weight is (8, 8, 1, 1), but the network's "
            "layer2.0.downsample.0.weight is (8, 4, 1, 1)",
        ),
        (
            changed(ema__weight=torch.zeros(1)),
            "weights hold ema.weight, which the netw",
        ),
        (changed(fc__bias=NAN), "values that are not finite, in fc.bias"),
        (
            {"features.0.weight": torch.zeros(3)},
            "lack conv1.weight, which the network "
            "has; their first is features.0.weight",
        ),
        ({}, "weights lack conv1.weight, which the network has"),
        (under("body.")(foreign()), "weights lack normalize.mean, which the network"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(state, told):
    network = networks.build(NAME, 7, 8, seed=1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(told)) as error:
        weights.fit_into(network, state)
    assert "\n" not in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            Evil(),
            "of weights alone, it holds posix.system: to load anything else could",
        ),
        (trained(), "of weights alone, it holds ccfs_lib.networks.Network: to load"),
        (
            {"epoch": 3, "acc": 1.0},
            "hold no state dict, neither directly .* but: epoch, ",
        ),
        ({}, "hold no state dict, neither directly .* but: nothing"),
        ([torch.zeros(3)], "hold no state dict, neither directly .* but: list"),
        (
            {"net": {"net": {"a": 1}}},
            "hold no state dict, neither directly .* but: net",
        ),
        (b"no checkpoint", "are no PyTorch checkpoint"),
        (b"", "are no PyTorch checkpoint"),
        (b"PK\x03\x04 half a zip", "are no PyTorch checkpoint"),
    ],
)
def test_files_without_weights_are_one_sentence(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "best.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=f"^weights {path} .*{told}") as error:
        weights.load(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "hacked").exists()


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth do not exist"):
        weights.load(tmp_path / "none.pth")
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match=r"a\.safetensors are no safetensors"):
        weights.load(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds no sound weights"):
        weights.load(tmp_path)


def test_a_digest_is_of_names_shapes_and_bytes():
    state = {"a": torch.arange(6.0), "b": torch.tensor(3), "c": torch.ones(2, 3)}
    name = weights.digest(state)
    assert re.fullmatch("[0-9a-f]{20}", name)
    assert weights.digest(dict(reversed(state.items()))) == name
    assert weights.digest({**state, "c": torch.ones(3, 2).T}) == name  # not its strides
    others = [
        {**state, "a": state["a"].view(2, 3)},
        {**state, "a": state["a"] + torch.tensor([0, 0, 0, 0, 0, 1e-6])},
        {**state, "b": torch.tensor(3, dtype=torch.int32)},
        {k: v for k, v in state.items() if k != "b"},
        {"a": state["a"], "b": state["b"], "d": state["c"]},
        {**state, "c": torch.ones(2, 3).bfloat16()},
    ]
    assert len({name, *map(weights.digest, others)}) == len(others) + 1
    network = trained()
    found = weights.digest(network.state_dict())
    assert found == weights.digest(trained().state_dict())
    assert found != weights.digest(trained(1).state_dict())


def shared(place: str) -> Path | None:
    """A folder of development data, beside the checkout or further up."""
    found = (parent / place for parent in Path(__file__).parents)
    return next(filter(Path.is_dir, found), None)


def test_the_teacher_of_an_h100_knows_cifar100(tmp_path, monkeypatch):
    folder, root = shared(TEACHER), os.environ.get("CCFS_DATA", "")
    if folder is None or not (Path(root) / "cifar100").is_dir():
        pytest.skip(f"needs {TEACHER} beside the checkout, and cifar100 in CCFS_DATA")
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path))
    found, card = weights.load(folder)
    network = networks.build(card["network"], 100, 32, seed=0)
    weights.fit_into(network, found)
    mean, std = card["normalisation"]
    assert network.normalize.mean.flatten().tolist() == pytest.approx(mean)
    assert network.normalize.std.flatten().tolist() == pytest.approx(std)
    test = data.load(Path(root) / "cifar100", "test").subset(range(2000))
    # Two standard errors of 2,000 images are 1.9 points.
    assert accuracy(network, test) == pytest.approx(card["last"], abs=2)
