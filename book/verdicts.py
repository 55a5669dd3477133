"""What the ledger of claims says, in words and tables: front page and verdict page.

Which lines count, and what they say together, is `ccfs_lib.claims.evidence`'s: no word
is chosen here.
"""

import math
from functools import lru_cache
from pathlib import Path

import findings
import pandas
from findings import BADGES, NOTHING

from ccfs_lib import paper
from ccfs_lib.claims import compare, ladder
from ccfs_lib.claims.compare import (
    ALPHA0,
    CCFS,
    FAILS,
    HOLDS,
    OPEN,
    SIZES,
    VERDICTS,
    verdict,
)
from ccfs_lib.claims.evidence import (
    FAILS_IN_SOME,
    HOLDS_IN_SOME,
    MIXED,
    SHOWN_ONLY,
    UNTESTED,
    Badge,
    badge,
    covered,
    learners,
    load,
    source,
    summed,
)
from ccfs_lib.claims.ledger import ledger
from ccfs_lib.errors import InputError
from ccfs_lib.report.text import DASH, count, listed, percent, signed

SIGNS = dict(zip(VERDICTS, ("\N{CHECK MARK}", "\N{BALLOT X}", "?"), strict=True))
SIZE_SIGNS = dict(
    zip(SIZES, ("\N{ALMOST EQUAL TO}", "<", ">", "\N{NOT EQUAL TO}"), strict=True)
)
SIZE_WORDS = dict(
    zip(
        SIZES,
        (
            "the paper's number is inside the interval",
            "the difference is smaller than the paper's",
            "the difference is larger than the paper's",
            "the difference is opposite to the paper's",
        ),
        strict=True,
    )
)
SECTION_3 = {"fig2", "table10"}  # experiments with experts and without a teacher
SUMS = {
    HOLDS: "hold in every test",
    HOLDS_IN_SOME: "hold in some, too close to call in the others",
    MIXED: "hold in some, contradicted in others",
    FAILS_IN_SOME: "contradicted in some, too close to call in the others",
    FAILS: "contradicted in every test",
    OPEN: "too close to call in every test",
}
MARKS = BADGES | {FAILS_IN_SOME: BADGES[FAILS]}
RATE = 0.05  # of false discoveries among those that are kept
HOW = dict(zip(VERDICTS, ("for", "against", "too close"), strict=True))
# What the paper does not compare with: claim, and the arms or portions.
TEACHER = "CCFS beats random real images that learn from the same teacher"
NONE = "CCFS with its distilled images beats CCFS without any (alpha 0)."
ALONE = "Selection alone (alpha 0) beats random images with the same teacher."


def short(folder: Path) -> str:
    """Say how many claims hold in every run, and which differ where (MyST)."""
    try:
        rows, table = _loaded(folder)
    except InputError:
        return NOTHING
    known = {claim.id: claim for claim in paper.claims().itertuples()}
    lines = {name: table[table["claim"] == name] for name in known}
    badges = {name: badge(name, group) for name, group in lines.items()}
    text = [f"{_counted(badges, table)} {{doc}}`verdict` has them all.", ""]
    text += [_multiplicity(table), ""]
    for name, b in badges.items():
        if b.verdict not in (UNTESTED, OPEN):
            text.append(_short(known[name], b, lines[name]))
    if controls := _controls(rows):
        text += ["", "What the paper does not compare with:", "", *controls]
    return "\n".join(text) + "\n"


def _loaded(folder: Path) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return all rows of results and their ledger, computed once for equal files."""
    files = sorted(folder.rglob("*.json"))
    return _ledger(folder, tuple((f, f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=1)
def _ledger(folder: Path, state: tuple) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    rows = load(folder)
    return rows, ledger(rows)


def _counted(badges: dict[str, Badge], lines: pandas.DataFrame) -> str:
    words = [b.verdict for b in badges.values()]
    evidence = lines[lines["counts"].astype(bool)]
    aside = sum(b.verdict == UNTESTED and b.shown_only > 0 for b in badges.values())
    teachers = count(evidence["source"].nunique(), "independent teacher")
    text = (
        f"Of the {len(words)} claims of the paper that can be checked, "
        f"{len(words) - words.count(UNTESTED)} are tested here on photographs, with "
        f"{teachers} or sets of experts. {_sums(words, _held(badges, lines))}."
    )
    if aside:
        text += f" Tested on digits only, which is no evidence: {aside}."
    return text


def counted(folder: Path) -> str:
    """Say how many of the paper's claims were tested, and how many hold (MyST)."""
    try:
        _, table = _loaded(folder)
    except InputError:
        return ""
    every = {n: badge(n, part) for n, part in table.groupby("claim", sort=False)}
    words = [b.verdict for b in every.values()]
    tested, counts = len(words) - words.count(UNTESTED), table["counts"].astype(bool)
    kept = [
        bool(_kept(table[counts & (table["claim"] == name)]).all())
        for name, b in every.items()
        if b.verdict == HOLDS
    ]
    tests = count(int(counts.sum()), "test")
    corrected = "" if all(kept) else f"after a correction for {tests}: {sum(kept)}"
    aside = _held(every, table, corrected)
    return (
        f"**The paper's claims.** {tested} of {len(words)} are tested here on "
        f"photographs. {_sums(words, aside)}. See {{doc}}`all {len(words)} <verdict>`."
    )


def _held(badges: dict[str, Badge], lines: pandas.DataFrame, more: str = "") -> str:
    """Say on how little the claims rest that hold: one test, no cell of the paper."""
    held, counts = paper.claims().set_index("id", drop=False), lines["counts"]
    held = held.loc[[name for name, b in badges.items() if b.verdict == HOLDS]]
    evidence = lines[counts.astype(bool)]
    single = sum(badges[name].runs == 1 for name in held["id"])
    inside = sum(
        covered(claim, evidence[evidence["claim"] == claim.id])[0] > 0
        for claim in held.itertuples()
    )
    parts = [more] * bool(more) + [f"with one test only: {single}"]
    parts.append(f"tested in a cell of the paper: {inside}")
    return f" ({'; '.join(parts)})"


def _sums(words: list[str], aside: str = "") -> str:
    """Count claims by what their tests say together; aside: after those that hold."""
    text = "; ".join(
        f"{how}: {n}{aside * (w == HOLDS)}"
        for w, how in SUMS.items()
        if (n := words.count(w))
    )
    return text[:1].upper() + text[1:]


def _multiplicity(lines: pandas.DataFrame) -> str:
    """Count the tests, and the clear ones that are left after correction."""
    evidence = lines[lines["counts"].astype(bool)]
    clear = evidence[evidence["verdict"] != OPEN]
    tied = clear["adjusted"].isna()  # no spread, so no p value
    tests, clear = len(evidence) - int(tied.sum()), clear[~tied]
    ties = (
        f" {count(int(tied.sum()), 'further result')} without a p value: the compared "
        "values are equal in every seed, which refutes a strict order."
    )
    return (
        f"There are {count(tests, 'test')}. If there were no effect at all, "
        f"about {0.05 * tests:.0f} would look clear by chance. Of the "
        f"{len(clear)} clear results {int(_kept(clear).sum())} remain at a false "
        f"discovery rate of 5 % (Benjamini and Hochberg).{ties * bool(tied.any())}"
    )


def _kept(lines: pandas.DataFrame) -> pandas.Series:
    """Decide whether a clear verdict remains; one without spread does, as no test."""
    adjusted = lines["adjusted"].astype(float)
    return (lines["verdict"] != OPEN) & ~(adjusted > RATE)


def _short(claim, b: Badge, lines: pandas.DataFrame) -> str:
    """Say what was run: the badge of all runs that count, and how many say what."""
    evidence = lines[lines["counts"].astype(bool)]
    parts = [_tally(evidence), _covers(claim, b, evidence), f"on {_places(evidence)}"]
    if sizes := _sizes(evidence):
        parts.insert(1, sizes)
    return f"- {_mark(b.verdict)} {claim.tested} *({'; '.join(parts)})*"


def _mark(word: str) -> str:
    return f"[{word}]{{.verdict .{MARKS.get(word, 'open')}}}"


def _tally(lines: pandas.DataFrame) -> str:
    words = list(lines["verdict"])
    each = [f"{words.count(w)} {HOW[w]}" for w in VERDICTS if w in words]
    return f"{count(len(words), 'test')}: {', '.join(each)}"


def _sizes(lines: pandas.DataFrame) -> str:
    """Say how the paper's number lies to the intervals, and in how many if several."""
    words = list(lines["size"])
    return ", ".join(
        text + f" in {words.count(w)}" * (len(words) > 1)
        for w, text in SIZE_WORDS.items()
        if w in words
    )


def _places(lines: pandas.DataFrame) -> str:
    parts = lines["part"].str.replace(", ", " at ")
    both = zip(lines["dataset"], parts, strict=True)
    return listed([" of ".join(filter(None, place)) for place in dict.fromkeys(both)])


def _controls(rows: pandas.DataFrame) -> list[str]:
    """List verdicts on what the paper does not show, of runs that count: a line each.

    Of the presets' own runs, since an ablation changes CCFS and not the claim, and of
    those on the front page; and of networks that learn from sets which others selected.
    """
    shown = {run["run"].iloc[0] for run in ladder.runs(rows)}
    own = rows[~rows["dataset"].isin(SHOWN_ONLY)]
    own = own[own["run"].str.fullmatch(r".*-ipc\d+") | own["run"].isin(shown)]
    both = [r for _, r in own.groupby("run") if {CCFS, "random"} <= set(r["cell"])]
    asked = {
        f"{TEACHER}.": both,
        f"{TEACHER}, on a network that took no part in the selection.": (
            ladder.elsewhere(rows)
        ),
    }
    outcomes_of = {
        claim: [
            (verdict(compare.compare(run, CCFS, "random")), source(run.iloc[0]))
            for run in runs
        ]
        for claim, runs in asked.items()
    }
    for claim, pair in ((ALONE, (ALPHA0, "random")), (NONE, (CCFS, ALPHA0))):
        outcomes_of[claim] = _without(rows, *pair)
    return [
        _control(claim, outcomes) for claim, outcomes in outcomes_of.items() if outcomes
    ]


def _without(rows: pandas.DataFrame, left: str, right: str) -> list[tuple[str, str]]:
    """Test CCFS without distilled images against another arm, teacher by teacher."""
    return [
        (verdict(found.difference), source(found.run))
        for run in ladder.runs(rows)
        for found in ladder.measured(run, [ladder.Contrast(left, right, "")])
    ]


def _control(claim: str, outcomes: list[tuple[str, str]]) -> str:
    words = [word for word, _ in outcomes]
    word = summed(words)
    tally = _tally(pandas.DataFrame({"verdict": words}))
    teachers = count(len({name for _, name in outcomes}), "teacher")
    return f"- {_mark(word)} {claim} *({tally}; {teachers})*"


def claims(folder: Path) -> str:
    """Write every claim of the paper, and below it the runs that test it (MyST).

    folder: data/results. Claims in the order of the paper's ledger, those that no run
    tests at the end: they are never left out.
    """
    try:
        rows, table = _loaded(folder)
    except InputError as error:  # no results, or rows that contradict each other
        return f"No claim is tested: {error}.\n"
    known = {claim.id: claim for claim in paper.claims().itertuples()}
    tested = table[table["verdict"] != UNTESTED]
    seen = [name for name in known if name in set(tested["claim"])]
    evidence = tested[tested["counts"].astype(bool)]
    letters = {
        name: f"{'experts' if claim in SECTION_3 else 'teacher'} {chr(65 + i)}"
        for i, (name, claim) in enumerate(_first(evidence).items())
    }
    lines = [
        f"{evidence['claim'].nunique()} of the paper's {len(known)} claims are tested "
        f"here on photographs, {len(seen) - evidence['claim'].nunique()} on digits "
        f"only. {_multiplicity(table) if len(evidence) else ''}",
        "",
        overview(table),
        _sources(rows, letters),
        _digits(rows),
        "## Tested, one by one",
        "",
    ]
    for name in seen:
        group = tested[tested["claim"] == name]
        lines += [_claim(known[name], group, letters), ""]
    lines += ["## Not tested here", ""]
    missing = table.drop_duplicates("claim").set_index("claim")["missing"]
    for name in (name for name in known if name not in seen):
        why = missing[name].removeprefix("the claim ")
        lines.append(f"- {known[name].claim} *({known[name].place})*: {why}.")
    return "\n".join(lines) + "\n"


def _first(evidence: pandas.DataFrame) -> dict[str, str]:
    """Map each teacher or set of experts to the experiment of its first claim."""
    known = paper.claims().set_index("id")["tested_by"]
    first = evidence.drop_duplicates("source")
    return dict(zip(first["source"], first["claim"].map(known), strict=True))


def overview(table: pandas.DataFrame) -> str:
    """Tabulate every claim, and how many tests say what; digits stand apart."""
    head = ["claim", "size", "sign", "corrected", "digits"]
    lines = [f"| {' | '.join(head)} |", "|:--|" + ":-:|" * (len(head) - 1)]
    sentences = paper.claims().set_index("id")["tested"]
    for claim, every in table.groupby("claim", sort=False):
        tested = every[every["verdict"] != UNTESTED]
        counts = tested["counts"].astype(bool)
        evidence, aside = tested[counts], tested[~counts]
        sizes = [
            f"{SIZE_SIGNS[w]} {n}"
            for w in SIZES
            if (n := list(evidence["size"]).count(w))
        ]
        cells = [
            ", ".join(sizes),
            _signs(evidence),
            _signs(evidence[_kept(evidence)]),
            _signs(aside),
        ]
        cells = " | ".join(cell or DASH for cell in cells)
        name = sentences[claim].rstrip(".")
        name = f"[{name}](#claim-{claim})" if len(tested) else name
        lines.append(f"| {name} | {cells} |")
    signs = ", ".join(f"{SIGNS[word]} {word}" for word in VERDICTS)
    sizes = ", ".join(f"{SIZE_SIGNS[word]} {word}" for word in SIZES)
    caption = (
        f"All claims, and how many tests say what. Size against the number that the "
        f"paper prints: {sizes}. Sign: {signs}. Corrected: clear signs that remain at "
        f"a false discovery rate of 5 %. {DASH} none."
    )
    return findings.captioned(caption, "tab-claims", lines)


def _signs(lines: pandas.DataFrame) -> str:
    words = list(lines["verdict"])
    return " ".join(_sign(w, words.count(w)) for w in VERDICTS if w in words)


def _sign(word: str, times: int) -> str:
    text = f" {times}" if times > 1 else ""
    return f"[{SIGNS[word]}{text}]{{.verdict .{BADGES[word]}}}"


def _sources(rows: pandas.DataFrame, letters: dict[str, str]) -> str:
    """List of the teachers and experts that evidence comes from, by their letters."""
    rows_of = {}
    for _, row in rows.drop_duplicates("run").iterrows():
        rows_of.setdefault(source(row), row)
    lines = [f"- {letter}: {_made_of(rows_of[s])}" for s, letter in letters.items()]
    return "\n".join(
        ["Teachers and experts, by the letters used below:", "", *lines, ""]
    )


def _digits(rows: pandas.DataFrame) -> str:
    """Say how much matching there is in the tests of Section 3 that are no evidence."""
    text = findings.matched(rows[rows["dataset"].isin(SHOWN_ONLY)])
    return f"In the runs of Section 3 on digits, {text}\n" if text else ""


def _made_of(row: pandas.Series) -> str:
    parts = [f"{row[n]:.0f} {unit}" for n, unit in
             (("classes", "classes"), ("image_size", "pixels"))
             if row.get(n, 0) > 0]  # fmt: skip
    data = ", ".join([str(row["dataset"]), *parts])
    if (several := row.get("experts", 0)) > 0:
        return f"{several:.0f} trajectories of {row['matcher']}, {data}."
    name = row.get("teacher_network", row.get("network", ""))
    accuracy = row.get("teacher_last", math.nan)
    accuracy_text = (
        ""
        if math.isnan(accuracy)
        else f", which gets {percent(accuracy)} of the test images right"
    )
    return f"{name}, {data}{accuracy_text}."


def _claim(claim, lines: pandas.DataFrame, letters: dict[str, str]) -> str:
    """Write a claim, what all its runs say together, and each of them."""
    b, counts = badge(claim.id, lines), lines["counts"].astype(bool)
    text = [f"(claim-{claim.id})=", f"**{claim.claim}** *({claim.place})*", ""]
    if b.verdict != UNTESTED:
        evidence = lines[counts]
        text += [f"{_tally(evidence)}; {_covers(claim, b, evidence)}.", ""]
    text += [_tested(claim, line, letters) for line in lines[counts].itertuples()]
    if not counts.all():
        text += ["", "On digits, which show the method and are no evidence:", ""]
        text += [_tested(claim, line, letters) for line in lines[~counts].itertuples()]
    return "\n".join(text)


def _covers(claim, b: Badge, lines: pandas.DataFrame) -> str:
    names = ("teacher", "")
    if claim.tested_by in SECTION_3:
        names = ("set of experts", "sets of experts")
    parts = [count(b.sources, *names)]
    for (here, known), noun in (
        (covered(claim, lines), "cell"),
        (learners(claim, lines), "network"),
    ):
        if known:
            parts.append(_part(here, known, noun))
    return ", ".join(parts)


def _part(here: int, known: int, noun: str) -> str:
    if known == 1:
        return f"the paper's {noun}" if here else f"not the paper's {noun}"
    return f"{here} of the paper's {count(known, noun)}"


def _tested(claim, line, letters: dict[str, str]) -> str:
    """Write one test of a claim: sign and difference, its size, where it comes from."""
    # Difficulties differ by thousandths, accuracies by points.
    digits = 4 if claim.unit == "score" else 1
    word = _mark(line.verdict) if line.counts else f"*{line.verdict}*,"
    place = ", ".join(filter(None, (line.dataset, line.part, _budget(line))))
    parts = [f"{place}: {_interval(line, digits)}"]
    if line.detectable > 0:
        parts.append(f"detectable difference {line.detectable:.{digits}f}")
    if not math.isnan(line.adjusted):
        parts.append(f"corrected p {_p(line.adjusted)}")
    parts += [line.note] * bool(line.note)
    text = f"- {word} {'; '.join(parts)}. {_size(claim, line)}"
    from_ = f"{letters[line.source]}, " if line.source in letters else ""
    return f"{text}*{from_}{line.scale} scale, {line.network}, {_sets(line)}.*"


def _interval(line, digits: int) -> str:
    mean = signed(line.difference, digits)
    if math.isinf(line.low) or math.isinf(line.high):
        return f"{mean}, no interval from a single seed"
    low, high = (signed(value, digits) for value in (line.low, line.high))
    return f"{mean} [{low}, {high}]"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


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
        at = line.dataset.removesuffix("-jpeg")
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
    return f"{dataset}, {means.get(ipc, f'IPC {ipc}')}"


def _sets(line) -> str:
    """Count seeds, and the images in both sets, made and wanted."""
    sides = [(line.made, line.wanted), (line.made_right, line.wanted_right)]
    sides = list(dict.fromkeys(side for side in sides if not math.isnan(side[0])))
    seeds = count(line.seeds, "seed")
    if not sides:
        return seeds
    sets = " and ".join(f"{made:,.0f} of {wanted:,.0f}" for made, wanted in sides)
    return f"{seeds}, sets of {sets} images"
