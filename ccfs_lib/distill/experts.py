"""Expert trajectories: weights of networks trained on all real images, epoch by epoch.

The buffers of trajectory matching (Cazenavette et al., CVPR 2022). Experts learn by
plain gradient descent, no momentum, no decay, which is what the inner steps of matching
do too. Each expert is a separate artefact, so an interrupted buffer goes on with the
next one.
"""

import math
import time

import torch
from torch import Tensor

from ccfs_lib.data import ImageSet, channel_stats
from ccfs_lib.distill import zca
from ccfs_lib.distill.buffer import Buffer
from ccfs_lib.distill.dsa_augment import augment
from ccfs_lib.distill.functional import Flat
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import ExpertRecipe, Strengths, essential
from ccfs_lib.runtime import forbidden, plugins
from ccfs_lib.runtime.device import sent
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.queue import WAIT, Steps, drain
from ccfs_lib.runtime.workers import beside
from ccfs_lib.store import Store

# Their weights begin apart from those of every filter and evaluation.
FIRST_SEED = 1_000_000


def buffer(
    store: Store,
    network: str,
    train: ImageSet,
    recipe: ExpertRecipe,
    count: int | range,
    *,
    normalisation: tuple | None = None,
    device: str | torch.device = "cpu",
    deadline: float | None = None,
    arithmetic: dict | None = None,
) -> Buffer:
    """Train experts 0 .. count - 1, or those of a range, or read what the store has.

    normalisation: (mean, std), three floats each for images in [0, 1]; default the
    channel statistics of `train`. deadline: `time.monotonic()` after which no further
    expert is begun (TimeUp; the same call continues). arithmetic: what else their last
    bits depend on, to be part of what they are. Source: MTT Section 3.1.
    """
    numbers = count if isinstance(count, range) else range(count)
    if not numbers:
        raise InputError(f"count is {count}, but at least one expert is needed")
    identity = described(network, train, recipe, normalisation, arithmetic)
    whiten = zca.fitted(store, train) if recipe.zca else None
    empty = Buffer((), identity, whiten)
    flat = Flat(empty.network(0), device)

    def expert(seed: int) -> Tensor:
        """Return the states (E + 1, P) of one expert, trained or read."""

        def compute():
            """Train the expert; raises TimeUp after the deadline."""
            forbidden.check(f"expert {seed}")
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeUp(
                    f"experts: time is up after {seed}; the same command continues"
                )
            network = empty.network(FIRST_SEED + seed)
            start = Flat(network, device).start
            states, losses = trajectory(flat, start, train, recipe, seed)
            return {"states": states}, {"losses": losses}

        key = identity | {"seed": FIRST_SEED + seed}
        return store.get("expert", key, compute).tensors["states"]

    done = beside(expert, numbers, str(device))
    states = dict(progress(done, "experts", "expert", total=len(numbers)))
    return Buffer(tuple(states[n] for n in numbers), identity, whiten)


def described(
    network: str,
    train: ImageSet,
    recipe: ExpertRecipe,
    normalisation: tuple | None = None,
    arithmetic: dict | None = None,
) -> dict:
    """Describe a buffer's experts, by which matches are named; arguments as there."""
    mean, std = normalisation or channel_stats(train)
    views = {"dsa": essential(recipe.dsa)} if recipe.dsa else {}
    source = plugins.sources([("source", network)])  # of a user's network alone
    return source | {
        "network": network,
        "classes": train.num_classes,
        "size": train.image_size,
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
        "train": train.fingerprint,
        # The views are always named: the default was once another one.
        "recipe": plain(recipe) | views,
        **(arithmetic or {}),
    }


def trajectory(
    flat: Flat, start: Tensor, train: ImageSet, recipe: ExpertRecipe, seed: int
) -> tuple[Tensor, list[float]]:
    """Train one expert from the weights start (P,); `seed` fixes order and views.

    Returns its states (E + 1, P), on the CPU in the recipe's type, and mean losses.
    """
    given = flat, start, train, recipe, seed
    label = f"expert {seed}"
    return drain(lambda: course(*given), device=start.device, label=label)


def course(
    flat: Flat, start: Tensor, train: ImageSet, recipe: ExpertRecipe, seed: int
) -> Steps:
    """Train as `trajectory` does, a step at each ``next``: a job of a queue."""
    kind = getattr(torch, recipe.kept)
    generator = torch.Generator().manual_seed(seed)
    images, labels = flat.normalised(train.images), train.labels.to(start.device)
    theta, losses = start, []
    states = torch.empty(recipe.epochs + 1, len(start), dtype=kind)
    states[0] = theta
    for epoch in progress(range(recipe.epochs), f"expert {seed}", "epoch"):
        total = torch.zeros((), device=start.device)
        order = torch.randperm(len(train), generator=generator)
        order = sent(order, start.device)
        for batch in order.split(recipe.batch_size):
            x = images[batch]
            if recipe.dsa is not None:
                x = augment(x, recipe.dsa, generator)
            slope, loss = flat.descent(theta, x, labels[batch])
            theta = theta - recipe.lr * slope
            total += loss * len(batch)
            yield
        yield WAIT
        states[epoch + 1] = theta
        losses.append(total.item() / len(train))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"expert {seed}: the loss is {losses[-1]} in epoch {epoch + 1}; a "
                f"smaller lr than {recipe.lr:g} usually helps"
            )
    return states, losses


def plain(recipe) -> dict:
    """Return `essential` of a recipe with DSA strengths in it, as plain values."""
    values = essential(recipe)
    if isinstance(values.get("dsa"), Strengths):
        values["dsa"] = essential(values["dsa"])
    return values
