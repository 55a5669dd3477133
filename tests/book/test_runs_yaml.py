"""book/runs.yaml with random faults: runs that notebooks accept, or one sentence."""

import math
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
pages = import_module("pages")
RUN = {"title": "t", "scale": "", "committed": False, "parameters": {"ipc": 30}}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A project with two of the chapters."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "notebooks").mkdir()
    (tree / "book").mkdir()
    for stem in ("05_evaluation", "06_strategies", "12_order"):
        shutil.copy(ROOT / "notebooks" / f"{stem}.ipynb", tree / "notebooks")
    return tree


def read(tree, text: str | bytes) -> dict[str, Experiment] | str:
    """All experiments of a runs.yaml, each asked of its notebooks; or the sentence."""
    text = text if isinstance(text, bytes) else text.encode()
    (tree / "book/runs.yaml").write_bytes(text)
    try:
        names = list(pages.declared(tree))
        for name in names:
            pages.check(name, tree)
        return {name: pages.experiment(name, tree) for name in names}
    except InputError as error:
        assert "\n" not in str(error) and str(error)
        return str(error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: {run}\na: {run}\n", "'a' is there twice"),
        ("a: {run}\n? b\n: {{ipc: 2, ipc: 3}}\n", "'ipc' is there twice"),
        ("5: {run}\n", "run 5 must be called by letters"),
        ("yes: {run}\n", "run True must be called"),
        ("a: &x [*x]\n", "'a' has or lacks"),
        ("a: 2001-99-99\n", "is no YAML: month must be"),
        ("[" * 5000, "is no YAML: "),
        (b"a: \xff\n", "is no YAML: 'utf-8' codec"),
        ("a:\t- b", "is no YAML: "),
    ],
)
def test_what_is_no_list_of_runs_is_a_sentence(tree, text, told):
    run = yaml.safe_dump(RUN, default_flow_style=True).strip()
    if isinstance(text, str):
        text = text.format(run=run) if "{run}" in text else text
    sentence = read(tree, text)
    assert isinstance(sentence, str) and told in sentence


def test_lines_of_windows_are_lines(tree):
    text = yaml.safe_dump({"a": RUN})
    plain = read(tree, text)
    assert plain["a"].ipc == 30
    assert read(tree, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()) == plain


@pytest.mark.parametrize(
    ("stem", "alpha", "told"),
    [
        ("06_strategies", 1, "cannot have 06_strategies: alpha is 1, but then nothing"),
        ("06_strategies", 0, "cannot have 06_strategies: alpha is 0, but this chapter"),
        ("12_order", 1, "cannot have 12_order: alpha is 1, but then nothing is selec"),
    ],
)
def test_a_chapter_that_lacks_its_images_is_named(tree, stem, alpha, told):
    run = RUN | {"parameters": {"ipc": 20, "alpha": alpha}, "notebooks": [stem]}
    assert told in read(tree, yaml.safe_dump({"a": run}))
    assert read(tree, yaml.safe_dump({"a": run | {"notebooks": ["05_evaluation"]}}))


def test_random_parameters_are_a_run_or_a_sentence(tree):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    numbers = [
        0,
        1,
        2,
        20,
        -3,
        10**30,
        0.2,
        1.0,
        math.nan,
        math.inf,
        "20",
        "0.2",
        "1e3",
    ]
    others = [
        True,
        False,
        None,
        "",
        "yes",
        "é",
        "../x",
        "~",
        "a b",
        [],
        {},
        [1],
        {1: 2},
    ]
    names = ["ipc", "alpha", "seeds", "epochs", "dataset", "arms", "network", "phase"]
    names += ["score", "curricula", "teacher_correct", "alphas", "recipe", "pahse"]
    parameters = st.dictionaries(
        st.sampled_from(names), st.sampled_from(numbers + others), max_size=3
    )
    fields = {
        "title": st.sampled_from(["t", 3, None]),
        "committed": st.sampled_from([False, True, "no", 0]),
        "notebooks": st.sampled_from([["05_evaluation"], [], "05_evaluation", [3]]),
    }
    odd = st.fixed_dictionaries({}, optional=fields)

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
    @hypothesis.given(parameters=parameters, odd=odd)
    def check(parameters, odd):
        run = RUN | {"parameters": parameters} | odd
        found = read(tree, yaml.safe_dump({"a": run}))
        if isinstance(found, str):
            return
        assert isinstance(run["title"], str) and type(run["committed"]) is bool
        for name in ("ipc", "alpha", "seeds", "curricula"):
            if parameters.get(name) is not None:
                assert not isinstance(parameters[name], bool)
                assert getattr(found["a"], name) == float(parameters[name])

    check()


def test_a_parameter_without_a_default_can_be_declared(tmp_path):
    """As the budget of chapter 16, which is None there."""
    for folder in ("notebooks", "book"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "notebooks" / "16_table1.ipynb", tmp_path / "notebooks")
    runs = {"a": RUN | {"parameters": {"ipc": 30, "budget": 1.5}}}
    assert read(tmp_path, yaml.safe_dump(runs))["a"].ipc == 30
    (page,) = pages.pages("a", tmp_path)
    assert page.parameters["budget"] == 1.5
    runs["a"]["parameters"] = {"budgets": 1.5}
    assert "budgets" in read(tmp_path, yaml.safe_dump(runs))
