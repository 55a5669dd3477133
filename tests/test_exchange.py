"""The authors' selected_indices.json: written, read back, and refused when odd."""

import json

import numpy as np
import pytest

from ccfs_lib.errors import InputError
from ccfs_lib.exchange import read_indices, write_indices


def test_round_trip_keeps_the_order(tmp_path):
    indices = np.array([7, 0, 99, 3], np.int64)
    path = write_indices(tmp_path / "new/folder/i.json", 4, 0.25, indices)
    assert json.loads(path.read_text()) == {
        "ipc": 4,
        "alpha": 0.25,
        "idx_selected": [7, 0, 99, 3],
    }
    read, alpha = read_indices(path, 4, 100)
    assert read.tolist() == [7, 0, 99, 3] and read.dtype == np.int64 and alpha == 0.25
    assert list(path.parent.iterdir()) == [path]  # no temporary file stays


def test_an_empty_selection_is_one(tmp_path):
    path = write_indices(tmp_path / "i.json", 4, 1.0, np.empty(0, np.int64))
    read, alpha = read_indices(path, 4, 10)
    assert read.tolist() == [] and read.dtype == np.int64 and alpha == 1.0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_indices(tmp_path / "i.json", 4, 0.5, np.array([1]))
    with pytest.raises((TypeError, ValueError)):
        write_indices(path, 4, 0.5, ["not a number"])
    assert read_indices(path, 4, 10)[0].tolist() == [1]


GOOD = {"ipc": 4, "alpha": 0.5, "idx_selected": [3, 1]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"idx_selected": [3, 3]}, "twice"),
        ({"idx_selected": [3, 10]}, r"3\.\.10"),
        ({"idx_selected": [-1, 3]}, r"-1\.\.3"),
        ({"ipc": 5}, "ipc 5"),
        ({"alpha": "half"}, "alpha"),
        ({"alpha": None}, "alpha"),
        ({"idx_selected": [1.5, 2]}, "idx_selected"),
        ({"idx_selected": [[3, 1]]}, "idx_selected"),
        ({"idx_selected": [True]}, "idx_selected"),
        ({"idx_selected": ["3"]}, "idx_selected"),
        ({"idx_selected": 3}, "idx_selected"),
        ({"idx_selected": {"3": 1}}, "idx_selected"),
        ({"idx_selected": [10**30]}, "idx_selected"),
        ({"idx_selected": None}, "idx_selected"),
    ],
)
def test_odd_content_is_refused_in_one_sentence(tmp_path, change, told):
    path = tmp_path / "i.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError, match=told) as error:
        read_indices(path, 4, 10)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"ipc": 4}', json.dumps(GOOD)[:-3], "\xff", "[" * 10**5]
)
def test_other_files_are_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "i.json"
    path.write_text(text, "latin-1")
    with pytest.raises(InputError) as error:
        read_indices(path, 4, 10)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="missing"):
        read_indices(tmp_path / "missing.json", 4, 10)
