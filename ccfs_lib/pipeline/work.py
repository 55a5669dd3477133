"""What a row of Table 1 costs to build, in image passes: here, and as published.

A pass is one image through a network in training, recovery or matching. Only what a set
cannot be built without is counted: teacher, counted scores, experts, filters; not the
training on the finished set. Scores from files were paid for by others.
"""

from dataclasses import dataclass, replace
from functools import partial

from ccfs_lib import coresets, cost
from ccfs_lib.cost import Size, Stage
from ccfs_lib.experiment import Experiment, cudd
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.experiment.budget import ENOUGH, EVALUATION_SWEEPS
from ccfs_lib.pipeline.oracle import grid_step
from ccfs_lib.pipeline.sets import CONDENSED, CONDENSER, condenser, cudd_recipe
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.select import quotas
from ccfs_lib.table1 import SHARED, Row


@dataclass(frozen=True)
class Work:
    """The stages of one set, and the passes of the published one."""

    stages: list[Stage]
    published: int

    @property
    def passes(self) -> int:
        """Image passes here."""
        return sum(stage.passes for stage in self.stages)

    @property
    def share(self) -> float:
        """What part of the published passes that is; nothing to build is all of it."""
        return min(self.passes / self.published, 1.0) if self.published else 1.0

    @property
    def enough(self) -> bool:
        """Whether the row may speak for its method."""
        return self.share >= ENOUGH


def work(t: Table1Pipeline, row: Row, protocol: str = "") -> Work:
    """Count the work of one set of a row; of a user's function it is not known.

    protocol: that of the row's own number by default. Only the oracle window, whose
    trainings are evaluations, is another set with other work under the teacher.
    """
    theirs = recipes.as_published(t.experiment)
    kind = KINDS.get(row.name)
    if row.function or kind is None:
        return Work([], 0)
    stages, published = kind(t, t.experiment), kind(t, theirs, True)
    if row.name == "oracle-window" and protocol == SHARED:
        stages = _oracle(t, t.experiment, taught=True)
    return Work(stages, sum(stage.passes for stage in published))


def teacher(t: Table1Pipeline, e: Experiment) -> Stage:
    """Count the training of the teacher."""
    passes, how = len(t.train) * e.teacher.epochs, e.teacher.precision
    return Stage("teacher", passes, 3, e.teacher_network, how)


def _scores(t, e: Experiment) -> list[Stage]:
    """Trainings that count forgetting; none where a file has the score."""
    counted = recipes.forgetting(e).score == "forgetting"
    passes = len(t.train) * e.teacher.epochs * e.score_runs
    stage = Stage("scores", passes, 3, e.teacher_network, e.teacher.precision)
    return [stage] if counted else []


def _forgetting(t, e, published=False) -> list[Stage]:
    return _scores(t, e)


def _glister(t, e, published=False) -> list[Stage]:
    epochs = recipes.glister(e).epochs
    return [Stage("selection", len(t.train) * epochs, 3, e.network)]


def _oracle(t, e, published=False, taught=False) -> list[Stage]:
    """All windows of the grid, one training each; published: every tenth.

    taught: under the teacher, whose training is then part of the work.
    """
    step = 0.1 if published else grid_step(e)
    betas = len(coresets.grid(t.train.labels.numpy(), e.ipc, step=step))
    epochs = e.recipe.epochs if taught else t.evaluation.epochs
    each = epochs * e.ipc * t.train.num_classes
    each = EVALUATION_SWEEPS * len(t.train) if published else each
    how = (4, e.recipe.precision) if taught else (3, "fp32")
    network = e.evaluation_network or e.network
    windows = Stage("windows", betas * each, how[0], network, how[1])
    return [*_scores(t, e), *([teacher(t, e)] if taught else []), windows]


def _self_evolved(t, e, published=False) -> list[Stage]:
    first = min(t.choices.evolved_size or e.distilled, e.ipc - 1)
    return [*_scores(t, e), teacher(t, e), *_filters(t, e, first)]


def _filters(t, e, first: int) -> list[Stage]:
    count, stages, real = first, [], e.ipc - first
    forwards = 4 if (e.filter_loss or e.recipe.loss) == "kd" else 3
    for phase, quota in enumerate(quotas(real, min(e.curricula, real)), 1):
        passes = count * t.train.num_classes * e.recipe.epochs
        step = forwards, e.network, e.recipe.precision
        stages.append(Stage(f"filter {phase}", passes, *step))
        count += quota
    return stages


def _ccfs(t, e, published=False) -> list[Stage]:
    filters = _filters(t, e, e.distilled) if e.real else []
    recovered = _recovery(t, e, e.distilled)
    return [*_scores(t, e), teacher(t, e), recovered, *filters]


def _recovery(t, e, per_class: int) -> Stage:
    passes = per_class * t.train.num_classes * e.distillation.iterations
    return Stage("recovery", passes, 2, e.teacher_network)


def _recovered(t, e, published=False) -> list[Stage]:
    return [teacher(t, e), _recovery(t, e, e.ipc)]


def _condensed(method: str, t, e, published=False) -> list[Stage]:
    """Count the passes of all iterations; not `published`: of the budget's."""
    # The released numbers are what other data sets have, too.
    make, forwards = CONDENSED[method]
    recipe = make("cifar10", e.ipc) if published else condenser(t, method)
    one = recipe.passes(t.train.num_classes, e.ipc, min(t.train.class_sizes))
    return [Stage("images", recipe.iterations * one, forwards, CONDENSER)]


def _matched(method: str, t, e, published=False) -> list[Stage]:
    """Count experts and matching, for SelMatch its scores as well."""
    run = t.section3(method).motivation
    if published:
        m, epochs = recipes.published_work(e, method)
        expert = replace(run.expert, epochs=epochs)
        run = replace(run, matching=m, expert=expert, experts=recipes.EXPERT_COUNT)
    every = cost.matching(run, Size.of(t.train, t.test))
    scores = _scores(t, e) if method == "selmatch" else []
    return [*scores, *(s for s in every if s.name in ("experts", "matching"))]


def _cudd(t, e, published=False) -> list[Stage]:
    recipe = cudd.cudd("cifar10", t.train.image_size) if published else cudd_recipe(t)
    total = e.ipc * t.train.num_classes
    passes = total * recipe.recovery.iterations
    students, count = 0, 0
    for quota in quotas(e.ipc, min(recipe.curricula, e.ipc))[:-1]:
        count += quota * t.train.num_classes
        students += count * recipe.student.epochs
    recovery = Stage("images", passes, 4, e.teacher_network)
    return [teacher(t, e), recovery, Stage("students", students, 4, e.network)]


KINDS = {
    "forgetting": _forgetting,
    "glister": _glister,
    "oracle-window": _oracle,
    "self-evolved": _self_evolved,
    "dsa": partial(_condensed, "dsa"),
    "dm": partial(_condensed, "dm"),
    "mtt": partial(_matched, "mtt"),
    "sre2l": _recovered,
    "datm": partial(_matched, "datm"),
    "selmatch": partial(_matched, "selmatch"),
    "cda": _recovered,
    "cudd": _cudd,
    "ccfs": _ccfs,
}
