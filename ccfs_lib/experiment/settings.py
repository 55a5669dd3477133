"""Experiment: one frozen, validated configuration, and the presets of each scale.

Torch is not imported here: a notebook or the command line refuses a bad value before
anything expensive starts.
"""

import types
from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import names, presets
from ccfs_lib.experiment.checks import check
from ccfs_lib.experiment.datasets import KNOWN
from ccfs_lib.experiment.datasets import SCORE_FILES as SCORE_FILES
from ccfs_lib.experiment.datasets import SMALLEST_CLASS as SMALLEST_CLASS
from ccfs_lib.experiment.recipes import STRICT, Count, Distillation, Fraction, Recipe
from ccfs_lib.runtime.portable import settle

SCALES = ("digits", "laptop", "paper")
CONTROLS = ("random", "distilled", "random-hard", "ccfs-hard")
# Measured only where they are named: chapters 13 and 14 ask for them.
FURTHER = ("random-short", "full-hard", "distilled-hard")
FURTHER += ("ccfs-plain", "random-plain", "distilled-plain")
FURTHER += ("selected", "selected-hard")  # what `selected_from` lists
STRATEGIES = tuple(
    f"{fine}-{coarse}"
    for coarse in ("misclassified", "classified")
    for fine in ("simple", "hard", "random")
)
# Parameters of notebooks and commands that stand for one field of a recipe.
SHORT = {
    "epochs": ("recipe", "epochs"),
    "lr": ("recipe", "lr"),
    "weight_decay": ("recipe", "weight_decay"),
    "batch_rule": ("recipe", "batch_rule"),
    "teacher_epochs": ("teacher", "epochs"),
    # "sre2l" brings SRe2L's other numbers for the data set along.
    "method": ("distillation", "method"),
}
# Options that came later are told only where they are used, so that earlier results
# and pages stay what they are.
LATER = {"classes": 0, "image_size": 0, "evaluation_network": ""}
LATER |= {"filter_loss": "", "ties": "index", "selected_from": "", "reading": ""}


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """Everything a run of CCFS depends on; equal experiments give equal results."""

    dataset: str = "digits"
    data_root: str = ""  # where the data lie; "" = $CCFS_DATA. Not part of the hash
    scale: Literal["digits", "laptop", "paper"] = "digits"
    # A smaller problem from the same images, for machines without a GPU: only the first
    # classes, only so many pixels a side. 0 = all that there are.
    classes: Annotated[int, Field(ge=0)] = 0
    image_size: Annotated[int, Field(ge=0)] = 0
    ipc: Count = 20  # images per class of the final set
    alpha: Fraction = 0.2  # distilled part of it (Figure 5 recommends 0.2-0.4)
    curricula: Count = 3  # J
    coarse: Literal["misclassified", "classified"] = "misclassified"
    fine: Literal["simple", "hard", "random"] = "simple"
    # "forgetting": counted here; "logits": the current filter's;
    # "published-forgetting", "published-cscore": files beside the data; or a path.
    score: str = "published-forgetting"
    score_runs: Count = 3  # trainings averaged for "forgetting"
    # In the authors' code, not in the paper; nearly inert with their teachers, which
    # get 99.4-100 % of the training images right.
    teacher_correct: bool = True
    # What teaches the filters; "" = the recipe's loss. The paper speaks of soft labels
    # for the evaluation only, the code distils its filters as well.
    filter_loss: Literal["", "kd", "hard"] = ""
    # Who comes first among equally difficult images: the lower index, or a lot that
    # each seed draws. Neither paper nor code fixes an order.
    ties: Literal["index", "random"] = "index"
    network: str = "resnet18"
    teacher_network: str = "resnet18"
    evaluation_network: str = ""  # trained on the final set (Table 2); "" = `network`
    recipe: Recipe = Field(default_factory=lambda: Recipe(epochs=500))
    teacher: Recipe = Field(default_factory=lambda: Recipe(epochs=200, loss="hard"))
    distillation: Distillation = Field(default_factory=Distillation)
    # Folder of distilled images (newNNN/...) to take instead of recovering some.
    distilled_from: str = ""
    # A selected_indices.json, the authors' or anyone's, for the arm "selected".
    selected_from: str = ""
    # "notebooks" where this reading of the paper was asked for by name: then the run is
    # called so. It changes no setting; `preset` does.
    reading: Literal["", "notebooks"] = ""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    # ours: without oneDNN, whose blocking follows the machine's caches, small runs give
    # the same bits on every AVX2 machine; the book's tests compare them.
    portable: bool = False

    def __post_init__(self):
        check(self)
        # Asking for what is there anyway is asking for nothing.
        known = KNOWN.get(self.dataset)
        for name, same in (
            ("classes", known and known.classes),
            ("image_size", known and known.size),
            ("evaluation_network", self.network),
            ("filter_loss", self.recipe.loss),
        ):
            if getattr(self, name) == same:
                object.__setattr__(self, name, LATER[name])

    @property
    def distilled(self) -> int:
        """Distilled images per class: alpha x IPC, rounded down as in the code.

        0 is none: an empty set teaches no filter, and every image counts as a mistake.
        Algorithm 1 rounds up. The small term undoes binary fractions: the code's
        int(100 * 0.29) is 28, which nobody means.
        """
        return int(self.ipc * self.alpha + 1e-9)

    @property
    def real(self) -> int:
        """Real images per class."""
        return self.ipc - self.distilled

    @property
    def printed_as(self) -> str:
        """The data set whose numbers the paper prints; "" for a part of one."""
        return "" if self.classes or self.image_size else self.dataset

    @property
    def run(self) -> str:
        """The name under which results are filed, e.g. ``cifar10-jpeg-ipc250``.

        It tells what differs from the preset, see `ccfs_lib.experiment.names`.
        """
        return names.name(self)

    def hashed(self) -> dict:
        """The configuration as plain values, without what cannot change a result."""
        free = {"data_root", "seeds"} | self._unused()
        return {k: v for k, v in asdict(self).items() if k not in free}

    def _unused(self) -> set[str]:
        return {name for name, value in LATER.items() if getattr(self, name) == value}

    def table(self) -> list[tuple[str, str]]:
        """Every setting as (name, value), nested ones dotted, to print at the top.

        Options of LATER that are not used are left out.
        """
        rows, unused = [], self._unused()
        for name, value in asdict(self).items():
            if name in unused:
                continue
            nested = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(f"{name}.{k}".rstrip("."), str(v)) for k, v in nested]
        return rows


def known_arm(arm: str, experiment: Experiment) -> None:
    """Raise InputError unless `arm` can be measured in this experiment."""
    if arm not in STRATEGIES + CONTROLS + FURTHER:
        known = ", ".join(STRATEGIES + CONTROLS + FURTHER)
        raise InputError(f"arm is {arm!r}, but must be one of {known}")
    if arm.startswith("selected") and not experiment.selected_from:
        raise InputError(
            f"arm is {arm!r}, but selected_from is empty: it must name a "
            "selected_indices.json"
        )


def preset(
    dataset: str = "digits", scale: str = "", reading: str = "paper", **changes
) -> Experiment:
    """The preset of a data set and scale, with some fields changed.

    scale: "digits", "laptop", "paper", or "" (digits for digits, else laptop). reading:
    "paper", "notebooks" or "released", at the paper's scale. Raises InputError naming
    the first bad field, its value and what is allowed.
    """
    scale = scale or ("digits" if dataset == "digits" else "laptop")
    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}, but must be one of {', '.join(SCALES)}")
    base = presets.base(dataset, scale, reading, changes.get("ipc"))
    if changes.get("method") == "sre2l":
        base["distillation"] = presets.sre2l(dataset, base["distillation"])
    for name, (recipe, field) in SHORT.items():
        if (value := changes.pop(name, None)) is not None:
            base[recipe] = checked(name, replace, base[recipe], **{field: value})
    return checked("", Experiment, **{**base, "dataset": dataset, **changes})


def from_notebook(namespace: dict) -> tuple[Experiment, dict]:
    """Validate a notebook's parameters: its plain values so far are nothing else.

    namespace: the notebook's ``globals()`` right after its parameters. papermill only
    warns about an unknown parameter and checks no type; here both stop the notebook
    with one sentence. Returns the experiment and the parameters that are the
    chapter's own (`phase`, or `networks`, names with spaces between them).
    """
    own = {"phase", "networks"}
    known = {f.name for f in fields(Experiment)} | {*SHORT, "reading", *own}
    values = given(namespace, known)
    chapter = {name: values.pop(name) for name in own & set(values)}
    experiment = preset(**values)
    settle(experiment.portable)
    if "phase" in chapter:
        _check_phase(experiment, chapter["phase"])
    if "networks" in chapter:
        chapter["networks"] = _learners(experiment, chapter["networks"])
    return experiment, chapter


def _check_phase(experiment: Experiment, phase) -> None:
    if not experiment.real:
        raise InputError(
            f"phase is {phase!r}, but alpha {experiment.alpha:g} leaves no real images "
            "to select, so there is no phase to show: take a smaller alpha"
        )
    last = experiment.curricula
    if isinstance(phase, bool) or not isinstance(phase, int) or not 1 <= phase <= last:
        raise InputError(f"phase is {phase!r}, but must be a whole number 1 to {last}")


def _learners(experiment: Experiment, names) -> list[str]:
    if not isinstance(names, str):
        raise InputError(
            f"networks is {names!r}, but must be names with spaces between them"
        )
    for name in names.split():
        try:
            checked("networks", replace, experiment, evaluation_network=name)
        except InputError as error:
            told = str(error).replace("evaluation_network", "networks")
            raise InputError(told) from None
    return names.split()


# What IPython itself keeps in the namespace of every notebook.
IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def given(namespace: dict, known: set[str]) -> dict:
    """A notebook's parameters by name; InputError for one that is not known."""
    found = {k: v for k, v in namespace.items() if _is_parameter(k, v)}
    if unknown := sorted(set(found) - known):
        raise InputError(
            f"{unknown[0]} is not a parameter of this notebook; it knows "
            f"{', '.join(sorted(set(found) & known | {'ipc'}))}"
        )
    return found


def _is_parameter(name: str, value) -> bool:
    plain = not isinstance(value, (types.ModuleType, type)) and not callable(value)
    return plain and not name.startswith("_") and name not in IPYTHON


def checked(field: str, make, *arguments, **changes):
    """make(...), with pydantic's error as a sentence; field: what it is then called."""
    try:
        return make(*arguments, **changes)
    except ValidationError as error:
        first = error.errors()[0]
    if "error" in first.get("ctx", {}):  # ours, already a sentence
        raise InputError(str(first["ctx"]["error"]))
    name = field or ".".join(str(part) for part in first["loc"]) or "experiment"
    told = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    raise InputError(f"{name} is {first['input']!r}: {told}")
