"""What a sweep would compute, what of it is there, and how long the rest may take.

Nothing is trained. What depends on results that are not there yet, such as the second
filter of a seed without its first, is counted as missing without looking further.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ccfs_lib import cost
from ccfs_lib.arms import parse
from ccfs_lib.experiment import Experiment, Motivation
from ccfs_lib.pipeline import Pipeline, Section3Pipeline
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.progress import progress
from ccfs_lib.store import Missing, ReadOnlyStore
from ccfs_lib.store import key as store_key

TEACHER = ("data", "teacher")
IMAGES = (*TEACHER, "images")
FILTER = (*IMAGES, "filter")


@dataclass(frozen=True)
class Line:
    """One line of a forecast: `done` of `total` are stored; seconds for the rest."""

    name: str
    done: int
    total: int
    seconds: float
    filed: bool = False  # its rows are in the results, whatever is stored


def forecast(
    experiments: Sequence[Experiment],
    arms: Sequence[str],
    counted: set | None = None,
    again: bool = False,
) -> dict[Experiment, list[Line]]:
    """List the lines of each experiment: teacher, recovered images, then arms by seeds.

    What several of them share is counted where it first comes up. counted: of forecasts
    before this one, which it continues. again: as of `sweep`, what is filed counts
    only where it is stored, too. Raises InputError where data or score files are
    missing.
    """
    counted = set() if counted is None else counted
    todo = progress(experiments, "forecast", "experiment")
    return {e: _Forecast(e, counted).lines(arms, again) for e in todo}


def forecast_teacher(experiment: Experiment) -> dict[Experiment, list[Line]]:
    """List what a teacher alone takes, as `forecast`."""
    one = _Forecast(experiment, set())
    one.pipeline.check(())
    return {experiment: [one.teacher()]}


def text(lines: dict[Experiment, list[Line]], device: str) -> str:
    """Format a forecast as text, with its sum, one training at a time."""
    rows = []
    for e, run_lines in lines.items():
        rows.append(e.run)
        for line in run_lines:
            left = "filed" if line.filed else "computed"
            left = cost.duration(line.seconds) if line.done < line.total else left
            rows.append(f"  {line.name:22} {line.done:4} of {line.total:<4} {left:>9}")
    total = sum(line.seconds for run_lines in lines.values() for line in run_lines)
    rows.append(
        f"about {cost.duration(total)} left on {device}, one training at a time; "
        "nothing was trained"
    )
    return "\n".join(rows)


def forecast_matching(
    runs: Sequence[Motivation], arms: Sequence[str], again: bool = False
) -> dict[Motivation, list[Line]]:
    """List the lines of each run of Section 3: experts, then the arms by seeds.

    What runs share is counted in the first that needs it, but for matches: too much is
    forecast where several windows share "ccfs-mtt". Raises InputError as `forecast`.
    """
    counted: set = set()
    lines = {}
    for run in progress(runs, "forecast", "run"):
        store = ReadOnlyStore(paths.cache(), paths.shipped())
        pipeline = Section3Pipeline(run, store)
        pipeline.check(arms)
        filed = {arm: set() if again else pipeline.filed(arm) for arm in arms}
        if all(len(known) == run.experiment.seeds for known in filed.values()):
            lines[run] = [_as_filed(arm, known) for arm, known in filed.items()]
            continue
        with suppress(Missing):  # forgetting that is not counted yet
            pipeline.window()  # InputError if it leaves its class or lacks a file
        seconds = cost.timed(
            cost.matching(run, cost.Size.of(pipeline.train, pipeline.test)),
            pipeline.train.image_size,
            pipeline.device,
        )
        scores = seconds["scores"]
        lines[run] = [_scored(pipeline, scores, counted)] if scores else []
        lines[run].append(_experts(pipeline, seconds["experts"], counted))
        lines[run] += [_matched(pipeline, arm, filed[arm], seconds) for arm in arms]
    return lines


def stored(stage, *arguments) -> bool:
    """Whether a stage finds all that it asks for in a `ReadOnlyStore`."""
    try:
        stage(*arguments)
    except Missing:
        return False
    return True


def _scored(pipeline: Section3Pipeline, seconds: float, counted: set) -> Line:
    squeeze, parts = pipeline.squeeze, pipeline.experiment.part(*TEACHER)
    missing = [seed for seed in squeeze.seeds if not squeeze.has(seed)]
    new = {(store_key(parts), seed) for seed in missing} - counted
    counted |= new
    total = len(squeeze.seeds)
    return Line("scores", total - len(missing), total, seconds * len(new) / total)


def _experts(pipeline: Section3Pipeline, seconds: float, counted: set) -> Line:
    total = pipeline.motivation.experts
    missing = [n for n in range(total) if not stored(pipeline.experts, range(n, n + 1))]
    identity = store_key(pipeline.expert_identity)
    new = [n for n in missing if (identity, n) not in counted]
    counted |= {(identity, n) for n in new}
    return Line("experts", total - len(missing), total, seconds * len(new) / total)


def _as_filed(name: str, known: set[int]) -> Line:
    return Line(name, len(known), len(known), 0.0, filed=True)


def _matched(
    pipeline: Section3Pipeline, arm: str, known: set[int], seconds: dict[str, float]
) -> Line:
    seeds, done = pipeline.experiment.seeds, len(known)
    if done == seeds:
        return _as_filed(arm, known)
    left = sorted(set(range(seeds)) - known)
    done += sum(stored(pipeline.evaluate, arm, seed) for seed in left)
    filters = {"selmatch": 0, "ccfs-mtt": pipeline.experiment.curricula}.get(arm, 2)
    cell = seconds["matching"] + filters * seconds["filter"] + seconds["evaluation"]
    return Line(arm, done, seeds, (seeds - done) * cell)


class _Forecast:
    def __init__(self, experiment: Experiment, counted: set):
        self.e, self.counted, self.selects = experiment, counted, False
        self.store = ReadOnlyStore(paths.cache(), paths.shipped())
        self.pipeline = s = Pipeline(experiment, self.store)
        size = cost.Size.of(s.train, s.test)
        self.each = cost.seconds(experiment, s.device, size)
        # Of all the images, whatever alpha: "distilled" wants as many.
        all_ = cost.seconds(experiment.changed(alpha=1.0), s.device, size)
        self.recovery = all_["recovery"]

    def lines(self, arms: Sequence[str], again: bool = False) -> list[Line]:
        """List the lines of the experiment: teacher, recovered batches, arms.

        Raises InputError for whatever a sweep would refuse.
        """
        self.pipeline.check(arms)
        known = {a: set() if again else self.pipeline.filed(a) for a in arms}
        todo = [a for a in arms if len(known[a]) < self.e.seeds]
        if not todo:  # not even a teacher is asked for
            return [_as_filed(a, known[a]) for a in arms]
        self.selects = any(parse(a).needs_phases for a in todo)
        if self.e.score not in ("forgetting", "logits"):
            # A missing file is an error now; a function's scores may be missing.
            self._is_stored(lambda: self.pipeline.difficulty)
        most = max(parse(a).distilled(self.e) for a in todo)
        shared = [self.teacher(), self._recovery(most)]
        return shared + [self._arm(a, known[a]) for a in arms]

    def _once(self, parts: dict, seconds: float, *which) -> float:
        """Return the seconds, or 0 where this has been counted before.

        parts: the settings that it depends on; which: tells it from its equals.
        """
        key = store_key(parts | {"which": which})
        if key in self.counted:
            return 0.0
        self.counted.add(key)
        return seconds

    def teacher(self) -> Line:
        """List the trainings on all data: one, or as many as the scores ask for."""
        s, each = self.pipeline, self.each["teacher"]
        if self.e.teacher_from and not self.selects:
            return Line("teacher", 0, 0, 0.0)
        seeds = s.squeeze.seeds if self.selects else s.squeeze.seeds[:1]
        missing = [seed for seed in seeds if not s.squeeze.has(seed)]
        seconds = sum(self._once(self.e.part(*TEACHER), each, n) for n in missing)
        total = len(seeds)
        if name := self.e.evaluation_teacher:
            other, total = Squeeze(s.trainings, name), total + 1
            if not other.has(other.seeds[0]):
                missing.append(name)
                parts = self.e.part(*TEACHER) | {"teacher_network": name}
                seconds += self._once(parts, each, other.seeds[0])
        return Line("teacher", total - len(missing), total, seconds)

    def _recovery(self, most: int) -> Line:
        if self.e.distilled_from or not most:
            return Line("recovered batches", 0, 0, 0.0)
        recover = self.pipeline.recover
        todo = recover.batches(most)
        missing = [n for n in todo if not self._is_stored(recover.batch, most, n)]
        share = self.recovery * most / self.e.ipc / len(todo)
        parts = self.e.part(*IMAGES)
        seconds = sum(self._once(parts, share, "batch", n) for n in missing)
        return Line("recovered batches", len(todo) - len(missing), len(todo), seconds)

    def _is_stored(self, stage, *arguments) -> bool:
        # The stages themselves are asked, not a list of keys: the key of a second
        # filter holds the images that the first one chose.
        self.store.trainings = 0
        return stored(stage, *arguments)

    def _arm(self, arm: str, known: set[int]) -> Line:
        done, seconds = len(known), 0.0
        if done == self.e.seeds:
            return _as_filed(arm, known)
        for seed in sorted(set(range(self.e.seeds)) - known):
            if self._is_stored(self.pipeline.evaluate, arm, seed):
                done += 1
            else:
                seconds += self._cell(arm, seed, self.store.trainings)
        return Line(arm, done, self.e.seeds, seconds)

    def _cell(self, name: str, seed: int, filters: int) -> float:
        """Sum the seconds of a cell of which `filters` filters are in the store."""
        e, each, arm = replace(self.e, seeds=1), self.each, parse(name)
        train, last = self.pipeline.train, each["evaluation"]
        if arm.set == "full":
            last *= len(train) / (e.ipc * train.num_classes)
        last += each["tests"]
        if not arm.needs_phases:
            # Nor does it depend on what is selected, but for its size.
            parts = e.part(*FILTER, "evaluation") | {"ipc": e.ipc}
            return self._once(parts, last, name, seed)
        # "ccfs-hard" has the filters of the experiment's own strategy, and pays for
        # them only where that strategy is not measured before it.
        if arm.strategy:
            coarse, fine = arm.strategy
            e = replace(e, fine=fine, coarse=coarse)
        chain, total = replace(e, evaluation_network=""), last
        for phase in range(filters + 1, e.curricula + 1 if e.real else 1):
            # All strategies and numbers of phases begin with the same filter.
            first = e.part(*FILTER) | {"distilled": e.distilled}
            if phase == 1 and not arm.in_filters:  # it has learnt nothing
                continue
            parts = first if phase == 1 else chain.part(*FILTER, "choice")
            parts |= {} if arm.in_filters else {"in_filters": False}
            spent = each[f"filter {phase}"] + each[f"selection {phase}"]
            total += self._once(parts, spent, "filter", phase, seed)
        return total
