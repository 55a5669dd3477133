"""Experiment: one frozen, validated configuration, and the presets of each scale.

Torch is not imported here: a notebook or the command line refuses a bad value before
anything expensive starts.
"""

import os
import re
import types
from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from ccfs_lib import presets
from ccfs_lib.errors import InputError
from ccfs_lib.recipes import STRICT, Count, Distillation, Fraction, Recipe

# Training images in the smallest class, so that an impossible IPC is refused at once;
# a data set of the user's own is checked when it has been read.
SMALLEST_CLASS = {
    "digits": 131,
    "cifar10": 5000,
    "cifar10-jpeg": 5000,
    "cifar100": 500,
    "tiny-imagenet": 500,
}
# Published score files: the name they carry in SelMatch's and CCFS's repositories.
SCORE_FILES = {
    "cifar10": "CIFAR10",
    "cifar10-jpeg": "CIFAR10",  # the same images in the same order
    "cifar100": "CIFAR100",
    "tiny-imagenet": "Tiny",
}
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
NORMALISATION = {
    # The authors normalise CIFAR-100 with CIFAR-10's constants too.
    "cifar10": CIFAR,
    "cifar10-jpeg": CIFAR,
    "cifar100": CIFAR,
    "tiny-imagenet": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}
NETWORKS = re.compile(
    r"convnet(-in|(-[1-9]\d*)+)?|resnet(18|50|101)|resnet18-(s2|imagenet)"
    r"|(densenet121|regnet_y_8gf)(-s1)?"
)
SCALES = ("digits", "laptop", "paper")
CONTROLS = ("random", "distilled", "random-hard", "ccfs-hard")
STRATEGIES = tuple(
    f"{fine}-{coarse}"
    for coarse in ("misclassified", "classified")
    for fine in ("simple", "hard", "random")
)


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """Everything a run of CCFS depends on; equal experiments give equal results."""

    dataset: str = "digits"
    data_root: str = ""  # where the data lie; "" = $CCFS_DATA. Not part of the hash
    scale: Literal["digits", "laptop", "paper"] = "digits"
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
    network: str = "resnet18"
    teacher_network: str = "resnet18"
    recipe: Recipe = Field(default_factory=lambda: Recipe(epochs=500))
    teacher: Recipe = Field(default_factory=lambda: Recipe(epochs=200, loss="hard"))
    distillation: Distillation = Field(default_factory=Distillation)
    # Folder of distilled images (newNNN/...) to take instead of recovering some.
    distilled_from: str = ""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    # ours: without oneDNN, whose blocking follows the machine's caches, small runs give
    # the same bits on every AVX2 machine; the book's tests compare them.
    portable: bool = False

    def __post_init__(self):
        path = os.path.expanduser(self.dataset)
        if self.dataset not in SMALLEST_CLASS and not os.path.exists(path):
            raise InputError(
                f"dataset is {self.dataset!r}, but must be one of "
                f"{', '.join(SMALLEST_CLASS)}, or the path of images on this machine"
            )
        for name in ("network", "teacher_network"):
            if not NETWORKS.fullmatch(value := getattr(self, name)):
                raise InputError(
                    f"{name} is {value!r}, but must be convnet, convnet-in, "
                    "convnet-W1-W2-... (widths), resnet18[-s2|-imagenet], resnet50, "
                    "resnet101, densenet121[-s1] or regnet_y_8gf[-s1]"
                )
        given = os.path.expanduser(self.distilled_from)
        if given and not os.path.isdir(given):
            raise InputError(
                f"distilled_from is {self.distilled_from!r}, but must be a folder of "
                "distilled images, or empty to recover them"
            )
        if self.teacher_network == "convnet-in":
            raise InputError(
                "teacher_network is 'convnet-in', but images are recovered from "
                "batch-norm statistics: take a network with batch norm"
            )
        size = SMALLEST_CLASS.get(self.dataset)
        if size is not None and self.ipc > size:
            raise InputError(
                f"ipc is {self.ipc}, but the smallest class of {self.dataset} has "
                f"{size} training images"
            )
        if self.distilled < 1:
            least = 1 / self.ipc
            raise InputError(
                f"alpha is {self.alpha:g}, but alpha x ipc is then below one distilled "
                f"image per class; with ipc {self.ipc} take alpha "
                f"from {least:.3g} to 1"
            )
        if self.real and self.curricula > self.real:
            raise InputError(
                f"curricula is {self.curricula}, but ipc {self.ipc} with alpha "
                f"{self.alpha:g} leaves {self.real} real images per class: take 1 to "
                f"{self.real} phases"
            )
        if self.score.startswith("published-") and self.dataset not in SCORE_FILES:
            raise InputError(
                f"score is {self.score!r}, but nobody published scores of "
                f"{self.dataset}; allowed are 'forgetting', 'logits' and a file's path"
            )
        named = ("forgetting", "logits", "published-forgetting", "published-cscore")
        if self.score not in named and not self.score.endswith((".npy", ".npz")):
            raise InputError(
                f"score is {self.score!r}, but must be one of {', '.join(named)} or a "
                "path ending in .npy or .npz"
            )

    @property
    def distilled(self) -> int:
        """Distilled images per class: alpha x IPC, rounded down as in the code.

        Algorithm 1 rounds up. The small term undoes binary fractions: the code's
        int(100 * 0.29) is 28, which nobody means.
        """
        return int(self.ipc * self.alpha + 1e-9)

    @property
    def real(self) -> int:
        """Real images per class."""
        return self.ipc - self.distilled

    @property
    def run(self) -> str:
        """The name under which results are filed, e.g. ``cifar10-jpeg-ipc250``."""
        stem = os.path.basename(os.path.abspath(os.path.expanduser(self.dataset)))
        # The user's folder may be called anything; a results file may not.
        stem = re.sub(r"[^\w.=+-]+", "-", stem, flags=re.ASCII).lstrip(".=+-")
        return f"{stem or 'images'}-ipc{self.ipc}"

    def hashed(self) -> dict:
        """The configuration as plain values, without what cannot change a result."""
        return {
            k: v for k, v in asdict(self).items() if k not in ("data_root", "seeds")
        }

    def table(self) -> list[tuple[str, str]]:
        """Every setting as (name, value), nested ones dotted, to print at the top."""
        rows = []
        for name, value in asdict(self).items():
            nested = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(f"{name}.{k}".rstrip("."), str(v)) for k, v in nested]
        return rows


def preset(
    dataset: str = "digits", scale: str = "", reading: str = "paper", **changes
) -> Experiment:
    """The preset of a data set and scale, with some fields changed.

    scale: "digits", "laptop", "paper", or "" (digits for digits, else laptop). reading:
    "paper" or "released", at the paper's scale. Raises InputError naming the first bad
    field, its value and what is allowed.
    """
    scale = scale or ("digits" if dataset == "digits" else "laptop")
    if scale not in SCALES:
        raise InputError(f"scale is {scale!r}, but must be one of {', '.join(SCALES)}")
    base = dict(_base(dataset, scale, reading, changes.get("ipc")))
    if scale != "digits" and dataset not in SCORE_FILES:
        base["score"] = "forgetting"
    epochs = changes.pop("epochs", None)
    try:
        if epochs is not None:
            base["recipe"] = replace(base["recipe"], epochs=epochs)
        return Experiment(**{**base, "dataset": dataset, **changes})
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _base(dataset: str, scale: str, reading: str, ipc: int | None) -> dict:
    if reading not in ("paper", "released"):
        raise InputError(f"reading is {reading!r}, but must be 'paper' or 'released'")
    if scale != "paper":
        return {"digits": presets.DIGITS, "laptop": presets.LAPTOP}[scale]
    name = dataset.removesuffix("-jpeg")
    if name not in presets.CLASS_SIZE:
        raise InputError(
            f"dataset is {dataset!r}, but the paper's scale knows "
            f"{', '.join(presets.CLASS_SIZE)} and cifar10-jpeg"
        )
    ipc = ipc if isinstance(ipc, int) else presets.CLASS_SIZE[name] // 10
    return presets.paper(dataset, ipc, reading)


def from_notebook(namespace: dict) -> tuple[Experiment, dict]:
    """Validate a notebook's parameters: its plain values so far are nothing else.

    namespace: the notebook's ``globals()`` right after its parameters. papermill only
    warns about an unknown parameter and checks no type; here both stop the notebook
    with one sentence. Returns the experiment and the parameters that are the
    chapter's own (`phase`).
    """
    given = {k: v for k, v in namespace.items() if _is_parameter(k, v)}
    phase = given.pop("phase", None)
    known = {f.name for f in fields(Experiment)} | {"epochs", "reading"}
    if unknown := sorted(set(given) - known):
        raise InputError(
            f"{unknown[0]} is not a parameter of this notebook; it knows "
            f"{', '.join(sorted(set(given) & known | {'ipc'}))}"
        )
    experiment = preset(**given)
    if phase is None:
        return experiment, {}
    last = experiment.curricula if experiment.real else 0
    if isinstance(phase, bool) or not isinstance(phase, int) or not 1 <= phase <= last:
        raise InputError(f"phase is {phase!r}, but must be a whole number 1 to {last}")
    return experiment, {"phase": phase}


# What IPython itself keeps in the namespace of every notebook.
IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def _is_parameter(name: str, value) -> bool:
    plain = not isinstance(value, (types.ModuleType, type)) and not callable(value)
    return plain and not name.startswith("_") and name not in IPYTHON


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    if "error" in first.get("ctx", {}):  # ours, already a sentence
        return str(first["ctx"]["error"])
    name = ".".join(str(part) for part in first["loc"]) or "experiment"
    return f"{name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
