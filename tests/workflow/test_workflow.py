"""Grids: the plan as data, and Snakemake killed in the middle of two dozen cells."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import CONTROLS, STRATEGIES, preset
from ccfs_lib.sweep import sweep

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))
plan, stage = import_module("plan"), import_module("stage")

# Cells of a tenth of a second: a grid's time is that of starting its processes.
TINY = {
    "grid": "tiny",
    "base": {
        **{"alpha": 0.25, "curricula": 1, "score": "logits", "epochs": 2},
        **{"teacher": {"epochs": 2}, "distillation": {"iterations": 5}},
    },
    "axes": {"ipc": [4, 8]},
    "arms": ["simple-misclassified", "hard-classified", "random", "ccfs-hard"],
    "seeds": 3,
    "each": "arm",
}
CELLS = len(TINY["axes"]["ipc"]) * len(TINY["arms"]) * TINY["seeds"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": 1}, "colour is 1"),
        ({"grid": "a b"}, "grid is 'a b'"),
        ({"arms": ["simple"]}, "arms.0 is 'simple'"),
        ({"arms": []}, "arms is "),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": True}, "seeds is True, but must not be yes or no"),
        ({"gpu": True}, "gpu is True, but must not be yes or no"),
        ({"each": "cell"}, "each is 'cell'"),
        ({"axes": {"ipc": []}}, "axes.0.ipc is "),
        ({"axes": {"ipc": [20, 1000]}}, r"ipc is 1000, .* 131"),
        ({"axes": {"width": [1]}}, "width is 1"),
        ({"base": {"teacher": {"epoch": 3}}}, "teacher.epoch is 3"),
        ({"base": {"teacher": {"epochs": 0}}}, "teacher.epochs is 0"),
        ({"base": {"dataset": "some"}}, "dataset is 'some', but jobs run in another"),
        ({"base": {"data_root": "./some"}}, "data_root is './some', but jobs run"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, change, told):
    (tmp_path / "some").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told) as error:
        plan.read({"grid": "g", **change})
    assert "\n" not in str(error.value)


def test_variants_of_one_results_file_are_refused(monkeypatch):
    monkeypatch.setattr(plan.Experiment, "run", "always-the-same")
    with pytest.raises(InputError, match=r"10} and .* 20} .* always-the-same"):
        plan.read({"grid": "g", "axes": {"ipc": [10, 20]}})


def test_axes_multiply_and_lists_of_axes_join():
    axes = [{"ipc": [10, 20]}, {"ipc": [30], "curricula": [2]}]
    grid = plan.read({"grid": "g", "axes": axes, "base": {"alpha": 0.4}, "seeds": 5})
    assert {e.ipc: e.curricula for e in grid.experiments.values()} == {
        **{10: 3, 20: 3},
        30: 2,
    }
    assert {(e.alpha, e.seeds) for e in grid.experiments.values()} == {(0.4, 5)}
    arms = STRATEGIES + CONTROLS
    assert len(grid.rows) == len(set(grid.rows)) == 3 * len(arms) * 5
    assert plan.read(json.loads(grid.encoded)) == grid  # what a job is told is all


def test_axes_may_meet_in_one_variant():
    grid = plan.read({"grid": "g", "axes": [{"alpha": [0.2, 0.4]}, {"curricula": [3]}]})
    assert [(e.alpha, e.curricula) for e in grid.experiments.values()] == [
        *[(0.2, 3), (0.4, 3)]
    ]


def test_of_a_recipe_only_what_is_named_changes():
    made = plan.experiment(TINY["base"])
    usual = preset(alpha=0.25, curricula=1, score="logits", epochs=2)
    assert made.teacher.epochs == 2 and made.teacher.pad == usual.teacher.pad == 1
    assert made.recipe == usual.recipe and made.distillation.iterations == 5


def test_cells_wait_for_what_they_share_and_for_nothing_else():
    grid = plan.read(TINY | {"arms": STRATEGIES + CONTROLS, "recovery": 2})
    some, other = grid.experiments
    needs = {arm: grid.needs(some, arm, [0, 1]) for arm in grid.arms}
    teacher = f"squeeze/{grid.name('squeeze', some)}/0.json"
    assert needs["random"] == needs["random-hard"] == [teacher]
    images = f"recover/{grid.name('recover', some)}"
    assert needs["distilled"] == [f"{images}/4/{part}-2.json" for part in (0, 1)]
    own = {*grid.images(some, 1), teacher}
    own |= {f"filter/{grid.name('filter', some)}/{seed}.json" for seed in (0, 1)}
    assert all(set(needs[arm]) == own for arm in STRATEGIES)
    after = {f"cells/{some}/simple-misclassified/{seed}.json" for seed in (0, 1)}
    assert set(needs["ccfs-hard"]) == own | after  # it has that arm's filters
    assert grid.teachers(some) == grid.teachers(other)  # one teacher for both sizes
    assert grid.name("filter", some) != grid.name("filter", other)
    for kind, run in product(plan.SHARED, (some, other)):
        assert grid.name(kind, grid.owner(kind, grid.name(kind, run))) == grid.name(
            kind, run
        )


def test_forgetting_needs_its_runs_and_given_images_no_recovery(tmp_path):
    base = {"score": "forgetting", "score_runs": 3, "distilled_from": str(tmp_path)}
    grid = plan.read({"grid": "g", "base": base})
    (run,) = grid.experiments
    name = grid.name("squeeze", run)
    assert grid.start(run) == [f"squeeze/{name}/{seed}.json" for seed in range(3)]


def test_a_grown_grid_names_what_it_had_as_before():
    """Another name would be another file, and finished cells would be repeated."""
    grid = plan.read(TINY)
    axes = [{"ipc": [16], "score": ["forgetting"]}, {"ipc": [8, 4, 12]}]
    grown = plan.read(TINY | {"axes": axes, "arms": STRATEGIES + CONTROLS, "seeds": 9})
    assert set(grid.rows) < set(grown.rows)
    for run, arm in product(grid.experiments, grid.arms):
        assert grid.needs(run, arm, [0]) == grown.needs(run, arm, [0])


def test_each_process_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(stage.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    names, third = stage.cards(), []

    def wait():
        with stage.card(names) as name:
            third.append(name)

    with stage.card(names) as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == first == "2"
        waiting = threading.Thread(target=wait)
        with stage.card(names) as second:
            assert os.environ["CUDA_VISIBLE_DEVICES"] == second == "5"
            waiting.start()
            time.sleep(0.2)
            assert not third
        waiting.join(20)
        assert third == ["5"]
    assert stage.cards() == ["5"]  # as under Slurm: one, and nothing to choose
    with stage.card(["7"]) as only:
        assert only == "7"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with stage.card(stage.cards()) as none:
        assert none is None


RUN, OTHER = plan.read(TINY).experiments  # of 4 and of 8 images per class


def job(monkeypatch, *words) -> int:
    """A job in this process; its exit code."""
    told = plan.read(TINY).encoded
    monkeypatch.setattr(sys, "argv", ["stage.py", *words, "--grid", told])
    try:
        stage.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_a_job_out_of_time_exits_75_and_a_mistake_2(house, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = house / "x.json"
    name = plan.read(TINY).name("squeeze", RUN)
    words = ["squeeze", "--name", name, "--seeds", "0", "--out", str(out)]
    assert job(monkeypatch, *words, "--minutes", "1e-9") == 75
    assert "time is up" in capsys.readouterr().err and not out.exists()
    assert job(monkeypatch, *words, "--minutes", "9") == 0
    assert json.loads(out.read_text())["seed"] == 0
    words = ["cell", "--run", RUN, "--arm", "simple", "--seeds", "0"]
    assert job(monkeypatch, *words, "--out", str(out)) == 2
    assert capsys.readouterr().err.startswith(f"grid: cell of {RUN}: arm is 'simp")


def test_time_is_kept_to_end_before_slurm_ends_it():
    limits = {1: 0.5, 5: 4, 60: 54, 1440: 1430}
    assert {m: stage.allowed(60 * m) / 60 for m in limits} == limits


# -- through Snakemake -----------------------------------------------------------------

needs_snakemake = pytest.mark.skipif(
    find_spec("snakemake") is None, reason="needs the extra [workflow]: snakemake"
)


def command(folder: Path, *words: str) -> dict:
    """Arguments of a process that runs the tiny grid in a folder of its own."""
    config = folder / "grid.json"
    config.write_text(json.dumps(TINY))
    program = Path(sys.executable).with_name("snakemake")
    rules = folder / "workflow/Snakefile"  # the project's path may have a space
    if not rules.exists():
        shutil.copytree(ROOT / "workflow", rules.parent)
    line = [program, "-s", rules, "--configfile", config, "-j2"]
    own = {"CCFS_CACHE": folder / "cache", "CCFS_RESULTS": folder / "results"}
    env = {**os.environ, **{k: str(v) for k, v in own.items()}}
    env["XDG_CACHE_HOME"] = str(folder / "home")
    return {"args": [*line, *words], "cwd": folder, "env": env, "text": True}


def finish(folder: Path, *words: str) -> str:
    """Run the grid to its end; what it said."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(**command(folder, *words), **both, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def group(number: int) -> list[Path]:
    """Living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(owner) == number and state != "Z":
            found.append(stat)
    return found


def until(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def times(root: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.glob(pattern)}


def measured(root: Path) -> dict[str, str]:
    """Config and rows of every results file, as text."""
    found = {}
    for path in root.glob("*/*.json"):
        content = json.loads(path.read_text())
        kept = {name: content[name] for name in ("config", "rows")}
        found[f"{path.parent.name}/{path.name}"] = json.dumps(kept)
    return found


STORE, ROWS = "cache/*/*/recipe.json", "cache/grids/tiny/cells/*/*/*.json"


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A grid killed when some cells are done: (folder, files then)."""
    folder = tmp_path_factory.mktemp("grid") / "a folder"
    folder.mkdir()
    process = subprocess.Popen(
        **command(folder), stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        some = "results/*/*.json"
        until(lambda: len(times(folder, some)) >= 3 or process.poll() is not None, 300)
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
    until(lambda: not group(process.pid), 20)  # no job outlives the group
    return folder, *(times(folder, p) for p in (STORE, ROWS, "results/*/*.json"))


@pytest.fixture(scope="module")
def continued(killed):
    """The same command again: (folder, what it said)."""
    return killed[0], finish(killed[0])


@needs_snakemake
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_killed_grid_continues_and_repeats_nothing(killed, continued):
    folder, store, rows, results = killed
    assert CELLS >= 20 and 3 <= len(rows) < CELLS and len(results) < CELLS / 3
    assert f"{CELLS} of {CELLS} cells" in continued[1]
    assert len(times(folder, ROWS)) == CELLS
    assert store.items() <= times(folder, STORE).items()  # nothing was trained again
    # A job's receipts are its own: at most two jobs were cut off before their end.
    after = times(folder, "results/*/*.json")
    assert len([p for p, t in results.items() if after[p] != t]) <= 2
    done = [path.parent for path in rows if path.stat().st_mtime_ns == rows[path]]
    assert len(set(done)) >= len(results) - 2
    assert not list(folder.rglob(".tmp-*"))


@needs_snakemake
def test_the_results_are_those_of_a_sweep(continued, tmp_path, monkeypatch):
    folder, _ = continued
    monkeypatch.setenv("CCFS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCFS_RESULTS", str(tmp_path / "results"))
    for experiment in plan.read(TINY).experiments.values():
        sweep(experiment, tuple(TINY["arms"]), workers=2)
    ours, theirs = measured(folder / "results"), measured(tmp_path / "results")
    assert ours == theirs and len(ours) == CELLS // TINY["seeds"]
    # Nor was anything trained that a sweep does not train.
    stages = {p.relative_to(folder) for p in times(folder, STORE)}
    assert stages == {p.relative_to(tmp_path) for p in times(tmp_path, STORE)}
    for path in times(folder, ROWS):
        *_, run, arm, name = path.parts
        row = json.loads(path.read_text())
        assert row.pop("arm") == arm and row["seed"] == int(name[0])
        assert row in json.loads(ours[f"{run}/{arm}.json"])["rows"]


@needs_snakemake
def test_a_finished_grid_does_nothing_and_a_grown_one_the_rest(continued):
    folder, _ = continued
    before = times(folder, "*/**/*.json")
    assert "Nothing to be done" in finish(folder)
    assert times(folder, "*/**/*.json") == before
    arms = ",".join([*TINY["arms"], "random-hard"])
    said = finish(folder, "-n", "--quiet", "host", "--config", f"arms=[{arms}]")
    jobs = said.partition("Job stats:\n")[2].partition("\n\n")[0]
    counts = dict(line.split() for line in jobs.splitlines()[2:])
    assert counts == {"all": "1", "cell": "2", "total": "3"}


@needs_snakemake
def test_one_job_per_cell_files_the_same_row(continued):
    folder, _ = continued
    before = times(folder, STORE)
    (folder / "results").rename(folder / "kept")
    try:
        some = ["each=seed", "seeds=1", "arms=[random]", "axes={ipc: [8]}"]
        finish(folder, "--config", *some)
        one = json.loads((folder / f"results/{OTHER}/random.json").read_text())
        all_ = json.loads((folder / f"kept/{OTHER}/random.json").read_text())
        assert one["rows"] == all_["rows"][:1] and one["config"]["seeds"] == 1
        assert times(folder, STORE) == before
    finally:
        (folder / "results").rename(folder / "one")
        (folder / "kept").rename(folder / "results")
