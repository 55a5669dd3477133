"""One test of a claim in words: where it was made, what it says, and whose teacher."""

import math
from collections.abc import Iterable

import pandas

from ccfs_lib.claims import arms
from ccfs_lib.claims.compare import OPEN
from ccfs_lib.claims.evidence import source
from ccfs_lib.claims.written import decimals, first_digit, written
from ccfs_lib.report import forest
from ccfs_lib.report.text import count, listed, percent, signed

RATE = 0.05  # of false discoveries among those that are kept
# Of a difficulty, by the score that the images were selected with.
UNITS = dict.fromkeys(
    ("forgetting", "published-forgetting"), "forgetting events an image"
)


def sources(rows: pandas.DataFrame) -> dict[str, pandas.Series]:
    """Map each teacher or set of experts (`evidence.source`) to a row of its runs."""
    first: dict[str, pandas.Series] = {}
    for _, row in rows.drop_duplicates("run").iterrows():
        first.setdefault(source(row), row)
    return first


def further(
    known: dict[str, pandas.Series], evidence: Iterable[str] = ()
) -> dict[str, str]:
    """Say what tells each teacher from others of its data and network: ", teacher 2".

    known: of `sources`; the first teacher has "". evidence: sources, of which those
    that would have one name get their accuracy, too.
    """
    names = {name: _further(row) for name, row in known.items()}
    full = {name: f"{learnt(known[name])}{names[name]}" for name in {*evidence}}
    for name, text in full.items():
        if list(full.values()).count(text) > 1:
            names[name] += f", teacher of {_reached(known[name])}"
    return names


def made_of(row: pandas.Series, name: str) -> str:
    """Name data, network and teacher, with its accuracy. name: of `further`."""
    if row.get("experts", 0) > 0:
        return f"{learnt(row)}{name}: trajectories matched by {row['matcher']}"
    return f"{learnt(row)}{name}: {_reached(row)} of the test images right"


def learnt(row: pandas.Series) -> str:
    """Name the data and network of a run."""
    network = str(row.get("network") or "")
    return ", ".join(filter(None, (forest.data(row), forest.network(network))))


def _further(row: pandas.Series) -> str:
    if (several := row.get("experts", 0)) > 0:
        return f", {several:.0f} experts"
    taught = row.get("teacher_network")
    other = isinstance(taught, str) and taught not in ("", row.get("network"))
    text = f", teacher {forest.network(taught)}" if other else ""
    return text + forest.teacher(row)


def _reached(row: pandas.Series) -> str:
    accuracy = row.get("teacher_last", math.nan)
    return "an unknown part" if pandas.isna(accuracy) else percent(accuracy, 2)


def data(line) -> str:
    """Name the data of a line of the ledger: "CIFAR-10 (16 px)"."""
    part = f" ({line.part.replace('pixels', 'px')})" if line.part else ""
    return f"{_named(line.dataset)}{part}"


def _named(dataset: str) -> str:
    return forest.DATASETS.get(dataset, dataset)


def network(line) -> str:
    """Name the network of a line; in full where another one made the sets."""
    return line.network if "," in line.network else forest.network(line.network)


def own_cells(
    claim, lines: pandas.DataFrame, further: dict[str, str] | None = None
) -> list[str]:
    """Say what the tests in the paper's own cells say: difference, interval, network.

    claim: of `paper.claims()`; further: of `further`. A part of a data set is no cell.
    """
    cells, names = arms.cells(claim), further or {}
    return [
        f"in the paper's cell {data(line)}, IPC {line.ipc:.0f}, here with "
        f"{network(line)}{names.get(line.source, '')}: {_interval(line, claim.unit)}"
        for line in lines.itertuples()
        if not line.part and (line.dataset.removesuffix("-jpeg"), line.ipc) in cells
    ]


def write(claim, line, word: str, further: dict[str, str]) -> str:
    """Write one test of a claim: sign and difference, its size, where it comes from.

    claim: of `paper.claims()`; line: of the ledger; word: its verdict, as it is shown;
    further: of `teachers`.
    """
    alpha = "alpha 0" if line.alpha == 0 else ""
    place = ", ".join(filter(None, (data(line), _budget(line), alpha)))
    unit = UNITS.get(line.score, "of the score") if claim.unit == "score" else ""
    parts = [f"{place}: {_interval(line, claim.unit)} {unit}".rstrip()]
    if line.detectable > 0:
        parts.append(f"detectable difference {_detectable(line, claim.unit)}")
    if not math.isnan(line.adjusted):
        parts.append(f"corrected p {_p(line.adjusted)}")
    parts += [line.note] * bool(line.note)
    text = f"- {word} {'; '.join(parts)}. {_size(claim, line)}"
    by = f"{network(line)}{further.get(line.source, '')}"
    return f"{text}*{line.scale} scale, {by}, {_sets(line)}.*"


def _interval(line, unit: str) -> str:
    if math.isfinite(line.low + line.high):
        return written(unit, line.difference, line.low, line.high)
    digits = decimals(unit, line.difference)
    return f"{signed(line.difference, digits)}, no interval from a single seed"


def _detectable(line, unit: str) -> str:
    digits = decimals(unit, line.difference, line.low, line.high)
    return f"{line.detectable:.{max(digits, first_digit(line.detectable))}f}"


def _p(value: float) -> str:
    if value < 0.001:
        return "below 0.001"
    # On which side of 5 % it is has to be seen.
    return f"{value:.3f}" if round(value, 3) != RATE else f"{value:.5f}"


def _budget(line) -> str:
    """Format IPC, and which part of a class that is."""
    several = math.isnan(line.ipc)
    each = [line.ipc] if not several else line.levels
    if not each:
        return "several IPC"
    text = f"IPC {listed([f'{ipc:.0f}' for ipc in each])}"
    if math.isnan(line.class_size):
        return text
    part = [f"{100 * ipc / line.class_size:.2g}" for ipc in (min(each), max(each))]
    return f"{text} ({' to '.join(dict.fromkeys(part))} % of a class)"


def _size(claim, line) -> str:
    """Say how the interval lies to the number that the paper prints, and name that."""
    number, where = line.paper, "in this cell"
    if math.isnan(number):
        at = _named(line.dataset.removesuffix("-jpeg"))
        number, where = line.near, f"on {at}, IPC {line.near_ipc}"
    if math.isnan(number):
        number, where = claim.paper_difference, ""
    if math.isnan(number):
        return ""
    where = where or f"on {_cell(claim)}"
    than = {"consistent": "with", "opposite": "to"}.get(line.size, "than")
    printed = f"the paper's {signed(number)} {where}"
    text = f"Size {line.size} {than} {printed}" if line.size else f"Of {printed}"
    if line.verdict == OPEN and line.needed > line.seeds:
        seeds = f"{line.needed}" if line.needed < 1000 else "1,000 or more"
        text += f"; to detect so much takes {seeds} seeds"
    return f"{text}. " if line.size or line.needed else ""


def _cell(claim) -> str:
    """Say where the number stands that the claim itself prints."""
    dataset, ipc = claim.left.split("@")[1].rsplit("-", 1)
    means = {"mean": "mean over IPC", "max": "highest of its IPC"}
    return f"{_named(dataset)}, {means.get(ipc, f'IPC {ipc}')}"


def _sets(line) -> str:
    """Count seeds, and the images in both sets, made and wanted."""
    sides = [(line.made, line.wanted), (line.made_right, line.wanted_right)]
    sides = list(dict.fromkeys(side for side in sides if not math.isnan(side[0])))
    seeds = count(line.seeds, "seed")
    if not sides:
        return seeds
    sets = " and ".join(f"{made:,.0f} of {wanted:,.0f}" for made, wanted in sides)
    return f"{seeds}, sets of {sets} images"
