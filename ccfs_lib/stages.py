"""The stages of one experiment, each computed once and kept.

data -> squeeze (teacher, forgetting) -> recover -> phases (filter, select) -> train.
Every stage's key holds all that its result depends on and nothing else, so arms share
what they have in common: six strategies train the first filter of a seed once.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ccfs_lib import curriculum, data, exchange, networks, paths, scores
from ccfs_lib.checkpoint import Checkpoint
from ccfs_lib.curriculum import Filter, PhaseRecord
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import sre2l
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import (
    NORMALISATION,
    SCORE_FILES,
    STRATEGIES,
    Experiment,
)
from ccfs_lib.progress import progress
from ccfs_lib.recipes import Recipe, essential
from ccfs_lib.select import quotas
from ccfs_lib.store import Artefact, Store
from ccfs_lib.store import key as store_key
from ccfs_lib.train import fit, predict


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


class Stages:
    """All stages of `experiment`; properties are computed or read when first asked."""

    def __init__(
        self,
        experiment: Experiment,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
    ):
        self.experiment = experiment
        self.deadline = deadline  # time.monotonic() at which trainings stop, resumable
        self.store = store or Store(paths.cache(), paths.shipped())
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def train(self) -> ImageSet:
        """The training split; raises InputError if a class is smaller than the IPC."""
        e = self.experiment
        train = self._load("train")
        if e.ipc > min(train.class_sizes):
            raise InputError(
                f"ipc is {e.ipc}, but the smallest class of {train.name} has "
                f"{min(train.class_sizes)} training images"
            )
        return train

    @cached_property
    def test(self) -> ImageSet:
        """The test split. It measures; nothing is chosen by it."""
        return self._load("test")

    def _load(self, split: str) -> ImageSet:
        e = self.experiment
        root = e.data_root or None
        return data.load(e.dataset, split, data_root=root, cache_dir=paths.cache())

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std per channel: published constants, else the training set's."""
        known = NORMALISATION.get(self.experiment.dataset)
        return known or data.channel_stats(self.train)

    def network(self, name: str, seed: int | None = None) -> nn.Module:
        """A fresh network for this data set."""
        mean, std = self.normalisation
        shape = self.train.num_classes, self.train.image_size
        return networks.build(name, *shape, mean=mean, std=std, seed=seed)

    # -- squeeze ---------------------------------------------------------------------

    def squeeze(self, seed: int = 0) -> Artefact:
        """Train a network on all data, counting forgetting events on the way."""
        e = self.experiment
        recipe = self._key(e.teacher_network, e.teacher, seed, self.train)
        return self.store.get("squeeze", recipe, lambda: self._squeeze(seed, recipe))

    def _squeeze(self, seed: int, key: dict):
        e = self.experiment
        network = self.network(e.teacher_network, seed)
        events = scores.Forgetting(self.train.labels.to(self.device))
        with _arithmetic(e.portable):
            done = fit(
                network,
                self.train,
                e.teacher,
                seed=seed,
                test=self.test,
                watch=events,
                checkpoint=self._checkpoint(key),
                device=self.device,
                label=f"teacher {seed}",
            )
            logits = predict(network, self.train.images, self.device)
        tensors = {f"weights.{k}": v.cpu() for k, v in network.state_dict().items()}
        tensors |= {"events": events.events.cpu(), "learned": events.learned.cpu()}
        tensors["predictions"] = logits.argmax(1)
        return tensors, _summary(done)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher of every distillation; its last weights, not its best."""
        artefact = self.squeeze(0)
        network = self.network(self.experiment.teacher_network)
        cut = len("weights.")
        weights = {
            k[cut:]: v for k, v in artefact.tensors.items() if k.startswith("weights.")
        }
        network.load_state_dict(weights)
        predictions = artefact.tensors["predictions"].numpy()
        right = 100 * float((predictions == self.train.labels.numpy()).mean())
        last, best, seconds = (artefact.meta[k] for k in ("last", "best", "seconds"))
        key = artefact.key
        return Teacher(network.eval(), predictions, right, last, best, key, seconds)

    @cached_property
    def difficulty(self) -> np.ndarray | None:
        """Difficulty of each training image, higher = harder; None for "logits"."""
        e = self.experiment
        if e.score == "logits":
            return None
        if e.score == "forgetting":
            runs = [self.squeeze(seed).tensors for seed in range(e.score_runs)]
            return scores.forgetting(
                [(r["events"].numpy(), r["learned"].numpy()) for r in runs]
            )
        return scores.load(self._score_file(), self.train.labels)

    def _score_file(self):
        e = self.experiment
        if not e.score.startswith("published-"):
            return e.score
        stem = SCORE_FILES[e.dataset]
        name = {"published-forgetting": f"forgetting_{stem}.npy"}.get(
            e.score, f"cscores_{stem}.npz"
        )
        root = Path(e.data_root or os.environ.get("CCFS_DATA", "."))
        beside = [folder / "scores" / name for folder in (root, root.parent)]
        return next((path for path in beside if path.exists()), beside[0])

    # -- recover ---------------------------------------------------------------------

    def distilled(self, per_class: int) -> ImageSet:
        """The first `per_class` distilled images of each class, recovered or read."""
        e = self.experiment
        if e.distilled_from:
            return exchange.read_folder(e.distilled_from, self.train.classes, per_class)
        todo = self.recovery(per_class)
        done = [
            self.recovered(per_class, i) for i in progress(todo, "recover", "batch")
        ]
        targets = todo.values()
        name = f"{e.distillation.method} x{per_class}"
        return sre2l.assemble(done, targets, self.train.classes, name)

    def recovery(self, per_class: int) -> dict[int, torch.Tensor]:
        """Batches to recover: number -> targets, int (B,). None if images are given."""
        e = self.experiment
        if e.distilled_from:
            return {}
        size = e.distillation.batch_size
        todo = sre2l.batches(self.train.num_classes, per_class, size)
        return dict(enumerate(todo))

    def recovered(self, per_class: int, number: int) -> torch.Tensor:
        """One batch of recovered images, uint8 (B, 3, H, W), in the order recovered."""
        e, targets = self.experiment, self.recovery(per_class)[number]
        size = self.train.image_size
        key = {"teacher": self.teacher.key, "recipe": essential(e.distillation)}
        key |= {"size": size, "classes": self.train.num_classes}
        key |= {"batch": number, "images": len(targets)}

        def compute():
            if self.deadline is not None and time.monotonic() >= self.deadline:
                raise TimeUp("recover: time is up; the same command continues here")
            teacher, recipe = self.teacher.network, e.distillation
            with _arithmetic(e.portable):
                images = sre2l.recover_batch(
                    teacher, targets, size, recipe, 0, number, self.device
                )
            return {"images": images}, {}

        return self.store.get("recover", key, compute).tensors["images"]

    # -- curriculum ------------------------------------------------------------------

    def phases(
        self, seed: int = 0, strategy: str | None = None
    ) -> Iterator[PhaseRecord]:
        """Algorithm 1 for one seed, by a strategy of STRATEGIES or the experiment's.

        Raises InputError for another strategy or a negative seed.
        """
        e = self.experiment
        if strategy is not None and strategy not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise InputError(f"strategy is {strategy!r}, but must be one of {known}")
        if seed < 0:
            raise InputError(f"seed is {seed}, but must be 0 or more")
        fine, coarse = strategy.split("-") if strategy else (e.fine, e.coarse)

        def train_filter(synthetic: ImageSet, phase: int) -> Filter:
            recipe = replace(e.recipe, tail=0.0)  # only the last epoch is tested
            tensors = self.trained(synthetic, recipe, 1000 * seed + phase, True)
            predictions, logit = (
                tensors.tensors[k].numpy() for k in ("predictions", "true_logit")
            )
            return Filter(predictions, logit, tensors.meta["last"])

        difficulty = self.difficulty  # first: a missing file is told before training
        teacher = self.teacher.predictions if e.teacher_correct else None
        return curriculum.run(
            self.train,
            self.distilled(e.distilled),
            difficulty,
            quotas(e.real, e.curricula) if e.real else [],
            train_filter,
            teacher_predictions=teacher,
            coarse=coarse,
            fine=fine,
            seed=seed,
        )

    def trained(
        self, synthetic: ImageSet, recipe: Recipe, seed: int, answers: bool = False
    ) -> Artefact:
        """Train the experiment's network on a synthetic set; test it.

        meta: last, best, curve, seconds. With `answers`, tensors: its predictions and
        true-class logits for the whole training split.
        """
        e = self.experiment
        recipe = recipe.for_size(len(synthetic), len(self.train))
        key = self._key(e.network, recipe, seed, synthetic)
        key["teacher"] = self.teacher.key if recipe.loss == "kd" else None
        key["answers"] = self.train.fingerprint if answers else None
        return self.store.get(
            "train", key, lambda: self._train(synthetic, recipe, seed, answers, key)
        )

    def _train(self, synthetic, recipe, seed, answers, key):
        e = self.experiment
        network = self.network(e.network, seed)
        with _arithmetic(e.portable):
            done = fit(
                network,
                synthetic,
                recipe,
                seed=seed,
                teacher=self.teacher.network if recipe.loss == "kd" else None,
                test=self.test,
                checkpoint=self._checkpoint(key),
                device=self.device,
                label=f"{len(synthetic)} images, seed {seed}",
            )
            if not answers:
                return {}, _summary(done)
            logits = predict(network, self.train.images, self.device, recipe.precision)
        true = logits.gather(1, self.train.labels[:, None])[:, 0]
        # Small enough to be shipped with the code: a class fits in 16 bits.
        answers = logits.argmax(1).to(torch.int16)
        return {"predictions": answers, "true_logit": true}, _summary(done)

    def _checkpoint(self, key: dict) -> Checkpoint:
        """Where the training of this key is kept while it runs."""
        name = store_key(key)
        folder = self.store.root / "checkpoints" / name
        return Checkpoint(folder, name, deadline=self.deadline)

    def _key(self, network: str, recipe: Recipe, seed: int, images: ImageSet) -> dict:
        """What any training depends on."""
        return {
            "network": network,
            "recipe": essential(recipe),
            "seed": seed,
            "images": images.fingerprint,
            "test": self.test.fingerprint,
            "normalisation": self.normalisation,
            "portable": self.experiment.portable,
        }


def _summary(done) -> dict:
    curve = {str(epoch): value for epoch, value in done.curve.items()}
    keep = {
        k: getattr(done, k) for k in ("last", "best", "losses", "images", "seconds")
    }
    return keep | {"curve": curve}


@contextmanager
def _arithmetic(portable: bool):
    """One thread and no oneDNN while a portable experiment computes."""
    threads, onednn = torch.get_num_threads(), torch.backends.mkldnn.enabled
    if portable:
        torch.set_num_threads(1)
        torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.mkldnn.enabled = onednn
