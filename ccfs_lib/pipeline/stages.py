"""The stages of one experiment, each computed once and kept.

data -> squeeze (teacher, forgetting) -> recover -> phases (filter, select) -> train.
Every stage's key holds all that its result depends on and nothing else, so arms share
what they have in common: six strategies train the first filter of a seed once.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from ccfs_lib import curriculum, scores
from ccfs_lib.curriculum import Filter, PhaseRecord
from ccfs_lib.data import ImageSet, exchange
from ccfs_lib.distill import sre2l
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import STRATEGIES, Recipe, essential
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.runtime.progress import progress
from ccfs_lib.select import quotas
from ccfs_lib.store import Artefact


class Stages(Squeeze):
    """All stages of `experiment`, from its images to the trainings on its sets."""

    # -- recover ---------------------------------------------------------------------

    def distilled(self, per_class: int) -> ImageSet:
        """The first `per_class` distilled images of each class, recovered or read."""
        e = self.experiment
        if not per_class:
            return self.train.subset([], "none")
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
        if e.distilled_from or not per_class:
            return {}
        size = e.distillation.batch_size
        todo = sre2l.batches(self.train.num_classes, per_class, size)
        return dict(enumerate(todo))

    def recovered(self, per_class: int, number: int) -> torch.Tensor:
        """One batch of recovered images, uint8 (B, 3, H, W), in the order recovered."""
        e, targets = self.experiment, self.recovery(per_class)[number]
        # Batches are numbered over classes and images: fewer images per class are the
        # first batches of more, and no key needs to say how many there will be.
        size = self.train.image_size
        key = {"teacher": self.teacher.key, "recipe": essential(e.distillation)}
        key |= {"size": size, "classes": self.train.num_classes}
        key |= {"batch": number, "images": len(targets)}

        def compute():
            if self.deadline is not None and time.monotonic() >= self.deadline:
                raise TimeUp("recover: time is up; the same command continues here")
            teacher, recipe = self.teacher.network, e.distillation
            with arithmetic(e.portable):
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
            if not len(synthetic):  # alpha 0: it knows nothing, so all are mistakes
                return curriculum.ignorant(self.train)
            # Only the last epoch is tested.
            recipe = replace(e.recipe, tail=0.0, loss=e.filter_loss or e.recipe.loss)
            return Filter.read(
                self.trained(synthetic, recipe, 1000 * seed + phase, True)
            )

        difficulty = self.difficulty  # first: a missing file is told before training
        order = difficulty
        if e.ties == "random":
            order = scores.untied(difficulty, seed)
        teacher = self.teacher.predictions if e.teacher_correct else None
        records = curriculum.run(
            self.train,
            self.distilled(e.distilled),
            order,
            quotas(e.real, e.curricula) if e.real else [],
            train_filter,
            teacher_predictions=teacher,
            coarse=coarse,
            fine=fine,
            seed=seed,
        )
        if order is difficulty:
            return records
        # The lot decides the order; a record holds the difficulty itself.
        return (replace(r, difficulty=difficulty[r.chosen]) for r in records)

    def trained(
        self,
        synthetic: ImageSet,
        recipe: Recipe,
        seed: int,
        answers: bool = False,
        network: str = "",
    ) -> Artefact:
        """Train a network, the experiment's or the one named, on a synthetic set.

        meta: last, best, curve, seconds. With `answers`, tensors: its predictions and
        true-class logits for the whole training split.
        """
        e = self.experiment
        # Before the key: the batch size follows the set (Table 8).
        recipe = recipe.for_size(len(synthetic), len(self.train))
        key = self._key(network or e.network, recipe, seed, synthetic)
        key["teacher"] = self.teacher.key if recipe.loss == "kd" else None
        key["answers"] = self.train.fingerprint if answers else None
        return self.store.get(
            "train", key, lambda: self._train(synthetic, recipe, seed, answers, key)
        )

    def _train(self, synthetic, recipe, seed, answers, key):
        # One seed for first weights, order and augmentation; phases of a seed differ.
        network = self.network(key["network"], seed)

        def after():
            return self.answers(network, recipe.precision) if answers else {}

        teacher = self.teacher.network if recipe.loss == "kd" else None
        label = f"{len(synthetic)} images, seed {seed}"
        options = {"seed": seed, "label": label, "teacher": teacher}
        return self._fit(network, synthetic, recipe, key, after, **options)
