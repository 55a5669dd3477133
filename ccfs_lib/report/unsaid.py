"""Chapter 13: what the paper leaves open, and how many points each choice is worth.

A paper that does not say how it reports, breaks ties or fills a class has still done it
in some way. Each question here is that way against another one, all else equal: the
same teacher, images and seeds, so that only the choice can explain the difference.
"""

from dataclasses import replace

import pandas

from ccfs_lib import paper, results
from ccfs_lib.claims.compare import CCFS, OPEN, verdict
from ccfs_lib.experiment import CONTROLS, STRATEGIES, Experiment, presets
from ccfs_lib.report import ablation
from ccfs_lib.report.effects import Effect, effect, sentence, word
from ccfs_lib.report.text import (
    MINUS,
    Text,
    count,
    finding,
    interval,
    listed,
    percent,
    signed,
)
from ccfs_lib.runtime import paths

ARMS = (CCFS, *CONTROLS, "random-short")
WEAK = 10  # the weak teacher has this part of the epochs
READ = ("alpha", "recipe.batch_rule", "recipe.lr", "recipe.weight_decay")
# Settings in which the two sides of a question differ, and nothing else may.
APART = {
    "veto": ("teacher_correct",),
    "weak": ("teacher_correct",),
    "reading": READ,
    "filters": ("filter_loss",),
    "ties": ("ties",),
}
NAMED = {
    "epoch": f"best of the last epochs {MINUS} the last",
    "veto": f"teacher-correct only {MINUS} any candidate",
    "weak": f"teacher-correct only {MINUS} any, weak teacher",
    "reading": f"recipe: tables {MINUS} scripts",
    "filters": f"filters: by the teacher {MINUS} hard labels",
    "ties": f"ties: by index {MINUS} by lot",
    "short": f"random: as many as CCFS has {MINUS} all",
    "equal": f"CCFS {MINUS} as many random images",
    "control": f"CCFS {MINUS} random, same teacher",
    "whole": f"CCFS {MINUS} random without a teacher",
}
SUBJECTS = {
    "epoch": "Reporting CCFS's best of the last epochs in place of the last one",
    "veto": "Keeping only candidates that the teacher gets right",
    "weak": f"The same rule under a teacher of 1/{WEAK} of the epochs",
    "reading": "Training by the paper's tables in place of the released scripts",
    "filters": "Teaching the filters by the teacher in place of hard labels",
    "ties": "Taking ties in the order of their index in place of a lot",
    "short": "Leaving a random set as short as CCFS's own classes are",
    "equal": "Selecting by CCFS in place of drawing as many images by lot",
    "control": "Selecting by CCFS in place of drawing by lot, same teacher",
    "whole": "Selecting by CCFS with a teacher in place of a lot without one",
}
# Choices that the paper leaves open; the other three compare whole methods.
CHOICES = tuple(NAMED)[:7]


def questions(e: Experiment) -> dict[str, tuple[Experiment, Experiment]]:
    """Return both sides of every question that changes a setting, the authors' first.

    What cannot be asked of this experiment, such as ties of logits, is left out.
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
    result = {}
    for key, sides in asked.items():
        try:
            result[key] = tuple(replace(e, **change) for change in sides)
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
    rows = results.load(paths.results(), experiment.run)
    there = set(rows["cell"])
    return [arm for arm in (*STRATEGIES, *CONTROLS) if arm in there]


def effects(rows: pandas.DataFrame, measured: pandas.DataFrame, asked: dict):
    """Compute all effects by name of the question, in the order of NAMED.

    rows: of ARMS, from `arms.read`; measured: from `measure`.
    """

    def of_cell(table, cell):
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
        return finding("This question cannot be asked of this run.")
    return finding(*sentences)


def printed(experiment: Experiment) -> dict[str, float]:
    """Return the paper's headline for these data, name -> points; {} without one.

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
    name = f"printed: CCFS {MINUS} {rival}, {where}"
    return {name: claim["paper_difference"]}


def answer(effects: dict[str, Effect]) -> Text:
    """Return the finding: which choices move the accuracy, and by how much."""
    choices = [effects[key] for key in CHOICES if key in effects]
    moved = [e for e in choices if not e.none and verdict(e.difference) != OPEN]
    names = [f"{e.name} ({signed(e.difference.mean)})" for e in moved]
    widest = max(choices, key=lambda e: abs(e.difference.mean))
    # Were all of them nothing and independent, so often at least one would stand out.
    open_ = sum(not e.none for e in choices)
    chance = percent(100 * (1 - 0.95**open_), 0)
    control, whole = (effects[k].difference for k in ("control", "whole"))
    return finding(
        f"Of {count(len(choices), 'choice')} that the paper leaves open, {len(moved)} "
        f"move{'s' * (len(moved) == 1)} the accuracy beyond the spread of the seeds"
        + (f": {listed(names)}." if moved else "."),
        f"The widest is {widest.name}: {interval(widest.difference)} ({word(widest)}).",
        f"If none of this did anything, at least one of {open_} such intervals would "
        f"still exclude zero with a probability of {chance}.",
        f"The comparison that the paper makes, CCFS with a teacher against random "
        f"images without one, gives {interval(whole)}; with the same teacher on both "
        f"sides {interval(control)} are left.",
    )
