"""CCFS_TRAIN=0 forbids what takes minutes: pages show what is kept, or say so."""

import os

from ccfs_lib.errors import InputError


def check(what: str) -> None:
    """Raise InputError where the environment forbids trainings and distillations.

    what: that is about to be computed, in the sentence.
    """
    if os.environ.get("CCFS_TRAIN") == "0":
        raise InputError(
            f"CCFS_TRAIN is 0, so that nothing is trained or distilled, but {what} is "
            "not kept here: unset CCFS_TRAIN"
        )
