"""From an experiment to results: teacher, distilled images, phases, final trainings.

data -> squeeze (teacher, forgetting) -> recover -> phases (filter, select) -> train.
Every stage is computed once and kept. Its key holds all that its result depends on and
nothing else, so arms share what they have in common: six strategies train the first
filter of a seed once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from ccfs_lib import arms, curriculum, data, results, scores, selmatch
from ccfs_lib.curriculum import Filter, PhaseRecord
from ccfs_lib.data import ImageSet, exchange
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, Recipe, presets
from ccfs_lib.experiment.recipes import MOST
from ccfs_lib.experiment.selected import of_seed
from ccfs_lib.pipeline.measure import (
    EVALUATION,
    check,
    filed,
    measure,
    other_teacher,
    results_path,
    row,
)
from ccfs_lib.pipeline.opinion import kept_opinion, some
from ccfs_lib.pipeline.recover import Recover
from ccfs_lib.pipeline.squeeze import Squeeze, Teacher
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import plugins
from ccfs_lib.select import quotas
from ccfs_lib.store import Artefact, Store


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= MOST:
        raise InputError(f"seed is {seed}, but must be 0 to {MOST}")


class Pipeline:
    """All stages of an experiment, and the arms that are measured on them.

    Arguments as for `Trainings`. It has `trainings` (images, device, store), `squeeze`
    (teacher, difficulty) and `recover` (distilled images).
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
    ):
        self.experiment = experiment
        self.trainings = Trainings(experiment, store, device, deadline)
        self.squeeze = Squeeze(self.trainings)
        self.recover = Recover(self.trainings, self.squeeze)

    # What chapters ask most often, without a second dot.
    store = property(lambda self: self.trainings.store)
    device = property(lambda self: self.trainings.device)
    train = property(lambda self: self.trainings.train)
    test = property(lambda self: self.trainings.test)
    normalisation = property(lambda self: self.trainings.normalisation)

    @property
    def teacher(self) -> Teacher:
        """The teacher of every distillation; see `Squeeze.teacher`."""
        return self.squeeze.teacher

    @cached_property
    def evaluator(self) -> Teacher:
        """The teacher of the evaluations: `teacher`, unless another one was asked for.

        It is trained by the teacher's recipe, on the same images.
        """
        name = self.experiment.evaluation_teacher
        return Squeeze(self.trainings, name).teacher if name else self.teacher

    @property
    def difficulty(self) -> np.ndarray | None:
        """Difficulty of each training image; see `Squeeze.difficulty`."""
        return self.squeeze.difficulty

    def network(self, name: str, seed: int | None = None):
        """Build a network for these images; see `Trainings.network`."""
        return self.trainings.network(name, seed)

    def distilled(self, per_class: int) -> ImageSet:
        """Recover or read distilled images; see `Recover.images`."""
        return self.recover.images(per_class)

    def check(self, names: Sequence[str]) -> None:
        """Raise InputError for what could not be measured, trained or filed.

        names: of arms. To be asked before anything is trained: images are read,
        networks built and selection rules imported.
        """
        e = self.experiment
        check(self, e)
        self.recover.check()
        networks = e.network, e.teacher_network, e.evaluation_network
        for name in {*networks, e.evaluation_teacher} - {""}:
            self.trainings.check_network(name)
        chosen = [arms.parse(name, e) for name in names]
        if any(arm.distilled(e) for arm in chosen) and not e.distilled_from:
            self._check_recovery()
        for name, arm in zip(names, chosen, strict=True):
            results.check_names(e.run, name.replace(":", "."))
            if arm.rule:
                plugins.resolve(arm.rule, "arm", arms.RULE)
            if arm.set == "selected":
                for seed in range(e.seeds):
                    self._given(seed)

    def _check_recovery(self) -> None:
        """Raise InputError for a teacher from which no image can be recovered."""
        name = self.experiment.teacher_network
        layers = self.trainings.network(name, 0).modules()
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in layers):
            raise InputError(
                f"teacher_network is {name!r}, which has no BatchNorm2d layer, but "
                "images are recovered from batch-norm statistics: take a network with "
                "batch norm, or give images as distilled_from"
            )

    def _given(self, seed: int) -> np.ndarray:
        """Read the indices of somebody's selection; InputError as `read_indices`."""
        e, path = self.experiment, of_seed(self.experiment.selected_from, seed)
        numbers, _ = exchange.read_indices(path, e.ipc, len(self.trainings.whole))
        indices = self.trainings.placed(numbers)
        exchange.check_quota(path, self.train.labels.numpy(), indices, e.real)
        return indices

    # -- the method ------------------------------------------------------------------

    def phases(
        self, seed: int = 0, strategy: str | None = None, distilled: bool = True
    ) -> Iterator[PhaseRecord]:
        """Run Algorithm 1 for one seed.

        strategy: one of Table 3, or a rule of the user's, module:function; default the
        experiment's. distilled: whether the filters learn the distilled images, as in
        the paper; else selected images alone, and the first one nothing. Raises
        InputError for another strategy or a negative seed.
        """
        e, rule = self.experiment, None
        _check_seed(seed)
        coarse, fine = e.coarse, e.fine
        if strategy in arms.STRATEGIES:
            coarse, fine = arms.parse(strategy).strategy
        elif strategy and plugins.named(strategy):
            rule = plugins.resolve(strategy, "strategy", arms.RULE)
        elif strategy is not None:
            known = ", ".join(arms.STRATEGIES)
            raise InputError(f"strategy is {strategy!r}, but must be one of {known}")
        difficulty = self.difficulty  # first: a missing file is told before training
        ties = scores.untied(difficulty, seed) if e.ties == "random" else None
        begin = e.distilled if distilled else 0
        split = quotas(e.real, e.curricula) if e.real else []

        def train_filter(synthetic: ImageSet, phase: int) -> Filter:
            """Train on the set so far."""
            return self.filter(synthetic, seed, phase, begin + sum(split[: phase - 1]))

        return curriculum.run(
            self.train,
            self.distilled(begin),
            difficulty,
            split,
            train_filter,
            teacher_predictions=self.teacher.predictions if e.teacher_correct else None,
            coarse=coarse,
            fine=fine,
            ties=ties,
            rule=rule,
            seed=seed,
        )

    def filter(self, synthetic: ImageSet, seed: int, phase: int, each: int) -> Filter:
        """Train the filter of a phase; each: images per class that it should learn."""
        e = self.experiment
        if not len(synthetic):  # alpha 0: it knows nothing, so all are mistakes
            return curriculum.ignorant(self.train)
        # Only the last epoch is tested.
        recipe = replace(e.recipe, tail=0.0, loss=e.filter_loss or e.recipe.loss)
        how = {"answers": True, "wanted": each * self.train.num_classes}
        return Filter.read(self.trained(synthetic, recipe, 1000 * seed + phase, **how))

    def trained(
        self,
        synthetic: ImageSet,
        recipe: Recipe,
        seed: int,
        answers: bool = False,
        network: str = "",
        teacher: Teacher | None = None,
        wanted: int = 0,
    ) -> Artefact:
        """Train a network, the filters' or the one named, under the teacher.

        Arguments and result as for `Trainings.trained`; teacher: default the filters';
        wanted: counts where the experiment's `batch_size_by` asks for it.
        """
        kd = recipe.loss == "kd"
        teacher = (teacher or self.teacher) if kd else None
        return self.trainings.trained(
            synthetic,
            recipe,
            seed,
            network=network or self.experiment.network,
            entries={"teacher": None},
            answers=answers,
            teacher=teacher,
            wanted=wanted if self.experiment.batch_size_by == "wanted" else 0,
        )

    # -- arms ------------------------------------------------------------------------

    def synthetic(self, name: str, seed: int) -> ImageSet:
        """Build the final set of an arm, named as in `arms.ARMS`."""
        e, arm = self.experiment, arms.parse(name, self.experiment)
        _check_seed(seed)
        if arm.set == "full":
            return self.train
        if arm.set == "distilled":
            return self.distilled(e.ipc)
        if arm.set == "random":
            return self.train.subset(self.random_real(e.ipc, seed))
        if arm.set == "short":  # as few of each class as CCFS could fill
            sizes = self._beside(self.chosen(seed)).class_sizes
            return self.train.subset(self.random_real(sizes, seed))
        if arm.set == "selected":
            return self._beside(self._given(seed))
        strategy = arm.rule or (arm.strategy and arm.name)
        chosen = self.chosen(seed, strategy, arm.in_filters)
        if not arm.in_set:
            other = self.random_real(e.distilled, seed, excluded=chosen)
            return self.train.subset(np.concatenate([other, chosen]))
        return self._beside(chosen)

    def chosen(
        self, seed: int, strategy: str | None = None, distilled: bool = True
    ) -> np.ndarray:
        """Indices that Algorithm 1 chooses, int64, in the order of choice.

        Arguments as for `phases`.
        """
        return curriculum.selected(list(self.phases(seed, strategy, distilled)))

    def _beside(self, chosen: np.ndarray) -> ImageSet:
        """The distilled part and the chosen images: a final set."""
        distilled = self.distilled(self.experiment.distilled)
        return data.concat(distilled, self.train.subset(chosen))

    def random_real(
        self, per_class: int | list[int], seed: int, excluded: Sequence[int] = ()
    ) -> np.ndarray:
        """Draw `per_class` random training images of each class: indices, int64.

        per_class: one number, or one for each class; fewer are the first of more.
        excluded: indices that are passed over in the same order.
        """
        random, labels = np.random.default_rng(seed), self.train.labels.numpy()
        wanted = np.broadcast_to(per_class, self.train.num_classes)
        drawn = [
            random.permutation(np.flatnonzero(labels == c)) for c in range(len(wanted))
        ]
        drawn = [d[~np.isin(d, excluded)] for d in drawn]
        return np.concatenate([d[:n] for d, n in zip(drawn, wanted, strict=True)])

    def evaluate(self, name: str, seed: int) -> dict:
        """Build an arm's set with one seed, train on it, test: one row of results.

        Keys: those of `measure.row`, and of CCFS phases: phase -> what Figure 4 shows.
        """
        e, arm = self.experiment, arms.parse(name, self.experiment)
        recipe, synthetic = replace(e.recipe, **arm.changes), self.synthetic(name, seed)
        # Table 2: filters of `network` selected the set, whatever learns from it.
        seeded = 1000 * seed + EVALUATION
        full = arm.set == "full"
        wanted = len(self.train) if full else e.ipc * self.train.num_classes
        if arm.protocol == "selmatch":
            done = self.as_selmatch(synthetic, seeded)
        else:
            how = {"network": e.evaluation_network, "teacher": self.evaluator}
            done = self.trained(synthetic, recipe, seeded, wanted=wanted, **how)
        measured = row(seed, done, synthetic, wanted) | self._agreement(arm)
        return measured | self._course(name, seed)

    def _agreement(self, arm: arms.Arm) -> dict:
        """Percent of an arm's distilled images whose class the teacher predicts.

        Under "agreement"; {} for an arm without distilled images or teacher, and where
        neither the weights of a shipped teacher nor its opinions of them are at hand.
        """
        without = arm.set == "short" or not arm.in_set
        if without or arm.changes.get("loss", "kd") != "kd":
            return {}
        if not len(distilled := self.distilled(arm.distilled(self.experiment))):
            return {}
        try:
            right = kept_opinion(self, some(distilled), self.evaluator).right
        except InputError:
            return {}
        return {"agreement": round(100 * float(right.mean()), 2)}

    def as_selmatch(self, real: ImageSet, seed: int) -> Artefact:
        """Train on real images as SelMatch does, from which Table 1's Random row is."""
        e = self.experiment
        return self.trainings.trained(
            real,
            presets.evaluation(e.dataset, e.scale, e.ipc),
            seed,
            network=e.evaluation_network or e.network,
            entries={"dsa": "every image, an operation a batch"},
            make=selmatch.DsaStep,
        )

    def _course(self, name: str, seed: int) -> dict:
        """Figure 4 in numbers: CCFS's filters and picks, by phase; of other arms none.

        By phase: train and test (the filter's accuracy, percent), mean, low and high
        (difficulty of the picked). A phase that picks nothing is left out.
        """
        if name != arms.CCFS:
            return {}
        phases = {}
        for record in self.phases(seed, name):
            if len(record.chosen):
                hard = record.difficulty
                figures = {
                    "train": record.train_accuracy,
                    "test": record.filter.test_accuracy,
                    "mean": hard.mean(),
                    "low": hard.min(),
                    "high": hard.max(),
                }
                rounded = {k: round(float(v), 6) for k, v in figures.items()}
                phases[str(record.phase)] = rounded
        return {"phases": phases} if phases else {}

    def measure(
        self,
        name: str,
        command: str | None = None,
        seeds: Sequence[int] | None = None,
        again: bool = False,
    ) -> Path:
        """Evaluate an arm and file a row for each seed; return the results' path.

        seeds: default all of the experiment. again: those that are filed are measured
        anew. Raises InputError for an arm that cannot be measured here, and where its
        results cannot be filed.
        """
        e = self.experiment
        arms.parse(name, e)  # before a teacher is trained
        check(self, e, name)
        if not again and self.filed(name) >= set(seeds or range(e.seeds)):
            return results_path(e, name)
        config = self._settings(name) | self._taught()
        return measure(self, e, name, config, command, seeds, again)

    def filed(self, name: str) -> set[int]:
        """List the seeds of an arm whose rows are filed; see `measure.filed`."""
        return filed(self, self.experiment, name, self._settings(name))

    def other_teacher(self, name: str) -> str:
        """Say which teacher an arm is filed with; see `measure.other_teacher`."""
        return other_teacher(self, self.experiment, name)

    def _taught(self) -> dict:
        """Return the teacher's accuracies, which every cell files beside its rows."""
        teacher = self.teacher
        known = {"teacher_last": teacher.last, "teacher_best": teacher.best}
        known["teacher_train"] = teacher.train_accuracy
        if self.evaluator is not teacher:
            known["evaluator_last"] = self.evaluator.last
        return known

    def _settings(self, name: str) -> dict:
        """List settings of an arm that are not the experiment's."""
        e, config = self.experiment, {}
        arm = arms.parse(name, e)
        if arm.protocol:  # a recipe of its own: the experiment's takes no part
            own = presets.evaluation(e.dataset, e.scale, e.ipc)
            config |= {"protocol": arm.protocol, "protocol_epochs": own.epochs}
        if arm.rule:
            config |= {"rule": arm.rule, "rule_source": plugins.source_hash(arm.rule)}
        return config
