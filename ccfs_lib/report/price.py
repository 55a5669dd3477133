"""The cost of making a set, and the storage that its evaluation needs (chapter 14).

Cost is counted in forward passes of one image (`ccfs_lib.cost`), which do not depend on
the machine, with the minutes measured here beside them; storage in bytes.
"""

import pandas
import torch

from ccfs_lib import cost, networks
from ccfs_lib.claims.compare import CCFS, NAMES
from ccfs_lib.experiment import Experiment, preset, presets
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.text import DASH, Text, percent, table
from ccfs_lib.store import Store

SETS = (CCFS, "distilled", "random")


class Timed(Store):
    """A store that records the seconds of the trainings that are read from it."""

    def __init__(self, store: Store):
        super().__init__(store.root, store.shipped)
        self.seconds: dict[tuple[str, str], float] = {}

    def get(self, kind, recipe, compute):
        """Read or compute as any store; the seconds are those of the training."""
        artefact = super().get(kind, recipe, compute)
        if "seconds" in artefact.meta:  # recovered images have none
            self.seconds[kind, artefact.key] = artefact.meta["seconds"]
        return artefact

    def minutes(self, kind: str) -> str:
        """Return the minutes of all trainings of a kind, as text; none is a dash."""
        spent = [s for (trained, _), s in self.seconds.items() if trained == kind]
        if not spent:
            return DASH
        return f"{sum(spent) / 60:.0f}" if sum(spent) >= 60 else "< 1"


def price(stages: Pipeline) -> dict[str, dict[str, int]]:
    """Compute set -> stage -> forward images of one seed, planned (`cost.stages`).

    Published scores cost nothing here; forgetting that is counted here takes a training
    on all data for every run beyond the teacher's. At alpha 1 nothing is selected, so
    no score is needed.
    """
    e, size, result = stages.experiment, cost.Size.of(stages.train, stages.test), {}
    runs = len(stages.squeeze.seeds) - 1 if e.real else 0
    for arm in SETS:
        variant = e.changed(alpha=1.0) if arm == "distilled" else e
        work = {s.name: s.work for s in cost.stages(variant, size)}
        counted = work["teacher"] * runs
        choosing = ("filter", "selection") if arm == CCFS else ()
        result[arm] = {
            "teacher": work["teacher"] * (arm != "random"),
            "scores": counted if arm == CCFS else 0,
            "recovery": work["recovery"] * (arm != "random"),
            "filters": sum(v for k, v in work.items() if k.startswith(choosing)),
        }
        result[arm] |= {
            "making": sum(result[arm].values()),
            "using": work["evaluation"],
        }
    return result


def prices(stages: Pipeline) -> Text:
    """Tabulate `price` in millions, and the minutes that trainings took, if any."""
    clock = Timed(stages.store)
    timed = Pipeline(stages.experiment, clock, stages.device)
    _ = list(timed.phases(0))
    spent = {"teacher and scores": "squeeze", "filters": "train"}
    took = [f"{name} {clock.minutes(kind)}" for name, kind in spent.items()]
    body = [
        [NAMES[arm], *(f"{value / 1e6:,.2f}" for value in by_stage.values())]
        for arm, by_stage in price(stages).items()
    ]
    head = ["set", "teacher", "scores", "recovery", "filters", "making the set"]
    caption = (
        "Cost of a set in millions of forward passes, one seed. A training step counts "
        "as three passes (four with a teacher), a recovery step as two. Minutes on the "
        f"machine that trained them, of CCFS, seed 0: {', '.join(took)}."
    )
    return table(caption, [*head, "one training on it"], body)


def needs(e: Experiment, images: float, train: int, classes: int, side: int) -> dict:
    """Compute what -> bytes that evaluation on a set needs, and of all training images.

    images: in the set; train: in the data; side: pixels. Pixels are raw, 3 bytes each;
    weights are 32-bit. Labels that are kept in place of the teacher take, for every
    image and epoch, 16 bits per class, and nine bytes for four corners and a flip.
    """
    with torch.device("meta"):  # sizes only
        teacher = networks.build(e.teacher_network, classes, side)
    weights = teacher.state_dict().values()
    return {
        "images of the set": images * 3 * side**2,
        "the teacher's weights": sum(w.numel() * w.element_size() for w in weights),
        "or soft labels of every epoch": images * e.recipe.epochs * (2 * classes + 9),
        "all training images": train * 3 * side**2,
    }


def sizes(rows: pandas.DataFrame, stages: Pipeline) -> Text:
    """Tabulate `needs` here, and at the paper's scale where it has these data."""
    e, data = stages.experiment, stages.train
    images = float(rows.loc[rows["cell"] == CCFS, "images"].astype(float).mean())
    shape = len(data), data.num_classes, data.image_size
    columns = {"here": needs(e, images, *shape)}
    if e.printed_as.removesuffix("-jpeg") in presets.CLASS_SIZE:
        theirs = preset(e.dataset, "paper", ipc=e.ipc)
        columns["at the paper's scale"] = needs(theirs, e.ipc * shape[1], *shape)
    head, body = ["item"], []
    for name in columns:
        head += [f"{name} (MB)", "of all images"]
    for what in columns["here"]:
        body.append([what])
        for column in columns.values():
            part = percent(100 * column[what] / column["all training images"])
            body[-1] += [f"{column[what] / 1e6:,.2f}", part]
    return table("Storage in millions of bytes, uncompressed.", head, body)
