"""The paper's Figures 1-11, by what they show: their pictures are not ours to copy."""

import re

import beside
import findings
import pandas
from beside import DATASETS, LAST, Column, Item, ccfs, columns
from paper_tables import MATCH, ONE, SWEEP

from ccfs_lib import paper
from ccfs_lib.arms import CCFS
from ccfs_lib.claims import compare
from ccfs_lib.report.text import DASH, plus_minus, signed
from ccfs_lib.statistics import FEW


def figures(rows: pandas.DataFrame) -> list[Item]:
    """Build the eleven figures; rows: those of `results.load`, of all runs together."""
    pair, loop = (
        Item(name, title, "", where="drawn again in {doc}`method`", kind="a diagram")
        for name, title in (
            ("Figure 1", "Two ways to combine"),
            ("Figure 3", "Architecture of CCFS"),
        )
    )
    pair.shows = (
        "A diagram: SelMatch selects once and independently of the distilled images; "
        "CCFS selects in phases, from what the current filter misclassifies."
    )
    loop.shows = "A diagram: the loop over phases, and the two stages in each of them."
    loop.chapters = ("04_curriculum_phase",)
    return [pair, variants(rows), loop, inside(rows), portions(rows), *pictures()]


def variants(rows: pandas.DataFrame) -> Item:
    """Build Figure 2: SelMatch and its variants, over IPC and the window's start."""
    photos = [beside.of(rows, dataset) for dataset in DATASETS]
    arms = {name: {"cell": (name,)} for name in ("selmatch", "two-shot", "reverse")}
    ours = [column for own in photos for column in columns(own, arms, least=3)]
    parts = [_gains(ours)]
    for own in photos:
        for family in beside.groups(own, {"beta"}) if "beta" in own else ():
            family = family[family["cell"].isin(("selmatch", "reverse"))]
            if family.beta.nunique() > 1:
                parts.append(_windows(family))
                ours.append(Column(family, {"all": family}))
    shows = (
        "(a) Accuracy of SelMatch, two-shot selection and reverse selection (after "
        "distillation) at four IPC of CIFAR-100. (b) SelMatch and reverse selection at "
        "several starts of SelMatch's window. The values of the curves are not printed."
    )
    todo = [f"{MATCH} cifar100 --ipc 25 50 100 150"]
    title, body = "SelMatch and its two variants", "\n".join(parts)
    return Item("Figure 2", title, shows, body, ours, ("12_order",), todo)


def _gains(ours: list[Column]) -> str:
    """Tabulate Figure 2(a): points over SelMatch, the paper's from its text."""
    known = paper.claims().set_index("id").paper_difference
    heads = ["paper, mean over IPC", "paper, largest"]
    heads += beside.heads(ours)
    lines = [f"| over SelMatch | {' | '.join(heads)} |", "|:--|" + "--:|" * len(heads)]
    for arm, name in (("two-shot", "two-shot"), ("reverse", "distilled first")):
        cells = [signed(known[f"{arm}-{what}"]) for what in ("mean", "max")]
        for column in ours:
            d = compare.compare(column.rows, arm, "selmatch")
            cells.append(signed(d.mean) + f" ± {d.half:.1f}" * (d.n_a >= FEW))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    caption = "Figure 2(a) of the paper, CIFAR-100: points of accuracy over SelMatch, "
    caption += "beside ours, paired by seed."
    legend = "\n".join(column.legend() for column in ours)
    return findings.captioned(caption, "tab-paper-figure-2a", lines) + f"\n{legend}\n"


def _windows(family: pandas.DataFrame) -> str:
    """Tabulate Figure 2(b) of a family of runs: accuracy by the window's start."""
    lines = ["| window begins at | SelMatch | distilled first |", "|:--|--:|--:|"]
    for beta, group in family.groupby("beta"):
        both = [
            group[group["cell"] == cell]["last"] for cell in ("selmatch", "reverse")
        ]
        cells = [plus_minus([float(v) for v in x]) if len(x) else DASH for x in both]
        lines.append(f"| {beta:g} | {' | '.join(cells)} |")
    caption = f"For Figure 2(b): {Column(family, {})}. {LAST}."
    label = re.sub(r"\W+", "-", f"tab-paper-figure-2b-{family.run.min()}").lower()
    return findings.captioned(caption, label, lines)


def inside(rows: pandas.DataFrame) -> Item:
    """Build Figure 4: filters and difficulty, phase by phase."""
    arm = {"CCFS": {"cell": (CCFS,)}}
    ours = [
        column
        for dataset in DATASETS
        for column in columns(beside.of(rows, dataset), arm, also=("random",))
        if "phases.1.train" in column.rows
    ]
    lines = [line for column in ours for line in _phases(column)]
    head = "| ours | phase | filter, training images | filter, test images "
    head += "| difficulty, mean | lowest | highest |"
    caption = (
        "For Figure 4(a) and (b): accuracy in percent of each phase's filter, and "
        "difficulty of the selected images; means over seeds."
    )
    lines = [head, "|:--|" + "--:|" * 6, *lines]
    body = findings.captioned(caption, "tab-paper-figure-4", lines) if ours else ""
    shows = (
        "On Tiny-ImageNet: (a) the filter's accuracy on training and validation images "
        "in each phase, IPC 50; (b) the difficulty of the selected images in each "
        "phase; (c) images of median difficulty, three classes. Values are not printed;"
        " the paper's statements about the curves are tested in {doc}`verdict`."
    )
    todo = [f"{SWEEP} tiny-imagenet --ipc 50 100 {ONE}"]
    chapters = ("04_curriculum_phase", "10_inside")
    title = "The curriculum from inside"
    return Item("Figure 4", title, shows, body, ours, chapters, todo)


def _phases(column: Column) -> list[str]:
    rows, lines = column.cells["CCFS"], []
    for j in range(1, int(rows.curricula.iloc[0]) + 1):
        means = [
            pandas.to_numeric(rows[f"phases.{j}.{what}"]).mean()
            for what in ("train", "test", "mean", "low", "high")
        ]
        numbers = [f"{v:.1f}" for v in means[:2]] + [f"{v:.2f}" for v in means[2:]]
        if j == 1 and not float(rows.alpha.iloc[0]):  # there is no first filter
            numbers[:2] = [DASH] * 2
        lines.append(f"| {column} | {j} | {' | '.join(numbers)} |")
    return lines


def portions(rows: pandas.DataFrame) -> Item:
    """Build Figure 5: accuracy against the distilled portion."""
    alphas = sorted(set(map(float, rows.get("alpha", pandas.Series()).dropna())))
    arms = {f"{alpha:g}": ccfs("alpha", alpha) for alpha in alphas}
    ours = [
        column
        for dataset in DATASETS
        for column in columns(beside.of(rows, dataset), arms, {"alpha"})
    ]
    body = ""
    if ours:
        heads = list(map(str, ours))
        lines = [f"| portion | {' | '.join(heads)} |", "|:--|" + "--:|" * len(heads)]
        for alpha in [a for a in arms if any(a in c.cells for c in ours)]:
            lines.append(f"| {alpha} | {' | '.join(c.value(alpha) for c in ours)} |")
        caption = f"For Figure 5: CCFS. {LAST}."
        body = findings.captioned(caption, "tab-paper-figure-5", lines)
        body += "\n" + "\n".join(column.legend() for column in ours) + "\n"
    claim = paper.claims().set_index("id").claim["alpha-best-small"]
    shows = (
        "Accuracy against the distilled portion (alpha) on all three data sets. The "
        f"values are not printed. The paper's conclusion: {claim}"
    )
    tenths = paper.table(5)[["dataset", "ipc"]].drop_duplicates()  # of the data sets
    todo = [
        f"{SWEEP} {dataset} --ipc {ipc} --alpha 0 0.1 0.2 0.3 0.4 0.6 0.8 1 {ONE}"
        for dataset, ipc in tenths.itertuples(index=False)
    ]
    title, chapters = "How much is distilled", ("09_alpha", "17_distilled_part")
    return Item("Figure 5", title, shows, body, ours, chapters, todo)


def pictures() -> list[Item]:
    """Build Figures 6-11: finished sets as pictures, at the lowest and highest IPC."""
    main, result = paper.table(1), []
    for dataset, title in DATASETS.items():
        ipc = main[(main.method == "ccfs") & (main.dataset == dataset)].ipc
        for number in (min(ipc), max(ipc)):
            name = f"Figure {6 + len(result)}"
            item = Item(name, f"The set, {title}, IPC {number}", shows="")
            item.shows = (
                f"Ten classes of the set for {title} at IPC {number}: two real images "
                "of median difficulty per class and phase, and four distilled ones."
            )
            item.chapters, item.dataset = ("03_distillation", "10_inside"), dataset
            item.kind, item.size = "galleries", f"IPC {number}"
            item.commands = [f"{SWEEP} {dataset} --ipc {number} {ONE}"]
            result.append(item)
    return result
