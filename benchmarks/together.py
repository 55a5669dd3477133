"""Many small trainings at once: n seeds one after another, and beside each other.

    python benchmarks/together.py                    # as many as there are cores
    python benchmarks/together.py --count 5 --device cuda

One after another, each training has all cores. Beside each other they are what a sweep
makes of them (`ccfs_lib.runtime.workers`): processes with a core each on a CPU, on a
GPU one queue that launches them all, a stream each. The ways take turns; starting the
processes is not counted, since a sweep does it once.
"""

import argparse
import os
import time
from statistics import median

import torch

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.workers import executor, run_all
from ccfs_lib.train import fit


def one(args, images: int, seed: int) -> None:
    """One training with the KD step on random pixels."""
    draw = torch.Generator().manual_seed(0)
    shape = images, 3, args.size, args.size
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    data = ImageSet("pixels", pixels, torch.arange(images) % 10, tuple("0123456789"))
    student, teacher = (
        networks.build(args.network, 10, args.size, seed=s) for s in (seed, 99)
    )
    recipe = Recipe(epochs=1, batch_size=args.batch, warmup_epochs=0)
    fit(student, data, recipe, seed=seed, teacher=teacher, device=args.device)


def beside(pool, args, images: int) -> None:
    """All trainings at once, by the workers of a pool."""
    tasks = [(one, seed) for seed in range(args.count)]
    run_all(pool, (args, images), tasks, "beside", "seed")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="convnet-32-64-128")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--count", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    args = parser.parse_args()
    seconds = {"one after another": [], "beside each other": []}
    with executor(args.count, args.device == "cuda") as pool:
        beside(pool, args, args.batch)  # workers start, libraries are loaded
        one(args, args.batch, 0)
        for _ in range(args.rounds):
            start = time.perf_counter()
            for seed in range(args.count):
                one(args, args.images, seed)
            between = time.perf_counter()
            beside(pool, args, args.images)
            seconds["one after another"].append(between - start)
            seconds["beside each other"].append(time.perf_counter() - between)
    print(f"{args.device}, {torch.get_num_threads()} threads, {args.count} trainings")
    first = median(seconds["one after another"])
    for way, spent in seconds.items():
        rate = args.count * args.images / median(spent)
        print(f"{way:18} {rate:8.0f} images/s in all  {first / median(spent):5.2f}x")


if __name__ == "__main__":
    main()
