"""The options that all commands share: what to run, one experiment or a grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, preset
from ccfs_lib.runtime.portable import settle


@dataclass(frozen=True)
class Choice:
    """What to run. Anything left out is the preset's, printed before it starts."""

    dataset: str = "digits"
    """digits, cifar10, cifar100, cifar10-jpeg, tiny-imagenet, or a path to images"""
    data_root: str = ""
    """folder that holds the data set; default $CCFS_DATA"""
    scale: str = ""
    """digits, laptop or paper; default by data set"""
    reading: str = "paper"
    """at the paper's scale: paper (tables), notebooks (the cells that were logged) or
    released (scripts)"""
    classes: int | None = None
    """only the first classes of the data set; 0 = all"""
    image_size: int | None = None
    """shrink images to so many pixels a side; 0 = as they are"""
    ipc: tuple[int, ...] = ()
    """images per class; sweep: several make a grid"""
    alpha: tuple[float, ...] = ()
    """distilled part of them, 0 to 1; sweep: several make a grid"""
    curricula: tuple[int, ...] = ()
    """phases (J); sweep: several make a grid"""
    score: tuple[str, ...] = ()
    """forgetting, logits, published-forgetting, published-cscore, or a file; sweep:
    several make a grid"""
    network: str | None = None
    """of filters and evaluations: convnet, convnet-32-64-128, resnet18, ..."""
    evaluation_network: tuple[str, ...] = ()
    """of evaluations, if it is another one (Table 2); sweep: several make a grid"""
    teacher_network: str | None = None
    """convnet, convnet-32-64-128, resnet18, ..."""
    distilled_from: str | None = None
    """folder of distilled images (newNNN/...) to use instead of recovering some"""
    selected_from: str | None = None
    """a selected_indices.json, measured by --arms selected"""
    epochs: int | None = None
    """epochs of each filter and evaluation"""
    lr: float | None = None
    """learning rate of each filter and evaluation"""
    weight_decay: float | None = None
    """of each filter and evaluation"""
    batch_rule: str | None = None
    """their batch size: fixed, or by the size of the set as in paper or released"""
    teacher_epochs: int | None = None
    """epochs of the teacher"""
    seeds: int | None = None
    """repetitions of filters, selection and evaluation"""
    teacher_correct: bool | None = None
    """choose only among images that the teacher gets right (authors' code)"""
    filter_loss: str | None = None
    """what teaches the filters, kd or hard; default as the evaluation"""
    ties: str | None = None
    """equally difficult images in the order of their index, or of a lot: random"""
    portable: bool | None = None
    """the CPU, and bits that other machines repeat; the preset of digits is"""

    def experiment(self) -> Experiment:
        """The preset with these changes; raises InputError, also for a grid."""
        for name, values in vars(self).items():
            if isinstance(values, tuple) and len(values) > 1:
                raise InputError(
                    f"{name} has {len(values)} values, {' '.join(map(str, values))}, "
                    "but this command takes one"
                )
        return self.experiments()[0]

    def experiments(self) -> list[Experiment]:
        """The product of all lists of values, the last list varying fastest.

        Raises InputError for the first experiment that cannot be.
        """
        made = [preset(**point) for point in grid(vars(self))]
        settle(any(e.portable for e in made))
        return list(dict.fromkeys(made))  # a value named twice is one


def grid(options: dict) -> Iterator[dict]:
    """Every combination of options' lists of values, the last list varying fastest.

    None and an empty list were not given, and are left out: the preset decides.
    """
    given = {k: v for k, v in options.items() if v is not None and v != ()}
    lists = {k: v for k, v in given.items() if isinstance(v, tuple)}
    for values in product(*lists.values()):
        yield given | dict(zip(lists, values, strict=True))
