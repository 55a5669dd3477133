"""Where difficulty scores come from, and whether two of them agree (Section 5.4)."""

from dataclasses import replace

import numpy as np

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import SCORE_FILES
from ccfs_lib.report.text import Text, count


def scores(stages) -> tuple[np.ndarray, Text]:
    """The difficulty of every training image, float (N,), and where it comes from.

    For ``score="logits"``, which exists only inside a phase, forgetting stands in.
    """
    e = stages.experiment
    if e.score == "logits":
        published = e.dataset in SCORE_FILES
        other = "published-forgetting" if published else "forgetting"
        stand_in = replace(e, score=other)
        values, source = scores(type(stages)(stand_in, stages.store, stages.device))
        first = "The score of this run, the filter's logits, exists only in a phase. "
        return values, Text(f"{first}Shown instead: {source}")
    return stages.difficulty, Text(_source(stages))


def _source(stages) -> str:
    e = stages.experiment
    if e.score == "published-forgetting":
        return (
            "Forgetting events per image, the mean of five trainings, as published with "
            "SelMatch and used by CCFS: we count nothing ourselves."
        )
    if e.score == "published-cscore":
        return (
            "C-scores as published by their authors, with the sign turned: here, as "
            "everywhere in this book, higher means harder."
        )
    if e.score != "forgetting":
        return f"Scores from a file of yours, {e.score.rsplit('/', 1)[-1]}."
    runs = [stages.squeeze(seed).tensors for seed in range(e.score_runs)]
    never = sum(
        int((~run["learned"]).any() and (~run["learned"]).sum()) for run in runs
    )
    ending = (
        "Every image was learned at some time."
        if not never
        else f"{count(never, 'time')} an image was never learned; it then counts one "
        "event more than the most forgotten."
    )
    return (
        f"Forgetting events per image, counted in {count(e.score_runs, 'training')} of "
        f"{e.teacher_network} for {e.teacher.epochs} epochs each, and averaged. {ending}"
    )


def agreement(stages) -> Text:
    """Whether another measurement ranks the images alike: Spearman's correlation.

    Counted scores are compared between trainings, published ones with the C-score.
    """
    from scipy.stats import spearmanr

    e = stages.experiment
    if e.score == "forgetting" and e.score_runs > 1:
        runs = [
            stages.squeeze(s).tensors["events"].numpy() for s in range(e.score_runs)
        ]
        pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
        found = np.array([spearmanr(a, b).statistic for a, b in pairs])
        low, high = found.min(), found.max()
        between = f"{low:.2f}" if len(found) == 1 else f"{low:.2f} to {high:.2f}"
        return Text(
            f"Spearman's rank correlation between two trainings: {between}. One training "
            "alone is a noisy judge of an image; the mean of "
            f"{count(e.score_runs, 'training')} is what we use."
        )
    values, _ = scores(stages)
    other = None if e.score == "published-cscore" else _cscore(stages)
    if other is None:
        return Text(
            "There is no second published score of these images to compare with."
        )
    rank = spearmanr(values, other).statistic
    return Text(
        f"Spearman's rank correlation with the C-score, sign turned: {rank:.2f} over "
        f"{len(values):,} images. Two different notions of difficulty, and a check that "
        "the file belongs to these images in this order."
    )


def _cscore(stages) -> np.ndarray | None:
    e = stages.experiment
    try:
        other = replace(e, score="published-cscore")
        return type(stages)(other, stages.store, stages.device).difficulty
    except InputError:  # none published, or no such file beside the data
        return None
