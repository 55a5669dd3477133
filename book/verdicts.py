"""What the ledger of claims says, in words and tables: front page and verdict page.

Which lines count, and what they say together, is `ccfs_lib.claims.evidence`'s: no word
is chosen here.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import findings
import pandas
import tested
from findings import BADGES, NOTHING
from tested import RATE

from ccfs_lib import paper
from ccfs_lib.claims import arms, compare, ladder
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
from ccfs_lib.report.text import DASH, count, listed
from ccfs_lib.statistics import false_discovery

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
SUMS = {
    HOLDS: "hold in every test",
    HOLDS_IN_SOME: "hold in some, too close to call in the others",
    MIXED: "hold in some, contradicted in others",
    FAILS_IN_SOME: "contradicted in some, too close to call in the others",
    FAILS: "contradicted in every test",
    OPEN: "too close to call in every test",
}
MARKS = BADGES | {FAILS_IN_SOME: BADGES[FAILS]}
TEACHERS = (
    "Every line below names data, network and teacher; lines that agree in these share "
    "the teacher. The first of a data set and network has no number. The teachers:"
)
HOW = dict(zip(VERDICTS, ("for", "against", "too close"), strict=True))
# What the paper does not compare with: claim, and the arms or portions.
TEACHER = "CCFS beats random real images that learn from the same teacher"
CONTROLS = (
    "What the paper does not compare with; these tests are not corrected for their "
    "number"
)
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
    further = tested.further(tested.sources(rows))
    text = [f"{_counted(badges, table)} {{doc}}`verdict` has them all.", ""]
    text += [_multiplicity(table), "", _split(rows, table), ""]
    told = {name: b for name, b in badges.items() if b.verdict != UNTESTED}
    clear = [name for name, b in told.items() if b.verdict != OPEN]
    unclear = [name for name in told if name not in clear]
    text += [_short(known[name], told[name], lines[name], further) for name in clear]
    if unclear:
        text += ["", "Too close to call in every test:", ""]
    text += [_short(known[name], told[name], lines[name], further) for name in unclear]
    if controls := _controls(rows):
        text += ["", f"{CONTROLS}:", "", *controls]
    return "\n".join(text) + "\n"


def _loaded(folder: Path) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return all rows of results and their ledger, computed once for equal files."""
    files = sorted(folder.rglob("*.json"))
    return _ledger(folder, tuple((f, f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=1)
def _ledger(folder: Path, state: tuple) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    rows = load(folder)
    if rows.empty:
        raise InputError(f"{folder} holds no rows")
    return rows, ledger(rows)


def _counted(badges: dict[str, Badge], lines: pandas.DataFrame) -> str:
    words = [b.verdict for b in badges.values()]
    evidence = lines[lines["counts"].astype(bool)]
    aside = sum(b.verdict == UNTESTED and b.shown_only > 0 for b in badges.values())
    text = (
        f"Of the {len(words)} claims of the paper that can be checked, "
        f"{len(words) - words.count(UNTESTED)} are tested here on photographs"
        f"{_teachers(evidence)}. {_sums(words, _held(badges, lines))}."
    )
    if aside:
        text += f" Tested on digits only, which is no evidence: {aside}."
    return text


def _teachers(lines: pandas.DataFrame) -> str:
    """Count the teachers of lines, and sets of experts where there are any."""
    experts = _tested_by(lines).isin(arms.SECTION_3)
    numbers = [lines[part]["source"].nunique() for part in (~experts, experts)]
    nouns = ("different teacher", "set of experts"), ("", "sets of experts")
    parts = [count(n, *names) for n, *names in zip(numbers, *nouns, strict=True) if n]
    return f", with {listed(parts)}" * bool(parts)


def _tested_by(lines: pandas.DataFrame) -> pandas.Series:
    """Return the experiment that tests the claim of each line."""
    return lines["claim"].map(paper.claims().set_index("id")["tested_by"])


def counted(folder: Path) -> str:
    """Say how many of the paper's claims were tested, and how many hold (MyST)."""
    try:
        _, table = _loaded(folder)
    except InputError:
        return ""
    every = {n: badge(n, part) for n, part in table.groupby("claim", sort=False)}
    words = [b.verdict for b in every.values()]
    measured, counts = len(words) - words.count(UNTESTED), table["counts"].astype(bool)
    kept = [
        bool(_kept(table[counts & (table["claim"] == name)]).all())
        for name, b in every.items()
        if b.verdict == HOLDS
    ]
    tests = count(int(counts.sum()), "test")
    corrected = "" if all(kept) else f"{sum(kept)} after a correction for {tests}"
    aside = _held(every, table, corrected)
    return (
        f"**The paper's claims.** {measured} of {len(words)} are tested here on "
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
    parts = [more] * bool(more) + [f"{single or 'none'} with one test only"]
    parts.append(f"{inside or 'none'} tested in a cell (data set, IPC) of the paper")
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
        f"on average at most about {0.05 * tests:.0f} would look clear. Of the "
        f"{len(clear)} clear results {int(_kept(clear).sum())} remain at a false "
        "discovery rate of 5 % (Benjamini and Hochberg), and "
        f"{_whatever(evidence)} however the tests depend on each other (Benjamini and "
        f"Yekutieli).{ties * bool(tied.any())}"
    )


def _whatever(evidence: pandas.DataFrame) -> int:
    """Count the clear results that need no assumption on how tests depend."""
    adjusted = evidence.assign(adjusted=false_discovery(evidence["p"], dependent=True))
    return int(_kept(adjusted[adjusted["verdict"] != OPEN]).sum())


def _split(rows: pandas.DataFrame, lines: pandas.DataFrame) -> str:
    """Say how many tests are of a final set's accuracy, and how many of filters."""
    tied = (lines["verdict"] != OPEN) & lines["adjusted"].isna()  # no test
    evidence = lines[lines["counts"].astype(bool) & ~tied]
    if evidence.empty:
        return ""
    final = _tested_by(evidence) != arms.COURSES
    clear = [int(_kept(evidence[part]).sum()) for part in (final, ~final)]
    text = (
        f"{final.sum()} of the {len(evidence)} tests are of the accuracy that a final "
        f"set gives, and {clear[0]} of these are clear after the correction"
        f"{_by_teacher(rows, evidence[final & _kept(evidence)])}. The other "
        f"{(~final).sum()} are of the filters' accuracy and the difficulty of what "
        f"they select, from phase to phase; {clear[1]} of these are clear."
    )
    return f"{text} {_full_size(evidence[evidence['scale'] == 'paper'])}"


def _full_size(lines: pandas.DataFrame) -> str:
    """Say which tests are of a run with the preset `paper`, and where it was made."""
    if lines.empty:
        return "No test is of a run with the preset `paper`."
    final = (_tested_by(lines) != arms.COURSES).sum()
    places = [
        f"{tested.data(r)}, IPC {r.ipc:.0f}, {tested.network(r)}"
        for r in lines.itertuples()
    ]
    sentences = paper.claims().set_index("id")["tested"]
    claims = [
        f"*{sentences[r.claim].rstrip('.')}* ({r.verdict})" for r in lines.itertuples()
    ]
    return (
        f"{count(len(lines), 'test')} with the preset `paper` (the paper's networks "
        f"and sizes, mostly fewer epochs: {'; '.join(dict.fromkeys(places))}), "
        f"{final or 'none'} of them of the accuracy of a final set: "
        f"{'; '.join(claims)}."
    )


def _by_teacher(rows: pandas.DataFrame, lines: pandas.DataFrame) -> str:
    """Count results by their teacher, the one with the most first: ": 7 with A"."""
    known = tested.sources(rows)
    further = tested.further(known, lines["source"])
    parts = [
        f"{n} with {tested.learnt(known[name])}{further[name]}"
        for name, n in lines["source"].value_counts().items()
    ]
    return f" ({'; '.join(parts)})" * bool(parts)


def _kept(lines: pandas.DataFrame) -> pandas.Series:
    """Decide whether a clear verdict remains; one without spread does, as no test."""
    adjusted = lines["adjusted"].astype(float)
    return (lines["verdict"] != OPEN) & ~(adjusted > RATE)


def _short(claim, b: Badge, lines: pandas.DataFrame, further: dict[str, str]) -> str:
    """Say what was run: the badge of all runs that count, and how many say what."""
    evidence = lines[lines["counts"].astype(bool)]
    parts = [_tally(evidence), _covers(claim, b, evidence), f"on {_places(evidence)}"]
    if sizes := _sizes(evidence):
        parts.insert(1, sizes)
    parts += tested.own_cells(claim, evidence, further)
    clear, kept = (evidence["verdict"] != OPEN).sum(), _kept(evidence).sum()
    if kept < clear:
        lost = f"{clear - kept} of {clear} clear tests" if clear > 1 else ""
        parts.append(f"{lost} not clear after the correction".strip())
    word = _mark(b.verdict, list(evidence["verdict"]))
    return f"- {word} {claim.tested} *({'; '.join(parts)})*"


def _mark(word: str, words: Sequence[str] = ()) -> str:
    """Show a verdict; of those in some tests say in how many: "holds in 1 of 7"."""
    clear = {HOLDS_IN_SOME: HOLDS, FAILS_IN_SOME: FAILS}.get(word)
    some = f"{words.count(clear)} of {len(words)}" if words else "some"
    text = word.replace("some", some)
    return f"[{text}]{{.verdict .{MARKS.get(word, 'open')}}}"


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
    return listed(dict.fromkeys(tested.data(line) for line in lines.itertuples()))


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
    return f"- {_mark(word, words)} {claim} *({tally}; {teachers})*"


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
    every = table[table["verdict"] != UNTESTED]
    seen = [name for name in known if name in set(every["claim"])]
    evidence = every[every["counts"].astype(bool)]
    sources = tested.sources(rows)
    further = tested.further(sources, evidence["source"])
    lines = [
        f"{evidence['claim'].nunique()} of the paper's {len(known)} claims are tested "
        f"here on photographs, {len(seen) - evidence['claim'].nunique()} on digits "
        f"only. {_multiplicity(table) if len(evidence) else ''}",
        "",
        _split(rows, table),
        "",
        overview(table),
        _sources(sources, further, evidence["source"]),
        _digits(rows),
        "## Tested, one by one",
        "",
    ]
    for name in seen:
        group = every[every["claim"] == name]
        lines += [_claim(known[name], group, further), ""]
    lines += ["## Not tested here", ""]
    missing = table.drop_duplicates("claim").set_index("claim")["missing"]
    for name in (name for name in known if name not in seen):
        why = missing[name].removeprefix("the claim ")
        lines.append(f"- {known[name].claim} *({known[name].place})*: {why}.")
    return "\n".join(lines) + "\n"


def overview(table: pandas.DataFrame) -> str:
    """Tabulate every claim, and how many tests say what; digits stand apart."""
    head = ["claim", "size", "sign", "corrected", "digits"]
    lines = [f"| {' | '.join(head)} |", "|:--|" + ":-:|" * (len(head) - 1)]
    sentences = paper.claims().set_index("id")["tested"]
    for claim, every in table.groupby("claim", sort=False):
        measured = every[every["verdict"] != UNTESTED]
        counts = measured["counts"].astype(bool)
        evidence, aside = measured[counts], measured[~counts]
        sizes = [
            f"{SIZE_SIGNS[w]} {n}"
            for w in SIZES
            if (n := list(evidence["size"]).count(w))
        ]
        cells = [
            " ".join(sizes),
            _signs(evidence),
            _signs(evidence[_kept(evidence)]),
            _signs(aside),
        ]
        cells = " | ".join(cell or DASH for cell in cells)
        name = sentences[claim].rstrip(".")
        name = f"[{name}](#claim-{claim})" if len(measured) else name
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


def _sources(
    sources: dict[str, pandas.Series], further: dict[str, str], evidence: pandas.Series
) -> str:
    """List the teachers and experts that evidence comes from, as lines name them."""
    lines = [
        f"- {tested.made_of(sources[name], further[name])}."
        for name in dict.fromkeys(evidence)
    ]
    return "\n".join([TEACHERS, "", *lines, ""] if lines else [])


def _digits(rows: pandas.DataFrame) -> str:
    """Say how much matching there is in the tests of Section 3 that are no evidence."""
    text = findings.matched(rows[rows["dataset"].isin(SHOWN_ONLY)])
    return f"In the runs of Section 3 on digits, {text}\n" if text else ""


def _claim(claim, lines: pandas.DataFrame, further: dict[str, str]) -> str:
    """Write a claim, what all its runs say together, and each of them."""
    b, counts = badge(claim.id, lines), lines["counts"].astype(bool)
    text = [f"(claim-{claim.id})=", f"**{claim.claim}** *({claim.place})*", ""]
    if b.verdict != UNTESTED:
        evidence = lines[counts]
        text += [f"{_tally(evidence)}; {_covers(claim, b, evidence)}.", ""]
    text += [_test(claim, line, further) for line in lines[counts].itertuples()]
    if not counts.all():
        text += ["", "On digits, which show the method and are no evidence:", ""]
        text += [_test(claim, line, further) for line in lines[~counts].itertuples()]
    return "\n".join(text)


def _test(claim, line, further: dict[str, str]) -> str:
    word = _mark(line.verdict) if line.counts else f"*{line.verdict}*,"
    return tested.write(claim, line, word, further)


def _covers(claim, b: Badge, lines: pandas.DataFrame) -> str:
    names = ("teacher", "")
    if claim.tested_by in arms.SECTION_3:
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
