"""Where difficulty scores come from, and whether two of them agree (Section 5.4)."""

import numpy as np

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import SCORE_FILES
from ccfs_lib.report.text import Text, count
from ccfs_lib.runtime import plugins


def scores(stages) -> tuple[np.ndarray, Text]:
    """Return the difficulty of every training image, float (N,), and its source.

    stages: the chapter's Pipeline. For ``score="logits"``, which exists only inside a
    phase, forgetting stands in. Raises InputError where a published file is not there.
    """
    e = stages.experiment
    if e.score == "logits":
        other = "published-forgetting" if e.dataset in SCORE_FILES else "forgetting"
        stand_in = e.changed(score=other)
        values, source = scores(type(stages)(stand_in, stages.store, stages.device))
        first = "The score of this run, the filter's logits, exists in a phase only. "
        return values, Text(f"{first}Shown instead: {source}")
    return stages.difficulty, Text(_source(stages))


def _source(stages) -> str:
    """Say which file or which trainings the scores are from."""
    e = stages.experiment
    if e.score == "published-forgetting":
        return (
            "Forgetting events per image, in the files that SelMatch and CCFS publish; "
            "all are multiples of 0.2, so probably means of five trainings."
        )
    if e.score == "published-cscore":
        return (
            "C-scores as published by their authors, with the sign reversed: higher "
            "means harder, as everywhere in this book."
        )
    if plugins.named(e.score):
        return f"Scores by a function of the training images, `{e.score}`."
    if e.score != "forgetting":
        return f"Scores from a file, {e.score.rsplit('/', 1)[-1]}."
    # An image that was never learned cannot be forgotten, and would count as easy with
    # 0 events; the score puts it above all others of that training.
    runs = [stages.squeeze.run(seed).tensors for seed in stages.squeeze.seeds]
    never = sum(int((~run["learned"]).sum()) for run in runs)
    ending = (
        f"In {count(never, 'case')} an image was never learned by a training; it "
        "counts one event more than the most forgotten image of that training."
        if never
        else "Every image was learned at some epoch of "
        f"{'every' if e.score_runs > 1 else 'that'} training."
    )
    epochs = f"{e.teacher.epochs} epoch{'s' * (e.teacher.epochs != 1)}"
    averaged = " each, and averaged" * (e.score_runs > 1)
    return (
        f"Forgetting events per image, counted in {count(e.score_runs, 'training')} of "
        f"{e.teacher_network}, {epochs}{averaged}. {ending}"
    )


def agreement(stages) -> Text:
    """Say whether another score ranks the images alike: Spearman's correlation.

    stages: as for `scores`. Counted scores are compared between trainings, published
    ones with the C-score. Ranks, because selection uses nothing else of a score.
    """
    e = stages.experiment
    if e.score == "forgetting" and e.score_runs > 1:
        return _between_trainings(stages)
    values, _ = scores(stages)
    known = e.dataset in SCORE_FILES and e.score != "published-cscore"
    other = _cscore(stages) if known else None
    if other is None:
        return Text("There is no second score of these images to compare.")
    return Text(
        "Spearman's rank correlation with the C-score (sign reversed) over "
        f"{len(values):,} images: **{_spearman(values, other):.2f}**. A high "
        "value also confirms that the file belongs to these images in this order."
    )


def _between_trainings(stages) -> Text:
    seeds, runs = stages.squeeze.seeds, stages.experiment.score_runs
    events = [stages.squeeze.run(seed).tensors["events"].numpy() for seed in seeds]
    correlations = [
        _spearman(a, b) for i, a in enumerate(events) for b in events[i + 1 :]
    ]
    # One number where two trainings are compared, the range where there are more pairs.
    between = " to ".join(
        dict.fromkeys(f"{v:.2f}" for v in (min(correlations), max(correlations)))
    )
    return Text(
        "Spearman's rank correlation between the counts of two trainings: "
        f"**{between}**. Counts depend on the initial weights and the order of the "
        f"images, so {runs} are averaged."
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _cscore(stages) -> np.ndarray | None:
    other = stages.experiment.changed(score="published-cscore")
    try:
        return type(stages)(other, stages.store, stages.device).difficulty
    except InputError:  # no such file beside the data
        return None
