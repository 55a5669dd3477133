"""The scripts of book/own.md: short, shown, and executed as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ccfs_lib import data

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "book" / "own"
SCRIPTS = sorted(FOLDER.glob("*.py"))
each = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def run(path: Path, house: Path) -> str:
    """What a script prints, beside a cache and a folder of its own."""
    for script in SCRIPTS:
        (house / script.name).write_bytes(script.read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, path.name],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_page_shows_every_script():
    page = (ROOT / "book" / "own.md").read_text("utf-8")
    shown = re.findall(r"```\{literalinclude\} own/(\S+)", page)
    assert sorted(shown) == [path.name for path in SCRIPTS]
    assert "book/own" in (ROOT / "_toc.yml").read_text("utf-8")


@each
def test_a_script_is_under_fifteen_lines(path):
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) < 15
    assert max(map(len, lines)) <= 88


@each
def test_a_script_works(path, house):
    text = run(path, house)
    if path.stem == "own_dataset":
        assert "dataset" in text
    else:
        accuracy = float(re.search(r"([\d.]+) %", text)[1])
        assert accuracy > 20, text  # ten classes: chance is 10
    assert run(path, house)  # nor is its own output in its way


def test_the_dataset_is_found_by_its_name(house, monkeypatch):
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    train, test = (
        data.load("own_dataset:Digits", split) for split in ("train", "test")
    )
    assert len(train) + len(test) == 1797 and train.num_classes == 10
    assert train.images.max() == 255  # 16 of 16 shades
