"""How an executed notebook is shown: number and run in its title, the finding first."""

import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
chapters, pages = map(import_module, ("chapters", "pages"))


def code(source: str, *tags: str, markdown: str = "") -> nbformat.NotebookNode:
    cell = v4.new_code_cell(source, execution_count=1, metadata={"tags": list(tags)})
    if markdown:
        cell.outputs = [v4.new_output("display_data", {"text/markdown": markdown})]
    return cell


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> BeautifulSoup:
    """The page of a notebook with a finding at its end."""
    from sphinx.application import Sphinx

    folder = tmp_path_factory.mktemp("book")
    cells = [
        v4.new_markdown_cell("# A chapter\n\nWhat is shown?"),
        code("ipc = 20", "parameters", "remove-input"),
        v4.new_markdown_cell("## A part"),
        code("report.part()", "hide-input", markdown="> **Finding.** Of a part."),
        v4.new_markdown_cell("## Finding and limits"),
        code("answer()", "finding", "hide-input", markdown="> **Finding.** It holds."),
    ]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "book" / "runs" / "digits" / "05_evaluation.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    (folder / "index.md").write_text(
        "# Front\n\n```{toctree}\n" + ("book/runs/digits/05_evaluation\n```\n")
    )
    settings = {
        "extensions": ["myst_nb", "chapters"],
        "nb_execution_mode": "off",
        "exclude_patterns": ["out"],
    }
    out = folder / "out"
    Sphinx(
        *(folder, None, out, out / "trees", "html"),
        **{"confoverrides": settings, "status": None, "freshenv": True},
    ).build(True)
    page = out / "book" / "runs" / "digits" / "05_evaluation.html"
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def test_the_title_has_number_and_run(shown):
    run = pages.declared()["digits"]["title"]
    assert shown.h1.get_text().startswith(f"5. A chapter {run}")
    assert shown.h1.select_one(".run").get_text() == run


def test_the_finding_is_the_box_under_the_title_and_nowhere_else(shown):
    box = shown.h1.find_next_sibling()
    assert "finding" in box["class"] and "It holds." in box.get_text()
    assert shown.get_text().count("It holds.") == 1
    assert "about-run" in box.find_next_sibling()["class"]
    # Findings of a part stay where they are, and so does the code.
    part = shown.find(string=lambda text: "Of a part." in text)
    assert part.find_parent(class_="finding") is None
    assert shown.get_text().index("answer()") > shown.get_text().index("A part")


def test_a_page_says_how_large_its_run_was(shown):
    scale = pages.declared()["digits"]["scale"]
    assert shown.select_one("p.about-run").get_text() == f"The run: {scale}"


def test_parameters_are_not_shown(shown):
    assert "ipc = 20" not in shown.get_text()


def test_only_executed_pages_are_chapters():
    assert chapters.chapter("book/runs/digits/04_curriculum_phase_2") == ("digits", 4)
    assert chapters.chapter("book/method") is None


def test_every_built_chapter_opens_with_its_finding():
    built = sorted(HTML.glob("book/runs/*/*.html"))
    if not built:
        pytest.skip("the book has not been built: make book")
    for path in built:
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        box = soup.select_one("article h1").find_next_sibling()
        assert "finding" in box["class"] and "Finding." in box.get_text(), path
