"""A whole experiment, killed in more than twenty places; it ends with the same bits.

Teacher, recovery, filters, selection, evaluation and the files of results.

Moments of a clock would fall where a machine is slow, so the places are drawn instead:
before any batch, recovery iteration, selection, or renaming of a finished file. Each
process is told one of them and sends itself SIGKILL when it comes there.
"""

import json
import multiprocessing
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import EachEpoch, small

import ccfs_lib.pipeline.trainings
from ccfs_lib import curriculum, results, step, train
from ccfs_lib.distill import sre2l
from ccfs_lib.pipeline import EVALUATION, Pipeline
from ccfs_lib.store import Store

ARMS = ("simple-misclassified", "hard-classified", "random-hard")
# Kills of each kind of stage. All of a kind lie in places of their own.
KILLS = {"teacher": 4, "recover": 4, "filter": 4, "select": 2, "evaluate": 4}
KILLS |= {"results": 4}


class Places:
    """Names every place that a process comes to; dies in one, or lists them all."""

    def __init__(self, target: list | None):
        self.target, self.seen, self.at = target, [], ["start"]

    def move(self, *place) -> None:
        self.at = list(place)
        self.here("compute")

    def here(self, *detail) -> None:
        place = [*self.at, *detail]
        self.seen.append(place)
        if place == self.target:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Stand in the way of everything that takes time or writes."""
        ccfs_lib.pipeline.trainings.fit = self.training(ccfs_lib.pipeline.trainings.fit)
        train._epoch = self.epoch(train._epoch)
        step.augment = self.before(step.augment, lambda: self.at[-1] + 1)
        sre2l.recover_batch = self.before(sre2l.recover_batch, lambda: 0, "recover")
        sre2l.views = self.views(sre2l.views)
        curriculum.coarse_to_fine = self.select(curriculum.coarse_to_fine)
        results.write = self.file(results.write)
        os.replace = self.rename(os.replace)

    def training(self, fit):
        def told(network, images, recipe, *, seed, label, **options):
            kind = "evaluate" if seed % 1000 == EVALUATION else "filter"
            kind = "teacher" if label.startswith("teacher") else kind
            self.kind = [kind, label, recipe.loss, images.fingerprint]
            return fit(network, images, recipe, seed=seed, label=label, **options)

        return told

    def epoch(self, run):
        def told(number, *rest):
            self.at = [*self.kind, number, -1]
            return run(number, *rest)

        return told

    def before(self, call, count, *kind):
        def told(*args):
            self.move(*(kind or self.at[:-1]), count())
            return call(*args)

        return told

    def views(self, views):
        def told(*args):
            self.at = ["recover", args[3]]  # the iterations that a checkpoint has
            for view in views(*args):
                self.move("recover", self.at[1] + 1)
                yield view

        return told

    def select(self, choose):
        def told(*args, **rules):
            self.move("select", *(rules[k] for k in ("coarse", "fine", "seed")))
            return choose(*args, **rules)

        return told

    def file(self, write):
        def told(root, run, cell, **content):
            # A place before the file is touched, one before it is renamed.
            self.move("results", cell, content["rows"][0]["seed"])
            return write(root, run, cell, **content)

        return told

    def rename(self, replace):
        def told(source, target):
            self.here("rename", Path(target).name)
            return replace(source, target)

        return told


def measure_all(folder: str, target: list | None = None) -> None:
    """A process of its own: measures the arms, or dies at the place `target`."""
    os.environ["CCFS_CACHE"] = folder + "/cache"
    os.environ["CCFS_RESULTS"] = folder + "/results"
    torch.set_num_threads(1)
    ccfs_lib.pipeline.trainings.Checkpoint = EachEpoch
    places = Places(target)
    places.watch()
    for arm in ARMS:
        Pipeline(small(seeds=2)).measure(arm)
    Path(folder, "places.json").write_text(json.dumps(places.seen))


@pytest.fixture
def process():
    """Runs `measure_all` in a real process that has torch already; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ccfs_lib.pipeline", "safetensors.torch"])

    def run(*args):
        child = context.Process(target=measure_all, args=args)
        child.start()
        child.join(300)
        return child.exitcode

    return run


def drawn(seen: list) -> list:
    """Places to die at, in the order of a run: so many of each kind, seeded."""
    draw, places = random.Random(0), []
    for kind, count in KILLS.items():
        known = [p for p in seen if p[0] == kind]
        assert len(known) > count
        places += draw.sample(known, count)
    return sorted(places, key=seen.index)


def made(folder: Path) -> tuple[dict, list, dict]:
    """Checksums of all stages by key, the selected indices, and rows by arm."""
    stages = Pipeline(small(), Store(folder / "cache"))
    sums = {
        (kind, entry["key"]): entry["sha256"]
        for kind in ("squeeze", "recover", "train")
        for entry in stages.store.entries(kind)
    }
    chosen = [r.chosen.tolist() for arm in ARMS[:2] for r in stages.phases(0, arm)]
    filed = {}
    for path in (folder / "results" / small().run).glob("*.json"):
        content = json.loads(path.read_text())
        filed[path.stem] = content["config"], content["rows"]
    return sums, chosen, filed


def test_killed_at_twenty_two_places_of_all_stages(process, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert process(str(whole)) == 0
    seen = json.loads((whole / "places.json").read_text())
    places = drawn(seen)
    died = Counter()
    for place in places:
        assert process(str(killed), place) == -signal.SIGKILL, place
        died[place[0]] += 1
    assert died == KILLS and died.total() == 22
    assert process(str(killed)) == 0
    first, again = made(whole), made(killed)
    assert again == first
    # Something was there to be lost: weights, images, filters, and two selections.
    assert len(first[0]) >= 8 and sum(map(len, first[1])) > 20
    assert set(first[2]) == set(ARMS)
    assert all(len(rows) == config["seeds"] == 2 for config, rows in first[2].values())
    left = [*killed.rglob(".tmp*"), *killed.rglob(".*.tmp")]
    left += (killed / "cache" / "checkpoints").glob("*")
    assert not left
