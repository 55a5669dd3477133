"""What must not be shown.

Sphinx trusts whatever a notebook stores: an error output, a cell that never ran, or a
result of last month's library builds without a warning.
"""

from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from pages import ROOT, Page, manifest, pages, recipe, texts


def problems(name: str, root: Path = ROOT) -> Iterator[str]:
    """Say, one sentence per page, why a run must not be shown; nothing if it may be.

    A run that is kept in git may be older than the library (see `notes`) and its prose
    may be; its code must be that of the notebook. If nobody made it, it has no pages.
    """
    known, wanted = manifest(name, root), pages(name, root)
    if all(page.committed and not page.path.exists() for page in wanted):
        return
    for page in wanted:
        if fault := _fault(page, known.get(page.path.stem, {})):
            again = f"python book/build.py execute --run {name} --force"
            yield f"{page.name} {fault}: {again}"


def notes(name: str, root: Path = ROOT) -> Iterator[str]:
    """Say what is worth knowing of a run that is kept in git, without refusing it."""
    known = manifest(name, root)
    for page in pages(name, root):
        library = known.get(page.path.stem, {}).get("library")
        if page.committed and page.path.exists() and library != recipe(page)["library"]:
            yield f"{page.name} was executed with another state of ccfs_lib"


def _fault(page: Page, known: dict) -> str | None:
    if not page.path.exists():
        return "has not been executed"
    shown, source = nbformat.read(page.path, 4), nbformat.read(page.notebook, 4)
    if fault := _unfinished(shown):
        return fault
    if texts(shown, page.committed) != texts(source, page.committed):
        return f"shows another text than {page.notebook.name}"
    wanted = {"parameters": page.parameters} if page.committed else recipe(page)
    if not wanted.items() <= known.items():
        return "is older than the library or its parameters"
    return None


def _unfinished(notebook: NotebookNode) -> str | None:
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    for number, cell in enumerate(code, 1):
        if any(output.output_type == "error" for output in cell.outputs):
            return f"holds an error in code cell {number}"
        if cell.execution_count is None:
            return f"has a code cell, number {number}, that was never executed"
    return None
