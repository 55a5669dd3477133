"""Weights in pieces: what comes back, and what is refused."""

import json

import pytest
import torch

from ccfs_lib import networks
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import weights


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
