"""Chapter 13: choices that the paper leaves open, and their effect on accuracy.

Which epoch is reported, how ties are broken and what happens to a short class is not in
the paper, but in its code. Each question compares the authors' setting with another one
on the same teacher, images and seeds, so that only the choice differs.
"""

from dataclasses import replace

import pandas

from ccfs_lib import paper
from ccfs_lib.claims.compare import CCFS, OPEN, verdict
from ccfs_lib.experiment import CONTROLS, STRATEGIES, Experiment, presets
from ccfs_lib.pipeline import measured_rows
from ccfs_lib.report import ablation
from ccfs_lib.report.effects import Effect, effect, sentence, word
from ccfs_lib.report.text import (
    MINUS,
    Text,
    count,
    few,
    finding,
    interval,
    listed,
    percent,
    signed,
)

ARMS = (CCFS, *CONTROLS, "random-short")
WEAK = 10  # the weak teacher has this part of the epochs
# The settings in which the two sides of a question differ; all others are equal.
APART = {
    "veto": ("teacher_correct",),
    "weak": ("teacher_correct",),
    "reading": ("alpha", "recipe.batch_rule", "recipe.lr", "recipe.weight_decay"),
    "filters": ("filter_loss",),
    "ties": ("ties",),
}
NAMED = {
    "epoch": f"best of the last epochs {MINUS} the last",
    "veto": f"teacher-correct only {MINUS} any candidate",
    "weak": f"teacher-correct only {MINUS} any, weak teacher",
    "reading": f"recipe: tables {MINUS} scripts",
    "filters": f"filters: soft labels {MINUS} hard labels",
    "ties": f"ties: by index {MINUS} at random",
    "short": f"random set: CCFS's class sizes {MINUS} full",
    "equal": f"CCFS {MINUS} random, equal class sizes",
    "control": f"CCFS {MINUS} random, same teacher",
    "whole": f"CCFS {MINUS} random without a teacher",
}
SUBJECTS = {
    "epoch": "Reporting the best of the last epochs of CCFS in place of the last one",
    "veto": "Keeping only candidates that the teacher classifies correctly",
    "weak": f"The same rule with a teacher trained for 1/{WEAK} of the epochs",
    "reading": "The recipe of the paper's tables in place of the released scripts'",
    "filters": "Training filters with soft labels in place of hard labels",
    "ties": "Breaking ties by index in place of at random",
    "short": "Shrinking the random set to CCFS's class sizes",
    "equal": "The set of CCFS in place of a random draw of equal class sizes",
    "control": "The set of CCFS in place of a random draw, same teacher",
    "whole": "CCFS with a teacher in place of a random draw with hard labels",
}
# Choices that the paper leaves open; the other three compare whole methods.
CHOICES = tuple(NAMED)[:7]


def questions(e: Experiment) -> dict[str, tuple[Experiment, Experiment]]:
    """Return both sides of every question that changes a setting, the authors' first.

    Questions that do not apply to this experiment, such as ties of logits or what
    filters learn from where there is none, are left out.
    """
    faint = replace(e.teacher, epochs=max(1, e.teacher.epochs // WEAK))
    asked = {
        "veto": ({"teacher_correct": True}, {"teacher_correct": False}),
        "weak": (
            {"teacher_correct": True, "teacher": faint},
            {"teacher_correct": False, "teacher": faint},
        ),
        "reading": readings(e),
        "filters": ({"filter_loss": "kd"}, {"filter_loss": "hard"}),
        "ties": ({"ties": "index"}, {"ties": "random"}),
    }
    if not e.distilled and e.curricula == 1:  # the only phase has no filter
        del asked["filters"]
    result = {}
    for key, sides in asked.items():
        try:
            result[key] = tuple(e.changed(**change) for change in sides)
        except ValueError:
            continue
    return result


def readings(e: Experiment) -> tuple[dict, dict]:
    """Return the recipe by the paper's tables, and by the released scripts.

    Where tables and scripts disagree, this run's learning rate and weight decay
    stand for the tables', and the scripts' are as many times those. A data set that the
    paper does not have is read as CIFAR-10.
    """
    name = e.dataset.removesuffix("-jpeg")
    name = name if name in presets.CLASS_SIZE else "cifar10"
    both = [presets.paper(name, e.ipc, reading) for reading in ("paper", "released")]
    tables, scripts = (cell["recipe"] for cell in both)
    factor = {k: getattr(scripts, k) / getattr(tables, k) for k in _SCALED}
    # Six digits: 0.1 times 2 has to be the 0.2 that a user would type.
    changed = {k: float(f"{getattr(e.recipe, k) * f:.6g}") for k, f in factor.items()}
    result = []
    for preset, change in ((both[0], {}), (both[1], changed)):
        if tables.batch_rule != scripts.batch_rule:
            change = {**change, "batch_rule": preset["recipe"].batch_rule}
        same = both[0]["alpha"] == both[1]["alpha"]
        alpha = e.alpha if same else preset["alpha"]
        result.append({"alpha": alpha, "recipe": replace(e.recipe, **change)})
    return tuple(result)


_SCALED = ("lr", "weight_decay")


def measure(stages, asked: dict) -> pandas.DataFrame:
    """Measure CCFS on both sides of all questions; rows whose `cell` is the run's name.

    asked: those of `questions`. What several sides share is computed once.
    """
    runs = {e.run: e for pair in asked.values() for e in pair}
    return ablation.measure(stages, [ablation.Variant(*item) for item in runs.items()])


def arms(experiment: Experiment) -> list[str]:
    """List the arms of chapter 5 and the six strategies, if results hold them."""
    rows = measured_rows(experiment)
    there = set(rows["cell"])
    return [arm for arm in (*STRATEGIES, *CONTROLS) if arm in there]


def effects(rows: pandas.DataFrame, measured: pandas.DataFrame, asked: dict):
    """Compute all effects by name of the question, in the order of NAMED.

    rows: of ARMS, from `arms.read`; measured: from `measure`.
    """

    def of_cell(table, cell):
        """Select the rows of one cell."""
        return table[table["cell"] == cell]

    ccfs, random, short = (
        of_cell(rows, arm) for arm in (CCFS, "random", "random-short")
    )
    pairs = {
        "epoch": (ccfs.assign(last=ccfs["best"]), ccfs),
        "short": (short, random),
        "equal": (ccfs, short),
        "control": (ccfs, random),
        "whole": (ccfs, of_cell(rows, "random-hard")),
    }
    pairs |= {
        key: [of_cell(measured, e.run) for e in two] for key, two in asked.items()
    }
    return {
        key: effect(NAMED[key], SUBJECTS[key], *pairs[key], APART.get(key, ()))
        for key in NAMED
        if key in pairs
    }


def said(effects: dict[str, Effect], *keys: str) -> Text:
    """Return the finding: a sentence for each of these questions, the first the answer.

    Questions that could not be asked of this run are left out.
    """
    sentences = [sentence(effects[key]) for key in keys if key in effects]
    if not sentences:
        return finding("This question does not apply to this run.")
    return finding(*sentences)


def printed(experiment: Experiment) -> dict[str, float]:
    """Return the paper's main claim for these data, name -> points; {} without one.

    That of other data would be a point of another experiment on the same axis.
    """
    claims, name = paper.claims(), experiment.printed_as.removesuffix("-jpeg")
    here = claims[claims["id"] == f"sota-{name}"]
    if here.empty:
        return {}
    claim = here.iloc[0]
    rival, place = claim["right"].split("@")
    rival = {"selmatch": "SelMatch", "cudd": "CUDD"}.get(rival, rival)
    where = ", IPC ".join(place.rsplit("-", 1))
    name = f"paper: CCFS {MINUS} {rival}, {where}"
    return {name: claim["paper_difference"]}


def answer(effects: dict[str, Effect]) -> Text:
    """Return the finding: which choices move the accuracy, and by how much."""
    choices = [effects[key] for key in CHOICES if key in effects]
    tested = [e for e in choices if not few(e.difference)]
    moved = [e for e in choices if not e.none and verdict(e.difference) != OPEN]
    widest = max(choices, key=lambda e: abs(e.difference.mean))
    # The chance of at least one false positive among independent tests.
    open_ = sum(not e.none for e in tested)
    chance = percent(100 * (1 - 0.95**open_), 0)
    control, whole = (effects[k].difference for k in ("control", "whole"))
    return finding(
        f"Of {count(len(choices), 'choice')} that the paper leaves open, "
        f"{_effects(moved) if tested else _undecided(choices)}.",
        f"The largest effect is {widest.name}: {interval(widest.difference)} "
        f"({word(widest)}).",
        f"If no choice had any effect and the {open_} intervals were independent, at "
        f"least one would still exclude zero with a probability of {chance}; most of "
        "them share CCFS's own rows."
        if tested
        else "",
        f"The paper's comparison, CCFS with a teacher against random images with hard "
        f"labels, gives {interval(whole)}; the same teacher on both sides gives "
        f"{interval(control)}.",
    )


def _effects(moved: list[Effect]) -> str:
    verb = "1 has" if len(moved) == 1 else f"{len(moved) or 'none'} have"
    names = [f"{e.name} ({signed(e.difference.mean)})" for e in moved]
    which = f": {listed(names)}" if names else ""
    return f"{verb} an effect on accuracy whose interval excludes zero{which}"


def _undecided(choices: list[Effect]) -> str:
    seeds = count(max(e.difference.n_a for e in choices), "seed")
    return f"none is tested: so few seeds ({seeds}) have no interval"
