"""The evidence of chapter 13: what lies behind its answers, question by question.

Tables of what was measured or counted on the way: epochs, teachers, recipes, ties and
classes that run dry. Nothing here trains anything that the chapter has not trained.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas

from ccfs_lib.claims.compare import NAMES, compare, values, verdict
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.report.effects import Effect, sentence
from ccfs_lib.report.inside import Runs
from ccfs_lib.report.phase import undecided
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    listed,
    percent,
    plus_minus,
    signed,
    table,
    told,
)
from ccfs_lib.statistics import difference, summary


def epochs(rows: pandas.DataFrame, arms: Sequence[str]) -> Text:
    """Last and best epoch of every arm, and what reporting the best one adds."""
    body = []
    for arm in arms:
        last, best = (values(rows, arm, column) for column in ("last", "best"))
        gap = np.subtract(best, last)
        each = " ".join(signed(value) for value in gap)
        body.append([NAMES[arm], plus_minus(last), plus_minus(best)])
        body[-1] += [plus_minus(list(gap), 2), each]
    head = ["arm", "last (%)", "best (%)", "best \N{MINUS SIGN} last", "by seed"]
    caption = (
        "Test accuracy, mean ± half of the 95 % t interval. Best: of the last part of "
        "the epochs, chosen by the test split itself, as the paper reports."
    )
    return table(caption, head, body)


def epochs_answer(rows: pandas.DataFrame, arms: Sequence[str]) -> Text:
    """Finding of question 1: what the best epoch adds, and which orders it changes."""
    best = rows.assign(last=rows["best"])
    gaps = {
        arm: summary(values(best, arm)).mean - summary(values(rows, arm)).mean
        for arm in arms
    }
    turned, changed, pairs = [], [], list(combinations(arms, 2))
    for left, right in pairs:
        now, then = (compare(table, left, right) for table in (rows, best))
        name = f"{NAMES[left]} against {NAMES[right]}"
        turned += [name] * (now.mean * then.mean < 0)
        changed += [name] * (verdict(now) != verdict(then))
    low, high = min(gaps, key=gaps.get), max(gaps, key=gaps.get)
    return finding(
        f"The best of the last epochs adds {signed(gaps[low], 2)} ({NAMES[low]}) to "
        f"{signed(gaps[high], 2)} points ({NAMES[high]}).",
        _counted(turned, len(pairs), "the order of the two means turns round"),
        _counted(changed, len(pairs), "the verdict becomes another one"),
    )


def _counted(names: list[str], total: int, what: str) -> str:
    told_ = f": {listed(names, 3)}" if names else ""
    return f"In {len(names)} of {count(total, 'comparison')} {what}{told_}."


def teacher_answer(effects: dict[str, Effect]) -> Text:
    """Finding of question 2: the rule under both teachers, and whether they differ."""
    strong, weak = effects["veto"], effects["weak"]
    each = [np.subtract(e.left, e.right) for e in (weak, strong)]
    d = difference(*each, paired=True)
    return finding(
        sentence(strong),
        sentence(weak),
        f"That the rule is worth more under the weak teacher: **{verdict(d)}** "
        f"({told(d)}).",
    )


def teachers(stages: Pipeline, asked: dict) -> Text:
    """Both teachers, and how many mistakes of the first filter each of them vetoes.

    asked: those of `unsaid.questions`. Means over seeds.
    """
    if not stages.experiment.real:
        return Text("Nothing is selected here, so nothing is vetoed.")
    body = []
    for name, key in (("this run's", "veto"), ("weak", "weak")):
        own = Pipeline(asked[key][0], stages.store, stages.device)
        mistakes, kept = np.mean([_first(own, s) for s in _seeds(own)], axis=0)
        teacher, epochs = own.teacher, own.experiment.teacher.epochs
        body.append([name, epochs, percent(teacher.last)])
        body[-1] += [percent(teacher.train_accuracy), f"{mistakes:,.0f}"]
        body[-1].append(percent(100 * (1 - kept / max(mistakes, 1))))
    head = ["teacher", "epochs", "test images right", "training images right"]
    head += ["mistakes of the first filter", "vetoed"]
    return table("The two teachers and their veto, means over seeds.", head, body)


def _first(stages: Pipeline, seed: int) -> tuple[int, int]:
    """Mistakes of a seed's first filter, and those that the teacher gets right."""
    now = next(iter(stages.phases(seed)))
    labels = stages.train.labels.numpy()
    return int((now.filter.predictions != labels).sum()), int(now.pool.sum())


def _seeds(stages: Pipeline) -> range:
    return range(stages.experiment.seeds)


def recipes(pair: tuple[Experiment, Experiment]) -> Text:
    """Both readings of the recipe, setting by setting: pair is (tables, scripts)."""
    body = []
    both = [dict(e.table()) for e in pair]
    for name in both[0]:
        one, other = (rows[name] for rows in both)
        if one != other:
            body.append([f"`{name}`", one, other])
    if not body:
        return Text("For these data the tables and the scripts agree.")
    caption = "Where the two readings differ, at this run's scale; all else is equal."
    return table(caption, ["setting", "tables", "scripts"], body)


def ties(stages: Pipeline, runs: Runs) -> Text:
    """By phase, how many picks the index decided, because equals were left behind.

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
    head = ["phase", "picked", "decided by the index", "of the picked", "by seed (%)"]
    caption = (
        "Picks that equally difficult candidates could have replaced, means over seeds."
    )
    return table(caption, head, body)


def supply(stages: Pipeline, runs: Runs) -> Text:
    """By phase, images wanted and found, and classes that ran dry; means over seeds."""
    classes, body = stages.train.num_classes, []
    for i, record in enumerate(runs[0]):
        got = [len(records[i].chosen) for records in runs]
        short = [len(records[i].shortfall) for records in runs]
        body.append(_supplied(record.phase, record.quota * classes, got))
        body[-1].append(f"{np.mean(short):.1f} of {classes}")
    wanted = stages.experiment.real * classes
    got = [sum(len(record.chosen) for record in records) for records in runs]
    # Classes that are short of images in the end, in whichever phase they ran dry.
    short = [len({c for r in records for c in r.shortfall}) for records in runs]
    body.append(_supplied("all", wanted, got))
    body[-1].append(f"{np.mean(short):.1f} of {classes}")
    head = ["phase", "wanted", "found", "missing", "of the wanted", "classes short"]
    caption = "Real images that CCFS wanted and found, means over seeds."
    return table(caption, head, body)


def _supplied(name, wanted: int, got: list[int]) -> list:
    missing = wanted - np.mean(got)
    part = percent(100 * missing / max(wanted, 1))
    return [name, f"{wanted:,}", f"{np.mean(got):,.0f}", f"{missing:,.0f}", part]
