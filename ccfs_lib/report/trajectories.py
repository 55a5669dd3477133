"""Chapter 12, first half: experts, windows, and images before and after matching."""

from collections.abc import Sequence

import numpy as np

from ccfs_lib.arms import BY_NAME
from ccfs_lib.distill.pixels import outside
from ccfs_lib.experiment.matching import EXPERTS, published
from ccfs_lib.pipeline import Section3Pipeline
from ccfs_lib.report.gallery import Row, gallery, remark
from ccfs_lib.report.style import (
    PALETTE,
    canvas,
    drawn,
    legend,
    short,
    spread,
    whole_numbers,
)
from ccfs_lib.report.text import Text, count, stamped

CLASSES, EACH = 6, 3  # of the gallery


def stamp(stages: Section3Pipeline) -> Text:
    """Return the settings of the run: one line, and a table that opens."""
    motivation, e = stages.motivation, stages.experiment
    where = "GPU" if str(stages.device).startswith("cuda") else "CPU"
    words = [f"shrunk to {e.image_size} pixels"] * bool(e.image_size)
    words += [f"only the first {e.classes} classes"] * bool(e.classes)
    words += [f"IPC {e.ipc}", f"alpha {e.alpha:g}", f"beta {motivation.beta:g}"]
    words += [f"network {e.network}", f"{motivation.evaluation.epochs} epochs"]
    words += ["hard labels", count(e.seeds, "seed"), where]
    name = e.dataset.rstrip("/").rsplit("/", 1)[-1]
    line = f"**{name}**, {', '.join(words)}; scale: {e.scale}."
    return stamped(
        line, e.dataset, [r for r in motivation.table() if r[0] != "dataset"]
    )


def scale(stages: Section3Pipeline) -> Text:
    """Compare the size of this run with the published one, from both recipes."""
    motivation = stages.motivation
    theirs, m = published("selmatch", "cifar10", 250), motivation.matching
    expert = EXPERTS["selmatch"]
    ours = motivation.experts * motivation.expert.epochs
    total = motivation.experiment.ipc * stages.train.num_classes
    passes = m.iterations * m.syn_steps * min(m.batch_syn or total, total)
    full = theirs.iterations * theirs.syn_steps * theirs.batch_syn
    return Text(
        f"Experts: {motivation.experts} of {motivation.expert.epochs} epochs, "
        f"{motivation.matcher}; SelMatch has 100 of {expert.epochs} with a wider "
        f"network, {100 * expert.epochs / ours:,.0f} times the epochs. Matching: "
        f"{m.iterations:,} iterations of {m.syn_steps} inner steps; SelMatch: "
        f"{theirs.iterations:,} of {theirs.syn_steps}, {full / passes:,.0f} times the "
        "images. SelMatch keeps the iteration with the best test accuracy; here the "
        "last one is kept, since the test split chooses nothing."
    )


def pictures(stages: Section3Pipeline):
    """Draw SelMatch's window: its real part, its distilled part, and the result.

    Three images of each class at even steps of their part of the window, seed 0.
    """
    combined, match = stages.combined("selmatch", 0)
    train, rows = stages.train, []
    labels = train.labels.numpy()
    for c in spread(range(train.num_classes), CLASSES):
        real = combined.real[labels[combined.real] == c]
        places = np.flatnonzero(labels[combined.initial] == c)
        some = places[np.linspace(0, len(places) - 1, EACH).round().astype(int)]
        kept = real[np.linspace(0, len(real) - 1, EACH).round().astype(int)]
        begun, ended = (
            train.images[combined.initial[some]],
            combined.distilled.images[some],
        )
        blocks = [train.images[kept], begun, ended]
        rows.append(Row(short(train.classes[c]), blocks))
    lost = outside(match.pixels, stages.student(stages.motivation.matcher).normalize)
    text = remark(len(rows), train.num_classes, "in their order")
    cut = f"pictures cut {lost:.0f} % of the learned values to black or full brightness"
    text = "; ".join(filter(None, (text, cut)))
    return gallery(rows, ("real, harder", "easier", "distilled"), text)


@drawn
def losses(stages: Section3Pipeline, arms: Sequence[str] = ("selmatch", "reverse")):
    """Draw the matching loss of every iteration, and its running mean.

    Every iteration draws another expert and another epoch, so the loss jumps; that it
    falls is seen in the mean. Below 1 the synthetic images lead towards the expert.
    """
    figure, ax = canvas(2.8)
    for arm in map(BY_NAME.get, arms):
        ink = PALETTE[arm.colour]
        seeds = range(stages.experiment.seeds)
        every = np.array([stages.alone_or_beside(arm.name, s).losses for s in seeds])
        width = max(1, every.shape[1] // 10)
        x = np.arange(1, every.shape[1] + 1)
        ax.plot(x, every.T, ".", color=ink, ms=3, alpha=0.35)
        mean = np.convolve(every.mean(0), np.ones(width) / width, "valid")
        ax.plot(x[width // 2 :][: len(mean)], mean, color=ink, label=arm.title)
    ax.axhline(1, color=PALETTE["grey"], lw=1)
    ax.set(xlabel="iteration", ylabel="matching loss")
    whole_numbers(ax, "x")
    ax.grid(axis="y")
    legend(ax)
    return figure
