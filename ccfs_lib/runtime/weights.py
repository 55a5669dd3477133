"""Weights of networks: our own in small files, and those of others.

Our own are small enough for a git repository: half precision, in pieces of some
megabytes, with a card that says what they are. Others' are safetensors or a PyTorch
checkpoint, of which nothing but weights is unpickled: whoever takes somebody's weights
should not run somebody's code.
"""

import argparse
import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save
from torch import Tensor, nn

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths

MOST = 15_000_000  # bytes of a piece
# Values of a tensor that keeps its precision: batch norm's variances may lie outside
# the range of half precision, and all such tensors together are some kilobytes.
FEW = 4096
CARD = "weights.json"
WRAPPERS = ("state_dict", "model", "net", "model_state_dict")
# kuangliu/pytorch-cifar's names of layers, and torchvision's.
NAMES = ((r"(^|\.)shortcut\.", r"\1downsample."), (r"^linear\.", "fc."))
SHAPE = (LookupError, TypeError, AttributeError)  # of a card that is something else


def write(weights: dict[str, Tensor], folder: Path, card: dict) -> list[Path]:
    """Write a state dict as float16 pieces with a card; the paths, the card last.

    card: plain values to write beside the sums (network, accuracy, ...). Raises
    InputError for a tensor that alone is more than a piece.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(_pieces(weights))
    names = [
        f"weights-{i}-of-{len(parts)}.safetensors" for i in range(1, len(parts) + 1)
    ]
    data = [save(part) for part in parts]
    sums = {n: hashlib.sha256(d).hexdigest() for n, d in zip(names, data, strict=True)}
    text = json.dumps(card | {"sha256": sums}, indent=1, sort_keys=True) + "\n"
    # The card comes last: pieces without one are not taken for weights.
    files = [*zip(names, data, strict=True), (CARD, text.encode())]
    for name, content in files:
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)
    return [folder / name for name, _ in files]


def read(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `write` wrote: the weights, as float32, and the card.

    Raises InputError for a folder without them and for a piece that is missing or not
    what was written.
    """
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        pieces = [
            (name, (folder / name).read_bytes(), s)
            for name, s in card["sha256"].items()
        ]
        damaged = [n for n, data, s in pieces if hashlib.sha256(data).hexdigest() != s]
        if damaged:
            raise ValueError(f"{damaged[0]} fails its checksum")
        tensors = {k: v for _, data, _ in pieces for k, v in unpack(data).items()}
    except (OSError, ValueError, *SHAPE, SafetensorError) as error:
        raise InputError(f"{folder} holds no sound weights: {error}") from None
    halves = {k: v.float() for k, v in tensors.items() if v.dtype == torch.float16}
    return tensors | halves, card


def load(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read the weights of a network from a file or a folder: floats as float32, card.

    path: a folder that `write` wrote, whose card is returned; a ``.safetensors``, or a
    PyTorch checkpoint: there the card is empty. A checkpoint may hold its state dict
    under state_dict, model, net or model_state_dict, and names may begin with
    ``module.`` or ``_orig_mod.``. Raises InputError for anything else.
    """
    path = paths.expanded(path)
    if path.is_dir():
        return read(path)
    if not path.is_file():
        raise InputError(f"weights {path} do not exist")
    tensors = _safetensors(path) if path.suffix == ".safetensors" else _checkpoint(path)
    tensors = {k: v.detach() for k, v in _unprefixed(tensors).items()}
    floats = {k: v.float() for k, v in tensors.items() if v.is_floating_point()}
    return tensors | floats, {}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return unpack(path.read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"weights {path} are no safetensors: {error}") from None


def _checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        # torchvision's training script saves its arguments, too: data, no behaviour.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        other = re.search(r"GLOBAL ([\w.]+)", str(error))
        more = f", it holds {other[1]}" if other else ""
        raise InputError(
            f"weights {path} are no PyTorch checkpoint of weights alone{more}: to load "
            "anything else could run its code; save the state dict by itself"
        ) from None
    except Exception as error:  # of a file that is something else, of every kind
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"weights {path} are no PyTorch checkpoint: {first}") from None
    state = content
    while not _state(state):
        inner = [state[w] for w in WRAPPERS if isinstance(state, dict) and w in state]
        if not inner:
            names = content if isinstance(content, dict) else [type(content).__name__]
            what = ", ".join(str(name) for name in list(names)[:5]) or "nothing"
            raise InputError(
                f"weights {path} hold no state dict, neither directly nor under "
                f"{', '.join(WRAPPERS)}, but: {what}"
            )
        state = inner[0]
    return state


def _state(value) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DataParallel and torch.compile put in front of all names."""
    for prefix in ("module.", "_orig_mod.") * 2:  # in either order
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): v for name, v in state.items()}
    return state


def fit_into(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load weights into a `networks.Network`, all or none of them.

    state: of a Network (``normalize.*``, ``body.*``), or of its body alone by the names
    of torchvision or of kuangliu/pytorch-cifar; the network then keeps its constants.
    Raises InputError that names the first weight that is missing, is not the network's,
    has another shape or a value that is not finite.
    """
    whole = any(name.startswith("body.") for name in state)
    target = network if whole else network.body
    # The name that the network knows -> the name in the file.
    known = {name if whole else _renamed(name): name for name in state}
    wanted = target.state_dict()
    for name, value in wanted.items():
        # Of some old checkpoints only the counter of batches is missing; unused.
        if name not in known and not name.endswith("num_batches_tracked"):
            raise InputError(
                f"weights lack {name}, which the network has{_clue(known)}"
            )
        if name in known and state[known[name]].shape != value.shape:
            shapes = tuple(state[known[name]].shape), tuple(value.shape)
            raise InputError(
                f"weights do not fit: {known[name]} is {shapes[0]}, but the network's "
                f"{name} is {shapes[1]}"
            )
    if further := [known[name] for name in known if name not in wanted]:
        raise InputError(f"weights hold {further[0]}, which the network does not have")
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        raise InputError(f"weights hold values that are not finite, in {broken[0]}")
    target.load_state_dict(wanted | {name: state[known[name]] for name in known})


def _renamed(name: str) -> str:
    for pattern, instead in NAMES:
        name = re.sub(pattern, instead, name)
    return name


def _clue(known: dict[str, str]) -> str:
    return f"; their first is {next(iter(known.values()))}" if known else ""


def digest(state: dict[str, Tensor]) -> str:
    """Name weights: 20 hex digits of a SHA-256 over names, types, shapes and bytes.

    The order of the names does not matter.
    """
    hasher = hashlib.sha256()
    for name, value in sorted(state.items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        # Lengths are in front of what has none of its own: nothing can run together.
        head = json.dumps([name, str(value.dtype), list(value.shape)]).encode()
        hasher.update(len(head).to_bytes(8, "little") + head)
        hasher.update(flat.view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:20]


def _pieces(weights: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield tensors in their order, in as few pieces below MOST as it allows."""
    piece, size = {}, 0
    for name, value in weights.items():
        half = value.detach().cpu()
        if half.is_floating_point() and half.numel() > FEW:
            half = half.half()
        # Some 200 bytes of a file's header describe a tensor.
        nbytes = half.numel() * half.element_size() + 200
        if nbytes > MOST:
            raise InputError(
                f"{name} takes {nbytes} bytes in half precision, but a piece may have "
                f"{MOST}"
            )
        if piece and size + nbytes > MOST:
            yield piece
            piece, size = {}, 0
        piece[name] = half.contiguous()
        size += nbytes
    yield piece
