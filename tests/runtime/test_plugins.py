"""A user's functions by name: where they are found, and what their text is."""

import hashlib
import re
import subprocess
import sys
import textwrap
import warnings

import pytest

from ccfs_lib.errors import InputError, Notice
from ccfs_lib.runtime import plugins


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *[("nets:make", True), ("my.nets:Make.small", True), ("näts:_m2", True)],
        *[("nets", False), ("nets:", False), (":make", False), ("nets:2", False)],
        *[("a b:c", False), ("nets:make\n", False), ("a:b:c", False), ("", False)],
        *[("/a/b:c", False), ("a-b:c", False), ("a..b:c", False), ("a:b.npy", False)],
    ],
)
def test_what_a_name_looks_like(name, is_one):
    assert plugins.named(name) is is_one


def test_functions_are_found_in_the_folder_and_in_packages(workshop):
    (workshop / "nets.py").write_text("def make(a, b): return a + b\n")
    (workshop / "pack").mkdir()
    (workshop / "pack/__init__.py").write_text("")
    (workshop / "pack/more.py").write_text(
        "class Make:\n    small = staticmethod(lambda n: 2 * n)\n"
    )
    assert plugins.resolve("nets:make", "network", ("a", "b"))(1, 2) == 3
    assert plugins.resolve("pack.more:Make.small", "score", ("n",))(4) == 8
    assert plugins.source_hash("nets:make") == sha256(workshop / "nets.py")
    assert plugins.source_hash("pack.more:Make.small") == sha256(
        workshop / "pack/more.py"
    )
    fields = [("network", "nets:make"), ("teacher_network", "resnet18")]
    assert plugins.sources(fields) == {"network": sha256(workshop / "nets.py")}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none:make", "there is no module none in "),
        ("none.nets:make", "there is no module none.nets in "),
        ("nets.none:make", "there is no module nets.none in "),  # not a package
        ("json.none:make", "there is no module json.none in "),
        ("__main__:make", "there is no module __main__ in "),
        ("nets:none", "module nets has no none"),
        ("nets:make.none", "module nets has no make.none"),
        ("nets:NUMBER", "is no function but a int"),
        ("nets:alone", "must be a function of num_classes, image_size"),
        ("nets:three", "must be a function of num_classes, image_size"),
    ],
)
def test_what_is_not_there_is_one_sentence(workshop, name, told):
    (workshop / "nets.py").write_text(
        "NUMBER = 3\ndef make(a, b): pass\ndef alone(a): pass\n"
        "def three(a, b, c): pass\n"
    )
    with pytest.raises(InputError) as error:
        plugins.resolve(name, "network", ("num_classes", "image_size"))
    sentence = str(error.value)
    assert sentence.startswith(f"network is {name!r}, ") and told in sentence
    assert "\n" not in sentence


def test_checking_imports_nothing(workshop):
    for file in ("nets.py", "pack/__init__.py", "pack/more.py"):
        (workshop / file).parent.mkdir(exist_ok=True)
        (workshop / file).write_text("raise SystemError('imported')\n")
    plugins.check("nets:make", "network")
    plugins.check("pack.more:make", "network")
    with pytest.raises(InputError, match=r"no module pack\.none"):
        plugins.check("pack.none:make", "network")
    assert not {"nets", "pack", "pack.more"} & set(sys.modules)
    with pytest.raises(SystemError, match="imported"):  # the user's error is shown
        plugins.resolve("nets:make", "network")


def test_the_hash_is_of_the_text_that_runs(workshop):
    file = workshop / "nets.py"
    file.write_text("def make(a): return 1\n")
    first = sha256(file)
    assert plugins.resolve("nets:make", "network")(0) == 1
    file.write_text("def make(a): return 22\n")
    with pytest.warns(Notice, match=r"nets\.py has changed since"):
        assert plugins.source_hash("nets:make") == first
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        assert plugins.resolve("nets:make", "network")(0) == 1
    code = """
        import sys
        from ccfs_lib.runtime import plugins
        print(plugins.source_hash("nets:make"), plugins.resolve("nets:make", "n")(0))
        print("torch" in sys.modules)
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [sha256(file), "22", "False"], done.stderr


def test_a_module_without_a_file_has_no_hash():
    assert plugins.resolve("math:sqrt", "score", ("x",))(4) == 2
    with pytest.raises(InputError, match="module sys has no source file"):
        plugins.source_hash("sys:getsizeof")


def test_experiments_know_them_before_torch_is_imported(workshop):
    (workshop / "mine.py").write_text("import torch\n")
    code = """
        import sys
        from ccfs_lib.errors import InputError
        from ccfs_lib.experiment import preset
        changes = {"ipc": 4, "alpha": 0.25, "curricula": 1, "classes": 3}
        for dataset in ("digits", "mine:images"):
            e = preset(dataset, network="mine:net", teacher_network="mine:net",
                       evaluation_network="mine:other", score="mine:hard", **changes)
            print(e.run)
        for name in ("network", "score", "dataset", "evaluation_network"):
            try:
                preset(**{name: "gone:net"})
            except InputError as error:
                print(error)
        assert "torch" not in sys.modules
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    name = "ipc4-alpha0.25-j1-mine-net-on-mine-other-teacher-mine-net-mine-hard"
    assert lines[0].startswith("digits-c3-") and name in lines[0]
    assert lines[1].startswith("mine-images-c3-") and name in lines[1]
    for line, field in zip(
        lines[2:], ("network", "score", "dataset", "evaluation_network"), strict=True
    ):
        assert line.startswith(f"{field} is 'gone:net', but there is no module gone in")


POOR = """
def rule(x):
    try:
        return {}[x]
    except KeyError as error:
        raise RuntimeError("no rule") from error
"""
# Ours between the cell and the user's module; then an error of nobody's module.
CELLS = """
from ccfs_lib.runtime import plugins
from ccfs_lib.sweep import run_all
from concurrent.futures import ProcessPoolExecutor
rule = plugins.resolve('poor:rule', 'arm')
run = lambda: run_all(pool, (), [(rule, 3)], 'a', 'b')
"""


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_notebook_shows_the_users_frames_and_none_of_ours(workshop, pool):
    (workshop / "poor.py").write_text(POOR)
    start = f"from concurrent.futures import {pool}\n{CELLS}pool = {pool}(1)\n"
    text = in_ipython(start + "run()")
    frames = re.findall(r'File "(.+?)", line (\d+)', text)
    assert frames == [(f"{workshop}/poor.py", line) for line in ("4", "6")]
    assert text.count("KeyError: 3") == text.count("RuntimeError: no rule") == 1
    assert "return {}[x]" in text and "ccfs_lib" not in text
    # Other errors are IPython's business, and ours stay sentences.
    assert "ZeroDivisionError" in in_ipython(start + "1 / 0")
    text = in_ipython(start + "plugins.resolve('poor:none', 'arm')")
    assert text.strip() == "InputError: arm is 'poor:none', but module poor has no none"


def in_ipython(cell: str) -> str:
    """What a notebook of this folder shows of a cell's error, without colours."""
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", "-c", cell]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
