"""Chapter 17: reading what selection and distilled images are worth, from all runs."""

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas

from ccfs_lib.claims import ladder
from ccfs_lib.claims.compare import (
    ALPHA0,
    CCFS,
    common,
    compare,
    unequal_steps,
    values,
)
from ccfs_lib.claims.evidence import SHOWN_ONLY, load, source
from ccfs_lib.experiment.datasets import KNOWN
from ccfs_lib.report import forest
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import Difference

BASE = 0.2  # alpha of a line that names none


@dataclass(frozen=True)
class Worth:
    """Both parts of CCFS minus random, of one learner and the sets of one network."""

    data: str  # data set, pixels and IPC
    dataset: str
    learner: str  # trained on the sets
    maker: str  # the network of the filters and of the teacher of the images
    epochs: int
    ratio: float  # images of the set per 100 training images
    random: float  # accuracy of the learner on random images, percent
    filter: float  # test accuracy of the first filter, percent; nan: not known here
    agreement: float  # distilled images whose class the teacher predicts; percent, nan
    selection: Difference  # alpha 0 minus random, points
    distilled: Difference  # CCFS minus alpha 0, points
    whole: Difference | None = None  # CCFS minus random, points
    teacher: int = 0  # the seed of its training; images are recovered from each anew
    steps: str = ""  # a sentence, if CCFS and alpha 0 had different batch sizes
    images: str = ""  # whose distilled images its curricula began with; "": its own
    taught: str = ""  # the network of the learner's teacher, if not the learner's
    origins: tuple[str, ...] = ()  # the runs that selected its two sets
    paper_scale: bool = False
    own: bool = False  # a run of the user's, which is no evidence of the book
    source: str = ""  # of its teacher, `claims.evidence.source`
    classes: float = math.nan  # of the data set; nan: not known
    ccfs: tuple[tuple[int, float], ...] = ()  # seed and accuracy of CCFS, percent
    alpha: float = BASE  # of CCFS's set
    run: str = ""  # that of CCFS's sets, where the rest does not tell two lines apart

    @property
    def times_chance(self) -> float:
        """The first filter's accuracy, in multiples of what guessing a class gets."""
        return self.filter * self.classes / 100

    @property
    def place(self) -> str:
        """Name the data without the IPC."""
        return self.data.rpartition(", IPC ")[0]

    @property
    def name(self) -> str:
        """Name data, learner and epochs, and whose sets they are if not its own."""
        learner, maker = map(forest.network, (self.learner, self.maker))
        by = "" if self.maker == self.learner else f", sets of {maker}"
        by += f", begun with {self.images}" if self.images else ""
        by += f", teacher {forest.network(self.taught)}" if self.taught else ""
        by += f", teacher {self.teacher + 1}" if self.teacher else ""
        by += f", alpha {self.alpha:g}" if self.alpha != BASE else ""
        by += f", {self.epochs} epochs{' (your run)' * self.own}"
        by += f", {self.run}" if self.run else ""
        return f"{self.data}: {learner}{by}"

    @property
    def sets(self) -> tuple:
        """What lines have in common whose learner learns the very same sets."""
        return self.data, self.learner, self.origins, self.images


def decompose(
    rows: pandas.DataFrame, others: pandas.DataFrame | None = None
) -> list[Worth]:
    """List all sets that were measured at alpha 0 as well.

    rows: those of `results.load`, of all runs; others: as for `ladder.sets`.
    """
    # Of the seeds that all three have, so that both parts add up to the whole.
    sets = (common(f, CCFS, ALPHA0, "random") for f in ladder.sets(rows, others))
    worths = [_worth(frame) for frame in sets if len(frame)]
    names = Counter(w.name for w in worths)
    worths = [replace(w, run=w.origins[0]) if names[w.name] > 1 else w for w in worths]
    return sorted(worths, key=_order)


def _order(w: Worth) -> tuple:
    shown_only = w.dataset in SHOWN_ONLY
    return shown_only, not w.paper_scale, -w.ratio, w.data, w.teacher, w.epochs


def _worth(rows: pandas.DataFrame) -> Worth:
    first = rows.iloc[0]
    taught = ladder.taught_by(first)
    known = KNOWN.get(first["dataset"])
    class_size = known.train / known.classes if known else math.nan
    return Worth(
        data=forest.place(first),
        dataset=str(first["dataset"]),
        learner=str(first["learner"]),
        maker=str(first["maker"]),
        epochs=int(first["recipe.epochs"]),
        alpha=float(rows.loc[rows["cell"] == CCFS, "alpha"].iloc[0]),
        ratio=100 * float(first["ipc"]) / class_size,
        random=float(np.mean(values(rows, "random"))),
        filter=float(first["filter"]),
        agreement=_agreement(rows),
        selection=compare(rows, ALPHA0, "random"),
        distilled=compare(rows, CCFS, ALPHA0),
        whole=compare(rows, CCFS, "random"),
        teacher=ladder.teacher(first),
        steps=unequal_steps(rows, CCFS, ALPHA0),
        images=str(first["begun"]).replace("-", " "),
        paper_scale=first.get("scale") == "paper",
        taught="" if taught == first["learner"] else taught,
        origins=tuple(
            rows.loc[rows["cell"] == c, "origin"].iloc[0] for c in (CCFS, ALPHA0)
        ),
        source=source(first),
        classes=_classes(first),
        ccfs=tuple(
            (int(seed), float(last))
            for seed, last in rows.loc[rows["cell"] == CCFS, ["seed", "last"]].values
        ),
    )


def _classes(run: pandas.Series) -> float:
    if run.get("classes", 0) > 0:  # the first of them only
        return float(run["classes"])
    known = KNOWN.get(run["dataset"])
    return float(known.classes) if known else math.nan


def _agreement(rows: pandas.DataFrame) -> float:
    known = values(rows, CCFS, "agreement") if "agreement" in rows else [math.nan]
    return float(np.mean(known))


def measured() -> list[Worth]:
    """Read all results files: `decompose` of those that are evidence, then of others.

    Runs of the user's own stand apart, and the finding does not count them.
    """
    rows, own = load(paths.results()), paths.own_results()
    worths = decompose(rows)
    if own != paths.results() and own.is_dir():
        yours = decompose(load(own), others=rows)
        worths += [replace(w, own=True) for w in yours]
    return worths
