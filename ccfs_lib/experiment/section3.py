"""Section 3 and Table 10 as data: SelMatch, its two variants, and CCFS on MTT's images.

What a run depends on, its presets and its name; `ccfs_lib.pipeline.section3` computes
it. As in SelMatch, filters and evaluations learn hard labels: there is no teacher here.
"""

import re
from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ccfs_lib.arms import SECTION3
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import names, presets
from ccfs_lib.experiment.checks import network
from ccfs_lib.experiment.matching import EXPERTS, ExpertRecipe, Matching
from ccfs_lib.experiment.notebook import check_parts, given, numbers
from ccfs_lib.experiment.recipes import (
    STRICT,
    Fraction,
    Recipe,
    least_alpha,
    no_booleans,
)
from ccfs_lib.experiment.settings import (
    Experiment,
    Setting,
    Short,
    checked,
    merged,
    preset,
)
from ccfs_lib.runtime.portable import settle

# The paper's three settings (Section 3.2), and CCFS on images distilled by MTT.
SETTINGS = ("selmatch", "two-shot", "reverse")
ARMS = SECTION3
# Where the window begins. "class": at beta x class size, which the papers describe and
# the released grids of beta assume; "released": at beta x IPC, as the code has it.
STARTS = ("class", "released")
# Settings of an experiment that a run of Section 3 does not depend on.
UNUSED = {"distillation", "distilled_from", "selected_from", "teacher_correct"}
UNUSED |= {"coarse", "fine", "ties", "filter_loss", "evaluation_network"}
UNUSED |= {"evaluation_teacher", "teacher_from", "normalisation"}
# Settings of counting trainings: none of them, where scores are read from files.
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
    experts: Annotated[int, Field(ge=1, le=10_000), Setting("trajectories")] = 100
    expert: ExpertRecipe = EXPERTS["selmatch"]
    matching: Matching = Field(default_factory=Matching)
    # Of the evaluations, and of the models that filter.
    evaluation: Recipe = presets.EVALUATION
    # "": by forgetting, as CCFS does everywhere, also where SelMatch's window is cut by
    # the C-score.
    ccfs_score: Annotated[
        str, Setting("what ccfs-mtt ranks by; default forgetting, as CCFS does")
    ] = ""

    _no_booleans = model_validator(mode="before")(no_booleans)

    def __post_init__(self):
        network(self.matcher, "matcher")
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
                f"per class: with ipc {e.ipc} take alpha from {least_alpha(e.ipc)} to 1"
            )
        if self.ccfs_score:
            self._check_ranking()

    def _check_ranking(self) -> None:
        try:
            checked("", replace, self.experiment, score=self.ccfs_score, ties="index")
        except InputError as error:
            raise InputError(f"ccfs_{error}") from None
        if self.ccfs_score == "logits":
            raise InputError(
                "ccfs_score is 'logits', but the filters of Section 3 rank by a score "
                "beforehand: take forgetting, a published score or a file"
            )

    @property
    def ranking(self) -> str:
        """The score that CCFS on MTT's images ranks by."""
        score = self.experiment.score
        forgetting = "published-forgetting" if score == "published-cscore" else score
        return self.ccfs_score or forgetting

    @property
    def run(self) -> str:
        """The name under which results are filed: what differs from the preset."""
        e = self.experiment
        # Only the paper's cells have other settings for another IPC.
        ipc = {"ipc": e.ipc} if e.scale == "paper" else {}
        usual = motivation(e.dataset, e.scale, **ipc)
        return names.section3(e, self.hashed(), usual.hashed())

    def hashed(self) -> dict:
        """Return what can change a result, as plain values."""
        e = self.experiment
        counted = "forgetting" in (e.score, self.ranking)
        unused = UNUSED if counted else UNUSED | COUNTING
        base = {k: v for k, v in e.hashed().items() if k not in unused}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        del values["experiment"]
        # Rows of results have the evaluation's recipe under one name in all runs.
        values["recipe"] = values.pop("evaluation")
        values |= {
            name: asdict(values[name]) for name in ("expert", "matching", "recipe")
        }
        if not self.expert.zca:  # an option that came later
            del values["expert"]["zca"]
        if not self.ccfs_score:
            del values["ccfs_score"]
        return base | values

    def table(self) -> list[tuple[str, str]]:
        """List every setting as (name, value), nested ones dotted, for the top."""
        shown = {"seeds": self.experiment.seeds, **self.hashed()}
        return [(name, str(value)) for name, value in names.dotted(shown).items()]


def motivation(dataset: str = "digits", scale: str = "", **changes) -> Motivation:
    """Return the preset of a data set and scale, with some fields changed.

    changes: fields of Motivation or of its Experiment, or of the nested recipes by the
    names of SHORTHANDS. scale: as for `experiment.preset`; "paper" is SelMatch's cell.
    Raises InputError naming the first bad field, its value and what is allowed.
    """
    scale = scale or ("digits" if dataset == "digits" else "laptop")
    if scale == "paper":
        changes.setdefault("ipc", preset(dataset, scale).ipc)
    usual = presets.matched(dataset, scale, changes.get("ipc"))
    changes = {k: v for k, v in changes.items() if v is not None}
    for part in RECIPES:
        if isinstance(changes.get(part), dict):
            usual[part] = merged(part, usual[part], changes.pop(part))
    for name, (part, field, _) in SHORTHANDS.items():
        if name in changes:
            value = {field: changes.pop(name)}
            usual[part] = checked(name, replace, usual[part], **value)
    known, values = {f.name for f in fields(Motivation)}, usual | changes
    shared = {k: v for k, v in values.items() if k not in known}
    own = {k: v for k, v in values.items() if k in known}
    experiment = _experiment(dataset, scale, shared)
    return checked("", Motivation, experiment=experiment, **own)


def _experiment(dataset: str, scale: str, shared: dict) -> Experiment:
    """Return the preset; what it says on alpha must not advise 0, which has no part."""
    try:
        return preset(dataset, scale, **shared)
    except InputError as error:
        told = _above_zero(error)
    raise InputError(told)


def _above_zero(error: Exception) -> str:
    """Say of the allowed alphas only those above 0."""
    return re.sub(r"take alpha 0(,)? (or )?", "take alpha ", str(error))


# Parameters of notebooks and commands that stand for one field of a recipe.
RECIPES = {"matching": Matching, "expert": ExpertRecipe, "evaluation": Recipe}
SHORTHANDS = {
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


# Chapter 12's own parameters: what it compares beside the run that is named.
COMPARED = ("ipcs", "betas")


def from_notebook(namespace: dict) -> Motivation:
    """Validate a notebook's parameters, as `experiment.from_notebook`; no torch yet."""
    known = {f.name for kind in (Motivation, Experiment) for f in fields(kind)}
    known |= {*SHORTHANDS, *COMPARED}
    values = given(namespace, known - {"experiment"})
    ipcs, betas = (values.pop(name, "") for name in COMPARED)
    needs = ("selected", "distilled")
    if values.get("ipc") == 1:  # no alpha splits one image
        phases = values.get("curricula", preset().curricula)
        check_parts(replace(preset(), ipc=1, alpha=1.0, curricula=phases), needs)
    run = motivation(**values)
    check_parts(run.experiment, needs)
    check_rounds(run)
    ladder(run, ipcs), windows(run, betas)
    settle(run.experiment.portable)
    return run


def check_rounds(run: Motivation) -> None:
    """Raise InputError where two rounds have one real image of a class to select."""
    e = run.experiment
    if e.real == 1:
        raise InputError(
            f"alpha is {e.alpha:g}, which with ipc {e.ipc} leaves one real image per "
            "class, but two-shot and reverse select in two rounds: take a smaller "
            "alpha or a larger ipc"
        )


def ladder(run: Motivation, ipcs: str = "") -> list[Motivation]:
    """List the run at several IPC: Figure 2(a).

    ipcs: with spaces between them; "": half the run's, its own and twice as many, where
    these can be made. The run's own is among them. Raises InputError for what is not.
    """
    e = run.experiment
    asked = numbers("ipcs", ipcs, int)
    usual = [] if asked else [n for n in (e.ipc // 2, 2 * e.ipc) if _possible(run, n)]
    sizes = sorted({*asked, *usual, e.ipc})
    return [_sized(run, n) for n in sizes]


def _sized(run: Motivation, ipc: int) -> Motivation:
    try:
        made = replace(run, experiment=run.experiment.changed(ipc=ipc))
        check_rounds(made)
        _ = made.run  # at the paper's scale only cells of SelMatch's have a name
        return made
    except ValueError as error:
        raise InputError(f"ipcs has {ipc}: {_above_zero(error)}") from None


def _possible(run: Motivation, ipc: int) -> bool:
    """Check that something is left to distil, and that a class has as many images."""
    try:
        return bool(_sized(run, ipc))
    except InputError:
        return False


def windows(run: Motivation, betas: str = "") -> list[Motivation]:
    """List the run at several starting points of the window: Figure 2(b).

    betas: with spaces between them; "": 0.2, 0.4, 0.6, 0.8. The run's own is among
    them. Raises InputError for what is no fraction.
    """
    starts = {run.beta, *(numbers("betas", betas) or (0.2, 0.4, 0.6, 0.8))}
    return [checked("betas", replace, run, beta=beta) for beta in sorted(starts)]
