"""Table 1 with rows of a user's own and with bad input: one sentence for each row."""

import pytest

from ccfs_lib import table1
from ccfs_lib.errors import InputError

OWN = """
import numpy as np

def first(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[:ipc] for c in range(10)])

def last(train, ipc, seed):
    labels = train.labels.numpy()
    return np.concatenate([np.flatnonzero(labels == c)[-ipc:] for c in range(10)])
"""


@pytest.fixture
def mine(house, workshop):
    """A module of a user's functions, `mine`, in a folder of its own."""
    (workshop / "mine.py").write_text(OWN)
    return workshop


# -- names of a user's rows ------------------------------------------------------------


@pytest.mark.parametrize("title", ["distilled", "selected", "reverse", "cda", "dsa"])
def test_a_title_that_other_results_have_is_refused(mine, title):
    with pytest.raises(InputError, match=f"'{title}'.*other rows.*another title"):
        table1.parse(f"{title}:mine.first")


def test_a_title_that_can_name_no_file_is_refused(mine):
    with pytest.raises(InputError, match="'größe', but it names a file"):
        table1.parse("größe:mine.first")


def test_two_functions_of_one_title_are_refused(mine):
    with pytest.raises(InputError, match="'a', mine:first and mine:last"):
        table1.parse_all(["a:mine.first", "a:mine.last"])


def test_a_row_that_is_named_twice_counts_once(mine):
    rows = table1.parse_all(["random", "a:mine.first", "random", "a:mine.first"])
    assert [row.name for row in rows] == ["random", "a"]
