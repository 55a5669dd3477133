"""Signatures on the library's page: types without their bounds and help."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
from sphinx.util.inspect import signature, stringify_signature

from ccfs_lib.experiment import Experiment, Motivation, Recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
docstrings = import_module("docstrings")


def shown(kind: type) -> str:
    text = stringify_signature(signature(kind))
    return docstrings.readable(None, None, None, None, None, text, None)[0]


@pytest.mark.parametrize("kind", [Experiment, Motivation, Recipe])
def test_a_signature_is_python_and_has_no_help_in_it(kind):
    text = shown(kind)
    assert "Annotated" not in text and "Setting(" not in text and "Ge(" not in text
    compile(f"def f{text}: ...", "signature", "exec")


def test_brackets_and_commas_in_help_end_nothing():
    text = """(a: typing.Annotated[int, S("it's a, b] or [c", x=[1])] = 0, b: int)"""
    told, _ = docstrings.readable(None, None, None, None, None, text, None)
    assert told == "(a: int = 0, b: int)"
    nested = "(a: tuple[~typing.Annotated[float, F(m=[Ge(0)])], ...] = (0.1,))"
    told, _ = docstrings.readable(None, None, None, None, None, nested, None)
    assert told == "(a: tuple[float, ...] = (0.1,))"
