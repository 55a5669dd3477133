"""Squeeze: train networks on all data; the first is the teacher, all count forgetting.

SRe2L's word for the training from whose batch-norm statistics images are recovered.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ccfs_lib import scores
from ccfs_lib.data import members
from ccfs_lib.experiment.datasets import score_file
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import plugins
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.store import Artefact
from ccfs_lib.train import predict


@dataclass(frozen=True)
class Teacher:
    """A squeezed network and what it says of the training images."""

    network: nn.Module
    predictions: np.ndarray  # int (N,)
    train_accuracy: float  # percent
    last: float  # test accuracy in percent, last epoch: the one that is used
    best: float
    key: str
    seconds: float


class Squeeze:
    """Teacher and difficulty of an experiment, computed or read when asked for."""

    def __init__(self, trainings: Trainings):
        self.trainings, self.experiment = trainings, trainings.experiment

    @property
    def seeds(self) -> range:
        """Seeds of the trainings on all data; the first is the teacher's."""
        e = self.experiment
        return range(e.score_runs if e.score == "forgetting" else 1)

    def has(self, seed: int) -> bool:
        """Whether the training on all data with this seed is finished and kept."""
        return self.trainings.store.has("squeeze", self._key(seed))

    def run(self, seed: int = 0) -> Artefact:
        """Train a network on all data, counting forgetting events on the way."""
        # Seed 0 is the teacher whatever the score, so that it is trained only once.
        key = self._key(seed)
        return self.trainings.store.get("squeeze", key, lambda: self._train(seed, key))

    def _key(self, seed: int) -> dict:
        e, t = self.experiment, self.trainings
        return t.key(e.teacher_network, e.teacher, seed, t.train)

    def _train(self, seed: int, key: dict) -> tuple[dict, dict]:
        e, t = self.experiment, self.trainings
        network = t.network(e.teacher_network, seed)
        events = scores.Forgetting(t.train.labels.to(t.device))

        def after():
            # Without augmentation, in evaluation mode: what `teacher_correct` asks.
            logits = predict(network, t.train.images, t.device)
            weights = network.state_dict().items()
            tensors = {f"weights.{k}": v.cpu() for k, v in weights}
            tensors |= {"events": events.events.cpu(), "learned": events.learned.cpu()}
            return tensors | {"predictions": logits.argmax(1)}

        options = {"seed": seed, "label": f"teacher {seed}", "watch": events}
        return t.fit(network, t.train, e.teacher, key, after, **options)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher of every distillation; its last weights, not its best."""
        artefact, t = self.run(0), self.trainings
        network = t.network(self.experiment.teacher_network)
        # The artefact also holds events and predictions, for the scores.
        cut = len("weights.")
        weights = {
            k[cut:]: v for k, v in artefact.tensors.items() if k.startswith("weights.")
        }
        network.load_state_dict(weights)
        predictions = artefact.tensors["predictions"].long().numpy()
        right = 100 * float((predictions == t.train.labels.numpy()).mean())
        last, best, seconds = (artefact.meta[k] for k in ("last", "best", "seconds"))
        key = artefact.key
        return Teacher(network.eval(), predictions, right, last, best, key, seconds)

    @cached_property
    def difficulty(self) -> np.ndarray | None:
        """Difficulty of each training image, higher = harder; None for "logits"."""
        e, t = self.experiment, self.trainings
        if e.score == "logits":
            return None
        if e.score == "forgetting":
            runs = [self.run(seed).tensors for seed in self.seeds]
            return scores.forgetting(
                [(r["events"].int().numpy(), r["learned"].numpy()) for r in runs]
            )
        if plugins.named(e.score):
            return self._rated()
        # A file rates every image of the data set, also where some classes are left
        # out: it is checked against all of them, then cut.
        file, labels = score_file(e.score, e.dataset, e.data_root), t.whole.labels
        return scores.load(file, labels)[members(labels, e.classes)]

    def _rated(self) -> np.ndarray:
        """Difficulty by the user's function, called once and kept."""
        e, t = self.experiment, self.trainings
        rate = plugins.resolve(e.score, "score", ("training images",))
        key = {"score": e.score, "source": plugins.source_hash(e.score)}
        key |= {"images": t.train.fingerprint, "portable": e.portable, **t.arithmetic}

        def compute():
            with arithmetic(e.portable):
                values = rate(t.train)
            name = f"score is {e.score!r}, whose values"
            values = scores.checked(values, len(t.train), name)
            return {"difficulty": torch.from_numpy(values)}, {}

        return t.store.get("score", key, compute).tensors["difficulty"].numpy()
