"""What makes an experiment impossible, each a sentence, before anything is imported.

Types and ranges of single fields are pydantic's business (`experiment`); here is what
depends on the data set, on the machine's files or on several fields at once.
"""

import os
import re
from typing import TYPE_CHECKING

from ccfs_lib.errors import InputError
from ccfs_lib.experiment.datasets import KNOWN, SCORE_FILES
from ccfs_lib.experiment.presets import logged
from ccfs_lib.experiment.recipes import least_alpha
from ccfs_lib.experiment.selected import of_seed, read_selected
from ccfs_lib.runtime import plugins

if TYPE_CHECKING:
    from ccfs_lib.experiment.settings import Experiment

# The names that `networks.build` knows, listed here without importing torch.
NETWORKS = re.compile(
    r"convnet(-in|(-[1-9]\d*)+)?|resnet(18|50|101)|resnet18-(s2|imagenet)"
    r"|resnet(10|18)-w[1-9]\d*|(densenet121|regnet_y_8gf)(-s1)?"
)
SCORES = ("forgetting", "logits", "published-forgetting", "published-cscore")
LEAST_PIXELS = 8  # three halvings, which most networks here make, leave one


def check(e: "Experiment") -> None:
    """Raise InputError, one sentence, for the first thing that cannot be."""
    # What is wrong with the data set comes first: the others ask for its size.
    for one in (_dataset, _networks, _teacher_from, _part, _images, _score, _ties):
        one(e)
    _distilled_from(e)
    if e.reading:
        logged(e.dataset, e.scale, e.ipc)
    _selected_from(e)


def _dataset(e) -> None:
    if e.dataset in KNOWN or os.path.exists(e.dataset):
        return
    if plugins.named(e.dataset):
        return plugins.check(e.dataset, "dataset")
    raise InputError(
        f"dataset is {e.dataset!r}, but must be one of {', '.join(KNOWN)}, the path of "
        "images on this machine, or a function, module:function"
    )


def _networks(e) -> None:
    names = ("network", "teacher_network", "evaluation_network", "evaluation_teacher")
    for name in names:
        value = getattr(e, name)
        if name.startswith("evaluation") and not value:
            continue
        network(value, name)
    if e.teacher_network == "convnet-in":
        raise InputError(
            "teacher_network is 'convnet-in', but images are recovered from "
            "batch-norm statistics: take a network with batch norm"
        )


def network(value: str, name: str) -> None:
    """Raise InputError unless `value`, of the setting `name`, names a network."""
    if plugins.named(value):
        plugins.check(value, name)
    elif not NETWORKS.fullmatch(value):
        raise InputError(
            f"{name} is {value!r}, but must be convnet, convnet-in, convnet-W1-W2-... "
            "(widths), resnet10-wN or resnet18-wN (N, 2N, 4N, 8N channels), "
            "resnet18[-s2|-imagenet], resnet50, resnet101, densenet121[-s1], "
            "regnet_y_8gf[-s1] or module:function (your own)"
        )


def _teacher_from(e) -> None:
    if e.teacher_from and not os.path.exists(e.teacher_from):
        raise InputError(
            f"teacher_from is {e.teacher_from!r}, but must be a folder or file of "
            "weights, or empty to train a teacher"
        )
    six = e.normalisation
    if six and (len(six) != 6 or not all(0 < s < 100 for s in six[3:])):
        raise InputError(
            f"normalisation is {six}, but must be six numbers: three means, then three "
            "standard deviations above 0"
        )
    if six and not e.teacher_from:
        raise InputError(
            f"normalisation is {six}, but is that of weights of others: give them as "
            "teacher_from"
        )
    if e.holdout and e.selected_from:
        raise InputError(
            f"holdout is {e.holdout:g}, but selected_from lists images of the whole "
            "training split: take one of the two"
        )


def _distilled_from(e) -> None:
    given = e.distilled_from
    if given and not os.path.isdir(given):
        raise InputError(
            f"distilled_from is {e.distilled_from!r}, but must be a folder of "
            "distilled images, or empty to recover them"
        )


def _selected_from(e) -> None:
    if not e.selected_from:
        return
    for seed in range(e.seeds):
        _selection(e, seed)


def _selection(e, seed: int) -> None:
    try:
        chosen = read_selected(of_seed(e.selected_from, seed))
    except InputError as error:
        raise InputError(f"selected_from is {e.selected_from!r}, but {error}") from None
    if (chosen.ipc, chosen.alpha) != (e.ipc, e.alpha):
        # With all their digits: 0.3400000001 is not 0.34.
        raise InputError(
            f"selected_from is {e.selected_from!r}, chosen for ipc {chosen.ipc} and "
            f"alpha {chosen.alpha!r}, but ipc is {e.ipc} and alpha {e.alpha!r}"
        )
    # Of each class it is counted where labels are known (`exchange.read_indices`).
    if not (known := KNOWN.get(e.dataset)):
        return
    count, most = len(chosen.indices), e.real * (e.classes or known.classes)
    if count > most:
        raise InputError(
            f"selected_from is {e.selected_from!r} and lists {count} images, but ipc "
            f"{e.ipc} and alpha {e.alpha:g} leave {most} real ones"
        )
    if max(chosen.indices, default=0) >= known.train:
        raise InputError(
            f"selected_from is {e.selected_from!r} and lists {max(chosen.indices)}, "
            f"but {e.dataset} has {known.train} training images"
        )


def _part(e) -> None:
    """Check a choice of classes and pixels; `reduced` checks data of the user's own."""
    known = KNOWN.get(e.dataset)
    has = f", and {e.dataset} has {known.classes}" if known else ""
    # One class leaves nothing to learn, and every answer right.
    if e.classes == 1 or (known and e.classes > known.classes):
        raise InputError(
            f"classes is {e.classes}, but must be 0 (all) or at least 2{has}"
        )
    has = f", and {e.dataset} has {known.size}" if known else ""
    if 0 < e.image_size < LEAST_PIXELS or (known and e.image_size > known.size):
        raise InputError(
            f"image_size is {e.image_size}, but must be 0 (as they are) or at least "
            f"{LEAST_PIXELS} pixels{has}"
        )


def _images(e) -> None:
    known = KNOWN.get(e.dataset)
    if known and e.ipc > known.smallest:
        raise InputError(
            f"ipc is {e.ipc}, but the smallest class of {e.dataset} has "
            f"{known.smallest} training images"
        )
    # 0 is a control of ours and asks for no distilled image; anything above wants one.
    if e.alpha and not e.distilled:
        some = "0 or 1" if e.ipc == 1 else f"0, or from {least_alpha(e.ipc)} to 1"
        raise InputError(
            f"alpha is {e.alpha:g}, but alpha x ipc is then below one distilled "
            f"image per class; with ipc {e.ipc} take alpha {some}"
        )
    if e.real and e.curricula > e.real:
        raise InputError(
            f"curricula is {e.curricula}, but must be at most {e.real}, the real "
            f"images per class that ipc {e.ipc} with alpha {e.alpha:g} leaves"
        )


def _score(e) -> None:
    # For other images a file of the user's own has to say what is difficult.
    if e.score.startswith("published-") and e.dataset not in SCORE_FILES:
        raise InputError(
            f"score is {e.score!r}, but nobody published scores of {e.dataset}; "
            "allowed are 'forgetting', 'logits', a file's path and module:function"
        )
    if e.score == "logits" and not e.alpha:
        raise InputError(
            "score is 'logits', those of the current filter, but with alpha 0 phase 1 "
            "has no filter: take another score, or a larger alpha"
        )
    if e.score in SCORES or e.score.endswith((".npy", ".npz")):
        return
    if plugins.named(e.score):
        return plugins.check(e.score, "score")
    raise InputError(
        f"score is {e.score!r}, but must be one of {', '.join(SCORES)}, a path ending "
        "in .npy or .npz, or a function, module:function"
    )


def _ties(e) -> None:
    # They differ from filter to filter, and in their last digits from each other.
    if e.ties == "random" and e.score == "logits":
        raise InputError(
            "ties is 'random', but score is 'logits', which have no ties to break: "
            "take 'index', or another score"
        )
