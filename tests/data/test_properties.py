"""Random faults through the command line: a right answer, or one sentence.

hypothesis draws the faults and shrinks what fails. Each command sees the same files:
what the dry run refuses, the others refuse with the same words, and no row of results
that was there is lost. More cases by hand: CCFS_FAULTS=500.
"""

import json
import math
import os
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import test_faults as faults

from ccfs_lib import cli, data
from ccfs_lib.data.exchange import read_folder

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def some(cases: int):
    """Settings of a property: repeatable in CI, without a limit for a slow machine."""
    cases = int(os.environ.get("CCFS_FAULTS", cases))
    return hypothesis.settings(
        max_examples=cases,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@pytest.fixture(scope="module")
def place():
    """A house for all cases, with a result of somebody's that has to stay."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        house = Path(folder)
        patch.setenv("CCFS_CACHE", str(house / "cache"))
        patch.setenv("CCFS_RESULTS", str(house / "results"))
        patch.delenv("CCFS_DATA", raising=False)
        kept = house / "results/kept/random.json"
        kept.parent.mkdir(parents=True)
        rows = [{"seed": 0, "last": 50.0, "best": 51.0}]
        kept.write_text(json.dumps({"config": {"arm": "random"}, "rows": rows}))
        before = kept.read_bytes()
        yield house
        assert kept.read_bytes() == before


def ccfs(*words) -> tuple[int, str]:
    """Run the command: its exit code, and the sentence that it ends in, if any."""
    out, err = StringIO(), StringIO()
    argv, sys.argv = sys.argv, ["ccfs", *map(str, words)]
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
    text = err.getvalue()
    assert "Traceback" not in out.getvalue() + text
    if code:
        assert code == 2 and text.startswith("ccfs: ") and text.count("\n") == 1, text
    return code, text


# -- index files -----------------------------------------------------------------------

CHOICE = ["--ipc", "4", "--alpha", "0.25", "--curricula", "1", "--seeds", "1"]
CHOICE += ["--score", "logits"]
LABELS = data.load("digits").labels.numpy()
number = st.one_of(
    st.sampled_from([4, 4, 4, 5, "4", 4.0, True, None, 10**30, math.nan, [4]])
)
part = st.one_of(st.sampled_from([0.25, 0.25, 0.25, 1 / 4 + 1e-10, "0.25", 0, True]))
index = st.one_of(
    st.integers(0, len(LABELS) - 1),
    st.sampled_from([-1, len(LABELS), 2**63, "3", 3.0, True, None]),
)
balanced = st.permutations(
    [int(i) for c in range(10) for i in np.flatnonzero(c == LABELS)[:3]]
)
listed = st.one_of(balanced, balanced.map(lambda x: x[:20]), st.lists(index))


def is_selection(content) -> bool:
    """Whether it is one, for ipc 4 and alpha 1/4: at most three of a class."""
    ipc, alpha, chosen = (content.get(k) for k in ("ipc", "alpha", "idx_selected"))
    if type(ipc) is not int or ipc != 4 or type(alpha) is not float or alpha != 0.25:
        return False
    if type(chosen) is not list or any(type(i) is not int for i in chosen):
        return False
    if len({*chosen}) < len(chosen) or not all(0 <= i < len(LABELS) for i in chosen):
        return False
    return max(np.bincount(LABELS[chosen], minlength=10), default=0) <= 3


@some(25)
@hypothesis.given(
    content=st.fixed_dictionaries(
        {}, optional={"ipc": number, "alpha": part, "idx_selected": listed}
    ),
    spoil=st.sampled_from(["", "", "", "cut", "bytes", "list"]),
)
@hypothesis.example({"ipc": 4, "alpha": 0.25, "idx_selected": []}, "")
def test_index_files(place, content, spoil):
    path = place / "index.json"
    text = json.dumps([content] if spoil == "list" else content).encode()
    path.write_bytes({"cut": text[:-2], "bytes": text[:9] + b"\xff"}.get(spoil, text))
    words = ["sweep", *CHOICE, "--selected-from", path, "--arms", "selected"]
    code, _ = ccfs(*words, "--dry-run")
    assert (code == 0) == (not spoil and is_selection(content))


# -- data sets -------------------------------------------------------------------------

QUICK = ["--ipc", "2", "--alpha", "0.5", "--curricula", "1", "--seeds", "1"]
QUICK += ["--score", "logits", "--epochs", "1", "--teacher-epochs", "1"]
QUICK += ["--iterations", "1", "--network", "convnet-4", "--teacher-network"]
QUICK += ["convnet-4"]
LAYOUTS = {
    "folders": (faults.make_folders, faults.spoil_folders, faults.read_folders),
    "parquet": (faults.make_parquet, faults.spoil_parquet, faults.read_parquet),
}


@some(8)
@hypothesis.given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 10**6),
    count=st.sampled_from([0, 1, 1, 2, 3]),
)
# A class that only the test split has, and a sentence with an address of memory.
@hypothesis.example("folders", 444661, 1)
@hypothesis.example("folders", 2292, 1)
def test_data_sets_through_all_commands(place, layout, seed, count):
    with tempfile.TemporaryDirectory(dir=place) as folder:  # a case leaves nothing
        _through_all(Path(folder), *LAYOUTS[layout], np.random.default_rng(seed), count)


def _through_all(place, make, spoil, read, rng, count):
    root, out = place / "images", place / "out"
    make(rng, root)
    hypothesis.note([spoil(rng, root) for _ in range(count)])
    words = ["--dataset", root, *QUICK]
    first = ccfs("sweep", *words, "--arms", "random", "--dry-run")
    chosen = ccfs("select", *words, "--out", place / "chosen.json")
    written = ccfs("export", *words, "--arm", "random", "--out", out)
    assert first == chosen == written
    if first[0] == 0:
        found = {(name, image.tobytes()) for image, name in read(root, "train")}
        classes = data.load(str(root)).classes
        images = read_folder(out, classes, 2)
        assert len(images) == 2 * len(classes)
        for image, label in zip(images.images, images.labels, strict=True):
            assert (classes[label], image.numpy().tobytes()) in found
