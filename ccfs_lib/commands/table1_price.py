"""What Table 1 would cost: row by row, nothing is trained.

Sets and trainings that are in the store are counted as done; what several rows share
has lines of its own.
"""

from collections.abc import Sequence
from contextlib import suppress

from ccfs_lib import cost
from ccfs_lib.commands.forecast import Line, stored, text
from ccfs_lib.cost import Stage
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline.oracle import Oracle
from ccfs_lib.pipeline.table1 import Table1Pipeline
from ccfs_lib.pipeline.work import Work, teacher, work
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.progress import progress
from ccfs_lib.store import Missing, ReadOnlyStore
from ccfs_lib.store import key as store_key
from ccfs_lib.table1 import (
    DEFAULT,
    FAILED,
    PANELS,
    Choices,
    Panel,
    Row,
    cells,
    parse_all,
)

SHARED_STAGES = ("teacher", "scores", "experts")


class _Priced(Table1Pipeline):
    """Table 1 without a trace: a rate that nobody kept is measured and forgotten."""

    def rate(self, network: str) -> float:
        """Return the kept rate, or measure it."""
        try:
            return super().rate(network)
        except Missing:
            return cost.rate(network, self.train.image_size, self.device)


def price(
    experiment: Experiment,
    names: tuple[str, ...],
    choices: Choices,
    panels: Sequence[Panel] = PANELS,
    again: bool = False,
) -> str:
    """Say of every row what is measured, what is left, and about how long it takes.

    Nothing is trained. What rows share is counted once, in lines of its own. panels: as
    for `table1.run`. again: what is filed counts only where it is stored, too.
    """
    store = ReadOnlyStore(paths.cache(), paths.shipped())
    t, lines, left_out = _Priced(experiment, choices, store), [], []
    _ = t.train, t.test  # what they lack ends the command, as it ends the run
    shared: dict[str, Line] = {}
    works: dict[str, Work] = {}
    for row in progress(parse_all(names), "forecast", "row"):
        try:
            spent, new, own = _priced(t, row, dict(shared), panels, again)
        except FAILED as error:
            left_out.append(f"{row.title} would be left out: {error}")
            continue
        works[row.name], shared = spent, new
        lines += own
    every = text({experiment: [*shared.values(), *lines]}, t.device)
    return "\n".join([every, *_short(works), *left_out])


def row_price(
    experiment: Experiment, row: Row, protocol: str
) -> tuple[Line, dict[str, Line]]:
    """Return the price of a row under a protocol, and of stages that rows share."""
    store = ReadOnlyStore(paths.cache(), paths.shipped())
    t, shared = _Priced(experiment, DEFAULT, store), {}
    (line,) = _row(t, row, work(t, row), shared, {protocol: set()})
    return line, shared


def _priced(
    t, row: Row, shared: dict[str, Line], panels: Sequence[Panel], again: bool
) -> tuple[Work, dict[str, Line], list[Line]]:
    """Return a row's work, `shared` with what it shares besides, and its own lines."""
    with suppress(Missing):
        t.check(row)
    spent, named = work(t, row), cells(row, t.choices, panels)
    known = {p: {*()} if again else t.filed(row, p) for p in named}
    return spent, shared, _row(t, row, spent, shared, known)


def _short(works: dict[str, Work]) -> list[str]:
    """List the rows that get less than a tenth of the published work."""
    few = [f"{n} {100 * w.share:.2g} %" for n, w in works.items() if not w.enough]
    text = "less than a tenth of the published work, and grey in the table: "
    return [text + ", ".join(few)] if few else []


def _row(
    t, row: Row, cost_of_set: Work, shared: dict[str, Line], known: dict[str, set[int]]
) -> list[Line]:
    """List a line for each protocol of a row; what it shares goes to `shared`.

    known: the seeds of each protocol whose rows are filed.
    """
    own, seeds = 0.0, t.experiment.seeds
    if all(len(filed) == seeds for filed in known.values()):
        names = [f"{row.name} {protocol}" for protocol in known]
        return [Line(name, seeds, seeds, 0.0, filed=True) for name in names]
    # Every cell names its teacher, whether or not the set needs one.
    for stage in [teacher(t, t.experiment), *cost_of_set.stages]:
        if stage.name in SHARED_STAGES:
            if (name := _of(t, row, stage)) not in shared:
                shared[name] = _shared(t, row, stage)
        else:
            own += _seconds(t, stage)
    lines = []
    for protocol, filed in known.items():
        if row.name == "oracle-window":
            lines.append(_oracle(t, row, protocol, filed))
        else:  # the second panel has the sets of the first
            lines.append(_cell(t, row, protocol, filed, 0.0 if lines else own))
    return lines


def _oracle(t, row: Row, protocol: str, known: set[int]) -> Line:
    """Count the seeds of an oracle's cell, and the trainings on windows that are left.

    A window is trained with every seed that judges, and once for held-out images; the
    evaluation is one of these.
    """
    oracle = Oracle(t, protocol)
    seeds = t.experiment.seeds
    done = sum(
        seed in known or stored(t.evaluate, row, protocol, seed)
        for seed in range(seeds)
    )
    each = sum(
        _seconds(t, stage)
        for stage in work(t, row, protocol).stages
        if stage.name not in SHARED_STAGES
    )
    left = 0
    if done < seeds:
        left = sum(not stored(oracle.trained, *which) for which in oracle.trainings())
    seconds, name = left * each / len(oracle.betas), f"{row.name} {protocol}"
    return Line(name, done, seeds, seconds, filed=len(known) == seeds)


def _of(t, row: Row, stage: Stage) -> str:
    """Name a shared stage; experts of several recipes are not the same ones."""
    if stage.name != "experts":
        return stage.name
    return f"experts {store_key(t.section3(row.name).expert_identity)}"


def _shared(t, row: Row, stage: Stage) -> Line:
    """Count what of a shared stage is in the store."""
    squeeze = t.pipeline.squeeze
    if stage.name == "experts":
        run = t.section3(row.name)
        parts = range(run.motivation.experts)
        done = sum(stored(run.experts, range(n, n + 1)) for n in parts)
    else:
        parts = squeeze.seeds if stage.name == "scores" else squeeze.seeds[:1]
        done = sum(squeeze.has(seed) for seed in parts)
    left = _seconds(t, stage) * (1 - done / len(parts))
    return Line(stage.name, done, len(parts), left)


def _cell(t, row: Row, protocol: str, known: set[int], own: float) -> Line:
    """Count the seeds of a cell that are stored; seconds of sets and trainings left.

    own: seconds of one set, unless another cell counts it.
    """
    seeds, done, built = t.experiment.seeds, 0, 0
    for seed in range(seeds):
        done += seed in known or stored(t.evaluate, row, protocol, seed)
        if row.name != "full":  # its evaluation is all of it
            built += seed in known or stored(t.built, row, seed)
    each = _seconds(t, _evaluation(t, row, protocol))
    return Line(
        f"{row.name} {protocol}",
        done,
        seeds,
        (seeds - built) * own + (seeds - done) * each if done < seeds else 0,
        filed=len(known) == seeds,
    )


def _evaluation(t, row: Row, protocol: str) -> Stage:
    e, count = t.experiment, t.experiment.ipc * t.train.num_classes
    network = e.evaluation_network or e.network
    if row.name == "full":
        recipe = e.teacher if protocol == "squeeze" else e.recipe
        forwards = 3 if protocol == "squeeze" else 4
        return Stage("evaluation", len(t.train) * recipe.epochs, forwards, network)
    if protocol == "selmatch":
        return Stage("evaluation", count * t.evaluation.epochs, 3, network)
    return Stage("evaluation", count * e.recipe.epochs, 4, network)


def _seconds(t, stage: Stage) -> float:
    return cost.timed([stage], t.train.image_size, t.device)[stage.name]
