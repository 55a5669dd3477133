"""x"""


def difficulty(difficulty: np.ndarray, data: ImageSet, take: int):
    """Finding: ties, and whether the hardest class stands out. take: real per class."""
    labels = data.labels.numpy()
    zeros, values = int((difficulty == 0).sum()), len(np.unique(difficulty))
    means = class_means(difficulty, labels)
    order = np.argsort(-means, kind="stable")
    first, second = (difficulty[labels == c] for c in order[:2])
    d = difference(first, second)
    names = [data.classes[c] for c in order]
    unit = "units" if difficulty.min() < 0 else "events"
    clear = (
        f"harder than the next, {names[1]}, by {told(d, unit, 2)}"
        if verdict(d) == "holds"
        else f"but too close to the next, {names[1]}, to call"
    )
    return finding(
        f"{share(zeros, len(difficulty))} of the images were never forgotten."
        if zeros
        else "",
        f"The {len(difficulty):,} scores take only {values:,} different values, so ties "
        "must be broken by an explicit rule (ours: the lower index).",
        _cut(difficulty, labels, take),
        f"Hardest class: {names[0]} (mean {plain(means[order[0]], 2)}), {clear}; "
        f"easiest: {names[-1]} ({plain(means[order[-1]], 2)}).",
    )


def _cut(difficulty, labels, take: int) -> str:
    if not take:
        return ""
    middle = int(np.median(ties(difficulty, labels, take)))
    if middle == 1:
        return ""
    return (
        f"Taking the {take} easiest of a class, as many as the real part of the set, "
        f"cuts through a tie of {middle} images in the median class."
    )


def squeeze(stages, wrong: np.ndarray, difficulty: np.ndarray) -> Text:
    """Finding: how good the teacher is, and what its veto would cost."""
    teacher, total = stages.teacher, len(stages.train)
    gap = teacher.best - teacher.last
    return finding(
        f"The teacher answers {percent(teacher.last)} of the test images right after its "
        f"last epoch; the best epoch would look {signed(gap)} points better, but could "
        "be chosen only with the test split.",
        f"It gets {share(len(wrong), total)} of its own training images wrong; "
        + _veto(stages, wrong, difficulty),
    )


def _veto(stages, wrong: np.ndarray, difficulty: np.ndarray) -> str:
    if not len(wrong):
        return "a rule that keeps only teacher-correct images excludes nothing."
    used = "is used" if stages.experiment.teacher_correct else "is off"
    rank = np.argsort(np.argsort(difficulty, kind="stable")) / max(
        len(difficulty) - 1, 1
    )
    middle = percent(100 * float(np.median(rank[wrong])), 0)
    return (
        f"the rule that keeps only teacher-correct candidates ({used} in this run) "
        f"excludes them. The median of them is harder than {middle} of all images."
    )


def recover(found: dict[str, Opinion], distances: dict[str, list[float]]) -> Text:
    """Finding: whether the teacher is surer of recovered images than of real ones."""
    ours, real = found["recovered"], found["real, test"]
    d = difference(ours.confidence, real.confidence)
    surer = {
        "holds": "The teacher is surer of recovered images than of unseen real ones",
        "does not hold": "The teacher is less sure of recovered images than of unseen "
        "real ones",
    }.get(
        verdict(d),
        "Whether the teacher is surer of recovered or of unseen real "
        "images is too close to call",
    )
    means = {kind: float(np.mean(v)) for kind, v in distances.items()}
    ratio = means["recovered"] / means["real, training"]
    return finding(
        f"{surer}: {told(d)} of confidence in the intended class.",
        f"It names that class for {percent(100 * ours.right.mean())} of the recovered "
        f"and {percent(100 * real.right.mean())} of the test images.",
        f"In batch-norm statistics, a batch of recovered images is {ratio:.1f} times as "
        "far from what the teacher remembers as a batch of training images; noise is "
        f"{means['noise'] / means['real, training']:.0f} times as far.",
    )


def phase(stages, records: Records) -> Text:
    """Finding: what the filter lacks, what it gets, and how that moved since before."""
    now, e = records[-1], stages.experiment
    members = score(stages, now)[pool(stages, records)]
    middle = (
        f"The picked have a mean difficulty of {plain(now.difficulty.mean(), 2)}, all "
        f"candidates {plain(members.mean(), 2)}."
        if len(now.chosen)
        else "Nothing could be picked."
    )
    return finding(
        f"Trained on {count(now.synthetic, 'image')}, the filter of phase {now.phase} "
        f"of {e.curricula} gets {percent(now.train_accuracy)} of the training images "
        f"right, and {count(int(now.pool.sum()), 'candidate')} remain.",
        middle,
        _short(stages, now),
        _since(records) if len(records) > 1 else "",
    )


def _short(stages, now: PhaseRecord) -> str:
    if not now.shortfall:
        return "Every class had candidates enough."
    names = [stages.train.classes[c] for c in now.shortfall]
    missing = sum(now.shortfall.values())
    return (
        f"{count(len(names), 'class', 'classes')} ran short ({listed(names)}): "
        f"{count(missing, 'image')} of {now.quota * stages.train.num_classes:,} wanted "
        "are missing, and neither paper nor code refills them."
    )


def _since(records: Records) -> str:
    """Figure 4's claims, from the phase before to this one; one seed, so a trend."""
    before, now = records[-2:]
    filters = (
        f"Since phase {before.phase} the filter went from "
        f"{percent(before.filter.test_accuracy)} to {percent(now.filter.test_accuracy)} "
        "of the test images (one seed)."
    )
    if not len(before.chosen) or not len(now.chosen):
        return filters
    d = difference(now.difficulty, before.difficulty)
    bounds = [
        f"from {plain(a, 2)} to {plain(b, 2)}"
        for a, b in (
            (before.difficulty.min(), now.difficulty.min()),
            (before.difficulty.max(), now.difficulty.max()),
        )
    ]
    return (
        f"{filters} That each phase picks harder images than the one before: "
        f"**{verdict(d)}** ({told(d, 'in mean difficulty', 2)}; the lowest went "
        f"{bounds[0]}, the highest {bounds[1]})."
    )
