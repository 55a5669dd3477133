"""The pages of the book: which run has which, and what each one is made of."""

import hashlib
import json
import re
from ast import literal_eval
from dataclasses import dataclass, fields
from pathlib import Path

import nbformat
import papermill
import yaml
from nbformat import NotebookNode

import ccfs_lib
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import (
    SHORTHANDS,
    Experiment,
    from_notebook,
    preset,
    section3,
)

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"title", "scale", "committed", "parameters"}
# Parameters of an experiment; a chapter may have others.
OF_EXPERIMENT = {*(f.name for f in fields(Experiment)), *SHORTHANDS, "reading"}


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


class Once(yaml.SafeLoader):
    """YAML in which a name may stand once: PyYAML's own takes the last one's value."""

    def construct_mapping(self, node, deep=False):
        """Make a dict; ConstructorError where a name is there twice."""
        names = [key.value for key, _ in node.value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def declared(root: Path = ROOT) -> dict[str, dict]:
    """Read book/runs.yaml: title, scale, committed, parameters, notebooks of a run.

    Raises InputError for what is no declaration of a run, or names no notebook.
    """
    try:
        text = (root / "book" / "runs.yaml").read_text("utf-8-sig")
        runs = yaml.load(text, Once) or {}
    # The others: bytes that are no UTF-8, a date that is none, lists in lists in lists.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"book/runs.yaml is no YAML: {reason}") from None
    if not isinstance(runs, dict):
        raise InputError("book/runs.yaml is no list of names and their runs")
    for name, run in runs.items():
        if fault := _fault(name, run, root):
            raise InputError(f"book/runs.yaml: run {name!r} {fault}")
    return runs


def _fault(name, run, root: Path) -> str:
    """Say what is wrong with a declared run; "" if nothing is."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.=+-]*", name, re.ASCII):
        return "must be called by letters, digits and _ . = + -: it names a folder"
    if not isinstance(run, dict) or (set(run) - {"notebooks"}) ^ FIELDS:
        odd = (set(run if isinstance(run, dict) else ()) - {"notebooks"}) ^ FIELDS
        wanted = ", ".join(sorted(FIELDS))
        return f"has or lacks {', '.join(sorted(odd))}; it needs exactly {wanted}"
    if not all(isinstance(run[field], str) for field in ("title", "scale")):
        return "has a title or scale that is no text"
    if not isinstance(run["parameters"] or {}, dict):
        return f"has parameters {run['parameters']!r}, but they are names and values"
    if not isinstance(run["committed"], bool):
        return f"has committed {run['committed']!r}, but it is true or false"
    known = [path.stem for path in sorted(root.glob("notebooks/*.ipynb"))]
    listed = run.get("notebooks", known)
    if not isinstance(listed, list) or not listed:
        return f"has notebooks {listed!r}, but they are a list of some"
    if unknown := [stem for stem in listed if stem not in known]:
        return f"lists notebook {unknown[0]!r}; there are {', '.join(known)}"
    return ""


def check(name: str, root: Path = ROOT) -> None:
    """Raise InputError where a notebook of a run would refuse its parameters.

    Every notebook is asked what it asks itself, before the first of them is executed.
    """
    defaults = _notebooks(root)
    for page in pages(name, root):
        cells = nbformat.read(page.notebook, 4).cells
        code = "\n".join(c.source for c in cells if c.cell_type == "code")
        if "from_notebook(" not in code:
            continue
        other = re.search(r"experiment\.section3 import .*from_notebook", code)
        read = section3.from_notebook if other else from_notebook
        needs = re.findall(r'from_notebook\(globals\(\), "(.*)"\)', code)
        try:
            read(defaults[page.notebook] | page.parameters, *needs)
        except InputError as error:
            raise InputError(
                f"book/runs.yaml: run {name!r} cannot have {page.notebook.stem}: "
                f"{error}; leave the parameter out, or list its notebooks"
            ) from None


def experiment(name: str, root: Path = ROOT) -> Experiment:
    """Return the experiment that a declared run is about, as its notebooks see it.

    That is: their own defaults, then the run's parameters. Raises InputError for an
    unknown run, a parameter that neither a notebook nor the library has (papermill
    would only warn), or a value that the library refuses.
    """
    runs = declared(root)
    if name not in runs:
        raise InputError(f"run is {name!r}; book/runs.yaml has {', '.join(runs)}, all")
    given, defaults, names = runs[name]["parameters"] or {}, {}, {*OF_EXPERIMENT}
    for parameters in _notebooks(root).values():
        defaults |= {k: v for k, v in parameters.items() if v is not None}
        names |= {*parameters}
    known = sorted(names - {"phase"})
    if unknown := sorted(set(given) - set(known)):
        raise InputError(
            f"book/runs.yaml: run {name!r} sets {unknown[0]}, which is no parameter; "
            f"there are {', '.join(known)}"
        )
    # A chapter's own parameters, such as its phase, are none of the experiment.
    return preset(
        **{k: v for k, v in {**defaults, **given}.items() if k in OF_EXPERIMENT}
    )


def pages(name: str, root: Path = ROOT) -> list[Page]:
    """List the pages of a declared run: one per notebook, or one per phase.

    Raises InputError as `experiment`.
    """
    setting, notebooks = experiment(name, root), _notebooks(root)
    run = declared(root)[name]
    # A notebook gets the parameters that it has, and all those of the experiment: one
    # chapter that declares `image_size` must not take it from the others.
    phases = range(1, (setting.curricula if setting.real else 0) + 1)
    result = []
    for notebook, has in notebooks.items():
        if notebook.stem not in run.get("notebooks", [notebook.stem]):
            continue
        given = (run["parameters"] or {}).items()
        values = {k: v for k, v in given if k in has or k in OF_EXPERIMENT}
        for phase in phases if "phase" in has else [None]:
            stem = notebook.stem if phase is None else f"{notebook.stem}_{phase}"
            parameters = values if phase is None else values | {"phase": phase}
            path = folder(name, root) / f"{stem}.ipynb"
            result.append(Page(name, notebook, path, parameters, run["committed"]))
    return result


def _notebooks(root: Path) -> dict[Path, dict]:
    """Read the notebooks in order, with the defaults of their parameters."""
    return {
        path: {
            name: literal_eval(parameter["default"])
            for name, parameter in papermill.inspect_notebook(path).items()
        }
        for path in sorted(root.glob("notebooks/*.ipynb"))
    }


def folder(name: str, root: Path = ROOT) -> Path:
    """Return the folder of a run's pages."""
    return root / "book" / "runs" / name


def manifest(name: str, root: Path = ROOT) -> dict[str, dict]:
    """Read what a run's pages were made of, by file stem; {} where nothing is known."""
    try:
        return json.loads((folder(name, root) / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def recipe(page: Page) -> dict:
    """Collect all that a page depends on: text of its notebook, parameters, library."""
    text = json.dumps(texts(nbformat.read(page.notebook, 4)))
    source = hashlib.sha256(text.encode()).hexdigest()
    return {"source": source, "parameters": page.parameters, "library": library_hash()}


def texts(notebook: NotebookNode, code_only: bool = False) -> list[tuple[str, str]]:
    """List a notebook's cells, (type, text), without the one that papermill adds.

    code_only: of code, what a page's results come from: exercises come after them.
    """
    return [
        (cell.cell_type, cell.source)
        for cell in notebook.cells
        if not has(cell, "injected-parameters")
        and not (code_only and (cell.cell_type != "code" or has(cell, "exercise")))
    ]


def has(cell: NotebookNode, tag: str) -> bool:
    """Return whether a cell has a tag."""
    return tag in cell.metadata.get("tags", [])


def library_hash() -> str:
    """Compute sha256 over every module of the library: names and contents."""
    package, total = Path(ccfs_lib.__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(path.relative_to(package).as_posix().encode() + b"\0")
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()
