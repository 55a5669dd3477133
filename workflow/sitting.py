"""One sitting on a borrowed machine: in a few minutes, what is worth most and fits.

    python workflow/sitting.py --minutes 9 --out DIR [--from DIR] [--plan FILE]

The machine is bare: no network, a command of ten minutes, files of 16 MB that come
back. A plan lists runs in order of worth. Five seconds of calibration and the forecast
decide which cells fit; they train side by side in one queue, the first of the plan
first. A finished cell is filed at once. At the end papermill executes a chapter with
what is finished (its kernel: `wheels.py`). What is worth keeping goes into pieces below
15 MB with a manifest, and the next sitting continues there (``--from``).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).parent
PLAN = HERE / "sittings" / "h100.yaml"
HOME = Path(tempfile.gettempdir()) / "ccfs-sitting"  # a warm machine continues here
MOST = 15_000_000  # bytes of a piece
FILES = 8  # that come back: pieces, manifest, rows and speed table
TEACHER = "teacher"  # in place of an arm: teacher and distilled images alone
ROW = "row:"  # before a row of Table 1, in place of an arm: under CCFS's teacher
clock = time.monotonic


# -- the plan --------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One entry of a plan: a speed table, arms x seeds of an experiment, a chapter.

    An arm may be TEACHER, or a row of Table 1 after ROW.
    """

    name: str
    arms: tuple[str, ...] = ()
    experiment: object = None  # None: a speed table
    speed: dict = field(default_factory=dict)
    chapter: str = ""  # a notebook's name, to be executed with these settings
    settings: dict = field(default_factory=dict)


def read_plan(path: Path) -> list[Item]:
    """Read a plan; raises InputError for a setting that cannot be.

    YAML in its JSON form, lines that begin with # are comments: a machine without a
    YAML reader has a JSON one.
    """
    from plan import experiment

    from ccfs_lib.arms import parse
    from ccfs_lib.errors import InputError

    lines = path.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InputError(f"plan {path} is not YAML in JSON form: {error}") from None
    items = []
    for entry in entries:
        settings = dict(entry)
        name = settings.pop("name")
        if "speed" in settings:
            items.append(Item(name, speed=settings["speed"]))
            continue
        chapter = settings.pop("chapter", "")
        if chapter:
            settings = dict(_named(entries, settings["of"]))
            _notebook(chapter)
        arms = tuple(settings.pop("arms"))
        if chapter:  # chapters of arms have no rows of Table 1
            arms = tuple(arm for arm in arms if not arm.startswith(ROW))
        e = experiment(settings)
        for arm in set(arms) - {TEACHER}:
            _of_table1(arm) if arm.startswith(ROW) else parse(arm, e)
        items.append(Item(name, arms, e, {}, chapter, settings))
    return items


def _of_table1(arm: str):
    """Return the row of Table 1 that an arm names; None for another arm."""
    from ccfs_lib import table1

    return table1.parse(arm.removeprefix(ROW)) if arm.startswith(ROW) else None


def _named(entries: list[dict], name: str) -> dict:
    """Return the settings of the entry of a plan that has this name."""
    from ccfs_lib.errors import InputError

    for entry in entries:
        if entry["name"] == name and "arms" in entry:
            return {k: v for k, v in entry.items() if k != "name"}
    raise InputError(f"of is {name!r}, but the plan has no experiment of that name")


def _notebook(chapter: str) -> Path:
    from ccfs_lib.errors import InputError

    path = HERE.parent / "notebooks" / f"{chapter}.ipynb"
    if not path.is_file():
        raise InputError(f"chapter is {chapter!r}, but there is no {path}")
    return path


def available(items: list[Item]) -> list[Item]:
    """Return the items whose images and scores are on this machine; name the others."""
    from ccfs_lib.errors import InputError
    from ccfs_lib.pipeline import Pipeline

    here = []
    for item in items:
        try:
            if item.experiment is not None:
                pipeline = Pipeline(item.experiment)
                _ = pipeline.train, pipeline.test
                if item.experiment.score != "forgetting":  # those are trained for
                    _ = pipeline.difficulty
            here.append(item)
        except InputError as error:
            say(f"{item.name} is left out: {error}")
    return here


@contextmanager
def images_read_once():
    """Keep data sets in memory: every cell has its own pipeline, and asks again."""
    from ccfs_lib import data

    load = data.load
    data.load = lru_cache(maxsize=None)(load)
    try:
        yield
    finally:
        data.load = load


@dataclass(frozen=True)
class Cell:
    """An arm with one seed that is not there yet, and its price in seconds."""

    experiment: object
    arm: str
    seed: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.experiment.run} {self.arm} seed {self.seed}"


def finished(experiment, arms) -> dict[tuple, dict]:
    """Return the rows that need no training: (arm, seed) -> row."""
    from ccfs_lib.commands.forecast import Missing, ReadOnlyStore
    from ccfs_lib.pipeline import Pipeline
    from ccfs_lib.runtime import paths

    pipeline = Pipeline(experiment, ReadOnlyStore(paths.cache(), paths.shipped()))
    rows = {}
    for arm in arms:
        for seed in range(experiment.seeds):
            with suppress(Missing):
                rows[arm, seed] = _evaluated(pipeline, arm, seed)
    return rows


def _evaluated(pipeline, arm: str, seed: int) -> dict:
    """Return a row of results of an arm, or of a row of Table 1."""
    from ccfs_lib.table1 import SHARED

    if row := _of_table1(arm):
        return _table(pipeline).evaluate(row, SHARED, seed)
    return pipeline.evaluate(arm, seed)


def _table(pipeline):
    """Return Table 1 of a pipeline's experiment, with its store and deadline."""
    from ccfs_lib.pipeline.table1 import Table1Pipeline

    e, store = pipeline.experiment, pipeline.store
    return Table1Pipeline(e, store=store, deadline=pipeline.trainings.deadline)


def price(items: list[Item], speed_up: float) -> tuple[list[Cell], dict]:
    """List the missing cells in order of worth, and what each experiment shares first.

    speed_up: of trainings side by side here over the forecast's one alone. Returns
    cells, and experiment -> seconds of its teacher and recovered images.
    """
    from ccfs_lib.commands.forecast import forecast

    cells, shared, counted = [], {}, set()
    for item in items:
        e = item.experiment
        if e is None:
            continue
        arms = [arm for arm in item.arms if arm != TEACHER]
        own = [arm for arm in arms if not arm.startswith(ROW)]
        # Rows of Table 1 need the teacher, as random images do; those are not bought.
        bought = counted if own else set(counted)
        priced = forecast([e], own or ["random"], bought, again=True)[e]
        lines, stages = {x.name: x for x in priced}, {}
        for arm in arms:
            if arm not in own:
                lines[arm], more = _priced(e, arm)
                stages |= more
        before = [lines["teacher"], lines["recovered batches"]]
        before += [x for name, x in stages.items() if name != "teacher"]
        shared[e] = shared.get(e, 0.0) + sum(x.seconds for x in before) / speed_up
        if TEACHER in item.arms and any(x.done < x.total for x in before):
            cells.append(Cell(e, TEACHER, 0, 0.0))
        done = finished(e, arms)
        for arm in arms:
            line = lines[arm]
            each = line.seconds / max(line.total - line.done, 1) / speed_up
            left = [n for n in range(e.seeds) if (arm, n) not in done]
            cells += [Cell(e, arm, seed, each) for seed in left]
    return list(dict.fromkeys(cells)), shared


def _priced(experiment, arm: str):
    """Price what is missing of a row of Table 1: its own line, and what rows share."""
    from ccfs_lib.commands.table1_price import row_price
    from ccfs_lib.table1 import SHARED

    return row_price(experiment, _of_table1(arm), SHARED)


def choose(cells: list[Cell], shared: dict, seconds: float) -> list[Cell]:
    """Take the cells that fit into the seconds, in their order; a later one may fit.

    shared: seconds that the first cell of an experiment pays for all of them.
    """
    chosen, paid = [], set()
    for cell in cells:
        e = cell.experiment
        cost = cell.seconds + (0.0 if e in paid else shared.get(e, 0.0))
        if cost <= seconds:
            chosen.append(cell)
            paid.add(e)
            seconds -= cost
    return chosen


# -- the device ------------------------------------------------------------------------


def measured(
    network: str, size: int, batch: int, precision: str, most: int, seconds: float
) -> float:
    """Measure images per second of the KD step, `most` trainings side by side."""
    from concurrent.futures import ThreadPoolExecutor

    from ccfs_lib.runtime.queue import Queue, drain

    device = _device()
    with Queue(most), ThreadPoolExecutor(most) as pool:
        how = network, size, batch, precision, seconds, device
        jobs = [
            pool.submit(drain, lambda n=n: _practice(n, *how), device=device)
            for n in range(most)
        ]
        return sum(job.result() for job in jobs)


def _practice(seed, network, size, batch, precision, seconds, device):
    """Train on random pixels for some seconds: a job; return images per second."""
    import torch

    from ccfs_lib import networks
    from ccfs_lib.experiment import Recipe
    from ccfs_lib.runtime.device import place
    from ccfs_lib.runtime.engines import Graph, engine
    from ccfs_lib.runtime.queue import WAIT
    from ccfs_lib.step import Step

    student, teacher = (
        place(networks.build(network, 10, size, seed=s), device)
        for s in (seed, 99 + seed)
    )
    shape = batch, 3, size, size
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    recipe = Recipe(epochs=1, batch_size=batch, precision=precision)
    draw = torch.Generator(device).manual_seed(seed)
    indices = torch.arange(batch, device=device)
    step = Step(student, images, indices % 10, recipe, draw, teacher.eval())
    step.begin(0)
    run = engine(step)
    for _ in range(1 + Graph.WARM):  # kernels are chosen, the graph is captured
        run(indices)
        yield
    yield WAIT
    start, count = clock(), 0
    while clock() - start < seconds or not count:
        run(indices)
        count += 1
        yield
    yield WAIT
    return count * batch / (clock() - start)


def _device() -> str:
    from ccfs_lib.runtime.device import device

    return device(False)


def calibrate(items: list[Item], most: int, seconds: float = 5.0) -> float:
    """Measure how much faster trainings side by side are than the forecast's one."""
    from ccfs_lib import cost

    e = next((item.experiment for item in items if item.experiment), None)
    if e is None:
        return 1.0
    size = e.image_size or cost.size(e).side
    # Forward images; a step has four.
    alone = cost.rate(e.network, size, _device(), True, e.recipe.precision)
    how = e.network, size, e.recipe.batch_size, e.recipe.precision, most, seconds
    return max(4 * measured(*how) / alone, 0.1)


def speed_table(item: Item, out: Path, deadline: float) -> None:
    """Print and file images per second, alone and side by side."""
    s, rows = item.speed, []
    for batch in s["batch"]:
        for most in s["together"]:
            if clock() > deadline:
                return
            how = s["network"], s["size"], batch, s["precision"], most, s["seconds"]
            rows.append({"batch": batch, "together": most, "rate": measured(*how)})
            say(f"{s['network']} {s['size']} px, {rows[-1]}")
            (out / f"{item.name}.json").write_text(json.dumps(s | {"rows": rows}))


# -- the work --------------------------------------------------------------------------


def work(cells: list[Cell], deadline: float, most: int, out: Path, command: str):
    """Train the cells side by side; file each row when it is there.

    Returns sentences of the cells that failed. Cells that time ran out for are not
    among them: they stay missing.
    """
    from ccfs_lib.errors import InputError, TimeUp
    from ccfs_lib.runtime.workers import executor

    failed = []
    with executor(most, True) as pool:
        jobs = {pool.submit(_row, cell, deadline): cell for cell in cells}
        for job in as_completed(jobs):
            cell = jobs[job]
            try:
                file(cell, job.result(), out, command)
            except TimeUp:
                say(f"{cell}: time is up")
            except (InputError, FloatingPointError, OSError, RuntimeError) as error:
                failed.append(f"{cell}: {type(error).__name__}: {error}")
                say(failed[-1])
    return failed


def _row(cell: Cell, deadline: float) -> dict:
    from ccfs_lib.pipeline import Pipeline

    pipeline = Pipeline(cell.experiment, deadline=deadline)
    if cell.arm == TEACHER:
        pipeline.distilled(cell.experiment.distilled)
        return {"seed": 0, "last": pipeline.teacher.last}
    return _evaluated(pipeline, cell.arm, cell.seed)


def file(cell: Cell, row: dict, out: Path, command: str) -> None:
    """Append a finished cell to rows.jsonl; with its arm's last seed, the results."""
    e, arm = cell.experiment, cell.arm
    with open(out / "rows.jsonl", "a", encoding="utf-8") as lines:
        print(json.dumps({"run": e.run, "arm": arm, **row}), file=lines, flush=True)
    say(f"{cell}: {row['last']:.2f} %")
    if arm != TEACHER and len(finished(e, [arm])) == e.seeds:
        from ccfs_lib.pipeline import Pipeline
        from ccfs_lib.table1 import SHARED

        if row := _of_table1(arm):
            _table(Pipeline(e)).measure(row, SHARED, command)
        else:
            Pipeline(e).measure(arm, command)


def execute(item: Item, folder: Path, seconds: float) -> str:
    """Execute a chapter with the arms that are finished; return what kept it from it.

    The page goes to `folder`. Nothing is trained: what is not finished is not shown.
    """
    done, e = finished(item.experiment, item.arms), item.experiment
    whole = [a for a in item.arms if all((a, n) in done for n in range(e.seeds))]
    if not whole:
        return f"{item.chapter}: no arm of {e.run} has all its seeds"
    if seconds <= 0:
        return f"{item.chapter}: time is up"
    folder.mkdir(parents=True, exist_ok=True)
    notebook, page = _notebook(item.chapter), folder / f"{item.chapter}.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(page)]
    command += ["--kernel", "python3", "--no-progress-bar", "--cwd", str(HERE.parent)]
    command += ["-y", json.dumps(item.settings | {"arms": " ".join(whole)})]
    try:
        how = {"capture_output": True, "text": True, "timeout": seconds}
        run = subprocess.run(command, env=_for_a_kernel(folder), **how)
    except subprocess.TimeoutExpired:
        return f"{item.chapter}: {seconds:.0f} s were not enough"
    last = (run.stderr.strip().splitlines() or ["no reason was given"])[-1]
    return f"{item.chapter}: {last}" if run.returncode else ""


def _for_a_kernel(folder: Path) -> dict[str, str]:
    """Return the environment of a kernel: this library, and no files at home."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    away = folder.parent.parent / "jupyter"
    names = "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"
    away.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **dict.fromkeys(names, str(away)),
        "PYTHONPATH": os.pathsep.join(paths),
    }


# -- what is kept ----------------------------------------------------------------------


def keep(items: list[Item], folder: Path) -> None:
    """Copy what the finished cells were made of into `folder`.

    results/, selected/ (picked indices), artefacts/ (filters' answers, distilled
    images, trainings; of a teacher its answers), teacher/ (weights as float16).
    """
    from ccfs_lib.arms import parse
    from ccfs_lib.commands.ship import Shipping
    from ccfs_lib.data.exchange import write_indices
    from ccfs_lib.errors import InputError
    from ccfs_lib.pipeline import Pipeline
    from ccfs_lib.runtime import paths

    shutil.rmtree(folder, ignore_errors=True)
    if paths.results().is_dir():
        shutil.copytree(paths.results(), folder / "results")
    to = folder / "artefacts"
    store = Shipping(paths.cache(), to, "weights.", paths.shipped())
    for e, arms in _by_experiment(items).items():
        pipeline = Pipeline(e, store)
        with suppress(InputError):
            _teacher(pipeline, folder / "teacher")
        with suppress(InputError):  # images without a finished cell are worth keeping
            pipeline.distilled(e.distilled)
        for arm, seed in finished(e, arms):
            _evaluated(pipeline, arm, seed)
            if arm.startswith(ROW):
                continue
            if parse(arm).needs_phases and parse(arm).strategy:
                path = folder / "selected" / e.run / f"{arm}-seed{seed}.json"
                chosen = pipeline.trainings.numbered(pipeline.chosen(seed, arm))
                write_indices(path, e.ipc, e.alpha, chosen)


def _by_experiment(items: list[Item]) -> dict:
    arms: dict = {}
    for item in items:
        if item.experiment is not None:
            named = [arm for arm in item.arms if arm != TEACHER]
            arms.setdefault(item.experiment, []).extend(named)
    return arms


def _teacher(pipeline, folder: Path) -> None:
    """Write the teacher's weights, if they are here; its answers are an artefact."""
    from ccfs_lib.runtime import weights

    teacher, e = pipeline.teacher, pipeline.experiment
    card = {"key": teacher.key, "network": e.teacher_network, "last": teacher.last}
    card |= {"train": teacher.train_accuracy, "data": pipeline.train.name}
    card |= {"best": teacher.best, "normalisation": pipeline.normalisation}
    card |= {"classes": pipeline.train.classes}
    weights.write(teacher.network.state_dict(), folder / teacher.key, card)


def pack(folder: Path, out: Path) -> tuple[dict[str, str], list[str]]:
    """Put the files below `folder` into tar pieces below 15 MB, the smallest first.

    Results, indices and answers are small; so what does not fit into the pieces that
    come back, beside what else lies in `out`, is images and weights. Returns piece ->
    SHA-256, and the files that were left out.
    """
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=_size)
    groups: list[list[Path]] = [[]]
    used, left = 10_240, []  # a tar ends in blocks of zeros
    for path in files:
        need = 1024 + -(-_size(path) // 512) * 512
        if need + 10_240 > MOST:
            left.append(str(path.relative_to(folder)))
            continue
        if used + need > MOST:
            groups, used = [*groups, []], 10_240
        groups[-1].append(path)
        used += need
    other = {p.name for p in out.iterdir() if not p.name.startswith("piece-")}
    most = FILES - len(other | {"manifest.json"})
    left += [str(p.relative_to(folder)) for group in groups[most:] for p in group]
    sums = {}
    for number, group in enumerate(groups[:most]):
        path = out / f"piece-{number}.tar"
        with tarfile.open(path, "w") as tar:
            for file in group:
                tar.add(file, file.relative_to(folder))
        sums[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return sums, left


def _size(path: Path) -> int:
    return path.stat().st_size


# -- the sitting before ----------------------------------------------------------------


def unpacked(given: Path, home: Path) -> Path:
    """Return the folder of what a sitting kept, its pieces unpacked and verified.

    given: a sitting's --out, or a folder with artefacts/, results/, teacher/. Raises
    InputError for a piece that is missing or damaged.
    """
    from ccfs_lib.errors import InputError

    if not given.is_dir():
        raise InputError(f"--from is '{given}', but there is no such folder")
    if not (given / "manifest.json").is_file():
        return given
    folder = home / "given"
    shutil.rmtree(folder, ignore_errors=True)
    manifest = json.loads((given / "manifest.json").read_text("utf-8"))
    for name, digest in manifest["pieces"].items():
        path = given / name
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(f"{path} is missing or not what the sitting wrote")
        with tarfile.open(path) as tar:
            tar.extractall(folder, filter="data")
    return folder


def restore(given: Path, items: list[Item]) -> None:
    """Put artefacts, results and teachers of a sitting into cache and results."""
    from ccfs_lib.runtime import paths

    for kind in (given / "artefacts").glob("[!.]*"):
        if kind.name != "squeeze":  # an answer without weights would hide the weights
            shutil.copytree(kind, paths.cache() / kind.name, dirs_exist_ok=True)
    if (given / "results").is_dir():
        shutil.copytree(given / "results", paths.results(), dirs_exist_ok=True)
    folders = [card.parent for card in given.rglob("weights.json")]
    for e in _by_experiment(items):
        for folder in folders:
            _revive(e, folder, given / "artefacts")


def _revive(experiment, folder: Path, artefacts: Path) -> None:
    """Make a teacher whole again: its kept answers, its weights from half precision."""
    from ccfs_lib.pipeline import Pipeline
    from ccfs_lib.runtime import paths, weights
    from ccfs_lib.store import Store, key

    squeeze = Pipeline(experiment).squeeze
    recipe = squeeze._key(squeeze.seeds[0])
    state, card = weights.read(folder)
    kept = Store(artefacts, paths.shipped())
    if card.get("key") != key(recipe) or not kept.has("squeeze", recipe):
        return
    answers = kept.get("squeeze", recipe, dict)
    tensors = answers.tensors | {f"weights.{k}": v for k, v in state.items()}
    meta = answers.meta | {"weights": "float16"}
    Store(paths.cache()).get("squeeze", recipe, lambda: (tensors, meta))


def place_data(sheets: Path, home: Path) -> None:
    """Unpack data sets from WebP sheets, and score files, to where they are read."""
    from ccfs_lib.data import exchange
    from ccfs_lib.data import sheets as form

    root = home / "data"
    for folder in sorted(p.parent for p in sheets.glob("*/train-00.parquet")):
        for split in ("train", "test"):
            path = root / folder.name / f"{split}-00000-of-00001.parquet"
            if not path.exists():
                exchange.write_parquet(form.unpack(folder, split), path)
    if (sheets / "scores").is_dir():
        shutil.copytree(sheets / "scores", root / "scores", dirs_exist_ok=True)
    os.environ["CCFS_DATA"] = str(root)


# -- the command -----------------------------------------------------------------------


def say(text: str) -> None:
    """Print at once: a killed command shows what it said."""
    print(text, flush=True)


@images_read_once()
def sit(args: argparse.Namespace) -> dict:
    """Sit: calibrate, choose, train, keep; return the manifest."""
    begun, out, home = clock(), args.out, args.home
    end = begun + 60 * args.minutes
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("CCFS_CACHE", str(home / "cache"))
    os.environ.setdefault("CCFS_RESULTS", str(home / "results"))
    os.environ.setdefault("CCFS_PROGRESS", "0")
    if args.sheets:
        place_data(args.sheets, home)
    items = available(read_plan(args.plan))
    if args.given:
        restore(unpacked(args.given, home), items)
    chapters = [item for item in items if item.chapter]
    items = [item for item in items if not item.chapter]
    last = end - args.reserve - args.chapter * len(chapters)
    for item in items:
        if item.experiment is None:
            speed_table(item, out, last)
    speed_up = calibrate(items, args.together, args.calibration)
    cells, shared = price(items, speed_up)
    chosen = choose(cells, shared, last - clock())
    say(f"{len(cells)} cells are missing, {len(chosen)} of them fit")
    command = " ".join(["sitting.py", *sys.argv[1:]])
    failed = work(chosen, last, args.together, out, command)
    keep(items, home / "kept")
    for item in chapters:
        left = end - args.reserve / 2 - clock()  # the rest is for packing
        failed += filter(None, [execute(item, home / "kept" / "chapters", left)])
    pieces, left_out = pack(home / "kept", out)
    missing, shared = price(items, speed_up)
    manifest = {"pieces": pieces, "left_out": left_out, "failed": failed}
    manifest |= {"next": [str(cell) for cell in missing], "speed_up": speed_up}
    manifest |= {"seconds": clock() - begun, "device": _device()}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    say(_outlook(missing, shared))
    return manifest


def _outlook(missing: list[Cell], shared: dict) -> str:
    if not missing:
        return "the plan is finished"
    first = missing[0]
    seconds = first.seconds + shared.get(first.experiment, 0.0)
    return f"the next sitting begins with {first}, about {seconds:.0f} s"


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, required=True, help="what comes back")
    parser.add_argument("--from", type=Path, dest="given", help="a sitting's --out")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--sheets", type=Path, help="data sets as WebP sheets, scores")
    parser.add_argument("--together", type=int, default=6, help="trainings at once")
    parser.add_argument("--calibration", type=float, default=5.0, help="seconds")
    text = "seconds for each chapter of the plan"
    parser.add_argument("--chapter", type=float, default=45.0, help=text)
    text = "seconds at the end for checkpoints, packing and writing"
    parser.add_argument("--reserve", type=float, default=40.0, help=text)
    parser.add_argument("--home", type=Path, default=HOME, help="cache of the sitting")
    return parser.parse_args(words)


def main() -> None:
    """Sit; exit code 2 with a sentence for a mistake."""
    sys.path.insert(0, str(HERE.parent))
    from ccfs_lib.errors import InputError

    try:
        sit(parsed())
    except InputError as error:
        print(f"sitting: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
