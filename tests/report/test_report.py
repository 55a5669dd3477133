"""Report: what figures and sentences say must be what the numbers are."""

import ast
import csv
import io
import json
import math
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas
import pytest
import torch
from papermill.inspection import inspect_notebook
from PIL import Image

from ccfs_lib import report, results
from ccfs_lib.curriculum import Filter, ignorant, run
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import STRATEGIES, Distillation, preset
from ccfs_lib.report import (
    arms,
    charts,
    difficulty,
    forest,
    gallery,
    phase,
    style,
    teacher,
    text,
)
from ccfs_lib.report import marks as written
from ccfs_lib.runtime import paths
from ccfs_lib.select import quotas
from ccfs_lib.statistics import Difference, difference, summary
from ccfs_lib.store import Store

ROOT = Path(__file__).parents[2]


def picture(figure) -> Image.Image:
    """The figure as a notebook shows it; drawing it finds what building did not."""
    png, metadata = figure._repr_png_()
    assert metadata["width"] <= 780
    return Image.open(io.BytesIO(png))


def test_an_svg_holds_the_numbers_drawn_and_no_picture(images):
    lines = [
        charts.Line("a < b", 90.0, 1.5, [89.0, 90.5, 91.0], second=92.25),
        charts.Line("c", 80.123456, math.nan, [80.123456]),
    ]
    svg, again = (
        charts.intervals(lines, "accuracy (%)", {"teacher": 95.0}, "best")._repr_svg_()
        for _ in range(2)
    )
    assert svg == again  # executed pages are in git
    root = ElementTree.fromstring(svg)
    assert "accuracy (%)" in "".join(root.itertext())  # text, and not its outline
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)
    (numbers,) = root.findall("{http://www.w3.org/2000/svg}metadata")
    rows = list(csv.DictReader(io.StringIO(numbers.text)))
    found = {(r["series"], r["mark"], r["x"]) for r in rows}
    assert found == {
        ("teacher", "rule", "95"),
        *(("a < b", "interval", x) for x in ("88.5", "91.5")),
        *(("a < b", "seed", x) for x in ("89", "90.5", "91")),
        ("a < b", "mean", "90"),
        ("a < b", "second", "92.25"),
        *(("c", mark, "80.123") for mark in ("seed", "mean")),
    }
    assert gallery.samples(images)._repr_svg_() is None


def test_numbers_of_bars_matrices_and_long_lines_keep_their_names():
    figure, (top, low) = style.canvas(3, 2)
    top.bar([0, 1], [3, 4], label="made")
    top.set_xticks([0, 1], ["cat", "dog"])
    low.plot(np.arange(5000), np.arange(5000) / 7, label="ramp")
    style.note(low, "below")
    rows = list(csv.DictReader(io.StringIO(written.table(figure))))
    bars = [(r["panel"], r["series"], r["mark"], r["x"], r["y"]) for r in rows[:2]]
    assert bars == [("1", "made", "bar", "cat", "3"), ("1", "made", "bar", "dog", "4")]
    assert len(rows) == 2 + written.MOST
    assert (rows[2]["x"], rows[-1]["x"], rows[-1]["y"]) == ("0", "4999", "714.14")
    assert {row["panel"] for row in rows[2:]} == {"below"}
    answers = np.array([0, 0, 1, 1, 1])
    matrix = charts.confusion(np.array([0, 1, 1, 1, 1]), answers, ["cat", "dog"])
    rows = csv.DictReader(io.StringIO(written.table(matrix)))
    cells = {(r["y"], r["x"]): r["value"] for r in rows}
    assert cells == {
        ("cat", "cat"): "100",
        ("cat", "dog"): "0",
        ("dog", "cat"): "25",
        ("dog", "dog"): "75",
    }


def test_a_gallery_is_rounded_but_for_its_ground():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    card = (252, 252, 250)
    pixels[:8], pixels[8, 0] = card, 255
    coarse = np.asarray(style.rounded(Image.fromarray(pixels)))
    assert np.abs(coarse.astype(int) - pixels).max() == 2
    assert len(np.unique(coarse[8:])) == 64
    # No photograph has the ground's colour, by which a dark page tells them apart.
    assert (coarse[:8] == card).all() and not (coarse[8:] == card).all(2).any()
    assert (coarse[8, 0] == 255).all()


def marks(figure, gid: str, axes: int = 0) -> list:
    return [line for line in figure.axes[axes].lines if line.get_gid() == gid]


@pytest.fixture
def images():
    """60 images of 3 classes, unequal in number, and a difficulty with ties."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 5 % 3  # 24, 24, 12
    pixels = torch.randint(0, 256, (60, 3, 8, 8), generator=generator)
    return ImageSet("toy", pixels.to(torch.uint8), labels, ("cat", "dog", "emu"))


@pytest.fixture
def values():
    return np.random.default_rng(2).integers(0, 5, 60).astype(float)


def stages_of(images, values, predictions=None, **changes):
    """What the report asks of a Pipeline, without any training."""
    experiment = preset(**{"ipc": 8, "alpha": 0.25, **changes})
    predictions = images.labels.numpy() if predictions is None else predictions
    teacher = SimpleNamespace(predictions=predictions, last=90.0, best=91.0)
    return SimpleNamespace(
        experiment=experiment,
        train=images,
        test=images,
        difficulty=values,
        teacher=teacher,
        device="cpu",
    )


@pytest.fixture
def story(images, values):
    """Stages, and the records of two phases with a filter that is often wrong."""
    stages = stages_of(images, values)
    random = np.random.default_rng(3)

    def train_filter(synthetic, number):
        answers = images.labels.numpy().copy()
        wrong = random.random(60) < 0.5 / number
        answers[wrong] = (answers[wrong] + 1) % 3
        return Filter(answers, random.normal(size=60), 50.0 * number)

    first = images.subset(range(6))
    records = run(images, first, values, quotas(6, 2), train_filter)
    return stages, list(islice(records, 2))


def rows_of(**cells) -> pandas.DataFrame:
    """Results rows: cell -> list of last accuracies; best is half a point higher."""
    rows = [
        {"cell": cell.replace("_", "-"), "seed": seed, "last": last, "best": last + 0.5}
        for cell, accuracies in cells.items()
        for seed, last in enumerate(accuracies)
    ]
    table = pandas.DataFrame(rows, dtype=object)
    return table.assign(images=80, wanted=80, teacher_last=95.0)


# -- words ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (1.0, 0.9, "holds"),
        (-1.0, 0.9, "does not hold"),
        (1.0, 1.0, "too close to call"),  # the interval touches zero
        (-1.0, 1.0, "too close to call"),
        (0.0, 0.0, "too close to call"),
        (1e-9, 0.0, "holds"),
        (5.0, math.nan, "too close to call"),  # a single seed
    ],
)
def test_verdict_follows_the_interval(mean, half, word):
    assert text.verdict(Difference(mean, half, 3, 3, math.nan)) == word


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.25, "+1.2"), (-3.14, "\N{MINUS SIGN}3.1"), (-0.01, "0.0"), (0.04, "0.0")],
)
def test_numbers_have_true_signs_and_no_negative_zero(value, said):
    assert text.signed(value) == said


def test_small_words():
    assert text.listed(["a"]) == "a"
    assert text.listed(["a", "b", "c"]) == "a, b and c"
    assert text.listed("abcdefgh", 3) == "a, b, c and 5 more"
    assert text.listed([]) == ""
    assert text.count(1, "class", "classes") == "1\xa0class"
    assert text.count(1200, "image") == "1,200\xa0images"
    assert text.share(1, 4) == "25.0\xa0% (1 of 4)"
    assert text.plus_minus([3.0]) == "3.0"
    s = summary([1.0, 2.0, 4.0])
    assert text.plus_minus([1, 2, 4]) == f"{s.mean:.1f} ± {s.half:.1f}"


def test_a_difference_is_given_with_its_interval():
    d = difference([3.0, 4.0, 5.0], [1.0, 1.5, 1.0])
    words = text.interval(d).replace("\xa0", " ")
    assert f"+{d.mean:.1f} points" in words
    assert f"[+{d.mean - d.half:.1f}, +{d.mean + d.half:.1f}]" in words
    assert "single seed" in text.interval(difference([1.0], [2.0]))
    near = text.interval(Difference(1.46, 1.4587, 3, 3, 0.04)).replace("\xa0", " ")
    assert near.endswith("[+0.001, +2.9]")  # which side of zero it ends on


def test_table_is_a_captioned_markdown_table():
    said = repr(text.table("Caption.", ("a", "b"), [("x|y", 1), ("z", 2)]))
    caption, _, head, rule, *body, _, end = said.split("\n")
    assert (caption, end) == (":::{table} Caption.", ":::")
    assert (head, rule) == ("| a | b |", "| :-- | --: |")
    assert body == ["| x\\|y | 1 |", "| z | 2 |"]


def test_stamp_says_what_was_run_and_hides_where(images, values):
    stages = stages_of(images, values, data_root="/home/somebody/data", seeds=7)
    said = text.stamp(stages, seeds=True)
    for part in ("**digits**, IPC 8, alpha 0.25, J = 3", "convnet-16-32", "7\xa0seeds"):
        assert part in repr(said)
    assert "not the paper's" in repr(said)
    assert "somebody" not in repr(said) and "<td>32</td>" in repr(said)
    assert "seed" not in repr(text.stamp(stages))


def test_a_stamp_names_no_value_of_the_setting_that_varies(images, values):
    stages = stages_of(images, values)
    said = repr(text.stamp(stages, varied="alpha"))
    assert "IPC 8, several alphas, J = 3" in said and "<code>alpha</code>" not in said
    said = repr(text.stamp(stages, varied="curricula"))
    assert "alpha 0.25, several J," in said and "<code>curricula</code>" not in said


def test_a_stamp_has_the_papers_settings_only_where_they_are_given():
    rows = [("alpha", "0.2"), ("ipc", "50")]
    assert "the paper or" not in text.stamped("line", "digits", rows).markdown
    said = text.stamped("line", "digits", rows, {"alpha": "0.4"}).markdown
    assert "<td>0.2</td><td>0.4</td>" in said and "<td>50</td><td></td>" in said


def test_stamp_names_the_gpu_that_trained_what_a_cpu_reads(images, values, house):
    stages = stages_of(images, values)
    assert "CPU;" in repr(text.stamp(stages)) and "trained on" not in repr(stages)
    run, row = stages.experiment.run, {"seed": 0, "last": 1.0, "best": 1.0}
    for seed, device in enumerate(("NVIDIA H100", "Intel Xeon")):
        config, rows = stages.experiment.hashed(), [row | {"seed": seed}]
        how = {"rows": rows, "provenance": {"device": device}}
        results.write(paths.results(), run, "random", config=config, **how)
    said = repr(text.stamp(stages))
    assert "trained on NVIDIA H100, page computed on a CPU from" in said
    assert "Xeon" not in said


def test_a_stamp_has_options_that_the_paper_sets_and_the_run_leaves():
    row = "<code>batch_size_by</code></td><td>{}</td><td>{}</td>"
    where = {"dataset": "cifar100", "scale": "paper", "ipc": 50}
    for by, theirs in (("images", "wanted"), ("wanted", "")):
        e = preset(**where, batch_size_by=by)
        rows = text._settings(e)
        usual = {name: value for name, _, value in text._apart(e)}
        said = text.stamped("line", e.dataset, rows, usual | {"x": "y"}).markdown
        assert said.count("batch_size_by") == 1 and row.format(by, theirs) in said
    assert ("batch_size_by", "images", "wanted") in text._apart(
        preset(**where, batch_size_by="images")
    )


def test_stamp_of_a_laptop_run_counts_what_is_missing(images, values):
    stages = stages_of(images, values, dataset="cifar10-jpeg", ipc=250)
    from ccfs_lib import networks

    sized = SimpleNamespace(num_classes=10, image_size=32)
    stages.train = sized
    stages.network = lambda name: networks.build(name, 10, 32)
    said = repr(text.stamp(stages))
    costs = [
        networks.count(networks.build(name, 10, 32), 32).macs
        for name in ("resnet18", stages.experiment.network)
    ]
    assert f"1/{costs[0] / costs[1]:.0f} of" in said
    assert "60 epochs replace 500" in said
    assert "other settings differ, listed below" in said
    assert "<td>resnet10-w16</td><td>resnet18</td>" in said  # here, and the paper
    assert "not CIFAR-10" in said


# -- pictures ------------------------------------------------------------------------


def test_few_classes_are_all_shown_and_many_by_rule():
    assert style.spread([5, 1, 3]) == [0, 1, 2]
    order = np.random.default_rng(0).permutation(200)
    some = style.spread(order)
    assert len(some) == len(set(some)) == 10
    assert order[some].tolist() == sorted(order[some])
    assert (order[some[0]], order[some[-1]]) == (0, 199)
    outer = style.ends(order)
    assert order[outer].tolist() == [*range(10), *range(190, 200)]
    assert style.ends([3, 1, 2]) == [1, 2, 0]


def test_long_class_names_are_cut():
    assert style.short("goldfish, Carassius auratus") == "goldfish"
    assert style.short("a_very_long_class_name") == "a very long …"


def test_enlarging_repeats_pixels_and_shrinking_averages():
    small = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).to(torch.uint8)
    big = gallery.enlarged(small)
    assert big.shape == (2, 96, 96, 3)
    assert (big[:, ::12, ::12] == small.permute(0, 2, 3, 1).numpy()).all()
    assert (big[:, 11::12, 11::12] == big[:, ::12, ::12]).all()
    large = torch.full((1, 3, 200, 200), 7, dtype=torch.uint8)
    assert gallery.enlarged(large).shape == (1, 67, 67, 3)
    assert (gallery.enlarged(large) == 7).all()


def test_gallery_places_every_image_and_says_none(images):
    rows = [
        gallery.Row("one", (images.images[:2], images.images[2:5]), (("a", "b"), ())),
        gallery.Row("two", (images.images[:0], images.images[5:6])),
    ]
    figure = gallery.gallery(rows, ("left", "right"))
    ax = figure.axes[0]
    shown = [np.asarray(image.get_array()) for image in ax.images]
    expected = gallery.enlarged(images.images[[0, 1, 2, 3, 4, 5]])
    assert len(shown) == 6
    assert all((a == b).all() for a, b in zip(shown, expected, strict=True))
    words = {t.get_text() for t in ax.texts}
    assert {"one", "two", "left", "right", "a", "b", "none"} <= words
    # One pixel of the file per pixel of the picture, or repetition would blur.
    assert picture(figure).size == (ax.get_xlim()[1], ax.get_ylim()[0])


def test_an_empty_block_and_a_long_head_have_room(images):
    rows = [gallery.Row("one", (images.images[:1], images.images[:0]))]
    figure = gallery.gallery(rows, ("a head of the first", "right"))
    ax = figure.axes[0]
    place = {t.get_text(): t.get_position()[0] for t in ax.texts}
    assert place["none"] == place["right"]
    assert place["right"] - place["a head of the first"] > 12 * len(
        "a head of the first"
    )
    assert ax.get_xlim()[1] - place["none"] > 60
    figure.canvas.draw()
    box = {t.get_text(): t.get_window_extent() for t in ax.texts}
    assert box["a head of the first"].x1 < box["right"].x0


def test_a_class_gallery_shows_first_and_last_image(images):
    figure = report.samples(images)
    members = torch.nonzero(images.labels == 0)[:, 0]
    shown = [np.asarray(i.get_array()) for i in figure.axes[0].images]
    first, last = gallery.enlarged(images.images[members[[0, -1]]])
    assert (shown[0] == first).all() and (shown[7] == last).all()


def test_two_seeds_draw_no_interval():
    """Theirs would be an axis to -100 %."""
    sample = [60.0, 62.0]
    d = difference(sample, [50.0, 55.0], paired=True)
    for mean, half, points in (
        (61.0, summary(sample).half, sample),
        (d.mean, d.half, np.subtract(sample, [50.0, 55.0])),
    ):
        line = charts.Line("x", mean, half, points)
        assert np.isnan(line.half)
        low, high = charts.window([line], [])
        assert min(points) - 1 < low < high < max(points) + 1
    assert text.interval(d).endswith("no interval from two seeds")


def test_intervals_are_those_of_summary():
    samples = [[1.0, 2.0, 4.0], [3.0, 3.5, 3.2], [2.0]]
    lines = []
    for sample in samples:
        s = summary(sample)
        lines.append(charts.Line("x", s.mean, s.half, sample))
    figure = charts.intervals(lines, "x", {})
    assert [m.get_xdata()[0] for m in marks(figure, "mean")] == [
        pytest.approx(np.mean(sample)) for sample in samples
    ]
    bars = [line.get_xdata() for line in marks(figure, "interval")]
    assert len(bars) == 2  # one seed has no interval
    for bar, sample in zip(bars, samples, strict=False):
        s = summary(sample)
        assert bar == pytest.approx([s.mean - s.half, s.mean + s.half])
    picture(figure)


def test_one_enormous_interval_does_not_squeeze_the_others():
    lines = [
        charts.Line("a", 50, 1),
        charts.Line("b", 52, 2),
        charts.Line("c", 51, 400),
    ]
    low, high = charts.window(lines, [], 100)
    assert 45 < low < 49 and 54 <= high < 56
    assert charts.window([charts.Line("a", 99, 5)], [], 100)[1] == 100


def test_an_interval_beyond_the_axis_is_marked_and_whole_in_the_numbers():
    lines = [
        charts.Line(name, 50, half)
        for name, half in zip("abcd", (1, 1, 1, 400), strict=True)
    ]
    figure = charts.intervals(lines, "x", {}, most=100)
    last = marks(figure, "interval")[-1].get_xdata()
    assert last == pytest.approx([-350, 450])
    heads = figure.axes[0].collections
    assert [h.get_offsets()[0][0] for h in heads] == list(figure.axes[0].get_xlim())
    assert "interval,450" in written.table(figure)
    assert not charts.intervals(lines[:3], "x", {}).axes[0].collections
    picture(figure)
    figure = forest.grouped({"one": lines}, "points")
    assert "interval,450" in written.table(figure)
    assert len(figure.axes[0].collections) == 2


def test_confusion_counts_and_keeps_the_most_confused():
    labels = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 1, 1, 1, 0, 2])
    matrix = charts.counts(labels, answers, 3)
    assert matrix.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    big = np.eye(50, dtype=int) * 9
    big[7, 31], big[31, 7], big[40, 2] = 5, 4, 6
    assert {7, 31, 40, 2} <= set(charts.most_confused(big, 10))
    assert len(charts.most_confused(big, 10)) <= 10
    names = [f"class {c}" for c in range(50)]
    figure = charts.confusion(np.arange(50), (np.arange(50) + 1) % 50, names)
    assert "of 50 classes" in figure.axes[0].get_title(loc="left")
    picture(figure)


# -- difficulty ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda r: r.integers(0, 7, 500) / 3,
        lambda r: r.exponential(5, 500).round(1) * (r.random(500) < 0.8),
        lambda r: -r.random(500),
        lambda r: np.zeros(500),
        lambda r: r.normal(size=500) * 1e3,
    ],
    ids=["few values", "events", "c-scores", "all equal", "logits"],
)
def test_histogram_bars_hold_every_image_once(make):
    found = make(np.random.default_rng(0))
    figure = difficulty.histogram(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == len(found)
    if found.min() == 0:
        assert heights[0] == (found == 0).sum()  # zero is never mixed with others
    picture(figure)


def test_ties_count_those_who_share_the_last_place():
    found = np.array([0, 0, 1, 1, 1, 2, 5.0, 5.0])
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert difficulty.ties(found, labels, 3).tolist() == [3, 2]
    assert difficulty.ties(found, labels, 2).tolist() == [2, 2]


def test_extremes_are_the_extremes_with_ties_to_the_lower_index(images, values):
    figure = difficulty.extremes(images, values, each=2)
    shown = [np.asarray(i.get_array()) for i in figure.axes[0].images]
    members = np.flatnonzero(images.labels.numpy() == 0)
    ranked = sorted(members, key=lambda i: (values[i], i))
    wanted = gallery.enlarged(images.images[[*ranked[:2], *ranked[-2:]]])
    assert all((a == b).all() for a, b in zip(shown[:4], wanted, strict=True))


def test_class_means_are_drawn_from_easy_to_hard(images, values):
    figure = difficulty.by_class(values, images)
    labels, ax = images.labels.numpy(), figure.axes[0]
    means = {images.classes[c]: values[labels == c].mean() for c in range(3)}
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == sorted(means, key=means.get)
    bar = ax.containers[0].lines[2][0].get_segments()[0]
    s = summary(values[labels == images.classes.index(names[0])])
    assert bar[:, 0] == pytest.approx([s.mean - s.half, s.mean + s.half])
    picture(figure)


def test_difficulty_finding_has_the_numbers(images, values):
    said = repr(report.answers.difficulty(values, images, 3)).replace("\xa0", " ")
    assert f"({(values == 0).sum()} of 60)" in said
    assert f"only {len(np.unique(values))} different values" in said
    assert "to call" in said or "harder than the next" in said
    assert "ties are broken by the lower index." in said
    random = repr(report.answers.difficulty(values, images, 3, "random"))
    assert "ties are broken at random" in random and "lower index" not in random
    far = np.where(images.labels.numpy() == 2, 50.0, values)
    clear = repr(report.answers.difficulty(far, images, 3))
    assert "Hardest class: emu" in clear and "harder than the next" in clear


def test_logits_have_a_stand_in(images, values):
    class Fake(SimpleNamespace):
        def __init__(self, experiment, store, device):
            events = torch.arange(60, dtype=torch.int32)
            tensors = {"events": events, "learned": events > 0}  # one image never
            one = SimpleNamespace(tensors=tensors)
            known = None if experiment.score == "logits" else values
            seeds = experiment.squeeze_seeds
            squeeze = SimpleNamespace(run=lambda seed: one, seeds=seeds)
            options = {"store": store, "device": device, "squeeze": squeeze}
            super().__init__(experiment=experiment, difficulty=known, **options)

    stages = Fake(preset(score="logits"), None, "cpu")
    found, source = report.sources.scores(stages)
    assert found is values
    assert "Shown instead" in repr(source) and "In 3\xa0cases" in repr(source)
    _, source = report.sources.scores(Fake(preset(), None, "cpu"))
    assert "Shown instead" not in repr(source)
    assert "each, and averaged. " in repr(source)
    _, source = report.sources.scores(Fake(preset(score_runs=1), None, "cpu"))
    assert "averaged" not in repr(source) and "by a training" in repr(source)


# -- teacher and distillation --------------------------------------------------------


def test_notebooks_names_of_both_modules_still_work():
    """Cells of chapters 2 and 3, here and in committed pages, call these names."""
    assert report.squeeze is report.teacher
    assert report.recover is report.distillation


def test_excluded_shares_add_up(values):
    wrong = np.array([0, 5, 17, 44])
    shares = teacher.by_tenth(values, wrong)
    assert shares.sum() * 6 / 100 == pytest.approx(4)
    hardest = np.argsort(values, kind="stable")[-3:]
    assert teacher.by_tenth(values, hardest).tolist() == [0] * 9 + [50]
    heights = [b.get_height() for b in teacher.excluded(values, wrong).axes[0].patches]
    assert heights == pytest.approx(shares)


def test_teacher_curve_marks_last_and_best():
    meta = {"losses": [2.0, 1.0, 0.5, 0.4], "last": 80.0, "best": 83.0}
    meta["curve"] = {"2": 83.0, "3": 80.0}
    figure = teacher.curve(meta)
    drawn = [
        (list(li.get_xdata()), list(li.get_ydata())) for li in figure.axes[1].lines
    ]
    assert ([3], [83.0]) in drawn and ([4], [80.0]) in drawn
    assert list(figure.axes[0].lines[0].get_ydata()) == meta["losses"]
    picture(figure)


def test_teacher_without_mistakes(images, values):
    stages = stages_of(images, values)
    wrong = teacher.mistakes(stages)
    assert len(wrong) == 0
    assert "every training image" in repr(teacher.wrong_gallery(stages, wrong, values))
    assert "exclude nothing" in repr(report.answers.squeeze(stages, wrong, values))
    stages.teacher.best = stages.teacher.last
    for tested, said in (("34", "none of the tested epochs, 4 to 5, was"), ("4", "no")):
        artefact = SimpleNamespace(meta={"curve": dict.fromkeys(tested, 90.0)})
        stages.squeeze = SimpleNamespace(run=lambda kept=artefact: kept)
        assert f"; {said} " in repr(report.answers.squeeze(stages, wrong, values))
    picture(teacher.excluded(values, wrong))


def test_one_mistake_of_the_teacher_is_one(images, values):
    stages = stages_of(images, values)
    stages.squeeze = SimpleNamespace(run=lambda: SimpleNamespace(meta={"curve": "4"}))
    some = ((3,), "this one; its rank is"), ((3, 5), "these; their median rank is")
    for wrong, said in some:
        text = repr(report.answers.squeeze(stages, np.array(wrong), values))
        assert f"would exclude {said} at" in text


def test_wrong_gallery_names_the_answers(images, values):
    predictions = images.labels.numpy().copy()
    hard = np.flatnonzero(predictions == 2)[:2]
    predictions[hard] = 0
    stages = stages_of(images, values, predictions)
    figure = teacher.wrong_gallery(stages, hard, values)
    words = [t.get_text() for t in figure.axes[0].texts]
    assert words.count("emu") == 1 and words.count("cat") == 2


def test_opinion_against_the_definition(digits, digits_teacher):
    some = digits[1].subset(range(40))
    found = report.probe.opinion(digits_teacher, some)
    with torch.inference_mode():
        logits = digits_teacher.eval()(some.images.float() / 255).double()
    p = logits.softmax(1)
    own = p[torch.arange(40), some.labels]
    assert found.confidence == pytest.approx(100 * own.numpy(), abs=1e-4)
    assert found.entropy == pytest.approx(-(p * p.log2()).sum(1).numpy(), abs=1e-5)
    assert (found.right == (p.argmax(1) == some.labels).numpy()).all()
    figure = report.distillation.doubt({"recovered": found, "real, test": found})
    x, y = figure.axes[0].lines[0].get_data()
    assert y[-1] == 100 and (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    picture(figure)


@pytest.fixture
def asked(digits, digits_teacher, tmp_path):
    """Pipeline-like: what `probe` asks of one, with a store of its own."""
    stages = stages_of(digits[0], None)
    stages.test, stages.store = digits[1], Store(tmp_path)
    stages.trainings = SimpleNamespace(arithmetic={})
    vars(stages.teacher).update(network=digits_teacher, key="a teacher", mark="")
    return stages


def test_what_a_teacher_says_is_kept_and_needs_no_weights_again(asked):
    some = asked.train.subset(range(0, 1352, 20))
    told = report.probe.opinions(asked, some), report.probe.distances(asked, some, 2)
    kinds = [r["kind"] for k in ("opinion", "distance") for r in asked.store.entries(k)]
    assert kinds == ["opinion"] * 3 + ["distance"]
    del asked.teacher.network
    again = report.probe.opinions(asked, some), report.probe.distances(asked, some, 2)
    assert again[1] == told[1]
    for kind, opinion in told[0].items():
        for name, values in vars(opinion).items():
            np.testing.assert_array_equal(values, getattr(again[0][kind], name))
    with pytest.raises(AttributeError):  # of other images it was never asked
        report.probe.opinions(asked, asked.train.subset(range(1, 1352, 20)))
    asked.teacher.key = "another teacher"
    with pytest.raises(AttributeError):
        report.probe.distances(asked, some, 2)


def test_noise_is_farther_than_the_training_images(asked, digits, digits_teacher):
    half = digits[0].subset(range(0, 1352, 2))
    found = report.probe.distances(asked, half, batches=3)
    assert [len(found[k]) for k in found] == [3, 3, 3, 3]
    assert min(found["noise"]) > max(found["real, training"])
    assert not digits_teacher.body[1]._forward_pre_hooks  # the teacher is given back
    picture(report.distillation.distance_chart(found))


def test_recovery_finding_names_samples_and_batches():
    def opinions(number):
        share = np.linspace(0, 100, number)
        return report.probe.Opinion(share, share > 25, share)

    seen = {"recovered": opinions(40), "real, test": opinions(2000)}
    far = {"recovered": [4.0], "real, training": [1.0, 2.0, 3.0], "noise": [8.0]}
    said = repr(report.answers.recover(seen, far)).replace("\xa0", " ")
    assert "75.0 % of 40 recovered and 75.0 % of a sample of 2,000 test images" in said
    assert "2.0 times that of training images, that of noise 4.0 times" in said
    assert "over 1 batch and 3 batches, without an interval" in said


def test_crop_schedule_is_the_recipe():
    recipe = Distillation(iterations=40, crop_min=0.3)
    figure = report.distillation.schedule(
        torch.zeros(3, 8, 8, dtype=torch.uint8), recipe
    )
    curve = next(a for a in figure.axes if a.get_xlabel() == "iteration").lines[0]
    assert list(curve.get_ydata()) == [100 * recipe.crop_at(i) for i in range(40)]
    picture(figure)


# -- phases --------------------------------------------------------------------------


def test_pool_is_what_the_curriculum_saw(story):
    stages, records = story
    labels = stages.train.labels.numpy()
    for record in records:
        assert record.candidates[record.chosen].all()
        counts = np.bincount(labels[record.candidates], minlength=3)
        assert counts.tolist() == record.pool.tolist()
        assert (record.filter.predictions != labels)[record.candidates].all()


def test_supply_bars_are_candidates_and_picked(story):
    stages, records = story
    changes = {"quota": 4, "chosen": np.arange(10), "shortfall": {1: 2}}
    short = replace(records[0], pool=np.array([5, 2, 9]), **changes)
    ax = phase.supply(stages, [short]).axes[0]
    widths = {c.get_label(): [bar.get_width() for bar in c] for c in ax.containers}
    assert widths == {
        "candidates": [2, 5, 9],
        "selected": [4, 4],
        "selected, with a shortfall": [2],
    }
    assert [t.get_text() for t in ax.get_yticklabels()] == ["dog", "cat", "emu"]
    said = repr(report.answers._short(stages, short)).replace("\\xa0", " ")
    assert "has a shortfall (dog): 2 of 12 images are missing" in said


def test_sieve_layers_are_nested(story):
    stages, records = story
    figure = phase.sieve(stages, records)
    everyone, pool, picked = (
        [bar.get_height() for bar in ax.patches] for ax in figure.axes
    )
    assert sum(everyone) == 60
    assert sum(pool) == records[-1].pool.sum()
    assert sum(picked) == len(records[-1].chosen)
    assert all(a >= b >= c for a, b, c in zip(everyone, pool, picked, strict=True))
    picture(figure)


def test_zero_stands_below_the_bar_of_the_zeros(story):
    stages, records = story
    values = np.arange(60.0) ** 2 / 30  # no grid, so zeros have a bar left of 0
    for figure in (
        phase.sieve(stages, [replace(records[-1], scores=values)]),
        difficulty.histogram(values),
    ):
        ax = figure.axes[-1]
        assert ax.get_xticklabels()[0].get_text() == "0"
        bar = ax.patches[0]
        assert bar.get_x() < ax.get_xticks()[0] < bar.get_x() + bar.get_width()
        zeros = next(csv.DictReader(written.table(figure).splitlines()))
        assert zeros["x"] == "0"  # and so in the numbers behind the figure


def test_picks_that_only_the_index_decided(images):
    # Class 0 has twelve candidates that tie at 0, class 1 twelve distinct ones.
    labels = images.labels.numpy()
    values = np.where(labels == 1, np.arange(60), 0).astype(float)
    wrong = Filter((labels + 1) % 3, np.zeros(60), 0.0)
    start = images.subset(range(3))
    records = list(run(images, start, values, [4], lambda *_: wrong))
    stages = stages_of(images, values)
    assert phase.undecided(stages, records[-1]) == 8  # classes 0 and 2: four each
    drawn = stages_of(images, values, fine="random")
    assert phase.undecided(drawn, records[-1]) == 0


def test_phase_pictures_and_finding(story):
    stages, records = story
    for figure in (
        phase.confusion(stages, records),
        phase.picked(stages, records),
        phase.course(stages, records),
        phase.course(stages, records[:1]),
    ):
        picture(figure)
    facts = repr(phase.facts(stages, records))
    assert f"{len(records[1].chosen)} |" in facts and "Phase 2 of 3" in facts
    d = difference(records[1].difficulty, records[0].difficulty)
    said = repr(report.answers.phase(stages, records))
    assert f"**{text.verdict(d)}**" in said
    assert report.answers._moved(0, 0.001) == "stayed 0.00"
    assert report.answers._moved(1, 2.5) == "changed from 1.00 to 2.50"
    assert "Since phase" not in repr(report.answers.phase(stages, records[:1]))


def test_a_phase_without_a_filter_shows_no_answer(images, values):
    stages = stages_of(images, values, alpha=0.0, curricula=2)
    nobody = images.subset([])
    right = Filter(images.labels.numpy().copy(), np.zeros(60), 95.0)
    right.predictions[::4] = (right.predictions[::4] + 1) % 3

    def train_filter(synthetic, number):
        return right if len(synthetic) else ignorant(images)

    records = list(run(images, nobody, values, [4, 4], train_filter))
    first, both = records[:1], records
    assert not first[0].has_filter and both[1].has_filter
    facts = str(phase.facts(stages, first))
    assert "| filter | none: the set is empty |" in facts and "accuracy" not in facts
    assert str(phase.confusion(stages, first)) == phase.NO_FILTER
    assert not [
        t for t in phase.picked(stages, first).axes[0].texts if t.get_size() < 9
    ]
    assert len(phase.course(stages, first).axes) == 1
    assert list(phase.course(stages, both).axes[0].lines[0].get_xdata()) == [2]
    said = str(report.answers.phase(stages, first))
    assert "There is no filter in phase 1" in said and "correctly" not in said
    assert "60\N{NO-BREAK SPACE}candidates" in said
    assert "no accuracy to compare with" in str(report.answers.phase(stages, both))


def test_course_shows_bounds_and_means(story):
    stages, records = story
    low = phase.course(stages, records).axes[1]
    dots = [li.get_ydata()[0] for li in low.lines if li.get_marker() == "o"]
    means = [r.difficulty.mean() for r in records]
    assert dots[1::2] == pytest.approx(means)


# -- arms ----------------------------------------------------------------------------


def test_dots_are_the_rows():
    rows = rows_of(simple_misclassified=[60.0, 62.0, 61.5], random=[58.0, 58.5, 59.0])
    experiment = preset()
    order = ["simple-misclassified", "random"]
    figure = arms.dots(rows, order, experiment)
    means = [m.get_xdata()[0] for m in marks(figure, "mean")]
    assert means == pytest.approx([summary(arms.values(rows, a)).mean for a in order])
    best = [m.get_xdata()[0] for m in marks(figure, "second")]
    assert best == pytest.approx([m + 0.5 for m in means])
    for bar, arm in zip(marks(figure, "interval"), order, strict=True):
        s = summary(arms.values(rows, arm))
        assert bar.get_xdata() == pytest.approx([s.mean - s.half, s.mean + s.half])
    picture(figure)


def test_ranking_is_sorted_and_shows_seeds():
    rows = rows_of(random=[58.0, 59.0], distilled=[70.0, 71.0])
    body = repr(arms.ranking(rows, ["random", "distilled"], preset())).split("\n")[4:6]
    assert "distilled images only" in body[0] and "70.0 71.0" in body[0]
    assert "58.0 59.0" in body[1] and "100\xa0%" in body[1]


def test_captions_name_an_interval_from_three_seeds_on():
    for seeds, said in ((1, "one seed, no"), (2, "mean of two"), (3, "mean ± half of")):
        rows = rows_of(random=[58.0, 59.0, 59.5][:seeds])
        caption = repr(arms.ranking(rows, ["random"], preset())).split("\n")[0]
        assert f"Test accuracy, {said}" in caption
        legend = charts.drawn_as([[58.0] * seeds])
        assert ("interval" in legend) == (seeds == 3)


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ([58.0], "+2.0 (1\xa0seed, not tested)"),
        ([58.0, 60.0], "+1.5 (2\xa0seeds, not tested)"),
        ([58.0, 60.0, 61.0], "+0.9, too close to call"),
    ],
)
def test_a_chart_calls_few_seeds_not_tested(right, said):
    left = [60.0, 61.0, 60.8][: len(right)]
    assert arms.shown(difference(left, right, paired=True)) == said
    figure = arms.contrasts({"x": (left, right)})
    assert said in {t.get_text() for t in figure.axes[0].texts}


def test_a_chart_of_equal_values_has_an_axis_of_plain_numbers():
    low, high = charts.window([charts.Line("x", 0.0, 0.0, [0.0] * 3)], [0.0])
    assert (low, high) == (-0.5, 0.5)
    d = difference([60.0] * 3, [60.0] * 3, paired=True)
    figure = arms.contrasts({"x": ([60.0] * 3, [60.0] * 3)})
    figure.canvas.draw()
    assert not figure.axes[0].xaxis.get_offset_text().get_text() and not d.mean


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        ([70.0, 70.2, 70.1], "**holds**"),
        ([50.0, 50.2, 50.1], "**does not hold**"),
        ([57.0, 60.2, 59.1], "**too close to call**"),
        ([70.0], "**not tested**"),
        ([70.0, 70.1], "**not tested**"),
    ],
)
def test_evaluation_finding(ours, word):
    n = len(ours)
    random, hard = [58.0, 59.0, 58.5][:n], [55.0, 56.0, 55.5][:n]
    rows = rows_of(
        simple_misclassified=ours, random=random, random_hard=hard, ccfs_hard=hard
    )
    said = repr(arms.answer(rows, preset()))
    assert word in said
    total = text.bracketed(arms.compare(rows, arms.CCFS, "random-hard"))
    assert f"that difference is {total} points here" in said
    assert "The paper" in said and "The paper's" not in said
    said = repr(arms.answer(rows, preset("cifar10", ipc=500)))
    assert "The paper's is +13.2, from 92.5 and 79.3, with a ResNet-18" in said
    assert f"ours is from {np.mean(ours):.1f} and {np.mean(hard):.1f}. The" in said


def test_selection_alone_is_told_in_the_seeds_that_it_has():
    arm = {"simple_misclassified": [60.0, 62.0, 63.5], "random": [58.0, 59.0, 60.0]}
    arm |= {"random_hard": [50.0, 51.0, 52.0], "ccfs_alpha0": [61.0, 63.0, 63.0]}
    said = repr(arms.answer(rows_of(**arm), preset()))
    assert "Of the latter, selection alone (alpha 0) is +3.3 [" in said
    arm["ccfs_alpha0"] = [62.0]
    said = repr(arms.answer(rows_of(**arm), preset()))
    which = "In the 1\xa0seed that alpha 0 has too, the latter is +2.0; selection"
    assert f"{which} alone (alpha 0) is +4.0." in said
    del arm["ccfs_alpha0"]
    assert "alpha 0" not in repr(arms.answer(rows_of(**arm), preset()))
    # Seeds 0, 1 and 1, 2: one in common, though both have two.
    rows = rows_of(**(arm | {"ccfs_alpha0": [61.0, 63.0, 63.0]}))
    ccfs, alpha0 = (rows["cell"] == name for name in (arms.CCFS, arms.ALPHA0))
    rows = rows[~(ccfs & (rows["seed"] == 2)) & ~(alpha0 & (rows["seed"] == 0))]
    said = repr(arms.answer(rows, preset()))
    assert "In the 1\xa0seed that alpha 0 has too, the latter is +3.0; sel" in said
    rows = rows[~(ccfs & (rows["seed"] == 1))]
    assert "selection alone" not in repr(arms.answer(rows, preset()))


def test_a_rule_of_the_users_keeps_its_name(house):
    e, some = preset(), ["random", "own_rule:first_wrong"]
    measured = {"seed": 0, "last": 60.0, "best": 61.0, "images": 200, "wanted": 200}
    measured["teacher_last"] = 95.0
    for arm in some:
        place = paths.results(), e.run, arm.replace(":", ".")
        results.write(*place, config=e.hashed(), rows=[measured], provenance={})
    rows = arms.read(e, some)
    assert set(rows["cell"]) == {*some}
    assert f"| {some[1]} |" in repr(arms.ranking(rows, some, e))
    figure = arms.dots(rows, some, e)
    assert some[1] in {t.get_text() for t in figure.axes[0].texts}


def test_differences_are_paired_by_seed_and_show_each_seed():
    ours, other = [60.0, 62.0, 61.0], [59.0, 60.8, 60.1]
    rows = rows_of(simple_misclassified=ours, random=other)
    # The order in which seeds were filed must not matter.
    mixed = rows.iloc[[4, 0, 2, 5, 1, 3]]
    pairs = [("simple-misclassified", "random", "x")]
    for some in (rows, mixed):
        figure = arms.differences(some, pairs)
        d = difference(ours, other, paired=True)
        bar = marks(figure, "interval")[0].get_xdata()
        assert bar == pytest.approx([d.mean - d.half, d.mean + d.half])
        ticks = next(li for li in figure.axes[0].lines if li.get_marker() == "|")
        assert ticks.get_xdata() == pytest.approx(np.subtract(ours, other))
        assert "+1.0, higher" in {t.get_text() for t in figure.axes[0].texts}
        assert "paired by seed" in figure.axes[0].get_xlabel()
    # Welch's interval would have been too wide for a verdict.
    assert text.verdict(difference(ours, other)) == "too close to call"


RIVALS = [arm for arm in STRATEGIES if arm != "simple-misclassified"]


def strategies_of(ours, closest, others) -> str:
    """The finding where "random classified" has `closest`, four rivals `others`."""
    cells = dict.fromkeys((arm.replace("-", "_") for arm in RIVALS), others)
    cells |= {"simple_misclassified": ours, "random_classified": closest}
    said = repr(report.strategies.answer(rows_of(**cells), preset()))
    return said.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("closest", "said"),
    [
        (
            [58.0, 59.2, 60.0],
            "smallest lead of CCFS is over random classified, and clear: +2.0 points",
        ),
        (
            [62.0, 63.2, 64.0],
            "The largest deficit of CCFS is to random classified, and clear: "
            f"{text.MINUS}2.0 points",
        ),
        (
            [60.4, 59.9, 61.9],
            "The mean of CCFS is above that of its closest rival, random classified, "
            "but too close to call: +0.3 points",
        ),
        (
            [62.5, 61.0, 60.8],
            "The mean of CCFS is below that of its strongest rival, random classified, "
            f"but too close to call: {text.MINUS}0.4 points",
        ),
        # Rounds to 0.0, and is not equal.
        (
            [60.04, 61.06, 61.97],
            "The mean of CCFS is above that of its closest rival, random classified, "
            "but too close to call: 0.0 points",
        ),
        # Equal, though the sums differ in their last bits.
        (
            [62.0, 60.0, 61.1],
            "Random classified has exactly the same mean accuracy as CCFS: 0.0",
        ),
        # Equal seed by seed.
        (
            [60.0, 61.1, 62.0],
            "Random classified has exactly the same mean accuracy as CCFS: 0.0 "
            "points, 95 % interval [0.0, 0.0]",
        ),
    ],
)
def test_the_closest_rival_is_told_as_its_interval_allows(closest, said):
    finding = strategies_of([60.0, 61.1, 62.0], closest, [40.0, 41.0, 42.5])
    assert said in finding
    # Only a clear difference is called a lead or a deficit.
    clear = "smallest lead" in finding or "largest deficit" in finding
    assert clear == ("and clear" in finding)


def test_the_strategies_of_few_seeds_are_not_tested():
    said = strategies_of([60.0], [58.0], [40.0])
    assert "but not tested: +2.0 points, no interval from a single seed" in said
    assert "other five: not tested, since so few seeds (1 seed) have no" in said
    said = strategies_of([60.0, 61.0], [58.0, 60.0], [40.0, 41.0])
    assert "(2 seeds) have no interval" in said and "too close" not in said


def test_six_equal_strategies_have_no_winner():
    same = [60.0, 61.1, 62.0]
    said = strategies_of(same, same, same)
    assert "each of the other five: no, all six means are equal" in said
    assert "holds for" not in said


def test_equal_means_share_the_first_place():
    ours = [60.0, 61.1, 62.0]
    said = strategies_of(ours, [62.0, 60.0, 61.1], [40.0, 41.0, 42.0])
    shared = "misclassified and random classified share the highest mean accuracy"
    assert f"{shared}, 61.0 %" in said and "rank" not in said
    said = strategies_of(ours, ours, [62.0, 63.1, 64.0])
    assert "and hardest classified share the highest mean accuracy, 63.0 %" in said
    assert "The strategy of CCFS has rank 5 of 6" in said  # level with the sixth


def test_strategies_rank_tally_and_shortfall():
    ranks = {arm: 60.0 + i for i, arm in enumerate(reversed(STRATEGIES))}
    cells = {
        arm.replace("-", "_"): [mean, mean + 0.1, mean - 0.1]
        for arm, mean in ranks.items()
    }
    rows = rows_of(**cells)
    said = repr(report.strategies.answer(rows, preset())).replace("\xa0", " ")
    assert (
        "CCFS: simplest misclassified has the highest" in said and "number" not in said
    )
    assert "holds for 5, does not hold for 0" in said
    assert "smallest lead of CCFS is over" in said
    assert "All six sets are full" in said
    rows.loc[rows["cell"] == "simple-misclassified", "images"] = 40
    assert "holds 50 %" in repr(report.strategies.answer(rows, preset())).replace(
        "\xa0", " "
    )
    worst = rows.assign(last=[-v + 130 for v in rows["last"]])
    said = repr(report.strategies.answer(worst, preset())).replace("\xa0", " ")
    assert "rank 6 of 6" in said and "largest deficit of CCFS is to" in said
    for figure in (
        report.strategies.grid(rows, preset()),
        report.strategies.grid(rows, preset("cifar10", ipc=250)),
        report.strategies.differences(rows),
        report.strategies.filled(rows),
    ):
        picture(figure)


def test_grid_puts_the_numbers_where_table_3_has_them():
    rows = rows_of(**{a.replace("-", "_"): [i] for i, a in enumerate(STRATEGIES)})
    ax = report.strategies.grid(rows, preset("cifar10", ipc=250)).axes
    here = {
        (t.get_position()[1], t.get_position()[0]): t.get_text() for t in ax[0].texts
    }
    assert here[0, 0] == f"{STRATEGIES.index('simple-misclassified'):.1f}"
    assert here[1, 2] == f"{STRATEGIES.index('hard-classified'):.1f}"
    assert "86.0" in {t.get_text() for t in ax[1].texts}


def test_taste_of_a_strategy_without_picks():
    picked = {"simple-misclassified": np.empty(0), "hard-classified": np.arange(5.0)}
    picture(report.strategies.taste_chart(picked))


# -- notebooks -----------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")))
def test_papermill_understands_every_parameter(path):
    # Its parser drops a line whose comment has an equals sign, without a word.
    cell = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    lines = [line.split(":")[0] for line in cell.source.splitlines()]
    found = inspect_notebook(path)
    assert list(found) == lines
    assert all(p["help"] and p["inferred_type_name"] != "None" for p in found.values())


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")))
def test_figures_have_captions_and_descriptions(path):
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        figure = any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
        options = cell.metadata.get("mystnb", {})
        assert figure <= bool(options.get("figure", {}).get("caption")), cell.source
        assert figure <= (len(options.get("image", {}).get("alt", "")) > 40), (
            cell.source
        )


@pytest.mark.parametrize(
    "path",
    [
        p
        for d in ("notebooks", "book/runs")
        for p in sorted((ROOT / d).rglob("*.ipynb"))
    ],
    ids=lambda path: "-".join(path.parts[-2:]),
)
def test_a_page_holds_no_warning_and_no_path_of_the_machine_that_executed_it(path):
    cells = nbformat.read(path, 4).cells
    outputs = [o for cell in cells for o in cell.get("outputs", [])]
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    text = json.dumps(cells)
    for place in ("/home/", "/work/", "/root/"):
        assert place not in text, place


# -- what a reader stumbled over -------------------------------------------------------


def test_a_rule_does_not_run_through_the_texts():
    places = (("a", 1.0), ("b", 2.0))
    lines = [charts.Line(name, x, 0.2, [x], aside="1") for name, x in places]
    figure = charts.intervals(lines, "x", {"teacher": 1.5})
    (ax,) = figure.axes
    (rule,) = [one for one in ax.lines if one.get_label() == "teacher"]
    heights = rule.get_ydata() * (len(lines) + 0.25)
    for y in range(len(lines)):  # names stand at y - 0.42
        text = len(lines) - 0.5 - (y - 0.42)
        spans = [*zip(heights[::3], heights[1::3], strict=True)]
        assert not any(low <= text <= high for high, low in spans)
    assert written.table(figure).count("teacher,rule,1.5") == 1


def test_a_long_name_and_its_note_do_not_meet():
    name = "teacher-correct only \N{MINUS SIGN} any candidate, weak teacher"
    line = charts.Line(name, 1.0, 0.2, [1.0], aside="+0.3, too close to call")
    (ax,) = charts.intervals([line], "x", {}).axes
    ax.figure.draw_without_rendering()
    left, right = (text.get_window_extent() for text in ax.texts)
    assert left.x1 < right.x0


def test_the_never_forgotten_stand_at_zero_and_not_below():
    values = np.concatenate([np.zeros(20), np.linspace(1, 50, 400)])
    (ax,) = difficulty.histogram(values).axes
    first = ax.containers[0].patches[0]
    middle = first.get_x() + first.get_width() / 2
    ticks = dict(zip(ax.get_xticks(), ax.get_xticklabels(), strict=True))
    nearest = min(ticks, key=lambda x: abs(x - middle))
    assert ticks[nearest].get_text() == "0" and abs(nearest - middle) < 0.2
    assert [t.get_text() for t in ticks.values()].count("0") == 1
    assert "never forgotten" in ax.get_legend().get_texts()[0].get_text()


def test_every_figure_is_drawn_with_the_settings_of_the_book():
    """A function put in between once took the decorator from the one below it."""
    drawn = []
    for path in sorted(Path(report.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and "= canvas(" in ast.unparse(node):
                settings = {getattr(d, "id", "") for d in node.decorator_list}
                assert "drawn" in settings, f"{path.stem}.{node.name}"
                drawn.append(node.name)
    assert len(drawn) > 15 and "matrices" in drawn
