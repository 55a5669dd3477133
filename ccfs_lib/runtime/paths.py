"""Where artefacts and results are kept, wherever a notebook or command is run from."""

import os
import tempfile
from pathlib import Path

from ccfs_lib.errors import InputError

PACKAGE = Path(__file__).parents[1]


def expanded(path: str | Path) -> Path:
    """Expand "~" at the beginning of a path; without such a user it stays as it is."""
    return Path(os.path.expanduser(path))


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
        return expanded(chosen)
    if folder := checkout():
        return folder / "data" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ccfs"


def shipped() -> Path:
    """Find artefacts of committed runs: their pages can be executed without training.

    Without a checkout there are none, and the folder does not exist.
    """
    return home() / "data" / "artefacts"


def results() -> Path:
    """Find the results that are evidence: $CCFS_RESULTS, else data/results.

    Without a checkout all go to ccfs-results in the working folder.
    """
    if chosen := os.environ.get("CCFS_RESULTS"):
        return expanded(chosen)
    folder = checkout()
    return folder / "data" / "results" if folder else Path.cwd() / "ccfs-results"


def own_results() -> Path:
    """Find the results of a user's runs, which git ignores: data/results-own.

    Where $CCFS_RESULTS or no checkout is, they are in `results`, too.
    """
    if os.environ.get("CCFS_RESULTS") or not checkout():
        return results()
    return results().with_name("results-own")


def filed(run: str) -> Path:
    """Find the folder of results that a run is filed in.

    A run that has a folder in `results` is evidence, and committed; any other is the
    user's own, until `ccfs ship` moves its folder.
    """
    return results() if (results() / run).is_dir() else own_results()


def paper() -> Path:
    """Find the paper's numbers: $CCFS_PAPER, else data/paper, else those installed."""
    if chosen := os.environ.get("CCFS_PAPER"):
        return expanded(chosen)
    folder = checkout()
    return folder / "data" / "paper" if folder else PACKAGE / "paper_data"


LONGEST = 200  # letters of a file's name; systems take 255, with what is added


def writable(path: Path, name: str, folder: bool = False) -> None:
    """Raise InputError where no file `path` could be written; nothing is made.

    name: what the sentence calls it. folder: `path` is a folder, for files. What is not
    there yet counts as writable where the first folder above it is.
    """
    if long := [part for part in path.parts if len(os.fsencode(part)) > LONGEST]:
        raise InputError(
            f"{name} is '{path}', but {long[0][:20]}... has {len(long[0])} letters, "
            f"and a name at most {LONGEST}"
        )
    if path.is_dir() and not folder:
        raise InputError(f"{name} is '{path}', but that is a folder: name a file in it")
    upwards = [path.absolute()] * folder + [*path.absolute().parents]
    try:
        with tempfile.TemporaryFile(dir=next(p for p in upwards if p.exists())):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(0, "the file is read-only")
    except OSError as error:
        raise InputError(
            f"{name} is '{path}', but nothing can be written there: {error.strerror}"
        ) from None
