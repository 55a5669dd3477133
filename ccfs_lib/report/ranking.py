"""Chapter 16: the finding: which sets lead Table 1, and what the protocol changes."""

from itertools import combinations

import pandas

from ccfs_lib.claims.compare import OPEN, VERDICTS
from ccfs_lib.report.table1 import OWN, Read, apart, teacher_of
from ccfs_lib.report.text import (
    Text,
    bracketed,
    count,
    finding,
    interval,
    listed,
    percent,
    signed,
    verdict,
)
from ccfs_lib.statistics import FEW
from ccfs_lib.table1 import ROWS

OF_REAL = "as published, real images"
TAUGHT = "with the same teacher, real images"
ALIKE = "with the same teacher for all"
LABELS = "as published and learned from labels alone"
NONE = "few"  # in place of a verdict: too few seeds in common for an interval
WORDS = ("clearly above", "clearly below", "too close to call with")
SAID = dict(zip(VERDICTS, WORDS, strict=True))
SAID[NONE] = f"not compared, for fewer than {FEW} seeds in common, with"


def answer(read: Read) -> Text:
    """Return the finding: who is ahead, who of random images, and at what cost."""
    e, published, shared = read.table.experiment, read.panel(False), read.panel(True)
    few = [n for n in {**published, **shared} if read.grey(n)]
    grey = [f"{read.row(n).title}{' (of our settings)' * (n in OWN)}" for n in few]
    lines = [
        _against(read, "ccfs", shared),
        _against(read, "self-evolved", *_coresets(read)),
        _moved(published, shared),
        _order(read, published, shared),
        _windows(read, published, shared),
        _full(published, shared),
        _bps(read),
        _missing(read),
        f"Grey, with less than a tenth of the published work: {listed(grey, 12)}. "
        "These rows do not show what the methods reach with all of it."
        if grey
        else "",
    ]
    heads = [
        _first(read, panel, how)
        for panel, how in ((shared, ALIKE), (_labels(read, published), LABELS))
        if _of(read, panel)
    ]
    if not heads:
        return finding("No row of the paper's is measured.")
    head = "; ".join(heads)
    return finding(
        f"{head[0].upper()}{head[1:]}. This is for {e.network}, "
        f"{count(e.recipe.epochs, 'epoch')}, IPC {e.ipc}: another network may rank the "
        "methods differently.",
        _random(read, shared),
        *lines,
    )


def _missing(read: Read) -> str:
    """Name the rows that a panel lacks, since nobody has measured them here."""
    texts, others = [], read.other_teacher()
    for shared, panel in ((False, "as published"), (True, "with the same teacher")):
        if not read.asks(shared):
            continue
        known = {*read.panel(shared), *(others if shared else ())}
        rows = [row for row in ROWS if not (shared and row.after)]
        names = [row.title for row in rows if row.name not in known]
        texts += [f"{panel}: {listed(names, 16)}"] if names else []
    text = f"Not measured here, {'; '.join(texts)}." if texts else ""
    if others:
        names = listed([read.row(name).title for name in others], 16)
        text += (
            f" Measured with another teacher of the same recipe, trained on another "
            f"machine, and so not in the panel with the same teacher for all: {names}."
        )
    return text.strip()


def _first(read: Read, panel: dict[str, pandas.DataFrame], how: str) -> str:
    """Say which set has the highest mean, full data and what came after apart."""
    means = {n: float(panel[n]["last"].astype(float).mean()) for n in _of(read, panel)}
    best = max(means, key=means.get)
    if len(means) == 1:
        only = f"only {read.row(best).title} is measured {how}"
        return f"{only} ({percent(means[best])}{_asides(read, best)})"
    of = f"of {count(len(means), 'set')} measured {how}"
    # Accuracies move in steps of one test image, so means may be equal.
    equal = [n for n, mean in means.items() if means[best] - mean < 1e-9]
    if len(equal) > 1:
        shared = listed([_named(read, n) for n in equal], 15)
        return f"{of}, {shared} share the highest mean ({percent(means[best])})"
    head = (
        f"{of}, {read.row(best).title} has the highest mean "
        f"({percent(means[best])}{_asides(read, best)})"
    )
    words = _tally(read, best, {n: panel[n] for n in means})
    close = [f"{SAID[w]} {listed(words[w], 15)}" for w in (OPEN, NONE) if words[w]]
    return ", ".join([head, *close])


def _asides(read: Read, name: str) -> str:
    """Say what a row's accuracy owes: a choice by the test split, little work."""
    work = "the work of our full settings" if name in OWN else "its published work"
    little = f", with less than a tenth of {work}" * read.grey(name)
    return ", chosen by the test split" * (name == "oracle-window") + little


def _labels(read: Read, published: dict) -> dict:
    """Return the rows of the published panel that learn from labels alone."""
    return {n: r for n, r in published.items() if read.row(n).protocol == "selmatch"}


def _of(read: Read, panel: dict) -> list[str]:
    return [n for n in panel if n != "full" and not read.row(n).after]


def _real(read: Read, panel: dict) -> dict:
    kept = {n: r for n, r in panel.items() if read.row(n).family == "real"}
    return {n: r for n, r in kept.items() if not read.row(n).after}


def _coresets(read: Read) -> tuple[dict, str]:
    """Return the rows of real images, and how: as published, if that panel is read."""
    shared = not read.asks(False)
    return _real(read, read.panel(shared)), TAUGHT if shared else OF_REAL


def _tally(read: Read, name: str, panel: dict) -> dict[str, list[str]]:
    """Sort the other sets by what the interval of name minus them says."""
    words: dict[str, list[str]] = {word: [] for word in (*VERDICTS, NONE)}
    for other, rows in panel.items():
        if other not in (name, "full"):
            words[_verdict(panel[name], rows)].append(_named(read, other))
    return words


def _verdict(left: pandas.DataFrame, right: pandas.DataFrame) -> str:
    """Return what the interval of left minus right says, or NONE for too few seeds."""
    common = {*left["seed"]} & {*right["seed"]}
    return verdict(apart(left, right)) if len(common) >= FEW else NONE


def _named(read: Read, name: str) -> str:
    """Return a row's title, and (grey) behind one that had too little work."""
    return f"{read.row(name).title}{' (grey)' * read.grey(name)}"


def _against(read: Read, name: str, panel: dict, how="under the same teacher") -> str:
    if name not in panel:
        return ""
    words = _tally(read, name, panel)
    texts = [
        f"{SAID[word]} {listed(names, 15)}" for word, names in words.items() if names
    ]
    return f"{read.row(name).title}, {how}: {'; '.join(texts)}." if texts else ""


def _random(read: Read, panel: dict) -> str:
    if "random" not in panel or len(panel["random"]) < FEW:
        return ""
    above = {n: _verdict(r, panel["random"]) for n, r in panel.items()}
    sets = [n for n in above if n not in ("random", "full")]
    clear = [_named(read, n) for n in sets if above[n] == VERDICTS[0]]
    behind = [_named(read, n) for n in sets if above[n] == VERDICTS[1]]
    return (
        "With the teacher's answers for all, clearly above a full random draw: "
        f"{listed(clear, 15) or 'none'}; clearly below: "
        f"{listed(behind, 15) or 'none'}. No interval here is corrected for the number "
        "of rows."
    )


def _moved(published: dict, shared: dict) -> str:
    """Say how much the protocol alone moves the random row."""
    if "random" not in published or "random" not in shared:
        return ""
    moved = apart(shared["random"], published["random"])
    text = f"The protocol alone changes random images' accuracy by {interval(moved)}"
    if moved.n_a < FEW:
        return f"{text}."
    if verdict(moved) == OPEN:
        return f"{text}: too close to call."
    return f"{text}: accuracies with and without the teacher cannot be compared."


def _order(read: Read, published: dict, shared: dict) -> str:
    """Say how far rows move from labels to the teacher, and how many change places."""
    both = [n for n in _of(read, _labels(read, published)) if n in shared]
    if len(both) < 2:
        return ""
    first, then = (
        {n: float(panel[n]["last"].astype(float).mean()) for n in both}
        for panel in (published, shared)
    )
    moved = {n: then[n] - first[n] for n in both}
    least, most = min(moved, key=moved.get), max(moved, key=moved.get)
    pairs = list(combinations(both, 2))
    turned = sum((first[a] - first[b]) * (then[a] - then[b]) < 0 for a, b in pairs)
    return (
        f"From labels alone to the teacher, {read.row(least).title} moves by "
        f"{signed(moved[least])} points and {read.row(most).title} by "
        f"{signed(moved[most])}{', the others in between' * (len(both) > 2)}. Pairs of "
        f"sets whose means change their order: {turned} of {len(pairs)}."
    )


def _windows(read: Read, published: dict, shared: dict) -> str:
    """Say which windows the oracle took, one in each panel."""
    name, found = "oracle-window", {}
    for panel, how in ((published, "as published"), (shared, "with the teacher")):
        if name in panel and "window_beta" in panel[name]:
            betas = sorted({f"{b:g}" for b in panel[name]["window_beta"].astype(float)})
            found[how] = f"beta {listed(betas)}"
    if not found:
        return ""
    said = [f"{window} {how}" for how, window in found.items()]
    text = f"The oracle, which chooses anew in each panel, takes {listed(said)}"
    return f"{text}: another set." if len(set(found.values())) > 1 else f"{text}."


def _full(published: dict, shared: dict) -> str:
    """Say what all images reach under the teacher's training, and CCFS's."""
    if not ("full" in published and "full" in shared):
        return ""
    d = apart(shared["full"], published["full"])
    return (
        f"All training images reach {_mean(published['full'])} by the teacher's own "
        f"training and {_mean(shared['full'])} under CCFS's distillation, "
        f"{interval(d)}."
    )


def _bps(read: Read) -> str:
    published, shared = read.panel(False), read.panel(True)
    if "random-bps" not in published or "random" not in shared:
        return ""
    bps, parts, others = published["random-bps"], [], []
    if teacher_of(bps) == teacher_of(shared["random"]):
        others.append(("with CCFS's training", shared["random"]))
    if "random" in published:
        others.append(("with SelMatch's training", published["random"]))
    for name, rows in others:
        parts.append(f"{bracketed(apart(bps, rows))} against {_mean(rows)} {name}")
    return (
        "Random images with the teacher, by the recipe of BPS (AdamW and CutMix; "
        f"published after the paper), reach {_mean(bps)}"
        f"{': ' * bool(parts)}{listed(parts)}."
    )


def _mean(rows: pandas.DataFrame) -> str:
    return percent(rows["last"].astype(float).mean())
