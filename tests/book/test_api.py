"""The public names of book/api.md: examples that run, and a line below them."""

import doctest
import re
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "api.md"


def test_the_examples_print_what_the_page_shows(house):
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 30 and not failed


def test_some_fifteen_names_are_public_and_each_has_an_example():
    public, line, _ = PAGE.read_text("utf-8").partition("<hr>")
    assert line and "modules/" not in public
    names = re.findall(r"\{py:(?:func|class)\}`~ccfs_lib\.([\w.]+)`", public)
    assert 12 <= len(names) == len(set(names)) <= 20
    examples = "\n".join(re.findall(r"^(?:>>>|\.\.\.).*$", public, re.M))
    for name in names:
        module, _, last = name.rpartition(".")
        assert callable(getattr(import_module(f"ccfs_lib.{module}"), last))
        assert re.search(rf"\b{last}\(", examples), name
