"""Matching as a stage: computed once, kept in the store, continued after a kill."""

import torch

from ccfs_lib.checkpoint import Checkpoint
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import mtt
from ccfs_lib.distill.buffer import Buffer, Later
from ccfs_lib.distill.experts import plain
from ccfs_lib.distill.matching import Matching
from ccfs_lib.store import Store
from ccfs_lib.store import key as store_key


def matched(
    store: Store,
    begin: ImageSet,
    buffer: Buffer | Later,
    recipe: Matching,
    *,
    real: ImageSet | None = None,
    seed: int = 0,
    keep: tuple[int, ...] = (),
    deadline: float | None = None,
    **how,
) -> mtt.Matched:
    """`mtt.distill`, or what the store has of it.

    deadline: `time.monotonic()` at which to stop (TimeUp; the same call continues).
    how: device, engine and recompute, which do not name the result. Errors as there.
    """
    key = {
        "begin": begin.fingerprint,
        "real": real.fingerprint if real is not None and len(real) else None,
        "experts": buffer.identity | {"count": buffer.count},
        "recipe": plain(recipe),
        "seed": seed,
        "keep": list(keep),
    }

    def compute():
        name = store_key(key)
        folder = store.root / "checkpoints" / name
        place = Checkpoint(folder, name, deadline=deadline)
        settings = {"real": real, "seed": seed, "keep": keep, "checkpoint": place}
        return _packed(mtt.distill(begin, buffer.read(), recipe, **settings, **how))

    found = store.get("match", key, compute)
    return _unpacked(begin, found.tensors, found.meta)


def _packed(done: mtt.Matched) -> tuple[dict, dict]:
    tensors = {"images": done.images.images, "pixels": done.pixels}
    tensors |= {f"kept.{i}": images.images for i, images in done.kept.items()}
    if done.label_logits is not None:
        tensors["labels"] = done.label_logits
    return tensors, {"losses": done.losses, "lr": done.lr}


def _unpacked(begin: ImageSet, tensors: dict[str, torch.Tensor], meta) -> mtt.Matched:
    def as_set(images, name):
        return ImageSet(name, images, begin.labels, begin.classes)

    kept = sorted(int(k[5:]) for k in tensors if k.startswith("kept."))
    return mtt.Matched(
        images=as_set(tensors["images"], "mtt"),
        pixels=tensors.get("pixels"),  # what is shipped with the code has none
        losses=meta["losses"],
        kept={i: as_set(tensors[f"kept.{i}"], f"mtt@{i}") for i in kept},
        label_logits=tensors.get("labels"),
        lr=meta["lr"],
    )
