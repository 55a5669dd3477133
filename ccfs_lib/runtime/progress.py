"""One progress bar for everything long: rate and ETA, quiet where nobody watches."""

import os
import sys

from tqdm import tqdm


def progress(iterable, label: str, unit: str, **options) -> tqdm:
    """Wrap `iterable` in a bar.

    Shown on a terminal and in notebooks, unless CCFS_PROGRESS=0 or CI is set: there a
    bar would only be noise in logs and in compared outputs.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    quiet = os.environ.get("CCFS_PROGRESS") == "0" or "CI" in os.environ
    options = {"leave": False, "mininterval": 0.5, **options}
    return tqdm(iterable, label, unit=unit, disable=quiet or not watched, **options)
