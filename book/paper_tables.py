"""The paper's Tables 1-13, complete, each with our columns beside its own."""

from dataclasses import dataclass, replace

import beside
import findings
import pandas
from beside import BEST, DATASETS, LAST, LEARNER, PRINTED, Column, Item, ccfs, columns

from ccfs_lib import paper
from ccfs_lib.arms import ARMS, CCFS
from ccfs_lib.claims import ladder
from ccfs_lib.claims.evidence import SHOWN_ONLY
from ccfs_lib.experiment import STRATEGIES, preset, presets
from ccfs_lib.report.text import listed

SWEEP = "ccfs sweep --scale paper --seeds 5 --dataset"
EVERY = "ccfs table1 --scale paper --seeds 3 --dataset"
MATCH = "ccfs match --scale paper --seeds 3 --dataset"
ONE = "--arms simple-misclassified"
NAMES = {
    "random": "Random",
    "forgetting": "Forgetting",
    "glister": "Glister",
    "oracle-window": "Oracle window",
    "self-evolved": "Self-evolved selection",
    "dsa": "DSA",
    "dm": "DM",
    "mtt": "MTT",
    "sre2l": "SRe²L",
    "datm": "DATM",
    "selmatch": "SelMatch",
    "cda": "CDA",
    "cudd": "CUDD",
    "ccfs": "CCFS",
    "full": "All images",
    "ccfs-mtt": "CCFS on MTT",
}
OURS = {"ccfs": (CCFS,), "full": ("full-hard", "full"), "random": ("random-hard",)}


def _method(name: str) -> tuple[str, dict]:
    """A method's title, and which rows of ours are it: by the table of arms, or name.

    Methods without an arm appear as soon as there are rows of a cell of their name.
    """
    if name in ("cda", "sre2l"):
        return NAMES[name], {"cell": ("distilled",), "distillation.method": (name,)}
    cells = [arm.name for arm in ARMS if arm.printed == name]
    return NAMES[name], {"cell": (*cells, *OURS.get(name, (name,)))}


METHODS = {name: _method(name) for name in NAMES}
TEACHER = ("Random, same teacher", {"cell": ("random",)})
SCORES = {
    "logits": ccfs("score", "logits"),
    "cscore": ccfs("score", "published-cscore"),
    "forgetting": ccfs("score", "published-forgetting", "forgetting"),
}


def tables(rows: pandas.DataFrame) -> list[Item]:
    """Build the thirteen tables; rows: those of `results.load`, of all runs."""
    settings = [preset_table(number) for number in paper.HYPERPARAMETERS]
    first = [main_results(rows), networks(rows), strategies(rows, 3)]
    first += [scores(rows), curricula(rows), *settings, matched(rows)]
    return first + [strategies(rows, number) for number in (11, 12, 13)]


def titled(methods: pandas.Series) -> pandas.Series:
    """Return our names of the paper's methods."""
    return methods.map(lambda method: METHODS[method][0])


def main_results(rows: pandas.DataFrame) -> Item:
    """Build Table 1: methods against IPC, a table per data set."""
    frame = paper.table(1)  # without CCFS on MTT: runs of Section 3 are in Table 10
    arms = dict([*(METHODS[name] for name in frame.method.unique()), TEACHER])
    names = titled(frame.method)
    body, ours = by_dataset(rows, 1, names, arms, "method", caption=PRINTED)
    shows = (
        "Test accuracy in percent of a ResNet-18 trained on the sets of coreset and "
        "distillation methods. Our columns have the IPC, image size and classes in "
        "their heads, and mostly a smaller network: compare rows within a column, not "
        "columns with each other. *Random* and *all images* are trained with hard "
        "labels, random images by SelMatch's training where other methods of the "
        "column are, else by CCFS's recipe without its teacher; the last row, random "
        "images with the teacher, is ours. Rows of ours with less than a tenth of the "
        "published work, and SRe²L on a run's own teacher, are in chapter 16 only."
    )
    shows += _selmatch(rows) + _work(ours)
    arms = "--arms simple-misclassified random distilled random-hard"
    todo = _cells(frame[frame.method == "ccfs"])
    todo = [f"{SWEEP} {cells} {arms}" for cells in todo]
    main = paper.table(1)[["dataset", "ipc"]].drop_duplicates()
    for dataset, ipc in main.itertuples(index=False):
        full = " --rows full" * (ipc == presets.CLASS_SIZE[dataset])
        todo.append(f"{EVERY} {dataset} --ipc {ipc}{full}")
    chapters = ("05_evaluation", "14_fair_metrics", "16_table1")
    return Item("Table 1", "Main results", shows, body, ours, chapters, todo)


def _selmatch(rows: pandas.DataFrame) -> str:
    """Say where SelMatch was run, if on digits alone or in runs of Section 3."""
    measured = rows[rows["cell"] == METHODS["selmatch"][1]["cell"][0]]
    photos = measured[~measured["dataset"].isin(SHOWN_ONLY)]
    if len(measured) and photos.empty:
        return " Section 3, SelMatch beside its variants, was run on digits only."
    if "beta" in photos and photos["beta"].notna().any():
        return " SelMatch beside its variants is in [Figure 2](#paper-figure-2)."
    return ""


def _work(columns: list[Column]) -> str:
    """Point to the share of the published work that rows of ours got."""
    cut = [c for c in columns if any("share" in rows for rows in c.cells.values())]
    text = " What part of the published work each row of ours got is in chapter 16."
    return text * bool(cut)


def by_dataset(
    rows, number, names, arms, first, apart=(), also=(), caption=BEST
) -> tuple[str, list[Column]]:
    """Split a table of the paper by data set; return it with the columns that are ours.

    names: what each line of the paper's table is called; first: the head of these
    names. arms, apart, also: as for `columns`.
    """
    frame, parts, ours = paper.table(number), [], []
    for dataset in frame.dataset.unique():
        part = frame[frame.dataset == dataset]
        shown = columns(beside.of(rows, dataset), arms, apart, also=also)
        printed = frozenset(names.loc[part.index])
        shown = [replace(column, printed=printed) for column in shown]
        title = f"Table {number} of the paper, {DATASETS[dataset]}, beside ours."
        label = f"tab-paper-{number}-{dataset}"
        printed = beside.pivot(part, names)
        text = beside.table(f"{title} {caption}", label, printed, shown, first)
        parts, ours = [*parts, text], [*ours, *shown]
    return "\n".join(parts), ours


def _cells(frame: pandas.DataFrame) -> list[str]:
    """List options that name the cells of a table: a line per data set."""
    return [
        f"{dataset} --ipc {' '.join(map(str, sorted(group.ipc.unique())))}"
        for dataset, group in frame.groupby("dataset", sort=False)
    ]


def networks(rows: pandas.DataFrame) -> Item:
    """Build Table 2: other networks that learn from the finished sets."""
    frame = paper.table(2)
    wide = frame.pivot(index="network", columns="method", values="accuracy")
    wide = wide.loc[frame.network.unique(), frame.method.unique()]
    printed = wide.map("{:.2f}".format).rename(columns=lambda m: METHODS[m][0])
    ours = []
    for dataset in DATASETS:
        selection = beside.of(rows, dataset, any_learner=True)
        selection = selection.assign(learner=_learner(selection))
        for family in beside.groups(selection, {LEARNER}):
            if family.learner.nunique() > 1:
                ours += _sets(family)
    caption = f"Table 2 of the paper, Tiny-ImageNet, IPC 100, beside ours. {LAST}."
    body = beside.table(caption, "tab-paper-2", printed, ours, "network")
    shows = (
        "Accuracy of five networks trained on sets whose filters were ResNet-18. The "
        "network of our filters is named below the table."
    )
    todo = f"{SWEEP} tiny-imagenet --ipc 100 --arms simple-misclassified distilled "
    todo += f"random --evaluation-network {' '.join(frame.network.unique())}"
    title, chapters = "Networks that took no part in the selection", ("15_networks",)
    if away := ladder.elsewhere(rows):
        shows += (
            " Sets that one network selected, learnt by others beside random images "
            "and alpha 0, are in chapter 17."
        )
        chapters += ("17_distilled_part",)
    item = Item("Table 2", title, shows, body, ours, chapters, [todo])
    item.noun = "networks"
    if data := dict.fromkeys(DATASETS[run["dataset"].iloc[0]] for run in away):
        item.kind = f"against random images, on {listed(data)}"
    return item


def _learner(rows: pandas.DataFrame) -> pandas.Series:
    """Name the network that each row measures: its own, or that of the filters."""
    both = rows.reindex(columns=[LEARNER, "network"]).astype(object)
    given = both[LEARNER].fillna("")
    return given.where(given != "", both["network"])


@dataclass(frozen=True)
class Set(Column):
    """A column of Table 2: one set, and the networks that learn from it."""

    name: str

    @property
    def head(self) -> str:
        """The set, then as for any column."""
        return f"{self.name.partition(' (')[0]}, {self.size}"


def _sets(family: pandas.DataFrame) -> list[Set]:
    result = []
    for name, arm in (METHODS["cda"], METHODS["ccfs"], TEACHER):
        selection = beside.pick(family, arm)
        cells = {str(n): part for n, part in selection.groupby("learner", sort=False)}
        printed = frozenset(paper.table(2).network)
        result += [Set(selection, cells, name, printed=printed)] if cells else []
    return result


def strategies(rows: pandas.DataFrame, number: int) -> Item:
    """Build Tables 3 and 11-13: the six ways to select."""
    frame = paper.table(number)
    (dataset,) = frame.dataset.unique()
    names = frame.fine + ", " + frame.coarse
    arms = {name: {"cell": (name.replace(", ", "-"),)} for name in names.unique()}
    body, ours = by_dataset(rows, number, names, arms, "images taken", also=("random",))
    shows = (
        "Coarse stage: images that the filter classifies correctly, or misclassifies. "
        "Fine stage: the simplest, the hardest, or a random draw."
    )
    todo = [f"{SWEEP} {cells} --arms {' '.join(STRATEGIES)}" for cells in _cells(frame)]
    title, chapters = f"Six strategies, {DATASETS[dataset]}", ("06_strategies",)
    item = Item(f"Table {number}", title, shows, body, ours, chapters, todo)
    item.dataset, item.noun = dataset, "strategies"
    return item


def scores(rows: pandas.DataFrame) -> Item:
    """Build Table 4: the score that orders images, at a tenth of each data set."""
    frame = paper.table(4)
    body, ours = by_dataset(rows, 4, frame.score, SCORES, "score", {"score"})
    values = "published-forgetting published-cscore logits"
    todo = [f"{SWEEP} {cells} --score {values} {ONE}" for cells in _cells(frame)]
    # Nobody published C-scores of Tiny-ImageNet.
    todo[-1] = todo[-1].replace(" published-cscore", "")
    shows = "The score by which the fine stage orders images, at 10 % of the data."
    chapters = ("07_scores",)
    item = Item("Table 4", "Difficulty scores", shows, body, ours, chapters, todo)
    item.noun = "scores"
    return item


def curricula(rows: pandas.DataFrame) -> Item:
    """Build Table 5: the number of phases, at a tenth of each data set."""
    frame = paper.table(5)
    tried = {*frame.curricula, *rows.get("curricula", pandas.Series()).dropna()}
    arms = {str(j): ccfs("curricula", j) for j in sorted(map(int, tried))}
    names = frame.curricula.astype(str)
    body, ours = by_dataset(rows, 5, names, arms, "phases", {"curricula"})
    each = " ".join(names.unique())
    todo = [f"{SWEEP} {cells} --curricula {each} {ONE}" for cells in _cells(frame)]
    shows = "The number of phases J over which the real images are chosen."
    title, chapters = "Number of curriculum phases", ("08_curricula",)
    item = Item("Table 5", title, shows, body, ours, chapters, todo)
    item.noun = "numbers of phases"
    return item


def matched(rows: pandas.DataFrame) -> Item:
    """Build Table 10: CCFS on images distilled by MTT, beside SelMatch."""
    frame, arms = paper.table(10), dict([METHODS["selmatch"], METHODS["ccfs-mtt"]])
    names = titled(frame.method)
    body, ours = by_dataset(rows, 10, names, arms, "method", caption=f"{LAST}.")
    shows = "CCFS on images distilled by MTT, evaluated as SelMatch is: hard labels."
    todo = [f"{MATCH} {cells}" for cells in _cells(frame)]
    return Item("Table 10", "CCFS with MTT", shows, body, ours, ("12_order",), todo)


# What Tables 6-9 set, as our presets have it; `at` is a share of the data set, percent.
SET = {
    "difficulty score": lambda e, at: e.score,
    "number of curricula": lambda e, at: e.curricula,
    "optimizer": lambda e, at: "SGD",  # the only one of `ccfs_lib.train`
    "base learning rate": lambda e, at: e.recipe.lr,
    "momentum": lambda e, at: e.recipe.momentum,
    "weight decay": lambda e, at: f"{e.recipe.weight_decay:g}",
    "learning rate schedule": lambda e, at: (
        f"cosine, {e.recipe.warmup_epochs} epochs of warm-up"
    ),
    "augmentation": lambda e, at: {"rrc": "random resized crop"}[e.recipe.augment],
    "training epochs": lambda e, at: e.recipe.epochs,
    "batch size": lambda e, at: e.recipe.for_size(at, 100).batch_size,
}
# Shares within each of Table 8's ranges: the released scripts cut elsewhere.
WITHIN = {"<=5%": range(1, 6), "5%-20%": range(6, 21), ">20%": range(21, 41)}
PRESETS = {
    "preset paper": {"scale": "paper"},
    "preset released": {"scale": "paper", "reading": "released"},
    "preset laptop": {"scale": "laptop"},
}
TITLES = {
    6: ("Settings on CIFAR-10 and CIFAR-100", "Equal for filters and evaluation."),
    7: ("Training epochs on CIFAR", "By the final set's share of the data set."),
    8: ("Batch size on CIFAR", "By the share of the data set that the current set is."),
    9: ("Settings on Tiny-ImageNet", "Equal for filters and evaluation."),
}


def _set(config: str, dataset: str, shares) -> list[str]:
    """List what each preset has of a setting, over shares of the data set (percent)."""
    cells = []
    for given in PRESETS.values():
        values = {}
        for at in shares:
            ipc = presets.CLASS_SIZE[dataset] * at // 100
            value = SET[config](preset(dataset, ipc=ipc, **given), at)
            values[str(value)] = None
        cells.append(", ".join(values))
    return cells


def preset_table(number: int) -> Item:
    """Build Tables 6-9: the paper's settings beside those of our presets."""
    frame = paper.table(number)
    dataset = frame.dataset.iloc[0].replace("cifar", "cifar10")
    lines = [f"| setting | paper | {' | '.join(PRESETS)} |"]
    lines += ["|:--|" + ":--|" * (1 + len(PRESETS))]
    for line in frame.itertuples():
        ratio = getattr(line, "ratio", "")
        shares = WITHIN.get(ratio) or [int(ratio.rstrip("%") or 10)]
        cells = [line.value, *_set(line.config, dataset, shares)]
        name = f"{line.config}, {ratio.replace('<=', '≤ ')}" if ratio else line.config
        lines.append(f"| {name} | {' | '.join(cells)} |")
    caption = (
        f"Table {number} of the paper, and our presets: scale `paper` as its tables "
        "have it and as the released scripts do, and scale `laptop`."
    )
    body = findings.captioned(caption, f"tab-paper-{number}", lines)
    notes = frame.note.unique() if "note" in frame else ()
    body = "\n".join([body, *(f"{note[0].upper()}{note[1:]}.\n" for note in notes)])
    title, shows = TITLES[number]
    where = "every setting of every preset is in {doc}`running`"
    item = Item(f"Table {number}", title, shows, body, where=where)
    item.chapters, item.kind = ("13_unsaid",), "our presets"
    return item
