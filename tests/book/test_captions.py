"""What `figures` adds to a caption: the run that a table or figure is of."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from docutils import nodes, utils
from nbformat import v4

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
figures = import_module("figures")

ROW = "<tr><td><code>{}</code></td><td>{}</td></tr>"
STAMP = (
    "**cifar100**, shrunk to 16 pixels, IPC 50, alpha 0.2, J = 3, network resnet18, "
    "100 epochs, {}trained on H100; scale: paper.\n\n<details>"
    + ROW.format("teacher_network", "convnet-16-32")
    + ROW.format("teacher.epochs", "40")
    + "</details>"
)


def told(tmp_path, page: str, caption: str, seeds: str = "3 seeds, ") -> str:
    """Return what is added to a caption of a page."""
    cell = v4.new_code_cell("stamp()")
    data = {"text/markdown": STAMP.format(seeds)}
    cell.outputs = [v4.new_output("display_data", data)]
    path = tmp_path / f"{page}.ipynb"
    nbformat.write(v4.new_notebook(cells=[cell]), path)
    doctree = utils.new_document("")
    doctree += nodes.figure("", nodes.caption("", caption))
    env = SimpleNamespace(docname=f"book/runs/x/{page}", doc2path=lambda name: path)
    figures.tell(SimpleNamespace(env=env), doctree)
    return doctree.astext().removeprefix(caption).strip()


@pytest.mark.parametrize(
    ("caption", "added"),
    [
        ("Accuracy.", "IPC 50, ResNet-18, 100 epochs, 3 seeds"),
        ("Passes of one seed.", "IPC 50, ResNet-18, 100 epochs, 3 seeds"),
        ("Images, first seed (thin: all).", "IPC 50, ResNet-18, 100 epochs"),
        ("Cost, one seed.", "IPC 50, ResNet-18, 100 epochs"),
        ("Accuracy at every IPC.", "ResNet-18, 100 epochs, 3 seeds"),
        ("CCFS on every network.", "IPC 50, 100 epochs, 3 seeds"),
    ],
)
def test_a_caption_tells_the_run_and_contradicts_no_word_of_its_own(
    tmp_path, caption, added
):
    found = told(tmp_path, "05_evaluation", caption)
    assert found == f"(CIFAR-100, shrunk to 16 pixels, {added})"


@pytest.mark.parametrize(
    ("page", "added"),
    [
        ("01_data_and_difficulty", "IPC 50, one score"),
        ("02_teacher", "IPC 50, teacher ConvNet, 40 epochs, a single run"),
        ("03_distillation", "IPC 50, teacher ConvNet, 40 epochs, a single run"),
        ("04_curriculum_phase", "IPC 50, ResNet-18, 100 epochs, a single run"),
    ],
)
def test_before_any_evaluation_the_network_is_the_teachers(tmp_path, page, added):
    found = told(tmp_path, page, "Images.", seeds="")
    assert found == f"(CIFAR-100, shrunk to 16 pixels, {added})"


def test_what_is_of_the_paper_or_of_all_runs_has_no_run(tmp_path):
    for caption in ("Table 4 of the paper: percent.", "All runs of this book."):
        assert not told(tmp_path, "05_evaluation", caption)
