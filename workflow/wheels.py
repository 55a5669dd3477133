"""Wheels that a bare machine lacks: what the library and one chapter need there.

    python workflow/wheels.py --out .gpu/whl

The machine of a sitting has no network. What it has is listed in
sittings/packages.txt; all else that ccfs, papermill and a kernel ask for is downloaded
in the versions of this environment, for its Python. There:

    python3 -m pip install -q --no-index --no-deps --target /tmp/site .gpu/whl/*.whl
    PYTHONPATH=/tmp/site:$PWD python3 workflow/sitting.py --out $OUT
"""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
THERE = HERE / "sittings" / "packages.txt"
PROJECT = HERE.parent / "pyproject.toml"  # the library travels with the working tree
CHAPTER = ("papermill", "ipykernel")  # what executes one
PYTHON = "3.12"
MARKERS = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.3", "extra": ""}
MARKERS |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
MARKERS |= {"platform_machine": "x86_64", "implementation_name": "cpython"}
PLATFORMS = (*(f"manylinux_2_{n}_x86_64" for n in (28, 27, 17)), "manylinux2014_x86_64")
LIMIT = 64 * 2**20  # bytes that travel in one call, the working tree among them


def lacking(roots: Iterable[str], there: set[str]) -> dict[str, str]:
    """List the roots, and what they need, that `there` does not name: name -> version.

    What is there brings its needs itself. Names are canonical, versions those of this
    environment, which has to have all of it.
    """
    found, todo = {}, list(roots)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found or name in there:
            continue
        package = distribution(name)
        found[name] = package.version
        for line in package.requires or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate(MARKERS):
                todo.append(wanted.name)
    return dict(sorted(found.items()))


def roots() -> list[str]:
    """Name what the library asks for, and what executes a chapter."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    return [*(Requirement(line).name for line in project["dependencies"]), *CHAPTER]


def packages(path: Path) -> set[str]:
    """Read names of packages, one a line."""
    return set(map(canonicalize_name, path.read_text("utf-8").split()))


def download(pins: dict[str, str], out: Path) -> int:
    """Download the wheels; return their bytes."""
    how = ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    how += ["--python-version", PYTHON, "-d", str(out)]
    how += [word for name in PLATFORMS for word in ("--platform", name)]
    wanted = [f"{name}=={version}" for name, version in pins.items()]
    command = [sys.executable, "-m", "pip", "-q", "download", *how, *wanted]
    subprocess.run(command, check=True)
    return sum(path.stat().st_size for path in out.glob("*.whl"))


def main() -> None:
    """Print what is lacking; with --out, download it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--there", type=Path, default=THERE, help="names, one a line")
    parser.add_argument("--out", type=Path, help="folder for the wheels")
    args = parser.parse_args()
    pins = lacking(roots(), packages(args.there))
    print(*(f"{name}=={version}" for name, version in pins.items()), sep="\n")
    if args.out:
        size = download(pins, args.out)
        print(f"{len(pins)} wheels, {size / 2**20:.1f} of {LIMIT / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
