"""A teacher's predictions and batch-norm distances on images.

The two terms of SRe2L's recovery loss, classification and batch-norm statistics, put to
images that were not recovered. The teacher sees whole images here, without the random
crops of the recovery. The results are stored as any stage is, so that a chapter needs
no weights where they are shipped.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ccfs_lib.data import ImageSet
from ccfs_lib.distill import batchnorm
from ccfs_lib.pipeline.opinion import MOST, kept_opinion, key_of, meta, some
from ccfs_lib.pipeline.opinion import Opinion as Opinion
from ccfs_lib.pipeline.opinion import opinion as opinion
from ccfs_lib.runtime.device import arithmetic

KINDS = ("recovered", "real, training", "real, test")


def opinions(stages, recovered: ImageSet) -> dict[str, Opinion]:
    """Compute the teacher's predictions on recovered, training and test images.

    stages: the chapter's Pipeline; recovered: its distilled images. At most MOST each.
    """
    # Seen and unseen real images, for comparison.
    kinds = zip(KINDS, (recovered, stages.train, stages.test), strict=True)
    return {kind: kept_opinion(stages, some(data)) for kind, data in kinds}


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
    key = key_of(stages, stages.teacher)
    key |= {kind: data.fingerprint for kind, data in sets.items()}
    key |= {"size": size, "batches": batches, "first_bn": recipe.first_bn}

    def compute():
        """Compute the distances; return float64 (batches,) of each kind."""
        # Recovered images may be fewer than eight batches; they give what they have.
        kinds = {k: some(v, size * batches).images for k, v in sets.items()}
        kinds["noise"] = _noise(size * batches, recovered.images.shape[1:])
        found = _distances(stages, kinds, size).items()
        tensors = {k: torch.tensor(v, dtype=torch.float64) for k, v in found}
        return tensors, meta(stages.teacher)

    kept = stages.store.get("distance", key, compute).tensors
    return {kind: kept[kind].tolist() for kind in (*KINDS, "noise")}


def _noise(count: int, shape) -> Tensor:
    """Uniform pixels, uint8 (count, *shape); always the same."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=draw).to(torch.uint8)


def _distances(stages, kinds: dict[str, Tensor], size: int) -> dict[str, list[float]]:
    network = stages.teacher.network.to(stages.device).eval()
    loss = batchnorm.BatchNormLoss(network, stages.experiment.distillation.first_bn)
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
