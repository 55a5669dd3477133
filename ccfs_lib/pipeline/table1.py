"""The rows of Table 1: their sets, built once and kept, under two protocols each.

What is an arm of `Pipeline` already (Random, CDA, CCFS) is evaluated and filed as that
arm. Teacher, scores, recovered images and experts are those of all other commands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ccfs_lib import arms, cost, results
from ccfs_lib import table1 as rows
from ccfs_lib.distill.pixels import Space
from ccfs_lib.experiment import Experiment, presets
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.experiment.budget import within
from ccfs_lib.pipeline import sets, table1_checks
from ccfs_lib.pipeline.measure import (
    EVALUATION,
    filed,
    measure,
    other_teacher,
    results_path,
    with_more_work,
)
from ccfs_lib.pipeline.measure import row as measured
from ccfs_lib.pipeline.oracle import Oracle
from ccfs_lib.pipeline.pipeline import Pipeline
from ccfs_lib.pipeline.section3 import Section3Pipeline
from ccfs_lib.pipeline.sets import Built
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.runtime import paths, plugins
from ccfs_lib.store import Artefact, Store
from ccfs_lib.store import key as store_key
from ccfs_lib.table1 import DEFAULT, SHARED, Choices, Row

MINUTES = 30.0  # of a core, for one set, off a GPU


class Table1Pipeline:
    """Sets, evaluations and results of the rows of Table 1.

    Arguments as for `Pipeline`; choices: what the paper leaves open.
    """

    def __init__(
        self,
        experiment: Experiment,
        choices: Choices = DEFAULT,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
    ):
        self.experiment, self.choices = experiment, choices
        self.pipeline = Pipeline(experiment, store, device, deadline)
        self.trainings = self.pipeline.trainings

    store = property(lambda self: self.pipeline.store)
    device = property(lambda self: self.pipeline.device)
    train = property(lambda self: self.pipeline.train)
    test = property(lambda self: self.pipeline.test)

    def beside(self, kind: type, settings):
        """Return a `Pipeline` or `Section3Pipeline` of other settings, as this one is.

        It has this one's store, device, deadline, and images where they are the same.
        """
        stages = kind(settings, self.store, self.device, self.trainings.deadline)
        stages.trainings.share(self.trainings)
        return stages

    # -- what rows share ---------------------------------------------------------------

    @cached_property
    def forgetting(self) -> np.ndarray:
        """Forgetting events, float (N,), whatever CCFS itself ranks by."""
        other = recipes.forgetting(self.experiment)
        if other == self.experiment:
            return self.pipeline.difficulty
        return self.beside(Pipeline, other).difficulty

    @property
    def difficulty(self) -> np.ndarray:
        """CCFS's score; InputError for one that only a filter has."""
        return self.pipeline.squeeze.ranked

    def section3(self, method: str) -> Section3Pipeline:
        """The run of "selmatch", "mtt" or "datm", its iterations cut to the budget."""
        run = recipes.matching(self.experiment, method)
        m, total = run.matching, self.experiment.ipc * self.train.num_classes
        each = m.syn_steps * min(m.batch_syn or total, total)
        count = self.cut(m.iterations, each, 12, run.matcher)
        run = replace(run, matching=replace(m, iterations=count))
        return self.beside(Section3Pipeline, run)

    @cached_property
    def held(self) -> tuple[Pipeline, np.ndarray]:
        """A pipeline that is tested on held-out training images, and their indices."""
        other = self.beside(Pipeline, replace(self.experiment, holdout=recipes.HELD))
        kept = other.trainings.kept
        return other, np.setdiff1d(np.arange(len(self.train)), kept)

    @property
    def minutes(self) -> float | None:
        """Minutes of a core for the distillation of one set; None: no limit."""
        if self.choices.budget is not None:
            return self.choices.budget
        free = self.experiment.scale == "digits" or self.device == "cuda"
        return None if free else MINUTES

    def cut(self, published: int, passes: float, forwards: int, network: str) -> int:
        """Cut iterations to the budget; `passes` images each, worth `forwards` each."""
        if self.minutes is None:
            return published
        budget = self.minutes * 60 * self.rate(network) / forwards
        return within(published, passes, budget)

    def rate(self, network: str) -> float:
        """Return forward images per second, as this machine had them the first time.

        Kept, since the same command, continued, must ask for the same sets.
        """
        side = self.train.image_size
        key = {"network": network, "side": side, "device": self.device}

        def compute():
            """Time the network; return no tensors, and images per second."""
            return {}, {
                "forwards": float(f"{cost.rate(network, side, self.device):.2g}")
            }

        return self.store.get("rate", key, compute).meta["forwards"]

    def shared(self, chosen: list[Row]) -> list[tuple]:
        """List what these rows need and others, too, as arguments of `share`."""
        wanted = {need for row in chosen for need in row.needs}
        seeds = self.pipeline.squeeze.seeds  # the second panel needs the first of all
        seeds = seeds if "squeeze" in wanted else seeds[:1]
        todo = [("squeeze", seed) for seed in seeds]
        if "recover" in wanted:
            todo += self._recovered(chosen)
        buffers = set()
        for method in ("mtt", "datm", "selmatch"):
            if "experts" in wanted and method in {row.name for row in chosen}:
                run = self.section3(method)
                if (identity := store_key(run.expert_identity)) not in buffers:
                    count = run.motivation.experts
                    todo += [(method, number) for number in range(count)]
                buffers.add(identity)
        return todo

    def _recovered(self, chosen: list[Row]) -> Iterator[tuple[str, int, int]]:
        """Yield the batches of images that these rows need: CCFS few, CDA all."""
        e = self.experiment
        named = [arm for row in chosen if "recover" in row.needs for _, arm in row.arms]
        most = max(arms.parse(arm).distilled(e) for arm in named)
        for number in self.pipeline.recover.batches(most):
            yield "recover", number, most

    def share(self, stage: str, number: int, per_class: int = 0) -> None:
        """Compute one part of what rows share into the store."""
        if stage == "squeeze":
            if not self.experiment.teacher_from:
                self.pipeline.squeeze.run(number)
        elif stage == "recover":
            self.pipeline.recover.batch(per_class, number)
        else:
            self.section3(stage).experts(range(number, number + 1))

    def check(self, row: Row) -> None:
        """Raise InputError where a row lacks what can be known before it trains."""
        table1_checks.check(self, row)

    @cached_property
    def checked(self) -> None:
        """Raise InputError where no row could be trained or filed; asked once."""
        self.pipeline.check(())

    def stages(self, row: Row) -> Pipeline:
        """The pipeline whose arm a row is: SRe2L's images are another run's."""
        other = recipes.sre2l(self.experiment) if row.method == "sre2l" else None
        return self.beside(Pipeline, other) if other else self.pipeline

    # -- sets --------------------------------------------------------------------------

    def built(self, row: Row, seed: int) -> Built:
        """Build the set of a row with one seed, or read what the store has of it."""
        if row.function:
            return sets.own(self, row, seed)
        return sets.BUILDERS[row.name](self, seed)

    def real(self, indices) -> Built:
        """A set of these training images."""
        return Built(self.train.subset(np.asarray(indices, np.int64)))

    # -- evaluation --------------------------------------------------------------------

    def evaluate(self, row: Row, protocol: str, seed: int) -> dict:
        """Build, train and test with one seed: one row of results.

        Keys: those of `measure.row`, bytes of the set, and what a row adds.
        """
        if arm := dict(row.arms).get(protocol):
            return self.stages(row).evaluate(arm, seed)
        if row.name == "full":
            return full(self, protocol, seed)
        if row.name == "oracle-window":
            return Oracle(self, protocol).row(seed)
        built = self.built(row, seed)
        return self.row(built, self.trained(built, protocol, seed), seed)

    def row(self, built: Built, done: Artefact, seed: int) -> dict:
        """Describe a training on a set: `measure.row`, and the bytes of the set."""
        wanted = self.experiment.ipc * self.train.num_classes
        basic = measured(seed, done, built.images, wanted)
        return basic | {"bytes": built.bytes}

    def trained(
        self, built: Built, protocol: str, seed: int, stages: Pipeline | None = None
    ) -> Artefact:
        """Train on a set by a protocol of `table1.Row`.

        stages: whose test split judges, default this one's.
        """
        e, count = self.experiment, 1000 * seed + EVALUATION
        stages = stages or self.pipeline
        if protocol == "selmatch" and not built.distilled:
            return stages.as_selmatch(built.images, count)
        if protocol == "selmatch":
            how = {"targets": built.targets, "network": e.evaluation_network}
            other, pixels = self.evaluator(built.whitened), built.pixels
            if pixels is None:  # kept as bytes
                space = Space(other.student(e.network).normalize)
                pixels = space.normalised(built.images.images[: built.distilled])
            return other.trained(built.images, pixels, count, **how)
        return stages.trained(
            built.images,
            recipes.bps(e) if protocol == "bps" else e.recipe,
            count,
            network=e.evaluation_network,
            teacher=self.pipeline.evaluator,
            wanted=e.ipc * self.train.num_classes,
        )

    def evaluator(self, whitened: bool) -> Section3Pipeline:
        """SelMatch's evaluation of sets with distilled images."""
        run = recipes.judged(self.experiment)
        expert = replace(run.expert, zca=whitened)
        return self.beside(Section3Pipeline, replace(run, expert=expert))

    def measure(
        self,
        row: Row,
        protocol: str,
        command: str | None = None,
        seeds: Sequence[int] | None = None,
        again: bool = False,
    ) -> Path:
        """Evaluate a row under a protocol and file a row for each seed.

        Arguments and result as for `Pipeline.measure`.
        """
        if arm := dict(row.arms).get(protocol):
            return self.stages(row).measure(arm, command, seeds, again)
        wanted = set(seeds or range(self.experiment.seeds))
        if not again and self.filed(row, protocol) >= wanted:
            return self.path(row, protocol)
        cell = rows.cells(row, self.choices)[protocol]
        # As every arm has it: claims compare rows of equal settings.
        config = {"teacher_last": self.pipeline.teacher.last}
        config |= self._settings(row, protocol)
        seen = _OneCell(self, row, protocol)
        return measure(seen, self.experiment, cell, config, command, seeds, again)

    def filed(self, row: Row, protocol: str) -> set[int]:
        """List the seeds of a cell whose rows are filed; see `measure.filed`.

        Where minutes decide over the work, rows that are filed after more of it count.
        """
        if arm := dict(row.arms).get(protocol):
            return self.stages(row).filed(arm)
        limited = "budget" in row.options and self.minutes is not None
        if self.experiment.portable and not limited:
            return set()
        cell = rows.cells(row, self.choices)[protocol]
        seen, config = _OneCell(self, row, protocol), self._settings(row, protocol)
        given = seen, self.experiment, cell, config
        return (limited and with_more_work(*given)) or filed(*given)

    def other_teacher(self, row: Row, protocol: str) -> str:
        """Say which teacher a cell is filed with; see `measure.other_teacher`."""
        if arm := dict(row.arms).get(protocol):
            return self.stages(row).other_teacher(arm)
        cell = rows.cells(row, self.choices)[protocol]
        return other_teacher(self.pipeline, self.experiment, cell)

    def path(self, row: Row, protocol: str) -> Path:
        """Return the results file of a cell, there or not."""
        if arm := dict(row.arms).get(protocol):
            return results_path(self.stages(row).experiment, arm)
        return results_path(self.experiment, rows.cells(row, self.choices)[protocol])

    def _settings(self, row: Row, protocol: str) -> dict:
        """List settings of a cell that are not the experiment's."""
        config = {"protocol": protocol, "choices": self._chosen(row)}
        if protocol == "selmatch":
            config["protocol_epochs"] = self.evaluation.epochs
        if "budget" in row.options:
            from ccfs_lib.pipeline.work import work

            spent = work(self, row)
            config |= {"passes": spent.passes, "share": round(spent.share, 8)}
        if row.name == "oracle-window":
            config["judged_by"] = self.judges(protocol)
        if row.function:
            source = plugins.source_hash(row.function)
            config |= {"rule": row.function, "rule_source": source}
        return config

    def judges(self, protocol: str) -> int:
        """Return over how many seeds the mean is taken that chooses the oracle window.

        Not fewer than those of the rows that are filed: with a quick look at one seed
        another window could take the place of theirs.
        """
        cell = rows.cells(rows.BY_NAME["oracle-window"], self.choices)[protocol]
        run = self.experiment.run
        filed = results.setting(paths.filed(run), run, cell, "judged_by")
        return max(self.experiment.seeds, filed or 0)

    @property
    def evaluation(self):
        """SelMatch's evaluation recipe of this cell."""
        e = self.experiment
        return presets.evaluation(e.dataset, e.scale, e.ipc)

    def _chosen(self, row: Row) -> dict:
        return {name: getattr(self.choices, name) for name in row.options}


@dataclass(frozen=True)
class _OneCell:
    """One cell, as `measure` asks for it."""

    table: Table1Pipeline
    row: Row
    protocol: str

    trainings = property(lambda self: self.table.trainings)
    experiment = property(lambda self: self.table.experiment)

    def evaluate(self, _cell: str, seed: int) -> dict:
        """Evaluate the cell with a seed: one row of results."""
        return self.table.evaluate(self.row, self.protocol, seed)


def full(t: Table1Pipeline, protocol: str, seed: int) -> dict:
    """All training images: the teacher's own training, or the teacher's answers."""
    built = Built(t.train)
    if protocol == SHARED:
        done = t.pipeline.trained(
            t.train,
            t.experiment.recipe,
            1000 * seed + EVALUATION,
            network=t.experiment.evaluation_network,
            teacher=t.pipeline.evaluator,
            wanted=len(t.train),
        )
    else:
        squeeze = Squeeze(t.trainings)
        done = squeeze.run(squeeze.seeds[0] + seed)
    return measured(seed, done, built.images, len(t.train)) | {"bytes": built.bytes}
