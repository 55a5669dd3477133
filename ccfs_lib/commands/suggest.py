"""What would make a forecast cheaper: suggested with its price, never done.

Prices are timed on this device, as all prices of a forecast. What an H100 gave is read
from data/speed, two borrowed sittings in November 2026.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace

from ccfs_lib import cost
from ccfs_lib.commands.forecast import Line, forecast
from ccfs_lib.experiment import Experiment
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.device import device, has_bf16

WORTH = 1.1  # times as fast, at least: less is the noise of a timing
# What `speeds` compares: one ResNet-18 that distils, as most of an experiment does.
CELL = {"network": "resnet18", "side": "32", "batch": "64", "trainings": "1"}
FORMS = {
    "fp32": ("graph", "fp32"),
    "bf16": ("graph", "bf16"),
    "compiled bf16": ("compile", "bf16"),
}


def suggestions(lines: dict[Experiment, list[Line]], arms: Sequence[str]) -> list[str]:
    """List sentences on what would be faster here than these forecasts; maybe none.

    lines: of `forecast.forecast` for these arms. Keys do not depend on the machine, so
    nothing changes by itself: another precision is another run.
    """
    asked = [e for e in lines if not e.portable and has_bf16(device(False))]
    asked = [e for e in asked if e != in_bf16(e)]
    if not asked or not (before := _left(lines, asked)):
        return []
    other = forecast([in_bf16(e) for e in asked], arms)
    after = _left(other, other)
    where = device(False)
    sentences = []
    if before > WORTH * after:
        sentences.append(
            "suggestion: --precision bf16 --teacher-precision bf16 leaves about "
            f"{cost.duration(after)} instead of {cost.duration(before)} on {where}, "
            f"{before / after:.1f} times as fast, both timed just now; it is a run of "
            "its own, and no run here compares the accuracies of the two"
        )
    if where == "cuda" and (h100 := _on_an_h100()):
        sentences.append(h100)
    return sentences


def in_bf16(e: Experiment) -> Experiment:
    """Return the experiment with all its trainings in bfloat16."""
    recipes = {
        n: replace(getattr(e, n), precision="bf16") for n in ("recipe", "teacher")
    }
    return replace(e, **recipes)


def _left(lines: dict[Experiment, list[Line]], asked) -> float:
    return sum(line.seconds for e in asked for line in lines[e])


def _on_an_h100() -> str:
    """Say what the forms of a step gave on an H100, "" where the file is not here."""
    rates = speeds()
    if set(rates) != set(FORMS):
        return ""
    listed = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    return (
        f"images a second of one ResNet-18 that distils at {CELL['side']} px in "
        f"batches of {CELL['batch']} on an H100 (data/speed/h100.csv): {listed}; what "
        "--engine compile takes to compile is not in it"
    )


def speeds() -> dict[str, float]:
    """Read images per second of CELL on an H100 by form; {} without a checkout."""
    path = paths.home() / "data" / "speed" / "h100.csv"
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if CELL.items() <= r.items()]
    by_form = {(r["way"], r["precision"]): float(r["images_per_second"]) for r in rows}
    return {name: by_form[form] for name, form in FORMS.items() if form in by_form}
