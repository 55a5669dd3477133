"""The findings of chapters 1 to 4: sentences whose words follow from the numbers.

Differences here are between two groups of images, and so Welch's and not paired: no
image of one belongs to an image of the other. Their intervals are over images, for the
one teacher or filter that was trained; another one may answer otherwise.
"""

from collections.abc import Sequence

import numpy as np

from ccfs_lib.claims.compare import FAILS, HOLDS, OPEN, verdict
from ccfs_lib.curriculum import PhaseRecord
from ccfs_lib.data import ImageSet
from ccfs_lib.report.difficulty import class_means, ties
from ccfs_lib.report.phase import undecided
from ccfs_lib.report.probe import Opinion
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    listed,
    percent,
    plain,
    share,
    signed,
    told,
)
from ccfs_lib.statistics import difference


def difficulty(values: np.ndarray, data: ImageSet, take: int) -> Text:
    """Chapter 1: ties, and whether the hardest class stands out.

    values: difficulty of each image of `data`, float (N,). take: real images per class
    in the final set. "Hardest" is chosen by the means that are then compared, so the
    verdict leans to "stands out" where many classes are nearly as hard.
    """
    labels = data.labels.numpy()
    # Distinct values against images: how much is left to the rule for ties.
    zeros, distinct = int((values == 0).sum()), len(np.unique(values))
    never = f"Never forgotten: {share(zeros, len(values))} of the images."
    return finding(
        f"The {len(values):,} scores take only {distinct:,} different values, so ties "
        "must be broken by an explicit rule; ours prefers the lower index.",
        never if zeros and values.min() == 0 else "",
        _cut(values, labels, take),
        _hardest(values, labels, data.classes),
    )


def _cut(values, labels, take: int) -> str:
    # What a strategy of "the simplest" would meet without a filter; alpha 1 takes none.
    middle = int(np.median(ties(values, labels, take))) if take else 1
    if middle == 1:  # in most classes the cut falls between two values
        return ""
    return (
        f"Taking the {take} easiest images of a class, as many as the set has real "
        f"ones, cuts through a tie of {middle} in the median class."
    )


def _hardest(values, labels, classes) -> str:
    means = class_means(values, labels)
    order = np.argsort(-means, kind="stable")
    first, second = (values[labels == c] for c in order[:2])
    d, names = difference(first, second), [classes[c] for c in order]
    stands = (
        f"harder than the next, {names[1]}, by {told(d, 'on average', 2)}"
        if verdict(d) == HOLDS
        else f"but too close to {names[1]} to call"
    )
    return (
        f"Hardest class: {names[0]} (mean {plain(means[order[0]], 2)}), {stands}. "
        f"Easiest: {names[-1]} ({plain(means[order[-1]], 2)})."
    )


def squeeze(stages, wrong: np.ndarray, values: np.ndarray) -> Text:
    """Chapter 2: how good the teacher is, and what its veto would cost.

    stages: the chapter's Pipeline. wrong: indices of the training images it gets wrong;
    values: difficulty, float (N,), of all training images.
    """
    teacher, total = stages.teacher, len(stages.train)
    gap = teacher.best - teacher.last
    # Below half of the digit that is printed there is nothing to report.
    best = (
        f"the best epoch would add {signed(gap)} points, but only the test split "
        "could point it out"
        if gap > 0.05
        else "no earlier epoch was better"
    )
    return finding(
        f"After its last epoch the teacher answers {percent(teacher.last)} of the test "
        f"images right; {best}.",
        f"It gets {share(len(wrong), total)} of its own training images wrong.",
        _veto(stages, wrong, values),
    )


def _veto(stages, wrong: np.ndarray, values: np.ndarray) -> str:
    used = "on" if stages.experiment.teacher_correct else "off"
    rule = f"The rule that keeps only teacher-correct candidates, {used} in this run,"
    if not len(wrong):
        return f"{rule} would exclude nothing."
    # Place in the order, 0 to 1, and not the score: scores have no common scale.
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = np.arange(len(values)) / len(values)
    middle = percent(100 * float(np.median(rank[wrong])))
    return (
        f"{rule} would exclude these; their median stands at {middle} of the "
        "difficulty order, where 0 is the easiest image and 100 the hardest."
    )


def recover(found: dict[str, Opinion], distances: dict[str, list[float]]) -> Text:
    """Chapter 3: what the teacher makes of recovered images, against real ones.

    found, distances: kind of image -> those of `probe.opinions`, `probe.distances`. The
    fair rival is the test split: training images were what made the teacher sure.
    """
    # Confidence and not agreement: the recovery's loss asks for the intended class, so
    # nearly all have it, and agreement near 100 % tells kinds of images apart badly.
    ours, real = found["recovered"], found["real, test"]
    d = difference(ours.confidence, real.confidence)
    surer = {
        HOLDS: "surer of recovered images than of unseen real ones",
        FAILS: "less sure of recovered images than of unseen real ones",
        OPEN: "not clearly surer or less sure of recovered than of unseen real images",
    }[verdict(d)]
    # As multiples of the training images', which the statistics were taken from: the
    # distance itself has no unit that two teachers share.
    far = {kind: float(np.mean(values)) for kind, values in distances.items()}
    return finding(
        f"The teacher is {surer}: its confidence in the intended class differs by "
        f"{told(d)}.",
        f"It names that class for {percent(100 * ours.right.mean())} of the "
        f"recovered and {percent(100 * real.right.mean())} of the test images.",
        "In batch-norm statistics, a batch of recovered images is "
        f"{far['recovered'] / far['real, training']:.1f} times as far from what the "
        "teacher remembers as a batch of training images; noise is "
        f"{far['noise'] / far['real, training']:.1f} times as far.",
    )


def phase(stages, records: Sequence[PhaseRecord]) -> Text:
    """Chapter 4: what the filter lacks, what it gets, and what moved since before.

    stages: the chapter's Pipeline; records: the phases so far, this one last.
    """
    now, e = records[-1], stages.experiment
    members = now.scores[now.candidates]
    middle = (
        f"The picked have a mean difficulty of {plain(now.difficulty.mean(), 2)}, all "
        f"candidates {plain(members.mean(), 2)}."
        if len(now.chosen)
        else "Nothing could be picked."
    )
    return finding(
        f"Trained on {count(now.synthetic, 'image')}, the filter of phase {now.phase} "
        f"of {e.curricula} gets {percent(now.train_accuracy)} of the training images "
        f"right; the coarse stage leaves {count(int(now.pool.sum()), 'candidate')}.",
        middle,
        _tied(stages, records),
        _short(stages, now),
        _since(stages, records) if len(records) > 1 else "",
    )


def _tied(stages, records: Sequence[PhaseRecord]) -> str:
    number = undecided(stages, records[-1])
    if not number:
        return ""
    return (
        f"For {share(number, len(records[-1].chosen))} of them the score decided "
        "nothing: equally hard candidates were left over, and the lower index won."
    )


def _short(stages, now: PhaseRecord) -> str:
    if not now.shortfall:
        return "Every class had candidates enough."
    names = [stages.train.classes[c] for c in now.shortfall]
    missing, wanted = sum(now.shortfall.values()), now.quota * stages.train.num_classes
    return (
        f"{count(len(names), 'class', 'classes')} ran short ({listed(names)}): "
        f"{missing:,} of the {wanted:,} images wanted {'is' if missing == 1 else 'are'}"
        " missing. Neither paper nor code refills a class."
    )


def _since(stages, records: Sequence[PhaseRecord]) -> str:
    """Figure 4's claims, from the phase before to this one; one seed, so a trend."""
    # Two of Figure 4's claims, (a) in numbers alone: one filter each, without a spread.
    before, now = records[-2:]
    filters = (
        f"Since phase {before.phase} the filter went from "
        f"{percent(before.filter.test_accuracy)} to "
        f"{percent(now.filter.test_accuracy)} of the test images (one seed)."
    )
    if stages.difficulty is None:
        return f"{filters} Logits of two filters have no common scale of difficulty."
    if not len(before.chosen) or not len(now.chosen):
        return filters
    # The picked of two phases are different images: Welch. That both bounds
    # rise is told in numbers only, since a minimum has no t interval.
    d = difference(now.difficulty, before.difficulty)
    low, high = (
        f"from {plain(f(before.difficulty), 2)} to {plain(f(now.difficulty), 2)}"
        for f in (np.min, np.max)
    )
    return (
        f"{filters} That this phase picked harder images than the one before: "
        f"**{verdict(d)}** ({told(d, 'in mean difficulty', 2)}; the lowest went {low}, "
        f"the highest {high})."
    )
