"""Chapter 17: what the selection adds, and what distilled images add, over all runs.

CCFS minus random is the sum of two differences. Selection: CCFS without any distilled
image (alpha 0) minus random images. Distilled part: CCFS minus CCFS without distilled
images, which has as many images in all, so this is what they are worth in the place of
selected real ones, and as the start of the filters.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from ccfs_lib import results
from ccfs_lib.claims.compare import CCFS as CCFS
from ccfs_lib.claims.compare import (
    FAILS,
    HOLDS,
    OPEN,
    PAIRED,
    between,
    change,
    over_teachers,
    paired,
    pooled,
)
from ccfs_lib.claims.evidence import SHOWN_ONLY
from ccfs_lib.report import forest
from ccfs_lib.report.charts import Line
from ccfs_lib.report.decomposition import BASE, Worth
from ccfs_lib.report.decomposition import decompose as decompose
from ccfs_lib.report.decomposition import measured as measured
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import (
    DASH,
    MINUS,
    UNTESTED,
    Text,
    bracketed,
    count,
    decided,
    finding,
    interval,
    listed,
    percent,
    plain,
    plus_minus,
    signed,
    table,
)
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import FEW, Difference

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
    "times_chance": "test accuracy of the first filter (times chance)",
    "agreement": "distilled images that the teacher classifies right (percent)",
    "random": "test accuracy on random images (percent)",
    "ratio": "images of the set per 100 training images",
}


def parts(worth: Sequence[Worth]):
    """Draw both parts of CCFS minus random, of every run, with their intervals."""
    groups = {}
    for w in worth:
        both = [(TITLES[part], getattr(w, part), ink) for part, ink in PARTS.items()]
        groups[w.name] = [
            Line(title, d.mean, d.half, (), ink, bracketed(d)) for title, d, ink in both
        ]
    return forest.grouped(groups, f"{forest.LABEL} (points, {PAIRED})")


@drawn
def against(worth: Sequence[Worth]):
    """Draw both parts against what may decide over them; digits are open marks."""
    figure, axes = canvas(2.5 * len(BESIDE), len(BESIDE))
    for ax, (column, label) in zip(axes, BESIDE.items(), strict=True):
        ax.axhline(0, color=PALETTE["grey"], lw=1)
        for part, colour in PARTS.items():
            for w in worth:
                d, x = getattr(w, part), getattr(w, column)
                if math.isnan(x):
                    continue  # not known of this run
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
            f"{w.name}, {count(w.distilled.n_a, 'seed')}",
            bracketed(w.selection),
            bracketed(w.distilled),
            *(
                DASH if math.isnan(x) else plain(x)
                for x in (w.ratio, w.filter, w.agreement, w.random)
            ),
        ]
        for w in worth
    ]
    head = ["learner", "selection", "distilled part"]
    head += ["ratio (%)", "first filter", "agreement", "on random"]
    caption = (
        "All runs of this book. Selection: alpha 0 minus random. Distilled part: CCFS "
        f"minus alpha 0; CCFS has alpha {BASE:g} where none is named. Points with the "
        f"95 % interval, {PAIRED}; the same teacher for all of a line. Ratio: images "
        "of the set per 100 training images. "
        "First filter: test accuracy of the first filter of the network that selected. "
        "Agreement: distilled images that the learner's teacher classifies right, "
        f"percent; {DASH} not known. On random: test accuracy of the learner on random "
        "images."
    )
    return table(caption, head, body)


def teachers(worth: Sequence[Worth]) -> Text:
    """Tabulate the parts of sets that several teachers made, equal in all else.

    Over teachers: `compare.over_teachers`. Its interval covers what that over seeds
    cannot, the variation of the teacher and of the images recovered from it.
    """
    body = []
    for group in forest.by_key(worth, _setting):
        if len({w.teacher for w in group}) > 1:
            body += [_between(_setting(group[0]), part, group) for part in PARTS]
    if not body:
        return Text("No set of this book was made with more than one teacher.")
    head = ["set and learner", "part", "first teacher", "means", "over teachers"]
    caption = (
        "All runs of this book with several teachers, equal in all else. Points: the "
        f"first teacher's, with the 95 % interval over its seeds ({PAIRED}); each "
        "teacher's mean over its seeds; the 95 % interval over these means, or, where "
        "it is wider, over the means of the seeds, since teachers share their seeds "
        "and so their random images."
    )
    return table(caption, head, body, left=2)


def _setting(w: Worth) -> str:
    """Name what a line has in common with those of other teachers."""
    return replace(w, teacher=0).name


def _between(name: str, part: str, group: Sequence[Worth]) -> list:
    each = [getattr(w, part) for w in sorted(group, key=lambda w: w.teacher)]
    over, every = over_teachers(each), ", ".join(signed(d.mean) for d in each)
    return [name, TITLES[part], bracketed(each[0]), every, _shown(over)]


def searched() -> Text:
    """Tabulate the search for recipes: random images, tested on held-out images.

    Every results file with a `holdout` takes part; none of them saw the test split.
    """
    every = results.load(paths.results())
    there = "holdout" in every
    rows = every[(every["holdout"] > 0) & (every["cell"] == "random")] if there else []
    if not len(rows):
        return Text("No recipe was searched: no results file has a `holdout`.")
    names = [f"recipe.{name}" for name in SEARCHED]
    columns = ["dataset", "ipc", "network", *names]
    taken = {tuple(r) for r in every.loc[every["holdout"].isna(), columns].values}
    body = []
    for _, run in rows.sort_values("last", ascending=False).groupby("run", sort=False):
        first, last = run.iloc[0], plus_minus(run["last"].astype(float))
        recipe = [first[name] for name in names]
        used = tuple(first[columns]) in taken
        line = [forest.place(first), first["network"], *(f"{x:g}" for x in recipe)]
        body.append([*line, last, len(run), "yes" if used else "no"])
    body.sort(key=lambda line: line[:2])
    head = ["data", "network", *SEARCHED.values(), "held-out accuracy", "seeds", "used"]
    shares = listed(sorted({percent(100 * share, 0) for share in rows["holdout"]}))
    caption = (
        "All runs of this book with held-out images: recipes tried on random images, "
        f"with the teacher, on {shares} of the training images, which neither teacher "
        "nor set has; last epoch, percent, with a 95 % t interval over seeds. "
        "Used: the runs of this book have this recipe."
    )
    return table(caption, head, body, left=2)


def answer(worth: Sequence[Worth], *more: str) -> Text:
    """Return the finding: in how many lines each part is above zero, open or below.

    more: further sentences of the chapter, which may be empty.
    """
    counted = [w for w in worth if not w.own and w.dataset not in SHOWN_ONLY]
    yours = [_both(w) for w in worth if w.own]
    if not counted:
        text = "No run on photographs has random, alpha 0 and a further alpha."
        return finding(text, *yours)
    # These share sets, or random images and alpha 0, with a line that is counted.
    begun = [w for w in counted if w.images]
    late = [w for w in counted if not w.images and _earlier(w, counted)]
    retaught = [w for w in counted if _untaught(w, counted) and w not in begun + late]
    own = [w for w in counted if w not in begun + late + retaught]
    away = [w for w in own if w.learner != w.maker]
    home = [w for w in own if w.learner == w.maker and not w.taught]
    words = {part: _tally([getattr(w, part) for w in own]) for part in PARTS}
    aside = {
        "begun with images of another teacher": len(begun),
        "with another network's teacher": len(retaught),
        "with more epochs": len(late),
    }
    left = [f"{count(n, 'line')} {what}" for what, n in aside.items() if n]
    return finding(
        f"Of {count(len(own), 'learner and set', 'learners and sets')} on "
        f"photographs, the selection without distilled images (alpha 0 {MINUS} random) "
        f"is {words['selection']}; what distilled images add to it (CCFS {MINUS} "
        f"alpha 0) is {words['distilled']}.",
        _over(home),
        _by_data(home),
        *more,
        f"Where another network selected ({count(len(away), 'line')}), the distilled "
        f"part is {_tally([w.distilled for w in away])}."
        if away
        else "",
        _begun(begun, counted),
        f"Not counted, since a counted line has some of the same sets: {listed(left)}."
        if left
        else "",
        "Lines of one learner on one data set share its random images, so they are not "
        "independent."
        if len({(w.data, w.learner) for w in own}) < len(own)
        else "",
        *(f"{w.name}: {w.steps[0].lower()}{w.steps[1:]}" for w in counted if w.steps),
        *yours,
    )


def _begun(begun: Sequence[Worth], worth: Sequence[Worth]) -> str:
    """Say what images of another teacher are worth as the start of a curriculum."""
    gains = [(w, gain) for w in begun if (gain := _against_own(w, worth))]
    each = [
        f"{bracketed(gain)} with {w.images} ({w.data}: {forest.network(w.learner)}, "
        f"{count(gain.n_a, 'seed')})"
        for w, gain in gains
    ]
    return (
        "Begun with images of another teacher in place of its own, CCFS changes, in "
        f"points, by {listed(each)}."
        if each
        else ""
    )


def _earlier(w: Worth, worth: Sequence[Worth]) -> bool:
    """Tell whether the same sets, taught by the same, were learnt in fewer epochs."""
    same = [v for v in worth if (v.sets, v.taught) == (w.sets, w.taught)]
    return any(v.epochs < w.epochs for v in same)


def _untaught(w: Worth, worth: Sequence[Worth]) -> bool:
    """Tell whether the same sets were learnt with a teacher of the learner's kind."""
    return bool(w.taught) and any(v.sets == w.sets and not v.taught for v in worth)


def _over(worth: Sequence[Worth]) -> str:
    """Say what the parts are worth on average, a value a line; "" of too few."""
    groups = forest.by_key(_each_teacher(worth), _setting)
    if len(groups) < FEW:
        return ""
    alone, added = (
        between([pooled([getattr(w, part) for w in group]) for group in groups])
        for part in PARTS
    )
    mean = " (the mean over its teachers)" * (max(map(len, groups)) > 1)
    counted = {_setting(group[0]) for group in groups}
    left = [name for name in dict.fromkeys(map(_setting, worth)) if name not in counted]
    return (
        f"Over the {count(len(groups), 'pair')} of data and a network with sets of its "
        f"own, a value each{mean}: selection {interval(alone)}; distilled part "
        f"{interval(added)}. They differ in data, network and ratio, so this is an "
        "average of what was run."
        + (f" Left out, as its teacher counts already: {listed(left)}." if left else "")
    )


def _each_teacher(worth: Sequence[Worth]) -> list[Worth]:
    """Keep a line of each teacher, of the set that most teachers have."""
    kept: dict[str, Worth] = {}
    for group in sorted(forest.by_key(worth, _setting), key=len, reverse=True):
        for w in group:
            kept.setdefault(w.source or w.name, w)
    return list(kept.values())


def _by_data(worth: Sequence[Worth]) -> str:
    """Say what distilled images are worth to one network on several data sets."""
    texts = []
    for lines in forest.by_key(_each_teacher(worth), attrgetter("learner")):
        data = forest.by_key(lines, attrgetter("place"))
        if len(data) > 1:
            each = listed([_on(group) for group in data])
            texts.append(f"{forest.network(lines[0].learner)} {each}")
    return (
        "What distilled images add by data set, for one network, each teacher's mean "
        "one value: "
        f"{'; '.join(texts)}."
        if texts
        else ""
    )


def _on(group: Sequence[Worth]) -> str:
    each = [w.distilled for w in group]
    over = over_teachers(each) if len(each) > 1 else each[0]
    places = listed(list(dict.fromkeys(w.data for w in group)))
    whose = count(len(each), "teacher") + ", over its seeds" * (len(each) == 1)
    return f"{_shown(over)} on {places} ({whose})"


def _shown(over: Difference) -> str:
    return signed(over.mean) if math.isnan(over.half) else bracketed(over)


def _tally(differences: Sequence[Difference]) -> str:
    words = [decided(d) for d in differences]
    named = {HOLDS: "above zero", OPEN: "open", FAILS: "below zero", UNTESTED: UNTESTED}
    found = [word for word in named if word in words]
    return listed([f"{named[word]} in {words.count(word)}" for word in found])


def crossed(worth: Sequence[Worth]) -> Text:
    """List what sets of other networks, or begun with other images, are worth."""
    away = [w for w in worth if w.maker != w.learner or w.images]
    lines = []
    for w in away:
        parts = [_both(w)]
        if gain := _against_own(w, worth):
            parts.append(f"CCFS against CCFS with its own images: {interval(gain)}.")
        lines.append(" ".join([*parts, _recognised(w, worth)]).rstrip())
    if away and not any(w.taught for w in away):
        lines.append("Not measured: a learner with a teacher of the other network.")
    return _points(lines, "No network of this book learnt sets of another one.")


def longer(worth: Sequence[Worth]) -> Text:
    """List what more epochs change, for sets that were learnt in few and in many."""
    worth = sorted(worth, key=attrgetter("epochs"))
    lines = [
        f"{_both(w)} Random images: {percent(w.random)}."
        for group in forest.by_key(worth, attrgetter("sets", "taught", "teacher"))
        for w in group
        if len({v.epochs for v in group}) > 1
    ]
    return _points(lines, "No set of this book was learnt for two lengths of time.")


def larger(worth: Sequence[Worth]) -> Text:
    """List what a larger set changes, where a teacher taught sets of several sizes."""
    same = "place", "learner", "maker", "images", "taught", "teacher", "epochs", "alpha"
    worth = sorted(worth, key=attrgetter("ratio"))
    lines = []
    for group in forest.by_key(worth, attrgetter(*same)):
        if len({w.data for w in group}) > 1:
            lines += [f"{_both(w)} {_share(w)}" for w in group]
            lines.append(_changed(group[0], group[-1]))
    return _points(lines, "No learner of this book learnt sets of two sizes.")


def _share(w: Worth) -> str:
    return f"The set has {percent(w.ratio)} of the training images."


def _changed(small: Worth, large: Worth) -> str:
    """Say how much more each part is worth in the larger set."""
    words = [
        f"{TITLES[part]} {interval(change(getattr(large, part), getattr(small, part)))}"
        for part in PARTS
    ]
    return (
        f"From the smallest to the largest of these sets, {PAIRED}: {'; '.join(words)}."
    )


def _both(w: Worth) -> str:
    parts = f"selection {interval(w.selection)}; distilled part {interval(w.distilled)}"
    return f"{w.name}: {parts}."


def _points(lines: Sequence[str], none: str) -> Text:
    return Text("\n".join(f"- {line}" for line in lines) or none)


def _against_own(w: Worth, worth: Sequence[Worth]) -> Difference | None:
    """Compare CCFS begun with these images with CCFS begun with its own, points.

    None where its own images are not measured beside the same random and alpha 0 sets.
    """
    same = "data", "learner", "maker", "epochs", "alpha", "taught", "source"
    alike = attrgetter(*same)
    own = [v for v in worth if w.images and not v.images and alike(v) == alike(w)]
    return paired(w.ccfs, own[0].ccfs) if own else None


def _recognised(w: Worth, worth: Sequence[Worth]) -> str:
    """Say how many distilled images teachers recognise: these, and where they are own.

    "" where it is not known of both.
    """
    home = [
        v
        for v in worth
        if v.learner == v.maker == w.maker and v.data == w.data
        if not (v.images or v.taught)
    ]
    taught = w.taught == w.maker  # by the network that the images come from
    if taught or not home or math.isnan(w.agreement + home[0].agreement):
        return ""
    learner, maker = forest.network(w.taught or w.learner), forest.network(w.maker)
    share = percent(home[0].agreement)
    own = f"that of {maker} {share}"
    if w.images:
        own = f"{share} of its own; from them the first filter reaches "
        own += f"{percent(w.filter)}, from its own {percent(home[0].filter)}"
    return (
        f"The teacher of {learner} classifies {percent(w.agreement)} of these "
        f"distilled images right, {own}."
    )
