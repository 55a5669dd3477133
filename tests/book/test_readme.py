"""What README and CONTRIBUTING name is there: modules, functions, the reading order."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ccfs_lib

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if line.startswith("| ")
]
ROWS = [row for row in TABLE if row[0] != "chapter"]
# What a reader with the paper in hand looks for, and where it is.
EQUATIONS = {
    "Eq. 5": "select.candidates",
    "Eq. 6": "select.coarse_to_fine",
    "Algorithm 1": "curriculum.run",
    "KD loss": "step.kd_loss",
    "forgetting count": "scores.Forgetting",
    "the window": "selmatch.window",
    "Table 8": "experiment.Recipe.for_size",
}


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def found(name: str):
    """What ``module.function`` or ``module.Class.method`` of ccfs_lib is."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = import_module("ccfs_lib." + ".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        return thing
    raise LookupError(f"ccfs_lib has no {name}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_what_is_there(row):
    _, notebook, modules, _, function = row
    (name,) = names(notebook)
    path = ROOT / (name if "/" in name else f"notebooks/{name}.ipynb")
    assert path.exists()
    for module in names(modules):
        import_module(f"ccfs_lib.{module}")
    for name in names(function):
        assert callable(found(name)) or isinstance(found(name), property)


@pytest.mark.parametrize("item", EQUATIONS)
def test_an_equation_has_its_function_beside_it(item):
    cells = [row[4] for row in ROWS if item in row[3]]
    assert EQUATIONS[item] in [name for cell in cells for name in names(cell)]


def test_the_names_that_do_not_exist_are_noticed():
    with pytest.raises(LookupError):
        found("workbench.Workbench")
    with pytest.raises(AttributeError):
        found("select.nothing")


def test_the_reading_order_is_that_of_the_library():
    listed = re.findall(
        r"(?m)^(\w+)  +\S",
        ast.get_docstring(ast.parse(Path(ccfs_lib.__file__).read_text("utf-8"))),
    )
    order = re.search(
        r"To read the library, begin where data do:(.*?)\.\n", README, re.S
    )
    assert names(order[1]) == listed


@pytest.mark.parametrize("place", ["README.md", "CONTRIBUTING.md", "book/*.md"])
def test_modules_and_files_that_prose_names_are_there(place):
    text = "".join(path.read_text("utf-8") for path in ROOT.glob(place))
    for name in re.findall(r"\{py:\w+\}`~?ccfs_lib\.([\w.]+)`", text):
        found(name)
    for path in re.findall(r"`((?:ccfs_lib|notebooks|tests|book)/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), path
    for module, function in re.findall(r"`(\w+)\.(\w+)(?:\([^`]*\))?`", text):
        if (Path(ccfs_lib.__file__).parent / f"{module}.py").exists():
            found(f"{module}.{function}")


def test_commands_work_as_typed_after_make_book():
    """What a shell finds only in .venv/bin comes after the line that activates it."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    before, line, after = "\n".join(lines).partition("source .venv/bin/activate\n")
    assert line
    words = {text.split()[0] for text in before.splitlines() if text.strip()}
    assert words == {"make"}
    commands = set(re.findall(r"^(?!#)(\w\S*)", after, re.M))
    assert commands == {"papermill", "ccfs"}
    for name in commands:
        assert (Path(sys.executable).parent / name).exists(), name
