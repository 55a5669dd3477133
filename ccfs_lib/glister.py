"""Glister: real images whose gradients lower a validation loss (Killamsetty 2021).

One step down the gradient of image i changes the validation loss, to first order, by
-eta <g_i, G>, with G the gradient of the validation loss. So the gain of an image is
<g_i, G>, and greedy selection takes the largest, moves the weights by what is chosen so
far, and asks again. As in the public code, only the last layer's weights count, and
each class chooses among its images by its validation images.

The gradient of the last layer is an outer product, g_i = e_i (1, h_i)^T, of the
residual e_i = d loss / d logits and the features h_i, so no gradient is ever stored:
<g_i, G> = e_i^T G (1, h_i), one matrix product for a whole class.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ccfs_lib.data import ImageSet
from ccfs_lib.errors import InputError
from ccfs_lib.select import ShortfallWarning, among, candidates, check_whole
from ccfs_lib.train import predict

# How far the chosen images move the weights before the next one is chosen. "mean": one
# step down their mean gradient, DeepCore's update; "sum": one down their sum, the
# paper's Taylor step and CORDS's; "frozen": not at all, which is what DeepCore computes
# in fact: it hands its update to the greedy search under a misspelt name.
UPDATES = ("mean", "sum", "frozen")


@dataclass(frozen=True)
class LastLayer:
    """What a network's last layer sees and answers for N images of C classes."""

    labels: np.ndarray = field(repr=False)  # int (N,)
    logits: np.ndarray = field(repr=False)  # float (N, C)
    features: np.ndarray = field(repr=False)  # float (N, D)

    def __post_init__(self):
        shapes = [np.shape(x) for x in (self.labels, self.logits, self.features)]
        count = shapes[0][:1]
        if [len(s) for s in shapes] != [1, 2, 2] or {s[:1] for s in shapes} != {count}:
            raise InputError(
                f"labels, logits and features have shapes {shapes}, but must be (N,), "
                "(N, C) and (N, D)"
            )


def last_layer(network: nn.Module, data: ImageSet, device="cpu") -> LastLayer:
    """Read features and logits of `data`, not augmented, in evaluation mode.

    network: of `ccfs_lib.networks`. Source: the gradients that DeepCore takes at the
    end of the training that precedes its selection.
    """
    seen = []
    hook = network.head.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].float().cpu())
    )
    try:
        logits = predict(network, data.images, device)
    finally:
        hook.remove()
    return LastLayer(data.labels.numpy(), logits.numpy(), torch.cat(seen).numpy())


def residuals(logits, labels) -> np.ndarray:
    """Compute d cross-entropy / d logits, float64 (N, C), of logits (N, C).

    labels: int (N,). DeepCore takes the cross-entropy of probabilities as if they were
    logits, so it applies softmax twice; here it is applied once.
    """
    x = np.asarray(logits, np.float64)
    e = np.exp(x - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    p[np.arange(len(p)), labels] -= 1
    return p


def gains(residual, features, slope) -> np.ndarray:
    """Compute the gain <g_i, G> of every image, float (N,).

    residual: (N, C); features: (N, 1 + D), the first column ones, for the bias;
    slope: G, (C, 1 + D), the gradient of the mean validation loss.
    """
    # <g_i, G> = e_i^T G (1, h_i). In this order the features are read once, and
    # nothing of their size is written.
    return ((features @ slope.T) * residual).sum(1)


def glister(
    train: LastLayer,
    validation: LastLayer,
    quota: int,
    *,
    eta: float = 0.1,
    update: str = "mean",
    excluded=None,
) -> np.ndarray:
    """Choose `quota` images of each class greedily, the largest gain first.

    validation: images that are not chosen from, of the same network; where they are
    part of `train`, give their indices as `excluded`. eta: step size, DeepCore's
    learning rate. update: a name of UPDATES; DeepCore has in fact "frozen", and `train`
    itself for validation.

    Returns int64 indices, classes ascending, in the order of choice; ties go to the
    lower index. A class with too few images gives all it has and a ShortfallWarning.
    Raises InputError for a class without validation images, sets of different
    networks, and names and numbers that are not allowed.
    """
    _check(train, validation, quota, eta, update)
    # The labels as predictions: every image is "classified", unless it is excluded.
    mask = candidates(train.labels, train.labels, excluded, coarse="classified")
    chosen = [np.empty(0, np.int64)]
    for c in np.unique(train.labels):
        members = np.flatnonzero(mask & (train.labels == c))
        if len(members) < quota:
            warnings.warn(
                f"class {c}: wanted {quota} images, got {len(members)}",
                ShortfallWarning,
                stacklevel=2,
            )
        pool = _subset(train, members)
        held_out = _subset(validation, np.flatnonzero(validation.labels == c))
        order = _greedy(pool, held_out, quota, eta, update)
        chosen.append(members[order])
    return np.concatenate(chosen)


def _greedy(pool: LastLayer, validation: LastLayer, quota, eta, update):
    """Return positions in `pool`, in the order of choice."""
    residual, features = residuals(pool.logits, pool.labels), _with_one(pool)
    seen, start = _with_one(validation), np.asarray(validation.logits, np.float64)
    # G is a sum over validation images: with fewer of those than features, inner
    # products (n, V) in place of features (n, 1 + D) give the same gains for less.
    few = len(seen) < seen.shape[1]
    features, seen = (features @ seen.T, None) if few else (features, seen)

    def gain_of(logits):
        """Compute the gain of every image at these validation logits."""
        errors = residuals(logits, validation.labels).T / len(logits)
        return gains(residual, features, errors if few else errors @ seen)

    moved, available, order = np.zeros_like(start), np.ones(len(residual), bool), []
    gain = gain_of(start)
    while len(order) < min(quota, len(residual)):
        best = int(np.where(available, gain, -np.inf).argmax())
        order.append(best)
        available[best] = False
        if update == "frozen":
            continue
        # A step down g_i moves the logits of a validation image by -eta (h . h_i) e_i.
        products = features[best] if few else seen @ features[best]
        moved += np.outer(products, residual[best])
        gain = gain_of(start - (eta / len(order) if update == "mean" else eta) * moved)
    return np.array(order, np.int64)


def _subset(layer: LastLayer, index) -> LastLayer:
    return LastLayer(layer.labels[index], layer.logits[index], layer.features[index])


def _with_one(layer: LastLayer) -> np.ndarray:
    features = np.asarray(layer.features, np.float64)
    return np.concatenate([np.ones((len(features), 1)), features], 1)


def _check(train, validation, quota, eta, update) -> None:
    check_whole("quota", quota)
    among("update", update, UPDATES)
    if not 0 < eta < np.inf:
        raise InputError(f"eta is {eta!r}, but must be a positive number")
    for name in ("logits", "features"):
        ours, theirs = (getattr(s, name).shape[1] for s in (train, validation))
        if ours != theirs:
            raise InputError(
                f"validation has {theirs} {name} per image, but must have the {ours} "
                "of the training images: take the same network"
            )
    if len(empty := np.setdiff1d(train.labels, validation.labels)):
        raise InputError(
            f"validation has no image of class {empty[0]}, but every class needs one"
        )
