"""Speed of the KD step: ours beside a plain PyTorch loop, in turn, in one process.

    python benchmarks/speed.py                       # ConvNet and ResNet-18 at 32 px
    python benchmarks/speed.py --network resnet18 --size 64 --batch 64 128

The plain loop has the shape of the public code: per-image transforms in a DataLoader,
float32, contiguous memory, `loss.item()` every step. Both do the same work: the same
images, network, teacher, batch size and loss. Images are random pixels of a real set's
size: the arithmetic does not mind. Quote the ratio; machines are noisy.
"""

import argparse
import time
from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ccfs_lib import networks
from ccfs_lib.data import ImageSet
from ccfs_lib.recipes import Recipe
from ccfs_lib.step import kd_loss
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


def plain(network: nn.Module, teacher, data, recipe: Recipe, device, workers) -> float:
    """One epoch of the plain loop; returns the mean loss."""
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
    total = 0.0
    for _ in range(recipe.epochs):
        for images, _labels in loader:
            images = images.to(device)
            with torch.no_grad():
                soft = teacher(images)
            loss = kd_loss(network(images), soft, recipe.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
    return total


def ours(network, teacher, data, recipe, device, workers) -> float:
    """The same epochs by `train.fit`."""
    return fit(network, data, recipe, seed=0, teacher=teacher, device=device).losses[-1]


def measure(args, name: str, batch: int) -> list[tuple[str, list[float]]]:
    """Images per second of each way, `--rounds` times in turn, after one warm-up."""
    shape = (args.images, 3, args.size, args.size)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(args.images) % CLASSES
    data = ImageSet("pixels", pixels, labels, tuple("0123456789"))
    base = Recipe(epochs=args.epochs, batch_size=batch, warmup_epochs=0)
    ways = [("plain fp32", plain, base), ("ours fp32", ours, base)]
    ways += [("ours bf16", ours, replace(base, precision="bf16"))] * args.bf16
    seen = {way: [] for way, _, _ in ways}
    for turn in range(args.rounds + 1):
        for way, function, recipe in ways:
            made = [networks.build(name, CLASSES, args.size, seed=s) for s in (0, 1)]
            _wait(args.device)
            start = time.perf_counter()
            function(*made, data, recipe, args.device, args.workers)
            _wait(args.device)
            if turn:  # the first turn warms caches and worker processes
                passed = args.images * args.epochs
                seen[way].append(passed / (time.perf_counter() - start))
    return list(seen.items())


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_flops(device: str, size: int = 1024, seconds: float = 0.5) -> float:
    """Multiply-adds per second of a float32 matrix product: what this device can do."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    a @ b
    _wait(device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        _wait(device)
        count += 1
    return count * size**3 / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=["convnet", "resnet18"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", nargs="+", type=int, default=[32])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    args = parser.parse_args()
    peak = peak_flops(args.device)
    print(f"{args.device}, {torch.get_num_threads()} threads, {peak / 1e9:.0f} GMAC/s")
    print("network batch way         images/s (median)  ratio  share of peak")
    for name in args.network:
        work = (
            4 * networks.count(networks.build(name, CLASSES, args.size), args.size).macs
        )
        for batch in args.batch:
            rows = measure(args, name, batch)
            baseline = sorted(rows[0][1])[args.rounds // 2]
            for way, rates in rows:
                rate = sorted(rates)[args.rounds // 2]
                print(
                    f"{name:12} {batch:4} {way:12} {rate:10.0f}  "
                    f"{rate / baseline:5.2f}x  {100 * rate * work / peak:4.0f} %"
                )


if __name__ == "__main__":
    main()
