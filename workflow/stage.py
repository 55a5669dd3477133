"""One job of a grid: `stage.py squeeze|recover|filter|cell`, called by the Snakefile.

Each writes a small JSON file per seed or part, once what that names is in the store;
started again, it finds there what was finished and goes on with the rest.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from plan import Grid, read

from ccfs_lib.errors import InputError, TimeUp


def squeeze(pipeline, grid, job) -> Iterator[dict]:
    """Train on all data: the teacher (seed 0), or once more to count forgetting in."""
    for seed in job.seeds:
        done = pipeline.squeeze.run(seed)
        yield {"key": done.key, "seed": seed, "last": done.meta["last"]}


def recover(pipeline, grid, job) -> Iterator[dict]:
    """Recover this part's share of the batches of distilled images."""
    # Backwards: the first batches are also those of a smaller recovery beside this one.
    for number in reversed(pipeline.recover.batches(job.count)):
        if number % grid.recovery == job.part:
            pipeline.recover.batch(job.count, number)
    yield {"images": job.count, "part": job.part, "parts": grid.recovery}


def first_filter(pipeline, grid, job) -> Iterator[dict]:
    """Train the first phase's filter, with which every strategy begins."""
    for seed in job.seeds:
        record = next(pipeline.phases(seed))
        yield {"seed": seed, "last": record.filter.test_accuracy}


def cell(pipeline, grid, job) -> Iterator[dict]:
    """Measure an arm with some seeds: rows of its results, each filed at once."""
    for seed in job.seeds:
        row = pipeline.evaluate(job.arm, seed)
        if job.file:
            pipeline.measure(job.arm, f"make grid GRID={grid.grid}", [seed])
        yield {"arm": job.arm, **row}


STAGES = {"squeeze": squeeze, "recover": recover, "filter": first_filter, "cell": cell}


def run(grid: Grid, job: argparse.Namespace) -> None:
    """Compute a stage; write each of its files as soon as that is known."""
    deadline = time.monotonic() + allowed(60 * job.minutes) if job.minutes else None
    import torch

    from ccfs_lib.pipeline import Pipeline

    if grid.gpu and not torch.cuda.is_available():
        raise InputError(f"gpu is {grid.gpu}, but torch finds no GPU here")
    pipeline = Pipeline(grid.experiments[job.run], deadline=deadline)
    values = STAGES[job.stage](pipeline, grid, job)
    for path, value in zip(job.out, values, strict=True):
        write(path, value)
    if job.file:
        # Equal results stay the bytes they were, but Snakemake goes by the time stamp.
        os.utime(pipeline.measure(job.arm, f"make grid GRID={grid.grid}"))


def allowed(limit: float) -> float:
    """Compute the seconds after which a job is to stop at the next epoch boundary.

    A tenth is kept to reach that, 10 minutes at most; a minute at least, as by now the
    job's clock has run since before Snakemake started.
    """
    return limit - min(max(limit / 10, 60), 600, limit / 2)


def write(path: Path, value: dict) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, sort_keys=True) + "\n", "utf-8")
    os.replace(temporary, path)


@contextmanager
def card(names: list[str]) -> Iterator[str | None]:
    """Hold one of several GPUs for this process, waiting for a free one; its name.

    Snakemake counts the GPUs of a box, but tells no job which is its own: all would
    take the first. Slurm does tell; then there is one name, and nothing to choose.
    """
    if len(names) < 2:
        yield names[0] if names else None
        return
    folder = Path(tempfile.gettempdir()) / f"ccfs-gpu-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    # flock: a killed job gives its card back.
    locks = [FileLock(folder / name) for name in names]
    while not (lock := next(filter(_taken, locks), None)):
        time.sleep(0.5)
    with lock:
        os.environ["CUDA_VISIBLE_DEVICES"] = name = Path(lock.lock_file).name
        yield name


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def cards() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in given.split(",") if name]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]  # does not start CUDA


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line of a job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--grid", required=True, help="the grid description, as JSON")
    parser.add_argument("--run", help="the variant, of a cell")
    parser.add_argument("--name", help="of a shared stage, in place of --run")
    parser.add_argument("--arm")
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    parser.add_argument("--count", type=int, help="images per class to recover")
    parser.add_argument("--part", type=int, default=0, help="which of their batches")
    parser.add_argument("--out", nargs="*", type=Path, default=[], help="JSON files")
    parser.add_argument("--file", action="store_true", help="file the arm's results")
    parser.add_argument("--minutes", type=float, default=0, help="of the job; 0: any")
    return parser.parse_args(words)


def main() -> None:
    """Run one job; exit codes as `ccfs`: 2 with a sentence, 75 for out of time."""
    os.environ.setdefault("CCFS_PROGRESS", "0")  # the grid has a bar of its own
    job = parsed()
    try:
        grid = read(json.loads(job.grid))
        job.run = job.run or grid.owner(job.stage, job.name)
        with card(cards()):
            run(grid, job)
    except TimeUp as stop:
        print(f"grid: {stop}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except (InputError, FloatingPointError, OSError) as error:
        print(f"grid: {job.stage} of {job.run}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
