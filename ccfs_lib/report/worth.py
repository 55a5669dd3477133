"""Chapter 17: what the selection adds, and what distilled images add, over all runs.

CCFS minus random is the sum of two differences. Selection: CCFS without any distilled
image (alpha 0) minus random images. Distilled part: CCFS minus CCFS without distilled
images, which has as many images in all, so this is what they are worth in the place of
selected real ones, and as the start of the filters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas

from ccfs_lib import results
from ccfs_lib.claims.compare import (
    CCFS,
    PAIRED,
    by_seed,
    settings,
    verdict,
)
from ccfs_lib.claims.evidence import SHOWN_ONLY
from ccfs_lib.experiment import SMALLEST_CLASS
from ccfs_lib.report.charts import Line, intervals
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    Text,
    count,
    finding,
    interval,
    listed,
    percent,
    plain,
    signed,
    table,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import Difference, difference

# In what the sets of one learner may differ: they were made by other settings.
APART = ("alpha", "selected_from", "distilled_from")
PARTS = {"selection": "green", "distilled": "orange"}
TITLES = {"selection": "selection", "distilled": "distilled images"}
SEARCHED = {
    "temperature": "T",
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "epochs": "epochs",
}
# What each part is drawn against: column -> label of its axis.
BESIDE = {
    "filter": "test accuracy of the first filter (percent)",
    "random": "test accuracy on random images (percent)",
    "ratio": "images of the set per 100 training images",
}


@dataclass(frozen=True)
class Worth:
    """Both parts of CCFS minus random, of one learner and the sets of one network."""

    data: str  # data set, pixels and IPC
    dataset: str
    learner: str  # trained on the sets
    maker: str  # the network of the filters and of the teacher of the images
    recipe: str  # what tells two runs of one learner apart
    ratio: float  # images of the set per 100 training images
    random: float  # accuracy of the learner on random images, percent
    filter: float  # test accuracy of the first filter, percent; nan: not known here
    selection: Difference  # alpha 0 minus random, points
    distilled: Difference  # CCFS minus alpha 0, points
    own: bool = False  # a run of the user's, which is no evidence of the book

    @property
    def name(self) -> str:
        """What a line of a chart is called."""
        by = "" if self.maker == self.learner else f", sets of {self.maker}"
        mine = " (your run)" if self.own else ""
        return f"{self.data}: {self.learner}{by}{self.recipe}{mine}"


def decompose(rows: pandas.DataFrame) -> list[Worth]:
    """List all groups of runs that have random, alpha 0 and a further alpha.

    rows: those of `results.load`, of all runs. Groups share every setting but what made
    the set; of several alphas above 0 the one is taken that was measured beside the
    random images.
    """
    rows = rows[rows["cell"].isin([CCFS, "random", "selected"])].copy()
    if "alpha" not in rows:
        return []
    _mark_makers(rows)
    found = []
    for _, group in rows.groupby(settings(rows, APART), dropna=False, sort=False):
        random = group[group["cell"] == "random"].drop_duplicates("seed")
        sets = group[group["cell"] != "random"]
        for _, part in sets.groupby("maker", sort=False):
            found += _worth(part, random)
    return sorted(found, key=lambda w: (w.dataset in SHOWN_ONLY, -w.ratio, w.data))


def _mark_makers(rows: pandas.DataFrame) -> None:
    """Add the columns maker and filter: of the run that selected each row's set."""
    origin = rows["run"].copy()
    if "selected_from" in rows:
        leaf = rows["selected_from"].fillna("").str.rstrip("/").str.rpartition("/")[2]
        origin = leaf.where(leaf != "", origin)
    of_run = rows.drop_duplicates("run").set_index("run")
    rows["maker"] = origin.map(of_run["network"]).fillna(origin)
    first = rows.get("phases.1.test", pandas.Series(math.nan, rows.index))
    rows["filter"] = origin.map(first.astype(float).groupby(rows["run"]).mean())


def _worth(sets: pandas.DataFrame, random: pandas.DataFrame) -> list[Worth]:
    none = sets[sets["alpha"] == 0]
    beside = sets[(sets["alpha"] > 0) & sets["alpha"].isin(set(random["alpha"]))]
    beside = beside[beside["alpha"] == beside["alpha"].min()]
    pairs = by_seed(none, random), by_seed(beside, none)
    if not all(pair[0] for pair in pairs):
        return []
    first = beside.iloc[0]
    return [
        Worth(
            data=_data(first),
            dataset=str(first["dataset"]),
            learner=_learner(first),
            maker=str(first["maker"]),
            recipe=f", {first['recipe.epochs']:.0f} epochs",
            ratio=_ratio(first),
            random=float(random["last"].astype(float).mean()),
            filter=float(beside["filter"].mean()),
            selection=difference(*pairs[0], paired=True),
            distilled=difference(*pairs[1], paired=True),
        )
    ]


def _data(row) -> str:
    pixels = row.get("image_size", 0)
    size = f" at {pixels:.0f} px" if pixels and pixels > 0 else ""
    return f"{row['dataset']}{size}, IPC {row['ipc']}"


def _learner(row) -> str:
    other = row.get("evaluation_network", "")
    return other if isinstance(other, str) and other else str(row["network"])


def _ratio(row) -> float:
    return 100 * float(row["ipc"]) / SMALLEST_CLASS.get(row["dataset"], math.nan)


def measured() -> list[Worth]:
    """Read all results files: `decompose` of those that are evidence, then of others.

    Runs of the user's own stand apart, and the finding does not count them.
    """
    evidence, own = paths.results(), paths.own_results()
    found = decompose(results.load(evidence))
    if own != evidence and own.is_dir():
        found += [replace(w, own=True) for w in decompose(results.load(own))]
    return found


def parts(worth: Sequence[Worth]):
    """Draw both parts of CCFS minus random, of every run, with their intervals."""
    lines = []
    for w in worth:
        for part, colour in PARTS.items():
            d = getattr(w, part)
            name = f"{w.name}: {TITLES[part]}"
            lines.append(Line(name, d.mean, d.half, (), colour, signed(d.mean)))
    return intervals(lines, f"points, {PAIRED}", {"nothing": 0.0})


@drawn
def against(worth: Sequence[Worth]):
    """Draw both parts against what may decide over them; digits are open marks."""
    figure, axes = canvas(2.5 * len(BESIDE), len(BESIDE))
    for ax, (column, label) in zip(axes, BESIDE.items(), strict=True):
        ax.axhline(0, color=PALETTE["grey"], lw=1)
        for part, colour in PARTS.items():
            for w in worth:
                d, x = getattr(w, part), getattr(w, column)
                ink = PALETTE[colour]
                half = 0 if math.isnan(d.half) else d.half
                fill = "none" if w.dataset in SHOWN_ONLY else ink
                ax.plot([x, x], [d.mean - half, d.mean + half], color=ink, alpha=0.3)
                style = {"mfc": fill, "mec": ink, "label": f"_{w.name}: {part}"}
                ax.plot([x], [d.mean], "o", **style)
        ax.set(xlabel=label, ylabel="points")
        ax.grid(axis="y")
    marks = [
        axes[0].plot([], [], "o", color=PALETTE[colour])[0] for colour in PARTS.values()
    ]
    legend(axes[0], marks, [TITLES[part] for part in PARTS])
    return figure


def ledger(worth: Sequence[Worth]) -> Text:
    """Tabulate both parts of every run, and what the chart draws them against."""
    body = [
        [
            w.data + " (your run)" * w.own,
            w.learner + w.recipe,
            w.maker,
            _number(w.ratio),
            _number(w.filter),
            _number(w.random),
            _cell(w.selection),
            _cell(w.distilled),
        ]
        for w in worth
    ]
    head = ["data", "learner", "sets of", "ratio (%)", "first filter", "on random"]
    head += ["selection", "distilled part"]
    caption = (
        "Selection: alpha 0 minus random. Distilled part: CCFS minus alpha 0. Points "
        f"with the 95 % interval, {PAIRED}; the same teacher for all of a line."
    )
    return table(caption, head, body, left=3)


def _number(value: float) -> str:
    return DASH if math.isnan(value) else plain(value)


def _cell(d: Difference) -> str:
    if math.isnan(d.half):
        return signed(d.mean)
    return f"{signed(d.mean)} [{signed(d.mean - d.half)}, {signed(d.mean + d.half)}]"


def searched() -> Text:
    """Tabulate the search for recipes: random images, tested on held-out images.

    Every results file with a `holdout` takes part; none of them saw the test split.
    """
    rows = results.load(paths.results())
    there = "holdout" in rows
    rows = rows[(rows["holdout"] > 0) & (rows["cell"] == "random")] if there else []
    if not len(rows):
        return Text("No recipe was searched: no results file has a `holdout`.")
    body = []
    for _, run in rows.sort_values("last", ascending=False).groupby("run", sort=False):
        first = run.iloc[0]
        recipe = (f"{first[f'recipe.{name}']:g}" for name in SEARCHED)
        mean = run["last"].astype(float).mean()
        body.append([_data(first), _learner(first), *recipe, plain(mean), len(run)])
    body.sort(key=lambda line: line[:2])
    head = ["data", "network", *SEARCHED.values(), "held-out accuracy", "seeds"]
    shares = listed(sorted({percent(100 * share, 0) for share in rows["holdout"]}))
    caption = (
        f"Recipes tried on the arm of random images, with the teacher, on {shares} of "
        "the training images that neither teacher nor set has; last epoch, percent."
    )
    return table(caption, head, body, left=2)


def answer(worth: Sequence[Worth]) -> Text:
    """Return the finding: in how many runs each part is above zero, open or below."""
    counted = [w for w in worth if not w.own and w.dataset not in SHOWN_ONLY]
    if not counted:
        return finding("No run on photographs has random, alpha 0 and a further alpha.")
    words = {part: _tally([getattr(w, part) for w in counted]) for part in PARTS}
    return finding(
        f"Of {count(len(counted), 'learner and set', 'learners and sets')} on "
        f"photographs, the selection without distilled images (alpha 0 {MINUS} random) "
        f"is {words['selection']}; what distilled images add to it (CCFS {MINUS} "
        f"alpha 0) is {words['distilled']}.",
        *_crossed(counted),
    )


def _tally(differences: Sequence[Difference]) -> str:
    named = {"holds": "above zero", "does not hold": "below zero"}
    words = [named.get(verdict(d), "open") for d in differences]
    return listed(
        [
            f"{word} in {words.count(word)}"
            for word in ("above zero", "open", "below zero")
        ]
    )


def _crossed(worth: Sequence[Worth]) -> list[str]:
    """Say of each network's sets what other learners have of them."""
    lines = []
    for w in worth:
        if w.maker != w.learner:
            lines.append(
                f"{w.data}, sets of {w.maker} learnt by {w.learner}: selection "
                f"{interval(w.selection)}; distilled part {interval(w.distilled)}."
            )
    return lines
