"""Chapters 7 to 9: one setting varied, all else equal (Tables 4 and 5, Figure 5).

Every variant is CCFS itself on the same teacher with the same seeds, so only the
setting can explain a difference; what variants share is computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas
from scipy.stats import spearmanr

from ccfs_lib import cost, paper
from ccfs_lib.claims.compare import (
    CCFS,
    OPEN,
    VERDICTS,
    by_seed,
    level,
    unequal_steps,
    values,
    verdict,
)
from ccfs_lib.experiment import Experiment, presets
from ccfs_lib.pipeline import Pipeline, measured_rows
from ccfs_lib.report.arms import contrasts, fullness
from ccfs_lib.report.charts import Line, band, drawn_as, intervals
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import (
    DASH,
    SPACE,
    UNTESTED,
    Text,
    bracketed,
    capital,
    count,
    few,
    fill,
    finding,
    interval,
    listed,
    means,
    percent,
    plain,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.statistics import Difference, difference, summary

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
CURRICULA = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Variant:
    """One value of the setting that a chapter varies."""

    name: str  # in tables and charts
    experiment: Experiment = field(repr=False)
    at: float | None = None  # its place on an axis, where the setting is a number


def scores(experiment: Experiment) -> list[Variant]:
    """List the difficulty scores (Table 4) of this data set, the cheapest included."""
    named = {
        "forgetting, published": {"score": "published-forgetting"},
        "C-score, published": {"score": "published-cscore"},
        "forgetting, counted here": {"score": "forgetting", "score_runs": 3},
        # The teacher has to be trained anyway: its events cost no further training.
        "forgetting of the teacher alone": {"score": "forgetting", "score_runs": 1},
        "logits of the current filter": {"score": "logits"},
    }
    variants = _variants(experiment, {name: (how, None) for name, how in named.items()})
    # Where a file holds the counts, two more trainings on all data are left out.
    published = variants[0].name == "forgetting, published"
    return [
        v for v in variants if not (published and v.name == "forgetting, counted here")
    ]


def curricula(experiment: Experiment) -> list[Variant]:
    """List the numbers of phases (Table 5), as far as the real images go round."""
    return _variants(experiment, _phases())


def alphas(experiment: Experiment, some: Sequence[float] = ()) -> list[Variant]:
    """List the distilled portions (Figure 5), ascending; some: only these."""
    return _variants(experiment, _portions(some))


def left_out(experiment: Experiment, setting: str) -> str:
    """Say which usual values of "curricula" or "alpha" this run cannot have, and why.

    "" where it can have them all.
    """
    usual, told = {"curricula": _phases(), "alpha": _portions()}[setting], []
    for name, (change, _) in usual.items():
        try:
            experiment.changed(**change)
        except ValueError as error:
            told.append(f"{name} ({error})")
    return f"Left out: {'; '.join(told)}." if told else ""


def _phases() -> dict:
    return {f"J = {j}": ({"curricula": j}, j) for j in CURRICULA}


def _portions(some: Sequence[float] = ()) -> dict:
    portions = sorted({*(some or ALPHAS)})
    return {f"alpha = {a:g}": ({"alpha": a}, a) for a in portions}


def _variants(experiment: Experiment, changes: dict) -> list[Variant]:
    variants = []
    for name, (change, at) in changes.items():
        try:
            variants.append(Variant(name, experiment.changed(**change), at))
        except ValueError:  # no such score, more phases than images: `left_out`
            continue
    return variants


def base(variants: Sequence[Variant], wanted: str) -> str:
    """Return the name to compare all others with: `wanted`, or the first there is."""
    names = [variant.name for variant in variants]
    return wanted if wanted in names else names[0]


def measure(stages: Pipeline, variants: Sequence[Variant]) -> pandas.DataFrame:
    """Measure CCFS under every variant; rows of the results, one per seed.

    Columns of `results.load`, where `cell` is the variant's name: what varies here is
    the setting, not the arm. Finished variants are read.
    """
    read = []
    for variant in variants:
        run = Pipeline(variant.experiment, stages.store, stages.device)
        run.measure(CCFS)
        rows = measured_rows(variant.experiment)
        read.append(rows[rows["cell"] == CCFS].assign(cell=variant.name))
    return pandas.concat(read, ignore_index=True)


def matched(rows: pandas.DataFrame, left: str, right: str):
    """Return the last accuracies of two variants, percent, of their common seeds.

    Not `compare.matched`: that refuses two sets whose settings differ, as these do.
    """
    return by_seed(*(rows[rows["cell"] == name] for name in (left, right)))


def ranking(rows: pandas.DataFrame, variants: Sequence[Variant]) -> Text:
    """Tabulate the variants: accuracies, seeds, what the set holds and what it cost."""
    body, parts = [], fullness(rows, [v.name for v in variants])
    for variant in variants:
        name = variant.name
        last, best = (plus_minus(values(rows, name, c)) for c in ("last", "best"))
        seeds = " ".join(f"{v:.1f}" for v in values(rows, name))
        part = fill(parts[name])
        body.append([name, last, best, seeds, part, passes(rows, variant)])
    head = ["", "last (%)", "best (%)", "last, by seed", "set size", "passes"]
    caption = (
        f"Test accuracy, {means(rows['seed'].nunique())}. Set size: percent of the "
        "budget. Passes: thousands of images seen by filters and evaluation of one "
        "seed, for full sets."
    )
    return table(caption, head, body)


def passes(rows: pandas.DataFrame, variant: Variant) -> str:
    """Count the thousands of image passes of one seed, filters and evaluation."""
    e = variant.experiment
    # Neither the size of the splits nor that of the images counts in these stages.
    classes = round(values(rows, variant.name, "wanted")[0] / e.ipc)
    stages = cost.stages(e, cost.Size(0, 0, classes, 0))
    trained = [s for s in stages if s.name.startswith(("filter", "evaluation"))]
    return f"{sum(s.passes for s in trained) / 1000:,.0f}"


def dots(rows: pandas.DataFrame, variants: Sequence[Variant]):
    """Draw every variant: seeds, mean and interval."""
    lines = [Line.of(v.name, values(rows, v.name)) for v in variants]
    return intervals(lines, "test accuracy (%)", {}, most=100)


def agreement(stages: Pipeline, variants: Sequence[Variant]) -> Text:
    """Compute Spearman's rank correlation of the fixed scores, mean over classes."""
    labels, fixed = stages.train.labels.numpy(), {}
    for variant in variants:
        score = Pipeline(variant.experiment, stages.store, stages.device).difficulty
        if score is not None:  # the filter's logits change from phase to phase
            fixed[variant.name] = score
    members = [np.flatnonzero(labels == c) for c in range(stages.train.num_classes)]

    def rank(a, b) -> float:
        """Correlate within each class; return the mean over classes."""
        return float(np.nanmean([spearmanr(a[m], b[m]).statistic for m in members]))

    body = [
        [a, *(plain(rank(x, y), 2) for y in fixed.values())] for a, x in fixed.items()
    ]
    caption = "Spearman's rank correlation of the difficulty scores within classes."
    return table(caption, ["", *fixed], body)


def printed(number: int) -> Text:
    """Tabulate the paper's Table 4 or 5, at its scale: a column per data set."""
    rows = paper.table(number)
    rows["set"] = rows["dataset"] + ", IPC " + rows["ipc"].astype(str)
    first = rows.columns[0]
    wide = rows.pivot(index=first, columns="set", values="accuracy")
    wide = wide.loc[rows[first].unique(), rows["set"].unique()]
    body = [
        [name, *(DASH if np.isnan(v) else f"{v:.1f}" for v in line)]
        for name, line in wide.iterrows()
    ]
    caption = f"Table {number} of the paper: ResNet-18, percent, as printed."
    return table(caption, [first, *wide.columns], body)


@drawn
def curve(rows: pandas.DataFrame, variants: Sequence[Variant], xlabel: str, rules=None):
    """Draw accuracy against the setting; rules: name -> seeds of a control, a band."""
    figure, ax = canvas(3.2)
    x = [variant.at for variant in variants]
    seeds = [values(rows, variant.name) for variant in variants]
    band(ax, x, seeds, "blue", f"CCFS, {drawn_as(seeds)}")
    for name, control in (rules or {}).items():
        s, style = summary(control), {"color": PALETTE["orange"], "lw": 1.4, "ls": "--"}
        ax.axhline(s.mean, label=name, **style)
        if not np.isnan(s.half):
            edges = s.mean - s.half, s.mean + s.half
            ax.axhspan(*edges, color=PALETTE["orange"], alpha=0.12, lw=0)
    # An interval of few seeds may be wider than the percentages it is about.
    seen = [v for part in [*seeds, *(rules or {}).values()] for v in part]
    margin = 0.6 * max(max(seen) - min(seen), 2)
    ax.set_ylim(max(0, min(seen) - margin), min(100, max(seen) + margin))
    ax.set(xlabel=xlabel, ylabel="test accuracy (%)", xticks=x)
    ax.grid(axis="y")
    legend(ax, columns=1)
    return figure


def differences(rows: pandas.DataFrame, variants: Sequence[Variant], base: str):
    """Draw every other variant minus `base`, paired by seed; ticks are seeds."""
    # The zero line is named after `base`; in every label it would leave no room.
    others = [v.name for v in variants if v.name != base]
    return contrasts({name: matched(rows, name, base) for name in others}, base)


def answer(
    rows: pandas.DataFrame,
    variants: Sequence[Variant],
    base: str,
    claim: str,
    missing: str = "",
) -> Text:
    """Return the finding: which value is highest, and which differ from `base`.

    claim: the paper's, as a sentence; missing: that of `left_out`.
    """
    names = [variant.name for variant in variants]
    gaps = {
        name: difference(*matched(rows, name, base), paired=True)
        for name in names
        if name != base
    }
    if not gaps:
        return finding(f"Only {base} was measured here.", claim, missing)
    batches = (unequal_steps(rows, base, name) for name in gaps)
    return finding(
        f"{_best(rows, names)}{_unclear(gaps, base)}",
        claim,
        _theirs(variants),
        _tallied(gaps, base),
        *dict.fromkeys(batches),  # most often one sentence for all settings
        _filled(fullness(rows, names)),
        missing,
    )


def _best(rows: pandas.DataFrame, names: Sequence[str]) -> str:
    """Say which mean is highest; equal means share that place."""
    each = {name: summary(values(rows, name)).mean for name in names}
    most = max(each.values())
    best = [name for name, mean in each.items() if most - mean < 1e-9]
    if len(best) == len(names):
        return f"All {len(names)} have the same mean accuracy, {percent(most)}."
    if len(best) > 1:
        shared = f"share the highest mean accuracy of {len(names)}, {percent(most)}."
        return f"{capital(listed(best))} {shared}"
    mean = f"{plus_minus(values(rows, best[0]))}{SPACE}%"
    return f"{capital(best[0])} has the highest mean accuracy of {len(names)}, {mean}."


def _unclear(gaps: dict[str, Difference], base: str) -> str:
    """Say that no difference from `base` is clear, or why none can be."""
    if all(map(few, gaps.values())):
        seeds = count(max(d.n_a for d in gaps.values()), "seed")
        return f" So few seeds ({seeds}) have no interval, so nothing is decided."
    if any(verdict(d) != OPEN for d in gaps.values()):
        return ""
    return f" No difference from {base} is clear."


def _theirs(variants: Sequence[Variant]) -> str:
    """Say that alpha varies, but not over the authors' own for these data and IPC."""
    here, e = {v.experiment.alpha for v in variants}, variants[0].experiment
    # The code's, since the paper does not print its alphas.
    theirs, _ = presets.ALPHA.get((e.printed_as, e.ipc), (e.alpha, None))
    if len(here) == 1 or theirs in here:
        return ""
    return (
        f"The authors' code has alpha {theirs:g} for these data and IPC; it was not "
        "measured here."
    )


def _tallied(gaps: dict[str, Difference], base: str) -> str:
    """Say how the other settings compare with `base`, with the names of clear ones."""
    labels = ("higher", "lower", "too close to call")
    labels = dict(zip(VERDICTS, labels, strict=True))
    if len(gaps) == 1:
        ((name, d),) = gaps.items()
        how = "equal" if level(d) else UNTESTED if few(d) else labels[verdict(d)]
        return f"{capital(name)}, compared with {base}: {how}, {interval(d)}."
    others = f"Of {count(len(gaps), 'other setting')}, compared with {base}"
    if all(map(level, gaps.values())):
        return f"{others}: all have exactly the same mean accuracy."
    if all(map(few, gaps.values())):
        each = [f"{name} {signed(d.mean)}" for name, d in gaps.items()]
        return f"{others}, in points and {UNTESTED}: {listed(each, 12)}."
    tally = []
    for word, how in labels.items():
        alike = [f"{n}: {bracketed(d)}" for n, d in gaps.items() if verdict(d) == word]
        named = f" ({'; '.join(alike)})" if alike and word != OPEN else ""
        tally.append(f"{len(alike)} {how}{named}")
    widest = max(gaps, key=lambda name: abs(gaps[name].mean))
    apart = f" The largest difference, that of {widest}, is {OPEN}: "
    apart += f"{interval(gaps[widest])}."
    return (
        f"{others}: {', '.join(tally)}.{apart * (verdict(gaps[widest]) == OPEN)} These "
        "intervals are not corrected for the number of settings."
    )


def _filled(parts: dict[str, float]) -> str:
    least = min(parts, key=parts.get)
    if parts[least] == 1:
        return "Every set is full."
    return (
        f"Set sizes differ: {least} holds {fill(parts[least])} of its budget, the "
        f"largest set {fill(max(parts.values()))}."
    )
