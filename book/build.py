"""The book: `python book/build.py COMMAND`.

execute: papermill runs the notebooks of a run; pages that are up to date stay.
html:    the generated text, then Jupyter Book with warnings as errors.
check:   refuses stale, failed or unexecuted pages, one sentence each.
all:     execute the runs that are not kept in git, check, html.
pdf:     the pages of html, printed into one file; they are built where there are none.
replay:  executes pages that are kept in git from what is shipped, without training.
refresh: executes notebooks/ in place, for whoever changes them.
sync:    copies their prose, captions and tags into pages that are kept in git.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import checks
import execute
import generate
import nbformat
import pdf
import yaml
from pages import ROOT, Page, declared, pages
from pages import check as check_parameters

from ccfs_lib.errors import InputError


def toc(root: Path = ROOT) -> dict:
    """Return _toc.yml without pages that do not exist, with the runs it does not know.

    So a reader's own run in book/runs.yaml needs no second entry, and a clone builds
    before every run has been made.
    """
    contents = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    files = [c["file"] for part in contents["parts"] for c in part["chapters"]]
    known = {file.split("/")[2] for file in files if file.startswith("book/runs/")}
    extra = [
        {"caption": run["title"], "chapters": [chapter(p, root) for p in existing]}
        for name, run in declared(root).items()
        if name not in known and (existing := pages(name, root))
    ]
    parts = [*contents["parts"][:-1], *extra, contents["parts"][-1]]
    for part in parts:
        part["chapters"] = [c for c in part["chapters"] if _exists(c["file"], root)]
    return contents | {"parts": [part for part in parts if part["chapters"]]}


def chapter(page: Page, root: Path = ROOT) -> dict:
    """Write a page's entry of the navigation: its number, and its title or phase."""
    title, phase = heading(page.notebook), page.parameters.get("phase")
    title = title if phase is None else f"Phase {phase}"
    file = page.path.relative_to(root).with_suffix("").as_posix()
    return {"file": file, "title": f"{int(page.path.stem[:2])}. {title}"}


def heading(notebook: Path) -> str:
    """Read the title of a notebook: the first line of its first cell."""
    first = nbformat.read(notebook, 4).cells[0].source
    return first.partition("\n")[0].lstrip("# ").strip()


def _exists(file: str, root: Path) -> bool:
    return any((root / f"{file}{suffix}").exists() for suffix in (".md", ".ipynb"))


def html(root: Path = ROOT) -> Path:
    """Write the generated text and build _build/html; return its front page.

    Always all pages: Sphinx warns only about pages that it reads, so an incremental
    build forgets the warnings of the one before. Raises InputError if anything warns.
    """
    generate.write(root)
    contents = root / "_build" / "_toc.yml"
    contents.parent.mkdir(exist_ok=True)
    # What a build that broke off has left, and a file where a folder should be.
    for left in (root / "_build").glob("html"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    contents.write_text(yaml.safe_dump(toc(root), sort_keys=False), "utf-8")
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", root, "--toc", contents, "--all", "--quiet"]
    command += ["--warningiserror", "--nitpick", "--keep-going"]
    page = root / "_build" / "html" / "book" / "index.html"
    plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
    status = subprocess.run(command, cwd=root, env=os.environ | plain).returncode
    if status or not page.exists():
        raise InputError("the book has warnings, and they count as errors: see above")
    return page


def check(names: list[str], root: Path = ROOT) -> None:
    """Print what is wrong with the executed pages; raise InputError if anything is."""
    for name in names:
        for note in checks.notes(name, root):
            print(f"note: {note}")
    if faults := [p for name in names for p in checks.problems(name, root)]:
        raise InputError("\n".join(faults))


def main(arguments: list[str] | None = None) -> None:
    """Run one command; a wrong input is one sentence and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = ("execute", "html", "check", "all", "pdf", "refresh", "replay", "sync")
    parser.add_argument("command", choices=commands)
    parser.add_argument("--run", help="a run of book/runs.yaml, or all", default="")
    parser.add_argument("--force", action="store_true", help="execute again regardless")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        if options.command == "refresh":
            return execute.refresh()
        known = declared()
        uncommitted = [name for name, run in known.items() if not run["committed"]]
        chosen = {"all": list(known), "": uncommitted}.get(options.run, [options.run])
        if options.command == "replay":
            return [execute.replay(n) for n in chosen if known[n]["committed"]]
        if options.command == "sync":
            return execute.sync([n for n in known if n not in uncommitted])
        if options.command in ("execute", "all"):
            for name in chosen:  # all of them, before the first is executed
                check_parameters(name)
            for name in chosen:
                execute.execute(name, options.force)
        if options.command in ("check", "all"):
            check(list(known) if options.run in ("", "all") else chosen)
        if options.command in ("html", "all"):
            page = html()
            print(f"{page} ({time.perf_counter() - started:.0f} s)")
        if options.command == "pdf":
            if not (ROOT / "_build" / "html" / "book" / "index.html").exists():
                html()
            print(f"{pdf.pdf()} ({time.perf_counter() - started:.0f} s)")
    except InputError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
