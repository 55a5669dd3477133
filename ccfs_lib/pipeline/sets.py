"""The sets of Table 1's rows: each built from a seed, computed once and kept.

All functions take the `Table1Pipeline` that they belong to. What the paper leaves open
is in `table1.Choices`; recipes are those of `experiment.table1`.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ccfs_lib import coresets, scores
from ccfs_lib import glister as gl
from ccfs_lib.arms import CCFS
from ccfs_lib.curriculum import Filter
from ccfs_lib.data import ImageSet
from ccfs_lib.distill import cudd as curricula
from ccfs_lib.distill import dm, dsa, experts
from ccfs_lib.errors import InputError
from ccfs_lib.experiment import condense, cudd, essential
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.pipeline.pipeline import Pipeline
from ccfs_lib.runtime import forbidden, plugins
from ccfs_lib.runtime.device import arithmetic
from ccfs_lib.select import quotas
from ccfs_lib.table1 import Row

if TYPE_CHECKING:
    from ccfs_lib.pipeline.table1 import Table1Pipeline

CONDENSER = "convnet-in"  # of DSA and DM: without batch norm, as published
# Their recipes, and the worth of a pass: a way back through a gradient, or plain.
CONDENSED = {"dsa": (condense.dsa, 12), "dm": (condense.dm, 3)}


@dataclass(frozen=True)
class Built:
    """A set of Table 1: distilled images first, then real ones."""

    images: ImageSet
    distilled: int = 0
    # Of the distilled ones, where they are kept as they were learned: normalised.
    pixels: Tensor | None = field(default=None, repr=False)
    targets: Tensor | None = field(default=None, repr=False)  # soft labels (N, C)
    whitened: bool = False  # pixels are ZCA's

    @property
    def bytes(self) -> int:
        """Bytes of what is trained on: images, and learned pixels and labels."""
        floats = [x for x in (self.pixels, self.targets) if x is not None]
        learned = 0 if self.pixels is None else self.distilled
        size = self.images.images[0].numel()
        return (len(self.images) - learned) * size + 4 * sum(x.numel() for x in floats)


# -- rows of real images ---------------------------------------------------------------


def random(t: "Table1Pipeline", seed: int) -> Built:
    """Real images by lot."""
    return t.real(t.pipeline.random_real(t.experiment.ipc, seed))


def forgetting(t: "Table1Pipeline", seed: int) -> Built:
    """What is forgotten most. The set is the same for all seeds."""
    e, labels = t.experiment, t.train.labels.numpy()
    other = recipes.forgetting(e)
    if other.score != "forgetting":
        return t.real(coresets.hardest(labels, t.forgetting, e.ipc))
    squeeze = t.beside(Pipeline, other).squeeze
    runs = [squeeze.run(s).tensors for s in squeeze.seeds]
    counted = [(r["events"].int().numpy(), r["learned"].numpy()) for r in runs]
    how = {"never_learned": t.choices.never_learned}
    return t.real(coresets.forgetting(labels, counted, e.ipc, **how))


def glister(t: "Table1Pipeline", seed: int) -> Built:
    """What lowers the loss on held-out training images most (`glister.glister`)."""
    e, recipe = t.experiment, recipes.glister(t.experiment)
    out = coresets.holdout(t.train.labels, recipes.HELD, seed)
    rest = np.setdiff1d(np.arange(len(t.train)), out)
    pool = t.train.subset(rest, "pool")
    how = {"eta": recipe.lr, "update": t.choices.glister_update}
    key = t.trainings.key(e.network, recipe, seed, pool)
    key |= {"validation": t.train.subset(out).fingerprint, "ipc": e.ipc, **how}

    def compute():
        """Train on the pool and select; return indices of training images."""
        network = t.trainings.network(e.network, seed)
        t.trainings.fit(network, pool, recipe, key, seed=seed, label=f"glister {seed}")
        with arithmetic(e.portable):
            seen = [
                gl.last_layer(network, part, t.device)
                for part in (pool, t.train.subset(out))
            ]
        chosen = gl.glister(*seen, e.ipc, **how)
        return {"indices": torch.from_numpy(rest[chosen])}, {}

    return t.real(t.store.get("glister", key, compute).tensors["indices"])


def self_evolved(t: "Table1Pipeline", seed: int) -> Built:
    """A window, grown by Algorithm 1 with CCFS's own filters (`coresets`)."""
    e, p = t.experiment, t.pipeline
    size, beta = evolved(t)

    def train_filter(synthetic: ImageSet, phase: int) -> Filter:
        """Train on the set so far."""
        each = size + sum(quotas(e.ipc - size, e.curricula)[: phase - 1])
        return p.filter(synthetic, seed, phase, each)

    right = p.teacher.predictions if e.teacher_correct else None
    done = coresets.self_evolved(
        *(t.train, t.difficulty, e.ipc, train_filter),
        size=size,
        beta=beta,
        curricula=e.curricula,
        teacher_predictions=right,
        seed=seed,
        ties=scores.untied(t.difficulty, seed) if e.ties == "random" else None,
    )
    return t.real(done.indices)


def evolved(t: "Table1Pipeline") -> tuple[int, float]:
    """Return how many images of a class self-evolved selection begins with, and where.

    By default as many as CCFS has distilled ones, and at SelMatch's beta.
    """
    beta = t.choices.evolved_beta
    if beta is None:
        beta = recipes.matching(t.experiment, "selmatch").beta
    return t.choices.evolved_size or t.experiment.distilled, beta


# -- rows of distilled images ----------------------------------------------------------


def _condensed(method: str, t: "Table1Pipeline", seed: int) -> Built:
    """DSA or DM, from random real images."""
    recipe, stages = condenser(t, method), t.evaluator(False)
    begin = t.train.subset(t.pipeline.random_real(t.experiment.ipc, seed), "initial")
    constants = stages.normalisation
    values = experts.plain(recipe)
    key = {"method": method, "recipe": values, "seed": seed, "network": CONDENSER}
    key |= {"begin": begin.fingerprint, "train": t.train.fingerprint}
    key |= {"normalisation": constants, "portable": t.experiment.portable}
    key |= t.trainings.arithmetic

    def compute():
        """Distil, resumable; return images, uint8, and pixels, as learned."""
        forbidden.check(f"the set of {method} of seed {seed}")
        how = {"normalisation": constants, "seed": seed, "device": t.device}
        how["checkpoint"] = t.trainings.checkpoint(key)
        with arithmetic(t.experiment.portable):
            done = {"dsa": dsa, "dm": dm}[method].distill(
                begin, t.train, CONDENSER, recipe, **how
            )
        return {"images": done.images.images, "pixels": done.pixels}, {}

    kept = t.store.get("condense", key, compute).tensors
    images = ImageSet(method, kept["images"], begin.labels, begin.classes)
    return Built(images, len(images), kept["pixels"])


def condenser(t: "Table1Pipeline", method: str):
    """Return the recipe of "dsa" or "dm", its iterations cut to the budget."""
    e, (make, forwards) = t.experiment, CONDENSED[method]
    recipe = make(e.dataset, e.ipc)
    passes = recipe.passes(t.train.num_classes, e.ipc, min(t.train.class_sizes))
    count = t.cut(recipe.iterations, passes, forwards, CONDENSER)
    recipe = replace(recipe, iterations=count)
    if method == "dsa" and count == 1:  # at IPC 50, one iteration is 50 matches
        loops = t.cut(recipe.outer, passes / recipe.outer, forwards, CONDENSER)
        recipe = replace(recipe, outer=loops)
    return recipe


def _matched(method: str, t: "Table1Pipeline", seed: int) -> Built:
    """MTT or DATM: all images are distilled, from random ones or such as are known."""
    s = t.section3(method)
    begin = t.train.subset(s.initial(t.experiment.ipc, seed), "initial")
    done = s.distilled(begin, t.train.subset([]), seed)
    soft = None if done.label_logits is None else done.label_logits.softmax(1)
    whitened = s.motivation.expert.zca
    return Built(done.images, len(begin), done.pixels, soft, whitened)


def selmatch(t: "Table1Pipeline", seed: int) -> Built:
    """SelMatch: distilled images first, then the harder part of the window."""
    made, matching = t.section3("selmatch").combined("selmatch", seed)
    return Built(made.images, len(matching.pixels), matching.pixels)


def sre2l(t: "Table1Pipeline", seed: int) -> Built:
    """Images by SRe2L, from the same teacher. The set is the same for all seeds."""
    other = t.beside(Pipeline, recipes.sre2l(t.experiment))
    images = other.distilled(t.experiment.ipc)
    return Built(images, len(images))


def cda(t: "Table1Pipeline", seed: int) -> Built:
    """Images by CDA. The set is the same for all seeds."""
    images = t.pipeline.distilled(t.experiment.ipc)
    return Built(images, len(images))


def cudd_row(t: "Table1Pipeline", seed: int) -> Built:
    """CUDD on small images; the students are of the experiment's network."""
    e, p = t.experiment, t.pipeline
    recipe = cudd_recipe(t)
    key = {"recipe": plain_cudd(recipe), "ipc": e.ipc, "seed": seed}
    key |= {"train": t.train.fingerprint, "network": e.network}
    key |= {"portable": e.portable} | t.trainings.arithmetic
    if e.portable:  # other bits once, as in `Recover.batch`
        key |= {"adam": "fused"}
    key = p.teacher.named(t.store, "cudd", key)

    def compute():
        """Run all curricula; return images (N, 3, H, W) and labels (N,)."""
        forbidden.check(f"the set of cudd of seed {seed}")
        teacher = p.teacher.network
        build = partial(t.trainings.network, e.network)
        learn = partial(
            *(curricula.learn,),
            build=build,
            teacher=teacher,
            recipe=recipe,
            seed=seed,
            device=t.device,
        )
        given = t.train, teacher, e.ipc, recipe, learn
        with arithmetic(e.portable):
            done = list(curricula.run(*given, seed=seed, device=t.device))
        images = torch.cat([batch.images.images for batch in done])
        return {
            "images": images,
            "labels": torch.cat([batch.images.labels for batch in done]),
        }, {}

    kept = t.store.get("cudd", key, compute).tensors
    images = ImageSet("cudd", kept["images"], kept["labels"], t.train.classes)
    return Built(images, len(images))


def cudd_recipe(t: "Table1Pipeline"):
    """Return CUDD's recipe, the iterations of its recovery cut to the budget."""
    e = t.experiment
    recipe = cudd.cudd(e.dataset, t.train.image_size)
    total = e.ipc * t.train.num_classes
    count = t.cut(recipe.recovery.iterations, total, 4, e.teacher_network)
    return replace(recipe, recovery=replace(recipe.recovery, iterations=count))


def plain_cudd(recipe) -> dict:
    """Return CUDD's recipe as plain values, for a key."""
    parts = {"recovery", "student"}
    values = {k: v for k, v in essential(recipe).items() if k not in parts}
    return values | {name: essential(getattr(recipe, name)) for name in sorted(parts)}


def ccfs(t: "Table1Pipeline", seed: int) -> Built:
    """The set of CCFS."""
    count = t.experiment.distilled * t.train.num_classes
    return Built(t.pipeline.synthetic(CCFS, seed), count)


def own(t: "Table1Pipeline", row: Row, seed: int) -> Built:
    """The set of a user's function: indices of real images, or distilled ones."""
    e, train = t.experiment, t.train
    key = {"function": row.function, "source": plugins.source_hash(row.function)}
    key |= {"train": train.fingerprint, "ipc": e.ipc, "seed": seed}

    def compute():
        """Call the function; raises InputError for what it must not return."""
        with plugins.told(row.function, "rows"):
            function = plugins.resolve(row.function, "rows", ("images", "ipc", "seed"))
            made = function(train.copy(), e.ipc, seed)
            if not isinstance(made, ImageSet):
                made = np.asarray(made)  # raises for lists of several lengths
        if isinstance(made, ImageSet):
            _check_own(made, t, row)
            return {"images": made.images, "labels": made.labels}, {}
        return {"indices": torch.from_numpy(_indices(made, t, row))}, {}

    kept = t.store.get("own", key, compute).tensors
    if "indices" in kept:
        return t.real(kept["indices"])
    made = ImageSet(row.title, kept["images"], kept["labels"], train.classes)
    return Built(made, len(made))


def _check_own(made: ImageSet, t: "Table1Pipeline", row: Row) -> None:
    ours = t.train.classes, t.train.image_size
    most = max(made.class_sizes, default=0)
    if made.classes != t.train.classes and made.num_classes == t.train.num_classes:
        raise InputError(
            f"rows has {row.function!r}, which returned images of the classes "
            f"{', '.join(made.classes[:3])}, ..., but those of the training images are "
            f"{', '.join(t.train.classes[:3])}, ...: take `classes` from them"
        )
    if (made.classes, made.image_size) != ours or not 0 < most <= t.experiment.ipc:
        raise InputError(
            f"rows has {row.function!r}, which returned {len(made)} images of "
            f"{made.num_classes} classes at {made.image_size} px, but must return at "
            f"most {t.experiment.ipc} of each of the {t.train.num_classes} classes at "
            f"{t.train.image_size} px"
        )


def _indices(index: np.ndarray, t: "Table1Pipeline", row: Row) -> np.ndarray:
    if wrong := _wrong(index, t):
        raise InputError(
            f"rows has {row.function!r}, which returned {wrong}, but must return "
            f"different indices from 0 to {len(t.train) - 1}, at most "
            f"{t.experiment.ipc} of a class, or an ImageSet"
        )
    return index.astype(np.int64)


def _wrong(index: np.ndarray, t: "Table1Pipeline") -> str:
    """Say what of a user's indices cannot be; "" for nothing."""
    if not index.size:
        return "nothing"
    if index.ndim != 1 or index.dtype.kind not in "iu":
        return f"an array of {index.dtype} and shape {index.shape}"
    if len(out := index[(index < 0) | (index >= len(t.train))]):
        return f"index {out[0]}"
    values, counts = np.unique(index, return_counts=True)
    if counts.max() > 1:
        return f"index {values[counts.argmax()]} more than once"
    of_class = np.bincount(t.train.labels.numpy()[index])
    if of_class.max() > t.experiment.ipc:
        return f"{of_class.max()} of class {t.train.classes[of_class.argmax()]!r}"
    return ""


BUILDERS = {
    "random": random,
    "forgetting": forgetting,
    "glister": glister,
    "self-evolved": self_evolved,
    "dsa": partial(_condensed, "dsa"),
    "dm": partial(_condensed, "dm"),
    "mtt": partial(_matched, "mtt"),
    "sre2l": sre2l,
    "datm": partial(_matched, "datm"),
    "selmatch": selmatch,
    "cda": cda,
    "cudd": cudd_row,
    "ccfs": ccfs,
    "random-bps": random,
}
