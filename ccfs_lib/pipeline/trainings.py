"""What every stage works with: the images, a device, trainings that can be resumed."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from ccfs_lib import data, networks
from ccfs_lib.data import ImageSet, reduced
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import NORMALISATION, Experiment, Recipe, essential
from ccfs_lib.runtime import device as devices
from ccfs_lib.runtime import paths
from ccfs_lib.runtime.checkpoint import Checkpoint
from ccfs_lib.store import Store
from ccfs_lib.store import key as store_key
from ccfs_lib.train import Fit, fit, predict


class Workbench:
    """Images and trainings of `experiment`; properties are read when first asked."""

    def __init__(
        self,
        experiment: Experiment,
        store: Store | None = None,
        device: str | None = None,
        deadline: float | None = None,
    ):
        self.experiment = experiment
        self.deadline = deadline  # time.monotonic() at which trainings stop, resumable
        self.store = store or Store(paths.cache(), paths.shipped())
        self.device = devices.device(experiment.portable, device)

    # -- data ------------------------------------------------------------------------

    @cached_property
    def train(self) -> ImageSet:
        """The training split; raises InputError if a class is smaller than the IPC."""
        e = self.experiment
        train = reduced(self._whole, e.classes, e.image_size)
        # Of the known data sets this is checked at once (`checks`); of others, here.
        if e.ipc > min(train.class_sizes):
            raise InputError(
                f"ipc is {e.ipc}, but the smallest class of {train.name} has "
                f"{min(train.class_sizes)} training images"
            )
        return train

    @cached_property
    def test(self) -> ImageSet:
        """The test split. It measures; nothing is chosen by it."""
        e = self.experiment
        return reduced(self._load("test"), e.classes, e.image_size)

    @cached_property
    def _whole(self) -> ImageSet:
        """The training split with all classes, to which score files are aligned."""
        return self._load("train")

    def _load(self, split: str) -> ImageSet:
        e = self.experiment
        options = {"data_root": e.data_root or None, "image_size": e.image_size}
        return data.load(e.dataset, split, cache_dir=paths.cache(), **options)

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std per channel: published constants, else the training set's."""
        # Those of the whole set also for a part of it, or for smaller pixels: a change
        # of constants would be one more difference from the run that is rehearsed.
        known = NORMALISATION.get(self.experiment.dataset)
        return known or data.channel_stats(self.train)

    # -- training --------------------------------------------------------------------

    def network(self, name: str, seed: int | None = None) -> nn.Module:
        """A fresh network for this data set; without a seed, of any weights."""
        mean, std = self.normalisation
        shape = self.train.num_classes, self.train.image_size
        return networks.build(name, *shape, mean=mean, std=std, seed=seed)

    def _fit(
        self,
        network,
        images,
        recipe,
        key: dict,
        after: Callable = lambda: {},
        **options,
    ) -> tuple[dict, dict]:
        """Train as `fit` does, resumable, tested; tensors of `after()`, and figures.

        key: of the training; seed, label, teacher and watch go to `fit`. `after` runs
        with the experiment's arithmetic, too.
        """
        # Next to the artefacts, under the very key that names the finished one.
        name = store_key(key)
        folder = self.store.root / "checkpoints" / name
        with devices.arithmetic(self.experiment.portable):
            done = fit(
                network,
                images,
                recipe,
                test=self.test,
                checkpoint=Checkpoint(folder, name, deadline=self.deadline),
                device=self.device,
                **options,
            )
            return after(), _summary(done)

    def answers(self, network: nn.Module, precision: str = "fp32") -> dict[str, Tensor]:
        """What a trained network says of the training split: all that selection needs.

        predictions: int16 (N,), classes; true_logit: float (N,), of the true class.
        """
        labels, images = self.train.labels, self.train.images
        logits = predict(network, images, self.device, precision)
        # Small enough to be shipped with the code: a class fits in 16 bits.
        said = logits.argmax(1).to(torch.int16)
        return {
            "predictions": said,
            "true_logit": logits.gather(1, labels[:, None])[:, 0],
        }

    def _key(self, network: str, recipe: Recipe, seed: int, images: ImageSet) -> dict:
        """What any training depends on."""
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
        return key | self.arithmetic

    @property
    def arithmetic(self) -> dict[str, str]:
        """What keys hold besides, where a portable run has other last bits here."""
        other = self.experiment.portable and devices.unlike_portable()
        return {"arithmetic": other} if other else {}


def _summary(done: Fit) -> dict:
    curve = {str(epoch): value for epoch, value in done.curve.items()}
    keep = {
        k: getattr(done, k) for k in ("last", "best", "losses", "images", "seconds")
    }
    return keep | {"curve": curve}
