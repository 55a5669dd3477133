"""Chapter 2: the teacher, trained on all images, and what it misclassifies.

Images are recovered from it, every later training uses its soft labels, and the
authors' code keeps only candidates that it classifies correctly. The paper does not
list its training as a step; SRe2L calls it "squeeze".
"""

import numpy as np

from ccfs_lib import networks, paper
from ccfs_lib.report.gallery import COLUMNS, Row, gallery
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend, short, whole_numbers
from ccfs_lib.report.text import Text, percent, table


def facts(stages) -> Text:
    """Tabulate size, cost and accuracies of the teacher, and the paper's, if any.

    stages: the chapter's Pipeline. The paper's is the row "Full Dataset" of Table 1.
    """
    e, teacher = stages.experiment, stages.teacher
    cost = networks.count(teacher.network.cpu(), stages.train.image_size)
    rows = [
        ("network", f"`{e.teacher_network}`"),
        ("parameters", f"{cost.parameters:,}"),
        ("multiply-adds for one image", f"{cost.macs / 1e6:,.2f} million"),
        ("epochs", e.teacher.epochs),
        ("training accuracy", percent(teacher.train_accuracy, 2)),
        # The last epoch's weights are used; the best is for comparison with papers
        # that report it.
        ("test accuracy, last epoch", percent(teacher.last, 2)),
        ("test accuracy, best epoch", percent(teacher.best, 2)),
    ]
    if (value := paper.full(e.printed_as)) is not None:
        rows.append(("paper's teacher, a ResNet-18 (Table 1)", percent(value)))
    return table("The teacher. The last epoch's weights are used.", ("", ""), rows)


@drawn
def curve(meta: dict):
    """Draw the training loss of every epoch, and test accuracy where measured.

    meta: losses, curve (0-based epoch -> percent), last and best of a training. The
    shaded part is where test accuracy was measured: a maximum over several epochs is
    above the last one by chance alone.
    """
    figure, (top, low) = canvas(4.2, 2, sharex=True)
    losses, tested = meta["losses"], {int(k): v for k, v in meta["curve"].items()}
    top.plot(range(1, len(losses) + 1), losses, color=PALETTE["blue"])
    # The loss from 0, the accuracy below not: its late epochs would be a flat line.
    top.set(ylabel="training loss", ylim=(0, None))
    epochs = [epoch + 1 for epoch in tested]
    low.plot(epochs, list(tested.values()), "o-", color=PALETTE["green"], ms=4, lw=1.2)
    _ring(low, epochs, list(tested.values()), meta["best"])
    low.plot(epochs[-1:], [meta["last"]], "o", color=PALETTE["blue"], ms=9)
    # Empty plots for the legend, in the order in which they should be read.
    low.plot([], [], "o", color=PALETTE["blue"], ms=9, label="last, used")
    low.plot([], [], "o", **RING, label="best, chosen by the test split")
    low.set(xlabel="epoch", ylabel="test accuracy (%)")
    low.margins(y=0.25)  # room for the ring, which is larger than its point
    low.axvspan(epochs[0] - 0.5, epochs[-1] + 0.5, color=PALETTE["light"], alpha=0.5)
    low.set_xlim(0.5, len(losses) + 0.5)
    legend(low)
    whole_numbers(low, "x")
    for ax in (top, low):
        ax.grid(axis="y")
    return figure


RING = {"mfc": "none", "mec": PALETTE["orange"], "mew": 2, "ms": 13}


def _ring(ax, epochs, values, best) -> None:
    """Draw an open circle around the best epoch, the first of equals."""
    first = next((e for e, v in zip(epochs, values, strict=True) if v == best), None)
    if first is not None:
        ax.plot([first], [best], "o", **RING)


def mistakes(stages) -> np.ndarray:
    """List indices of the training images the teacher gets wrong, int64, ascending."""
    return np.flatnonzero(stages.teacher.predictions != stages.train.labels.numpy())


def by_tenth(difficulty: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Compute the percent of each difficulty tenth that is in `wrong`; float (10,).

    difficulty: float (N,); wrong: indices. Tenths of the images, not of the scale: on a
    scale of counts most bins would be empty. Ties by index, as in the selection.
    """
    marks = np.zeros(len(difficulty))
    marks[wrong] = 1
    order = np.argsort(difficulty, kind="stable")
    return np.array([100 * part.mean() for part in np.array_split(marks[order], 10)])


@drawn
def excluded(difficulty: np.ndarray, wrong: np.ndarray):
    """Draw which part of each tenth of the images the teacher-correct rule excludes.

    Arguments as for `by_tenth`. The rule is in the authors' code and not in the paper;
    if the bars rise to the right, it excludes candidates of "hardest" strategies and
    hardly any of "simplest" ones.
    """
    values = by_tenth(difficulty, wrong)
    figure, ax = canvas(2.7)
    ax.bar(range(1, 11), values, 0.85, color=PALETTE["orange"])
    for x, value in enumerate(values, 1):
        if value:  # a zero over an empty place says nothing new
            text = f"{value:.1f}" if value < 10 else f"{value:.0f}"
            style = {"xytext": (0, 2), "textcoords": "offset points", "fontsize": 9.5}
            ax.annotate(text, (x, value), ha="center", va="bottom", **style)
    ax.set(xlabel="tenth of the images, easiest first", ylabel="misclassified (%)")
    ax.set(xticks=range(1, 11), ylim=(0, max(1, 1.15 * values.max())))
    return figure


def wrong_gallery(stages, wrong: np.ndarray, difficulty: np.ndarray):
    """Draw images that the teacher gets wrong, hardest first, with its answers.

    wrong: indices, from `mistakes`; difficulty: float (N,). The eight classes with most
    mistakes: a reader can judge whether the prediction or the label is wrong.
    """
    train, labels = stages.train, stages.train.labels.numpy()
    if not len(wrong):
        return Text("The teacher classifies every training image correctly.")
    hard = wrong[np.argsort(-difficulty[wrong], kind="stable")]
    # The eight classes with most mistakes.
    per_class = np.bincount(labels[wrong], minlength=train.num_classes)
    rows = []
    for c in np.argsort(-per_class, kind="stable")[:8]:
        some = hard[labels[hard] == c][:COLUMNS]
        answers = [
            short(train.classes[p], 10) for p in stages.teacher.predictions[some]
        ]
        if len(some):
            rows.append(Row(short(train.classes[c]), (train.images[some],), (answers,)))
    left = sum(per_class > 0) - len(rows)
    remark = f"The {len(rows)} classes with most mistakes" if left else ""
    return gallery(rows, remark=remark)
