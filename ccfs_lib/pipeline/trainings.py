"""What every stage works with: the images, a device, trainings that can be resumed."""

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from multiprocessing import parent_process
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ccfs_lib import data, networks
from ccfs_lib.data import ImageSet, reduced
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment import NORMALISATION, Experiment, Recipe, essential
from ccfs_lib.runtime import device as devices
from ccfs_lib.runtime import forbidden, paths, plugins
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.step import Step
from ccfs_lib.store import Artefact, Store
from ccfs_lib.train import Fit, fit, predict

if TYPE_CHECKING:
    from ccfs_lib.pipeline.squeeze import Teacher

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
FIGURES = ("last", "best", "losses", "images", "seconds")  # of a training, kept


class Trainings:
    """Images and trainings of an experiment; images are read when first asked for.

    device: default CUDA where there is one. deadline: `time.monotonic()` at which
    trainings stop, resumable. constants: means and standard deviations of the channels,
    default those that are published, else the training set's.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
        constants: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    ):
        self.experiment, self.constants = experiment, constants
        self.deadline = deadline
        self.store = store or Store(paths.cache(), paths.shipped())
        self.device = devices.device(experiment.portable, device)
        self._read: dict[str, ImageSet] = {}  # decoded images, `share`

    # -- images ----------------------------------------------------------------------

    @cached_property
    def train(self) -> ImageSet:
        """The training split; raises InputError if a class is smaller than the IPC."""
        e, train = self.experiment, self._reduced
        if e.holdout:
            train = train.subset(self.kept, f"{train.name}-less")
        # Of the known data sets this is checked at once (`checks`); of others, here.
        if not (fewest := min(train.class_sizes)):
            empty = train.class_sizes.index(0)
            raise InputError(
                f"dataset is {e.dataset!r}, but no training image has label {empty}, "
                f"class '{train.classes[empty]}': classes are numbered from 0, "
                "without gaps"
            )
        if e.ipc > fewest:
            raise InputError(
                f"ipc is {e.ipc}, but the smallest class of {train.name} has "
                f"{fewest} training images"
            )
        return train

    @cached_property
    def test(self) -> ImageSet:
        """The test split, which chooses nothing, or what is held out of training."""
        e = self.experiment
        if e.holdout:
            out = np.setdiff1d(np.arange(len(self._reduced)), self.kept)
            return self._reduced.subset(out, f"{self._reduced.name}-holdout")
        test = self._once("test", lambda: self._fewer(self._load("test")))
        splits = self._reduced, test
        kinds = [(s.num_classes, s.image_size, s.classes) for s in splits]
        if kinds[0] != kinds[1]:  # a label, or a pixel, would mean something else
            text = ["{} classes at {} px".format(*kind) for kind in kinds]
            named = zip(*(s.classes for s in splits), strict=False)
            if kinds[0][:2] == kinds[1][:2]:
                c, pair = next((c, p) for c, p in enumerate(named) if p[0] != p[1])
                text = [f"has '{name}' as class {c}" for name in pair]
            raise InputError(
                f"dataset is {e.dataset!r}, but its splits do not have the same "
                f"classes in one order, and one size: train {text[0]}, test {text[1]}"
            )
        if not len(test):
            raise InputError(f"dataset is {e.dataset!r}, but its test split is empty")
        if test.fingerprint == self._reduced.fingerprint:
            warnings.warn(
                f"{test.name} has the very images of the training split: accuracies "
                "will be those of images that were learned",
                Notice,
                stacklevel=2,
            )
        if missing := [c for c, n in enumerate(test.class_sizes) if not n]:
            warnings.warn(
                f"{test.name} has no image of {len(missing)} of {test.num_classes} "
                f"classes, such as '{test.classes[missing[0]]}'",
                Notice,
                stacklevel=2,
            )
        return test

    @property
    def whole(self) -> ImageSet:
        """The training split with all classes, to which score files are aligned."""
        return self._once("whole", lambda: self._load("train"))

    def share(self, other: "Trainings") -> None:
        """Have images in common with other trainings of the same data: read once."""
        names = ("dataset", "data_root", "classes", "image_size")
        ours, theirs = (attrgetter(*names)(t.experiment) for t in (self, other))
        if ours == theirs:
            self._read = other._read

    @property
    def _reduced(self) -> ImageSet:
        return self._once("train", lambda: self._fewer(self.whole))

    def _fewer(self, images: ImageSet) -> ImageSet:
        return reduced(images, self.experiment.classes, self.experiment.image_size)

    def _once(self, name: str, read: Callable[[], ImageSet]) -> ImageSet:
        if name not in self._read:
            self._read[name] = read()
        return self._read[name]

    @cached_property
    def kept(self) -> np.ndarray | None:
        """Training images that are not held out, int64 ascending; None for all."""
        share = self.experiment.holdout
        return data.split(self._reduced, share)[0] if share else None

    def numbered(self, indices: np.ndarray) -> np.ndarray:
        """Return the numbers in the whole training split of indices into `train`."""
        inside = indices if self.kept is None else self.kept[indices]
        return data.members(self.whole.labels, self.experiment.classes)[inside]

    def placed(self, numbers: np.ndarray) -> np.ndarray:
        """Return indices into `train` of numbers in the whole training split.

        Raises InputError for one that is not in this part of the data set.
        """
        place = np.full(len(self.whole), -1)
        own = self.numbered(np.arange(len(self.train)))
        place[own] = np.arange(len(own))
        if len(strange := numbers[place[numbers] < 0]):
            label = self.whole.labels[strange[0]].item()
            raise InputError(
                f"image {strange[0]} is selected, of class {label}, but classes is "
                f"{self.experiment.classes}: only the first ones take part"
            )
        return place[numbers]

    def _load(self, split: str) -> ImageSet:
        e = self.experiment
        options = {"data_root": e.data_root or None, "image_size": e.image_size}
        options["download"] = bool(os.environ.get("CCFS_DOWNLOAD"))
        return data.load(e.dataset, split, cache_dir=paths.cache(), **options)

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, two tuples of three."""
        # Those of the whole set also for a part of it, or for smaller pixels: a change
        # of constants would be one more difference from the run that is rehearsed.
        if known := self.constants or NORMALISATION.get(self.experiment.dataset):
            return known
        mean, std = data.channel_stats(self.train)
        # A channel of one value has no spread to divide by, and becomes zero.
        return mean, tuple(s or 1.0 for s in std)

    # -- trainings -------------------------------------------------------------------

    def network(
        self, name: str, seed: int | None = None, normalisation: tuple | None = None
    ) -> nn.Module:
        """Build a network for these images; without a seed, of any weights.

        normalisation: means and standard deviations, default the data set's.
        """
        mean, std = normalisation or self.normalisation
        shape = self.train.num_classes, self.train.image_size
        return networks.build(name, *shape, mean=mean, std=std, seed=seed)

    def check_network(self, name: str) -> nn.Module:
        """Build a network as a training would, and ask one of the user's for logits.

        Returns it. Raises InputError where it cannot be built or has other outputs.
        """
        network = self.network(name, 0)
        if plugins.named(name):  # a new one at each call? The first one still lives
            again = self.network(name, 0)
            shape = self.train.num_classes, self.train.image_size
            networks.probe(again, name, *shape)
            given = name == self.experiment.teacher_network
            given = given and self.experiment.teacher_from  # which is not trained
            if not given and not any(p.requires_grad for p in again.parameters()):
                raise InputError(
                    f"network is {name!r}, but no weight of it requires gradients"
                )
            _warn_dropout(again, name)
        return network

    def key(self, network: str, recipe: Recipe, seed: int, images: ImageSet) -> dict:
        """List what any training depends on, to name it by."""
        # The fingerprint stands for the data set: classes, pixels and order included.
        # The test split is here because the artefact holds accuracies on it.
        key = {
            "network": network,
            "recipe": essential(recipe),
            "seed": seed,
            "images": images.fingerprint,
            "test": self.test.fingerprint,
            "normalisation": self.normalisation,
            "portable": self.experiment.portable,
        }
        if recipe.final_lr:  # once it was only approached
            key["final_lr"] = "of the last epoch"
        if self.experiment.engine == "compile":
            key["engine"] = "compile"
            key["compiled"] = "full batches, teacher too"  # once the student alone
        # Of a network of the user's, the text as well.
        return key | plugins.sources([("source", network)]) | self.arithmetic

    @property
    def arithmetic(self) -> dict[str, str]:
        """What keys hold besides, where a portable run has other last bits here."""
        other = self.experiment.portable and devices.unlike_portable()
        return {"arithmetic": other} if other else {}

    def fit(
        self,
        network: nn.Module,
        images: ImageSet,
        recipe: Recipe,
        key: dict,
        after: Callable[[], dict] = dict,
        **options,
    ) -> tuple[dict, dict]:
        """Train as `train.fit` does, resumable and tested: tensors of `after`, figures.

        key: names the training. options: seed, label, teacher, watch, make of `fit`.
        after() runs with the experiment's arithmetic, too. Raises InputError where the
        environment forbids trainings (CCFS_TRAIN=0).
        """
        forbidden.check(options.get("label", "a network"))
        with devices.arithmetic(self.experiment.portable):
            done = fit(
                network,
                images,
                recipe,
                test=self.test,
                checkpoint=self.checkpoint(key),
                device=self.device,
                engine=self.experiment.engine or "auto",
                **options,
            )
            return after(), _figures(done)

    def checkpoint(self, key: dict) -> Checkpoint:
        """Return where the work that `key` names is kept until it is finished."""
        return Checkpoint.beside(self.store, key, self.deadline)

    def trained(
        self,
        synthetic: ImageSet,
        recipe: Recipe,
        seed: int,
        *,
        network: str,
        entries: dict,
        answers: bool = False,
        teacher: "Teacher | None" = None,
        make: Callable[..., Step] = Step,
        build: Callable[[str, int], nn.Module] | None = None,
        wanted: int = 0,
    ) -> Artefact:
        """Train a network on a synthetic set, or read what was trained before.

        network: a name; its weights, the order and the augmentation follow from `seed`.
        entries: what the training depends on besides, for its key, such as how images
        are augmented. teacher: whose answers teach. make: the kind of step. build:
        makes the network of a name and seed, default `network`. wanted: the size by
        which the batch rule goes; 0 is the set's own. Returns meta: last, best, curve,
        seconds; with `answers`, tensors: those of `answers` on all training images.
        """
        # Before the key: the batch size follows the set (Table 8).
        recipe = recipe.for_size(wanted or len(synthetic), len(self.train))
        key = self.key(network, recipe, seed, synthetic) | entries
        key["answers"] = self.train.fingerprint if answers else None
        if teacher is not None:
            key = teacher.named(self.store, "train", key)

        def compute():
            """Build and train the network; return what `fit` returns."""
            student = (build or self.network)(network, seed)

            def after():
                """Return the predictions on the training split, if wanted."""
                return self.answers(student, recipe.precision) if answers else {}

            options = {"seed": seed, "teacher": teacher and teacher.network}
            options["make"] = make
            # Of a training, as `measure.EVALUATION` says: 1000 * the run's + phase.
            options["label"] = f"{len(synthetic)} images, seed {seed // 1000}"
            return self.fit(student, synthetic, recipe, key, after, **options)

        return self.store.get("train", key, compute)

    def answers(self, network: nn.Module, precision: str = "fp32") -> dict[str, Tensor]:
        """Ask a trained network about the training split: all that selection needs.

        predictions: int16 (N,), classes; true_logit: float (N,), of the true class.
        """
        labels, images = self.train.labels, self.train.images
        logits = predict(network, images, self.device, precision)
        # Small enough to be shipped with the code: a class fits in 16 bits.
        return {
            "predictions": logits.argmax(1).to(torch.int16),
            "true_logit": logits.gather(1, labels[:, None])[:, 0],
        }


def _figures(done: Fit) -> dict:
    curve = {str(epoch): value for epoch, value in done.curve.items()}
    return {name: getattr(done, name) for name in FIGURES} | {"curve": curve}


def _warn_dropout(network: nn.Module, name: str) -> None:
    """Tell of dropout: its draws come from PyTorch's generator, which no seed sets."""
    if parent_process() is None and any(
        isinstance(part, DROPOUT) and part.p > 0 for part in network.modules()
    ):
        warnings.warn(
            f"network {name!r} has dropout, whose draws the seed does not fix: equal "
            "seeds give other numbers each time",
            Notice,
            stacklevel=2,
        )
