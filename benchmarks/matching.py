"""Speed of trajectory matching: ours beside a plain unrolled loop, in turn.

    python benchmarks/matching.py                            # SelMatch's network, small
    python benchmarks/matching.py --network convnet-in --batch 125 --steps 30
    python benchmarks/matching.py --engines plain compile    # the latter: minutes more

The plain loop has the shape of the public code: a module whose weights are replaced by
slices of a flat vector, ``autograd.grad(create_graph=True)`` at every inner step, one
backward pass through the whole graph at the end. Ours goes back step by step, with
layers made for it; "kept" holds each step's graph until then, "recomputed" only the
weights, and computes each step again on the way back. All match the same weights with
the same images and no augmentation, and arrive at the same gradient, which is checked.
A round is one matching (all its inner steps, forward and back); "peak" is the memory on
top of what was taken before. Quote the ratio; machines are noisy.
"""

import argparse
import time
from functools import partial
from itertools import product
from statistics import median

import torch
import torch.nn.functional as F
from peak import memory
from torch.func import functional_call

from ccfs_lib import networks
from ccfs_lib.distill.functional import Flat
from ccfs_lib.distill.mtt import matching, plan
from ccfs_lib.experiment import Matching


def plain(body, sizes, shapes, start, target, images, targets, lr, plan):
    """The loss and d loss / d images, by one graph through all steps."""
    names = [name for name, _ in body.named_parameters()]
    images, lr = images.clone().requires_grad_(True), lr.clone().requires_grad_(True)
    theta = start.clone().requires_grad_(True)
    for index, _ in plan:
        parts = zip(names, theta.split(sizes), shapes, strict=True)
        weights = {name: part.view(shape) for name, part, shape in parts}
        logits = functional_call(body, weights, (images[index],))
        loss = F.cross_entropy(logits, targets[index])
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - lr * slope
    loss = (theta - target).square().sum() / (start - target).square().sum()
    loss.backward()
    return loss.detach(), images.grad


def problem(args) -> dict:
    """Weights, images and inner steps: all that a matching takes."""
    flat = Flat(networks.build(args.network, 10, args.size, seed=0), args.device)
    draw = torch.Generator().manual_seed(0)
    shape = args.batch * args.batches, 3, args.size, args.size
    images = torch.randn(shape, generator=draw).to(args.device)
    labels = (torch.arange(len(images)) % 10).to(args.device)
    recipe = Matching(syn_steps=args.steps, batch_syn=args.batch, dsa=None)
    steps = plan(len(images), args.size, recipe, draw)
    steps = [step._replace(index=step.index.to(args.device)) for step in steps]
    return {
        "start": flat.start,
        "target": flat.start + 0.02 * torch.randn_like(flat.start),
        "images": images,
        "targets": F.one_hot(labels, 10).float(),
        "lr": torch.tensor(0.01, device=args.device),
        "plan": steps,
    }


def ways(args, given: dict) -> dict:
    """Name -> function that gives (loss, d loss / d images); the plain loop first."""
    network = networks.build(args.network, 10, args.size, seed=0)
    flat = Flat(network, args.device)
    parts = flat.body, flat.sizes, flat.shapes
    found = {"unrolled graph": lambda: plain(*parts, **given)}
    for engine, again in product(args.engines, (True, False)):
        name = f"{engine}, recomputed" if again else f"{engine}, kept"
        ours = partial(matching, Flat(network, args.device, engine), **given)
        found[name] = lambda ours=ours, again=again: ours(recompute=again)[:2]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="convnet-32-64-128")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=50, help="images of a step")
    parser.add_argument("--batches", type=int, default=2, help="in the whole set")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=["fast"])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default)
    args = parser.parse_args()
    given = problem(args)
    found = ways(args, given)
    seconds = {name: [] for name in found}
    peaks, expected = dict.fromkeys(found, 0.0), None
    for i in range(args.rounds + 1):
        for name, way in found.items():
            before = memory(args.device, reset=True)
            start = time.perf_counter()
            _, slopes = way()
            peaks[name] = max(peaks[name], memory(args.device) - before)
            expected = slopes if expected is None else expected
            apart = ((slopes - expected).norm() / expected.norm()).item()
            assert apart < 0.05, f"{name}: gradients differ by {apart:.1%}"
            if i:  # the first round warms caches and compilers
                seconds[name].append(time.perf_counter() - start)
    base = median(seconds["unrolled graph"])
    print(f"{args.device}, {torch.get_num_threads()} threads, {args.network}, ", end="")
    print(f"{args.size} px, {args.steps} steps of {args.batch} images")
    print(f"{'way':18} inner steps/s  ratio      peak")
    for name, spent in seconds.items():
        rate = args.steps / median(spent)
        print(
            f"{name:18} {rate:13.1f} {base / median(spent):5.2f}x "
            f"{peaks[name] / 2**20:5.0f} MiB"
        )


if __name__ == "__main__":
    main()
