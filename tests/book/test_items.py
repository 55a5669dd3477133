"""The page of the paper's tables and figures: all of them, whole, and what is ours."""

import re
import shlex
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas
import pytest
import tyro

from ccfs_lib import cli, paper, results
from ccfs_lib.report.text import DASH

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
beside, items, paper_figures, paper_tables = map(
    import_module, ("beside", "items", "paper_figures", "paper_tables")
)
NAMES = [f"Table {n}" for n in range(1, 14)] + [f"Figure {n}" for n in range(1, 12)]
NOTHING = pandas.DataFrame(columns=["run", "cell", "dataset", "ipc", "last"])


@cache
def page() -> str:
    """The page's text, with this project's results."""
    return items.write_up()


def sections(text: str) -> dict[str, str]:
    """Heading up to the colon -> what follows it."""
    parts = re.split(r"^## ((?:Table|Figure) \d+): ", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_table_and_figure_has_a_line_and_a_section():
    assert list(sections(page())) == NAMES
    listed = re.findall(r"^\| \[(\w+ \d+)\]\(#([\w-]+)\) \|", page(), re.M)
    assert [name for name, _ in listed] == NAMES
    for _, anchor in listed:
        assert page().count(f"({anchor})=\n") == 1
    for name, text in sections(page()).items():
        assert text.count("**In this book:**") == 1, name


@pytest.mark.parametrize("number", paper.TABLES)
def test_a_table_is_whole(number):
    """As many cells as the paper prints, with each of its numbers as often."""
    text, frame = sections(page())[f"Table {number}"], paper.table(number)
    cells = [c.strip() for line in text.splitlines() for c in line.split("|")[1:-1]]
    if number in paper.HYPERPARAMETERS:
        assert not set(frame.value) - set(cells)
        return
    digits = 2 if number == 2 else 1
    printed = frame.accuracy.map(f"{{:.{digits}f}}".format)
    if "std" in frame:
        printed += frame["std"].map(" ± {:.1f}".format)
    for cell, times in printed.value_counts().items():
        assert cells.count(cell) >= times, cell


def cells(body: str, title: str) -> dict[str, list[str]]:
    """The rows of one table of a section: first cell -> the others."""
    (own,) = [part for part in body.split(":::{table}")[1:] if title in part]
    lines = [line[1:-1].split("|") for line in own.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in lines[2:]}


def measure(root: Path, run: str, cell: str, last: list[float], **config) -> None:
    rows = [{"seed": i, "last": x, "best": x} for i, x in enumerate(last)]
    config = {"alpha": 0.2, "curricula": 3, "network": "resnet18"} | config
    results.write(root, run, cell, config=config, rows=rows, provenance={})


def test_ours_stands_beside_the_papers_cell(tmp_path):
    where = {"dataset": "cifar100", "ipc": 50, "scale": "paper", "image_size": 0}
    cda = {"distillation": {"method": "cda"}}
    measure(tmp_path, "a", "simple-misclassified", [67.0, 68.0, 69.0], **where, **cda)
    measure(tmp_path, "a", "random", [64.0, 64.5, 65.0], **where, **cda)
    measure(tmp_path, "a", "distilled", [50.0, 51.0, 52.0], **where, **cda)
    measure(tmp_path, "b", "random-hard", [36.0, 37.0], **where | {"ipc": 25}, **cda)
    found = {item.name: item for item in paper_tables.tables(results.load(tmp_path))}
    (column,) = found["Table 1"].columns  # a single arm is no column
    assert column.head == "IPC 50" and "resnet18, paper scale, 3" in column.legend()
    half = 4.3027 / np.sqrt(3)  # t(0.975, 2) times a standard deviation of 1
    main = cells(found["Table 1"].body, "CIFAR-100")
    assert main["CCFS"][1::4] == ["71.5 ± 0.3", f"68.0 ± {half:.1f}"]
    assert main["CDA"][-1] == f"51.0 ± {half:.1f}"
    control = main["Random, same teacher"]
    assert {*control[:-1]} == {DASH} and control[-1].startswith("64.5")
    six = cells(found["Table 3"].body, "CIFAR-100")
    assert six["simple, misclassified"] == ["71.5", f"68.0 ± {half:.1f}"]
    assert six["hard, classified"] == ["63.5", DASH]
    assert found["Table 12"].columns and not found["Table 11"].columns
    (column,) = found["Table 12"].columns
    share = column.share(found["Table 12"].noun)
    assert share == "1 of 6 strategies (CIFAR-100, IPC 50, ResNet-18)"
    assert "standard deviation of five" in found["Table 1"].body
    assert "standard deviation" not in found["Table 3"].body  # it prints none


def test_equal_sizes_are_told_apart_by_the_network(tmp_path):
    where = {"dataset": "cifar100", "ipc": 50, "scale": "paper", "image_size": 0}
    for run, network in (("a", "resnet18"), ("b", "convnet")):
        for alpha in (0.0, 0.2):
            own = where | {"network": network, "alpha": alpha}
            measure(tmp_path, f"{run}{alpha}", "simple-misclassified", [60], **own)
    portions = paper_figures.portions(results.load(tmp_path))
    names = [str(column) for column in portions.columns]
    assert names == ["CIFAR-100, IPC 50, ResNet-18", "CIFAR-100, IPC 50, ConvNet"]
    assert f"| portion | {' | '.join(names)} |" in portions.body


def test_equal_networks_are_told_apart_by_the_teacher(tmp_path):
    where = {"dataset": "cifar100", "ipc": 50, "scale": "laptop", "network": "convnet"}
    where["distillation"] = {"method": "cda"}
    for seed in (0, 1):
        for cell in ("simple-misclassified", "distilled"):
            own = where | {"teacher_seed": seed, "teacher_last": 70.0 + seed}
            measure(tmp_path, f"a{seed}", cell, [60], **own)
    table = paper_tables.main_results(results.load(tmp_path))
    ours = "ours, IPC 50, ConvNet"
    assert f"| {ours} | {ours}, teacher 2 |" in table.body
    assert "*IPC 50, ConvNet, teacher 2*: cifar100" in table.body


def test_selmatch_of_table_1_is_shown_there_and_that_of_section_3_is_not(tmp_path):
    where = {"dataset": "cifar100", "ipc": 50, "image_size": 16, "scale": "laptop"}
    measure(tmp_path, "d", "selmatch", [90.0], dataset="digits", ipc=20)
    table = paper_tables.main_results(results.load(tmp_path))
    assert table.shows.endswith("SelMatch beside its variants, was run on digits only.")
    for cell in ("selmatch", "ccfs-mtt"):
        measure(tmp_path, "s3", cell, [50.0], **where, beta=0.7, matcher="convnet")
    table = paper_tables.main_results(results.load(tmp_path))
    assert table.shows.endswith("[Figure 2](#paper-figure-2).") and not table.columns
    for cell in ("selmatch", "simple-misclassified"):
        measure(tmp_path, "a", cell, [40.0], **where)
    table = paper_tables.main_results(results.load(tmp_path))
    assert cells(table.body, "CIFAR-100")["SelMatch"][-1] == "40.0"
    assert table.columns[0].share("rows").startswith("2 of 15 rows (CIFAR-100")


def test_a_method_with_a_budget_is_shown_if_it_got_enough_of_its_work(tmp_path):
    where = {"dataset": "cifar100", "ipc": 50, "image_size": 16, "scale": "laptop"}
    measure(tmp_path, "a", "simple-misclassified", [41.0], **where)
    for cell, share in (("cudd-10", 0.4), ("dsa-10", 0.01)):
        some = {"share": share, "choices": {"budget": 10.0}}
        measure(tmp_path, "a", cell, [40.0], **where | some)
    rows = items.worked(results.load(tmp_path))
    table = paper_tables.main_results(rows)
    body = cells(table.body, "CIFAR-100")
    assert body["CUDD"][-1] == "40.0" and body["DSA"][-1] == DASH
    assert "row of ours got is in chapter 16." in table.shows
    whole = paper_tables.main_results(rows[rows.share.isna()])
    assert "row of ours got" not in whole.shows
    (column,) = table.columns
    assert {*column.files} == {("a", "simple-misclassified"), ("a", "cudd-10")}


def test_a_command_names_what_is_filed():
    filed = {"glister", "glister-teacher", "random-selmatch", "hard-classified"}
    cut = beside._filed
    line = "ccfs table1 --rows glister cda --budget 10"
    assert cut(line, filed) == "ccfs table1 --rows glister --budget 10"
    line = "ccfs table1 --rows random sre2l dm own:rule"  # of another run, or name
    assert cut(line, filed) == "ccfs table1 --rows random sre2l own:rule"
    line = "ccfs sweep --arms hard-classified random-short --seeds 3"
    assert cut(line, filed) == "ccfs sweep --arms hard-classified --seeds 3"
    assert cut("ccfs sweep --arms random", filed) == "ccfs sweep --arms random"
    line = "ccfs table1 --rows dsa glister --budget 10"  # cells with their options
    assert cut(line, {"dsa-10", "glister-frozen-teacher"}) == line
    assert "--rows glister" in page()


def test_all_images_alone_are_trained_where_a_command_is_of_all_images():
    (line,) = [c for c in commands() if "table1" in c and "cifar10 --ipc 5000" in c]
    assert line.endswith("--rows full")
    assert not [c for c in commands() if "--rows full" in c and "--ipc 50 " in c]


def test_a_setting_that_varies_is_one_column(tmp_path):
    where = {"dataset": "cifar10-jpeg", "ipc": 100, "image_size": 16}
    where |= {"scale": "laptop", "score": "published-forgetting"}
    for j, last in ((1, 50.0), (3, 53.0), (5, 52.0)):
        cell = where | {"curricula": j}
        measure(tmp_path, f"j{j}", "simple-misclassified", [last] * 3, **cell)
    for alpha in (0.0, 0.4):
        cell = where | {"alpha": alpha}
        measure(tmp_path, f"alpha{alpha}", "simple-misclassified", [40, 41], **cell)
    rows = results.load(tmp_path)
    found = {item.name: item for item in paper_tables.tables(rows)}
    (column,) = found["Table 5"].columns
    assert column.head == "IPC 100, JPEG, 16 px"
    assert list(column.cells) == ["1", "3", "5"]
    assert cells(found["Table 5"].body, "CIFAR-10,")["5"] == [DASH, "52.0 ± 0.0"]
    assert not found["Table 4"].columns  # one score is no comparison
    portions = {i.name: i for i in paper_figures.figures(rows)}["Figure 5"]
    assert list(portions.columns[0].cells) == ["0", "0.2", "0.4"]


def test_what_nobody_measured_is_said():
    """The paper stands alone, and no column claims to be ours."""
    every = [*paper_tables.tables(NOTHING), *paper_figures.figures(NOTHING)]
    assert [item.name for item in every] == NAMES
    assert not any(item.columns or "| ours" in item.body for item in every)
    found = {item.name: items.here(item, []) for item in every}
    alone = {name for name, place in found.items() if place == "not measured"}
    assert alone == {*NAMES} - {"Table 6", "Table 7", "Table 8", "Table 9"} - {
        *("Figure 1", "Figure 3")  # diagrams
    }
    tables = [item for item in every if item.name.startswith("Table")]
    measured = [item for item in tables if item.name in alone]
    assert all("Ours: not measured." in item.body for item in measured)


def test_another_data_set_is_no_counterpart():
    item = next(i for i in paper_figures.pictures() if "CIFAR-100" in i.title)
    shown = [("10_inside", "A", "cifar10-jpeg", ""), ("10_inside", "B", "digits", "")]
    assert items.here(item, shown) == "not measured: the same on other data in A, B"
    shown.append(("10_inside", "C", "cifar100", item.size))
    assert items.here(item, shown) == "C"


def test_a_gallery_of_another_size_is_called_so():
    item = next(i for i in paper_figures.pictures() if "Tiny" in i.title)
    assert item.size == "IPC 50"
    shown = [("10_inside", "A", "tiny-imagenet", "IPC 50, 20 classes, 32 px")]
    assert items.here(item, shown) == "A (ours: IPC 50, 20 classes, 32 px)"
    sizes = {dataset: size for *_, dataset, size in items.chapters(ROOT)}
    assert sizes["tiny-imagenet"] == "IPC 50, 20 classes, 32 px"
    (line,) = re.findall(r"^\| \[Figure 8\].*$", page(), re.M)
    assert line.endswith("| galleries (ours: IPC 50) |")


def commands() -> list[str]:
    every = [*paper_tables.tables(NOTHING), *paper_figures.figures(NOTHING)]
    return sorted({line for item in every for line in item.commands})


@pytest.mark.parametrize("line", commands())
def test_commands_are_commands_of_cells_that_the_paper_has(line):
    made = tyro.cli(cli.COMMANDS, prog="ccfs", args=shlex.split(line)[1:])
    options = getattr(made, "choice", made)
    assert options.scale == "paper"
    known = {*paper.table(1)[["dataset", "ipc"]].itertuples(index=False, name=None)}
    assert {(options.dataset, ipc) for ipc in options.ipc} <= known


def test_links_lead_to_pages():
    for where in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", page()):
        stem = ROOT / "book" / where
        assert any(stem.with_suffix(s).exists() for s in (".md", ".ipynb")), where


def test_the_contradictions_are_those_of_the_data():
    """One source: the page includes the section, which test_paper.py holds."""
    readme = (ROOT / "data" / "paper" / "README.md").read_text("utf-8")
    shown = (ROOT / "book" / "disagrees.md").read_text("utf-8")
    (start,) = re.findall(r'^:start-after: "(.+)"$', shown, re.M)
    assert readme.count(start) == 1
    rest = readme.partition(start)[2]
    assert rest.count("\n- ") >= 6 and "\n#" not in rest
