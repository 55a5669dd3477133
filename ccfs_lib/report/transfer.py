"""Chapter 15: the same final sets, learnt by other networks (Section 5.3, Table 2).

The filters' network chose the images. Tested is whether the advantage of the selection
remains when other networks are trained on the sets.
"""

from collections.abc import Sequence

import numpy as np
import pandas
import torch

from ccfs_lib import networks, paper
from ccfs_lib.claims.compare import (
    CCFS,
    NAMES,
    VERDICTS,
    compare,
    matched,
    values,
    verdict,
)
from ccfs_lib.experiment import Experiment
from ccfs_lib.pipeline import Pipeline, measured_rows
from ccfs_lib.report.ablation import Variant
from ccfs_lib.report.arms import contrasts
from ccfs_lib.report.text import (
    MINUS,
    UNTESTED,
    Text,
    count,
    few,
    finding,
    interval,
    listed,
    means,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.statistics import Difference, difference

ARMS = (CCFS, "random", "distilled")
# Evaluated beside the filters' network, by scale: those of Table 2, or such as
# the machine of that scale affords, of another width, norm or family.
OTHERS = {
    "digits": ("convnet-8-16", "convnet-32-64", "convnet-in"),
    "laptop": ("convnet-32-64-128", "resnet18"),
    "paper": ("resnet50", "resnet101", "densenet121", "regnet_y_8gf"),
}
PRINTED = {"sre2l": "SRe2L", "cda": "CDA", "ccfs": "CCFS"}  # the methods of Table 2


def variants(experiment: Experiment, others: Sequence[str] = ()) -> list[Variant]:
    """List the filters' network first, then `others`; (): the scale's of OTHERS.

    Raises InputError for a name that is no network.
    """
    names = others or OTHERS[experiment.scale]
    names = [n for n in dict.fromkeys(names) if n != experiment.network]
    home = Variant(experiment.network, experiment.changed(evaluation_network=""))
    away = (Variant(n, experiment.changed(evaluation_network=n)) for n in names)
    return [home, *away]


def measure(stages: Pipeline, variants: Sequence[Variant]) -> pandas.DataFrame:
    """Measure ARMS with every network; rows of the results, one per seed.

    Columns of `results.load`, and `learner`, the evaluation network. Teacher, filters
    and sets are the same for all networks and computed once; finished ones are read.
    """
    read = []
    for variant in variants:
        run = Pipeline(variant.experiment, stages.store, stages.device)
        for arm in ARMS:
            run.measure(arm)
        rows = measured_rows(variant.experiment)
        read.append(rows[rows["cell"].isin(ARMS)].assign(learner=variant.name))
    return pandas.concat(read, ignore_index=True)


def ranking(stages: Pipeline, rows: pandas.DataFrame) -> Text:
    """Tabulate Table 2 of this run: a line per network, a column per set."""
    body, shape = [], (stages.train.num_classes, stages.train.image_size)
    for name, part in rows.groupby("learner", sort=False):
        with torch.device("meta"):  # the size only: weights are counted, never filled
            size = networks.count(networks.build(name, *shape), shape[1])
        last = (plus_minus(values(part, arm)) for arm in ARMS)
        body.append([name, f"{size.parameters / 1e6:.3f}", *last])
    head = ["network", "parameters (M)", *(NAMES[arm] for arm in ARMS)]
    caption = (
        f"Test accuracy after the last epoch, percent, {means(rows['seed'].nunique())}."
        " First the filters' own network."
    )
    return table(caption, head, body)


def gains(rows: pandas.DataFrame):
    """Draw CCFS minus the two controls on every network; ticks are single seeds."""
    return contrasts(
        {
            f"CCFS {MINUS} {rival}: {name}": matched(part, CCFS, rival)
            for rival in ARMS[1:]
            for name, part in rows.groupby("learner", sort=False)
        }
    )


def printed() -> Text:
    """Tabulate Table 2 of the paper, at its scale: a line per network."""
    rows = paper.table(2)
    wide = rows.pivot(index="network", columns="method", values="accuracy")
    wide = wide.loc[rows["network"].unique(), list(PRINTED)]
    body = [[name, *(f"{v:.1f}" for v in line)] for name, line in wide.iterrows()]
    caption = (
        "Table 2 of the paper: Tiny-ImageNet, IPC 100, sets chosen by ResNet-18, "
        "percent."
    )
    return table(caption, ["network", *PRINTED.values()], body)


def answer(rows: pandas.DataFrame) -> Text:
    """Return the finding: on how many other networks CCFS is ahead, and what is lost.

    rows: those of `measure`.
    """
    home, *others = rows["learner"].unique()
    if not others:
        return finding(f"Only {home} was measured here.")
    travel = difference(*_travel(rows, home, others), paired=True)
    return finding(
        f"Evaluated on {count(len(others), 'network')} that took no part in the "
        f"selection. Against {NAMES['distilled']}, CCFS is "
        f"{_tally(rows, others, 'distilled')}.",
        f"Against {NAMES['random']}, same teacher, CCFS is "
        f"{_tally(rows, others, 'random')}.",
        "From the filters' own network to the others, the mean advantage over random "
        f"images changes by {interval(travel)}: **{_kept(travel)}**.",
        "In the paper CCFS is ahead of CDA and SRe2L on all five networks; the paper "
        "has no random images there.",
    )


def _tally(rows, others: Sequence[str], rival: str) -> str:
    """Count the networks on which CCFS is ahead of a rival, behind it, or neither."""
    labels = ("ahead on", "behind on", "too close to call on")
    each = [compare(rows[rows["learner"] == name], CCFS, rival) for name in others]
    if all(map(few, each)):
        return _untested(each, others)
    verdicts = [verdict(d) for d in each]
    return ", ".join(
        f"{how} {verdicts.count(word)}"
        for word, how in zip(VERDICTS, labels, strict=True)
    )


def _untested(each: Sequence[Difference], others: Sequence[str]) -> str:
    """Give the differences by network in points, where none has an interval."""
    points = [f"{signed(d.mean)} ({n})" for d, n in zip(each, others, strict=True)]
    return f"{UNTESTED} ({count(each[0].n_a, 'seed')}): {listed(points)} points"


def _travel(rows, home: str, others: Sequence[str]) -> tuple[list, list]:
    """Return CCFS minus random by seed, percent: mean of the others, and at home."""
    by_seed = {
        name: np.subtract(*matched(rows[rows["learner"] == name], CCFS, "random"))
        for name in (home, *others)
    }
    away = np.mean([by_seed[name] for name in others], axis=0)
    return list(away), list(by_seed[home])


def _kept(d) -> str:
    if few(d):
        return UNTESTED
    word = verdict(d)
    return dict(zip(VERDICTS, ("it grows", "it shrinks", word), strict=True))[word]
