"""From stages to results: build an arm's set, train on it, test it, with every seed.

An arm is one of the six strategies (Table 3) or a control. "random" is the control that
the paper lacks: random real images under the very same distillation from the teacher.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ccfs_lib import curriculum, data, results
from ccfs_lib.data import ImageSet, exchange
from ccfs_lib.experiment import STRATEGIES, known_arm
from ccfs_lib.pipeline.stages import Stages
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.progress import progress

EVALUATION = 999  # training seeds are 1000 * seed + phase; this "phase" is the test
# Arms named so differ from others in the last training alone, not in their sets.
LAST = {
    "-hard": {"loss": "hard"},  # without the teacher
    "-plain": {"augment": "none", "flip": False},  # without augmentation
}


def parts(arm: str) -> tuple[str, dict]:
    """The set that an arm trains on last, and what that training's recipe changes."""
    for suffix, change in LAST.items():
        if arm.endswith(suffix):
            return arm.removesuffix(suffix), change
    return arm, {}


class Pipeline(Stages):
    """All stages of `experiment`, and the arms that are measured on them."""

    def synthetic(self, arm: str, seed: int) -> ImageSet:
        """The final set of an arm: a strategy of STRATEGIES or a control."""
        e = self.experiment
        if arm != "ccfs":  # the experiment's own strategy
            known_arm(arm, e)
        arm, _ = parts(arm)
        if arm == "full":
            return self.train
        if arm == "distilled":
            return self.distilled(e.ipc)
        if arm == "selected":
            path, labels = e.selected_from, self.train.labels
            chosen, _ = exchange.read_indices(path, e.ipc, len(labels), labels, e.real)
            return self._beside(chosen)
        if arm == "random":
            return self.train.subset(self.random_real(e.ipc, seed))
        if arm == "random-short":  # as few of each class as CCFS could fill
            sizes = self.synthetic("ccfs", seed).class_sizes
            return self.train.subset(self.random_real(sizes, seed))
        strategy = None if arm == "ccfs" else arm
        return self._beside(curriculum.selected(list(self.phases(seed, strategy))))

    def _beside(self, chosen: np.ndarray) -> ImageSet:
        """The distilled part and the chosen images: a final set."""
        distilled = self.distilled(self.experiment.distilled)
        return data.concat(distilled, self.train.subset(chosen))

    def random_real(self, per_class: int | list[int], seed: int) -> np.ndarray:
        """Indices of `per_class` random training images of each class, int64.

        per_class: one number, or one for each class; fewer are the first of more.
        """
        random, labels = np.random.default_rng(seed), self.train.labels.numpy()
        wanted = np.broadcast_to(per_class, self.train.num_classes)
        drawn = (
            random.permutation(np.flatnonzero(labels == c)) for c in range(len(wanted))
        )
        return np.concatenate([d[:n] for d, n in zip(drawn, wanted, strict=True)])

    def evaluate(self, arm: str, seed: int) -> dict:
        """Build an arm's set with one seed, train on it, test: one row of results.

        Keys: seed, last, best (percent), images (in the set), wanted (IPC x classes),
        and of CCFS phases: phase -> what Figure 4 shows of it.
        """
        recipe = replace(self.experiment.recipe, **parts(arm)[1])
        synthetic = self.synthetic(arm, seed)
        # Table 2: filters of `network` selected the set, whatever learns from it.
        network = self.experiment.evaluation_network
        seeded = 1000 * seed + EVALUATION
        done = self.trained(synthetic, recipe, seeded, network=network)
        wanted = self.experiment.ipc * self.train.num_classes
        if arm.startswith("full"):
            wanted = len(self.train)
        measured = {k: done.meta[k] for k in ("last", "best")}
        row = {"seed": seed, **measured, "images": len(synthetic), "wanted": wanted}
        return row | self._course(arm, seed)

    def measure(self, arm: str, command: str | None = None) -> Path:
        """Evaluate an arm with every seed and write its results file; return its path.

        Raises InputError for an arm that is neither a strategy nor a control.
        """
        e = self.experiment
        known_arm(arm, e)
        rows = [self.evaluate(arm, s) for s in progress(range(e.seeds), arm, "seed")]
        config = e.hashed() | {"arm": arm, "seeds": e.seeds}
        config |= {"train": self.train.fingerprint, "test": self.test.fingerprint}
        config |= {"teacher_last": self.teacher.last, "teacher_best": self.teacher.best}
        config["teacher_train"] = self.teacher.train_accuracy
        return results.write(
            paths.results(),
            e.run,
            arm,
            config=config,
            rows=rows,
            provenance=results.provenance(self.device, command),
        )

    def _course(self, arm: str, seed: int) -> dict:
        """Figure 4 in numbers: CCFS's filters and picks, by phase; of other arms none.

        By phase: train and test (the filter's accuracy, percent), mean, low and high
        (difficulty of the picked). A phase that picks nothing is left out.
        """
        if arm != STRATEGIES[0]:
            return {}
        found = {}
        for record in self.phases(seed, arm):
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
                found[str(record.phase)] = rounded
        return {"phases": found} if found else {}
