"""The front page's figure shows the ladder's numbers, and names the runs."""

import csv
import io

import numpy as np
import pandas

from ccfs_lib.claims.ladder import STEPS, Measured
from ccfs_lib.report import forest, marks
from ccfs_lib.report.text import bracketed
from ccfs_lib.statistics import Difference

RUN = pandas.Series(
    {
        "dataset": "cifar10-jpeg",
        "ipc": 100.0,
        "image_size": 16.0,
        "network": "convnet-8",
    }
)
SEEDS = Difference(2.167, 1.9, 3, 3, 0.04, ((0, 2.0), (1, 1.5), (2, 3.0)))


def test_a_heading_for_each_step_and_a_line_for_each_run():
    whole = RUN.drop("image_size").replace("convnet-8", "resnet18")
    steps = {
        STEPS[0]: [Measured(STEPS[0], run, SEEDS, None) for run in (RUN, whole)],
        STEPS[3]: [Measured(STEPS[3], RUN, SEEDS, 5.0)],
    }
    figure = forest.draw({s.name: forest.lines(found) for s, found in steps.items()})
    (ax,) = figure.axes
    texts = [text.get_text() for text in ax.texts]
    label = "CIFAR-10 as JPEG (16 px), IPC 100, ConvNet"
    minus = STEPS[0].name.replace("minus", "\N{MINUS SIGN}")
    d = steps[STEPS[0]][0].difference
    low, high = d.mean - d.half, d.mean + d.half
    assert texts[0] == minus and texts.count(label) == 2
    assert "CIFAR-10 as JPEG, IPC 100, ResNet-18" in texts
    assert texts[2] == bracketed(d)
    rows = list(csv.DictReader(io.StringIO(marks.table(figure))))
    of = [r for r in rows if r["series"] == f"{STEPS[0].name}: {label}"]
    ends = [float(r["x"]) for r in of if r["mark"] == "interval"]
    assert np.allclose(ends, [low, high], atol=1e-3)
    assert sorted(float(r["x"]) for r in of if r["mark"] == "seed") == [1.5, 2.0, 3.0]
    assert [float(r["x"]) for r in rows if r["mark"] == "paper"] == [5.0]


def test_three_teachers_of_a_network_are_one_line_over_their_means():
    def of(teacher: int, gain: float) -> Measured:
        run = pandas.Series({**RUN, "teacher_seed": teacher})
        by_seed = tuple((seed, gain) for seed in range(3))
        return Measured(STEPS[0], run, Difference(gain, 0, 3, 3, 0.1, by_seed), None)

    first, second, third = of(0, 1.0), of(1, 2.0), of(2, 3.0)
    (line,) = forest.lines([first, second, third])
    assert line.label == "CIFAR-10 as JPEG (16 px), IPC 100, ConvNet, 3 teachers"
    assert np.allclose(line.points, [1, 2, 3]) and np.isclose(line.mean, 2)
    assert np.isclose(line.half, 4.303 / np.sqrt(3), atol=1e-3)  # t of 2 x sd / sqrt 3
    two = forest.lines([first, second])
    assert [entry.label.endswith(", teacher 2") for entry in two] == [False, True]


def test_networks_as_the_field_writes_them():
    names = ("resnet18", "convnet-32-64-128", "convnet", "vgg11")
    assert [*map(forest.network, names)] == ["ResNet-18", "ConvNet", "ConvNet", "vgg11"]
