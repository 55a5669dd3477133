"""ZCA whitening in place of mean and standard deviation: MTT at some IPC, DATM always.

Pixels of natural images are correlated with their neighbours; whitening removes that,
and stays as near to the images as any whitening can. A `Whiten` takes the place of a
network's `normalize`, so experts, matching and evaluation all see whitened images.
"""

import torch
from torch import Tensor, nn

from ccfs_lib.data import ImageSet
from ccfs_lib.store import Store

EPS = 0.1  # added to the variances: the public codes of MTT and DATM (kornia's module)


class Whiten(nn.Module):
    """x -> (x - mean) W for images as vectors of D numbers, and the way back.

    mean: (D,); matrix, back: W and its inverse, both (D, D), symmetric. Not part of a
    network's weights: they follow from the training images.
    """

    def __init__(self, mean: Tensor, matrix: Tensor, back: Tensor):
        super().__init__()
        for name, value in (("mean", mean), ("matrix", matrix), ("back", back)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Whiten float images (N, 3, H, W) in [0, 1]."""
        return ((x.flatten(1) - self.mean) @ self.matrix).view_as(x)

    def inverse(self, x: Tensor) -> Tensor:
        """Turn whitened images (N, 3, H, W) back into images around [0, 1]."""
        return (x.flatten(1) @ self.back + self.mean).view_as(x)


def fit(train: ImageSet, eps: float = EPS) -> Whiten:
    """Compute the whitening of a training set.

    W = U diag(1 / sqrt(s + eps)) U^T of the covariance U diag(s) U^T of its images in
    [0, 1]. In float64: D is 3072 at 32 pixels, and variances span many magnitudes.
    """
    images = train.images.flatten(1)
    mean = images.double().mean(0) / 255
    square = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for chunk in images.split(2048):
        x = chunk.double() / 255 - mean
        square += x.T @ x
    variance, axes = torch.linalg.eigh(square / max(len(images) - 1, 1))
    root = (variance.clamp(min=0) + eps).sqrt()
    matrix, back = ((axes * scale) @ axes.T for scale in (1 / root, root))
    return Whiten(mean.float(), matrix.float(), back.float())


def fitted(store: Store, train: ImageSet, eps: float = EPS) -> Whiten:
    """Run `fit`, or read what the store has of it."""

    def compute():
        """Fit; return the whitening's mean (D,), matrix and back (D, D)."""
        return dict(fit(train, eps).named_buffers()), {}

    key = {"train": train.fingerprint, "eps": eps}
    return Whiten(**store.get("zca", key, compute).tensors)
