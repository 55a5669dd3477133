"""The name of a run: what was run, as far as it is not the preset's.

Results are filed under it, so that no run overwrites its neighbour, and a preset's own
run has a short one: ``cifar10-ipc250`` or ``tiny-imagenet-c20-32px-ipc50-j2``.
"""

import os
import re
from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.store import key

if TYPE_CHECKING:
    from ccfs_lib.experiment.settings import Experiment

# Settings that stand in front of every name, or in columns of the rows.
UNNAMED = {"dataset", "data_root", "scale", "classes", "image_size", "ipc", "seeds"}
UNNAMED |= {"reading"}
SECTION3 = ("dataset", "classes", "image_size", "ipc", "alpha", "seeds")
# What the common settings add to a name; the others add a hash.
FORMATS = {
    "fine": "{}",
    "coarse": "{}",
    "alpha": "alpha{:g}",
    "curricula": "j{}",
    "recipe.epochs": "{}ep",
    "recipe.lr": "lr{:g}",
    "recipe.weight_decay": "wd{:g}",
    "recipe.temperature": "T{:g}",
    "recipe.batch_rule": "{}-batches",
    "batch_size_by": "by-{}",
    "filter_loss": "{}-filters",
    "ties": "{}-ties",
    "network": "{}",
    "evaluation_network": "on-{}",
    "teacher_network": "teacher-{}",
    "teacher.epochs": "teacher-{}ep",
    "score": "{}",
    "score_runs": "runs{}",
    "distillation.method": "{}",
}
FLAGS = {
    "teacher_correct": {True: "teacher-right", False: "any-candidate"},
    "portable": {True: "portable", False: "not-portable"},
}


def name(e: "Experiment") -> str:
    """Name a run in letters, digits and ``_ . = + -``; equal for equal results.

    Not in it: seeds and `data_root`. The strategy is in it, although arms name theirs:
    "ccfs-hard" is the experiment's own.
    """
    parts, (reading, other) = _data(e), _differences(e)
    parts.append(f"ipc{e.ipc}")
    if e.scale != ("digits" if e.dataset == "digits" else "laptop"):
        # Readings are of the paper's scale: one word says both.
        parts.append(e.scale if reading == "paper" else reading)
    for setting, template in FORMATS.items():
        if setting in other:
            parts.append(_plain(template.format(_leaf(other[setting]))))
    parts += [FLAGS[flag][other[flag]] for flag in FLAGS if flag in other]
    rest = {k: v for k, v in other.items() if k not in (*FORMATS, *FLAGS)}
    if (score := other.get("score", "")) != _leaf(score):
        rest["score"] = score  # a file's name alone may be another file's
    return "-".join(parts + ([key(rest)[:6]] if rest else []))


def section3(e: "Experiment", settings: dict, usual: dict) -> str:
    """Name a run of Section 3, as `name`; the end is what is not the preset's.

    settings, usual: hashed settings of the run and of its preset.
    """
    other = {
        k: v for k, v in settings.items() if usual.get(k) != v and k not in SECTION3
    }
    beta = other.pop("beta", None)
    parts = [*_data(e), *["paper"] * (e.scale == "paper")]
    parts += [f"ipc{e.ipc}", f"alpha{e.alpha:g}", "mtt"]
    parts += [f"beta{beta:g}"] if beta is not None else []
    return "-".join(parts + ([key(other)[:6]] if other else []))


def _data(e) -> list[str]:
    """Return what any name begins with: the data set and which part of it."""
    # The user's folder may be called anything; a results file may not.
    folder = os.path.abspath(os.path.expanduser(e.dataset))
    parts = [_plain(os.path.basename(folder))]
    parts += [f"c{e.classes}"] * bool(e.classes)
    return parts + [f"{e.image_size}px"] * bool(e.image_size)


def _differences(e) -> tuple[str, dict]:
    """Return the reading of the paper, and what differs from its preset, flat.

    "notebooks" where it was asked for; else the nearer of the other two.
    """
    settings, candidates = dotted(asdict(e)), []
    both = ("paper", "released") if e.scale == "paper" else ("paper",)
    for reading in (e.reading,) if e.reading else both:
        try:
            preset = presets.base(e.dataset, e.scale, reading, e.ipc)
        except InputError:  # built by hand: a scale that this data set does not have
            preset = {}
        if e.distillation.method == "sre2l" and "distillation" in preset:
            cda = preset["distillation"]
            own_numbers = presets.sre2l(e.dataset, cda)
            preset["distillation"] = replace(own_numbers, method=cda.method)
        same = dotted({k: getattr(type(e), k) for k in asdict(e)} | preset)
        other = {
            k: v for k, v in settings.items() if k not in UNNAMED and same.get(k) != v
        }
        candidates.append((reading, other))
    # The first, where both are equally near.
    return min(candidates, key=lambda pair: len(pair[1]))


def dotted(fields: dict) -> dict:
    """Flatten settings, the nested ones dotted: "recipe.epochs"."""
    flat = {}
    for name, value in fields.items():
        value = asdict(value) if is_dataclass(value) else value
        nested = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}.{k}".rstrip("."): v for k, v in nested}
    return flat


def _leaf(value):
    """Return the last part of a path, without the suffix; anything else as it is."""
    path = isinstance(value, str) and value.endswith((".npy", ".npz"))
    return os.path.splitext(os.path.basename(value))[0] if path else value


def _plain(word: str) -> str:
    word = re.sub(r"[^\w.=+-]+", "-", word, flags=re.ASCII).lstrip(".=+-")
    return word or "images"
