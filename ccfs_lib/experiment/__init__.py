"""Settings as data; nothing here imports torch, so a bad value costs no second.

settings (Experiment, preset), recipes, matching and strengths (how is trained and
matched), presets (what each scale runs), datasets (what is known of them), checks
(what cannot be), names (of runs), notebook (its parameters), section3 (SelMatch and
its variants), table1 (recipes of its rows).
"""

from ccfs_lib.arms import CONTROLS, FURTHER, STRATEGIES
from ccfs_lib.experiment.datasets import (
    KNOWN,
    NORMALISATION,
    SCORE_FILES,
    SMALLEST_CLASS,
)
from ccfs_lib.experiment.matching import ExpertRecipe, Matching
from ccfs_lib.experiment.notebook import from_notebook
from ccfs_lib.experiment.recipes import (
    BPS,
    STRICT,
    Count,
    Distillation,
    LateRecipe,
    Positive,
    Recipe,
    essential,
)
from ccfs_lib.experiment.section3 import Motivation, motivation
from ccfs_lib.experiment.settings import (
    LATER,
    SCALES,
    SHORTHANDS,
    Experiment,
    checked,
    preset,
)
from ccfs_lib.experiment.strengths import Strengths

__all__ = [
    "BPS",
    "CONTROLS",
    "FURTHER",
    "KNOWN",
    "LATER",
    "NORMALISATION",
    "SCALES",
    "SCORE_FILES",
    "SHORTHANDS",
    "SMALLEST_CLASS",
    "STRATEGIES",
    "STRICT",
    "Count",
    "Distillation",
    "Experiment",
    "ExpertRecipe",
    "LateRecipe",
    "Matching",
    "Motivation",
    "Positive",
    "Recipe",
    "Strengths",
    "checked",
    "essential",
    "from_notebook",
    "motivation",
    "preset",
]
