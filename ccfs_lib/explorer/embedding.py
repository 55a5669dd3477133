"""A map of images: what a network sees of them, laid out in the plane by t-SNE.

The layout shows who is near whom; distances across the map mean nothing. scikit-learn
is imported where it is used: it takes as long as torch, and most chapters need no map.
"""

import numpy as np
import torch
from torch import Tensor, nn

COMPONENTS = 50  # kept before t-SNE, as van der Maaten and Hinton do (2008)
NEIGHBOURS = 10
VERSION = 1  # part of the key of whatever is kept of a map


@torch.inference_mode()
def features(network: nn.Module, images: Tensor, device="cpu") -> np.ndarray:
    """Compute the classifier's input for uint8 images (N, 3, H, W): float (N, D).

    network: a networks.Network.
    """
    size = 64 if torch.device(device).type == "cpu" else 1024  # as train.predict
    network = network.to(device).eval()
    chunks = images.split(size)
    seen = [network.features(c.to(device).float().div_(255)).cpu() for c in chunks]
    return torch.cat(seen).flatten(1).numpy()


def reduced(features: np.ndarray) -> np.ndarray:
    """Compute principal components of features (N, D): float64 (N, 50 or fewer)."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    most = min(COMPONENTS, *features.shape)
    with threadpool_limits(1):  # the same sums in the same order on any machine
        return PCA(most, random_state=0).fit_transform(features.astype(np.float64))


def flat(points: np.ndarray) -> np.ndarray:
    """Compute t-SNE of points (N, D): float32 (N, 2) in [0, 1], axes to one scale.

    Deterministic on one machine; starts from the first two components, so that the
    large arrangement is theirs. 10,000 points take half a minute of one core: 500
    iterations with a coarse angle, half of the default's work, look the same.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    near = min(30.0, (len(points) - 1) / 3)
    options = {"angle": 0.8, "max_iter": 500, "random_state": 0, "n_jobs": 1}
    with threadpool_limits(1):
        xy = TSNE(2, perplexity=near, init="pca", **options).fit_transform(points)
    xy = xy - xy.min(0)
    if xy[:, 1].max() > xy[:, 0].max():
        xy = xy[:, ::-1]  # a page is wider than it is high
    return np.ascontiguousarray(xy / max(xy.max(), 1e-12), np.float32)


def strangers(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count each point's 10 nearest others that have another label: int64 (N,)."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    most = min(NEIGHBOURS, len(points) - 1)
    with threadpool_limits(1):
        search = NearestNeighbors(n_neighbors=most, algorithm="brute", n_jobs=1)
        near = search.fit(points).kneighbors(return_distance=False)
    return (labels[near] != labels[:, None]).sum(1)
