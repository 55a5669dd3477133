"""A teacher's predictions and batch-norm distances on images.

The two terms of SRe2L's recovery loss, classification and batch-norm statistics, put to
images that were not recovered. The teacher sees whole images here, without the random
crops of the recovery. The results are stored as any stage is, so that a chapter needs
no weights where they are shipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccfs_lib.data import ImageSet
from ccfs_lib.distill import sre2l
from ccfs_lib.runtime.device import arithmetic

KINDS = ("recovered", "real, training", "real, test")
MOST = 2000  # images of each kind that the teacher is asked about


@dataclass(frozen=True)
class Opinion:
    """The teacher's predictions on a set of images, one value per image."""

    confidence: np.ndarray  # percent, of the image's true class
    right: np.ndarray  # bool, whether that class is its answer
    entropy: np.ndarray  # bits


def some(data: ImageSet, most: int = MOST) -> ImageSet:
    """Return at most `most` random images (always the same), mixed over the classes.

    Mixed, because batch-norm statistics of a batch of one class are far from those of
    all classes, whatever the images are like.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.subset(order[:most])


def opinions(stages, recovered: ImageSet) -> dict[str, Opinion]:
    """Compute the teacher's predictions on recovered, training and test images.

    stages: the chapter's Pipeline; recovered: its distilled images. At most MOST each.
    """
    # Seen and unseen real images, for comparison.
    kinds = zip(KINDS, (recovered, stages.train, stages.test), strict=True)
    return {kind: _kept_opinion(stages, some(data)) for kind, data in kinds}


def _kept_opinion(stages, data: ImageSet) -> Opinion:
    """Compute the teacher's predictions on these images, once."""

    def compute():
        network = stages.teacher.network
        with arithmetic(stages.experiment.portable):
            found = opinion(network, data, stages.device)
        return {k: torch.from_numpy(v) for k, v in vars(found).items()}, _meta(stages)

    key = _key(stages) | {"images": data.fingerprint}
    kept = stages.store.get("opinion", key, compute).tensors
    return Opinion(**{name: values.numpy() for name, values in kept.items()})


def _key(stages) -> dict:
    """Return what a teacher's outputs depend on, as for the explorer's map."""
    key = {"teacher": stages.teacher.key, "portable": stages.experiment.portable}
    return key | stages.trainings.arithmetic


def _meta(stages) -> dict:
    """Say whether the weights are those that were trained, or were converted."""
    return {"weights": stages.teacher.mark or "as trained"}


def opinion(network, data: ImageSet, device="cpu") -> Opinion:
    """Compute confidence (percent, true class), agreement and entropy (bits) per image.

    network: answers uint8 images as (N, C) logits. Doubles: a trained teacher's doubt
    is often below what 1 minus a float32 can hold.
    """
    logs = sre2l.relabel(network, data, device).double().log_softmax(1)
    confidence = logs.gather(1, data.labels[:, None])[:, 0].exp()
    entropy = -(logs.exp() * logs).sum(1) / np.log(2)
    right = logs.argmax(1) == data.labels
    return Opinion(100 * confidence.numpy(), right.numpy(), entropy.numpy())


def distances(stages, recovered: ImageSet, batches: int = 8) -> dict[str, list[float]]:
    """Compute batch-norm distances of batches of each kind of image, and of noise.

    stages, recovered: as for `opinions`. The distance is that of the recovery's loss,
    summed over layers. The noise, uniform in every pixel, stands for where a recovery
    begins. All batches have one size, the recovery's where there are images enough: a
    smaller batch has noisier statistics and would look farther away. There are as many
    batches as MOST images of a kind fill, at least one.
    """
    recipe = stages.experiment.distillation
    size = min(recipe.batch_size, len(recovered))
    batches = max(1, min(batches, MOST // size))
    sets = dict(zip(KINDS, (recovered, stages.train, stages.test), strict=True))
    key = _key(stages) | {k: data.fingerprint for k, data in sets.items()}
    key |= {"size": size, "batches": batches, "first_bn": recipe.first_bn}

    def compute():
        # Recovered images may be fewer than eight batches; they give what they have.
        kinds = {k: some(v, size * batches).images for k, v in sets.items()}
        kinds["noise"] = _noise(size * batches, recovered.images.shape[1:])
        found = _distances(stages, kinds, size).items()
        tensors = {k: torch.tensor(v, dtype=torch.float64) for k, v in found}
        return tensors, _meta(stages)

    kept = stages.store.get("distance", key, compute).tensors
    return {kind: kept[kind].tolist() for kind in (*KINDS, "noise")}


def _noise(count: int, shape) -> Tensor:
    """Uniform pixels, uint8 (count, *shape); always the same."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=draw).to(torch.uint8)


def _distances(stages, kinds: dict[str, Tensor], size: int) -> dict[str, list[float]]:
    network = stages.teacher.network.to(stages.device).eval()
    loss = sre2l.BatchNormLoss(network, stages.experiment.distillation.first_bn)
    try:
        with arithmetic(stages.experiment.portable), torch.inference_mode():
            return {k: list(_far(network, loss, v, size)) for k, v in kinds.items()}
    finally:
        loss.close()  # its hooks would collect from every later use of the teacher


def _far(network, loss, images: Tensor, size: int) -> Iterator[float]:
    """Yield the distance of each full batch; a smaller last one is left out."""
    device = next(network.parameters()).device
    for batch in images.split(size):
        if len(batch) == size:
            network(batch.to(device).float() / 255)
            yield float(loss.read())
