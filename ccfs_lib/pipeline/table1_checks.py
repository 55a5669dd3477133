"""What the rows of Table 1 need, asked before anything trains.

All functions take the `Table1Pipeline` that they belong to, and raise InputError where
a set could not be built. Windows depend on the sizes of classes alone, so that they are
checked before any difficulty is known.
"""

from math import floor
from typing import TYPE_CHECKING

from ccfs_lib import coresets
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.experiment.recipes import rounded_down
from ccfs_lib.pipeline import sets
from ccfs_lib.pipeline.section3 import Section3Pipeline
from ccfs_lib.runtime import plugins
from ccfs_lib.select import quotas
from ccfs_lib.table1 import Row

if TYPE_CHECKING:
    from ccfs_lib.pipeline.table1 import Table1Pipeline


def check(t: "Table1Pipeline", row: Row) -> None:
    """Ask for what a row needs; its run's folder, images and networks, too."""
    if row.function:
        own(row)
    elif row.name in CHECKS:
        CHECKS[row.name](t)
    if row.name in ("mtt", "datm", "selmatch"):
        matching(t, row.name)
    if row.method == "sre2l":
        t.stages(row).check(())
    else:
        _ = t.checked


def own(row: Row) -> None:
    """Import a user's function; it is not called."""
    with plugins.told(row.function, "rows"):
        plugins.resolve(row.function, "rows", ("training images", "ipc", "seed"))
        plugins.source_hash(row.function)


def forgetting(t: "Table1Pipeline") -> None:
    """Read the score, where it is not counted."""
    if recipes.forgetting(t.experiment).score != "forgetting":
        _ = t.forgetting


def glister(t: "Table1Pipeline") -> None:
    """Check that each class can be split in two."""
    try:
        coresets.holdout(t.train.labels, recipes.HELD)
    except InputError:
        raise InputError(
            f"{_source(t)}the smallest class has {min(t.train.class_sizes)} training "
            f"images, of which Glister holds out {100 * recipes.HELD:g} %: it must "
            "leave some on both sides"
        ) from None


def _source(t: "Table1Pipeline") -> str:
    e = t.experiment
    given = f"holdout is {e.holdout:g}" if e.holdout else f"dataset is {e.dataset!r}"
    return f"{given}, but "


def oracle_window(t: "Table1Pipeline") -> None:
    """Check that windows fit, also without the images that are held out."""
    e = t.experiment
    if e.holdout:
        raise InputError(
            f"holdout is {e.holdout:g}, but must be 0 for the oracle window, which "
            "holds out images of its own"
        )
    run = recipes.windowed(e)
    if run.experiment.score != "forgetting":
        _ = t.beside(Section3Pipeline, run).squeeze.ranked
    labels = t.train.labels.numpy()
    coresets.grid(labels, e.ipc)
    try:
        coresets.grid(labels, e.ipc, excluded=t.held[1])
    except InputError as error:
        raise InputError(
            f"{error} without the {100 * recipes.HELD:g} % that are held out"
        ) from None


def self_evolved(t: "Table1Pipeline") -> None:
    """Check the first window, the phases, and the score where it is not counted."""
    e = t.experiment
    size, beta = sets.evolved(t)
    if not 0 < size < e.ipc:
        given = "" if t.choices.evolved_size else f"alpha is {e.alpha:g}, so "
        raise InputError(
            f"{given}evolved_size is {size}, but a start must have at least 1 and "
            f"leave at least 1 of the {e.ipc} images of a class"
        )
    quotas(e.ipc - size, e.curricula)
    if beyond := _beyond(t, size, beta):
        most = floor(1000 * (1 - size / min(t.train.class_sizes))) / 1000
        raise InputError(
            f"evolved_beta is {beta:g}, but {beyond}: take evolved_beta up to {most:g}"
        )
    if e.score != "forgetting":
        _ = t.difficulty


def selmatch(t: "Table1Pipeline") -> None:
    """Check that SelMatch's window fits, and read its score where it is a file's."""
    e, run = t.experiment, recipes.matching(t.experiment, "selmatch")
    if beyond := _beyond(t, e.ipc, run.beta):
        smallest = min(t.train.class_sizes)
        most = smallest - rounded_down(smallest * run.beta)
        raise InputError(
            f"ipc is {e.ipc}, but with SelMatch's beta of {run.beta:g} {beyond}: take "
            f"ipc up to {most}"
        )
    if run.experiment.score != "forgetting":
        t.beside(Section3Pipeline, run).window()


def _beyond(t: "Table1Pipeline", size: int, beta: float) -> str:
    """Say how a window leaves the smallest class; "" where it fits."""
    smallest = min(t.train.class_sizes)
    first = rounded_down(smallest * beta)
    if first + size <= smallest:
        return ""
    return (
        f"a window of {size} from image {first} leaves the smallest class, which has "
        f"{smallest}"
    )


def condensed(t: "Table1Pipeline") -> None:
    """Build the network that DSA and DM distil with."""
    t.trainings.network(sets.CONDENSER, 0)


def matching(t: "Table1Pipeline", method: str) -> None:
    """Find the settings of a row by trajectory matching; build its experts' network."""
    run = recipes.matching(t.experiment, method)
    t.beside(Section3Pipeline, run).trainings.network(run.matcher, 0)


CHECKS = {
    "forgetting": forgetting,
    "glister": glister,
    "oracle-window": oracle_window,
    "self-evolved": self_evolved,
    "dsa": condensed,
    "dm": condensed,
    "selmatch": selmatch,
}
