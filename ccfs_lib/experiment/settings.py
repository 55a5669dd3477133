"""Experiment: one frozen, validated configuration, and the presets of each scale.

Torch is not imported here: a notebook or the command line refuses a bad value before
anything expensive starts.
"""

import difflib
import os
from dataclasses import asdict, fields, replace
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import names, presets
from ccfs_lib.experiment.checks import check
from ccfs_lib.experiment.datasets import KNOWN
from ccfs_lib.experiment.recipes import (
    MOST,
    STRICT,
    Count,
    Distillation,
    Fraction,
    Recipe,
    no_booleans,
    rounded_down,
)

SCALES = ("digits", "laptop", "paper")
# Settings that may name a place on this machine; "~" is the user's home in all.
PATHS = ("dataset", "data_root", "score", "teacher_from")
PATHS += ("distilled_from", "selected_from")


class Setting(NamedTuple):
    """What the command line, names and forecasts need to know of an option."""

    help: str
    # The first stage that depends on it: data, teacher, images, filter, choice (what is
    # selected), evaluation; "" = none.
    stage: str = ""
    grid: bool = False  # `ccfs sweep` takes several values
    # Added after the first results: in keys, names and tables only where it differs
    # from its default, so that earlier results and pages stay what they are.
    later: bool = False


class Short(NamedTuple):
    """An option that stands for one field of a recipe."""

    part: str
    field: str
    help: str


# Parameters of notebooks and commands that stand for one field of a recipe.
SHORTHANDS = {
    "epochs": Short("recipe", "epochs", "epochs of each filter and evaluation"),
    "lr": Short("recipe", "lr", "learning rate of each filter and evaluation"),
    "weight_decay": Short("recipe", "weight_decay", "of each filter and evaluation"),
    "temperature": Short("recipe", "temperature", "of the KD loss of both"),
    "batch_rule": Short(
        *("recipe", "batch_rule"),
        "their batch size: fixed, or by the size of the set as in paper or released",
    ),
    "precision": Short("recipe", "precision", "of filters and evaluations: fp32, bf16"),
    "teacher_epochs": Short("teacher", "epochs", "epochs of the teacher"),
    "teacher_precision": Short("teacher", "precision", "of the teacher: fp32, bf16"),
    "method": Short("distillation", "method", "how images are recovered: cda, sre2l"),
    "iterations": Short("distillation", "iterations", "of the recovery of a batch"),
    "recovery_batch": Short(
        *("distillation", "batch_size"),
        "images recovered together, over which batch-norm statistics are matched",
    ),
}


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """Everything a run of CCFS depends on; equal experiments give equal results."""

    dataset: Annotated[
        str,
        Setting(
            "digits, cifar10, cifar100, cifar100-coarse, cifar10-jpeg, tiny-imagenet, "
            "a path to images, or module:function",
            "data",
        ),
    ] = "digits"
    # Where the data lie. Not part of the hash.
    data_root: Annotated[
        str, Setting("folder that holds the data set; default $CCFS_DATA")
    ] = ""
    scale: Annotated[
        Literal["digits", "laptop", "paper"],
        Setting("digits, laptop or paper; default by data set"),
    ] = "digits"
    # A smaller problem from the same images, for machines without a GPU.
    classes: Annotated[
        int,
        Field(ge=0, le=MOST),
        Setting("only the first classes of the data set; 0 = all", "data", later=True),
    ] = 0
    image_size: Annotated[
        int,
        Field(ge=0, le=MOST),
        Setting(
            "shrink images to so many pixels a side; 0 = as they are",
            "data",
            later=True,
        ),
    ] = 0
    # ours: what is chosen by accuracy (recipes, SelMatch's window) is chosen on it.
    holdout: Annotated[
        float,
        Field(ge=0, lt=1),
        Setting(
            "share of each class's training images that is kept out and tested on in "
            "place of the test split",
            "data",
            later=True,
        ),
    ] = 0.0
    ipc: Annotated[
        Count, Setting("images per class of the final set", "choice", grid=True)
    ] = 20
    # Figure 5 recommends 0.2-0.4.
    alpha: Annotated[
        Fraction, Setting("distilled part of them, 0 to 1", "choice", grid=True)
    ] = 0.2
    curricula: Annotated[Count, Setting("phases (J)", "choice", grid=True)] = 3
    coarse: Annotated[
        Literal["misclassified", "classified"],
        Setting("coarse stage of ccfs-* arms: misclassified, classified", "choice"),
    ] = "misclassified"
    fine: Annotated[
        Literal["simple", "hard", "random"],
        Setting("fine stage of ccfs-* arms: simple, hard, random", "choice"),
    ] = "simple"
    # "forgetting": counted here; "logits": the current filter's;
    # "published-forgetting", "published-cscore": files beside the data.
    score: Annotated[
        str,
        Setting(
            "forgetting, logits, published-forgetting, published-cscore, a file, or "
            "module:function",
            "choice",
            grid=True,
        ),
    ] = "published-forgetting"
    score_runs: Annotated[
        int,
        Field(ge=1, le=100),
        Setting('trainings averaged for "forgetting"', "choice"),
    ] = 3
    # In the authors' code, not in the paper; nearly inert with their teachers, which
    # get 99.4-100 % of the training images right.
    teacher_correct: Annotated[
        bool,
        Setting("choose only among images that the teacher gets right", "choice"),
    ] = True
    # "" = the recipe's loss. The paper speaks of soft labels for the evaluation only,
    # the code distils its filters as well.
    filter_loss: Annotated[
        Literal["", "kd", "hard"],
        Setting(
            "what teaches the filters, kd or hard; default as the evaluation",
            "filter",
            later=True,
        ),
    ] = ""
    # "images" is the letter of the code: a few images that a class could not fill may
    # halve the batch and double the steps. Photographs' presets have "wanted".
    batch_size_by: Annotated[
        Literal["images", "wanted"],
        Setting(
            "the size by which batch_rule chooses: of the set as made (images), or as "
            "asked for (wanted)",
            "filter",
            later=True,
        ),
    ] = "images"
    # Neither paper nor code fixes an order.
    ties: Annotated[
        Literal["index", "random"],
        Setting(
            "equally difficult images in the order of their index, or at random",
            "choice",
            later=True,
        ),
    ] = "index"
    network: Annotated[
        str,
        Setting(
            "of filters and evaluations: convnet-32-64-128, resnet18, ..., or "
            "module:function",
            "filter",
        ),
    ] = "resnet18"
    teacher_network: Annotated[
        str, Setting("convnet, convnet-32-64-128, resnet18, ...", "teacher")
    ] = "resnet18"
    # Trained on the final set (Table 2); "" = `network`.
    evaluation_network: Annotated[
        str,
        Setting(
            "of evaluations, if it is another one (Table 2)",
            "evaluation",
            grid=True,
            later=True,
        ),
    ] = ""
    recipe: Annotated[Recipe, Setting("", "filter")] = Field(
        default_factory=lambda: Recipe(epochs=500)
    )
    teacher: Annotated[Recipe, Setting("", "teacher")] = Field(
        default_factory=lambda: Recipe(epochs=200, loss="hard")
    )
    distillation: Annotated[Distillation, Setting("", "images")] = Field(
        default_factory=Distillation
    )
    # 0 is the teacher of every run so far; images are recovered from each anew.
    teacher_seed: Annotated[
        int,
        Field(ge=0, le=MOST),
        Setting("of the teacher's training", "teacher", later=True),
    ] = 0
    teacher_from: Annotated[
        str,
        Setting(
            "weights to take in place of training a teacher: what squeeze --out wrote, "
            "a .safetensors file, or a PyTorch checkpoint",
            "teacher",
            later=True,
        ),
    ] = ""
    # Of weights that do not bring their own; () = the data set's.
    normalisation: Annotated[
        tuple[float, ...],
        Setting(
            "six numbers, mean and standard deviation of the channels, with which the "
            "weights of --teacher-from were trained",
            "teacher",
            later=True,
        ),
    ] = ()
    evaluation_teacher: Annotated[
        str,
        Setting(
            "network of the teacher of evaluations, if it is not the one that "
            "recovered the images and taught the filters",
            "evaluation",
            later=True,
        ),
    ] = ""
    # newNNN/... or class names.
    distilled_from: Annotated[
        str,
        Setting("folder of distilled images to use instead of recovering", "images"),
    ] = ""
    # The authors' or anyone's, for the arm "selected".
    selected_from: Annotated[
        str,
        Setting(
            "a selected_indices.json, or a folder with one for each seed "
            "(...seed0.json), measured by --arms selected",
            "choice",
            later=True,
        ),
    ] = ""
    # Then the run is called so. It changes no setting; `preset` does.
    reading: Annotated[
        Literal["", "notebooks"],
        Setting("", later=True),
    ] = ""
    seeds: Annotated[
        int,
        Field(ge=1, le=100),
        Setting("repetitions of filters, selection and evaluation"),
    ] = 3
    # ours: without oneDNN, whose blocking follows the machine's caches, small runs give
    # the same bits on every AVX2 machine; the book's tests compare them.
    portable: Annotated[
        bool,
        Setting(
            "the CPU, and bits that other machines repeat; the preset of digits is",
            "data",
        ),
    ] = False
    # A compiled network has other last bits; plain steps and graphs have the same.
    engine: Annotated[
        Literal["", "plain", "graph", "cast", "compile"],
        Setting(
            "how steps are run: plain, graph, cast or compile; default by device",
            "teacher",
            later=True,
        ),
    ] = ""

    _no_booleans = model_validator(mode="before")(no_booleans)

    def __post_init__(self):
        for name in PATHS:  # one place for all uses
            if (value := getattr(self, name)).startswith("~"):
                object.__setattr__(self, name, os.path.expanduser(value))
        check(self)
        # Asking for what is there anyway is asking for nothing.
        known = KNOWN.get(self.dataset)
        for name, same in (
            ("classes", known and known.classes),
            ("image_size", known and known.size),
            ("evaluation_network", self.network),
            ("evaluation_teacher", self.teacher_network),
            ("filter_loss", self.recipe.loss),
        ):
            if getattr(self, name) == same:
                object.__setattr__(self, name, LATER[name])

    def changed(self, **changes) -> "Experiment":
        """Return a variant: `dataclasses.replace` that ends in an InputError.

        With another IPC or alpha, somebody's selection has no part in it.
        """
        if {"ipc", "alpha"} & set(changes):
            changes = {"selected_from": ""} | changes
        for part in PARTS:
            if isinstance(some := changes.get(part), dict):
                changes[part] = merged(part, getattr(self, part), some)
        return checked("", replace, self, **changes)

    def part(self, *stages: str) -> dict:
        """Pick settings on which these stages are the first to depend: plain values.

        What several experiments have in common of them, they need to compute once.
        """
        return {k: v for k, v in self.hashed().items() if SETTINGS[k].stage in stages}

    @property
    def distilled(self) -> int:
        """Distilled images per class: alpha x IPC, rounded down; Algorithm 1 rounds up.

        0 is none: an empty set teaches no filter, and every image counts as a mistake.
        """
        return rounded_down(self.ipc * self.alpha)

    @property
    def real(self) -> int:
        """Real images per class."""
        return self.ipc - self.distilled

    @property
    def squeeze_seeds(self) -> range:
        """Seeds of the trainings on all data; the first is the teacher's."""
        runs = self.score_runs if self.score == "forgetting" else 1
        # Teachers of other seeds share no training with each other.
        return range(1000 * self.teacher_seed, 1000 * self.teacher_seed + runs)

    @property
    def printed_as(self) -> str:
        """The data set whose numbers the paper prints; "" for a part of one."""
        return "" if self.classes or self.image_size else self.dataset

    @property
    def run(self) -> str:
        """The name under which results are filed, e.g. ``cifar10-ipc250``.

        It names what differs from the preset, see `ccfs_lib.experiment.names`.
        """
        return names.name(self)

    def hashed(self) -> dict:
        """Return what can change a result, as plain values."""
        omitted = {"data_root", "seeds"} | self._unused()
        return {k: v for k, v in asdict(self).items() if k not in omitted}

    def _unused(self) -> set[str]:
        return {name for name, value in LATER.items() if getattr(self, name) == value}

    def table(self) -> list[tuple[str, str]]:
        """List every setting as (name, value), nested ones dotted, for the top.

        Options of LATER at their defaults are left out.
        """
        unused = self._unused()
        shown = {k: v for k, v in asdict(self).items() if k not in unused}
        return [(name, str(value)) for name, value in names.dotted(shown).items()]


def settings(kind: type) -> dict[str, Setting]:
    """Read the declared options of a configuration class, by name."""
    return {
        field.name: next(m for m in metadata if isinstance(m, Setting))
        for field in fields(kind)
        if (metadata := getattr(field.type, "__metadata__", ()))
    }


PARTS = ("recipe", "teacher", "distillation")  # nested: whole, or dicts of some fields
SETTINGS = settings(Experiment)
DEFAULTS = {f.name: f.default for f in fields(Experiment)}
# Options added after the first results: invisible in keys and names at these defaults.
LATER = {name: DEFAULTS[name] for name, s in SETTINGS.items() if s.later}


def preset(
    dataset: str = "digits", scale: str = "", reading: str = "paper", **changes
) -> Experiment:
    """Return the preset of a data set and scale, with some fields changed.

    scale: "digits", "laptop", "paper", or "" (digits for digits, else laptop). reading:
    "paper", "notebooks" or "released", at the paper's scale. recipe, teacher and
    distillation are whole, or dicts of some of their fields. Raises InputError naming
    the first bad field, its value and what is allowed.
    """
    if not isinstance(dataset, str):
        raise InputError(f"dataset is {dataset!r}, but must be a name or a path")
    scale = scale or ("digits" if dataset == "digits" else "laptop")
    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}, but must be one of {', '.join(SCALES)}")
    base = presets.base(dataset, scale, reading, changes.get("ipc"))
    if changes.get("method") == "sre2l":
        usual = base.get("distillation") or Distillation()
        base["distillation"] = presets.sre2l(dataset, usual)
    told = {part: changes.pop(part) for part in PARTS if part in changes}
    for part, given in told.items():
        default = base.get(part) or Distillation()
        base[part] = merged(part, default, given) if isinstance(given, dict) else given
    for name, (part, field, _) in SHORTHANDS.items():
        if (value := changes.pop(name, None)) is not None:
            other = told.get(part)
            other = other.get(field, value) if isinstance(other, dict) else value
            if other != value:
                raise InputError(
                    f"{name} is {value!r}, but {part} has {field} {other!r}: take one"
                )
            default = base.get(part) or Distillation()
            base[part] = checked(name, replace, default, **{field: value})
    if unknown := changes.keys() - DEFAULTS:
        name = min(unknown)
        allowed = [*DEFAULTS, *SHORTHANDS]
        near = difflib.get_close_matches(name, allowed)
        told = "the closest settings are" if near else "settings are"
        raise InputError(
            f"{name} is {changes[name]!r}: unexpected keyword argument; {told} "
            f"{', '.join(near or allowed)}"
        )
    return checked("", Experiment, **{**base, "dataset": dataset, **changes})


def merged(part: str, default, some: dict):
    """Return a recipe with the fields of a dict replaced; InputError as `preset`."""
    try:
        return checked("", replace, default, **some)
    except InputError as error:
        raise InputError(f"{part}.{error}") from None


def checked(field: str, make, *arguments, **changes):
    """Call `make`; pydantic's error becomes a sentence about `field`."""
    try:
        return make(*arguments, **changes)
    except ValidationError as error:
        first = error.errors()[0]
    if "error" in first.get("ctx", {}):  # ours, already a sentence
        raise InputError(str(first["ctx"]["error"]))
    name = field or ".".join(str(part) for part in first["loc"]) or "experiment"
    problem = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    raise InputError(f"{name} is {first['input']!r}: {problem}")
