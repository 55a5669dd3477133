"""Chapter 11: the curriculum explorer, and the same in numbers."""

import json
from collections.abc import Sequence

import numpy as np

from ccfs_lib import explorer
from ccfs_lib.claims.compare import FAILS, HOLDS, verdict
from ccfs_lib.curriculum import PhaseRecord, selected
from ccfs_lib.explorer import Atlas
from ccfs_lib.explorer.embedding import NEIGHBOURS
from ccfs_lib.explorer.sprite import column, sheet
from ccfs_lib.report.frame import Frame
from ccfs_lib.report.text import (
    Text,
    count,
    finding,
    interval,
    plain,
    share,
    table,
)
from ccfs_lib.statistics import difference

BUDGET = 2_200_000  # bytes of a page's data


def view(atlas: Atlas) -> Frame:
    """Return the interactive page of an atlas, for a notebook; see `Frame.save`.

    Raises InputError where the images do not fit into 2.5 MB.
    """
    return Frame(f"Curriculum explorer: {atlas.name}", packed(atlas))


def packed(atlas: Atlas) -> str:
    """Return the atlas as JSON of at most 2.5 MB: columns of numbers, one image sheet.

    Equal atlases give equal text. Raises InputError where the images are too many.
    """
    a = atlas
    plane = np.round(a.xy * 65535).astype(np.uint16)
    columns = {
        "x": plane[:, 0],
        "y": plane[:, 1],
        "label": a.labels,
        "index": a.index,
        "teacher": a.teacher,
        "strangers": a.strangers,
        "difficulty": a.difficulty.ravel(),
        "easier": a.easier.ravel(),
        "picked": a.picked,
        "answers": a.answers.ravel(),
        "fates": a.fates.ravel(),
        "ranks": a.ranks.ravel(),
    }
    head = {
        "name": a.name,
        "classes": a.classes,
        "fine": a.fine,
        "coarse": a.coarse,
        "total": a.total,
        "real": len(a.index),
        "kept": kept(a),
        "neighbours": min(NEIGHBOURS, len(a.index) - 1),
        "quotas": a.quotas,
        "pools": a.pools.tolist(),
        "columns": {name: column(values) for name, values in columns.items()},
    }
    if a.unfiltered:  # alpha 0
        head["unfiltered"] = a.unfiltered
    room = BUDGET - len(json.dumps(head)) - 100
    uri, tiles, side = sheet(a.images, room)
    head |= {"tiles": tiles, "side": side, "sheet": uri}
    return json.dumps(head, separators=(",", ":"))


def kept(atlas: Atlas) -> str:
    """Describe which images a sample holds."""
    here = int((atlas.picked > 0).sum())
    some = "all" if here == atlas.chosen else f"{here:,} of the"
    return f"{some} {atlas.chosen:,} selected, and a random draw of the others"


def fates(stages, records: Sequence[PhaseRecord]) -> Text:
    """Tabulate the outcome of all training images in each phase, by first reason."""
    e, names = stages.experiment, {"simple": "too hard", "hard": "too easy"}
    codes, _ = explorer.fates(stages.train.labels.numpy(), records)
    words = ["selected", "in the set already", f"no candidate: {_known(e)}"]
    words += ["no candidate: teacher wrong", names.get(e.fine, "not drawn")]
    words += ["not selected: tied with the last one"]
    counts = np.stack([np.bincount(row, minlength=len(words)) for row in codes], 1)
    rows = [
        (word, *(f"{n:,}" for n in line))
        for word, line in zip(words, counts, strict=True)
        if line.any()
    ]
    head = ("", *(f"phase {r.phase}" for r in records))
    caption = "Training images by their outcome in each phase (one seed)."
    return table(caption, head, rows)


def _known(e) -> str:
    return "filter right" if e.coarse == "misclassified" else "filter wrong"


def answer(stages, records: Sequence[PhaseRecord], atlas: Atlas) -> Text:
    """Return the finding: images that were never candidates; where the selected lie."""
    codes, _ = explorer.fates(stages.train.labels.numpy(), records)
    total, picked = len(stages.train), selected(list(records))
    left = np.isin(codes, (explorer.BEHIND, explorer.TIED)).all(0)
    return finding(
        f"{count(len(records), 'phase')} selected {share(len(picked), total)} of the "
        f"training images; {_idle(stages, records, codes)}.",
        _waiting(stages, left, picked),
        _borders(atlas),
    )


def _idle(stages, records: Sequence[PhaseRecord], codes: np.ndarray) -> str:
    """Count the images that every filter excluded; codes: of `explorer.fates`."""
    total = len(stages.train)
    if not records[0].has_filter:
        return (
            "phase 1 had no filter (alpha 0), so every image counted as misclassified"
        )
    idle = int((codes == explorer.COARSE).all(0).sum())
    word = _known(stages.experiment).split()[1]
    return (
        f"{share(idle, total)} were never candidates, because every filter got them "
        f"{word}"
    )


def _waiting(stages, left: np.ndarray, picked: np.ndarray) -> str:
    """Describe the images that were candidates in every phase and never selected."""
    if not left.any():
        return "No image was a candidate in every phase without being selected."
    text = f"{count(int(left.sum()), 'image')} were candidates in every phase and were "
    text += "never selected"
    values = stages.difficulty
    if values is None or not len(picked):
        return f"{text}."
    theirs, ours = plain(values[left].mean(), 2), plain(values[picked].mean(), 2)
    return f"{text}: their mean difficulty is {theirs}, that of the selected {ours}."


def _borders(atlas: Atlas) -> str:
    """Test whether the selected lie nearer to other classes than the others."""
    inside = atlas.picked > 0
    if not inside.any() or inside.all():
        return ""
    near, rest = atlas.strangers[inside], atlas.strangers[~inside]
    d = difference(near.astype(float), rest.astype(float))
    side, word = "nearer to", verdict(d)
    if word == FAILS:  # the opposite is as clear
        side, word = "farther from", HOLDS
    return (
        f"The selected images lie {side} other classes than those never selected: "
        f"**{word}** (of the {NEIGHBOURS} nearest neighbours in the teacher's "
        f"features, {plain(near.mean(), 2)} on average are of another class, against "
        f"{plain(rest.mean(), 2)}; {interval(d, 'images', 2)}; one seed)."
    )
