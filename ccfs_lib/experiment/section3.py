"""Section 3 and Table 10 as data: SelMatch, its two variants, and CCFS on MTT's images.

What a run depends on, its presets and its name; `ccfs_lib.pipeline.section3` computes
it. As in SelMatch, filters and evaluations learn hard labels: there is no teacher here.
"""

from dataclasses import asdict, fields, replace
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.experiment.matching import EXPERTS, ExpertRecipe, Matching
from ccfs_lib.experiment.recipes import STRICT, Count, Fraction, Recipe
from ccfs_lib.experiment.settings import Experiment, checked, given, preset
from ccfs_lib.runtime.portable import settle
from ccfs_lib.store import key

# The paper's three settings (Section 3.2), and CCFS on images distilled by MTT.
SETTINGS = ("selmatch", "two-shot", "reverse")
ARMS = (*SETTINGS, "ccfs-mtt")
# Where the window begins. "class": at beta x class size, which the papers describe and
# the released grids of beta assume; "released": at beta x IPC, as the code has it.
STARTS = ("class", "released")
# Told in front of a run's name, or by the rows themselves.
NAMED = ("dataset", "classes", "image_size", "ipc", "alpha", "seeds")


@dataclass(frozen=True, config=STRICT)
class Motivation:
    """Everything that a run of Section 3 depends on."""

    # Data, IPC, alpha, difficulty, seeds, the network of filters and evaluations, and
    # the phases of CCFS. Its teacher and its recipes take no part.
    experiment: Experiment
    beta: Fraction = 0.8  # where the window begins, 0 = at the hardest
    start: Literal["class", "released"] = "class"
    matcher: str = "convnet"  # network of the experts, and of the inner steps
    experts: Count = 100  # trajectories
    expert: ExpertRecipe = EXPERTS["selmatch"]
    matching: Matching = Field(default_factory=Matching)
    evaluation: Recipe = (
        presets.EVALUATION
    )  # of the evaluations, and of the models that filter
    # What CCFS on MTT's images ranks by. "": by forgetting, as CCFS does everywhere,
    # also where SelMatch's window is cut by the C-score.
    ccfs_score: str = ""

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
        e, paper = self.experiment, self.experiment.scale == "paper"
        # Only the paper's cells have other settings for another IPC.
        usual = motivation(e.dataset, e.scale, **({"ipc": e.ipc} if paper else {}))
        own, same = self.hashed(), usual.hashed()
        other = {k: v for k, v in own.items() if same.get(k) != v and k not in NAMED}
        beta = other.pop("beta", None)
        parts = [e.dataset.rstrip("/").rsplit("/", 1)[-1]]
        parts += [f"c{e.classes}"] * bool(e.classes)
        parts += [f"{e.image_size}px"] * bool(e.image_size)
        parts += ["paper"] * paper
        parts += [f"ipc{e.ipc}", f"alpha{e.alpha:g}", "mtt"]
        parts += [f"beta{beta:g}"] if beta is not None else []
        return "-".join(parts + ([key(other)[:6]] if other else []))

    def hashed(self) -> dict:
        """What can change a result, as plain values; none of what takes no part."""
        e = self.experiment
        idle = {"distillation", "distilled_from", "teacher_correct"}
        idle |= {"coarse", "fine", "evaluation_network"}
        # Published, so no training of ours counted it.
        if "forgetting" not in (e.score, self.ranking):
            idle |= {"teacher", "teacher_network", "score_runs"}
        base = {k: v for k, v in e.hashed().items() if k not in idle}
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        del own["experiment"]
        # A results row calls the evaluation's recipe what all rows call it.
        own["recipe"] = own.pop("evaluation")
        own |= {name: asdict(own[name]) for name in ("expert", "matching", "recipe")}
        if not self.expert.zca:  # an option that came later
            del own["expert"]["zca"]
        if not self.ccfs_score:
            del own["ccfs_score"]
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
    for name, (part, field) in SHORT.items():
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
SHORT = {
    "iterations": ("matching", "iterations"),
    "syn_steps": ("matching", "syn_steps"),
    "max_start_epoch": ("matching", "max_start_epoch"),
    "batch_syn": ("matching", "batch_syn"),
    "lr_img": ("matching", "lr_img"),
    "expert_epochs": ("expert", "epochs"),
    "epochs": ("evaluation", "epochs"),
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
