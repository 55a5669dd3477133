"""Section 3: experts -> windows -> matching, selection -> evaluation.

As in `Pipeline`, each stage is computed once and kept, by a key that holds all that its
result depends on: the three settings share experts, and "reverse" its distilled images
with nobody. A killed run continues. There is no teacher here.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from ccfs_lib import arms, selmatch
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
from ccfs_lib.experiment.section3 import check_rounds
from ccfs_lib.networks import Network
from ccfs_lib.pipeline.measure import EVALUATION, check, filed, measure, row
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.selmatch import Combined, CombinedStep, Window
from ccfs_lib.store import Artefact, Store

VIEWS = Strengths()  # SelMatch's, one operation for each distilled image


def known(arm: str) -> None:
    """Raise InputError unless `arm` is one of Section 3."""
    if arm not in arms.SECTION3:
        raise InputError(
            f"arm is {arm!r}, but must be one of {', '.join(arms.SECTION3)}"
        )


class Section3Pipeline:
    """All stages of a run of Section 3, and the arms that are measured on them.

    Arguments as for `Trainings`. It has `trainings` (images, device, store) and
    `squeeze`, of which it takes the difficulty alone.
    """

    def __init__(
        self,
        motivation: Motivation,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
    ):
        self.motivation, self.experiment = motivation, motivation.experiment
        # SelMatch's own constants, which for Tiny-ImageNet are not CCFS's.
        constants = SELMATCH.get(self.experiment.dataset)
        self.trainings = Trainings(self.experiment, store, device, deadline, constants)
        self.squeeze = Squeeze(self.trainings)

    store = property(lambda self: self.trainings.store)
    device = property(lambda self: self.trainings.device)
    train = property(lambda self: self.trainings.train)
    test = property(lambda self: self.trainings.test)
    normalisation = property(lambda self: self.trainings.normalisation)

    def check(self, names: Sequence[str]) -> None:
        """Raise InputError for what could not be measured, trained or filed.

        names: of arms. To be asked before anything is trained.
        """
        for arm in names:
            known(arm)
        if {"two-shot", "reverse"} & {*names}:
            check_rounds(self.motivation)
        check(self, self.motivation)
        for name in {self.motivation.matcher, self.experiment.network}:
            self.trainings.check_network(name)

    @property
    def difficulty(self) -> np.ndarray | None:
        """Difficulty of each training image; see `Squeeze.difficulty`."""
        return self.squeeze.difficulty

    @cached_property
    def buffer(self) -> Buffer:
        """All experts, trained or read."""
        return self.experts(range(self.motivation.experts))

    def experts(self, numbers: range) -> Buffer:
        """The experts of these numbers, from 0, trained or read."""
        m = self.motivation
        how = {"device": self.device, "deadline": self.trainings.deadline, **self._like}
        with arithmetic(self.experiment.portable):
            given = self.store, m.matcher, self.train, m.expert, numbers
            return experts.buffer(*given, **how)

    @property
    def _like(self) -> dict:
        """What experts depend on besides network, images and recipe."""
        portable = {"portable": True, **self.trainings.arithmetic}
        other = portable if self.experiment.portable else {}
        return {"normalisation": self.trainings.normalisation, "arithmetic": other}

    @property
    def expert_identity(self) -> dict:
        """What its experts are, by which they are kept."""
        m = self.motivation
        return experts.described(m.matcher, self.train, m.expert, **self._like)

    @cached_property
    def ranking(self) -> np.ndarray:
        """What CCFS on MTT's images ranks by, float (N,), higher = harder."""
        e, score = self.experiment, self.motivation.ranking
        if score == e.score:
            return self.difficulty
        t, other = self.trainings, replace(e, score=score)
        own = Trainings(other, t.store, t.device, t.deadline, t.constants)
        return Squeeze(own).difficulty

    def student(self, name: str, seed: int | None = None) -> Network:
        """A fresh network that sees images as experts did: normalised or whitened."""
        network = self.trainings.network(name, seed)
        if self.motivation.expert.zca:
            network.normalize = zca.fitted(self.store, self.train)
        return network

    def initial(self, per_class: int, seed: int) -> np.ndarray:
        """Draw indices of the images that MTT and DATM begin with (`initial`)."""
        recipe = self.motivation.matching
        # Random ones need no expert.
        buffer = self.buffer if recipe.init == "correct" else None
        with arithmetic(self.experiment.portable):
            return initial(self.train, per_class, buffer, recipe, seed, self.device)

    def distilled(self, begin: ImageSet, real: ImageSet, seed: int) -> Matched:
        """`begin` distilled beside `real`, which may be empty and stays as it is."""
        m = self.motivation
        # A match that is there needs no expert.
        buffer = Later(self.expert_identity, m.experts, lambda: self.buffer)
        with arithmetic(self.experiment.portable):
            return matched(
                self.store,
                begin,
                buffer,
                m.matching,
                real=real,
                seed=seed,
                deadline=self.trainings.deadline,
                device=self.device,
                # A graph of all steps is faster, where it fits: small networks, here.
                recompute=self.experiment.scale == "paper",
            )

    def window(self) -> Window:
        """What "selmatch" keeps and where all three settings begin to distil."""
        m, e, score = self.motivation, self.experiment, self.squeeze.ranked
        labels = self.train.labels.numpy()
        return selmatch.window(labels, score, e.ipc, e.alpha, m.beta, m.start)

    def fits(self, run: Motivation) -> bool:
        """Say whether the window of a run stays within every class of these images."""
        try:
            self._cut(run)
        except InputError:
            return False
        return True

    def check_windows(self, runs: Sequence[Motivation]) -> None:
        """Raise InputError for a run whose window leaves a class, before any training.

        runs: of these images, such as `experiment.section3.ladder` lists.
        """
        for run in runs:
            try:
                self._cut(run)
            except InputError as error:
                ipc = run.experiment.ipc
                aside = f"; IPC {ipc} is run beside {self.experiment.ipc}"
                other = aside * (ipc != self.experiment.ipc)
                raise InputError(f"{error}{other}") from None

    def _cut(self, run: Motivation) -> None:
        """Cut a run's window; how large classes are decides whether that fails."""
        labels, e = self.train.labels.numpy(), run.experiment
        given = labels, np.zeros(len(labels)), e.ipc, e.alpha, run.beta, run.start
        selmatch.window(*given)

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
            """Distil beside real images, and remember the match."""
            made.append(self.distilled(begin, real, seed))
            return made[-1].images

        def answer(synthetic: ImageSet, shot: int) -> Filter:
            """Train on the set so far, and ask about the training images."""
            # "two-shot" selects with the initial images, before they are distilled.
            pixels = made[-1].pixels if made else None
            done = self.trained(synthetic, pixels, 1000 * seed + shot, answers=True)
            return Filter.read(done)

        if arm == "ccfs-mtt":
            return self._curriculum(distil, answer, seed), made[-1]
        window = e.ipc, e.alpha, m.beta
        given = self.train, self.difficulty, *window, distil, answer
        return selmatch.build(arm, *given, start=m.start), made[-1]

    def _curriculum(self, distil, answer, seed: int) -> Combined:
        """Table 10: CCFS on images that MTT distilled from random ones."""
        e = self.experiment
        score = self.ranking  # first: a missing file is told before anything is trained
        index = self.initial(e.distilled, seed)
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
        targets: Tensor | None = None,
        network: str = "",
    ) -> Artefact:
        """Train a network by SelMatch's protocol: hard labels, combined augmentation.

        pixels: the distilled images among them, which are the first and get DSA, as
        they were learned, float (n, 3, H, W) normalised; None if all are real. targets:
        soft labels (N, C) in place of the hard ones. network: default the experiment's.
        Result as for `Trainings.trained`.
        """
        learned = 0 if pixels is None else len(pixels)
        entries = {"distilled": learned, "dsa": essential(VIEWS)}
        entries["padding"] = "mean colour"  # of real images; once it was black
        if learned:  # the images' fingerprint is that of their bytes
            entries["pixels"] = fingerprint(pixels.numpy(), np.empty(0))
        if self.motivation.expert.zca:
            entries["zca"] = zca.EPS
        if targets is not None:
            entries["targets"] = fingerprint(targets.numpy(), np.empty(0))
        how = {"distilled": learned, "strengths": VIEWS, "pixels": pixels}
        how |= {"targets": targets}
        return self.trainings.trained(
            synthetic,
            self.motivation.evaluation,
            seed,
            network=network or self.experiment.network,
            entries=entries,
            answers=answers,
            make=partial(CombinedStep, **how),
            build=self.student,
        )

    def evaluate(self, arm: str, seed: int) -> dict:
        """Build an arm's set with one seed, train on it, test: one row of results.

        Keys: those of `measure.row`, and of the matching first and final: its mean loss
        in the first and in the last tenth of its iterations.
        """
        made, matching = self.combined(arm, seed)
        done = self.trained(made.images, matching.pixels, 1000 * seed + EVALUATION)
        tenth = max(1, len(matching.losses) // 10)
        ends = matching.losses[:tenth], matching.losses[-tenth:]
        first, final = (round(float(np.mean(part)), 6) for part in ends)
        wanted = self.experiment.ipc * self.train.num_classes
        return row(seed, done, made.images, wanted) | {"first": first, "final": final}

    def measure(
        self,
        arm: str,
        command: str | None = None,
        seeds: Sequence[int] | None = None,
        again: bool = False,
    ) -> Path:
        """Evaluate an arm and file a row for each seed; return the results' path.

        seeds: default all of the run. again: those that are filed are measured anew.
        Raises InputError for another arm than Section 3 has, and where its results
        cannot be filed.
        """
        known(arm)
        m = self.motivation
        check(self, m, arm)
        return measure(self, m, arm, self._settings(arm), command, seeds, again)

    def filed(self, arm: str) -> set[int]:
        """List the seeds of an arm whose rows are filed; see `measure.filed`."""
        return filed(self, self.motivation, arm, self._settings(arm))

    def _settings(self, arm: str) -> dict:
        """List settings of an arm that are not the run's."""
        m = self.motivation
        other = arm == "ccfs-mtt" and m.ranking != self.experiment.score
        return {"ranking": m.ranking} if other else {}
