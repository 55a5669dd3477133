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
from ccfs_lib.report.phase import NO_FILTER, undecided
from ccfs_lib.report.probe import MOST, Opinion
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    interval,
    listed,
    percent,
    plain,
    share,
    signed,
)
from ccfs_lib.statistics import difference

BROKEN = {"index": "by the lower index", "random": "at random, anew for every seed"}


def difficulty(
    values: np.ndarray, data: ImageSet, take: int, broken: str = "index"
) -> Text:
    """Return the finding of chapter 1: ties, and whether the hardest class stands out.

    values: difficulty of each image of `data`, float (N,). take: real images per class
    in the final set. broken: how ties are, a key of BROKEN. "Hardest" is chosen by the
    means that are then compared, so the verdict leans to "stands out" where many
    classes are nearly as hard.
    """
    labels = data.labels.numpy()
    # Few distinct values among many images leave much to the rule for ties.
    zeros, distinct = int((values == 0).sum()), len(np.unique(values))
    never = f"Never forgotten: {share(zeros, len(values))} of the images."
    return finding(
        f"The {len(values):,} scores take only {distinct:,} different values, so many "
        f"images are tied; ties are broken {BROKEN[broken]}.",
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
        f"The {take} easiest images of a class, as many as the final set has real "
        f"ones, end within a tie of {middle} images in the median class."
    )


def _hardest(values, labels, classes) -> str:
    means = class_means(values, labels)
    order = np.argsort(-means, kind="stable")
    first, second = (values[labels == c] for c in order[:2])
    d, names = difference(first, second), [classes[c] for c in order]
    stands = (
        f"harder than the next, {names[1]}, by {interval(d, 'on average', 2)}"
        if verdict(d) == HOLDS
        else f"too close to the next, {names[1]}, to call"
    )
    return (
        f"Hardest class: {names[0]} (mean {plain(means[order[0]], 2)}), {stands}. "
        f"Easiest: {names[-1]} ({plain(means[order[-1]], 2)})."
    )


def squeeze(stages, wrong: np.ndarray, values: np.ndarray) -> Text:
    """Return the finding of chapter 2: the teacher, and what its filter would exclude.

    stages: the chapter's Pipeline. wrong: indices of the training images it gets wrong;
    values: difficulty, float (N,), of all training images.
    """
    teacher, total = stages.teacher, len(stages.train)
    gap = teacher.best - teacher.last
    # Below half of the digit that is printed there is nothing to report.
    best = (
        f"the best epoch is {signed(gap)} points higher, but only the test split "
        "identifies it"
        if gap > 0.05
        else _no_better(stages.squeeze.run().meta)
    )
    return finding(
        f"The teacher's test accuracy after the last epoch is {percent(teacher.last)}; "
        f"{best}.",
        f"It misclassifies {share(len(wrong), total)} of its own training images.",
        _veto(stages, wrong, values),
    )


def _no_better(meta: dict) -> str:
    """Say which epochs of a training were tested, where none is above the last."""
    tested = [int(epoch) + 1 for epoch in meta["curve"]]
    if len(tested) == 1:
        return "no other epoch was tested"
    return f"none of the tested epochs, {min(tested)} to {max(tested)}, was better"


def _veto(stages, wrong: np.ndarray, values: np.ndarray) -> str:
    used = "on" if stages.experiment.teacher_correct else "off"
    rule = f"The rule that keeps only teacher-correct candidates ({used} in this run)"
    if not len(wrong):
        return f"{rule} would exclude nothing."
    # Place in the order, 0 to 1, and not the score: scores have no common scale.
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = np.arange(len(values)) / len(values)
    middle = percent(100 * float(np.median(rank[wrong])))
    these = "this one; its rank" if len(wrong) == 1 else "these; their median rank"
    return (
        f"{rule} would exclude {these} is at {middle} of the "
        "difficulty order, where 0 is the easiest image and 100 the hardest."
    )


def recover(opinions: dict[str, Opinion], distances: dict[str, list[float]]) -> Text:
    """Return the finding of chapter 3: how the teacher sees recovered and real images.

    opinions, distances: kind of image -> those of `probe.opinions`, `probe.distances`.
    The fair rival is the test split: the teacher was trained to be sure of training
    images.
    """
    # Confidence and not agreement: the recovery's loss asks for the intended class, so
    # nearly all have it, and agreement near 100 % tells kinds of images apart badly.
    ours, real = opinions["recovered"], opinions["real, test"]
    d = difference(ours.confidence, real.confidence)
    surer = {
        HOLDS: "more confident on recovered images than on unseen real ones",
        FAILS: "less confident on recovered images than on unseen real ones",
        OPEN: "about as confident on recovered as on unseen real images (too close to "
        "call)",
    }[verdict(d)]
    # As multiples of the training images', which the statistics were taken from: the
    # distance itself has no unit that two teachers share.
    far = {kind: float(np.mean(values)) for kind, values in distances.items()}
    counts = {k: count(len(v), "batch", "batches") for k, v in distances.items()}
    return finding(
        f"The teacher is {surer}: its confidence in the intended class differs by "
        f"{interval(d)}.",
        f"It predicts that class for {percent(100 * ours.right.mean())} of "
        f"{_asked(ours)} recovered and {percent(100 * real.right.mean())} of "
        f"{_asked(real)} test images.",
        "The batch-norm distance of recovered images is "
        f"{far['recovered'] / far['real, training']:.1f} times that of training "
        f"images, that of noise {far['noise'] / far['real, training']:.1f} times: "
        f"ratios of means over {counts['recovered']} and {counts['real, training']}, "
        "without an interval.",
    )


def _asked(o: Opinion) -> str:
    """Say how many images the teacher was asked for: all of a kind, or a sample."""
    return f"{'a sample of ' * (len(o.right) == MOST)}{len(o.right):,}"


def phase(stages, records: Sequence[PhaseRecord]) -> Text:
    """Return the finding of chapter 4: candidates, selected images, shortfall, change.

    stages: the chapter's Pipeline; records: the phases so far, this one last.
    """
    now, e = records[-1], stages.experiment
    members = now.scores[now.candidates]
    middle = (
        f"The selected images have a mean difficulty of "
        f"{plain(now.difficulty.mean(), 2)}, all candidates {plain(members.mean(), 2)}."
        if len(now.chosen)
        else "No image was selected."
    )
    trained = (
        f"Trained on {count(now.synthetic, 'image')}, the filter of phase {now.phase} "
        f"of {e.curricula} classifies {percent(now.train_accuracy)} of the training "
        "images correctly"
        if now.has_filter
        else NO_FILTER.removesuffix(".")
    )
    return finding(
        f"{trained}; the coarse stage keeps {count(int(now.pool.sum()), 'candidate')}.",
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
        f"For {share(number, len(records[-1].chosen))} of the selected images the "
        "index broke a tie with candidates of equal difficulty that were not selected."
    )


def _short(stages, now: PhaseRecord) -> str:
    if not now.shortfall:
        return "Every class had enough candidates."
    names = [stages.train.classes[c] for c in now.shortfall]
    missing, wanted = sum(now.shortfall.values()), now.quota * stages.train.num_classes
    return (
        f"{count(len(names), 'class has', 'classes have')} a shortfall "
        f"({listed(names)}): {missing:,} of {wanted:,} images are missing. Neither the "
        "paper nor its code refills a class."
    )


def _since(stages, records: Sequence[PhaseRecord]) -> str:
    """Test Figure 4's claims from the phase before to this one; one seed: a trend."""
    # Two of Figure 4's claims, (a) in numbers alone: one filter each, without a spread.
    before, now = records[-2:]
    filters = (
        f"Phase {before.phase} had no filter, so there is no accuracy to compare with."
        if not before.has_filter
        else f"From phase {before.phase} to {now.phase} the filter's test accuracy "
        f"changed from {percent(before.filter.test_accuracy)} to "
        f"{percent(now.filter.test_accuracy)} (one seed)."
    )
    if stages.difficulty is None:
        return f"{filters} Logits of two filters have no common scale."
    if not len(before.chosen) or not len(now.chosen):
        return filters
    # The picked of two phases are different images: Welch. That both bounds
    # rise is given in numbers only, since a minimum has no t interval.
    d = difference(now.difficulty, before.difficulty)
    low, high = (
        _moved(f(before.difficulty), f(now.difficulty)) for f in (np.min, np.max)
    )
    return (
        f"{filters} This phase selected harder images than the one before: "
        f"**{verdict(d)}** ({interval(d, 'in mean difficulty', 2)}; the lowest "
        f"difficulty {low}, the highest {high})."
    )


def _moved(before: float, now: float) -> str:
    """Say from where to where a number changed, or where it stayed."""
    first, last = plain(before, 2), plain(now, 2)
    return f"stayed {first}" if first == last else f"changed from {first} to {last}"
