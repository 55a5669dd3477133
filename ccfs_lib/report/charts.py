"""Charts that several chapters share: confusions, intervals, a printed matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from scipy.optimize import isotonic_regression

from ccfs_lib.report.style import PALETTE, canvas, drawn, legend, note, short
from ccfs_lib.report.text import DASH, plain, plus_minus
from ccfs_lib.statistics import FEW, summary

LETTERS = 57  # of 10.5 points, as many as a figure is wide
NAMES = 0.055  # of the height of axes, between the lines of a column of names
MOST = 10  # classes in a confusion matrix: more cannot be read
# Each scale is one hue from pale to full, so that grey print keeps the order. Orange is
# for mistakes, blue for what is good when it is much.
WRONG = LinearSegmentedColormap.from_list("wrong", ["#FBE3D2", "#D55E00"])
VALUES = LinearSegmentedColormap.from_list("values", ["#E6F1F8", "#0072B2"])


def counts(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """Count images by true class (rows) and answer (columns), int (C, C).

    labels, answers: int (N,), 0 to classes - 1.
    """
    flat = np.bincount(labels * classes + answers, minlength=classes**2)
    return flat.reshape(classes, classes)


def most_confused(matrix: np.ndarray, most: int = MOST) -> list[int]:
    """List the classes of the most frequent confusions, at most `most`, in class order.

    matrix: that of `counts`. Pairs are taken whole, either way round: a class without
    its double would show mistakes whose column is not in the picture.
    """
    if len(matrix) <= most:
        return list(range(len(matrix)))
    wrong = matrix + matrix.T
    upper = np.argwhere(np.triu(np.ones_like(wrong), 1))
    ranked = upper[np.argsort(-wrong[tuple(upper.T)], kind="stable")]
    kept: dict[int, None] = {}  # a set that keeps its order
    for pair in ranked:
        if len(kept) + sum(int(c) not in kept for c in pair) > most:
            break
        kept |= {int(c): None for c in pair}
    return sorted(kept)


@drawn
def confusion(labels: np.ndarray, answers: np.ndarray, classes: Sequence[str]):
    """Draw the confusion matrix, percent of each true class; the diagonal is grey.

    labels, answers: int (N,). Many classes: those of the most frequent confusions. The
    colour scale is that of the mistakes, since a diagonal near 100 % would leave them
    all pale; it never starts below 5 %, or a nearly perfect network would look bad.
    """
    matrix = counts(labels, answers, len(classes))
    some = most_confused(matrix)
    # Percent of all of a class, also where only some answers are shown: rows of a part
    # need not add up to 100, and the note above says that it is a part.
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shares = shares[np.ix_(some, some)]
    figure, ax = canvas(0.9 + 0.42 * len(some))
    mistakes = np.ma.masked_where(np.eye(len(some), dtype=bool) | (shares == 0), shares)
    worst = max(5, shares[~np.eye(len(some), dtype=bool)].max(initial=0))
    ax.imshow(mistakes, cmap=WRONG, vmin=0, vmax=worst, aspect="auto")
    for (row, column), value in np.ndenumerate(shares):
        _cell(ax, column, row, value, row == column, worst)
    names = [short(classes[c], 11) for c in some]
    slanted = {"rotation": 40, "ha": "right"} if max(map(len, names)) > 3 else {}
    ax.set_xticks(range(len(some)), names, **slanted)
    ax.set_yticks(range(len(some)), names)
    ax.set(xlabel="answered", ylabel="true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(some) < len(classes):
        note(ax, f"{len(some)} of {len(classes)} classes: the most confused pairs")
    return figure


def _cell(ax, x, y, value, right: bool, worst) -> None:
    """Write a number in a cell; a mistake that rounds to zero stays empty."""
    if right:
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color="#EBEEF0", lw=0))
    # One digit below one percent, where a mistake would round to nothing.
    digits = 1 if value < 1 and not right else 0
    text = f"{value:.{digits}f}"
    if float(text) or right:
        white = not right and value > 0.7 * worst
        colour = "white" if white else PALETTE["ink"]
        ax.text(x, y, text, ha="center", va="center", fontsize=9, color=colour)


@dataclass(frozen=True)
class Line:
    """One line of an interval chart: mean ± half, and the single values behind it."""

    label: str
    mean: float
    half: float  # nan: no interval
    points: Sequence[float] = ()
    colour: str = "blue"
    aside: str = ""  # written at the right end
    second: float | None = None  # an open mark: best accuracy, the paper's value, ...

    def __post_init__(self):
        if 0 < len(self.points) < FEW:
            object.__setattr__(self, "half", np.nan)

    @classmethod
    def of(cls, label: str, points: Sequence[float], colour="blue", digits=1) -> "Line":
        """Return the line of these values, mean and interval written beside it."""
        s = summary(points)
        return cls(label, s.mean, s.half, points, colour, plus_minus(s, digits))


@drawn
def intervals(
    lines: Sequence[Line], xlabel: str, rules: dict[str, float], second="", most=np.inf
):
    """Draw means with intervals and all single values, labels above their lines.

    Labels have separate lines, so a narrow screen keeps its width for the axis.
    rules: name -> x of vertical lines. second: what the open marks are. most: the
    largest possible value, where the axis ends, as t intervals know no bounds. The
    single values are drawn because of three seeds an interval alone hides too much.
    """
    figure, ax = canvas(0.95 + 0.56 * len(lines) + 0.22 * bool(second or rules))
    low, high = window(lines, rules.values(), most)
    for name, x in rules.items():
        _rule(ax, x, len(lines), name)
    for y, line in enumerate(lines):
        # With an underscore: a name for the numbers, not for the legend.
        colour, name = PALETTE[line.colour], f"_{line.label}"
        if not np.isnan(line.half):
            bar(ax, line, y, (low, high), name)
        seeds, style = line.points, {"color": colour, "label": name}
        ax.plot(seeds, [y] * len(seeds), "|", ms=12, mew=1.5, gid="seed", **style)
        ax.plot([line.mean], [y], "o", ms=8, gid="mean", **style)
        if line.second is not None:
            ax.plot([line.second], [y + 0.2], "D", **OPEN, gid="second", label=name)
    _labels(ax, lines)
    handles, names = ax.get_legend_handles_labels()
    if second:
        handles += ax.plot([], [], "D", **OPEN)
        names += [second]
    if names:
        legend(ax, handles, names)
    ax.set(xlabel=xlabel, ylim=(len(lines) - 0.5, -0.75), yticks=[], xlim=(low, high))
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    return figure


def bar(ax, line: Line, y: float, ends: tuple[float, float], name: str, width=6.0):
    """Draw the interval of a line, with a head where it goes on beyond the axis.

    ends: the limits of the axis. The numbers behind the figure have the whole interval.
    """
    style = {"color": PALETTE[line.colour], "alpha": 0.3}
    low, high = line.mean - line.half, line.mean + line.half
    kept = {"solid_capstyle": "butt", "gid": "interval", "label": name}
    ax.plot([low, high], [y, y], lw=width, **style, **kept)
    beyond = (low < ends[0], ends[0], "<"), (high > ends[1], ends[1], ">")
    for x, head in ((x, head) for out, x, head in beyond if out):
        ax.scatter([x], [y], 2 * width**2, marker=head, lw=0, clip_on=False, **style)


def _rule(ax, x: float, lines: int, name: str) -> None:
    """Draw a vertical rule beside the marks, with gaps for the texts between them."""
    # In parts of the axis, as its limits are: from y = lines - 0.5 up to -0.75.
    ends = [y + side for y in range(lines) for side in (-0.2, 0.36)]
    heights = (lines - 0.5 - np.array(ends)) / (lines + 0.25)
    heights = np.insert(heights.clip(0), range(2, len(ends), 2), np.nan)
    style = {"color": PALETTE["grey"], "lw": 1.2, "ls": (0, (4, 3)), "label": name}
    place = ax.get_xaxis_transform()
    ax.plot([x] * len(heights), heights, transform=place, **style)


def band(ax, x: Sequence[float], seeds: Sequence[Sequence[float]], colour, label=""):
    """Draw means with the band of their 95 % intervals, and a dash per seed.

    seeds: the percentages of every seed at each x. Intervals are cut at 0 and 100, as
    t intervals of few seeds know no bounds.
    """
    ink, summaries = PALETTE[colour], [summary(values) for values in seeds]
    means, halves = (
        np.array([getattr(s, k) for s in summaries]) for k in ("mean", "half")
    )
    low, high = np.clip(means - halves, 0, 100), np.clip(means + halves, 0, 100)
    ax.fill_between(x, low, high, color=ink, alpha=0.15, lw=0)
    ax.plot(x, means, "o-", color=ink, label=label)
    for place, values in zip(x, seeds, strict=True):
        ax.plot([place] * len(values), values, "_", color=ink, ms=9, mew=1.4)


def drawn_as(seeds: Sequence[Sequence[float]]) -> str:
    """Say in a legend what is drawn of the values by seed: an interval of three."""
    most = max(map(len, seeds))
    if most >= FEW:
        return "mean and 95 % interval"
    return "one seed" if most == 1 else "mean of two seeds"


OPEN = {"mfc": "none", "mec": PALETTE["ink"], "ms": 6, "mew": 1.2}


def window(lines: Sequence[Line], rules, most=np.inf) -> tuple[float, float]:
    """Return the axis limits (low, high): all marks, and intervals but huge ones.

    The axis does not start at 0, because differences of a point are what the chart is
    about. An interval over three times the median one would squeeze the others to dots;
    it runs off the axis, and its numbers stand beside it.
    """
    halves = [line.half for line in lines if not np.isnan(line.half)]
    usual = 3 * np.median(halves) if halves else 0
    marks = [*rules]
    for line in lines:
        half = line.half if line.half <= usual else 0
        marks += [line.mean - half, line.mean + half, *line.points]
        marks += [] if line.second is None else [line.second]
    # Never zero: one line of one value must still have an axis, of round numbers.
    span = max(marks) - min(marks)
    margin = 0.05 * span if span >= 1e-3 else 0.5
    return min(marks) - margin, min(max(marks) + margin, most)


def _labels(ax, lines) -> None:
    """Write the name of a line above it, at the left, and its note at the right."""
    place = ax.get_yaxis_transform()
    for y, line in enumerate(lines):
        box = {"fc": PALETTE["card"], "ec": "none", "pad": 1}  # over the grid
        # Smaller where name and note together are longer than the figure is wide.
        size = 10.5 * min(1, LETTERS / max(1, len(line.label) + len(line.aside)))
        style = {"transform": place, "va": "center", "fontsize": size, "bbox": box}
        ax.text(0, y - 0.42, line.label, **style)
        ax.text(1, y - 0.42, line.aside, ha="right", **style, color="#5B6770")


def beside(ax, marks: Sequence[tuple[float, float, str]]) -> None:
    """Name marks in a column right of the axes, a thin line from each to its name.

    marks: y, x and name of each, in data coordinates; the axes' limits must be final.
    Marks that lie together would hide names beside them.
    """
    marks = sorted(marks)
    if not marks:
        return
    low, high = ax.get_ylim()
    heights = apart([(y - low) / (high - low) for y, *_ in marks], NAMES)
    line = {"arrowstyle": "-", "color": PALETTE["grey"], "lw": 0.6, "alpha": 0.6}
    for (y, x, name), height in zip(marks, heights, strict=True):
        ax.annotate(
            *(name, (x, y), (1.04, height)),
            textcoords="axes fraction",
            arrowprops=line | {"relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4},
            va="center",
            fontsize=9,
        )


def apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """Move ascending heights so that neighbours have a gap, by the least squares.

    The highest is 1 at most; more of them than fit reach below 0.
    """
    steps = gap * np.arange(len(heights))
    moved = isotonic_regression(np.asarray(heights) - steps).x
    return np.clip(moved, 0, None).clip(None, 1 - steps[-1]) + steps


@drawn
def matrices(shown: dict[str, np.ndarray], rows, columns, halves=None):
    """Draw small matrices of percentages, one below the other, with numbers inside.

    As Table 3 has them. Each matrix has separate colours, from its lowest number to its
    highest, at least a point apart: patterns can be compared between them, shades not.
    shown: title -> float (R, K), nan where nothing is known. halves: title -> the
    same shape, half widths of the intervals; printed where they are not nan.
    """
    height = 0.75 + 0.62 * len(rows)
    figure, axes = canvas(height * len(shown), len(shown), squeeze=False)
    for ax, (title, matrix) in zip(axes[:, 0], shown.items(), strict=True):
        # At least a point of range, or noise in the last digit would be full colour.
        low, high = np.nanmin(matrix), np.nanmax(matrix)
        ax.imshow(matrix, cmap=VALUES, vmin=low, vmax=max(high, low + 1), aspect="auto")
        for (row, column), value in np.ndenumerate(matrix):
            half = (halves or {}).get(title, np.full(matrix.shape, np.nan))[row, column]
            text = DASH if np.isnan(value) else plain(value)
            text += "" if np.isnan(half) else f" ± {half:.1f}"
            white = value > low + 0.6 * max(high - low, 1)  # legible on both ends
            ink = "white" if white else PALETTE["ink"]
            ax.text(column, row, text, ha="center", va="center", color=ink)
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        note(ax, title)
    return figure
