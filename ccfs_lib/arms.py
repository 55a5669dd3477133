"""Arms: what is compared, one row each; no torch here.

An arm is a final set and how a network learns from it. Six of them are the strategies
of Table 3, the first of these is CCFS; the others are controls. "random" is the control
that the paper lacks: random real images under the very same distillation.
"""

from dataclasses import dataclass
from typing import Literal

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import plugins

CCFS = "simple-misclassified"
# What an arm may change of the recipe by which its set is learnt.
AS_IT_IS = ()
HARD = (("loss", "hard"),)  # without the teacher
PLAIN = (("augment", "none"), ("flip", False))
REAL = ("random", "full")  # sets that have no distilled image, and need no filter


@dataclass(frozen=True)
class Arm:
    """A row of ARMS."""

    name: str
    title: str
    # "phases": the distilled images and what Algorithm 1 chose. "random": real images,
    # "short": of each class as few of them as CCFS filled. "selected": the distilled
    # images and those that a file lists. "section3": see `pipeline.section3`.
    set: Literal[
        "phases", "random", "short", "distilled", "selected", "full", "section3"
    ]
    strategy: tuple[str, str] | None = None  # (coarse, fine); None: the experiment's
    training: tuple = AS_IT_IS  # changes of the last training's recipe
    # "selmatch": the last training is SelMatch's of real images (`selmatch.DsaStep`).
    protocol: Literal["", "selmatch"] = ""
    # The user's own selection in place of the coarse and fine stage: module:function of
    # labels, predictions, scores, quota and excluded indices, which returns indices.
    rule: str = ""
    colour: str = "green"  # of the book's palette
    printed: str = ""  # the method of Table 1 that it is compared with
    # Where distilled images are: whether filters learn them (else selected images only,
    # and the first one nothing), and whether the set has them (else random real ones).
    in_filters: bool = True
    in_set: bool = True

    @property
    def in_part(self) -> bool:
        """Whether distilled images are left out of the filters, or of the set."""
        return not (self.in_filters and self.in_set)

    @property
    def needs_phases(self) -> bool:
        """Whether filters have to be trained for its set."""
        return self.set in ("phases", "short")

    @property
    def changes(self) -> dict:
        """Fields of the last training's recipe that this arm changes."""
        return dict(self.training)

    def distilled(self, experiment) -> int:
        """Distilled images per class that its set, or its filters, ask for."""
        if self.set == "distilled":
            return experiment.ipc
        # "short" counts what CCFS could fill, so CCFS is computed for it.
        asks = self.in_filters or self.in_set
        return experiment.distilled if asks and self.set not in REAL else 0


def _strategy(fine: str, coarse: str, title: str) -> Arm:
    colour = "blue" if (fine, coarse) == ("simple", "misclassified") else "green"
    return Arm(f"{fine}-{coarse}", title, "phases", (coarse, fine), colour=colour)


ARMS = (
    # Table 3: coarse stage x fine stage.
    _strategy("simple", "misclassified", "CCFS: simplest misclassified"),
    _strategy("random", "misclassified", "random misclassified"),
    _strategy("hard", "misclassified", "hardest misclassified"),
    _strategy("simple", "classified", "simplest classified"),
    _strategy("random", "classified", "random classified"),
    _strategy("hard", "classified", "hardest classified"),
    # Controls.
    Arm("random", "random real images", "random"),
    Arm(
        *("distilled", "distilled images only", "distilled"),
        colour="orange",
        printed="cda",
    ),
    Arm("ccfs-hard", "CCFS, hard labels", "phases", None, HARD, colour="sky"),
    Arm("random-hard", "random, hard labels", "random", None, HARD, printed="random"),
    # Measured where they are named: chapters 13 and 14.
    Arm("random-short", "random, as many as CCFS has", "short"),
    Arm("full-hard", "all images, hard labels", "full", None, HARD),
    Arm("distilled-hard", "distilled only, hard labels", "distilled", None, HARD),
    Arm("ccfs-plain", "CCFS, not augmented", "phases", None, PLAIN),
    Arm("random-plain", "random, not augmented", "random", None, PLAIN),
    Arm("distilled-plain", "distilled only, not augmented", "distilled", None, PLAIN),
    # Sets as large as CCFS's that tell its distilled images' two parts: chapter 17.
    Arm("ccfs-filters", "CCFS, distilled in filters only", "phases", in_set=False),
    Arm("ccfs-set", "CCFS, distilled in the set only", "phases", in_filters=False),
    Arm(
        *("ccfs-neither", "CCFS, distilled in neither", "phases"),
        in_filters=False,
        in_set=False,
    ),
    # The Random row of Table 1: SelMatch's protocol, at every IPC as many steps.
    Arm(
        *("random-selmatch", "random, SelMatch's training", "random"),
        protocol="selmatch",
        printed="random",
    ),
    # What `selected_from` lists.
    Arm("selected", "selected elsewhere", "selected"),
    Arm("selected-hard", "selected elsewhere, hard labels", "selected", None, HARD),
    # Section 3 and Table 10.
    Arm("selmatch", "SelMatch", "section3", colour="grey", printed="selmatch"),
    Arm("two-shot", "two-shot", "section3", colour="orange"),
    Arm("reverse", "reverse", "section3", colour="blue"),
    Arm("ccfs-mtt", "CCFS on MTT", "section3"),
)
RULE = ("labels", "predictions", "scores", "quota", "excluded")  # what a rule takes
BY_NAME = {arm.name: arm for arm in ARMS}
TITLES = {arm.name: arm.title for arm in ARMS}
SECTION3 = tuple(arm.name for arm in ARMS if arm.set == "section3")
STRATEGIES = tuple(
    f"{fine}-{coarse}"
    for coarse in ("misclassified", "classified")
    for fine in ("simple", "hard", "random")
)
CONTROLS = ("random", "distilled", "random-hard", "ccfs-hard")
FURTHER = tuple(
    name for name in BY_NAME if name not in (*STRATEGIES, *CONTROLS, *SECTION3)
)


def filed_as(name: str) -> str:
    """Return the name of an arm in results files: of a rule without its colon."""
    return name.replace(":", ".") if plugins.named(name) else name


def parse(name: str, experiment=None) -> Arm:
    """Find the arm of a name, or make one of a selection rule, ``module:function``.

    experiment: what is to be measured. Raises InputError for an unknown name, and for
    an arm that needs what the experiment does not have.
    """
    if plugins.named(name):
        plugins.check(name, "arm")
        return Arm(filed_as(name), name, "phases", rule=name)
    arm = BY_NAME.get(name)
    if arm is None or arm.set == "section3":
        known = ", ".join(STRATEGIES + CONTROLS + FURTHER)
        raise InputError(
            f"arm is {name!r}, but must be one of {known}, or module:function, your "
            "own selection rule"
        )
    if arm.in_part and experiment is not None and not experiment.distilled:
        raise InputError(
            f"arm is {name!r}, but alpha is {experiment.alpha:g}: without distilled "
            "images it is CCFS itself; take an alpha above 0"
        )
    if experiment is not None and arm.needs_phases:
        coarse = arm.strategy[0] if arm.strategy else experiment.coarse
        if coarse == "classified" and not (experiment.distilled and arm.in_filters):
            raise InputError(
                f"arm is {name!r}, but its first phase has no filter, as it learns no "
                f"distilled image (alpha {experiment.alpha:g}), and so no image that "
                "is classified correctly: name other arms, such as --arms "
                "simple-misclassified random"
            )
    lists = experiment is None or experiment.selected_from
    if arm.set == "selected" and not lists:
        raise InputError(
            f"arm is {name!r}, but selected_from is empty: it must name a "
            "selected_indices.json"
        )
    return arm
