"""A network's weights in files small enough for a git repository.

Half precision, in pieces of some megabytes, with a card that says what they are. Never
pickle: whoever takes somebody's weights should not run somebody's code.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ccfs_lib.errors import InputError

MOST = 15_000_000  # bytes of a piece
# Values of a tensor that keeps its precision: batch norm's variances may lie outside
# the range of half precision, and all such tensors together are some kilobytes.
FEW = 4096
CARD = "weights.json"
SHAPE = (LookupError, TypeError, AttributeError)  # of a card that is something else


def write(weights: dict[str, Tensor], folder: Path, told: dict) -> list[Path]:
    """Write a state dict as float16 pieces with a card; the paths, the card last.

    told: plain values for the card (network, accuracy, ...). Raises InputError for a
    tensor that alone is more than a piece.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(_pieces(weights))
    names = [
        f"weights-{i}-of-{len(parts)}.safetensors" for i in range(1, len(parts) + 1)
    ]
    data = [save(part) for part in parts]
    sums = {n: hashlib.sha256(d).hexdigest() for n, d in zip(names, data, strict=True)}
    card = json.dumps(told | {"sha256": sums}, indent=1, sort_keys=True) + "\n"
    # The card comes last: pieces without one are not taken for weights.
    files = [*zip(names, data, strict=True), (CARD, card.encode())]
    for name, content in files:
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)
    return [folder / name for name, _ in files]


def read(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """The weights, as float32, and the card of what `write` wrote.

    Raises InputError for a folder without them and for a piece that is missing or not
    what was written.
    """
    try:
        told = json.loads((folder / CARD).read_text("utf-8"))
        pieces = [
            (name, (folder / name).read_bytes(), s)
            for name, s in told["sha256"].items()
        ]
        damaged = [n for n, data, s in pieces if hashlib.sha256(data).hexdigest() != s]
        if damaged:
            raise ValueError(f"{damaged[0]} fails its checksum")
        found = {k: v for _, data, _ in pieces for k, v in load(data).items()}
    except (OSError, ValueError, *SHAPE, SafetensorError) as error:
        raise InputError(f"{folder} holds no sound weights: {error}") from None
    halves = {k: v.float() for k, v in found.items() if v.dtype == torch.float16}
    return found | halves, told


def _pieces(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors in their order, in as few pieces below MOST as this order allows."""
    piece, size = {}, 0
    for name, value in weights.items():
        half = value.detach().cpu()
        if half.is_floating_point() and half.numel() > FEW:
            half = half.half()
        # Some 200 bytes of a file's header tell about a tensor.
        own = half.numel() * half.element_size() + 200
        if own > MOST:
            raise InputError(
                f"{name} takes {own} bytes in half precision, but a piece may have "
                f"{MOST}"
            )
        if piece and size + own > MOST:
            yield piece
            piece, size = {}, 0
        piece[name] = half.contiguous()
        size += own
    yield piece
