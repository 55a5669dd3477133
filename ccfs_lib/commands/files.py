"""Commands that write what a run selected, built or computed: select, export, ship."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ccfs_lib.arms import CONTROLS, STRATEGIES
from ccfs_lib.commands.options import Choice
from ccfs_lib.commands.run import Shared, print_settings
from ccfs_lib.errors import InputError
from ccfs_lib.runtime import paths


@dataclass(frozen=True)
class Select:
    """Run the curriculum of one seed and write the chosen indices."""

    out: Path
    """a .json in the authors' layout: ipc, alpha, idx_selected"""
    choice: Shared = field(default_factory=Choice)
    seed: int = 0
    verbose: bool = False
    """print every setting first, not only one line"""

    def __call__(self) -> None:
        """Select, print each phase, write."""
        experiment, out = self.choice.experiment(), paths.expanded(self.out)
        paths.writable(out, "out")
        print_settings([experiment], self.verbose)
        from ccfs_lib.curriculum import selected
        from ccfs_lib.data.exchange import write_indices
        from ccfs_lib.pipeline import Pipeline

        pipeline, records = Pipeline(experiment), []
        pipeline.recover.check()
        for record in pipeline.phases(self.seed):
            short = sum(record.shortfall.values())
            trained = (
                f"filter {record.train_accuracy:.1f} % train, "
                f"{record.filter.test_accuracy:.1f} % test"
                if record.has_filter
                else "no filter (alpha 0)"
            )
            print(
                f"phase {record.phase}: {trained}; chose "
                f"{len(record.chosen)} of {record.pool.sum()} candidates, {short} short"
            )
            records.append(record)
        # What is held out or left out is numbered, too.
        chosen = pipeline.trainings.numbered(selected(records))
        write_indices(out, experiment.ipc, experiment.alpha, chosen)
        print(f"wrote {out}")


@dataclass(frozen=True)
class Export:
    """Write an arm's final set: images as a folder or as Hugging Face parquet."""

    out: Path
    """a folder (SRe2L's layout), or a file ending in .parquet"""
    choice: Shared = field(default_factory=Choice)
    arm: str = STRATEGIES[0]
    """a strategy (fine-coarse), distilled, or random"""
    seed: int = 0
    form: Literal["png", "jpeg"] = "png"
    """of a folder's files; jpeg is lossy, as the authors publish"""
    replace: bool = False
    """put the set in the place of what is there"""

    def __call__(self) -> None:
        """Build the set and write it."""
        experiment, out = self.choice.experiment(), paths.expanded(self.out)
        parquet = out.suffix == ".parquet"
        paths.writable(out, "out", folder=not parquet)
        # An empty folder may be used; whatever else is there, only if told.
        used = any(out.iterdir()) if out.is_dir() else out.exists()
        if used and not self.replace:
            raise InputError(
                f"out is '{out}', where something is already: name another place, or "
                "add --replace to put this set in its place"
            )
        from ccfs_lib.arms import parse
        from ccfs_lib.data import exchange
        from ccfs_lib.pipeline import Pipeline

        pipeline = Pipeline(experiment)
        _ = pipeline.train, pipeline.test  # what a sweep refuses is refused here, too
        pipeline.recover.check()
        images = pipeline.synthetic(self.arm, self.seed)
        if parquet:
            exchange.write_parquet(images, out)
        else:
            exchange.write_folder(images, out, self.form, replace=self.replace)
        wanted = experiment.ipc * images.num_classes
        short = parse(self.arm).set != "full" and len(images) < wanted
        print(f"wrote {len(images)} images to {out}" + f", {wanted} wanted" * short)


@dataclass(frozen=True)
class Ship:
    """Make runs evidence: what their arms were made of goes to data/artefacts.

    Their results move to data/results: to be committed.
    """

    choice: Shared = field(default_factory=Choice)
    arms: tuple[str, ...] = STRATEGIES + CONTROLS
    """strategies (fine-coarse) and controls"""
    start_only: bool = False
    """only the teacher and the distilled images, with which rows are added elsewhere"""

    def __call__(self) -> None:
        """Copy and count."""
        experiments = self.choice.experiments()
        from ccfs_lib.commands.ship import adopt, ship

        made = [ship(e, self.arms, None, self.start_only) for e in experiments]
        count = len(set().union(*made))
        print(f"{count} artefacts are in data/artefacts")
        for folder in adopt([e.run for e in experiments]):
            print(f"its results are evidence now: {folder}")
