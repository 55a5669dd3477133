"""What a sweep would compute, what of it is there, and how long the rest may take.

Nothing is trained. What depends on results that are not there yet, such as the second
filter of a seed without its first, is counted as missing without looking further.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ccfs_lib import cost
from ccfs_lib.arms import parse
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.progress import progress
from ccfs_lib.store import Artefact, Store

# What the sets of "random" and "distilled" do not depend on: points of a grid share
# their trainings.
FREE = {"alpha": 1.0, "curricula": 1, "score": "logits", "teacher_correct": True}
FREE |= {"filter_loss": "", "ties": "index"}


class Missing(Exception):
    """A stage that has not been computed."""


class Looking(Store):
    """A store that computes nothing, and counts the trainings that it finds."""

    found = 0

    def has(self, kind: str, recipe: dict) -> bool:
        """Whether it is in the cache or came with the code."""
        return super().has(kind, recipe) or Store(self.shipped).has(kind, recipe)

    def get(self, kind, recipe, compute) -> Artefact:
        """Read; raises Missing where there is nothing to read."""
        if not self.has(kind, recipe):
            raise Missing(kind)
        read = super().get(kind, recipe, _missing)
        self.found += kind == "train"
        return read


def _missing():
    raise Missing("damaged")


@dataclass(frozen=True)
class Line:
    """One line of a forecast: `done` of `total` are there; seconds for the rest."""

    name: str
    done: int
    total: int
    seconds: float


def forecast(
    experiments: Sequence[Experiment], arms: Sequence[str]
) -> dict[Experiment, list[Line]]:
    """Lines of each experiment: teacher, recovered images, then the arms by seeds.

    What several of them share is counted where it first comes up. Raises InputError
    where data or score files are missing.
    """
    counted: set = set()
    todo = progress(experiments, "forecast", "experiment")
    return {e: _Forecast(e, counted).lines(arms) for e in todo}


def told(lines: dict[Experiment, list[Line]], device: str) -> str:
    """A forecast as text, with its sum, one training at a time."""
    text = []
    for e, own in lines.items():
        text.append(e.run)
        for line in own:
            left = cost.told(line.seconds) if line.done < line.total else "computed"
            text.append(f"  {line.name:22} {line.done:4} of {line.total:<4} {left:>9}")
    total = sum(line.seconds for own in lines.values() for line in own)
    text.append(
        f"about {cost.told(total)} left on {device}, one training at a time; nothing "
        "was trained"
    )
    return "\n".join(text)


class _Forecast:
    def __init__(self, experiment: Experiment, counted: set):
        self.e, self.counted = experiment, counted
        self.store = Looking(paths.cache(), paths.shipped())
        self.stages = s = Pipeline(experiment, self.store)
        size = cost.Size(
            len(s.train), len(s.test), s.train.num_classes, s.train.image_size
        )
        self.each = cost.seconds(experiment, s.device, size)
        # Of all the images, whatever alpha: "distilled" wants as many.
        all_ = cost.seconds(replace(experiment, alpha=1.0), s.device, size)
        self.recovery = all_["recovery"]
        # What makes teachers, and images recovered from them, the same.
        e = experiment
        self.data = e.dataset, e.classes, e.image_size, e.portable
        self.teacher = *self.data, e.teacher_network, e.teacher
        self.images = *self.teacher, e.distillation, e.distilled_from

    def lines(self, arms: Sequence[str]) -> list[Line]:
        if self.e.score not in ("forgetting", "logits"):
            # A missing file is told now; what a function would say may be missing.
            self._there(lambda: self.stages.difficulty)
        most = max([self.e.distilled, *(parse(a).distilled(self.e) for a in arms)])
        return [self._teacher(), self._recovery(most), *map(self._arm, arms)]

    def _once(self, key, seconds: float) -> float:
        """The seconds, unless something with this key has been counted before."""
        if key in self.counted:
            return 0.0
        self.counted.add(key)
        return seconds

    def _teacher(self) -> Line:
        s, each = self.stages, self.each["teacher"]
        missing = [seed for seed in s.squeeze.seeds if not s.squeeze.has(seed)]
        seconds = sum(self._once((self.teacher, seed), each) for seed in missing)
        total = len(s.squeeze.seeds)
        return Line("teacher", total - len(missing), total, seconds)

    def _recovery(self, most: int) -> Line:
        if self.e.distilled_from or not most:
            return Line("recovered batches", 0, 0, 0.0)
        recover = self.stages.recover
        todo = recover.batches(most)
        missing = [n for n in todo if not self._there(recover.batch, most, n)]
        share = self.recovery * most / self.e.ipc / len(todo)
        seconds = sum(self._once((self.images, n), share) for n in missing)
        return Line("recovered batches", len(todo) - len(missing), len(todo), seconds)

    def _there(self, stage, *arguments) -> bool:
        # The stages themselves are asked, not a list of keys: the key of a second
        # filter holds the images that the first one chose.
        self.store.found = 0
        try:
            stage(*arguments)
        except Missing:
            return False
        return True

    def _arm(self, arm: str) -> Line:
        done, seconds = 0, 0.0
        for seed in range(self.e.seeds):
            if self._there(self.stages.evaluate, arm, seed):
                done += 1
            else:
                seconds += self._cell(arm, seed, self.store.found)
        return Line(arm, done, self.e.seeds, seconds)

    def _cell(self, name: str, seed: int, filters: int) -> float:
        """Seconds of a cell of which so many filters are there."""
        e, each, arm = replace(self.e, seeds=1), self.each, parse(name)
        train, last = self.stages.train, each["evaluation"]
        if arm.set == "full":
            last *= len(train) / (e.ipc * train.num_classes)
        last += each["tests"]
        if not arm.needs_phases:
            # Its filters' network and strategy have no part in it either, but whoever
            # varies these varies them for the strategies' sake: too much is told then.
            return self._once((replace(e, **FREE), name, seed), last)
        # "ccfs-hard" has the filters of the experiment's own strategy, and pays for
        # them only where that strategy is not measured before it.
        if arm.strategy:
            coarse, fine = arm.strategy
            e = replace(e, fine=fine, coarse=coarse)
        chain, total = replace(e, evaluation_network=""), last
        for phase in range(filters + 1, e.curricula + 1 if e.real else 1):
            # All strategies and numbers of phases begin with the same filter.
            first = self.images, e.distilled, e.network, e.recipe, e.filter_loss
            key = (first if phase == 1 else chain, phase, seed)
            total += self._once(
                key, each[f"filter {phase}"] + each[f"selection {phase}"]
            )
        return total
