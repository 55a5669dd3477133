"""Where artefacts and results are kept, wherever a notebook or command is run from."""

import os
from pathlib import Path

from ccfs_lib.facts import SCORE_FILES


def home() -> Path:
    """The project's folder: the checkout of an editable install, else here."""
    checkout = Path(__file__).parents[1]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def cache() -> Path:
    """Computed stages and decoded images: $CCFS_CACHE, else data/cache."""
    return Path(os.environ.get("CCFS_CACHE") or home() / "data" / "cache")


def shipped() -> Path:
    """Artefacts of committed runs: their pages can be executed without training."""
    return home() / "data" / "artefacts"


def results() -> Path:
    """Measured cells: $CCFS_RESULTS, else data/results."""
    return Path(os.environ.get("CCFS_RESULTS") or home() / "data" / "results")


def score_file(score: str, dataset: str, data_root: str = "") -> Path:
    """The file of a difficulty score: a path as it is, a published one by its name.

    Published files lie in scores/, in the folder of the data or beside it.
    """
    if not score.startswith("published-"):
        return Path(score)
    stem = SCORE_FILES[dataset]
    name = {"published-forgetting": f"forgetting_{stem}.npy"}.get(
        score, f"cscores_{stem}.npz"
    )
    root = Path(data_root or os.environ.get("CCFS_DATA", "."))
    beside = [folder / "scores" / name for folder in (root, root.parent)]
    return next((path for path in beside if path.exists()), beside[0])
