"""Section 3 and Table 10 as data: SelMatch, its two variants, and CCFS on MTT's images.

What a run depends on, its presets and its name; `ccfs_lib.pipeline.section3` computes
it. As in SelMatch, filters and evaluations learn hard labels: there is no teacher here.
"""

from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ccfs_lib.arms import SECTION3
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import names, presets
from ccfs_lib.experiment.matching import EXPERTS, ExpertRecipe, Matching
from ccfs_lib.experiment.recipes import STRICT, Count, Fraction, Recipe
from ccfs_lib.experiment.settings import (
    Experiment,
    Setting,
    Short,
    checked,
    given,
    preset,
)
from ccfs_lib.runtime.portable import settle

# The paper's three settings (Section 3.2), and CCFS on images distilled by MTT.
SETTINGS = ("selmatch", "two-shot", "reverse")
ARMS = SECTION3
# Where the window begins. "class": at beta x class size, which the papers describe and
# the released grids of beta assume; "released": at beta x IPC, as the code has it.
STARTS = ("class", "released")
# Settings of an experiment that take no part here.
IDLE = {"distillation", "distilled_from", "selected_from", "teacher_correct"}
IDLE |= {"coarse", "fine", "ties", "filter_loss", "evaluation_network"}
IDLE |= {"evaluation_teacher", "teacher_from", "normalisation"}
# How published or given scores were counted: by trainings that are not ours.
COUNTING = {"teacher", "teacher_network", "teacher_seed", "score_runs"}


@dataclass(frozen=True, config=STRICT)
class Motivation:
    """Everything that a run of Section 3 depends on."""

    # Data, IPC, alpha, difficulty, seeds, the network of filters and evaluations, and
    # the phases of CCFS. Its teacher and its recipes take no part.
    experiment: Experiment
    beta: Annotated[
        Fraction,
        Setting(
            "where the window begins in a class, 0 (at the hardest image) to 1",
            grid=True,
        ),
    ] = 0.8
    start: Annotated[
        Literal["class", "released"],
        Setting("beta is a fraction of the class, or of the IPC (released)"),
    ] = "class"
    matcher: Annotated[str, Setting("network of the experts and of inner steps")] = (
        "convnet"
    )
    experts: Annotated[Count, Setting("trajectories")] = 100
    expert: ExpertRecipe = EXPERTS["selmatch"]
    matching: Matching = Field(default_factory=Matching)
    # Of the evaluations, and of the models that filter.
    evaluation: Recipe = presets.EVALUATION

    def __post_init__(self):
        if self.matching.last_epoch > self.expert.epochs:
            raise InputError(
                f"max_start_epoch is {self.matching.max_start_epoch}, but with "
                f"{self.matching.expert_epochs} more epochs it must stay within the "
                f"experts' {self.expert.epochs}"
            )
        if not self.experiment.distilled:
            e = self.experiment
            raise InputError(
                f"alpha is {e.alpha:g}, but must leave at least one distilled image "
                f"per class: with ipc {e.ipc} take alpha from {1 / e.ipc:.3g} to 1"
            )

    @property
    def run(self) -> str:
        """The name under which results are filed: what differs from the preset."""
        e = self.experiment
        # Only the paper's cells have other settings for another IPC.
        ipc = {"ipc": e.ipc} if e.scale == "paper" else {}
        usual = motivation(e.dataset, e.scale, **ipc)
        return names.section3(e, self.hashed(), usual.hashed())

    def hashed(self) -> dict:
        """What can change a result, as plain values; none of what takes no part."""
        e = self.experiment
        idle = IDLE if e.score == "forgetting" else IDLE | COUNTING
        base = {k: v for k, v in e.hashed().items() if k not in idle}
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        del own["experiment"]
        # A results row calls the evaluation's recipe what all rows call it.
        own["recipe"] = own.pop("evaluation")
        own |= {name: asdict(own[name]) for name in ("expert", "matching", "recipe")}
        return base | own

    def passes(self, images: int, classes: int) -> dict[str, int]:
        """Images that go through a network, forward and back, by stage.

        images, classes: of the training split. Matching counts the inner steps once;
        their way back costs about three times as much on top.
        """
        e, m = self.experiment, self.matching
        whole = e.ipc * classes
        return {
            "all experts": self.experts * self.expert.epochs * images,
            "matching of one set": m.iterations
            * m.syn_steps
            * min(m.batch_syn or whole, whole),
            "one evaluation": self.evaluation.epochs * whole,
        }

    def table(self) -> list[tuple[str, str]]:
        """Every setting as (name, value), nested ones dotted, to print at the top."""
        rows = []
        for name, value in {"seeds": self.experiment.seeds, **self.hashed()}.items():
            nested = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(f"{name}.{k}".rstrip("."), str(v)) for k, v in nested]
        return rows


def motivation(dataset: str = "digits", scale: str = "", **changes) -> Motivation:
    """The preset of a data set and scale, with some fields changed.

    changes: fields of Motivation or of its Experiment, or of the nested recipes by the
    names of SHORT. scale: as for `experiment.preset`; "paper" is SelMatch's own cell.
    Raises InputError naming the first bad field, its value and what is allowed.
    """
    scale = scale or ("digits" if dataset == "digits" else "laptop")
    if scale == "paper":
        changes.setdefault("ipc", preset(dataset, scale).ipc)
    made = presets.matched(dataset, scale, changes.get("ipc"))
    changes = {k: v for k, v in changes.items() if v is not None}
    for name, (part, field, _) in SHORT.items():
        if name in changes:
            value = {field: changes.pop(name)}
            made[part] = checked(name, replace, made[part], **value)
    own = {f.name for f in fields(Motivation)}
    shared = {k: changes.pop(k, v) for k, v in made.items() if k not in own} | {
        k: v for k, v in changes.items() if k not in own
    }
    made = {k: v for k, v in made.items() if k in own}
    made |= {k: v for k, v in changes.items() if k in own}
    return checked("", Motivation, experiment=preset(dataset, scale, **shared), **made)


# Parameters of notebooks and commands that stand for one field of a recipe.
RECIPES = {"matching": Matching, "expert": ExpertRecipe, "evaluation": Recipe}
SHORT = {
    "iterations": Short("matching", "iterations", "of matching"),
    "syn_steps": Short("matching", "syn_steps", "inner steps of an iteration"),
    "max_start_epoch": Short(
        "matching", "max_start_epoch", "matching starts at an expert's epoch below this"
    ),
    "batch_syn": Short("matching", "batch_syn", "images of an inner step; 0 = all"),
    "lr_img": Short("matching", "lr_img", "learning rate of the images"),
    "expert_epochs": Short("expert", "epochs", "epochs of the experts"),
    "epochs": Short(
        "evaluation", "epochs", "of evaluations, and of the models that select"
    ),
}


def from_notebook(namespace: dict) -> Motivation:
    """Validate a notebook's parameters, as `experiment.from_notebook`; no torch yet."""
    known = {f.name for kind in (Motivation, Experiment) for f in fields(kind)}
    found = given(namespace, (known | set(SHORT)) - {"experiment"})
    made = motivation(**found)
    settle(made.experiment.portable)
    return made


def ladder(made: Motivation) -> list[Motivation]:
    """The same at half its IPC, at its own and at twice as much: Figure 2(a)."""
    found, ipc = [], made.experiment.ipc
    for n in (ipc // 2, ipc, 2 * ipc):
        try:
            found.append(replace(made, experiment=replace(made.experiment, ipc=n)))
        except ValueError:  # nothing left to distil, or no image more in a class
            continue
    return found


def windows(made: Motivation) -> list[Motivation]:
    """The same at other starting points of the window: Figure 2(b)."""
    betas = sorted({0.2, 0.4, 0.6, 0.8, made.beta})
    return [replace(made, beta=beta) for beta in betas]
