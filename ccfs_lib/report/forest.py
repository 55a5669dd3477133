"""The front page's figure: what each step of CCFS is worth, in every independent run.

Read from results files (`ccfs_lib.claims.ladder`); a line per run shows which of the
differences are the same everywhere, and which change with the run.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas

from ccfs_lib.claims import ladder
from ccfs_lib.claims.compare import over_teachers, verdict
from ccfs_lib.claims.ladder import Measured
from ccfs_lib.report.arms import SHOWN
from ccfs_lib.report.charts import OPEN, Line, bar, window
from ccfs_lib.report.style import PALETTE, canvas, drawn, legend
from ccfs_lib.report.text import MINUS, bracketed
from ccfs_lib.statistics import FEW, Difference

DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10 as JPEG",
    "cifar100": "CIFAR-100",
    "cifar100-coarse": "CIFAR-100-20",  # its images, with the 20 superclasses
    "tiny-imagenet": "Tiny-ImageNet",
}
NETWORKS = {"resnet": "ResNet-", "convnet": "ConvNet"}
HEAD = 0.75  # height of a heading, in lines
ACROSS = 55  # letters of a heading that fit into the figure
LABEL = "difference in test accuracy"


def data(run: pandas.Series, pixels: bool = True) -> str:
    """Name a run's data: CIFAR-10 as JPEG (16 px). pixels: whether these are named."""
    units = {"classes": "classes"} | ({"image_size": "px"} if pixels else {})
    parts = [
        f"{run[name]:.0f} {unit}"
        for name, unit in units.items()
        if run.get(name, 0) > 0
    ]
    of = f" ({', '.join(parts)})" * bool(parts)
    return f"{DATASETS.get(run['dataset'], run['dataset'])}{of}"


def place(run: pandas.Series) -> str:
    """Name a run by its data and IPC: CIFAR-10 as JPEG (16 px), IPC 100."""
    return f"{data(run)}, IPC {run['ipc']:.0f}"


def network(name: str) -> str:
    """Return a network's name as the field writes it: ResNet-18, ConvNet."""
    kind = name.rstrip("0123456789-")
    if kind == "resnet" and name != kind:
        return NETWORKS[kind] + name.removeprefix(kind)
    return NETWORKS.get(kind, name)


def teacher(run: pandas.Series) -> str:
    """Return ", teacher 2" for a run with that of seed 1; "" with the first."""
    seed = ladder.teacher(run)
    return f", teacher {seed + 1}" if seed else ""


def named(run: pandas.Series) -> str:
    """Name a run by data, IPC and network, and its teacher if it is not the first."""
    return f"{place(run)}, {network(run['network'])}{teacher(run)}"


def alike(found: Iterable[Measured]) -> list[list[Measured]]:
    """Group what was measured with the same data and network, teacher by teacher."""
    return by_key(found, lambda one: (place(one.run), one.run["network"]))


def by_key(items: Iterable, key: Callable) -> list[list]:
    """Group items with equal key(item), in the order in which the keys come up."""
    groups: dict = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def lines(found: Sequence[Measured]) -> list[Line]:
    """Return a measured step as lines: difference, interval, seeds, the paper's.

    Data and a network with FEW teachers or more are one line, over their means.
    """
    shown = []
    for group in alike(found):
        shown += [_over(group)] if len(group) >= FEW else map(_line, group)
    return shown


def _line(found: Measured) -> Line:
    points = [points for _, points in found.difference.by_seed]
    return _drawn_as(named(found.run), found.difference, points, found)


def _over(group: Sequence[Measured]) -> Line:
    each, first = [one.difference for one in group], group[0]
    name = f"{place(first.run)}, {network(first.run['network'])}, {len(group)} teachers"
    return _drawn_as(name, over_teachers(each), [d.mean for d in each], first)


def _drawn_as(name: str, d: Difference, points, found: Measured) -> Line:
    colour = SHOWN[verdict(d)][0]
    return Line(name, d.mean, d.half, points, colour, bracketed(d), found.printed)


def draw(steps: dict[str, Sequence[Line]]):
    """Draw a heading for each step, and below it its lines.

    steps: those that were measured, in the order of the figure; points.
    """
    return grouped(steps, f"{LABEL} (points, 95 % t interval)")


@drawn
def grouped(groups: dict[str, Sequence[Line]], xlabel: str):
    """Draw differences with their intervals, below the headings of their groups."""
    every = [entry for entries in groups.values() for entry in entries]
    height = len(every) + HEAD * len(groups)
    figure, ax = canvas(0.8 + 0.34 * height)
    low, high = window(every, [0.0])
    ax.axvline(0, color=PALETTE["grey"], lw=1.2, ls=(0, (4, 3)))
    y, longest = 0.0, max(map(len, groups))
    head = {"weight": "bold", "fontsize": min(10.5, 10.5 * ACROSS / longest)}
    for name, entries in groups.items():
        _text(ax, 0, y + 0.28, name.replace("minus", MINUS), **head)
        y += HEAD
        for entry in entries:
            _mark(ax, entry, y + 0.62, (low, high), name)
            _text(ax, 0, y + 0.22, entry.label, fontsize=9.5)
            _text(ax, 1, y + 0.22, entry.aside, ha="right", fontsize=9.5)
            y += 1
    if any(entry.second is not None for entry in every):
        legend(ax, ax.plot([], [], "D", **OPEN), ["the paper's difference"])
    ax.set(xlabel=xlabel, xlim=(low, high), ylim=(y + 0.1, -0.1), yticks=[])
    ax.xaxis.label.set_fontsize(10)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    return figure


def _mark(ax, entry: Line, y: float, ends: tuple[float, float], step: str) -> None:
    colour, name = PALETTE[entry.colour], f"_{step}: {entry.label}"
    style = {"color": colour, "label": name}
    if not np.isnan(entry.half):
        bar(ax, entry, y, ends, name, 5)
    ax.plot(entry.points, [y] * len(entry.points), "|", ms=8, gid="seed", **style)
    ax.plot([entry.mean], [y], "o", ms=6, gid="mean", **style)
    if entry.second is not None:
        ax.plot([entry.second], [y], "D", **OPEN, gid="paper", label=name)


def _text(ax, x: float, y: float, text: str, **style) -> None:
    box = {"fc": PALETTE["card"], "ec": "none", "pad": 0.8}  # over vertical rules
    style = {"fontsize": 10.5, "va": "center", "bbox": box} | style
    shown = ax.text(x, y, text, transform=ax.get_yaxis_transform(), **style)
    shown.set_in_layout(False)  # a long one would make the axis narrow
