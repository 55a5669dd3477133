"""Squeeze: train networks on all data; the first is the teacher, all count forgetting.

SRe2L's word for the training from whose batch-norm statistics images are recovered.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ccfs_lib import cost, scores
from ccfs_lib.data import members
from ccfs_lib.errors import InputError, Notice
from ccfs_lib.experiment.datasets import score_file
from ccfs_lib.pipeline.trainings import Trainings
from ccfs_lib.runtime import plugins, weights
from ccfs_lib.runtime.device import arithmetic, place
from ccfs_lib.runtime.workers import beside
from ccfs_lib.statistics import guessed
from ccfs_lib.store import Artefact, Store
from ccfs_lib.store import key as store_key
from ccfs_lib.train import accuracy, predict


@dataclass(frozen=True)
class Teacher:
    """A squeezed network and what it says of the training images."""

    load: Callable[[], nn.Module] = field(repr=False)
    predictions: np.ndarray = field(repr=False)  # int (N,)
    train_accuracy: float  # percent
    last: float  # test accuracy in percent, last epoch: the one that is used
    best: float
    key: str
    seconds: float
    # What its weights went through since they were trained under `key`, e.g. "float16".
    mark: str = ""

    @cached_property
    def network(self) -> nn.Module:
        """The trained network; InputError where only its answers were kept."""
        return self.load()

    def named(self, store: Store, kind: str, key: dict) -> dict:
        """Complete the key of what is computed from this teacher.

        What was computed from the weights as they were trained is found; what is
        computed now, from weights that have a mark, says so.
        """
        exact = key | {"teacher": self.key}
        if not self.mark or store.has(kind, exact):
            return exact
        return key | {"teacher": f"{self.key}-{self.mark}"}


# Given weights that name a teacher are asked about so many images; in half precision
# they answer a few otherwise.
CHECKED, SAME = 1000, 0.95


class Squeeze:
    """Teacher and difficulty of an experiment, computed or read when asked for.

    network: of the teacher, by name; default the experiment's.
    """

    def __init__(self, trainings: Trainings, network: str = ""):
        self.trainings, self.experiment = trainings, trainings.experiment
        self.network = network or self.experiment.teacher_network
        self.seeds = self.experiment.squeeze_seeds

    def has(self, seed: int | None = None) -> bool:
        """Whether the training on all data with this seed is finished and kept.

        seed: one of `seeds`; default the teacher's.
        """
        seed = self.seeds[0] if seed is None else seed
        return self.trainings.store.has("squeeze", self._key(seed))

    def run(self, seed: int | None = None) -> Artefact:
        """Train a network on all data, counting forgetting events on the way.

        seed: one of `seeds`; default the teacher's.
        """
        # The first seed is the teacher whatever the score: it is trained only once.
        seed = self.seeds[0] if seed is None else seed
        key = self._key(seed)
        return self.trainings.store.get("squeeze", key, lambda: self._train(seed, key))

    def _key(self, seed: int) -> dict:
        e, t = self.experiment, self.trainings
        return t.key(self.network, e.teacher, seed, t.train)

    def _train(self, seed: int, key: dict) -> tuple[dict, dict]:
        e, t = self.experiment, self.trainings
        network = t.network(self.network, seed)
        events = scores.Forgetting(t.train.labels.to(t.device))

        def after():
            """Collect weights, and (N,) each: events, learned, predictions."""
            # Without augmentation, in evaluation mode: what `teacher_correct` asks.
            logits = predict(network, t.train.images, t.device)
            state = network.state_dict().items()
            tensors = {f"weights.{k}": v.cpu() for k, v in state}
            tensors |= {"events": events.events.cpu(), "learned": events.learned.cpu()}
            return tensors | {"predictions": logits.argmax(1)}

        options = {"seed": seed, "label": f"teacher {seed}", "watch": events}
        return t.fit(network, t.train, e.teacher, key, after, **options)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher of every distillation; its last weights, not its best."""
        e = self.experiment
        if e.teacher_from and self.network == e.teacher_network:
            return self._given(Path(e.teacher_from))
        artefact = self.run()
        # The artefact also holds events and predictions, for the scores.
        cut = len("weights.")
        tensors = artefact.tensors.items()
        state = {k[cut:]: v for k, v in tensors if k.startswith("weights.")}

        def load():
            """Build the network with these weights; raises InputError without any."""
            if not state:
                raise InputError(self._lacks_weights(artefact))
            network = self.trainings.network(self.network)
            network.load_state_dict(state)
            return network.eval()

        return self._teacher(artefact, load)

    def _lacks_weights(self, artefact: Artefact) -> str:
        """What a teacher without weights cannot do, and what another one costs."""
        e, t, seconds = self.experiment, self.trainings, artefact.meta["seconds"]
        size = cost.Size.of(t.train, t.test)
        stage = replace(cost.stages(e, size)[0], network=self.network)
        spent = cost.timed([stage], size.side, t.device)[stage.name]
        where = artefact.meta.get("device", "the machine that trained it")
        return (
            f"teacher {artefact.key} has no weights here, only its answers are "
            "shipped, and what is asked for is not among the artefacts and needs them: "
            "give the weights as --teacher-from, or train another teacher with "
            f"--teacher-seed {e.teacher_seed + 1}, about "
            f"{cost.duration(spent)} on this {t.device}, {cost.duration(seconds)} on "
            f"{where}"
        )

    def _given(self, path: Path) -> Teacher:
        """The teacher of weights that were trained elsewhere."""
        t, e = self.trainings, self.experiment
        state, card = weights.load(path)
        self._check_given(state, card)
        network = t.network(self.network, normalisation=self._constants(card))
        weights.fit_into(network, state)
        # Before `predict`: tensors that it moved could not be differentiated through.
        network = place(network, t.device)
        seed, named = self.seeds[0], str(card.get("key", ""))
        known, recipe = t.store.find("squeeze", named) or (None, {})
        if recipe.get("images") != t.train.fingerprint:
            known = None  # whose answers cannot be compared
        if known:
            self._check_answers(network, known)
        if known and named == store_key(self._key(seed)):
            artefact = known  # its answers, from the weights as trained
        else:
            key = {"weights": weights.digest(network.state_dict())}
            key |= {"network": self.network, "images": t.train.fingerprint}
            key |= {"test": t.test.fingerprint, "portable": e.portable} | t.arithmetic
            artefact = t.store.get("squeeze", key, lambda: self._answers(network))
        teacher = self._teacher(artefact, network.eval)
        self._warn_guessing(teacher)
        return replace(teacher, key=named, mark="float16") if known else teacher

    def _check_given(self, state: dict, card: dict) -> None:
        """Raise InputError for weights that say that they are of something else."""
        theirs, ours = card.get("classes", ()), self.trainings.train.classes
        if tuple(theirs) != ours and sorted(theirs) == sorted(ours):
            c = next(c for c, name in enumerate(ours) if name != theirs[c])
            raise InputError(
                f"teacher_from has class {c} = {theirs[c]!r}, but in the training "
                f"images class {c} is {ours[c]!r}: the classes have another order"
            )
        if self.experiment.normalisation and "normalize.mean" in state:
            raise InputError(
                "normalisation is given, but the weights of teacher_from have their "
                "own: leave it out"
            )

    def _check_answers(self, network: nn.Module, artefact: Artefact) -> None:
        """Raise InputError for weights that are not those of the teacher they name."""
        t, count = self.trainings, len(self.trainings.train)
        some = torch.arange(0, count, max(1, count // CHECKED))
        with arithmetic(self.experiment.portable):
            answers = predict(network, t.train.images[some], t.device).argmax(1)
        same = float((answers == artefact.tensors["predictions"][some]).float().mean())
        if same < SAME:
            raise InputError(
                f"teacher_from names teacher {artefact.key}, but only {100 * same:.0f} "
                f"% of its answers on {len(some)} training images are that teacher's: "
                "leave out the key of its card, or give that teacher's weights"
            )

    def _warn_guessing(self, teacher: Teacher) -> None:
        train, right = self.trainings.train, teacher.train_accuracy
        if parent_process() is None and guessed(
            right / 100, train.num_classes, len(train)
        ):
            warnings.warn(
                f"the teacher of teacher_from takes {right:.1f} % of the training "
                f"images for their class, and chance is {100 / train.num_classes:.1f} "
                "%: does it number classes, and normalise pixels, as they need it?",
                Notice,
                stacklevel=2,
            )

    def _constants(self, card: dict):
        """Mean and standard deviation of the channels that given weights expect."""
        six = self.experiment.normalisation
        return (six[:3], six[3:]) if six else card.get("normalisation")

    def _answers(self, network: nn.Module) -> tuple[dict, dict]:
        t = self.trainings
        with arithmetic(self.experiment.portable):
            logits = predict(network, t.train.images, t.device)
            last = accuracy(network, t.test, t.device)
        figures = {"last": last, "best": last, "seconds": 0.0}
        return {"predictions": logits.argmax(1)}, figures

    def _teacher(self, artefact: Artefact, load: Callable[[], nn.Module]) -> Teacher:
        predictions = artefact.tensors["predictions"].long().numpy()
        labels = self.trainings.train.labels.numpy()
        right = 100 * float((predictions == labels).mean())
        last, best, seconds = (artefact.meta[k] for k in ("last", "best", "seconds"))
        # A sitting's teacher that came back in half precision says so.
        mark = artefact.meta.get("weights", "")
        figures = right, last, best, artefact.key, seconds, mark
        return Teacher(load, predictions, *figures)

    @cached_property
    def difficulty(self) -> np.ndarray | None:
        """Difficulty of each training image, higher = harder; None for "logits"."""
        e, t = self.experiment, self.trainings
        if e.score == "logits":
            return None
        if e.score == "forgetting":
            runs = dict(beside(self.run, self.seeds, t.device))
            counted = [runs[seed].tensors for seed in self.seeds]
            return scores.forgetting(
                [(r["events"].int().numpy(), r["learned"].numpy()) for r in counted]
            )
        if plugins.named(e.score):
            return self._rated()
        # A file rates every image of the data set, also where some classes are left
        # out: it is checked against all of them, then cut.
        file, labels = score_file(e.score, e.dataset, e.data_root), t.whole.labels
        rated = scores.load(file, labels)[members(labels, e.classes)]
        return rated if t.kept is None else rated[t.kept]

    @property
    def ranked(self) -> np.ndarray:
        """`difficulty`; InputError for one that only a filter has."""
        if self.difficulty is None:
            raise InputError("score is 'logits', but a window needs a score beforehand")
        return self.difficulty

    def _rated(self) -> np.ndarray:
        """Difficulty by the user's function, called once and kept."""
        e, t = self.experiment, self.trainings
        rate = plugins.resolve(e.score, "score", ("training images",))
        key = {"score": e.score, "source": plugins.source_hash(e.score)}
        key |= {"images": t.train.fingerprint, "portable": e.portable, **t.arithmetic}

        def compute():
            """Call the function; raises InputError for values that are no scores."""
            with arithmetic(e.portable):
                values = rate(t.train.copy())
            name = f"score is {e.score!r}, whose values"
            values = scores.checked(values, len(t.train), name)
            return {"difficulty": torch.from_numpy(values)}, {}

        return t.store.get("score", key, compute).tensors["difficulty"].numpy()
