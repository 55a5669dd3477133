"""The package: its wheel away from the checkout, versions, what git need not show."""

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import ccfs_lib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = ("ccfs_lib", "data/paper", "pyproject.toml", "setup.py", "README.md")
TINY = ["--ipc", "4", "--alpha", "0.25", "--curricula", "1", "--score", "logits"]
TINY += ["--epochs", "2", "--teacher-epochs", "2"]


def call(*words, **options) -> str:
    """Run a program; its output, or a failure that shows what it printed."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """Run a program of a new environment that has our wheel, in an empty folder.

    The environment borrows torch and the rest from this one: a line in a .pth file,
    written after the wheel is installed, so that nothing here can be replaced.
    """
    folder = tmp_path_factory.mktemp("away")
    for name in SOURCES:  # a copy: setuptools leaves build/ behind, and reads it again
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    call(*wheel, "-w", folder, folder / "source")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    (built,) = folder.glob("ccfs_lib-*.whl")
    install = ("--python", python, "install", "--no-deps", "--no-index", built)
    call(*pip, *install)
    (site,) = folder.glob("env/lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    ours = re.compile("CCFS_.*|PYTHONPATH|XDG_CACHE_HOME")
    clean = {k: v for k, v in os.environ.items() if not ours.fullmatch(k)}
    clean |= {"HOME": str(folder / "home"), "CCFS_PROGRESS": "0"}
    work = folder / "work"
    work.mkdir()

    def run(program: str, *words) -> str:
        return call(python.with_name(program), *words, cwd=work, env=clean)

    return run, folder


def test_the_wheel_knows_the_paper_and_writes_outside_itself(away):
    run, folder = away
    code = "import ccfs_lib as c; from ccfs_lib import paper as p;"
    code += " print(c.__file__, len(p.claims()), len(p.table(13)))"
    where, claims, rows = run("python", "-c", code).split()
    assert Path(where).is_relative_to(folder / "env")
    assert (int(claims), int(rows)) == (35, 12)
    told = dict(line.split(maxsplit=1) for line in run("ccfs", "doctor").splitlines())
    assert told["library"] == ccfs_lib.__version__
    assert told["cache"] == str(folder / "home" / ".cache" / "ccfs")
    assert told["results"] == str(folder / "work" / "ccfs-results")


def test_the_wheel_selects(away):
    run, folder = away
    said = run("ccfs", "select", "--out", "chosen.json", *TINY)
    assert "phase 1: " in said and (folder / "work" / "chosen.json").is_file()
    assert list(folder.glob("home/.cache/ccfs/train/*/tensors.safetensors"))
    assert [path.name for path in (folder / "work").iterdir()] == ["chosen.json"]


def test_the_readmes_python_runs_as_it_stands(away):
    run, _ = away
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    assert blocks
    for block in blocks:
        run("python", "-c", block)


# -- versions --------------------------------------------------------------------------


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version("ccfs-lib") == ccfs_lib.__version__
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (\S+)", log, re.M)[0] == ccfs_lib.__version__


def locked() -> dict[str, set[str]]:
    """Versions of each package in the lock: some have one per Python."""
    found: dict[str, set[str]] = {}
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    for name, number in re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", lock, re.M):
        found.setdefault(name, set()).add(number)
    return found


def test_the_lock_is_exact_and_within_the_ranges():
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    known = locked()
    for text in [*PROJECT["dependencies"], *extras]:
        wanted = Requirement(text)
        assert "==" not in str(wanted.specifier), text
        assert all(number in wanted.specifier for number in known[wanted.name]), text
    assert known["torch"] == {"2.11.0"} and known["torchvision"] == {"0.26.0"}


# -- git -------------------------------------------------------------------------------


def git(*words) -> list[str]:
    try:
        return call("git", "-C", ROOT, *words).splitlines()
    except (AssertionError, OSError):
        pytest.skip("not a git checkout")


def test_no_lock_file_is_in_git():
    assert not [path for path in git("ls-files") if ".locks" in path]
    assert git("check-ignore", "data/artefacts/train/.locks/x")


def test_generated_files_are_marked():
    generated = ["requirements.lock", "data/artefacts/train/x/recipe.json"]
    generated += ["book/runs/x/05_evaluation.ipynb", "book/mathjax/tex-svg.js.xz"]
    for path in generated:
        assert git("check-attr", "linguist-generated", path)[0].endswith(": set"), path
    (said,) = git("check-attr", "linguist-generated", "notebooks/05_evaluation.ipynb")
    assert said.endswith(": unspecified")


def test_mathjax_is_the_published_file():
    packed = (ROOT / "book/mathjax/tex-svg.js.xz").read_bytes()
    published = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
    assert hashlib.sha256(lzma.decompress(packed)).hexdigest() == published
