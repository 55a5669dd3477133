"""The notebooks as text, and their stored outputs against fresh ones (nbval)."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
execute, pages = map(import_module, ("execute", "pages"))
has = pages.has

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def cells(path: Path, kind: str) -> list:
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def test_chapters_are_numbered_without_a_gap():
    assert NOTEBOOKS, "notebooks/ is empty"
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers == list(range(1, len(numbers) + 1))


@every
def test_parameters_are_the_first_code_cell(path):
    first = cells(path, "code")[0]
    assert "parameters" in first.metadata.get("tags", [])


@every
def test_no_code_cell_is_longer_than_ten_lines(path):
    after = cells(path, "code")[1:]  # a parameter is a line, however many there are
    assert max(len(cell.source.splitlines()) for cell in after) <= 10


@every
def test_opens_with_a_question_and_closes_with_a_finding(path):
    chapter = [c for c in nbformat.read(path, 4).cells if not has(c, "exercise")]
    first, *_, finding, last = chapter
    assert first.cell_type == last.cell_type == "markdown"
    assert first.source.startswith("# ") and "?" in first.source
    assert has(finding, "finding") and len(last.source) > 40


@every
def test_says_what_is_learned_in_two_to_four_points(path):
    first = nbformat.read(path, 4).cells[0].source
    _, _, rest = first.partition("**What you will learn**")
    assert 2 <= len(re.findall(r"^- ", rest, re.M)) <= 4


@every
def test_two_exercises_have_folded_answers_that_run(path):
    parts = [c for c in nbformat.read(path, 4).cells if has(c, "exercise")]
    assert parts[0].source.startswith("## Exercises")
    kinds = [(c.cell_type, has(c, "hide-cell")) for c in parts]
    assert kinds == [("markdown", False), ("code", True)] * 2
    assert parts == nbformat.read(path, 4).cells[-4:]
    assert all(c.outputs for c in parts if c.cell_type == "code")


@every
def test_only_code_that_teaches_is_shown(path):
    """Parameters are in the line at the top, and calls of `report` are folded."""
    for cell in cells(path, "code"):
        folded = any(has(cell, f"{how}") for how in ("hide-input", "hide-cell"))
        if has(cell, "parameters") or "from_notebook" in cell.source:
            assert has(cell, "remove-input")
        elif re.search(r"^report\.\S*\(", cell.source, re.M):
            assert folded, cell.source


@every
def test_stored_outputs_are_complete_and_clean(path):
    nbformat.validate(nbformat.read(path, 4))
    for cell in cells(path, "code"):
        assert cell.execution_count is not None, cell.source
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@every
def test_figures_and_tables_have_captions(path):
    for cell in cells(path, "code"):
        for data in (output.get("data", {}) for output in cell.outputs):
            if "image/png" in data:
                assert cell.metadata["mystnb"]["figure"]["caption"], cell.source
            if "| --" in data.get("text/markdown", ""):
                assert data["text/markdown"].startswith(":::{table} "), cell.source


@every
def test_no_labels_because_pages_of_several_runs_share_one_book(path):
    for cell in cells(path, "markdown"):
        lines = cell.source.splitlines()
        assert not [line for line in lines if line.startswith((":name:", ":label:"))]
        assert not [
            line for line in lines if line.startswith("(") and line[-2:] == ")="
        ]
    for cell in cells(path, "code"):
        assert "name" not in cell.metadata.get("mystnb", {}).get("figure", {})


@every
def test_stored_outputs_are_what_the_cells_print(path):
    # A process of its own: pytest cannot start kernels in another environment.
    options = ["-q", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "600"]
    options += ["--nbval-sanitize-with", ROOT / "tests" / "nbval.cfg"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, path]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=kept | execute.environment(ROOT),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
