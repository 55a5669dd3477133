"""The book's machinery: what is a page, what is stale, what is said of results."""

import csv
import hashlib
import importlib.metadata
import json
import os
import re
import sys
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import v4
from PIL import Image

import ccfs_lib
from ccfs_lib import paper, results
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment
from ccfs_lib.report import marks
from ccfs_lib.statistics import Difference

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
build, checks, execute, findings, generate, pages, svg = map(
    import_module,
    ("build", "checks", "execute", "findings", "generate", "pages", "svg"),
)
RUN = {"title": "Small", "scale": "", "committed": False, "parameters": {"ipc": 30}}


def notebook(*code: str, parameters: str = "ipc = 20") -> nbformat.NotebookNode:
    first = v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [v4.new_markdown_cell("# A title\n\nA question?"), first]
    cells += [v4.new_code_cell(source) for source in code]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture
def tree(tmp_path):
    """A project with two small notebooks, one of them about a phase, and one run."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    nbformat.write(notebook("print(ipc)"), tmp_path / "notebooks" / "01_one.ipynb")
    phase = notebook("print(phase)", parameters="ipc = 20\nphase = 1")
    nbformat.write(phase, tmp_path / "notebooks" / "02_phase.ipynb")
    declare(tmp_path, small=RUN)
    return tmp_path


def declare(tree, **runs):
    (tree / "book" / "runs.yaml").write_text(yaml.safe_dump(runs, sort_keys=False))


def stored(tree, name) -> Path:
    return tree / "book" / "runs" / "small" / f"{name}.ipynb"


def pretend(tree):
    """Pages and manifest as if the run had been executed."""
    manifest = {}
    for page in pages.pages("small", tree):
        made = nbformat.read(page.notebook, 4)
        for number, cell in enumerate(made.cells):
            if cell.cell_type == "code":
                cell.execution_count = number
        page.path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(made, page.path)
        recipe = pages.recipe(page)
        manifest[page.path.stem] = recipe | {"seconds": 1.0}
    page.path.with_name("manifest.json").write_text(json.dumps(manifest))


# -- pages -----------------------------------------------------------------------------


def test_a_run_has_a_page_per_notebook_and_per_phase(tree):
    made = pages.pages("small", tree)
    names = ["01_one", "02_phase_1", "02_phase_2", "02_phase_3"]
    assert [page.path.stem for page in made] == names
    assert [page.parameters.get("phase") for page in made] == [None, 1, 2, 3]
    assert all(page.parameters["ipc"] == 30 for page in made)


def test_what_only_the_library_knows_goes_to_every_page(tree):
    declare(tree, small=RUN | {"parameters": {"network": "resnet18", "curricula": 2}})
    given = [page.parameters for page in pages.pages("small", tree)]
    common = {"network": "resnet18", "curricula": 2}
    assert given == [common, common | {"phase": 1}, common | {"phase": 2}]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": {"iqc": 30}}, "iqc"),
        ({"parameters": {"phase": 2}}, "phase"),
        ({"parameters": {"ipc": 0}}, "ipc"),
        ({"titel": "Small"}, "titel"),
        ({"notebooks": ["01_one", "02_fase"]}, "'02_fase'; there are 01_one"),
        ({"notebooks": "01_one"}, "notebooks '01_one'"),
        ({"notebooks": []}, "notebooks"),
        ({"committed": "yes"}, "committed 'yes'"),
        ({"parameters": [1]}, "parameters"),
    ],
)
def test_a_wrong_declaration_is_one_sentence(tree, changes, told):
    declare(tree, small=RUN | changes)
    with pytest.raises(InputError, match=told) as error:
        pages.pages("small", tree)
    assert "\n" not in str(error.value)


def test_an_unknown_run_names_those_there_are(tree):
    with pytest.raises(InputError, match=r"'big'.*small"):
        pages.pages("big", tree)


# -- execution -------------------------------------------------------------------------


def test_pages_are_executed_once_and_again_only_when_something_changed(tree, capsys):
    (tree / "notebooks" / "02_phase.ipynb").unlink()
    execute.execute("small", root=tree)
    first, page = (
        stored(tree, "01_one").read_bytes(),
        nbformat.read(stored(tree, "01_one"), 4),
    )
    assert page.cells[-1].outputs[0].text == "30\n"
    assert b"duration" not in first and b"start_time" not in first
    assert not list(checks.problems("small", tree))
    capsys.readouterr()
    execute.execute("small", root=tree)
    assert "up to date" in capsys.readouterr().out
    execute.execute("small", force=True, root=tree)
    assert "up to date" not in capsys.readouterr().out
    assert stored(tree, "01_one").read_bytes() == first  # byte for byte


def test_a_failing_cell_is_one_sentence_and_no_page(tree):
    nbformat.write(notebook("1 / 0"), tree / "notebooks" / "01_one.ipynb")
    with pytest.raises(InputError, match=r"small/01_one: cell .* ZeroDivisionError"):
        execute.execute("small", root=tree)
    assert not stored(tree, "01_one").exists()


def test_a_kernel_that_is_killed_is_one_sentence(tree):
    nbformat.write(notebook("import os\nos._exit(9)"), tree / "notebooks/01_one.ipynb")
    with pytest.raises(InputError, match=r"small/01_one: the kernel was killed"):
        execute.execute("small", root=tree)


def test_pages_that_a_run_no_longer_has_are_removed(tree):
    pretend(tree)
    stray = stored(tree, "02_phase_4")
    stray.write_bytes(stored(tree, "02_phase_3").read_bytes())
    execute.execute("small", root=tree)
    assert not stray.exists() and stored(tree, "02_phase_3").exists()


# -- refusals --------------------------------------------------------------------------


def edit(path: Path, change) -> None:
    made = nbformat.read(path, 4)
    change(made)
    nbformat.write(made, path)


def fail(made):
    error = v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    made.cells[-1].outputs = [error]


def forget(made):
    made.cells[-1].execution_count = None


def alter(made):
    made.cells[-1].source += "  # altered"


@pytest.mark.parametrize(
    ("change", "told"),
    [(fail, "holds an error"), (forget, "never executed"), (alter, "another text")],
)
def test_what_sphinx_would_show_is_refused(tree, change, told):
    pretend(tree)
    assert not list(checks.problems("small", tree))
    edit(stored(tree, "02_phase_2"), change)
    (sentence,) = checks.problems("small", tree)
    assert sentence.startswith("small/02_phase_2") and told in sentence
    with pytest.raises(InputError, match=told):
        build.check(["small"], tree)


def test_a_missing_page_and_an_old_library_are_refused(tree, monkeypatch):
    pretend(tree)
    stored(tree, "01_one").unlink()
    (sentence,) = checks.problems("small", tree)
    assert "small/01_one has not been executed" in sentence
    monkeypatch.setattr(pages, "library_hash", lambda: "another")
    assert sum("older" in s for s in checks.problems("small", tree)) == 3


def test_a_committed_run_may_be_older_than_the_library_but_not_than_the_code(
    tree, monkeypatch
):
    pretend(tree)
    declare(tree, small=RUN | {"committed": True})
    monkeypatch.setattr(pages, "library_hash", lambda: "another")
    edit(tree / "notebooks" / "01_one.ipynb", lambda n: n.cells[0].update(source="# B"))
    assert not list(checks.problems("small", tree))
    assert len(list(checks.notes("small", tree))) == 4
    edit(tree / "notebooks" / "01_one.ipynb", alter)
    assert ["another text" in s for s in checks.problems("small", tree)] == [True]


def test_the_librarys_hash_sees_a_changed_byte(tmp_path, monkeypatch):

    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(ccfs_lib, "__file__", str(tmp_path / "__init__.py"))
    before = pages.library_hash()
    (tmp_path / "a.py").write_text("x = 2\n")
    assert pages.library_hash() != before


@pytest.mark.parametrize("name", ["../x", "a b", ".hidden", "a/b", "-x"])
def test_a_run_is_called_as_a_folder_can_be(tree, name):
    declare(tree, **{name: RUN})
    with pytest.raises(InputError, match="it names a folder"):
        pages.declared(tree)


@pytest.mark.parametrize("text", ["small: {", "- a\n", "small: 3\n"])
def test_what_is_no_declaration_is_one_sentence(tree, text):
    (tree / "book" / "runs.yaml").write_text(text)
    with pytest.raises(InputError, match=r"book/runs\.yaml") as error:
        pages.declared(tree)
    assert "\n" not in str(error.value)


def test_every_notebook_is_asked_for_its_parameters_first(tree, monkeypatch):
    """`teacher_epochs` once stopped a run at chapter 12, after hours."""
    for stem in ("05_evaluation", "12_order"):
        source = ROOT / "notebooks" / f"{stem}.ipynb"
        (tree / "notebooks" / source.name).write_bytes(source.read_bytes())
    declare(tree, small=RUN | {"parameters": {"teacher_epochs": 3}})
    with pytest.raises(InputError, match=r"cannot have 12_order: teacher_epochs is no"):
        pages.check("small", tree)
    some = {"parameters": {"teacher_epochs": 3}, "notebooks": ["05_evaluation"]}
    declare(tree, small=RUN | some)
    pages.check("small", tree)


def test_the_declared_runs_can_be_executed():
    for name in pages.declared():
        pages.check(name)


def test_a_build_starts_from_a_sound_folder(tree, monkeypatch):
    """A build that broke off once left a file where the next wanted a folder."""
    left = tree / "_build" / "html" / "_static"
    left.parent.mkdir(parents=True)
    left.write_text("no folder")
    monkeypatch.setattr(generate, "write", lambda root: None)
    monkeypatch.setattr(build, "toc", lambda root: {})
    seen = []
    monkeypatch.setattr(
        build.subprocess,
        "run",
        lambda *a, **k: seen.append(left.exists()) or SimpleNamespace(returncode=1),
    )
    with pytest.raises(InputError, match="warnings"):
        build.html(tree)
    assert seen == [False]


# -- contents --------------------------------------------------------------------------


def test_contents_leave_out_what_is_missing_and_add_what_is_declared(tree):
    (tree / "book" / "last.md").write_text("# Last\n")
    parts = [
        {"caption": "Other", "chapters": [{"file": "book/runs/other/01_one"}]},
        {"caption": "Last", "chapters": [{"file": "book/last"}]},
    ]
    contents = {"format": "jb-book", "root": "book/index", "parts": parts}
    (tree / "_toc.yml").write_text(yaml.safe_dump(contents))
    assert [p["caption"] for p in build.toc(tree)["parts"]] == ["Last"]
    pretend(tree)
    small, last = build.toc(tree)["parts"]
    assert (small["caption"], last["caption"]) == ("Small", "Last")
    one = {"file": "book/runs/small/01_one", "title": "1. A title"}
    assert small["chapters"][0] == one
    assert small["chapters"][3]["title"] == "2. Phase 3"


def test_a_run_of_the_contents_is_not_added_again_whatever_its_part_is_called(tree):
    parts = [
        {"caption": "Tutorial", "chapters": [{"file": "book/runs/small/01_one"}]},
        {"caption": "Last", "chapters": [{"file": "book/last"}]},
    ]
    contents = {"format": "jb-book", "root": "book/index", "parts": parts}
    (tree / "_toc.yml").write_text(yaml.safe_dump(contents))
    (tree / "book" / "last.md").write_text("# Last\n")
    pretend(tree)
    assert [p["caption"] for p in build.toc(tree)["parts"]] == ["Tutorial", "Last"]


def test_the_static_contents_list_every_declared_page():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [c for part in contents["parts"] for c in part["chapters"]]
    for name in pages.declared():
        wanted = [build.chapter(page) for page in pages.pages(name)]
        found = [c for c in listed if c["file"].startswith(f"book/runs/{name}/")]
        assert sorted(found, key=str) == sorted(wanted, key=str)


def test_photographs_come_before_the_digits():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [c["file"] for part in contents["parts"] for c in part["chapters"]]
    runs = [f.split("/")[2] for f in files if f.startswith("book/runs/")]
    order = list(dict.fromkeys(runs))
    assert order[0] == "cifar100-ipc50" and order[-1] == "digits"


# -- prose of pages that are kept in git ----------------------------------------------


def test_pages_in_git_have_exercises_and_no_warning():
    for name, run in pages.declared().items():
        for page in pages.pages(name) if run["committed"] else ():
            cells = nbformat.read(page.path, 4).cells
            outputs = [o for c in cells for o in c.get("outputs", [])]
            assert not [o for o in outputs if o.get("name") == "stderr"], page.name
            assert any(pages.has(c, "exercise") for c in cells), page.name


def test_sync_keeps_the_exercises_that_a_replayed_page_could_execute():
    """Chapter 7 at 16 pixels lacks one of two: the other stays, and is number 1."""
    for name, run in pages.declared().items():
        for page in pages.pages(name) if run["committed"] else ():
            shown = nbformat.read(page.path, 4)
            before = [c.source for c in shown.cells if pages.has(c, "exercise")]
            after = execute.follow(shown, page).cells
            assert [c.source for c in after if pages.has(c, "exercise")] == before


def test_a_packed_drawing_is_smaller_and_comes_back_whole():
    rest = "<path d='M 1 2 L 3 4'/>" * 300
    drawing = f"<svg width='1'><metadata>a,b\n1,2</metadata> {rest}</svg>"
    packed = svg.pack(drawing)
    assert len(packed) < len(drawing) / 4 and "a,b\n1,2" in packed
    assert svg.unpack(packed) == drawing and svg.pack(packed) == packed
    numbers = "<svg><metadata>a</metadata></svg>"
    assert svg.unpack(numbers) == numbers


def exercise(made):
    """Add an exercise with its answer, which nobody has executed."""
    tags = {"tags": ["exercise"]}
    made.cells.append(v4.new_markdown_cell("## Exercises", metadata=tags))
    made.cells.append(v4.new_code_cell("print(ipc + 1)", metadata=tags))


def test_sync_brings_prose_and_tags_to_pages_in_git_and_keeps_their_results(tree):
    pretend(tree)
    declare(tree, small=RUN | {"committed": True})
    before = nbformat.read(stored(tree, "01_one"), 4).cells[-1]

    def reword(made):
        made.cells[0].source = "# Another title\n\nA question?"
        made.cells[-1].metadata["tags"] = ["hide-input"]
        exercise(made)

    edit(tree / "notebooks" / "01_one.ipynb", reword)
    execute.sync(["small"], tree)
    page = nbformat.read(stored(tree, "01_one"), 4)
    assert page.cells[0].source.startswith("# Another title")
    assert page.cells[-1].metadata["tags"] == ["hide-input"]
    assert page.cells[-1].source == before.source  # without what was never executed
    assert page.cells[-1].execution_count == before.execution_count
    assert not list(checks.problems("small", tree))


def test_sync_refuses_a_page_with_other_code(tree):
    pretend(tree)
    declare(tree, small=RUN | {"committed": True})
    edit(tree / "notebooks" / "01_one.ipynb", alter)
    with pytest.raises(InputError, match="small/01_one has other code"):
        execute.sync(["small"], tree)


def test_a_replay_trains_nothing_and_keeps_what_would_need_a_training(tree):
    raising = "import os\nif ipc == {}:\n    "
    raising += "raise RuntimeError('CCFS_TRAIN is ' + os.environ['CCFS_TRAIN'])"
    source = notebook("print(1)", f"{raising.format(30)}\nx = 'trained'\nx", "print(2)")
    source.cells.append(v4.new_code_cell("print(x)"))
    for number, answer in enumerate((raising.format(30), "print(3)"), 1):
        exercise(source)
        asked = execute.EXERCISES * (number == 1) + f"**{number}.** Why?"
        source.cells[-2].source, source.cells[-1].source = asked, answer
    (tree / "notebooks" / "02_phase.ipynb").unlink()
    declare(tree, small=RUN | {"committed": True})
    nbformat.write(source, tree / "notebooks" / "01_one.ipynb")
    with pytest.raises(InputError, match="cell 4 needs a training"):
        execute.replay("small", tree)
    pretend(tree)

    def fill(page):
        for i, cell in enumerate(page.cells):
            if cell.cell_type == "code":
                cell.outputs = [v4.new_output("stream", text=f"old {i}")]

    edit(stored(tree, "01_one"), fill)
    execute.replay("small", tree)
    page = nbformat.read(stored(tree, "01_one"), 4)
    printed = [c.outputs[0].text for c in page.cells if c.get("outputs")]
    assert printed == ["1\n", "old 3", "2\n", "old 5", "3\n"]
    (left,) = [c.source for c in page.cells if "Why?" in c.source]
    assert left == "## Exercises\n\n**1.** Why?"
    assert "raises-exception" not in str(page)
    known = json.loads(stored(tree, "01_one").with_name("manifest.json").read_text())
    assert known["01_one"]["kept"] == [4, 6]
    assert "CCFS_TRAIN" not in os.environ  # but for the kernel
    assert not list(checks.problems("small", tree))


def test_a_replay_stops_at_any_other_error(tree):
    pretend(tree)
    declare(tree, small=RUN | {"committed": True})
    edit(
        tree / "notebooks" / "01_one.ipynb",
        lambda n: n.cells.append(v4.new_code_cell("1 / 0")),
    )
    with pytest.raises(InputError, match="ZeroDivisionError"):
        execute.replay("small", tree)


def test_an_exercise_makes_no_page_in_git_stale(tree):
    pretend(tree)
    declare(tree, small=RUN | {"committed": True})
    edit(tree / "notebooks" / "01_one.ipynb", exercise)
    assert not list(checks.problems("small", tree))
    declare(tree, small=RUN)
    assert any("another text" in s for s in checks.problems("small", tree))


# -- findings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (2.0, 1.0, "holds"),
        (-2.0, 1.0, "does not hold"),
        (1.0, 1.0, "too close to call"),
        (-0.5, 1.0, "too close to call"),
        (9.0, float("nan"), "too close to call"),  # one seed proves nothing
    ],
)
def test_verdicts(mean, half, word):
    assert findings.verdict(Difference(mean, half, 3, 3, 0.5)) == word


def measure(folder, run, arm, last, **config):
    rows = [{"seed": i, "last": x, "best": x + 1} for i, x in enumerate(last)]
    results.write(folder, run, arm, config=config, rows=rows, provenance={})


def test_findings_are_computed_from_the_rows(tmp_path):
    where = {"dataset": "cifar10-jpeg", "ipc": 250}
    left, right = [71.0, 72.0, 73.5], [60.0, 61.5, 62.0]
    measure(tmp_path, "cifar10-jpeg-ipc250", "simple-misclassified", left, **where)
    measure(tmp_path, "cifar10-jpeg-ipc250", "simple-classified", right, **where)
    text = findings.write_up(tmp_path, {"cifar10-jpeg-ipc250": {}})
    assert f"+{np.mean(left) - np.mean(right):.1f} points" in text
    assert "[holds]{.verdict .yes}" in text and "Hold: 1. Do not hold: 0." in text
    # t(0.975, 2) = 4.3027, from a printed table.
    half = 4.3027 * np.std(left, ddof=1) / np.sqrt(3)
    assert f"{np.mean(left):.1f} ± {half:.1f}" in text
    assert f"{np.mean(left) + 1:.1f} ± {half:.1f}" in text
    cell = {"dataset": "cifar10", "ipc": 250, "fine": "simple"}
    gap = paper.value(11, coarse="misclassified", **cell)
    gap -= paper.value(11, coarse="classified", **cell)
    assert f"The paper, with ResNet-18: +{gap:.1f}." in text


def test_a_loss_and_a_single_seed_are_told_as_such(tmp_path):
    measure(tmp_path, "own-ipc5", "simple-misclassified", [50.0, 50.1, 50.2])
    measure(tmp_path, "own-ipc5", "random", [60.0, 60.1, 60.2])
    measure(tmp_path, "own-ipc5", "distilled", [40.0])
    text = findings.write_up(tmp_path, {"own-ipc5": {}})
    assert "[does not hold]" in text and "\N{MINUS SIGN}10.0 points" in text
    assert "no interval from a single seed" in text and "The paper" not in text
    assert "[too close to call]" in text and "| 40.0 |" in text


def test_nothing_measured_is_said(tmp_path):
    assert findings.write_up(tmp_path, {}) == findings.NOTHING
    assert findings.write_up(tmp_path / "absent", {}) == findings.NOTHING


# -- the shipped book ------------------------------------------------------------------

PROSE = sorted((ROOT / "book").glob("*.md"))


def test_no_accuracy_is_typed_in_the_prose():
    printed = {
        f"{value:.1f}"
        for number in (1, 2, 3, 4, 5, 10, 11, 12, 13)
        for value in paper.table(number).accuracy
    }
    for path in PROSE:
        text = path.read_text("utf-8")
        assert not printed & set(re.findall(r"\b\d+\.\d+\b", text)), path.name
        assert not re.findall(r"\d+\.\d+\s*(?:%|points|percent)", text), path.name


def test_every_parameter_is_explained():
    text = (ROOT / "book" / "running.md").read_text("utf-8")
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^`.*$", text, re.M))))
    assert {field.name for field in fields(Experiment)} - explained == set()


def test_every_module_has_a_section_in_the_api():
    text = "\n".join(generate.library().values())
    named = re.findall(r"automodule:: ccfs_lib\.(\S+)", text)
    paths = (ROOT / "ccfs_lib").rglob("[!_]*.py")
    assert sorted(named) == sorted(
        ".".join(p.relative_to(ROOT / "ccfs_lib").with_suffix("").parts)
        for p in paths
        if "commands" not in p.parts and p.stem != "cli"  # `ccfs --help` tells them
    )


def test_every_package_has_a_page_that_shows_it():
    folder, index = ROOT / "book" / "modules", (ROOT / "book" / "api.md").read_text()
    assert {p.stem for p in folder.glob("*.md")} == {*generate.library()}
    for name in generate.library():
        page = (folder / f"{name}.md").read_text("utf-8")
        assert f"../_generated/library_{name}.md" in page
        assert f"<modules/{name}>" in index


def test_the_reading_order_is_that_of_the_library():
    top = list(dict.fromkeys(name.split(".")[0] for name in generate.modules()))
    told = re.findall(r"^(\w+)  +\S", ccfs_lib.__doc__, re.MULTILINE)
    assert told == top  # all of them, each once


def test_the_toolchain_is_the_one_that_this_book_was_made_for():
    version = importlib.metadata.version
    assert version("jupyter-book").startswith("1.")  # 2 ignores _config.yml, exits 0
    assert version("sphinx-book-theme").startswith("1.3.")
    assert version("nbval").startswith("0.11.")


HTML = ROOT / "_build" / "html"


@cache
def soups() -> dict[str, BeautifulSoup]:
    """The article of every built page with something that has a caption."""
    if not (HTML / "_figures" / "manifest.csv").exists():
        pytest.skip("the book has not been built: make book")
    found = {}
    for path in sorted(HTML.glob("book/**/*.html")):
        page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        found[path.relative_to(HTML).with_suffix("").as_posix()] = page.article
    return found


def plain(text: str) -> str:
    """Without what differs between a page and its source: formulas' marks, spaces."""
    return re.sub(r"\\[()]|\s", "", text)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_table_and_figure_has_number_files_and_a_line_in_the_manifest():
    articles = soups()  # first: it skips where the book is not built
    head, *lines = rows(HTML / "_figures" / "manifest.csv")
    told = [dict(zip(head, line, strict=True)) for line in lines]
    listed, shown = {(item["page"], item["number"]): item for item in told}, set()
    for name, article in articles.items():
        pictures = article.select(".cell_output img, .cell_output table:not(details *)")
        assert all(p.find_parent("figure") or p.caption for p in pictures), name
        for number in article.select(":is(table, figure) .caption-number"):
            key = name, number.get_text().strip()
            shown.add(key)
            check_files(
                HTML / name, number.find_parent(("table", "figure")), listed[key]
            )
    assert shown == set(listed)


def check_files(page: Path, item, told: dict) -> None:
    """The links below an item are those of the manifest, and can be opened."""
    links = item.find_next("p", class_="downloads").select("a")
    files = [Path(os.path.normpath(page.parent / link["href"])) for link in links]
    assert [HTML / file for file in told["files"].split()] == files
    assert told["sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    if told["page"].startswith("book/runs/"):
        assert told["notebook"] in told["command"] and float(told["minutes"]) >= 0
    for file, link in zip(files, links, strict=True):
        if link.get_text() == "CSV":
            check_numbers(file, item)
        elif link.get_text() == "PNG":
            Image.open(file).verify()
        else:
            assert ElementTree.parse(file).getroot().tag.endswith("svg")


def check_numbers(file: Path, item) -> None:
    """A table's CSV is the table; that of a figure has a line per mark."""
    head, *body = found = rows(file)
    if item.name == "figure":
        assert head == list(marks.HEAD) and body
        return
    table = [tr.select("th, td") for tr in item.select("tr")]
    cells = [[plain(cell.get_text()) for cell in row] for row in table]
    assert [[plain(cell) for cell in row] for row in found] == cells


def test_captions_of_a_run_name_data_and_seeds():
    for name, article in soups().items():
        for caption in article.select(".caption-text"):
            foreign = re.search("of the paper|All runs of this book", caption.text)
            if name.startswith("book/runs/") and not foreign:
                assert re.search(r"IPC \d+|(over|every) IPC", caption.text), name
                assert re.search("seed|a single run|one score", caption.text), name


def test_built_pages_name_no_foreign_script_style_or_image():
    built = sorted(HTML.rglob("*.html"))
    if not built:
        pytest.skip("the book has not been built: make book")
    foreign = re.compile(
        r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"(?:https?:)?//"
    )
    assert not [path.name for path in built if foreign.search(path.read_text("utf-8"))]
