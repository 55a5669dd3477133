"""CUDD: distilled images in a curriculum of batches (Ma et al., 2024), small images.

Each batch begins as real images that the teacher gets right and the student, trained on
the batches before, gets wrong. They are moved as SRe2L moves noise, with two terms
more: an anchor to the real image, and an adversarial term that keeps the student wrong
where the teacher is right. Then the student learns the batch, too.

The public code is for ImageNet-1K. What is ours is said at `experiment.cudd`, and here:
the student is asked on whole, not augmented images, and draws come from a seed.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccfs_lib import select
from ccfs_lib.data import ImageSet, concat
from ccfs_lib.distill import sre2l
from ccfs_lib.distill.pixels import Space
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.cudd import Cudd
from ccfs_lib.runtime.device import place
from ccfs_lib.runtime.progress import progress
from ccfs_lib.train import fit, predict

# (synthetic set so far, curriculum from 1, the student before or None) -> student.
TrainStudent = Callable[[ImageSet, int, nn.Module | None], nn.Module]
# In this order a batch is filled, each group in random order. Only the first asks for
# candidates as CCFS does; the others fill up where a class has too few of them.
GROUPS = ("teacher right, student wrong", "both wrong", "any other")


@dataclass(frozen=True)
class Batch:
    """One curriculum: the real images that it began with, and what became of them."""

    curriculum: int  # from 1
    initial: np.ndarray = field(repr=False)  # int64, classes ascending
    groups: tuple[int, int, int]  # how many of them are of each of GROUPS
    images: ImageSet = field(repr=False)  # distilled, classes ascending


def run(
    train: ImageSet,
    teacher: nn.Module,
    ipc: int,
    recipe: Cudd,
    train_student: TrainStudent,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[Batch]:
    """Yield one Batch per curriculum; the synthetic set is all their images.

    teacher: a network of `ccfs_lib.networks` with batch norm. train_student is called
    between two curricula, not after the last. Raises InputError for curricula that
    would be empty, an IPC larger than a class, and a teacher without batch norm.
    """
    quotas = select.quotas(ipc, recipe.curricula)
    if ipc > min(train.class_sizes):
        raise InputError(
            f"ipc is {ipc}, but the smallest class of {train.name} has "
            f"{min(train.class_sizes)} images to begin with"
        )
    right = _right(teacher, train, device)
    student, synthetic, gone = None, train.subset([]), np.empty(0, np.int64)
    for number, quota in enumerate(quotas, 1):
        if number > 1:
            student = train_student(synthetic, number - 1, student)
        knows = None if student is None else _right(student, train, device)
        draw = np.random.default_rng([seed, number])
        labels = train.labels.numpy()
        initial, groups = begin(labels, right, knows, quota, gone, draw)
        images = recover(
            *(train.subset(initial), teacher, student, recipe),
            seed=1000 * seed + number,
            device=device,
        )
        yield Batch(number, initial, groups, images)
        gone, synthetic = np.concatenate([gone, initial]), concat(synthetic, images)


def begin(
    labels: np.ndarray,
    teacher_right: np.ndarray,
    student_right: np.ndarray | None,
    quota: int,
    excluded: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Draw the real images that a batch begins with, and count them by GROUPS.

    teacher_right, student_right: bool (N,); without a student, whatever the teacher
    gets right is in the first group. excluded: those of the batches before. Returns
    int64 indices, classes ascending, `quota` each.
    """
    wrong = np.ones(len(labels), bool) if student_right is None else ~student_right
    group = np.full(len(labels), 2)
    group[teacher_right & wrong] = 0
    if student_right is not None:
        group[~teacher_right & wrong] = 1
    # Groups in order, random within one; whoever was drawn before comes last.
    order = group + random.random(len(labels))
    order[excluded] = np.inf
    chosen = [np.empty(0, np.int64)]
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        chosen.append(members[np.argsort(order[members], kind="stable")][:quota])
    chosen = np.concatenate(chosen)
    return chosen, tuple(np.bincount(group[chosen], minlength=3).tolist())


def recover(
    initial: ImageSet,
    teacher: nn.Module,
    student: nn.Module | None,
    recipe: Cudd,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> ImageSet:
    """Distil real images: as many of each class, classes ascending, in their order.

    Mixed batches, image by image over the classes, as in `sre2l.batches`. Raises
    InputError unless all classes have equally many.
    """
    sizes = initial.class_sizes
    if len(set(sizes)) != 1:
        raise InputError(f"initial has {sizes} images per class, but must have as many")
    teacher = place(teacher, device).eval()
    student = None if student is None else place(student, device).eval()
    space = Space(teacher.normalize, device)
    order = initial.labels.argsort(stable=True).view(-1, sizes[0]).T.flatten()
    todo = sre2l.batches(initial.num_classes, sizes[0], recipe.recovery.batch_size)
    lent = nullcontext() if student is None else sre2l.frozen(student)
    done, first = [], 0
    with lent:
        for number, targets in enumerate(progress(todo, "recover", "batch")):
            index = order[first : (first := first + len(targets))]
            real = space.normalised(initial.images[index])
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            extra = partial(terms, student, space, real, targets.to(device), recipe)
            done.append(
                sre2l.descend(teacher, real, targets, recipe.recovery, generator, extra)
            )
    return sre2l.assemble(done, todo, initial.classes, f"cudd x{sizes[0]}")


def terms(
    student: nn.Module | None,
    space: Space,
    real: Tensor,
    targets: Tensor,
    recipe: Cudd,
    view: Callable[[Tensor], Tensor],
    x: Tensor,
    logits: Tensor,
) -> Tensor:
    """Compute the two terms beside SRe2L's: anchor, and adversarial with a student.

    real: normalised, float (B, 3, S, S); the last three as in `sre2l.Extra`.
    """
    loss = recipe.anchor * F.mse_loss(x, view(real))
    if student is None or not recipe.adversarial:  # none before the first batch
        return loss
    # From the teacher's constants to the student's own.
    answers = student(x * space.std + space.mean)
    return loss + recipe.adversarial * adversarial(answers, logits, targets)


def adversarial(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean of -log(1 - p(student, target)) where the teacher is right.

    student, teacher: logits (B, C); targets: int (B,). Where the teacher is wrong, the
    student's logits count as zeros: a constant, without a gradient. 1 - p is summed
    over the other classes, so that it stays positive however sure the student is (the
    code adds 1e-12).
    """
    right = teacher.argmax(1) == targets
    logits = student * right[:, None]
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return (logits.logsumexp(1) - others.logsumexp(1)).mean()


def learn(
    synthetic: ImageSet,
    number: int,
    previous: nn.Module | None,
    *,
    build: Callable[[int], nn.Module],
    teacher: nn.Module,
    recipe: Cudd,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Train the student after curriculum `number`: a TrainStudent, the rest bound.

    build(seed): a fresh student. It learns from the teacher alone, and goes on from
    `previous` where the recipe says so, which itself stays as it is.
    """
    training, count = recipe.student, 1000 * seed + number
    if previous is not None and recipe.student_start == "previous":
        student = copy.deepcopy(previous)
        training = replace(training, lr=recipe.student_lr_next)
    else:
        student = build(count)
    how = {"seed": count, "teacher": teacher, "device": device}
    return fit(student, synthetic, training, label=f"student {number}", **how).network


def _right(network: nn.Module, train: ImageSet, device) -> np.ndarray:
    """Which training images the network classifies right, bool (N,)."""
    return (predict(network, train.images, device).argmax(1) == train.labels).numpy()
