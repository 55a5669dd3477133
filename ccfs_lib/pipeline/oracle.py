"""The oracle window of Table 1, and beside it what held-out training images choose.

Every window of a grid is trained with every seed that judges, and once for the held-out
images: trainings that do not need each other, so that `table1.run` does them side by
side before it asks for the rows.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ccfs_lib import coresets
from ccfs_lib.experiment import table1 as recipes
from ccfs_lib.pipeline.section3 import Section3Pipeline
from ccfs_lib.store import Artefact

if TYPE_CHECKING:
    from ccfs_lib.pipeline.table1 import Table1Pipeline

GRID = {"digits": 0.2}  # steps of beta, by scale; 0.1 elsewhere, as SelMatch has it


def grid_step(experiment) -> float:
    """Return the step of beta between two windows."""
    return GRID.get(experiment.scale, 0.1)


class Oracle:
    """The windows of a `Table1Pipeline` under one of its protocols."""

    def __init__(self, table: "Table1Pipeline", protocol: str):
        self.table, self.protocol = table, protocol

    @cached_property
    def judges(self) -> range:
        """The seeds over which the mean is taken that chooses the window."""
        return range(self.table.judges(self.protocol))

    @cached_property
    def betas(self) -> list[float]:
        """The grid; ascending."""
        return self._grid(None)

    @cached_property
    def fitting(self) -> list[float]:
        """The betas that fit into what is left without the held-out images."""
        return self._grid(self._out)

    def trainings(self) -> list[tuple[float, int | None]]:
        """List every training, (beta, seed); seed None: the one for held-out images.

        Ours: these are asked with the first seed alone; difficulty and teacher have
        seen them, as all training images.
        """
        judged = [(beta, seed) for seed in self.judges for beta in self.betas]
        return judged + [(beta, None) for beta in self.fitting]

    def trained(self, beta: float, seed: int | None) -> Artefact:
        """Train on a window; tested on the test split, or on the held-out images."""
        t = self.table
        if seed is None:
            return t.trained(t.real(self._apart[beta]), self.protocol, 0, t.held[0])
        return t.trained(t.real(self._whole[beta]), self.protocol, seed)

    def row(self, seed: int) -> dict:
        """Return a row of results: the best window by the test split.

        Beside it window_beta, and held_beta, held_last, held_best: the same seed at the
        beta that held-out images choose.
        """
        by_test = {b: [self._last(b, s) for s in self.judges] for b in self.betas}
        by_held = {b: self._last(b, None) for b in self.fitting}
        best, chosen = coresets.best_beta(by_test), coresets.best_beta(by_held)
        figures = self.trained(chosen, seed).meta
        aside = {f"held_{name}": figures[name] for name in ("last", "best")}
        aside |= {"window_beta": best, "held_beta": chosen}
        built = self.table.real(self._whole[best])
        return self.table.row(built, self.trained(best, seed), seed) | aside

    def _last(self, beta: float, seed: int | None) -> float:
        return self.trained(beta, seed).meta["last"]

    @property
    def _out(self) -> np.ndarray:
        """Indices of the held-out training images."""
        return self.table.held[1]

    def _grid(self, excluded: np.ndarray | None) -> list[float]:
        labels, e = self.table.train.labels.numpy(), self.table.experiment
        return coresets.grid(labels, e.ipc, step=grid_step(e), excluded=excluded)

    @cached_property
    def _whole(self) -> dict[float, np.ndarray]:
        """The windows of all training images, beta -> indices."""
        return self._windows(self.betas, None)

    @cached_property
    def _apart(self) -> dict[float, np.ndarray]:
        """The windows of the training images that are not held out."""
        return self._windows(self.fitting, self._out)

    def _windows(
        self, betas: list[float], excluded: np.ndarray | None
    ) -> dict[float, np.ndarray]:
        t, windowed = self.table, recipes.windowed(self.table.experiment)
        difficulty = t.beside(Section3Pipeline, windowed).difficulty
        given = t.train.labels.numpy(), difficulty, t.experiment.ipc, betas
        return coresets.windows(*given, excluded=excluded)
