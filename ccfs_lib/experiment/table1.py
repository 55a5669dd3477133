"""Recipes of Table 1's rows at any scale, and what was published; no torch here.

`digits` and `laptop` take the scale's own numbers (`presets.MATCHED`, `condense`,
`cudd`); `paper` the published ones. Off the digits, a set takes as many iterations as
published, which a budget cuts. Work is compared with the published in every case.
"""

from dataclasses import replace
from math import ceil

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import presets
from ccfs_lib.experiment.datasets import SCORE_FILES
from ccfs_lib.experiment.matching import (
    EXPERTS,
    Matching,
    published,
    published_experts,
)
from ccfs_lib.experiment.recipes import BPS, LateRecipe, Recipe, rounded_down
from ccfs_lib.experiment.section3 import Motivation, motivation
from ccfs_lib.experiment.settings import Experiment, checked, preset

HELD = 0.1  # ours: of each class's training images, for Glister and the oracle's twin
EXPERT_COUNT = 100  # of all published buffers
# DATM's released cells at high IPC, for a cell that it has not: labels learn. Released
# cells skip a step above a loss of 1, where that of fewer inner steps begins.
DATM = {"labels": "soft", "lr_label": 10.0, "label_momentum": 0.9}


def forgetting(e: Experiment) -> Experiment:
    """Return the experiment whose score counts forgetting events, as published ones.

    A score file of the user's own stays: it says what is difficult in their images.
    """
    if e.score in ("logits", "published-cscore"):
        known = e.dataset in SCORE_FILES
        score = "published-forgetting" if known else "forgetting"
        return checked("", replace, e, score=score, ties="index")
    return e


def sre2l(e: Experiment) -> Experiment:
    """Return the experiment whose images SRe2L recovers."""
    return replace(e, distillation=presets.sre2l(e.dataset, e.distillation))


def glister(e: Experiment) -> Recipe:
    """Return the training before Glister's selection: a fifth of the teacher's epochs.

    DeepCore: 40 epochs for 200, a constant rate, no augmentation.
    """
    epochs = max(1, round(e.teacher.epochs / 5))
    constant = {"warmup_epochs": 0, "final_lr": 1.0, "tail": 0.0}
    plain = {"augment": "none", "flip": False}
    return replace(e.teacher, epochs=epochs, **constant, **plain)


def bps(e: Experiment) -> LateRecipe:
    """Return BPS's recipe with epochs, batches and views of the experiment's.

    Ours: digits take five times its rate, as CUDD's student does there; they have a few
    hundred steps.
    """
    names = "epochs batch_size batch_rule augment crop_scale pad flip precision tail"
    shared = {name: getattr(e.recipe, name) for name in names.split()}
    return replace(BPS, **shared, lr=5e-3 if e.scale == "digits" else BPS.lr)


def matching(e: Experiment, method: str) -> Motivation:
    """Return the run of a row by trajectory matching: "selmatch", "mtt" or "datm".

    MTT and DATM distil all images. Digits have iterations of their own, other images as
    many as published. Raises InputError at the paper's scale for a cell without
    published settings, and for a window or an alpha that cannot be.
    """
    run = _matching(e, method)
    if e.scale == "digits":
        return run
    count = published_work(e, method)[0].iterations
    return replace(run, matching=replace(run.matching, iterations=count))


def _matching(e: Experiment, method: str) -> Motivation:
    if method == "selmatch":
        alpha = presets.matched(e.dataset, e.scale, e.ipc)["alpha"]
        if not rounded_down(e.ipc * alpha):
            raise InputError(
                f"ipc is {e.ipc}, but with SelMatch's alpha of {alpha:g} that leaves "
                f"no distilled image: take ipc from {ceil(1 / alpha)}"
            )
        usual = motivation(e.dataset, e.scale, ipc=e.ipc, curricula=1)
        kept = {"alpha": usual.experiment.alpha, "score": _window_score(e)}
        return checked("", replace, usual, experiment=_one_phase(e, **kept))
    base = _one_phase(e, alpha=1.0)
    if e.scale == "paper":
        return _paper(base, method)
    usual = motivation(e.dataset, e.scale, ipc=e.ipc, alpha=1.0)
    recipe = usual.matching if method == "mtt" else _datm(e, usual.matching)
    return checked("", replace, usual, experiment=base, matching=recipe)


def judged(e: Experiment) -> Motivation:
    """Return a run with SelMatch's evaluation, which is known at every IPC.

    It distils nothing: of its matching, which may have no published settings, no
    evaluation depends.
    """
    if e.scale != "paper":
        return matching(e, "mtt")
    base = _one_phase(e, alpha=1.0)
    how = presets.evaluation(e.dataset, e.scale, e.ipc)
    return checked("", Motivation, experiment=base, evaluation=how)


def _one_phase(e: Experiment, **changes) -> Experiment:
    """Replace alpha and score; phases of CCFS take no part."""
    return checked("", replace, e, curricula=1, ties="index", **changes)


def windowed(e: Experiment) -> Motivation:
    """Return a run with the score that sorts SelMatch's windows, at every IPC."""
    run = judged(e)
    scored = _one_phase(e, alpha=1.0, score=_window_score(e))
    return checked("", replace, run, experiment=scored)


def _window_score(e: Experiment) -> str:
    """SelMatch's own score, unless the user brings or counts another one."""
    if not e.score.startswith("published"):
        return e.score
    return presets.window_score(e.dataset) or preset(e.dataset, e.scale).score


def _datm(e: Experiment, usual: Matching) -> Matching:
    """DATM on a scale's matching: soft labels, and starts in the later half."""
    try:
        init = published("datm", e.dataset, e.ipc).init
    except InputError:
        init = "correct"  # of four of its five cells
    late = usual.max_start_epoch // 2
    return replace(usual, **DATM, init=init, min_start_epoch=late)


def _paper(e: Experiment, method: str) -> Motivation:
    recipe, expert = published_cell(e, method)
    return checked(
        "",
        Motivation,
        experiment=e,
        matcher="convnet-in",
        experts=EXPERT_COUNT,
        expert=expert,
        matching=recipe,
        evaluation=presets.evaluation(e.dataset, e.scale, e.ipc),
    )


def published_cell(e: Experiment, method: str):
    """Return the published matching and expert recipes; InputError as `published`.

    MTT above IPC 50 has SelMatch's settings, whose own row of MTT it is.
    """
    try:
        return published(method, e.dataset, e.ipc), published_experts(
            method, e.dataset, e.ipc
        )
    except InputError:
        if method == "datm" or e.ipc <= 50:
            raise
        return published("selmatch", e.dataset, e.ipc), EXPERTS["selmatch"]


def published_work(e: Experiment, method: str) -> tuple[Matching, int]:
    """Return the matching and the epochs of an expert that a row's work is measured by.

    For a cell that is not public: SelMatch's numbers, which stand for all its cells, or
    DATM's (80 inner steps on batches of 1000, 10,000 iterations).
    """
    try:
        recipe, expert = published_cell(e, method)
        return recipe, expert.epochs
    except InputError:
        recipe = published("selmatch", e.dataset, e.ipc)
        if method == "datm":
            recipe = replace(recipe, syn_steps=80, batch_syn=1000)
        return recipe, EXPERTS["selmatch"].epochs


def as_published(e: Experiment) -> Experiment:
    """Return the experiment with the published epochs and iterations of its cell."""
    known = e.dataset.removesuffix("-jpeg") in presets.CLASS_SIZE
    theirs = presets.paper(e.dataset, e.ipc) if known else presets.PUBLISHED
    return replace(
        e,
        recipe=replace(e.recipe, epochs=theirs["recipe"].epochs),
        teacher=replace(e.teacher, epochs=theirs["teacher"].epochs),
        distillation=replace(
            e.distillation, iterations=theirs["distillation"].iterations
        ),
        score_runs=5,  # the published scores are multiples of 0.2
    )
