"""Where artefacts and results are kept, wherever a notebook or command is run from."""

import os
from pathlib import Path


def home() -> Path:
    """The project's folder: the checkout of an editable install, else here."""
    checkout = Path(__file__).parents[2]
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
