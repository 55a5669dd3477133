"""The command line: sentences for mistakes, a real sweep, and stopping one."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from conftest import small

from ccfs_lib import cli, cost, data
from ccfs_lib.data.exchange import read_folder, read_indices
from ccfs_lib.experiment import presets
from ccfs_lib.pipeline import Pipeline
from ccfs_lib.runtime import weights
from ccfs_lib.store import Store

# The command itself, with a teacher of 3 epochs and images of 5 iterations.
SHRINK = """
from dataclasses import replace
from ccfs_lib import cli
from ccfs_lib.experiment import presets
digits = presets.DIGITS
digits |= {"teacher": replace(digits["teacher"], epochs=3)}
digits |= {"distillation": replace(digits["distillation"], iterations=5)}
"""
CCFS = [sys.executable, "-c", SHRINK + "cli.main()"]
TINY = ["--ipc", "4", "--alpha", "0.25", "--curricula", "2", "--score", "logits"]
MINI = [*TINY, "--epochs", "2", "--seeds", "1"]
RUN = "digits-ipc4-alpha0.25-j2-2ep-logits"
ARMS = ["--arms", "random", "simple-misclassified", "--workers", "1"]


def ccfs(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """Run the command in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["ccfs", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    out = capsys.readouterr()
    assert "Traceback" not in out.out + out.err
    return code, out.out, out.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sweep", "--ipc", "1000"], "ipc is 1000, .* 131"),
        (["sweep", "--ipc", "0"], "ipc is 0: "),
        (["sweep", "--alpha", "1.5"], r"alpha is 1\.5: "),
        (["sweep", "--alpha", "nan"], "alpha is nan: "),
        (["sweep", "--ipc", "4"], r"alpha is 0\.2, .* 0\.25"),
        (["sweep", "--curricula", "40"], "curricula is 40, "),
        (["sweep", "--dataset", "mnist"], "dataset is 'mnist', "),
        (["sweep", "--network", "vgg"], "network is 'vgg', "),
        (["sweep", "--score", "entropy"], "score is 'entropy', "),
        (["sweep", "--scale", "huge"], "scale is 'huge', "),
        (["sweep", "--seeds", "0"], "seeds is 0: "),
        (["sweep", "--epochs", "0"], "epochs is 0: "),
        (["sweep", "--arms", "random", "simple"], "arm.* 'simple'"),
        (["sweep", "--workers", "-1"], "workers is -1, "),
        (["sweep", "--arms"], "arms is empty, "),
        (["sweep", "--time-limit", "-5"], r"time_limit is -5\.0, "),
        (["sweep", "--time-limit", "nan"], "time_limit is nan, "),
        (["match", "--arms"], "arms is empty, "),
        (["select", "--out", "/proc/x/y.json"], "out is '/proc/x/y.json', "),
        (["squeeze", "--out", "/proc/x"], "out is '/proc/x', "),
        (["select", "--out", "/proc"], "out is '/proc', but that is a folder"),
        (["select", "--out", "x" * 250], "out is 'xxx.*has 250 letters"),
        (["sweep", "--reading", "released"], "reading is 'released', "),
        (["sweep", "--network", "json:nothing"], "network is 'json:nothing', "),
        (["sweep", "--arms", "json:nothing"], "arm is 'json:nothing', "),
        (["sweep", "--dataset", "cifar10"], "data_root is not set"),
        (["sweep", "--alpha", "0.2", "2"], "alpha is 2.0: "),
        (["sweep", "--classes", "11"], "classes is 11, .* 10"),
        (["sweep", "--image-size", "32"], "image_size is 32, .* digits has 8"),
        (["sweep", "--teacher-epochs", "0"], "teacher_epochs is 0: "),
        (["sweep", "--dry-run", "--score", "/no/s.npy"], "score file /no/s.npy "),
        (["export", "--out", "x", "--ipc", "10", "20"], "ipc has 2 values, 10 20, "),
        (["squeeze", "--alpha", "0.2", "0.4"], r"alpha has 2 values, 0\.2 0\.4, "),
        (["sweep", "--score", "/no/scores.npy"], "score file /no/scores.npy "),
        (["select", "--out", "x.json", "--ipc", "-3"], "ipc is -3: "),
        (["select", "--out", "x.json", "--seed", "-1"], "seed is -1, "),
        (["select", "--out", "x.json", "--seed", "9" * 20], "seed is 9+, "),
        (["export", "--out", "x", "--arm", "random", "--seed", "-1"], "seed is -1, "),
        (["sweep", "--workers", "9" * 20], "workers is 9+, .* 1000"),
        (["results"], "root is .*results"),
        (["results", "cifar10-ipc5"], "r.* is .*results"),
    ],
)
def test_a_mistake_is_one_sentence(house, monkeypatch, capsys, words, told):
    monkeypatch.chdir(house)
    code, _, err = ccfs(monkeypatch, capsys, *words)
    assert code == 2 and re.fullmatch(f"ccfs: {told}.*\n", err)
    assert not list(house.rglob("*.json"))  # nothing was trained or written


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sweep", "--ipc", "many"], "ipc"),
        (["sweep", "--icp", "20"], "icp"),
        (["sweap"], "sweap"),
        (["select"], "out"),
        ([], "subcommand"),
    ],
)
def test_a_mistyped_command_is_told(house, monkeypatch, capsys, words, told):
    code, _, err = ccfs(monkeypatch, capsys, *words)
    assert code == 2 and told in err


def test_stopping_and_running_out_of_time_are_sentences(house, monkeypatch, capsys):
    def stop(self, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "phases", stop)
    code, _, err = ccfs(monkeypatch, capsys, "select", "--out", house / "x.json", *MINI)
    assert code == 130 and err.count("\n") == 1 and "continues" in err
    words = ["sweep", *MINI, "--time-limit", "0", "--workers", "1"]
    code, _, err = ccfs(monkeypatch, capsys, *words)
    assert code == 75 and err.count("\n") == 1 and "time is up" in err


def test_doctor_says_what_there_is(house, monkeypatch, capsys):
    code, out, err = ccfs(monkeypatch, capsys, "doctor")
    assert code == 0 and not err
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert told["cache"] == str(house / "cache") and told["CCFS_DATA"] == "not set"
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "device", "threads"} <= told.keys()


def documented() -> list[str]:
    """Every `ccfs` command of the documents: in a block, or between backquotes."""
    home, found = Path(__file__).parents[2], []
    places = ["README.md", "CONTRIBUTING.md", "workflow/README.md"]
    for path in [home / p for p in places] + sorted(home.glob("book/*.md")):
        text = path.read_text("utf-8").replace("\\\n", " ")
        found += re.findall(r"^(?:\.venv/bin/)?(ccfs .*)$", text, re.MULTILINE)
        found += re.findall(r"`(ccfs [a-z]+ --?[^`]*)`", text)
    return sorted(line for line in set(found) if "--help" not in line)


@pytest.mark.parametrize("line", documented())
def test_documented_commands_are_commands(line):
    words = shlex.split(line.replace("…", ""), comments=True)[1:]
    assert tyro.cli(cli.COMMANDS, prog="ccfs", args=words) is not None


# -- a sweep in processes of its own ---------------------------------------------------


def surroundings(folder: Path) -> dict[str, str]:
    own = {"CCFS_CACHE": folder / "cache", "CCFS_RESULTS": folder / "results"}
    return {**os.environ, **{k: str(v) for k, v in own.items()}}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished `ccfs sweep`: (folder, what it printed)."""
    folder = tmp_path_factory.mktemp("swept")
    done = subprocess.run(
        [*CCFS, "sweep", *MINI, *ARMS],
        **{"env": surroundings(folder), "cwd": folder, "timeout": 120},
        **{"capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder, done.stdout


@pytest.fixture
def inside(swept, monkeypatch):
    """Commands in this process find what the sweep left."""
    monkeypatch.setenv("CCFS_CACHE", str(swept[0] / "cache"))
    monkeypatch.setenv("CCFS_RESULTS", str(swept[0] / "results"))
    e = small()
    for name in ("teacher", "distillation"):
        monkeypatch.setitem(presets.DIGITS, name, getattr(e, name))
    return swept


def test_a_damaged_entry_is_a_sentence_on_the_command_line(swept, tmp_path):
    shutil.copytree(swept[0], again := tmp_path / "again")
    shutil.rmtree(again / "results")
    (broken,) = (again / "cache" / "squeeze").glob("*/tensors.safetensors")
    broken.write_bytes(broken.read_bytes()[:-1])
    done = subprocess.run(
        [*CCFS, "sweep", *MINI, *ARMS],
        **{"env": surroundings(again), "cwd": again, "timeout": 120},
        **{"capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ccfs: cache entry ") and "computed again" in line


def test_sweep_measures_what_the_library_measures(swept):
    folder, printed = swept
    stages = Pipeline(small(score="logits"), Store(folder / "cache"))
    for arm in ("random", "simple-misclassified"):
        path = folder / "results" / RUN / f"{arm}.json"
        written = json.loads(path.read_text())
        before = len(list(stages.store.entries("train")))
        assert written["rows"] == [stages.evaluate(arm, 0)]
        assert len(list(stages.store.entries("train"))) == before  # all was there
        assert written["provenance"]["command"].startswith("ccfs ")
        assert f"{written['rows'][0]['last']:5.2f}" in printed
    assert printed.startswith(f"{RUN}: digits, IPC 4, alpha 0.25, J = 2, network ")
    assert "±" not in printed and "nan" not in printed  # of one seed
    assert not (folder / "results/results.csv").exists()


def test_results_prints_again_and_writes_what_it_is_told(
    inside, monkeypatch, capsys, tmp_path
):
    before = {p: p.stat().st_mtime_ns for p in inside[0].rglob("*")}
    code, out, _ = ccfs(monkeypatch, capsys, "results", RUN)
    assert code == 0 and out == inside[1][-len(out) :]
    assert {p: p.stat().st_mtime_ns for p in inside[0].rglob("*")} == before
    table = tmp_path / "all.csv"
    assert ccfs(monkeypatch, capsys, "results", "--out", table)[0] == 0
    assert len(table.read_text().splitlines()) == 3


@pytest.mark.parametrize("where", ["| head -1", "> /dev/null"])
def test_results_go_through_a_pipe_and_an_ascii_terminal(inside, where):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = shlex.join([*CCFS, "results"])
    done = subprocess.run(
        ["bash", "-c", f"{command} {where}; exit ${{PIPESTATUS[0]}}"],
        **{"env": environment, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode in (0, 128 + signal.SIGPIPE) and not done.stderr


def test_all_settings_are_printed_on_demand(inside, monkeypatch, capsys):
    words = ["sweep", *MINI, *ARMS, "--dry-run", "--verbose"]
    code, out, _ = ccfs(monkeypatch, capsys, *words)
    assert code == 0 and re.search(r"^ipc +4$", out, re.MULTILINE)


def test_a_dry_run_of_others_choice(inside, monkeypatch, capsys, tmp_path):
    """README's own example, and its mistakes: the run and its forecast refuse alike."""
    out = tmp_path / "chosen.json"
    assert ccfs(monkeypatch, capsys, "select", "--out", out, *MINI)[0] == 0
    words = ["sweep", *MINI, "--selected-from", out, "--arms", "selected", "random"]
    for command in (words, ["squeeze", *words[1:-3]]):
        code, printed, _ = ccfs(monkeypatch, capsys, *command, "--dry-run")
        assert code == 0 and "nothing was trained" in printed
    content = json.loads(out.read_text())
    content["idx_selected"] = np.flatnonzero(data.load("digits").labels == 3)[:9]
    content["idx_selected"] = content["idx_selected"].tolist()
    out.write_text(json.dumps(content))
    told = [ccfs(monkeypatch, capsys, *words, *dry) for dry in ([], ["--dry-run"])]
    assert told[0] == told[1] and told[0][0] == 2
    assert "holds 9 images of class 3, but" in told[0][2]


def test_random_images_need_no_distilled_ones(house, monkeypatch, capsys):
    """Nor do they need trainings that only count forgetting."""
    words = ["sweep", *MINI, "--score", "forgetting", "--teacher-epochs", "2"]
    words += ["--arms", "random", "--workers", "1"]
    code, out, _ = ccfs(monkeypatch, capsys, *words, "--dry-run")
    assert code == 0 and re.findall(r"(\d) of (\d)", out) == [
        *[("0", "1"), ("0", "0"), ("0", "1")]
    ]
    assert ccfs(monkeypatch, capsys, *words)[0] == 0
    store = Store(house / "cache")
    assert not list(store.entries("recover"))
    assert len(list(store.entries("squeeze"))) == 1


def test_a_home_folder_is_one_everywhere(house, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(house))
    code, printed, _ = ccfs(monkeypatch, capsys, "select", "--out", "~/i.json", *MINI)
    assert code == 0 and f"wrote {house}/i.json" in printed
    words = ["sweep", *MINI, "--selected-from", "~/i.json", "--arms", "selected"]
    assert ccfs(monkeypatch, capsys, *words, "--dry-run")[0] == 0
    images = house / "images"
    words = ["export", "--arm", "distilled", *MINI, "--out", "~/images"]
    assert ccfs(monkeypatch, capsys, *words)[0] == 0 and images.is_dir()
    np.save(house / "s.npy", np.arange(1352.0))
    words = ["export", *MINI, "--distilled-from", "~/images", "--out", "~/set"]
    assert ccfs(monkeypatch, capsys, *words, "--score", "~/s.npy")[0] == 0


@pytest.mark.parametrize("cache", ["/proc/cache", __file__, f"{__file__}/below"])
@pytest.mark.parametrize("words", [["sweep"], ["match"], ["squeeze", "--dry-run"]])
def test_a_cache_that_cannot_be_written_is_told_first(
    house, monkeypatch, capsys, cache, words
):
    monkeypatch.setenv("CCFS_CACHE", cache)
    code, out, err = ccfs(monkeypatch, capsys, *words)
    assert code == 2 and not out and err.startswith(f"ccfs: cache is '{cache}', but ")


def test_a_teachers_view_of_given_images_is_printed_before_training(
    inside, monkeypatch, capsys, tmp_path, recwarn
):
    words = ["export", "--arm", "random", *MINI, "--out", tmp_path / "right"]
    assert ccfs(monkeypatch, capsys, *words)[0] == 0
    for label in range(10):  # as others may number their classes
        there = tmp_path / "wrong" / f"new{(label + 1) % 10:03d}"
        shutil.copytree(tmp_path / "right" / f"new{label:03d}", there)
    for folder, notices in (("right", 0), ("wrong", 1)):
        words = ["sweep", *MINI, "--distilled-from", tmp_path / folder]
        words += ["--arms", "distilled", "simple-misclassified", "--workers", "2"]
        recwarn.clear()
        code, out, _ = ccfs(monkeypatch, capsys, *words)
        (share,) = re.findall(r"takes ([\d.]+) % of the images of distilled_from", out)
        assert code == 0 and (float(share) > 20) is (folder == "right")
        told = [w for w in recwarn if "their classes numbered" in str(w.message)]
        assert len(told) == notices
        assert out.index("distilled_from") < out.index(" last ")


def test_results_say_where_sets_are_smaller_than_wanted(house, monkeypatch, capsys):
    path = house / "results/own/ccfs.json"
    path.parent.mkdir(parents=True)
    rows = [
        {"seed": seed, "last": 50.0, "best": 51.0, "images": images, "wanted": 40}
        for seed, images in enumerate((30, 40))
    ]
    path.write_text(json.dumps({"config": {"arm": "ccfs"}, "rows": rows}))
    _, out, _ = ccfs(monkeypatch, capsys, "results", "own")
    assert out.splitlines()[0].endswith("2 seeds, 87.5 % of the images wanted")
    path.write_text(json.dumps({"config": {"arm": "ccfs"}, "rows": rows[1:]}))
    _, out, _ = ccfs(monkeypatch, capsys, "results", "own")
    assert out.splitlines()[0].endswith("1 seed")


def test_a_users_function_that_raises_is_told_with_its_line(
    inside, workshop, monkeypatch, capsys
):
    text = "def rule(labels, predictions, scores, quota, excluded):\n    return {}[3]\n"
    (workshop / "poor.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(workshop), prepend=os.pathsep)
    words = ["sweep", *MINI, "--arms", "poor:rule", "--workers", "1"]
    code, _, err = ccfs(monkeypatch, capsys, *words)
    told = f"ccfs: {workshop}/poor.py, line 2, in rule raised KeyError: 3\n"
    assert code == 2 and err == told


def test_a_script_without_a_main_guard_is_told_so(inside, tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(
        SHRINK + "from ccfs_lib.sweep import sweep\n"
        "from ccfs_lib.experiment import preset\n"
        "few = {'ipc': 4, 'alpha': 0.25, 'epochs': 2, 'score': 'logits', 'seeds': 1}\n"
        "sweep(preset(**few), ('random',), workers=1)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        **{"cwd": tmp_path, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode and "put what it runs under `if __name__" in done.stderr
    assert "lack of memory" not in done.stderr


def test_a_script_from_standard_input_is_told_so(inside, tmp_path):
    script = "from ccfs_lib.sweep import sweep\n"
    script += "from ccfs_lib.experiment import preset\n"
    script += "e = preset(ipc=4, alpha=0.25, epochs=2, score='logits', seeds=1)\n"
    script += "if __name__ == '__main__': sweep(e, ('random',), workers=2)\n"
    done = subprocess.run(
        [sys.executable],
        input=script,
        **{"cwd": tmp_path, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode and "from standard input: save it as a file" in done.stderr


def test_select_writes_a_file_that_is_accepted(inside, monkeypatch, capsys):
    out = inside[0] / "new/i.json"
    code, printed, _ = ccfs(monkeypatch, capsys, "select", "--out", out, *MINI)
    assert code == 0 and f"wrote {out}" in printed
    indices, alpha = read_indices(out, 4, 1352)
    stages = Pipeline(small(score="logits"))
    chosen = [record.chosen for record in stages.phases(0)]
    assert indices.tolist() == np.concatenate(chosen).tolist() and alpha == 0.25
    counts = np.bincount(data.load("digits").labels[indices], minlength=10)
    short = re.findall(r"chose (\d+) of \d+ candidates, (\d+) short", printed)
    assert [int(n) for n, _ in short] == [len(c) for c in chosen]
    assert counts.max() <= 3 and sum(int(s) for _, s in short) == 30 - counts.sum()


def test_a_dry_run_sees_what_the_sweep_left(inside, monkeypatch, capsys):
    before = sorted(inside[0].rglob("*"))
    words = ["sweep", *MINI, *ARMS, "--curricula", "1", "2", "--dry-run"]
    code, out, err = ccfs(monkeypatch, capsys, *words)
    assert code == 0 and not err
    first, second = re.split(r"^digits\S+$", out, flags=re.MULTILINE)[1:]
    assert "\ndigits-ipc4-alpha0.25-j1-2ep-logits\n" in out.replace(RUN, "")
    assert re.findall(r"(\d) of (\d)", first) == [*[("1", "1")] * 3, ("0", "1")]
    assert re.findall(r"(\d) of (\d)", second) == [("1", "1")] * 4
    assert sorted(inside[0].rglob("*")) == before


def test_a_grid_is_swept_point_by_point(inside, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CCFS_RESULTS", str(tmp_path))
    words = ["sweep", *MINI, "--evaluation-network", "convnet-16-32", "convnet-8"]
    words += ["--arms", "random-hard", "--workers", "1", "--time-limit", "100"]
    code, out, _ = ccfs(monkeypatch, capsys, *words)
    other = RUN.replace("logits", "on-convnet-8-logits")
    assert code == 0 and all(f"\n{run} " in out for run in (RUN, other))
    paths = [tmp_path / run / "random-hard.json" for run in (RUN, other)]
    one, two = (json.loads(path.read_text()) for path in paths)
    assert "evaluation_network" not in one["config"]
    assert two["config"]["evaluation_network"] == "convnet-8"
    assert one["rows"] != two["rows"]


def test_squeeze_writes_the_teacher(inside, monkeypatch, capsys):
    out = inside[0] / "weights"
    words = ["squeeze", "--teacher-epochs", "3", "--out", out]
    code, printed, _ = ccfs(monkeypatch, capsys, *words)
    teacher = Pipeline(small(score="logits")).teacher
    assert code == 0 and f"teacher {teacher.key}: last {teacher.last:.2f} %" in printed
    back, card = weights.read(out)
    assert card["key"] == teacher.key and card["last"] == teacher.last
    for name, value in teacher.network.state_dict().items():
        assert torch.allclose(back[name], value, rtol=1e-3, atol=1e-6)


def test_squeeze_stops_in_time(house, monkeypatch, capsys):
    code, _, err = ccfs(monkeypatch, capsys, "squeeze", "--time-limit", "0")
    assert code == 75 and err.count("\n") == 1 and "time is up" in err


def test_the_papers_scale_is_refused_without_a_gpu(house, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cost, "rate", lambda *_: 1000.0)
    for command in ("sweep", "squeeze"):
        words = [command, "--dataset", "cifar10", "--scale", "paper", "--ipc", "500"]
        code, _, err = ccfs(monkeypatch, capsys, *words)
        assert code == 2 and re.fullmatch(
            "ccfs: scale is 'paper', .* about 16 h; .*\n", err
        )


@pytest.mark.parametrize("name", ["set", "set.parquet"])
def test_export_writes_the_set_that_was_trained_on(
    inside, monkeypatch, capsys, tmp_path, name
):
    words = ["export", "--out", tmp_path / name, "--arm", "random", *MINI]
    code, printed, _ = ccfs(monkeypatch, capsys, *words)
    assert code == 0 and printed.endswith(f"wrote 40 images to {tmp_path / name}\n")
    made = Pipeline(small(score="logits")).synthetic("random", 0)
    if name == "set":
        back = read_folder(tmp_path / name, made.classes, 4)
    else:
        back = data.load(tmp_path / name, "train", cache_dir=tmp_path)
    order = back.labels.argsort(stable=True)
    assert torch.equal(back.images[order], made.images)  # both class by class
    (tmp_path / name).joinpath("x").touch() if name == "set" else None
    code, _, err = ccfs(monkeypatch, capsys, *words)  # two sets in one folder are none
    assert code == 2 and "where something is already" in err
    code, _, err = ccfs(monkeypatch, capsys, *words, "--replace")
    assert code == 0 and not (tmp_path / name / "x").exists()
    words[4] = "simple"
    words += ["--replace"]
    code, _, err = ccfs(monkeypatch, capsys, *words)
    assert code == 2 and err.startswith("ccfs: arm is 'simple', ")


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, and theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        if parent == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z"
    except OSError:
        return False


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_sweep_stops_at_once_and_leaves_no_process(swept, how):
    """Its cells would train for minutes; only the parent is told to stop."""
    folder, _ = swept
    begun = set((folder / "cache/train/.locks").glob("*"))
    words = [*TINY, "--epochs", str(20_000 + how), "--seeds", "3", *ARMS]
    process = subprocess.Popen(
        [*CCFS, "sweep", *words],
        **{"env": surroundings(folder), "cwd": folder, "text": True},
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE},
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Teacher and images are there, so the first new lock is a worker's training.
        until(lambda: set((folder / "cache/train/.locks").glob("*")) - begun)
        workers = children(process.pid)
        assert workers
        process.send_signal(how)
        err = process.communicate(timeout=15)[1]
        until(lambda: not any(map(alive, workers)), 15)
    finally:
        process.kill()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert err == "ccfs: stopped; the same command continues where it was\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_control_c_reaches_no_worker_that_still_imports(swept):
    """A terminal sends it to all processes of the command, whatever they do."""
    folder, _ = swept
    words = [*TINY, "--epochs", "19999", "--seeds", "3", *ARMS]
    process = subprocess.Popen(
        [*CCFS, "sweep", *words],
        **{"env": surroundings(folder), "cwd": folder, "text": True},
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until(lambda: len(children(process.pid)) > 1)  # the first is Python's tracker
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "ccfs: stopped; the same command continues where it was\n"
