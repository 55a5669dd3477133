"""The look of every figure: one palette, one width; for phones and dark pages too.

Figures are matplotlib's, built without pyplot: nothing global is left behind, and
saving one as PDF or changing an axis needs no more than matplotlib's manual.
"""

import io
import re
from functools import wraps
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Base
from PIL import Image, ImageColor

from ccfs_lib.report import marks

# Okabe and Ito's colours: distinct under every common kind of colour blindness.
PALETTE = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "grey": "#8A929A",
    "light": "#DDE2E6",
    "ink": "#22272B",
    "card": "#FCFCFA",  # figures keep a light card where the page is dark
}
WIDTH = 5.0  # inches: 11-point type stays readable when a phone halves the figure
DPI = 144  # of the file; shown at 110, so that fine screens have pixels to spare
SHOWN = 110
# No box around the data: two axes and a light grid are all that is read from.
SETTINGS = {
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.edgecolor": PALETTE["grey"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["ink"],
    "ytick.color": PALETTE["ink"],
    "grid.color": PALETTE["light"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 10,
}
# Text stays text, and identifiers do not differ between two equal figures.
VECTOR = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ccfs",
    "font.sans-serif": ["DejaVu Sans"],  # not a list of ten at every number
}

# Of photographs: each of 256 values of a channel, rounded to one of 64.
LEVELS = (np.round(np.arange(256) * 63 / 255) * 255 / 63).round().astype(np.uint8)


class Figure(Base):
    """A matplotlib figure that shows itself in a notebook as a small, sharp PNG.

    Beside it the notebook keeps an SVG that holds the numbers drawn, and the book
    offers both for download; not of photographs, which would be their pixels again.
    """

    photographs = False  # colours of drawings fit a palette, those of photographs not

    def _repr_png_(self) -> tuple[bytes, dict]:
        file = io.BytesIO()
        self.savefig(file, dpi=DPI, facecolor=PALETTE["card"])
        picture = Image.open(file).convert("RGB")
        width = picture.width
        if not self.photographs:
            # Drawings have few colours and lose nothing; executed pages are in git.
            picture = picture.quantize(128, dither=Image.Dither.NONE)
        else:
            picture = rounded(picture)
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        # Without a height the browser keeps the proportions on a narrow screen.
        return file.getvalue(), {"width": round(width * SHOWN / DPI)}

    def _repr_svg_(self) -> str | None:
        if self.photographs:
            return None
        file = io.StringIO()
        with mpl.rc_context(VECTOR):
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            self.savefig(
                file, format="svg", facecolor=PALETTE["card"], metadata=nothing
            )
        drawing = file.getvalue()
        drawing = drawing[drawing.index("<svg") :]  # no address of a DTD
        # A hundredth of a point is finer than any printer; in notebooks, size counts.
        drawing = re.sub(r"<[^<>]*>", lambda tag: _brief(tag[0]), drawing)
        drawing = re.sub(r"\s*\n\s*", " ", drawing)
        # The numbers travel with the drawing; the book takes its CSV files from there.
        numbers = f"<metadata>{escape(marks.table(self))}</metadata>"
        return drawing.replace(">", f">{numbers}", 1)


def rounded(picture: Image.Image) -> Image.Image:
    """Round a gallery to 64 levels a channel: a third smaller, and looks the same.

    The ground keeps its colour, by which a dark page knows it.
    """
    exact = np.asarray(picture)
    coarse = LEVELS[exact]
    ground = (exact == ImageColor.getrgb(PALETTE["card"])).all(2)
    coarse[ground] = exact[ground]
    return Image.fromarray(coarse)


def _brief(tag: str) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", tag)


def drawn(function):
    """Decorate a function that draws a figure, to use this module's settings.

    Around the whole function: matplotlib reads some settings when an artist is created.
    """

    @wraps(function)
    def wrapper(*arguments, **options):
        """Draw with SETTINGS in force."""
        with mpl.rc_context(SETTINGS):
            return function(*arguments, **options)

    return wrapper


def canvas(height: float, rows: int = 1, **options):
    """Return a figure of the book's width with `rows` axes below each other.

    height: inches. options: those of matplotlib's ``subplots``. Returns (figure, axes),
    axes a single one or an array as ``subplots`` gives.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    return figure, figure.subplots(rows, 1, **options)


def note(ax, text: str) -> None:
    """Write a small remark above the axes: what was left out, and by which rule."""
    ax.set_title(text, loc="left", fontsize=9.5, color="#5B6770", pad=8)


def legend(ax, *handles_and_labels, columns: int = 2) -> None:
    """Place a legend above the axes, where it can hide no data.

    handles_and_labels: as matplotlib's ``legend`` takes them; none: all that are named.
    """
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0}
    ax.legend(
        *handles_and_labels, ncols=columns, **place, handlelength=1.4, columnspacing=1.4
    )


def whole_numbers(ax, axis: str = "y") -> None:
    """Set ticks at whole numbers only, with thousands separated by commas.

    axis: "x" or "y". For counts, where half an image would be a strange tick.
    """
    side = getattr(ax, f"{axis}axis")
    side.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
    side.set_major_formatter("{x:,.0f}")


def spread(order, most: int = 10) -> list[int]:
    """Return at most `most` classes, evenly spread over a ranking of all.

    order: one number per class, (C,). All classes in their order where they are few
    enough, else those at even steps of the rank, lowest first.
    """
    order = np.asarray(order)
    if len(order) <= most:
        return list(range(len(order)))
    ranked = np.argsort(order, kind="stable")
    return [
        int(c) for c in ranked[np.linspace(0, len(order) - 1, most).round().astype(int)]
    ]


def ends(order, most: int = 20) -> list[int]:
    """Return classes from lowest to highest; of too many, the outer `most`.

    order: one number per class, (C,). For charts whose point is the extremes; `spread`
    is for galleries, where the middle is worth seeing too.
    """
    ranked = [int(c) for c in np.argsort(np.asarray(order), kind="stable")]
    half = most // 2
    return ranked if len(ranked) <= most else ranked[:half] + ranked[-half:]


def short(name: str, most: int = 13) -> str:
    """Return a class name that fits beside a row: first synonym, cut by an ellipsis."""
    name = name.split(",")[0].replace("_", " ")
    return name if len(name) <= most else f"{name[: most - 1]}…"
