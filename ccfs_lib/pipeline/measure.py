"""Rows of results and the files that they are written to, for both pipelines."""

from pathlib import Path

from ccfs_lib import results
from ccfs_lib.data import ImageSet
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.progress import progress
from ccfs_lib.store import Artefact

EVALUATION = 999  # training seeds are 1000 * seed + phase; this "phase" is the test


def row(seed: int, done: Artefact, synthetic: ImageSet, wanted: int) -> dict:
    """Describe a training on a final set: seed, last, best (%), images, wanted."""
    measured = {k: done.meta[k] for k in ("last", "best")}
    return {"seed": seed, **measured, "images": len(synthetic), "wanted": wanted}


def measure(pipeline, settings, arm: str, config: dict, command: str | None) -> Path:
    """Evaluate an arm with every seed and write its results file; return its path.

    A file that has them already, of equal settings and images, is left as it is, but
    for a portable run: that is cheap, and has to repeat.

    pipeline: has `evaluate`, `experiment`, `trainings`. settings: what names the run
    and is filed (an Experiment, a Motivation). config: what is filed besides.
    """
    t, seeds = pipeline.trainings, pipeline.experiment.seeds
    config = settings.hashed() | {"arm": arm, "seeds": seeds} | config
    config |= {"train": t.train.fingerprint, "test": t.test.fingerprint}
    found = results.find(paths.results(), settings.run, arm, config)
    if found and not pipeline.experiment.portable:
        return found
    rows = [pipeline.evaluate(arm, s) for s in progress(range(seeds), arm, "seed")]
    return results.write(
        paths.results(),
        settings.run,
        arm,
        config=config,
        rows=rows,
        provenance=results.provenance(t.device, command),
    )
