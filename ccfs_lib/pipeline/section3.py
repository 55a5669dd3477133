"""The stages of Section 3: experts -> windows -> matching, selection -> evaluation.

As in `ccfs_lib.pipeline`, each is computed once and kept, by a key that holds all that
its result depends on: the three settings share experts, and "reverse" its distilled
images with nobody. A killed run continues.
"""

import warnings
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from ccfs_lib import results, selmatch
from ccfs_lib.curriculum import Filter
from ccfs_lib.data import ImageSet, concat
from ccfs_lib.data.decode import fingerprint
from ccfs_lib.distill import experts, zca
from ccfs_lib.distill.buffer import Buffer, Later
from ccfs_lib.distill.initial import initial
from ccfs_lib.distill.mtt import Matched, matched
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Motivation, Strengths, essential
from ccfs_lib.experiment.datasets import SELMATCH
from ccfs_lib.experiment.section3 import ARMS
from ccfs_lib.networks import Network
from ccfs_lib.pipeline.pipeline import EVALUATION
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.runtime.progress import progress
from ccfs_lib.select import ShortfallWarning
from ccfs_lib.selmatch import Combined, CombinedStep, Window
from ccfs_lib.store import Artefact

VIEWS = Strengths()  # SelMatch's, one operation for each distilled image


def known(arm: str) -> None:
    """Raise InputError unless `arm` is one of ARMS."""
    if arm not in ARMS:
        raise InputError(f"arm is {arm!r}, but must be one of {', '.join(ARMS)}")


class Trajectories(Squeeze):
    """All stages of `motivation`, and the arms that are measured on them."""

    def __init__(self, motivation: Motivation, *arguments, **options):
        super().__init__(motivation.experiment, *arguments, **options)
        self.motivation = motivation

    @cached_property
    def buffer(self) -> Buffer:
        """All experts, trained or read."""
        return self.experts(range(self.motivation.experts))

    def experts(self, numbers: range) -> Buffer:
        """The experts of these numbers, from 0, trained or read."""
        m = self.motivation
        how = {"device": self.device, "deadline": self.deadline, **self._like}
        with arithmetic(self.experiment.portable):
            given = self.store, m.matcher, self.train, m.expert, numbers
            return experts.buffer(*given, **how)

    @property
    def _like(self) -> dict:
        """What experts depend on besides network, images and recipe."""
        portable = {"portable": True, **self.arithmetic}
        other = portable if self.experiment.portable else {}
        return {"normalisation": self.normalisation, "arithmetic": other}

    @cached_property
    def ranking(self) -> np.ndarray:
        """What CCFS on MTT's images ranks by, float (N,), higher = harder."""
        e, score = self.experiment, self.motivation.ranking
        if score == e.score:
            return self.difficulty
        return Squeeze(replace(e, score=score), self.store, self.device).difficulty

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """SelMatch's own constants, which for Tiny-ImageNet are not CCFS's."""
        return SELMATCH.get(self.experiment.dataset) or super().normalisation

    def student(self, name: str, seed: int | None = None) -> Network:
        """A fresh network that sees images as experts did: normalised or whitened."""
        network = self.network(name, seed)
        if self.motivation.expert.zca:
            network.normalize = zca.fitted(self.store, self.train)
        return network

    def distilled(self, begin: ImageSet, real: ImageSet, seed: int) -> Matched:
        """`begin` distilled beside `real`, which may be empty and stays as it is."""
        m = self.motivation
        what = experts.described(m.matcher, self.train, m.expert, **self._like)
        # A match that is there needs no expert.
        buffer = Later(what, m.experts, lambda: self.buffer)
        with arithmetic(self.experiment.portable):
            return matched(
                self.store,
                begin,
                buffer,
                m.matching,
                real=real,
                seed=seed,
                deadline=self.deadline,
                device=self.device,
                # A graph of all steps is faster, where it fits: small networks, here.
                recompute=self.experiment.scale == "paper",
            )

    def window(self) -> Window:
        """What "selmatch" keeps and where all three settings begin to distil."""
        m, e = self.motivation, self.experiment
        if self.difficulty is None:
            raise InputError("score is 'logits', but a window needs a score beforehand")
        labels = self.train.labels.numpy()
        return selmatch.window(labels, self.difficulty, e.ipc, e.alpha, m.beta, m.start)

    def alone_or_beside(self, arm: str, seed: int) -> Matched:
        """The match of "selmatch" or of "reverse": neither needs a filter."""
        window = self.window()
        beside = window.real if arm == "selmatch" else []
        begin = self.train.subset(window.initial, "initial")
        return self.distilled(begin, self.train.subset(beside), seed)

    def combined(self, arm: str, seed: int = 0) -> tuple[Combined, Matched]:
        """The synthetic set of one of ARMS, and how its distilled part came about."""
        known(arm)
        m, e, made = self.motivation, self.experiment, []

        def distil(begin: ImageSet, real: ImageSet) -> ImageSet:
            made.append(self.distilled(begin, real, seed))
            return made[-1].images

        def answer(synthetic: ImageSet, shot: int) -> Filter:
            # "two-shot" selects with the initial images, before they are distilled.
            pixels = made[-1].pixels if made else None
            said = self.trained(synthetic, pixels, 1000 * seed + shot, answers=True)
            return Filter.read(said)

        with warnings.catch_warnings():
            # The row tells how many images there are; a warning per class drowns it.
            warnings.simplefilter("ignore", ShortfallWarning)
            if arm == "ccfs-mtt":
                return self._curriculum(distil, answer, seed), made[-1]
            window = e.ipc, e.alpha, m.beta
            given = self.train, self.difficulty, *window, distil, answer
            return selmatch.build(arm, *given, start=m.start), made[-1]

    def _curriculum(self, distil, answer, seed: int) -> Combined:
        """Table 10: CCFS on images that MTT distilled from random ones."""
        m, e = self.motivation, self.experiment
        score = self.ranking  # first: a missing file is told before anything is trained
        index = initial(self.train, e.distilled, self.buffer, m.matching, seed)
        images = distil(self.train.subset(index, "initial"), self.train.subset([]))
        rounds = [np.empty(0, np.int64)]
        if e.real:
            some = self.train, images, score, e.real, answer
            rounds += selmatch.two_shot(*some, shots=e.curricula)
        real = np.concatenate(rounds)
        whole = concat(images, self.train.subset(real))
        return Combined(images, real, index, whole)

    def trained(
        self,
        synthetic: ImageSet,
        pixels: Tensor | None,
        seed: int,
        answers: bool = False,
    ) -> Artefact:
        """Train a network by SelMatch's protocol: hard labels, combined augmentation.

        pixels: the distilled images among them, which are the first and get DSA, as
        they were learned, float (n, 3, H, W) normalised; None if all are real. meta:
        last, best, ...; with `answers`, tensors as `Workbench.answers` has them.
        """
        recipe, name = self.motivation.evaluation, self.experiment.network
        key = self._key(name, recipe, seed, synthetic)
        learned = 0 if pixels is None else len(pixels)
        key |= {"distilled": learned, "dsa": essential(VIEWS)}
        key["padding"] = "mean colour"  # of real images; once it was black
        if learned:  # the images' fingerprint is that of their bytes
            key["pixels"] = fingerprint(pixels.numpy(), np.empty(0))
        if self.motivation.expert.zca:
            key["zca"] = zca.EPS
        key["answers"] = self.train.fingerprint if answers else None

        def compute():
            network = self.student(name, seed)
            how = {"distilled": learned, "strengths": VIEWS, "pixels": pixels}
            make = partial(CombinedStep, **how)
            label = f"{len(synthetic)} images, seed {seed}"
            options = {"seed": seed, "label": label, "make": make}

            def after():
                return self.answers(network, recipe.precision) if answers else {}

            return self._fit(network, synthetic, recipe, key, after, **options)

        return self.store.get("train", key, compute)

    def evaluate(self, arm: str, seed: int) -> dict:
        """Build an arm's set with one seed, train on it, test: one row of results.

        Keys: seed, last, best (percent), images, wanted, and of the matching first and
        final: its mean loss in the first and in the last tenth of its iterations.
        """
        e = self.experiment
        made, matching = self.combined(arm, seed)
        done = self.trained(made.images, matching.pixels, 1000 * seed + EVALUATION)
        tenth = max(1, len(matching.losses) // 10)
        ends = matching.losses[:tenth], matching.losses[-tenth:]
        first, final = (round(float(np.mean(part)), 6) for part in ends)
        return {
            "seed": seed,
            "last": done.meta["last"],
            "best": done.meta["best"],
            "images": len(made.images),
            "wanted": e.ipc * self.train.num_classes,
            "first": first,
            "final": final,
        }

    def measure(self, arm: str, command: str | None = None) -> Path:
        """Evaluate an arm with every seed and write its results file; return its path.

        A file that has them already, of equal settings and images, is left as it is,
        but for a portable run: that is cheap, and has to repeat. Raises InputError for
        another arm than ARMS has.
        """
        known(arm)
        m, e = self.motivation, self.experiment
        config = m.hashed() | {"arm": arm, "seeds": e.seeds}
        if arm == "ccfs-mtt" and m.ranking != e.score:
            config["ranking"] = m.ranking
        config |= {"train": self.train.fingerprint, "test": self.test.fingerprint}
        found = results.find(paths.results(), m.run, arm, config)
        if found and not e.portable:
            return found
        rows = [self.evaluate(arm, s) for s in progress(range(e.seeds), arm, "seed")]
        provenance = results.provenance(self.device, command)
        return results.write(
            paths.results(), m.run, arm, config=config, rows=rows, provenance=provenance
        )
