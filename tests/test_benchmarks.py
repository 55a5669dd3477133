"""What a benchmark prints adds up; its rates are a machine's own."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
speed = import_module("speed")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_taken_apart_into_all_of_it(precision, monkeypatch):
    asked = []
    monkeypatch.setattr(speed, "peak_rate", lambda *a: asked.append(a) or 1e15)
    line = speed.bound(SimpleNamespace(size=8), "convnet-16-16", 32, precision)
    told = r"convolutions (\d+)%, batch norm (\d+)%, the rest (\d+)%"
    convolutions, *others = map(int, re.search(told, line).groups())
    assert abs(convolutions + sum(others) - 100) <= 1 and convolutions > 5
    left = float(re.search(r"would be ([\d.]+)x as fast", line)[1])
    assert left == pytest.approx(100 / convolutions, rel=0.05)
    assert asked[0][1] == precision and "0% of the peak" in line


def test_the_peak_is_of_the_clock_that_is_given():
    """A clock that runs ten times as fast sees a tenth of the rate."""
    seconds, fast = speed.time.thread_time, lambda: 10 * speed.time.thread_time()
    usual, slow = (speed.peak_rate("cpu", "fp32", 0.5, c) for c in (seconds, fast))
    assert 5 < usual / slow < 20
