"""The numbers behind a figure, as CSV: read back from what was drawn.

One reader for every chart, so that no chart has to keep a second account of itself:
what the file says is what the figure shows. Shaded bands are left out, because they are
computed from the seeds, which are there.
"""

import csv
import io
from collections.abc import Iterator

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedFormatter, FuncFormatter

HEAD = ("panel", "series", "mark", "x", "y", "value")
MOST = 400  # points of a line: a notebook keeps these numbers


def table(figure) -> str:
    """Return the marks of a figure as CSV: panel, series, mark, x, y, value.

    panel: the note above the axes, or their number. series: the name in the legend. x,
    y: data coordinates, or the name that stands at the tick. value: of a matrix's cell.
    A line of more than `MOST` points keeps its ends and even steps between them.
    """
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(HEAD)
    for number, ax in enumerate(figure.axes, 1):
        panel = ax.get_title(loc="left") or number
        names = _names(ax.xaxis), _names(ax.yaxis)
        for series, mark, x, y, *value in _marks(ax):
            place = (n.get(v, _text(v)) for n, v in zip(names, (x, y), strict=True))
            rows.writerow([panel, series, mark, *place, *map(_text, value or [""])])
    return file.getvalue()


def _marks(ax) -> Iterator[tuple]:
    """Yield (series, mark, x, y) of lines, bars, intervals; cells have a value too."""
    for container in ax.containers:
        # Error bars have no orientation: they are lines, and come with the others.
        if side := getattr(container, "orientation", None):
            for bar in container.patches:
                x, y = bar.get_x(), bar.get_y()
                x += bar.get_width() / (1 if side == "horizontal" else 2)
                y += bar.get_height() / (2 if side == "horizontal" else 1)
                yield _name(container), "bar", x, y
    for line in ax.lines:
        yield from _line(line, ax)
    for segments in ax.collections:
        if isinstance(segments, LineCollection):
            for x, y in np.concatenate(segments.get_segments()):
                yield _name(segments), "interval", x, y
    for image in ax.images:
        values = np.ma.getdata(image.get_array())
        # A third axis is colour: a picture, which nobody wants as numbers.
        for (row, column), value in np.ndenumerate(values if values.ndim == 2 else []):
            yield "", "cell", column, row, value


def _line(line, ax) -> Iterator[tuple]:
    name = _name(line)
    x, y = (np.asarray(v, dtype=float) for v in (line.get_xdata(), line.get_ydata()))
    # A rule across the axes has one coordinate of the data, and one of the paper.
    if line.get_transform() == ax.get_xaxis_transform():
        yield name, "rule", x[0], ""
    elif line.get_transform() == ax.get_yaxis_transform():
        yield name, "rule", "", y[0]
    else:
        mark = line.get_gid() or ("point" if line.get_marker() != "None" else "line")
        some = np.linspace(0, len(x) - 1, min(len(x), MOST)).round().astype(int)
        for i in some:
            yield name, mark, x[i], y[i]


def _name(artist) -> str:
    """Return the label, without the _ that keeps it off legends; "" for no label."""
    label = str(artist.get_label())
    return "" if label.startswith("_child") else label.lstrip("_")


def _names(axis) -> dict[float, str]:
    """Return the text at the ticks of an axis of names; {} for one of numbers."""
    formatter, places = axis.get_major_formatter(), axis.get_majorticklocs().tolist()
    if not isinstance(formatter, FixedFormatter | FuncFormatter):
        return {}
    # Of the formatter: of axes that share one, only the last shows its labels.
    return dict(zip(places, formatter.format_ticks(places), strict=False))


def _text(value) -> str:
    """Format a number with five digits; text stays as it is."""
    if isinstance(value, str):
        return value
    return f"{int(value)}" if value == int(value) else f"{value:.5g}"
