"""Sentences and tables that are computed: numbers, differences, findings, the stamp.

No verdict is typed in a notebook: `ccfs_lib.claims.compare.verdict` chooses one of
"holds", "does not hold" and "too close to call" from an interval.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import fields

import torch

from ccfs_lib import networks, results
from ccfs_lib.claims.compare import few, verdict
from ccfs_lib.claims.written import ends
from ccfs_lib.claims.written import signed as signed
from ccfs_lib.experiment import datasets, preset, presets
from ccfs_lib.runtime import paths
from ccfs_lib.statistics import FEW, Difference, Summary, summary

# A space that does not break, and the signs that typography has for minus and for none.
SPACE, MINUS, DASH = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
UNTESTED = "not tested"  # in place of a verdict: fewer seeds than FEW
# What the line of the stamp names itself.
TOLD = ("network", "recipe.epochs", "image_size", "classes")
# Settings that may be paths.
PATHS = ("dataset", "score", "distilled_from", "selected_from")
# Remarks on data sets, shown before the first number.
REMARKS = {
    "cifar10-jpeg": "cifar10-jpeg is not CIFAR-10: its images are those of CIFAR-10, "
    "re-encoded as JPEG (quality 75, halved chroma).",
}


class Text:
    """Markdown that shows itself in a notebook, and as plain text elsewhere."""

    def __init__(self, markdown: str):
        self.markdown = markdown

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.markdown


def finding(answer: str, *more: str) -> Text:
    """Return the chapter's answer, quoted, and further findings as points below it.

    answer, more: sentences in Markdown; empty ones are left out, so that a caller can
    pass what applies only sometimes.
    """
    points = "\n".join(f"> - {sentence}" for sentence in more if sentence)
    return Text(f"> **Finding.** {answer}\n>\n{points}".rstrip("\n>"))


def interval(d: Difference, unit: str = "points", digits: int = 1) -> str:
    """Return a difference as text: mean, its 95 % interval, or why there is none.

    unit: of the mean, or what follows it. digits: after the point, of an end near zero
    as many as show its side of zero.
    """
    mean = f"{signed(d.mean, digits)}{SPACE}{unit}"
    if math.isnan(d.half):
        return f"{mean}, no interval from a single seed"
    if min(d.n_a, d.n_b) < FEW:
        return f"{mean}, no interval from two seeds"
    return f"{mean}, 95{SPACE}% interval {ends(*_ends(d), digits)}"


def decided(d: Difference) -> str:
    """Return the verdict on a difference; UNTESTED where so few seeds decide nothing.

    `verdict` calls these too close to call, which would read as a result of a test.
    """
    return UNTESTED if few(d) else verdict(d)


def untested(seeds: int) -> str:
    """Return what stands in place of a verdict on few seeds: 1 seed, not tested."""
    return f"{count(seeds, 'seed')}, {UNTESTED}"


def means(seeds: int) -> str:
    """Return what a caption calls the values of `plus_minus` of so many seeds."""
    if seeds >= FEW:
        return "mean ± half of the 95 % t interval"
    some = {0: "no seed", 1: "one seed, no interval"}
    return some.get(seeds, "mean of two seeds, no interval")


def bracketed(d: Difference, digits: int = 1) -> str:
    """Return a difference briefly: +2.9 [+2.6, +3.3]; of few seeds the mean alone."""
    if few(d):
        return signed(d.mean, digits)
    return f"{signed(d.mean, digits)} {ends(*_ends(d), digits)}"


def _ends(d: Difference) -> tuple[float, float]:
    return d.mean - d.half, d.mean + d.half


def plain(value: float, digits: int = 1) -> str:
    """Return a number with a true minus sign and no sign of a rounded zero."""
    return signed(value, digits).lstrip("+")


def percent(value: float, digits: int = 1) -> str:
    """Format a percentage, 93.5 %, with a space that does not break."""
    return f"{value:.{digits}f}{SPACE}%"


def fill(part: float) -> str:
    """Format a part, 0 to 1, as percent; 100 % only where nothing is missing."""
    return percent(100 * part, 2 if 0.995 <= part < 1 else 0)


def share(part: int, whole: int) -> str:
    """Format a share with its counts: 33.5 % (453 of 1,352)."""
    return f"{percent(100 * part / max(whole, 1))} ({part:,} of {whole:,})"


def capital(sentence: str) -> str:
    """Return a sentence with a capital letter at its beginning."""
    return f"{sentence[:1].upper()}{sentence[1:]}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Format a number and its noun: 1 image, 2 images."""
    return f"{number:,}{SPACE}{noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Join names as a, b and c; from `most` on "and 4 more"."""
    names = list(names)
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    head, last = names[:-1], names[-1:]
    return " and ".join([", ".join(head), *last] if head else last)


def plus_minus(values: Sequence[float] | Summary, digits: int = 1) -> str:
    """Format mean ± half of the 95 % t interval; a single value has no width."""
    s = values if isinstance(values, Summary) else summary(list(values))
    mean = plain(s.mean, digits)
    return mean if math.isnan(s.half) else f"{mean} ± {s.half:.{digits}f}"


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence], left: int = 1):
    """Return a captioned MyST table; without MyST it is still a Markdown table.

    head: column names; rows: cells, turned into text; the first `left` columns are set
    flush left. The notebook cell needs the metadata ``mystnb.markdown_format: myst``.
    """
    rule = [":--"] * left + ["--:"] * (len(head) - left)
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *cells])
    return Text(f":::{{table}} {caption}\n\n{lines}\n\n:::")


def stamp(stages, seeds: bool = False, varied: str = "") -> Text:
    """Return what was run, in one line, and every setting in a table that opens.

    stages: the chapter's Pipeline. seeds: whether the chapter repeats its trainings.
    varied: the setting that the chapter varies, "alpha" or "curricula"; it has no
    single value.
    """
    e = stages.experiment
    words = [f"only the first {e.classes} classes"] * bool(e.classes)
    words += [f"shrunk to {e.image_size} pixels"] * bool(e.image_size)
    words += [f"IPC {e.ipc}"]
    words += ["several alphas" if varied == "alpha" else f"alpha {e.alpha:g}"]
    words += ["several J" if varied == "curricula" else f"J = {e.curricula}"]
    words += [f"network {e.network}", f"{e.recipe.epochs} epochs"]
    words += [count(e.seeds, "seed")] * seeds + [_device(stages)]
    line = f"**{_leaf(e.dataset)}**, {', '.join(words)}; {_scale(stages, varied)}"
    hidden = [varied] if seeds else [varied, "seeds"]  # of one seed: not three
    # `data_root` is a place on somebody's machine, and no part of what was run.
    rows = [(k, v) for k, v in _settings(e) if k not in ("data_root", *hidden)]
    # Only the last part of a path: the rest names a user's folders.
    rows = [(k, _leaf(v) if k in PATHS else v) for k, v in rows]
    usual = {name: theirs for name, _, theirs in _apart(e) if name != varied}
    return stamped(line, e.dataset, rows, usual)


def _device(stages) -> str:
    """Name the kind of device, and the GPU that trained what a CPU reads here."""
    if str(stages.device).startswith("cuda"):
        return "GPU"
    run = stages.experiment.run
    used = results.devices(paths.filed(run), run)
    gpus = [name for name in used if name.startswith("NVIDIA")]
    told = f"trained on {listed(gpus)}, page computed on a CPU from stored results"
    return told if gpus else "CPU"


def stamped(
    line: str,
    dataset: str,
    rows: Sequence[tuple[str, str]],
    usual: dict[str, str] | None = None,
) -> Text:
    """Return the stamp itself: its line, the data's remark, and settings that open.

    rows: (setting, value). usual: the paper's value, of settings where it is another.
    """
    usual = usual or {}
    # HTML in one block, which every Markdown reader passes on.
    names = "<th>setting</th><th>here</th><th>the paper or its code</th>"
    head = f"<tr>{names}</tr>" if usual else ""
    body = "".join(
        f"<tr><td><code>{k}</code></td><td>{html.escape(v)}</td>"
        + f"<td>{html.escape(usual.get(k, ''))}</td>" * bool(usual)
        + "</tr>"
        for k, v in rows
    )
    more = f"<summary>All {len(rows)} settings</summary>"
    more += f'<table class="table"><tbody>{head}{body}</tbody></table>'
    remark = REMARKS.get(dataset, "")
    return Text(f"{line} {remark}".strip() + f"\n\n<details>{more}</details>")


def _leaf(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _scale(stages, varied: str = "") -> str:
    """Compare the run with the paper's by their cost; varied: as for `stamp`."""
    # In multiply-adds of one image and in epochs: both are facts of the configuration,
    # where a ratio of seconds would be one of the machine.
    e = stages.experiment
    if e.dataset.removesuffix("-jpeg") not in presets.CLASS_SIZE:
        return f"scale: {e.scale}, not the paper's, which does not use these data."
    paper = preset(e.dataset, "paper", ipc=e.ipc)
    other = [line for line in _apart(e) if line[0] != varied]
    if e.scale == "paper" and e.network == paper.network:
        named = [f"`{name}` {here} for {theirs}" for name, here, theirs in other]
        return f"scale: paper{', but ' * bool(named)}{', '.join(named)}."
    train, size = stages.train, datasets.KNOWN[e.dataset].size  # ours may be shrunk
    with torch.device("meta"):  # sizes only: a ResNet-18 is counted, never filled
        theirs = networks.build(paper.network, train.num_classes, size, seed=0)
        theirs = networks.count(theirs, size).macs
        ours = networks.count(stages.network(e.network), train.image_size).macs
    parts = [
        f"an image costs {_ratio(ours, theirs)} of the multiply-adds of a ResNet-18 at "
        f"{size} pixels"
    ]
    if e.recipe.epochs != paper.recipe.epochs:
        parts.append(f"{e.recipe.epochs} epochs replace {paper.recipe.epochs}")
    if rest := [name for name, _, _ in other if name not in TOLD]:
        one = len(rest) == 1
        verb = "differs" if one else "differ"
        parts.append(f"{count(len(rest), 'other setting')} {verb}, listed below")
    return f"scale: {e.scale}, not the paper's: {listed(parts)}."


def _apart(ours) -> list[tuple[str, str, str]]:
    """List settings in which a run is not the paper's: name, its value, the paper's.

    Empty for data that the paper does not use.
    """
    usual = _usual(ours)
    aside = ("scale", "data_root", "seeds", "teacher_from")
    return [
        (name, value, usual.get(name, "none"))
        for name, value in _settings(ours)
        if usual and name not in aside and usual.get(name) != value
    ]


def _settings(ours) -> list[tuple[str, str]]:
    """List a run's settings, also a later option at its default if the paper's is not.

    Such as the size by which a batch is chosen.
    """
    known = ours.table()
    hidden = {*_usual(ours)} - {name for name, _ in known}
    every = [f.name for f in fields(ours)]
    return known + [(n, str(getattr(ours, n))) for n in every if n in hidden]


def _usual(ours) -> dict[str, str]:
    """Return the paper's settings of a run's data and IPC; {} of other data."""
    if ours.dataset.removesuffix("-jpeg") not in presets.CLASS_SIZE:
        return {}
    return dict(preset(ours.dataset, "paper", ipc=ours.ipc).table())


def _ratio(ours: float, theirs: float) -> str:
    part = theirs / ours
    return f"1/{part:.0f}" if part >= 1.5 else percent(100 / part, 0)
