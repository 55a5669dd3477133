"""Which tests are independent, what they say together, and how sizes are compared."""

import math

import pandas
import pytest

from ccfs_lib import paper, results
from ccfs_lib.arms import CCFS
from ccfs_lib.claims.compare import SIZES, size
from ccfs_lib.claims.evidence import badge, covered, learners, load, source
from ccfs_lib.claims.ledger import Line, ledger

CLAIMS = {claim.id: claim for claim in paper.claims().itertuples()}
RUN = {
    "run": "a",
    "train": "f00d",
    "test": "beef",
    "teacher_network": "resnet18",
    "teacher.epochs": 60,
    "teacher_last": 76.5,
    "ipc": 50,
    "alpha": 0.2,
    "distillation.lr": 0.25,
    "score": "forgetting",
}


def lines(claim, *words, **more) -> pandas.DataFrame:
    """Lines of a ledger with these verdicts, each of a teacher of its own."""
    own = [
        Line(claim, word, counts=True, source=str(i))._replace(**more)
        for i, word in enumerate(words)
    ]
    return pandas.DataFrame(own, columns=Line._fields)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"ipc": 100, "alpha": 0.4, "run": "b"}, True),
        ({"score": "logits", "distillation.lr": 0.1}, True),  # made with the same one
        ({"matching.iterations": 7, "experts": math.nan}, True),
        ({"teacher_last": 76.6}, True),  # the same recipe on another machine
        ({"teacher.epochs": 6}, False),
        ({"teacher_network": "convnet"}, False),
        ({"train": "cafe"}, False),  # other images, or the same at another size
        ({"experts": 5, "expert.epochs": 20}, False),
    ],
)
def test_another_teacher_makes_evidence_independent(change, same):
    one, other = pandas.Series(RUN), pandas.Series(RUN | change)
    assert (source(one) == source(other)) == same


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("holds", "holds"), "holds"),
        (("holds", "too close to call"), "holds in some"),
        (("holds", "does not hold"), "mixed"),
        (("holds", "does not hold", "too close to call"), "mixed"),
        (("does not hold", "too close to call"), "fails in some"),
        (("does not hold",), "does not hold"),
        (("too close to call",) * 3, "too close to call"),
        (("not tested here",), "not tested here"),
    ],
)
def test_a_badge_is_what_all_tests_say(words, word):
    assert badge("x", lines("x", *words)).verdict == word


def test_digits_are_counted_apart():
    aside = lines("x", "does not hold", counts=False)
    both = pandas.concat([lines("x", "holds", "holds", source="a"), aside])
    b = badge("x", both)
    assert (b.verdict, b.runs, b.sources, b.shown_only) == ("holds", 2, 1, 1)
    b = badge("x", aside)
    assert (b.verdict, b.runs, b.shown_only) == ("not tested here", 0, 1)


def test_parts_of_the_paper_that_were_measured():
    base = CLAIMS["ccfs-over-base-distillation"]
    three = [
        {"dataset": "cifar10-jpeg", "ipc": 250.0},
        {"dataset": "cifar10", "ipc": 250.0},  # the same cell again
        {"dataset": "cifar10", "ipc": 100.0},  # none of the ten
        {"dataset": "cifar100", "ipc": 50.0, "part": "20 classes"},
    ]
    own = pandas.concat([lines(base.id, "holds", **more) for more in three])
    assert covered(base, own) == (1, 10) and learners(base, own) == (0, 0)
    mean = CLAIMS["two-shot-mean"]
    own = lines(mean.id, "holds", dataset="cifar100", levels=(25, 50, 100, 400))
    assert covered(mean, own) == (3, 4)
    five = CLAIMS["ccfs-over-cda-on-five-networks"]
    own = lines(five.id, "holds", dataset="cifar10", levels=("convnet", "resnet18"))
    assert learners(five, own) == (1, 5) and covered(five, own) == (0, 1)
    bounds = CLAIMS["difficulty-bounds-rise"]
    own = lines(bounds.id, "holds", dataset="tiny-imagenet", ipc=100.0)
    assert covered(bounds, own) == (1, 2)


@pytest.mark.parametrize(
    ("low", "high", "printed", "word"),
    [
        (0.5, 3.0, 1.7, "consistent"),
        (1.7, 3.0, 1.7, "consistent"),
        (-4.0, 9.0, 1.7, "consistent"),
        (0.2, 1.0, 1.7, "smaller"),
        (-1.0, 1.0, 1.7, "smaller"),
        (2.0, 3.0, 1.7, "larger"),
        (-3.0, -1.0, 1.7, "opposite"),
        (-3.0, -1.0, -0.1, "larger"),  # mirrored: further from zero
        (0.5, 1.0, -0.1, "opposite"),
        (-math.inf, math.inf, 1.7, ""),
        (0.5, 3.0, math.nan, ""),
    ],
)
def test_sizes(low, high, printed, word):
    assert size(low, high, printed) == word and (word in SIZES or not word)


def test_digits_are_no_part_of_the_family():
    def rows(dataset, ours):
        return [
            RUN | {"dataset": dataset, "run": dataset, "train": dataset, "cell": cell}
            | {"seed": i, "last": v, "images": 90 + 10 * (cell != CCFS), "wanted": 100}
            for cell, values in ((CCFS, ours), ("hard-misclassified", [60, 61.1, 62]))
            for i, v in enumerate(values)
        ]  # fmt: skip

    CCFS = "simple-misclassified"
    own = rows("cifar10", [62, 63.2, 64])
    alone = ledger(pandas.DataFrame(own))
    both = ledger(pandas.DataFrame(own + rows("digits", [70.0, 71.2, 72])))
    one, (two, aside) = (
        [line for line in found.itertuples() if line.verdict != "not tested here"]
        for found in (alone, both)
    )
    assert one[0].adjusted == two.adjusted == two.p and two.counts
    assert math.isnan(aside.adjusted) and aside.p < 0.05 and not aside.counts
    assert (two.made, two.wanted, two.made_right) == (90, 100, 100)
    assert (two.class_size, aside.class_size) == (5000, 131)


@pytest.mark.parametrize("first", ["distilled", "random"])  # before and after CCFS
def test_of_a_run_that_two_machines_measured_one_teacher_is_evidence(tmp_path, first):
    """A page of the book once ended in an error, of two arms with two teachers."""

    def file(run, cell, **config):
        row = {"seed": 0, "last": 60.0, "best": 60.0, "images": 9, "wanted": 9}
        config |= {"dataset": "cifar100", "alpha": 0.2}
        results.write(tmp_path, run, cell, config=config, rows=[row], provenance={})

    file("a", first, teacher_last=50.9)
    file("a", CCFS, teacher_last=50.2)
    file("a", "forgetting", teacher_last=50.2)
    file("a", "matched")  # of SelMatch's experts: no teacher
    file("b", "random", teacher_last=50.9)
    rows = load(tmp_path)
    found = set(zip(rows["run"], rows["cell"], strict=True))
    kept = {("a", CCFS), ("a", "forgetting"), ("a", "matched"), ("b", "random")}
    assert found == kept
    assert len(results.load(tmp_path)) == 5
