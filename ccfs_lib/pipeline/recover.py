"""Recover: distilled images, synthesised from the teacher batch by batch, or read."""

import time
from contextlib import suppress
from multiprocessing import parent_process

from torch import Tensor

from ccfs_lib.data import ImageSet, exchange
from ccfs_lib.distill import sre2l
from ccfs_lib.errors import InputError, TimeUp
from ccfs_lib.experiment import essential
from ccfs_lib.pipeline.squeeze import Squeeze
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import forbidden
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.runtime.progress import progress
from ccfs_lib.runtime.workers import beside
from ccfs_lib.train import predict


class Recover:
    """Distilled images of an experiment."""

    def __init__(self, trainings: Trainings, squeeze: Squeeze):
        self.trainings, self.squeeze = trainings, squeeze
        self._compared = False
        self.experiment = trainings.experiment

    def images(self, per_class: int) -> ImageSet:
        """Recover or read the first `per_class` distilled images of each class."""
        e, train = self.experiment, self.trainings.train
        if not per_class:
            return train.subset([], "none")
        if e.distilled_from:
            return self._given(per_class)
        todo = self.batches(per_class)
        device = self.trainings.device
        done = beside(lambda number: self.batch(per_class, number), todo, device)
        done = dict(progress(done, "recover", "batch", total=len(todo)))
        name = f"{e.distillation.method} x{per_class}"
        images = [done[number] for number in todo]
        return sre2l.assemble(images, todo.values(), train.classes, name)

    def check(self) -> None:
        """Raise InputError where given images cannot be those of these classes.

        To be asked before a teacher is trained.
        """
        if folder := self.experiment.distilled_from:
            train = self.trainings.train
            first = exchange.first_image(folder, train.classes)
            if first.shape != train.images.shape[1:]:
                raise InputError(
                    "distilled_from is {!r}, which has images of {}x{} pixels, but the "
                    "training images are {}x{}".format(
                        folder, *first.shape[:0:-1], *train.images.shape[:1:-1]
                    )
                )

    def compare(self, per_class: int) -> None:
        """Print how many given images the teacher takes for their class; else nothing.

        To be asked before anything is trained on them.
        """
        if per_class and self.experiment.distilled_from:
            self._given(per_class)

    def _given(self, per_class: int) -> ImageSet:
        """Read distilled images of others; the teacher's view of them is printed."""
        e, t = self.experiment, self.trainings
        images = exchange.read_folder(e.distilled_from, t.train.classes, per_class)
        # Once, and not by every worker.
        if not self._compared and parent_process() is None:
            self._compared = True
            with suppress(InputError):  # only the answers of a shipped teacher are here
                network = self.squeeze.teacher.network
                answers = predict(network, images.images, t.device).argmax(1)
                share = exchange.agreement(images, answers)
                text = "% of the images of distilled_from for their class"
                print(f"the teacher takes {share:.1f} {text}")
        return images

    def batches(self, per_class: int) -> dict[int, Tensor]:
        """List the batches to recover, number -> targets, int (B,); none if given."""
        e = self.experiment
        if e.distilled_from or not per_class:
            return {}
        size, classes = e.distillation.batch_size, self.trainings.train.num_classes
        return dict(enumerate(sre2l.batches(classes, per_class, size)))

    def batch(self, per_class: int, number: int) -> Tensor:
        """Recover one batch of images, uint8 (B, 3, H, W), or read it."""
        e, t, targets = self.experiment, self.trainings, self.batches(per_class)[number]
        # Batches are numbered over classes and images: fewer images per class are the
        # first batches of more, and no key needs to say how many there will be.
        size = t.train.image_size
        key = {"recipe": essential(e.distillation), "size": size}
        key |= {"classes": t.train.num_classes}
        key |= {"batch": number, "images": len(targets)}
        if e.portable:  # each had other bits once: see `batchnorm.Moments`, `Descent`
            key |= {"moments": "sums", "adam": "fused"}
        key = self.squeeze.teacher.named(t.store, "recover", key)

        def compute():
            """Recover the batch; raises TimeUp after the deadline."""
            forbidden.check(f"batch {number} of the recovered images")
            if t.deadline is not None and time.monotonic() >= t.deadline:
                raise TimeUp("recover: time is up; the same command continues here")
            teacher, recipe = self.squeeze.teacher.network, e.distillation
            given = teacher, targets, size, recipe, 0, number, t.device
            with arithmetic(e.portable):
                images = sre2l.recover_batch(*given, t.checkpoint(key))
            return {"images": images}, {}

        return t.store.get("recover", key, compute).tensors["images"]
