"""A forecast: nothing is trained, what is there is seen, what is shared counts once."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tyro
from conftest import small

from ccfs_lib import cost, train
from ccfs_lib.commands import suggest
from ccfs_lib.commands.forecast import forecast, text
from ccfs_lib.commands.run import Match, Squeeze, Sweep
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import preset
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.runtime import paths

ARMS = (
    "simple-misclassified",
    "hard-misclassified",
    "random",
    "distilled",
    "ccfs-hard",
)
# Seconds of every stage, powers of ten: a sum shows its terms.
EACH = {"teacher": 1e6, "recovery": 1e5, "tests": 0.0, "evaluation": 1e4}
EACH |= {"selection 1": 0.0, "selection 2": 0.0, "filter 1": 1.0, "filter 2": 100.0}


@pytest.fixture
def priced(house, monkeypatch):
    """A house where stages have the prices above, and nothing may be trained."""
    monkeypatch.setattr(cost, "seconds", lambda *_: EACH)
    return house


def test_everything_is_missing_in_an_empty_cache(priced, monkeypatch):
    monkeypatch.setattr(train, "_epoch", lambda *_: pytest.fail("trained"))
    e = small(seeds=2, score_runs=3)
    lines = {line.name: line for line in forecast([e], ARMS)[e]}
    assert all(line.done == 0 for line in lines.values())
    assert lines["teacher"].total == 3 and lines["teacher"].seconds == 3e6
    assert lines["recovered batches"].seconds == pytest.approx(1e5)
    # Both seeds: two filters and the evaluation; the first filter is all strategies',
    # and the hard-label arm's filters are those of the strategy.
    expected = [2 * 10_101, 2 * 10_100, 2 * 10_000, 2 * 10_000, 2 * 10_000]
    assert [lines[arm].seconds for arm in ARMS] == expected
    assert not list(priced.rglob("*.json"))


def test_what_is_computed_is_seen(priced):
    e = small(seeds=2)
    stages = Pipeline(e)
    stages.evaluate("random", 0)
    next(stages.phases(1))
    lines = {line.name: line for line in forecast([e], ARMS)[e]}
    assert (lines["teacher"].done, lines["teacher"].seconds) == (1, 0.0)
    assert (lines["random"].done, lines["random"].seconds) == (1, 10_000)
    # One batch of the 1 per class that phases need, of 4 per class in one batch.
    assert lines["recovered batches"].total == 1
    # Seed 1 has its first filter; seed 0 pays for it.
    assert lines[ARMS[0]].seconds == 2 * 10_100 + 1
    for arm in ARMS:
        for seed in (0, 1):
            stages.evaluate(arm, seed)
    done = forecast([e], ARMS)
    assert all(line.done == line.total and not line.seconds for line in done[e])
    shown = text(done, "cpu")
    assert shown.count("computed") == len(ARMS) + 2 and "about 0 s left on cpu" in shown


def test_a_grid_pays_once_for_what_its_points_share(priced):
    one = small(score="logits")
    others = [replace(one, curricula=1), replace(one, evaluation_network="convnet-8")]
    first, fewer, other = forecast([one, *others], ARMS[:3]).values()
    seconds = [
        {line.name: line.seconds for line in own} for own in (first, fewer, other)
    ]
    assert [s["teacher"] for s in seconds] == [1e6, 0, 0]
    assert [s["recovered batches"] for s in seconds] == [25_000, 0, 0]
    # One phase less: the same first filter, another set. Another network: only that.
    assert [s[ARMS[0]] for s in seconds] == [10_101, 10_000, 10_000]
    assert [s["random"] for s in seconds] == [10_000, 0, 10_000]


def test_a_missing_score_file_is_told(house):
    e = small(score=str(house / "none.npy"))
    with pytest.raises(InputError, match=r"none\.npy does not exist"):
        forecast([e], ARMS)


# -- the commands of CONTRIBUTING.md ---------------------------------------------------

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")
COMMANDS = re.findall(r"\| `ccfs ((?:sweep|squeeze) .+?)` \|", PAGE)
# The same command on digits, which have none of this.
ELSEWHERE = {
    **{"cifar10": "digits", "tiny-imagenet": "digits", "--scale paper ": ""},
    **{"--ipc 250 1000 1500": "--ipc 10 20", "--ipc 500": "--ipc 20"},
    **{"--ipc 100": "--ipc 10", "--ipc 50": "--ipc 10", "--seeds 5": "--seeds 1"},
    **{"--teacher-epochs 50": "--teacher-epochs 2"},
    **{"published-forgetting published-cscore": "forgetting"},
    # Real ones of this size cost seconds to time.
    **{"resnet18 resnet50 resnet101 densenet121 regnet_y_8gf": "convnet-8 convnet-4"},
}


def parsed(words: str):
    """The command as `ccfs` parses it."""
    return tyro.cli(Sweep | Squeeze, args=shlex.split(words))


def test_there_are_commands():
    assert len(COMMANDS) == 9


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_one_that_could_run(words):
    choice = parsed(words).choice
    made = choice.experiments()
    assert all(e.scale == "paper" and not e.portable for e in made)
    lists = [v for v in vars(choice).values() if isinstance(v, tuple) and v]
    assert len({e.run for e in made}) == max(map(len, lists), default=1)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_runs_dry_on_digits(words, house, capsys, monkeypatch):
    monkeypatch.setattr(cost, "rate", lambda *_: 1000.0)
    for paper, digits in ELSEWHERE.items():
        words = words.replace(paper, digits)
    words = re.sub(r"--out \S+", f"--out {house / 'out'}", words)
    parsed(f"{words} --dry-run" + " --epochs 1" * words.startswith("sweep"))()
    out = capsys.readouterr().out
    assert "digits-ipc" in out and "nothing was trained" in out
    assert not list(house.rglob("*.json")) and not (house / "out").exists()


def test_the_command_of_section_3_runs_dry_on_digits(house, capsys):
    (words,) = re.findall(r"\| `ccfs match (.+?)` \|", PAGE)
    (paper,) = tyro.cli(Match, args=shlex.split(words)).runs()
    assert paper.experiment.scale == "paper" and not paper.experiment.portable
    for theirs, digits in {**ELSEWHERE, "--ipc 500": "--ipc 10"}.items():
        words = words.replace(theirs, digits)
    command = tyro.cli(Match, args=shlex.split(f"{words} --dry-run"))
    # Of another scale, nothing but the numbers that the command itself names stays.
    (here,) = command.runs()
    assert (here.experts, here.matching.iterations) == (10, 1000)
    command()
    assert "digits" in capsys.readouterr().out and not list(house.rglob("*.json"))


def test_the_small_tiny_imagenet_is_whole():
    (words,) = re.findall(r"`ccfs (sweep --dataset tiny-imagenet --classes.+?)`", PAGE)
    (made,) = parsed(words).choice.experiments()
    assert made == preset("tiny-imagenet", "laptop", ipc=20, classes=20, image_size=32)
    assert made.run == "tiny-imagenet-c20-32px-ipc20"


# -- suggestions -----------------------------------------------------------------------


@pytest.fixture
def twice(house, monkeypatch):
    """A device that has bfloat16 and is twice as fast with it."""
    monkeypatch.setattr(suggest, "has_bf16", lambda _: True)
    rates = {"fp32": 1.0, "bf16": 2.0}
    monkeypatch.setattr(cost, "rate", lambda *a: rates[a[4]])
    return rates


def suggested(e):
    return suggest.suggestions(forecast([e], ARMS), ARMS)


def test_bf16_is_suggested_with_both_prices(twice):
    e = replace(small(epochs=40), portable=False)
    both = [forecast([x], ARMS)[x] for x in (e, suggest.in_bf16(e))]
    prices = [cost.duration(sum(line.seconds for line in x)) for x in both]
    (sentence,) = suggested(e)
    assert f"leaves about {prices[1]} instead of {prices[0]} on cpu, " in sentence
    # All but the recovery and the counting of both is twice as fast.
    assert "1.9 times as fast" in sentence or "2.0 times as fast" in sentence
    assert "--precision bf16 --teacher-precision bf16" in sentence
    assert suggest.in_bf16(e).run != e.run  # nothing changes by itself


def test_nothing_is_suggested_where_it_does_not_pay(twice, monkeypatch):
    e = replace(small(), portable=False)
    assert suggested(small()) == []  # portable: bits come first
    assert suggested(suggest.in_bf16(e)) == []
    twice["bf16"] = 1.05  # the noise of a timing
    assert suggested(e) == []
    twice["bf16"] = 2.0
    monkeypatch.setattr(suggest, "has_bf16", lambda _: False)
    assert suggested(e) == []


def test_a_gpu_is_told_what_an_h100_gave(twice, monkeypatch):
    monkeypatch.setattr(suggest, "device", lambda _: "cuda")
    *_, sentence = suggested(replace(small(), portable=False))
    for name, rate in suggest.speeds().items():
        assert f"{name} {rate:,.0f}" in sentence
    assert list(suggest.speeds()) == list(suggest.FORMS)
    monkeypatch.setattr(paths, "home", lambda: twice["nowhere"])
    twice["nowhere"] = Path("nowhere")
    assert len(suggested(replace(small(), portable=False))) == 1


def test_the_dry_run_prints_suggestions_and_trains_nothing(twice, monkeypatch, capsys):
    monkeypatch.setattr(train, "_epoch", lambda *_: pytest.fail("trained"))
    words = "--dataset digits --portable False --dry-run --arms random --epochs 40"
    tyro.cli(Sweep, args=words.split())()
    told = capsys.readouterr().out
    assert "nothing was trained\nsuggestion: --precision bf16" in told
