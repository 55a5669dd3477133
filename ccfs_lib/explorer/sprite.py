"""Many small images as one picture, and columns of numbers as text, for a web page."""

import base64
import io

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ccfs_lib.errors import InputError

SIDE = 32  # pixels of one picture; larger ones are averaged
QUALITIES = range(90, 10, -5)  # of JPEG, best first


def sheet(images: Tensor, budget: int) -> tuple[str, int, int]:
    """Return all images in one data URI of at most `budget` characters, by row.

    images: uint8 (N, 3, H, W), square. Returns (URI, columns, side in pixels): image i
    is at column i % columns, row i // columns. Lossless if that fits, else the best
    JPEG that does: tiles of 16 pixels' multiples do not run into each other there.
    Raises InputError if even the worst is too large.
    """
    picture, columns, side = _tiled(images)
    if picture.width * picture.height <= budget:  # else not worth the attempt
        uri = _uri(picture, "PNG", optimize=True)
        if len(uri) <= budget:
            return uri, columns, side
    halved = 2 if side % 16 == 0 else 0  # chroma at half size needs blocks of 16
    for quality in QUALITIES:
        options = {"quality": quality, "subsampling": halved}
        uri = _uri(picture, "JPEG", optimize=True, progressive=True, **options)
        if len(uri) <= budget:
            return uri, columns, side
    raise InputError(
        f"{len(images):,} images do not fit into {budget:,} bytes; show fewer"
    )


def _tiled(images: Tensor) -> tuple[Image.Image, int, int]:
    if images.shape[-1] > SIDE:
        small = F.interpolate(images.float(), (SIDE, SIDE), mode="area")
        images = small.round().to(images.dtype)
    count, side = len(images), images.shape[-1]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, side, side, 3), np.uint8)
    grid[:count] = images.permute(0, 2, 3, 1).numpy()
    grid = grid.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    picture = Image.fromarray(grid.reshape(rows * side, columns * side, 3))
    grey = (images[:, :1] == images).all()
    return (picture.convert("L") if grey else picture), columns, side


def _uri(picture: Image.Image, kind: str, **options) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    text = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{text}"


def column(values) -> dict[str, str]:
    """Return an array as {"type", "data"}: little-endian base64, in the fewest bytes.

    Types: u1, u2, u4 for whole numbers from 0, f4 for others. Row by row where the
    array has two axes.
    """
    values = np.asarray(values)
    kind = "f4"
    if values.dtype.kind in "iu":
        top = int(values.max(initial=0))
        kind = next(k for k in ("u1", "u2", "u4") if top <= np.iinfo(k).max)
    data = np.ascontiguousarray(values, f"<{kind}").tobytes()
    return {"type": kind, "data": base64.b64encode(data).decode()}
