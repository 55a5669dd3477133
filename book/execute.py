"""papermill runs the notebooks: the only executor, each page once until it is stale."""

import json
import logging
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import papermill
import svg
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from pages import ROOT, Page, folder, has, manifest, pages, recipe, texts

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import portable

# No progress bars in outputs, and arithmetic that does not follow the machine: one
# thread and the same vector width everywhere, so that equal code gives equal pages.
ENVIRONMENT = {
    "CCFS_PROGRESS": "0",
    "OMP_NUM_THREADS": "1",
    **portable.ENVIRONMENT,
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's python3, not the user's
}


EXERCISES = "## Exercises\n\n"


def environment(root: Path = ROOT) -> dict[str, str]:
    """Return the environment of every kernel, started by this runner or by nbval."""
    home = root / "_build" / "ipython"
    config = home / "profile_default" / "ipython_kernel_config.py"
    if not config.exists():  # ipykernel 7 announces its TCP port on stderr otherwise
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("c = get_config()\nc.IPKernelApp.log_level = 40\n")
    return {**os.environ, **ENVIRONMENT, "IPYTHONDIR": str(home)}


def execute(name: str, force: bool = False, root: Path = ROOT) -> None:
    """Execute the pages of a run that are not up to date, one per core at a time.

    The manifest is written after every page, so an interrupted run goes on where it
    was. Raises InputError with one sentence for a cell that fails.
    """
    os.environ.update(environment(root))
    # It warns of parameters that only the library has; `pages` has checked them.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    wanted, known = pages(name, root), manifest(name, root)
    for stray in set(folder(name, root).glob("*.ipynb")) - {p.path for p in wanted}:
        stray.unlink()  # such as a phase that the run no longer has
    todo = []
    for page in wanted:
        now, before = recipe(page), known.get(page.path.stem, {})
        if not force and page.path.exists() and now.items() <= before.items():
            print(f"{page.name}: up to date", flush=True)
        else:
            todo.append((page, now))
    # Pages share stages through the store, whose locks let each be computed once.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        jobs = {pool.submit(_timed, page, root): (page, now) for page, now in todo}
        for job in as_completed(jobs):
            if job.exception() is not None:
                pool.shutdown(wait=True, cancel_futures=True)
            (page, now), seconds = jobs[job], job.result()
            known[page.path.stem] = now | {"seconds": seconds}
            stems = [p.path.stem for p in wanted if p.path.stem in known]
            text = json.dumps({stem: known[stem] for stem in stems}, indent=1)
            _write(folder(name, root) / "manifest.json", text + "\n")
            print(f"{page.name}: {seconds} s", flush=True)


def _timed(page: Page, root: Path) -> float:
    started = time.perf_counter()
    _execute(page, root)
    return round(time.perf_counter() - started, 1)


def refresh(root: Path = ROOT) -> None:
    """Execute the notebooks in place, with their own parameters: the outputs in git."""
    os.environ.update(environment(root))
    for path in sorted(root.glob("notebooks/*.ipynb")):
        _execute(Page("notebooks", path, path, {}, True), root)
        print(path.relative_to(root), flush=True)


def _execute(page: Page, root: Path) -> None:
    raw = root / "_build" / "executing" / page.run / page.path.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            page.notebook,
            raw,
            page.parameters,
            kernel_name="python3",
            cwd=root / "notebooks",
            progress_bar=sys.stderr.isatty(),
        )
    except papermill.PapermillExecutionError as error:
        raise InputError(
            f"{page.name}: cell [{error.exec_count}] raised {error.ename}: "
            f"{error.evalue} (the notebook so far: {raw})"
        ) from None
    except DeadKernelError:
        raise InputError(
            f"{page.name}: the kernel was killed, most often for want of memory "
            f"(the notebook so far: {raw})"
        ) from None
    page.path.parent.mkdir(parents=True, exist_ok=True)
    done = tidy(nbformat.read(raw, 4))
    if page.committed and page.run != "notebooks":
        done = light(done)
    _write(page.path, nbformat.writes(done) + "\n")
    raw.unlink()


def replay(name: str, root: Path = ROOT) -> None:
    """Execute pages that are kept in git from what is shipped; train nothing.

    A cell that would need a training keeps the output of its last execution, and an
    exercise that would need one is left out. The manifest lists the cells that were
    kept. Raises InputError for a cell that fails otherwise, or has no earlier output.
    """
    os.environ.update(environment(root))
    logging.getLogger("papermill").setLevel(logging.ERROR)  # as in `execute`
    known = manifest(name, root)
    for page in pages(name, root):
        started, before = time.perf_counter(), _former(page)
        kept = _replay(page, before, root)
        seconds = round(time.perf_counter() - started, 1)
        known[page.path.stem] = recipe(page) | {"seconds": seconds}
        known[page.path.stem] |= {"kept": kept} if kept else {}
        text = json.dumps(known, indent=1)
        _write(folder(name, root) / "manifest.json", text + "\n")
        print(f"{page.name}: {seconds} s, {len(kept)} cells kept", flush=True)


def _former(page: Page) -> dict[str, list]:
    """Map the code of a page as it is to its outputs."""
    if not page.path.exists():
        return {}
    cells = nbformat.read(page.path, 4).cells
    return {c.source: c.outputs for c in cells if c.cell_type == "code"}


def _replay(page: Page, before: dict[str, list], root: Path) -> list[int]:
    """Execute a page, all cells whatever fails; return the numbers of those kept."""
    raw = root / "_build" / "executing" / page.run / page.path.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    given = {"parameters": page.parameters, "progress_bar": False}
    papermill.execute_notebook(page.notebook, raw, prepare_only=True, **given)
    shown = nbformat.read(raw, 4)
    client = NotebookClient(shown, timeout=None, kernel_name="python3")
    client.allow_errors = True
    forbidden = {**environment(root), "CCFS_TRAIN": "0"}  # in the kernel alone
    client.execute(cwd=str(root / "notebooks"), env=forbidden)
    kept = _keep(page, shown, before)
    page.path.parent.mkdir(parents=True, exist_ok=True)
    _write(page.path, nbformat.writes(light(tidy(shown))) + "\n")
    raw.unlink()
    return kept


def _keep(page: Page, shown: NotebookNode, before: dict[str, list]) -> list[int]:
    """Put earlier outputs where a training was wanted; leave such exercises out."""
    kept, without, lacking = [], set(), False
    for number, cell in enumerate(shown.cells):
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if not errors:
            continue
        wanted = any("CCFS_TRAIN" in o.evalue for o in errors)
        lacking = lacking or wanted
        # What such a cell would have computed is missing in those that follow.
        if not wanted and not (lacking and errors[0].ename == "NameError"):
            raise InputError(f"{page.name}: {errors[0].ename}: {errors[0].evalue}")
        if has(cell, "exercise"):
            without |= {number - 1, number}
        elif cell.source in before:
            cell.outputs = before[cell.source]
            kept.append(number)
        else:
            raise InputError(f"{page.name}: cell {number} needs a training")
    shown.cells = [c for i, c in enumerate(shown.cells) if i not in without]
    _number(shown.cells)
    return kept


def _number(cells: list[NotebookNode]) -> None:
    """Number the exercises that are left, under their heading."""
    left = [c for c in cells if has(c, "exercise") and c.cell_type == "markdown"]
    for number, cell in enumerate(left, 1):
        text = cell.source.removeprefix(EXERCISES)
        text = re.sub(r"^\*\*\d\.\*\*", f"**{number}.**", text)
        cell.source = (EXERCISES if number == 1 else "") + text


def sync(names: list[str], root: Path = ROOT) -> None:
    """Copy prose, captions and tags of the notebooks into pages that are kept in git.

    Prose needs no training. Raises InputError for a page whose code is another one.
    """
    for page in (page for name in names for page in pages(name, root)):
        if page.path.exists():
            synced = follow(nbformat.read(page.path, 4), page)
            _write(page.path, nbformat.writes(tidy(synced)) + "\n")


def follow(shown: NotebookNode, page: Page) -> NotebookNode:
    """Return an executed page with the prose, captions and tags of its notebook.

    Exercises that were not executed with it are left out. Raises InputError if the page
    has other code.
    """
    source = nbformat.read(page.notebook, 4)
    if texts(shown, code_only=True) != texts(source, code_only=True):
        raise InputError(f"{page.name} has other code than its notebook: execute it")
    injected = [c for c in shown.cells if has(c, "injected-parameters")]
    ran = {c.source: c for c in shown.cells if c.cell_type == "code"}
    without = {
        n
        for i, c in enumerate(source.cells)
        if c.cell_type == "code" and has(c, "exercise") and c.source not in ran
        for n in (i - 1, i)
    }
    cells = []
    for i, cell in enumerate(source.cells):
        if i in without:
            continue
        if cell.cell_type == "code":
            cell = nbformat.from_dict(ran[cell.source] | {"metadata": cell.metadata})
        cells += [cell, *(injected if has(cell, "parameters") else ())]
    _number(cells)
    shown.cells = cells
    return shown


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Take out what differs between equal executions: times, versions, random ids."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        if has(cell, "injected-parameters"):  # the stamp has them
            cell.metadata["tags"] = ["injected-parameters", "remove-input"]
        for noise in ("papermill", "execution"):
            cell.metadata.pop(noise, None)
    return notebook


def light(notebook: NotebookNode) -> NotebookNode:
    """Pack every drawing: git holds these pages, and pixels show it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if drawing := output.get("data", {}).get("image/svg+xml"):
                output["data"]["image/svg+xml"] = svg.pack(drawing)
    return notebook


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
