"""Where artefacts and results are kept, wherever a notebook or command is run from."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def checkout() -> Path | None:
    """Find the project's folder; None where the library is installed from a wheel."""
    folder = PACKAGE.parent
    return folder if (folder / "notebooks").is_dir() else None


def home() -> Path:
    """Find the project's folder: the checkout of an editable install, else here."""
    return checkout() or Path.cwd()


def cache() -> Path:
    """Find computed stages and decoded images: $CCFS_CACHE, else data/cache.

    Without a checkout it is the user's own cache, one for all working folders:
    ccfs in $XDG_CACHE_HOME or ~/.cache.
    """
    if chosen := os.environ.get("CCFS_CACHE"):
        return Path(chosen)
    if folder := checkout():
        return folder / "data" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ccfs"


def shipped() -> Path:
    """Find artefacts of committed runs: their pages can be executed without training.

    Without a checkout there are none, and the folder does not exist.
    """
    return home() / "data" / "artefacts"


def results() -> Path:
    """Find measured cells: $CCFS_RESULTS, else data/results.

    Without a checkout they go to ccfs-results in the working folder.
    """
    if chosen := os.environ.get("CCFS_RESULTS"):
        return Path(chosen)
    folder = checkout()
    return folder / "data" / "results" if folder else Path.cwd() / "ccfs-results"


def paper() -> Path:
    """Find the paper's numbers: $CCFS_PAPER, else data/paper, else those installed."""
    if chosen := os.environ.get("CCFS_PAPER"):
        return Path(chosen)
    folder = checkout()
    return folder / "data" / "paper" if folder else PACKAGE / "paper_data"
