"""The cache: computes once, survives kills and damage, and never loses a result."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.numpy import load_file

from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths
from ccfs_lib.store import Store, StoreWarning, key

RECIPE = {"stage": "teacher", "seed": 3, "widths": [32, 64]}
# Children start from one clean process that has torch already: real processes to
# kill, without two seconds of import for each.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "safetensors.torch", "ccfs_lib.store"])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture(autouse=True)
def no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", StoreWarning)
        yield


def never():
    raise AssertionError("computed again")


def small():
    return {"x": torch.arange(6.0).reshape(2, 3)}, {"accuracy": 81.25}


def is_small(artefact):
    return (
        list(artefact.tensors) == ["x"]
        and torch.equal(artefact.tensors["x"], small()[0]["x"])
        and artefact.meta == small()[1]
    )


def rubbish(store):
    """Everything in the cache that is neither a finished entry nor a lock."""
    return list(store.root.rglob(".tmp*"))


def lock_is_free(store, kind="k", recipe=RECIPE):
    with FileLock(store.root / kind / ".locks" / key(recipe)).acquire(timeout=0):
        return True


# --- names ---


def test_key_is_the_hash_of_the_canonical_json():
    text = b'{"a":{"x":null,"y":"\\u00e9"},"b":[1,2.5,true]}'
    recipe = {"b": (1, 2.5, True), "a": {"y": "é", "x": None}}
    assert key(recipe) == hashlib.sha256(text).hexdigest()[:20]


def test_key_tells_values_apart():
    values = [1, 1.0, True, "1", None, [1], {"1": 1}, 0.1, 0.1 + 1e-16, -1]
    assert len({key({"value": value}) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"a": {"lr": float("nan")}}, "recipe.a.lr"),
        ({"a": [0, float("inf")]}, "recipe.a[1]"),
        ({"classes": {1, 2}}, "recipe.classes is a set"),
        ({"seed": torch.tensor(1)}, "recipe.seed is a Tensor"),
        ({"quota": {0: 5}}, "recipe.quota has the key 0"),
        (["a"], "recipe is a list"),
    ],
)
def test_key_names_what_json_cannot_hold(recipe, named):
    with pytest.raises(InputError) as caught:
        key(recipe)
    assert str(caught.value).startswith(named) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["", "..", "a/b", ".tmp-x", "a b", None])
def test_kind_stays_inside_the_root(store, kind):
    with pytest.raises(InputError, match="kind is"):
        store.get(kind, RECIPE, never)


def test_default_root(monkeypatch, tmp_path):
    """That of all commands, whatever the working folder is."""
    monkeypatch.delenv("CCFS_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Store().root == paths.cache() == paths.PACKAGE.parent / "data/cache"
    monkeypatch.setenv("CCFS_CACHE", "elsewhere")
    store = Store()
    monkeypatch.chdir("/")
    assert store.root == tmp_path / "elsewhere"
    monkeypatch.setenv("CCFS_CACHE", "~/elsewhere")
    assert Store().root == Path.home() / "elsewhere"


def test_naming_an_artefact_does_not_import_torch():
    code = (
        "import sys, ccfs_lib.store as s; s.key({}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what goes in comes out ---


def test_every_kind_of_tensor_comes_back(store):
    base = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tensors = {
        "shared": base,
        "view": base[1:3, :, ::2],
        "transposed": base.transpose(0, 3),
        "channels_last": base.to(memory_format=torch.channels_last),
        "expanded": base[:1].expand(5, 3, 8, 8),
        "half": base.bfloat16(),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "labels": torch.tensor([2**40, -1]),
        "mask": base > 0,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    expected = {name: value.detach().clone() for name, value in tensors.items()}
    meta = {"sizes": (1, 2), "nested": {"b": 0.1 + 0.2, "a": None}}
    first = store.get("k", RECIPE, lambda: (tensors, meta))
    base.zero_()  # a network that trains on must not change what was kept
    again = Store(store.root).get("k", RECIPE, never)
    for artefact in (first, again):
        assert set(artefact.tensors) == set(expected)
        for name, value in artefact.tensors.items():
            assert value.dtype == expected[name].dtype
            assert value.shape == expected[name].shape
            assert torch.equal(value, expected[name]), name
        assert artefact.meta == {"sizes": [1, 2], "nested": meta["nested"]}
    assert list(first.tensors) == list(again.tensors)
    assert (first.key, first.path) == (again.key, again.path)


def test_what_is_read_can_be_changed_without_changing_the_cache(store):
    store.get("k", RECIPE, small)
    store.get("k", RECIPE, never).tensors["x"].fill_(-1)
    assert is_small(store.get("k", RECIPE, never))


def test_files_are_readable_by_others(store):
    assert not store.has("k", RECIPE) and list(store.entries("k")) == []
    path = store.get("k", RECIPE, small).path
    assert path == store.path("k", RECIPE) == store.root / "k" / key(RECIPE)
    assert store.has("k", RECIPE) and not store.has("k", {**RECIPE, "seed": 4})
    assert sorted(os.listdir(path)) == ["recipe.json", "tensors.safetensors"]
    record = json.loads((path / "recipe.json").read_text())
    data = (path / "tensors.safetensors").read_bytes()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["recipe"] == RECIPE and record["meta"] == small()[1]
    assert record["shapes"] == {"x": [2, 3]} and record["seconds"] >= 0
    assert load_file(path / "tensors.safetensors")["x"].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    (entry,) = store.entries("k")
    assert entry["key"] == key(RECIPE) and entry["recipe"] == RECIPE


def test_recipe_changed_by_compute_is_kept_as_asked(store):
    recipe = {"epochs": 5}
    store.get("k", recipe, lambda: (recipe.update(epochs=0), small())[1])
    assert is_small(store.get("k", {"epochs": 5}, never))


@pytest.mark.parametrize(
    "result",
    [
        None,
        {"x": torch.ones(1)},
        ({"x": [1.0]}, {}),
        ({1: torch.ones(1)}, {}),
        ({}, []),
    ],
)
def test_wrong_result_is_refused(store, result):
    with pytest.raises(InputError, match="compute of 'k' must return"):
        store.get("k", RECIPE, lambda: result)
    with pytest.raises(InputError, match=r"meta\.loss is nan"):
        store.get("k", RECIPE, lambda: ({}, {"loss": float("nan")}))
    assert not store.has("k", RECIPE) and rubbish(store) == []


# --- many processes, and their deaths ---


def logged(log, seconds):
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return small()


def join_race(root, log, barrier, results):
    barrier.wait()
    artefact = Store(root).get("k", RECIPE, lambda: logged(log, 0.3))
    results.put(is_small(artefact))


def test_processes_that_want_the_same_compute_it_once(store, tmp_path):
    log, results = tmp_path / "log", PROCESSES.Queue()
    barrier = PROCESSES.Barrier(4)
    arguments = (store.root, log, barrier, results)
    racers = [PROCESSES.Process(target=join_race, args=arguments) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert all(results.get(timeout=30) for _ in racers)
    for racer in racers:
        racer.join()
    assert len(log.read_text().split()) == 1 and rubbish(store) == []


def big(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(1_000_000, generator=generator)}, {"seed": seed}


def wait_in_compute(root, flag):
    Store(root).get("k", RECIPE, lambda: (flag.touch(), time.sleep(60)))


def test_kill_during_compute_frees_the_lock(store, tmp_path):
    flag = tmp_path / "computing"
    child = PROCESSES.Process(target=wait_in_compute, args=(store.root, flag))
    child.start()
    while not flag.exists():
        time.sleep(0.01)
    with pytest.raises(TimeoutError):
        lock_is_free(store)
    child.kill()
    child.join()
    start = time.perf_counter()
    assert is_small(store.get("k", RECIPE, small))
    assert time.perf_counter() - start < 5 and rubbish(store) == []


def write_and_die(root, fatal):
    """Kill this process just before its nth fsync or rename."""
    calls, real = iter(range(100)), {"fsync": os.fsync, "replace": os.replace}

    def trap(name):
        def call(*arguments):
            if next(calls) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*arguments)

        return call

    os.fsync, os.replace = trap("fsync"), trap("replace")
    Store(root).get("k", RECIPE, big)


@pytest.mark.parametrize("fatal", range(6))
def test_kill_at_each_step_of_a_write(store, fatal):
    child = PROCESSES.Process(target=write_and_die, args=(store.root, fatal))
    child.start()
    child.join()
    # Two files, their folder, the rename, the parent folder: 5 steps; then none.
    assert child.exitcode == (0 if fatal == 5 else -signal.SIGKILL)
    assert store.has("k", RECIPE) == (fatal >= 4)
    assert len(rubbish(store)) == (fatal < 4)
    artefact = store.get("k", RECIPE, never if fatal >= 4 else big)
    assert torch.equal(artefact.tensors["x"], big()[0]["x"])
    assert rubbish(store) == [] and store.has("k", RECIPE)


def write_many(root, flag):
    flag.touch()
    for seed in range(100_000):
        Store(root).get("k", {"seed": seed}, lambda seed=seed: big(seed))


def test_kill_at_random_moments(store, tmp_path):
    moments = random.Random(1)
    for trial in range(6):
        flag = tmp_path / f"started{trial}"
        child = PROCESSES.Process(target=write_many, args=(store.root, flag))
        child.start()
        while not flag.exists():
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.15))
        child.kill()
        child.join()
    seen = list(store.entries("k"))
    for entry in seen:
        seed = entry["recipe"]["seed"]
        artefact = store.get("k", {"seed": seed}, never)
        assert torch.equal(artefact.tensors["x"], big(seed)[0]["x"])
    assert sorted(e["recipe"]["seed"] for e in seen) == list(range(len(seen)))
    store.get("k", {"seed": -1}, small)
    assert rubbish(store) == []


# --- damage ---


def edit(name, change):
    def damage(path):
        data = (path / name).read_bytes()
        (path / name).write_bytes(change(data))

    return damage


def flip(data):
    place = len(data) - 3  # inside the numbers: decodes without complaint
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


DAMAGES = {
    "bit": edit("tensors.safetensors", flip),
    "header bit": edit("tensors.safetensors", lambda d: bytes([d[0] ^ 1]) + d[1:]),
    "truncated": edit("tensors.safetensors", lambda d: d[: len(d) // 2]),
    "empty": edit("tensors.safetensors", lambda d: b""),
    "no tensors": lambda path: (path / "tensors.safetensors").unlink(),
    "no record": lambda path: (path / "recipe.json").unlink(),
    "half a record": edit("recipe.json", lambda d: d[: len(d) // 2]),
    "not a dict": edit("recipe.json", lambda d: b"[1]"),
    "not text": edit("recipe.json", lambda d: b"\xff\xfe\x00"),
    "meta": edit("recipe.json", lambda d: d.replace(b"81.25", b"81.75")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_told_and_computed_again(store, damage):
    path = store.get("k", RECIPE, small).path
    damage(path)
    with pytest.warns(StoreWarning) as caught:
        assert is_small(store.get("k", RECIPE, small))
    (warning,) = caught
    text = str(warning.message)
    assert str(path) in text and "computed again" in text and "\n" not in text
    assert warning.filename == __file__
    assert is_small(store.get("k", RECIPE, never)) and rubbish(store) == []


def test_entry_of_another_recipe_is_not_returned(store):
    other = store.get("k", {**RECIPE, "seed": 4}, lambda: ({}, {})).path
    os.replace(other, store.path("k", RECIPE))  # a copy gone wrong, itself intact
    with pytest.warns(StoreWarning, match="another recipe"):
        assert is_small(store.get("k", RECIPE, small))


def test_entries_skips_a_damaged_record(store):
    store.get("k", RECIPE, small)
    (store.get("k", {}, small).path / "recipe.json").write_text("{")
    with pytest.warns(StoreWarning, match="skipped"):
        assert [entry["recipe"] for entry in store.entries("k")] == [RECIPE]


def test_trouble_of_the_reader_does_not_cost_the_entry(store, monkeypatch):
    path = store.get("k", RECIPE, small).path

    def too_many(_):
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "read_bytes", too_many)
        with pytest.raises(OSError, match="too many"):
            store.get("k", RECIPE, never)
    assert is_small(store.get("k", RECIPE, never))


# --- sweep, interruption, unwritable roots ---


def test_sweep_spares_the_living(store):
    store.get("k", RECIPE, small)
    dead, living, own = ("dead", "0" * 20), ("living", "1" * 20), ("own", key({}))
    for _, name in (dead, living, own):
        folder = store.root / "k" / f".tmp-{name}-0123abcd"
        folder.mkdir()
        (folder / "tensors.safetensors").write_bytes(b"half")
    with FileLock(store.root / "k" / ".locks" / living[1]):
        store.get("k", {}, small)
        assert [path.name for path in rubbish(store)] == [f".tmp-{living[1]}-0123abcd"]
    store.get("k", {"another": 1}, small)
    assert rubbish(store) == [] and len(list(store.entries("k"))) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, OSError])
def test_what_compute_raises_passes_through(store, error):
    def fail():
        raise error("from compute")

    with pytest.raises(error, match="from compute"):
        store.get("k", RECIPE, fail)
    assert lock_is_free(store) and rubbish(store) == []
    assert not store.has("k", RECIPE) and is_small(store.get("k", RECIPE, small))


def test_interrupted_write_leaves_nothing(store, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.get("k", RECIPE, small)
    assert rubbish(store) == [] and lock_is_free(store)
    assert not store.has("k", RECIPE)


def test_root_that_cannot_exist_costs_no_result(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "cache")
    with pytest.warns(StoreWarning, match="not writable") as caught:
        assert is_small(store.get("k", RECIPE, small))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert not store.has("k", RECIPE) and list(store.entries("k")) == []


def test_full_disk_costs_no_result(store, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.warns(StoreWarning, match="no space left") as caught:
            assert is_small(store.get("k", RECIPE, small))
    assert len(caught) == 1 and rubbish(store) == [] and not store.has("k", RECIPE)


def test_finished_entry_needs_no_lock(store):
    store.get("k", RECIPE, small)
    locks = store.root / "k" / ".locks"
    (locks / key(RECIPE)).unlink()
    locks.rmdir()
    locks.write_text("no lock can be made here, as on a read-only disk")
    assert is_small(store.get("k", RECIPE, never))


def test_shipped_artefacts_are_read_and_never_written(tmp_path):
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    made = Store(shipped).get("k", {"a": 1}, lambda: ({"x": torch.arange(3)}, {"m": 2}))
    before = sorted(p for p in shipped.rglob("*"))
    store = Store(own, shipped)
    found = store.get("k", {"a": 1}, lambda: pytest.fail("computed again"))
    assert torch.equal(found.tensors["x"], made.tensors["x"]) and found.meta == {"m": 2}
    store.get("k", {"a": 2}, lambda: ({"x": torch.zeros(1)}, {}))
    assert sorted(p for p in shipped.rglob("*")) == before
    # A damaged one is passed over: computed, and kept among our own.
    (made.path / "tensors.safetensors").write_bytes(b"rubbish")
    again = store.get("k", {"a": 1}, lambda: ({"x": torch.ones(2)}, {}))
    assert torch.equal(again.tensors["x"], torch.ones(2)) and own in again.path.parents
