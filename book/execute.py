"""Executed copies of the notebooks: which pages a run has, executing them, checking them.

Sphinx trusts whatever a notebook stores: an error output, a cell that never ran or a
result of last month's library builds without a warning. So papermill is the only
executor, a manifest remembers what every page was made of, and `problems` refuses.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import yaml
from nbformat import NotebookNode

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, preset

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"title", "scale", "committed", "parameters"}
# No progress bars in outputs, and arithmetic that does not follow the machine: one
# thread and the same vector width everywhere, so that equal code gives equal pages.
ENVIRONMENT = {
    "CCFS_PROGRESS": "0",
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's python3, not the user's
}


@dataclass(frozen=True)
class Page:
    """One executed copy of a notebook in a run."""

    run: str
    notebook: Path  # the source, notebooks/NN_name.ipynb
    path: Path  # the copy, book/runs/<run>/NN_name[_phase].ipynb
    parameters: dict
    committed: bool  # kept in git, not executed again by `make book`

    @property
    def name(self) -> str:
        """As sentences call it: digits/05_evaluation."""
        return f"{self.run}/{self.path.stem}"


def environment(root: Path = ROOT) -> dict[str, str]:
    """The environment of every kernel, whoever starts it (runner or nbval)."""
    home = root / "_build" / "ipython"
    config = home / "profile_default" / "ipython_kernel_config.py"
    if not config.exists():  # ipykernel 7 announces its TCP port on stderr otherwise
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("c = get_config()\nc.IPKernelApp.log_level = 40\n")
    return {**os.environ, **ENVIRONMENT, "IPYTHONDIR": str(home)}


def declared(root: Path = ROOT) -> dict[str, dict]:
    """The runs of book/runs.yaml, name -> title, scale, committed, parameters."""
    runs = yaml.safe_load((root / "book" / "runs.yaml").read_text("utf-8")) or {}
    for name, run in runs.items():
        if odd := set(run) ^ FIELDS:
            raise InputError(
                f"book/runs.yaml: run {name!r} has or lacks {', '.join(sorted(odd))}; "
                f"it needs exactly {', '.join(sorted(FIELDS))}"
            )
    return runs


def experiment(run: dict) -> Experiment:
    """The experiment that a declared run is about; raises InputError for bad values."""
    return preset(**(run["parameters"] or {}))


def pages(name: str, root: Path = ROOT) -> list[Page]:
    """The pages of a declared run: one per notebook, one per phase where it has one.

    Raises InputError for an unknown run, a parameter that no notebook has (papermill
    would only warn), or a value that the library refuses.
    """
    runs, found, known = declared(root), [], set()
    if name not in runs:
        raise InputError(f"run is {name!r}; book/runs.yaml has {', '.join(runs)}, all")
    run, given = runs[name], runs[name]["parameters"] or {}
    notebooks = {
        path: _parameters(path) for path in sorted(root.glob("notebooks/*.ipynb"))
    }
    known = set().union(*notebooks.values()) - {"phase"}
    if unknown := sorted(set(given) - known):
        raise InputError(
            f"book/runs.yaml: run {name!r} sets {unknown[0]}, but no notebook has that "
            f"parameter; they have {', '.join(sorted(known))}"
        )
    setting = experiment(run)
    phases = range(1, (setting.curricula if setting.real else 0) + 1)
    for notebook, has in notebooks.items():
        values = {k: v for k, v in given.items() if k in has}
        for phase in phases if "phase" in has else [None]:
            stem = notebook.stem if phase is None else f"{notebook.stem}_{phase}"
            own = values if phase is None else values | {"phase": phase}
            path = root / "book" / "runs" / name / f"{stem}.ipynb"
            found.append(Page(name, notebook, path, own, run["committed"]))
    return found


def execute(name: str, force: bool = False, root: Path = ROOT) -> None:
    """Execute the pages of a run that are not up to date, one after another.

    A manifest is written after every page, so an interrupted run goes on where it was.
    """
    os.environ.update(environment(root))
    wanted, manifest, library = pages(name, root), _manifest(name, root), library_hash()
    for stray in {*(root / "book/runs" / name).glob("*.ipynb")}:
        if stray not in {page.path for page in wanted}:
            stray.unlink()  # a phase that the run no longer has
    for page in wanted:
        recipe = _recipe(page, library)
        old = manifest.get(page.path.stem, {})
        if not force and page.path.exists() and recipe.items() <= old.items():
            print(f"{page.name}: up to date", flush=True)
            continue
        started = time.perf_counter()
        _execute(page, root)
        seconds = round(time.perf_counter() - started, 1)
        manifest[page.path.stem] = recipe | {"seconds": seconds}
        kept = {p.path.stem: manifest.get(p.path.stem) for p in wanted}
        text = json.dumps({k: v for k, v in kept.items() if v}, indent=1) + "\n"
        _write(page.path.with_name("manifest.json"), text)
        print(f"{page.name}: {seconds} s", flush=True)


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
            f"{page.name}: cell {error.exec_count} raised {error.ename}: "
            f"{error.evalue} (the notebook so far: {raw})"
        ) from None
    page.path.parent.mkdir(parents=True, exist_ok=True)
    _write(page.path, nbformat.writes(tidy(nbformat.read(raw, 4))) + "\n")
    raw.unlink()


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Take out what differs between equal executions: times, random cell ids."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for noise in ("papermill", "execution"):
            cell.metadata.pop(noise, None)
    return notebook


def problems(name: str, root: Path = ROOT) -> Iterator[str]:
    """Say, one sentence per page, why a run must not be shown; nothing if it may be."""
    manifest, library = _manifest(name, root), library_hash()
    wanted = pages(name, root)
    if wanted and wanted[0].committed and not any(p.path.exists() for p in wanted):
        return  # a run that nobody has made yet is no page of the book
    for page in wanted:
        again = f"python book/build.py execute --run {page.run}"
        if not page.path.exists():
            yield f"{page.name} has not been executed: {again}"
            continue
        made, source = nbformat.read(page.path, 4), nbformat.read(page.notebook, 4)
        if fault := _fault(made):
            yield f"{page.name}: {fault}: {again} --force"
        elif _cells(made, page.committed) != _cells(source, page.committed):
            yield f"{page.name} shows another text than {page.notebook.name}: {again}"
        elif not _same(page, library, manifest.get(page.path.stem, {})):
            yield f"{page.name} is older than the library or its parameters: {again}"


def _same(page: Page, library: str, made: dict) -> bool:
    """Whether a page is what its manifest should say; see `notes` for committed ones."""
    if page.committed:
        return made.get("parameters") == page.parameters
    return _recipe(page, library).items() <= made.items()


def notes(name: str, root: Path = ROOT) -> Iterator[str]:
    """What a reader of a committed run should know, without refusing it."""
    manifest, library = _manifest(name, root), library_hash()
    for page in pages(name, root):
        made = manifest.get(page.path.stem, {})
        if page.committed and page.path.exists() and made.get("library") != library:
            yield f"{page.name} was executed with an earlier state of ccfs_lib"


def _fault(notebook: NotebookNode) -> str | None:
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    for number, cell in enumerate(code, 1):
        if any(output.output_type == "error" for output in cell.outputs):
            return f"code cell {number} holds an error"
        if cell.execution_count is None:
            return f"code cell {number} was never executed"
    return None


def _cells(notebook: NotebookNode, code_only: bool) -> list[tuple[str, str]]:
    """The text of a notebook, without the cell that papermill adds."""
    return [
        (cell.cell_type, cell.source)
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
        and (cell.cell_type == "code" or not code_only)
    ]


def _recipe(page: Page, library: str) -> dict:
    text = json.dumps(_cells(nbformat.read(page.notebook, 4), False))
    source = hashlib.sha256(text.encode()).hexdigest()
    return {"source": source, "parameters": page.parameters, "library": library}


def library_hash() -> str:
    """sha256 over every module of the library: names and contents."""
    import ccfs_lib

    folder, total = Path(ccfs_lib.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0")
        total.update(path.read_bytes())
    return total.hexdigest()


def _parameters(notebook: Path) -> set[str]:
    return set(papermill.inspect_notebook(notebook))


def _manifest(name: str, root: Path) -> dict:
    try:
        return json.loads((root / "book/runs" / name / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
