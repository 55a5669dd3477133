"""Cost against images and epochs: the time of a training is a straight line in both.

    python benchmarks/scaling.py                     # a ConvNet on this machine
    python benchmarks/scaling.py --network resnet18 --images 10000 20000 40000

Trains with the KD step on 1, 2, 4, ... times the images, and 1, 2, 4, ... epochs, in
shuffled order, several rounds, and fits seconds = start + slope x image passes by least
squares. What a reader learns: how long any IPC will take here, and that nothing grows
faster than the work does.
"""

import argparse
import random
import time

import numpy as np
import torch

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import Recipe
from ccfs_lib.train import fit


def seconds(args, images: int, epochs: int) -> float:
    """One training's time."""
    generator = torch.Generator().manual_seed(0)
    shape = images, 3, args.size, args.size
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    data = ImageSet("pixels", pixels, torch.arange(images) % 10, tuple("0123456789"))
    student, teacher = (
        networks.build(args.network, 10, args.size, seed=s) for s in (0, 1)
    )
    recipe = Recipe(epochs, batch_size=64, warmup_epochs=0, precision=args.precision)
    start = time.perf_counter()
    fit(student, data, recipe, seed=0, teacher=teacher, device=args.device)
    return time.perf_counter() - start


def fitted(work: list[int], spent: list[float]) -> tuple[float, float, float]:
    """Intercept (s), slope (s per image pass) and R^2 of a straight line."""
    x, y = np.array(work, float), np.array(spent)
    slope, start = np.polyfit(x, y, 1)
    left = y - (start + slope * x)
    return start, slope, 1 - (left @ left) / ((y - y.mean()) @ (y - y.mean()))


def main() -> None:
    """Print every measurement and the fitted lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="convnet-32-64-128")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument(
        "--images", nargs="+", type=int, default=[512, 1024, 2048, 4096]
    )
    parser.add_argument("--epochs", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    args = parser.parse_args()
    seconds(args, 256, 1)  # warms up
    grids = {
        "images": [(n, 1) for n in args.images],
        "epochs": [(args.images[0], n) for n in args.epochs],
    }
    for name, grid in grids.items():
        todo = grid * args.rounds
        random.Random(0).shuffle(todo)  # so that a slow minute hits no one size
        spent = [seconds(args, *cell) for cell in todo]
        for cell in grid:
            own = [s for c, s in zip(todo, spent, strict=True) if c == cell]
            print(f"{cell[0]:6} images {cell[1]:3} epochs  {min(own):8.2f} s (fastest)")
        start, slope, r2 = fitted([n * e for n, e in todo], spent)
        print(
            f"against {name}: {start:.2f} s + {1e6 * slope:.0f} us an image pass, "
            f"R^2 = {r2:.4f}"
        )


if __name__ == "__main__":
    main()
