"""The tables of chapter 13, question by question.

Epochs, teachers, recipes, ties and classes with too few candidates, as measured or
counted in the chapter's trainings. Nothing is trained here.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas

from ccfs_lib.claims.compare import (
    CCFS,
    NAMES,
    batch_size,
    compare,
    settings,
    values,
    verdict,
)
from ccfs_lib.claims.evidence import load
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.effects import Effect, sentence
from ccfs_lib.report.inside import Runs
from ccfs_lib.report.phase import undecided
from ccfs_lib.report.text import (
    Text,
    bracketed,
    count,
    decided,
    few,
    finding,
    interval,
    listed,
    means,
    percent,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import difference, summary

RULE = "batch_size_by"
GIVEN = ("selected_from", "distilled_from", "teacher_from")  # of one set, its files


def epochs(rows: pandas.DataFrame, arms: Sequence[str]) -> Text:
    """Tabulate last and best epoch of every arm, and what the best one adds."""
    body = []
    for arm in arms:
        last, best = (values(rows, arm, column) for column in ("last", "best"))
        gap = np.subtract(best, last)
        each = " ".join(signed(value) for value in gap)
        body.append([NAMES[arm], plus_minus(last), plus_minus(best)])
        body[-1] += [plus_minus(list(gap), 2), each]
    head = ["arm", "last (%)", "best (%)", "best \N{MINUS SIGN} last", "by seed"]
    caption = (
        f"Test accuracy, {means(rows['seed'].nunique())}. Best: the highest of the "
        "last part of the epochs, chosen on the test split, as in the authors' code."
    )
    return table(caption, head, body)


def epochs_answer(rows: pandas.DataFrame, arms: Sequence[str]) -> Text:
    """Return the finding of question 1: what the best epoch adds and changes."""
    best = rows.assign(last=rows["best"])
    gaps = {
        arm: summary(values(best, arm)).mean - summary(values(rows, arm)).mean
        for arm in arms
    }
    turned, changed, pairs = [], [], list(combinations(arms, 2))
    tested = 0
    for left, right in pairs:
        now, then = (compare(table, left, right) for table in (rows, best))
        name = f"{NAMES[left]} against {NAMES[right]}"
        turned += [name] * (now.mean * then.mean < 0)
        changed += [name] * (verdict(now) != verdict(then))
        tested += not few(now)
    low, high = min(gaps, key=gaps.get), max(gaps, key=gaps.get)
    return finding(
        f"The best of the last epochs adds {signed(gaps[low], 2)} ({NAMES[low]}) to "
        f"{signed(gaps[high], 2)} points ({NAMES[high]}).",
        _counted(turned, len(pairs), "the order of the two means is reversed"),
        _counted(changed, tested, "the verdict changes") if tested else "",
    )


def _counted(names: list[str], total: int, what: str) -> str:
    which = f": {listed(names, 3)}" if names else ""
    return f"In {len(names)} of {count(total, 'comparison')} {what}{which}."


def teacher_answer(effects: dict[str, Effect]) -> Text:
    """Return the finding of question 2: the rule under both teachers."""
    strong, weak = effects["veto"], effects["weak"]
    each = [np.subtract(e.left, e.right) for e in (weak, strong)]
    d = difference(*each, paired=True)
    return finding(
        sentence(strong),
        sentence(weak),
        f"The rule has a larger effect with the weak teacher: **{decided(d)}** "
        f"({interval(d)}).",
    )


def teachers(stages: Pipeline, asked: dict) -> Text:
    """Tabulate both teachers, and how many of the first filter's mistakes they exclude.

    asked: those of `unsaid.questions`. Means over seeds.
    """
    if not stages.experiment.real:
        return Text("Nothing is selected here, so no candidate is excluded.")
    body = []
    for name, key in (("this run's", "veto"), ("weak", "weak")):
        pipeline = Pipeline(asked[key][0], stages.store, stages.device)
        mistakes, kept = np.mean(
            [_first(pipeline, s) for s in _seeds(pipeline)], axis=0
        )
        teacher, epochs = pipeline.teacher, pipeline.experiment.teacher.epochs
        body.append([name, epochs, percent(teacher.last)])
        body[-1] += [percent(teacher.train_accuracy), f"{mistakes:,.0f}"]
        body[-1].append(percent(100 * (1 - kept / max(mistakes, 1))))
    head = ["teacher", "epochs", "test accuracy", "training accuracy"]
    first = "misclassified by the first filter"
    if not stages.experiment.distilled:
        first = "training images (no first filter)"
    head += [first, "of these excluded"]
    caption = "The two teachers, and the candidates they exclude; means over seeds."
    return table(caption, head, body)


def _first(stages: Pipeline, seed: int) -> tuple[int, int]:
    """Count a seed's first filter's mistakes, and those the teacher gets right.

    Without a first filter (alpha 0) all images count as mistakes.
    """
    now = next(iter(stages.phases(seed)))
    labels = stages.train.labels.numpy()
    return int((now.filter.predictions != labels).sum()), int(now.pool.sum())


def _seeds(stages: Pipeline) -> range:
    return range(stages.experiment.seeds)


def recipes(pair: tuple[Experiment, Experiment]) -> Text:
    """Tabulate both readings of the recipe by setting: pair is (tables, scripts)."""
    body = []
    both = [dict(e.table()) for e in pair]
    for name in both[0]:
        one, other = (rows[name] for rows in both)
        if one != other:
            body.append([f"`{name}`", one, other])
    if not body:
        return Text("For these data the tables and the scripts agree.")
    caption = "Settings in which the two recipes differ, at this run's scale."
    return table(caption, ["setting", "tables", "scripts"], body)


def ties(stages: Pipeline, runs: Runs) -> Text:
    """Tabulate, by phase, the selected images whose ties the index broke.

    runs: those of `inside.read`.
    """
    body = []
    for i, record in enumerate(runs[0]):
        picked = [len(records[i].chosen) for records in runs]
        tied = [undecided(stages, records[i]) for records in runs]
        parts = [100 * a / max(b, 1) for a, b in zip(tied, picked, strict=True)]
        each = " ".join(f"{part:.0f}" for part in parts)
        body.append([record.phase, f"{np.mean(picked):,.0f}", f"{np.mean(tied):,.0f}"])
        body[-1] += [percent(np.mean(parts)), each]
    head = ["phase", "selected", "tie broken by index", "of the selected"]
    head += ["by seed (%)"]
    caption = (
        "Selected images that equally difficult candidates could replace; means over "
        "seeds."
    )
    return table(caption, head, body)


def supply(stages: Pipeline, runs: Runs) -> Text:
    """Tabulate, by phase, images wanted and supplied, and short classes; seed means."""
    classes, body = stages.train.num_classes, []
    for i, record in enumerate(runs[0]):
        got = [len(records[i].chosen) for records in runs]
        short = [len(records[i].shortfall) for records in runs]
        body.append(_supplied(record.phase, record.quota * classes, got))
        body[-1].append(f"{np.mean(short):.1f} of {classes}")
    wanted = stages.experiment.real * classes
    got = [sum(len(record.chosen) for record in records) for records in runs]
    # Classes with a shortfall in the final set, in whichever phase it arose.
    short = [len({c for r in records for c in r.shortfall}) for records in runs]
    body.append(_supplied("all", wanted, got))
    body[-1].append(f"{np.mean(short):.1f} of {classes}")
    head = ["phase", "quota", "selected", "shortfall", "of the quota"]
    head += ["classes with a shortfall"]
    caption = "Quota and shortfall of CCFS's real images; means over seeds."
    return table(caption, head, body)


def _supplied(name, wanted: int, got: list[int]) -> list:
    missing = wanted - np.mean(got)
    part = percent(100 * missing / max(wanted, 1))
    return [name, f"{wanted:,}", f"{np.mean(got):,.0f}", f"{missing:,.0f}", part]


def batches() -> Text:
    """Tabulate sets that were learned with both batch sizes, in all runs of the book.

    A pair is the arm "selected" of one set, or CCFS in the run that selected it, with
    equal settings but `batch_size_by`: the batch of the images that the set has, and
    that of the images asked for.
    """
    rows, body = _learned(load(paths.results())), []
    for _, group in rows.groupby(settings(rows, (RULE,)), dropna=False, sort=False):
        wanted = group[RULE] == "wanted" if RULE in group else group["cell"].isna()
        sides = [group[side].set_index("seed") for side in (~wanted, wanted)]
        body += _two_batches(*sides) if all(map(len, sides)) else []
    if not body:
        return Text("No set of this book was learned with two batch sizes.")
    head = ["learner", "images of the set", "batch, as filled", "accuracy"]
    head += ["batch, as asked for", "accuracy", "difference"]
    caption = (
        "All runs of this book: one set, learned with the batch size of the images "
        "that it has, and with that of the images asked for. Test accuracy after the "
        "last epoch, mean ± half of the 95 % t interval; filled minus asked for, "
        "points, paired by seed."
    )
    return table(caption, head, body)


def _learned(every: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows of arm "selected", and CCFS's of the runs that selected them."""
    rows = every[every["cell"] == "selected"]
    names, parts = [name for name in GIVEN if name in rows], [rows]
    for chosen in rows[names].drop_duplicates().to_dict("records"):
        run = str(chosen["selected_from"]).rstrip("/").rpartition("/")[2]
        made = every[(every["run"] == run) & (every["cell"] == CCFS)]
        parts.append(made.assign(**chosen))
    return pandas.concat(parts)


def _two_batches(filled: pandas.DataFrame, wanted: pandas.DataFrame) -> list[list]:
    """Return the line of a set: of its seeds whose batch size the rule changes, if any.

    filled, wanted: rows by seed, of the rule that goes by the images it has, or wants.
    """
    sizes = {
        seed: tuple(batch_size(filled.loc[seed], by) for by in ("images", "wanted"))
        for seed in sorted({*filled.index} & {*wanted.index})
    }
    seeds = [seed for seed, (one, other) in sizes.items() if one != other]
    if not seeds:
        return []
    first = filled.loc[seeds[0]]
    images = sorted({f"{int(n):,}" for n in filled.loc[seeds, "images"]})
    line = [f"{first['network']}, {first['dataset']}", " ".join(images)]
    lasts = [list(p.loc[seeds, "last"].astype(float)) for p in (filled, wanted)]
    for size, last in zip(sizes[seeds[0]], lasts, strict=True):
        line += [size, plus_minus(last)]
    return [[*line, bracketed(difference(*lasts, paired=True))]]
