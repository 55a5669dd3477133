"""Speed of the KD step: ours beside a plain PyTorch loop, in turn, in one process.

    python benchmarks/speed.py                       # ConvNet and ResNet-18 at 32 px
    python benchmarks/speed.py --network resnet18 --size 64 --batch 64 128 --together 6
    python benchmarks/speed.py --network resnet18 --bound  # where a CPU's step goes

Rates are of the steady state: each way trains a short and a long time, and the rate is
that of the epochs in which they differ. What the short one took beyond its steps is
"start": loaders that start, kernels that are chosen, graphs that are captured, compiled
code. It is paid once a training, so how much it weighs depends on the training.

The plain loop has the shape of the public code: per-image transforms in a DataLoader,
float32, contiguous memory, `loss.item()` every step; its loader has as many worker
processes as pay here, which is measured first. Both do the same work: the same
images, network, teacher, batch size and loss. Images are random pixels of a real set's
size: the arithmetic does not mind. Quote the ratio; machines are noisy. "share" is of
the multiply-adds per second of a large matrix product, or on a CPU a convolution, in
the same precision; "peak" is the memory on top of what was taken before, of the GPU or,
on a CPU, of this process: the plain loop's loaders have more. With ``--bound`` the
fastest of some steps is taken apart: the share of its convolutions in its time, and of
the peak in their arithmetic, say how much any loop could still win.
"""

import argparse
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from statistics import median

import torch
import torch.nn.functional as F
from peak import memory
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.experiment import Recipe
from ccfs_lib.runtime.device import has_bf16, place
from ccfs_lib.runtime.queue import Queue
from ccfs_lib.step import Step, kd_loss
from ccfs_lib.train import fit

CLASSES = 10


class PlainSet(Dataset):
    """Float images, cropped and mirrored one by one."""

    def __init__(self, data: ImageSet, size: int):
        self.images, self.labels = data.images.float() / 255, data.labels
        crop = v2.RandomResizedCrop(size, antialias=True)
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip()])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def plain(network: nn.Module, teacher, data, recipe: Recipe, device, workers=2):
    """The recipe's epochs by a plain loop."""
    network, teacher = network.to(device).train(), teacher.to(device).eval()
    loader = DataLoader(
        PlainSet(data, data.image_size),
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    optimiser = torch.optim.SGD(
        network.parameters(), recipe.lr, momentum=0.9, weight_decay=5e-4
    )
    # PyTorch's own bfloat16, also on a CPU that has no instructions for it.
    half = torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bf16")
    total = 0.0
    for _ in range(recipe.epochs):
        for images, _labels in loader:
            images = images.to(device)
            with half, torch.no_grad():
                soft = teacher(images)
            with half:
                logits = network(images)
            loss = kd_loss(logits.float(), soft.float(), recipe.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()


@dataclass
class Way:
    """One way to train, and what was seen of it."""

    name: str
    train: object  # (network, teacher, data, recipe, device)
    precision: str = "fp32"
    count: int = 1  # networks at once
    short: list[float] = field(default_factory=list)  # seconds of each round
    long: list[float] = field(default_factory=list)
    peak: float = 0.0  # bytes

    def steady(self, images: int, epochs: int) -> tuple[float, float]:
        """Images per second, all networks together, and seconds of the start.

        The short trainings took an epoch of `images`, the long ones `epochs` more.
        """
        begin, end = median(self.short), median(self.long)
        each = (end - begin) / epochs  # of one epoch
        if each <= 0:  # drowned in noise: train longer
            return math.nan, math.nan
        return self.count * images / each, max(begin - each, 0.0)


def ways(args, workers: int) -> list[Way]:
    """The plain loop first: the others are told as a ratio to it."""

    def ours(network, teacher, data, recipe, device, engine="auto"):
        fit(
            network, data, recipe, seed=0, teacher=teacher, device=device, engine=engine
        )

    loop = partial(plain, workers=workers)
    found = [Way("plain loop", loop, precision) for precision in ("fp32", "bf16")]
    cuda = "plain", "graph", "cast", "compile"
    engines = cuda if args.device == "cuda" else ("plain",)
    for engine in engines:
        train = partial(ours, engine=engine)
        name = "ours" if args.device == "cpu" else f"ours, {engine}"
        found += [Way(name, train, precision) for precision in ("fp32", "bf16")]
    if args.together > 1:
        found.append(Way(f"ours x{args.together}", ours, "bf16", args.together))
    return found


def seconds(way: Way, name: str, data: ImageSet, recipe: Recipe, device: str) -> float:
    """Train once this way; return seconds, and note the memory's peak."""
    recipe = replace(recipe, precision=way.precision)
    pairs = [
        [networks.build(name, CLASSES, data.image_size, seed=s) for s in (i, 9 + i)]
        for i in range(way.count)
    ]

    def one(pair):
        way.train(*pair, data, recipe, device)

    before = memory(device, reset=True)
    start = time.perf_counter()
    # Side by side as in a sweep on a GPU: one launching queue.
    queue = Queue(way.count) if way.count > 1 else nullcontext()
    with queue, ThreadPoolExecutor(way.count) as pool:
        list(pool.map(one, pairs))
    if device == "cuda":
        torch.cuda.synchronize()
    spent = time.perf_counter() - start
    way.peak = max(way.peak, memory(device) - before)
    return spent


def workers_that_pay(args, name: str, data: ImageSet, recipe: Recipe) -> int:
    """The number of loader workers with which the plain loop is fastest here."""
    if args.workers is not None:
        return args.workers
    counts = [n for n in (0, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]
    rates = {}
    for count in counts:
        way = Way("plain loop", partial(plain, workers=count))
        for epochs, into in ((1, way.short), (1 + args.epochs, way.long)):
            longer = replace(recipe, epochs=epochs)
            into.append(seconds(way, name, data, longer, args.device))
        rates[count] = way.steady(len(data), args.epochs)[0]
    return max(rates, key=rates.get)


def measure(args, name: str, batch: int) -> tuple[list[Way], int]:
    """Every way in turn, `--rounds` times; and the workers of the plain loop."""
    shape = (args.images, 3, args.size, args.size)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(args.images) % CLASSES
    data = ImageSet("pixels", pixels, labels, tuple("0123456789"))
    recipe = Recipe(epochs=1, batch_size=batch, warmup_epochs=0)
    workers = workers_that_pay(args, name, data, recipe)
    found, longer = ways(args, workers), replace(recipe, epochs=1 + args.epochs)
    for _ in range(args.rounds):
        for way in found:
            way.short.append(seconds(way, name, data, recipe, args.device))
            way.long.append(seconds(way, name, data, longer, args.device))
    return found, workers


def peak_rate(
    device: str, precision: str, seconds: float = 1.0, clock=time.perf_counter
) -> float:
    """Multiply-adds per second of large products: what this device can do."""
    size = 8192 if device == "cuda" else 1024
    half = precision == "bf16" and has_bf16(device)
    kind = torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    products = {size**3: lambda: a @ b}
    if device == "cpu":
        # MKL's matrix product is slow on AMD's CPUs, oneDNN's convolution is not.
        x, w = torch.randn(32, 256, 10, 10), torch.randn(256, 256, 3, 3)
        x = x.to(kind, memory_format=torch.channels_last)
        w = w.to(kind, memory_format=torch.channels_last)
        products[32 * 8 * 8 * 9 * 256**2] = lambda: F.conv2d(x, w)
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for work, multiply in products.items():
            start = clock()
            multiply().flatten()[0].item()  # waits for the device
            best = max(best, work / (clock() - start))
    return best


# Operators whose own time is a part's; convolutions go by oneDNN's names, too.
PARTS = {"convolutions": "convolution", "batch norm": "batch_norm"}


def bound(args, name: str, batch: int, precision: str) -> str:
    """Say where the time of a KD step goes on a CPU, and what a loop could still win.

    Seconds are this thread's alone: neighbours would count otherwise.
    """
    student, teacher = (
        place(networks.build(name, CLASSES, args.size, seed=s), "cpu") for s in (0, 1)
    )
    shape = batch, 3, args.size, args.size
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    recipe = Recipe(epochs=1, batch_size=batch, precision=precision)
    index, draw = torch.arange(batch), torch.Generator().manual_seed(0)
    step = Step(student, images, index % CLASSES, recipe, draw, teacher.eval())
    step.begin(0)
    fastest = math.inf
    for _ in range(6):
        start = time.thread_time()
        step(index)
        fastest = min(fastest, time.thread_time() - start)
    shares = taken_apart(step, index)
    macs = 4 * networks.count(student, args.size).macs * batch
    rate = macs / (fastest * shares["convolutions"])
    peak = peak_rate("cpu", precision, 3.0, time.thread_time)
    parts = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    return (
        f"{name}, {args.size} px, batch {batch}, {precision}, {fastest:.2f} s a step: "
        f"{parts}, the rest {1 - sum(shares.values()):.0%}; convolutions run at "
        f"{rate / 1e9:.0f} of {peak / 1e9:.0f} GMAC/s, {rate / peak:.0%} of the peak; "
        f"nothing but them would be {1 / shares['convolutions']:.2f}x as fast"
    )


def taken_apart(step: Step, index) -> dict[str, float]:
    """Return the share of each of PARTS in a step's time."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True
    ) as profile:
        step(index)
    spent = {e.key: e.self_cpu_time_total for e in profile.key_averages()}
    return {
        part: sum(s for key, s in spent.items() if word in key) / sum(spent.values())
        for part, word in PARTS.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=["convnet", "resnet18"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", nargs="+", type=int, default=[32])
    cuda = torch.cuda.is_available()
    parser.add_argument("--images", type=int, default=8192 if cuda else 512)
    help_text = "by which the long training is longer"
    parser.add_argument("--epochs", type=int, default=5 if cuda else 2, help=help_text)
    parser.add_argument("--rounds", type=int, default=3)
    help_text = "of the plain loop; default as many as pay"
    parser.add_argument("--workers", type=int, help=help_text)
    parser.add_argument("--together", type=int, default=1, help="networks at once")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    help_text = "take a step apart on the CPU, and time nothing else"
    parser.add_argument("--bound", action="store_true", help=help_text)
    args = parser.parse_args()
    if args.bound:
        torch.set_num_threads(1)
        for cell in product(args.network, args.batch, ("fp32", "bf16")):
            print(bound(args, *cell), flush=True)
        return
    peaks = {p: peak_rate(args.device, p) for p in ("fp32", "bf16")}
    told = ", ".join(f"{p} {rate / 1e9:.0f} GMAC/s" for p, rate in peaks.items())
    print(f"{args.device}, {torch.get_num_threads()} threads, {told}")
    print(
        f"{'network':18} px batch {'way':20} precision   images/s  ratio  share  "
        "start s    peak"
    )
    for name in args.network:
        built = networks.build(name, CLASSES, args.size)
        work = 4 * networks.count(built, args.size).macs
        for batch in args.batch:
            found, workers = measure(args, name, batch)
            found[0].name += f", {workers} workers"
            plain_rate = found[0].steady(args.images, args.epochs)[0]
            for way in found:
                rate, start = way.steady(args.images, args.epochs)
                print(
                    f"{name:18} {args.size} {batch:5} {way.name:20} {way.precision:9} "
                    f"{rate:10.0f} {rate / plain_rate:5.2f}x "
                    f"{rate * work / peaks[way.precision]:6.1%} {start:8.2f} "
                    f"{way.peak / 2**20:5.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
