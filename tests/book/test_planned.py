"""The page of what is not measured yet: commands, and which of their rows are filed."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from ccfs_lib.errors import InputError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book"))
import planned  # noqa: E402

SWEEP = "ccfs sweep --dataset digits --seeds 2 --arms random distilled --ipc 10 20"


def file(root, run, cell, seeds):
    path = root / "data" / "results" / run / f"{cell}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"seed": n, "best": 9.0, "last": 9.0, "images": 100} for n in seeds]
    content = {"config": {}, "rows": rows, "provenance": {"command": ""}}
    path.write_text(json.dumps(content))


def plan(root, *commands, **changes):
    (root / "book").mkdir(exist_ok=True)
    entry = {"about": "a measurement", "minutes": 30, "commands": [*commands]}
    text = yaml.safe_dump([entry | changes])
    (root / "book" / "planned.yaml").write_text(text)
    return planned.read(root)[0]


def test_rows_are_counted_by_run_arm_and_seed(tmp_path):
    one = plan(tmp_path, SWEEP)
    assert (len(one.missing), len(one.wanted), one.hours) == (8, 8, 4.0)
    file(tmp_path, "digits-ipc10", "random", [0, 1])
    file(tmp_path, "digits-ipc20", "distilled", [1])
    file(tmp_path, "digits-ipc40", "random", [0, 1])  # asked for by no command
    one = plan(tmp_path, SWEEP)
    assert (len(one.missing), len(one.wanted), one.hours) == (5, 8, 2.5)
    text = planned.write_up(tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    assert "| a measurement | 3 of 8 | 2.5 h |" in text and SWEEP in text
    assert text.startswith("5 rows are missing, about 3 hours of a core.")


def test_a_command_whose_rows_are_all_there_is_not_shown(tmp_path):
    done = "ccfs sweep --dataset digits --seeds 2 --arms random --ipc 10"
    file(tmp_path, "digits-ipc10", "random", [0, 1, 2])
    plan(tmp_path, done)
    text = planned.write_up(tmp_path)
    assert "| a measurement | 2 of 2 | \N{EN DASH} |" in text and done not in text


def test_rows_of_table_1_and_of_section_3_are_counted_too():
    table = "ccfs table1 --dataset digits --ipc 20 --seeds 2 --rows dsa ccfs --budget 5"
    cells = {cell for _, cell, _ in planned.cells(table)}
    assert cells == {"dsa-5", "dsa-5-teacher", "simple-misclassified"}
    match = "ccfs match --dataset digits --beta 0.2 0.4 --seeds 3 --arms selmatch"
    assert len(planned.cells(match)) == 6


def test_a_row_that_two_lines_want_is_counted_once(tmp_path):
    (tmp_path / "book").mkdir()
    entry = {"about": "one", "minutes": 30, "commands": [SWEEP]}
    more = entry | {
        "about": "two",
        "commands": [SWEEP.replace("--seeds 2", "--seeds 3")],
    }
    text = yaml.safe_dump([entry, more])
    (tmp_path / "book" / "planned.yaml").write_text(text)
    one, two = planned.read(tmp_path)
    assert (len(one.missing), len(two.missing), len(two.wanted)) == (8, 4, 12)
    page = planned.write_up(tmp_path).replace("\N{NO-BREAK SPACE}", " ")
    assert page.startswith("12 rows are missing, about 6 hours of a core.")
    assert "| two | 8 of 12 | 2.0 h |" in page


def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="alpha"):
        plan(tmp_path, "ccfs sweep --dataset digits --alpha 2")
    with pytest.raises(InputError, match="hours is missing or unknown"):
        plan(tmp_path, SWEEP, hours=3)
    with pytest.raises(InputError, match="arm"):
        plan(tmp_path, "ccfs sweep --dataset digits --arms nonsense")
    for line in ("ccfs sweep --epoch 3", "ccfs squeeze", "ccfs export", ""):
        with pytest.raises(InputError, match="files no rows"):
            plan(tmp_path, line)
        with pytest.raises(InputError, match="files no rows"):
            plan(tmp_path, {"run": "a", "command": line})


def test_the_books_plan_names_the_runs_that_its_commands_file(tmp_path, monkeypatch):
    """With the files that such a command needs, it says itself what it files."""
    for name in ("resnet18-images", "resnet18-teacher", "cifar100-images"):
        (tmp_path / "data" / "cache" / name).mkdir(parents=True)
    shutil.copytree(ROOT / "data" / "selected", tmp_path / "data" / "selected")
    monkeypatch.chdir(tmp_path)
    entries = yaml.safe_load((ROOT / "book" / "planned.yaml").read_text("utf-8"))
    given = [c for e in entries for c in e["commands"] if isinstance(c, dict)]
    assert given
    for line in given:
        assert planned.cells(line["command"]) == planned.cells(**line)


def test_every_line_of_the_books_plan_is_a_command():
    plans = planned.read(ROOT)
    assert len({p.about for p in plans}) == len(plans)
    missing = [row for p in plans for row in p.missing]
    assert len(set(missing)) == len(missing)
    assert all(p.wanted and 0 < p.minutes < 600 for p in plans)
