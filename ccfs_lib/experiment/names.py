"""The name of a run: what was run, as far as it is not the preset's.

Results are filed under it, so that no run overwrites its neighbour, and a preset's own
run has a short one: ``cifar10-jpeg-ipc250`` or ``tiny-imagenet-c20-32px-ipc50-j2``.
"""

import os
import re
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.store import key

if TYPE_CHECKING:
    from ccfs_lib.experiment.settings import Experiment

# Named in front, or told by the rows themselves.
ASIDE = {"dataset", "data_root", "scale", "classes", "image_size", "ipc", "seeds"}
SECTION3 = ("dataset", "classes", "image_size", "ipc", "alpha", "seeds")
# How the common settings are told; of what is left, a hash.
TOLD = {
    "fine": "{}",
    "coarse": "{}",
    "alpha": "alpha{:g}",
    "curricula": "j{}",
    "recipe.epochs": "{}ep",
    "recipe.lr": "lr{:g}",
    "recipe.weight_decay": "wd{:g}",
    "recipe.batch_rule": "{}-batches",
    "filter_loss": "{}-filters",
    "ties": "{}-ties",
    "network": "{}",
    "evaluation_network": "on-{}",
    "teacher_network": "teacher-{}",
    "teacher.epochs": "teacher-{}ep",
    "score": "{}",
    "score_runs": "runs{}",
}
FLAGS = {
    "teacher_correct": {True: "teacher-right", False: "any-candidate"},
    "portable": {True: "portable", False: "not-portable"},
}


def name(e: "Experiment") -> str:
    """The run's name, of letters, digits and ``_ . = + -``; equal for equal results.

    Not in it: seeds and `data_root`. The strategy is in it, although arms name theirs:
    "ccfs-hard" is the experiment's own.
    """
    parts, (reading, other) = _data(e), _differences(e)
    parts.append(f"ipc{e.ipc}")
    if e.scale != ("digits" if e.dataset == "digits" else "laptop"):
        # "released" is a reading of the paper's scale: one word says both.
        parts.append("released" if reading == "released" else e.scale)
    for setting, how in TOLD.items():
        if setting in other:
            parts.append(_plain(how.format(_leaf(other[setting]))))
    parts += [FLAGS[flag][other[flag]] for flag in FLAGS if flag in other]
    rest = {k: v for k, v in other.items() if k not in (*TOLD, *FLAGS)}
    if (score := other.get("score", "")) != _leaf(score):
        rest["score"] = score  # a file's name alone may be another file's
    return "-".join(parts + ([key(rest)[:6]] if rest else []))


def section3(e: "Experiment", own: dict, usual: dict) -> str:
    """The name of a run of Section 3, as `name`; it ends in what is not the preset's.

    own, usual: hashed settings of the run and of its preset.
    """
    other = {k: v for k, v in own.items() if usual.get(k) != v and k not in SECTION3}
    beta = other.pop("beta", None)
    parts = [*_data(e), *["paper"] * (e.scale == "paper")]
    parts += [f"ipc{e.ipc}", f"alpha{e.alpha:g}", "mtt"]
    parts += [f"beta{beta:g}"] if beta is not None else []
    return "-".join(parts + ([key(other)[:6]] if other else []))


def _data(e) -> list[str]:
    """What any name begins with: the data set and which part of it."""
    # The user's folder may be called anything; a results file may not.
    folder = os.path.abspath(os.path.expanduser(e.dataset))
    parts = [_plain(os.path.basename(folder))]
    parts += [f"c{e.classes}"] * bool(e.classes)
    return parts + [f"{e.image_size}px"] * bool(e.image_size)


def _differences(e) -> tuple[str, dict]:
    """The nearer reading of the paper, and what differs from the preset, flat."""
    own, found = _flat(asdict(e)), []
    for reading in ("paper", "released") if e.scale == "paper" else ("paper",):
        try:
            preset = presets.base(e.dataset, e.scale, reading, e.ipc)
        except InputError:  # built by hand: a scale that this data set does not have
            preset = {}
        same = _flat({k: getattr(type(e), k) for k in asdict(e)} | preset)
        other = {k: v for k, v in own.items() if k not in ASIDE and same.get(k) != v}
        found.append((reading, other))
    return min(found, key=lambda pair: len(pair[1]))  # the first, where both are near


def _flat(fields: dict) -> dict:
    """Settings with the nested ones dotted: "recipe.epochs"."""
    flat = {}
    for name, value in fields.items():
        value = asdict(value) if is_dataclass(value) else value
        nested = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}.{k}".rstrip("."): v for k, v in nested}
    return flat


def _leaf(value):
    """The last part of a path, without the suffix; anything else as it is."""
    path = isinstance(value, str) and value.endswith((".npy", ".npz"))
    return os.path.splitext(os.path.basename(value))[0] if path else value


def _plain(word: str) -> str:
    word = re.sub(r"[^\w.=+-]+", "-", word, flags=re.ASCII).lstrip(".=+-")
    return word or "images"
