"""The options of all commands, as `Experiment` and `Motivation` declare them."""

from collections.abc import Iterator
from dataclasses import field, fields, make_dataclass
from itertools import product
from typing import Annotated, Literal, get_args, get_origin

import tyro

from ccfs_lib.errors import InputError
from ccfs_lib.experiment import Experiment, Motivation, motivation, preset, section3
from ccfs_lib.experiment.recipes import Distillation, Recipe
from ccfs_lib.experiment.settings import SETTINGS, SHORTHANDS, settings
from ccfs_lib.runtime.portable import settle

RECIPES = {"recipe": Recipe, "teacher": Recipe, "distillation": Distillation}
READING = "at the paper's scale: paper (tables), notebooks (logged runs) or released"
ALWAYS = {"dataset": "digits", "data_root": "", "scale": ""}  # the preset's name


def plain(annotation):
    """Return the type that the command line reads: str for a choice of words."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    # Not the choice itself: then tyro would refuse a wrong word, and not we.
    return str if get_origin(annotation) is Literal else annotation


def option(name: str, kind, help: str, grid: bool = False) -> tuple:
    """Declare one field of a command; None, or () of a grid, means not given."""
    help_text = tyro.conf.arg(help=help)
    if name in ALWAYS:
        return name, Annotated[kind, help_text], ALWAYS[name]
    if grid:
        help_text = tyro.conf.arg(help=f"{help}; several make a grid")
        return name, Annotated[tuple[kind, ...], help_text], ()
    return name, Annotated[kind | None, help_text], None


def declared(kind: type, leave: set[str] = frozenset()):
    """Yield options of a configuration's declared settings, but for those left out."""
    types = {f.name: plain(f.type) for f in fields(kind)}
    for name, setting in settings(kind).items():
        if setting.help and name not in leave:
            yield option(name, types[name], setting.help, setting.grid)


def shorthands(table: dict, recipes: dict):
    """Yield options that stand for one field of a recipe."""
    for name, (part, inner, help) in table.items():
        types = {f.name: plain(f.type) for f in fields(recipes[part])}
        yield option(name, types[inner], help)


class Point:
    """What the options give: one run or a grid of runs."""

    make = staticmethod(preset)

    def experiment(self):
        """Return the preset with these changes; raises InputError, also for a grid."""
        for name, values in vars(self).items():
            if isinstance(values, tuple) and len(values) > 1 and SETTINGS[name].grid:
                raise InputError(
                    f"{name} has {len(values)} values, {' '.join(map(str, values))}, "
                    "but this command takes one"
                )
        return self.experiments()[0]

    def experiments(self) -> list:
        """List the product of all lists of values, the last list varying fastest.

        Raises InputError for the first experiment that cannot be.
        """
        points = grid(vars(self), self.grids)
        runs = list(dict.fromkeys(self.make(**point) for point in points))
        settle(any(getattr(run, "experiment", run).portable for run in runs))
        return runs  # a value named twice is one


def grid(options: dict, lists: set[str]) -> Iterator[dict]:
    """Yield every combination of options' lists of values, the last varying fastest.

    None and an empty list were not given, and are left out: the preset decides.
    """
    given = {k: v for k, v in options.items() if v is not None and v != ()}
    lists = {k: v for k, v in given.items() if k in lists}
    for values in product(*lists.values()):
        yield given | dict(zip(lists, values, strict=True))


def command_options(name: str, doc: str, make, options: list[tuple]) -> type:
    """Make a dataclass of options, whose values `make` turns into runs."""
    return make_dataclass(
        name,
        [(n, t, field(default=default)) for n, t, default in options],
        bases=(Point,),
        frozen=True,
        namespace={
            "make": staticmethod(make),
            "grids": {n for n, _, default in options if default == ()},
            "__doc__": doc,
            "__module__": __name__,
        },
    )


Choice = command_options(
    "Choice",
    "What to run. Anything left out is the preset's, printed before it starts.",
    preset,
    [
        *declared(Experiment),
        option("reading", str, READING),
        *shorthands(SHORTHANDS, RECIPES),
    ],
)
Section3 = command_options(
    "Section3",
    "What to run. Anything left out is the preset's, printed before it starts.",
    motivation,
    [
        *declared(Experiment, section3.UNUSED | {"score", "evaluation_network"}),
        option("score", str, SETTINGS["score"].help),
        *declared(Motivation),
        *shorthands(section3.SHORTHANDS, section3.RECIPES),
    ],
)
