"""The paper's own accuracies for what the book measures, where there are any.

All are ResNet-18s at the paper's scale, best of their last epochs: shown beside ours,
never mixed with them.
"""

from ccfs_lib import paper, presets
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment

TABLES = {"cifar10": 11, "cifar100": 12, "tiny-imagenet": 13}  # the six strategies
# Our arms among the methods of Table 1; its random images have hard labels.
METHODS = {"simple-misclassified": "ccfs", "distilled": "cda", "random-hard": "random"}


def teacher(dataset: str) -> float | None:
    """Test accuracy on all data (Table 1), percent; None for other data sets."""
    base = dataset.removesuffix("-jpeg")
    size = presets.CLASS_SIZE.get(base)
    return size and paper.value(1, method="full", dataset=base, ipc=size)


def arm(experiment: Experiment, name: str) -> float | None:
    """Accuracy of an arm with the same data set and IPC, percent, or None.

    The paper has no random images with the teacher, and no CCFS without.
    """
    where = {"dataset": experiment.dataset.removesuffix("-jpeg"), "ipc": experiment.ipc}
    try:
        if name in METHODS:
            return paper.value(1, method=METHODS[name], **where)
        fine, coarse = name.split("-")
        number = TABLES[where["dataset"]]
        return paper.value(number, coarse=coarse, fine=fine, **where)
    except (InputError, KeyError, ValueError):
        return None
