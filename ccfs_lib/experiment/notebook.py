"""A notebook's parameters, validated before anything expensive is imported."""

import types
from collections.abc import Sequence
from dataclasses import fields, replace

from ccfs_lib import arms
from ccfs_lib.errors import InputError
from ccfs_lib.experiment.recipes import least_alpha
from ccfs_lib.experiment.settings import SHORTHANDS, Experiment, checked, preset
from ccfs_lib.runtime.portable import settle

# Fields of `table1.Choices`.
OF_TABLE1 = ("budget", "never_learned", "glister_update")
OF_TABLE1 += ("evolved_size", "evolved_beta")


def from_notebook(namespace: dict, needs: str = "") -> tuple[Experiment, dict]:
    """Validate a notebook's parameters: its plain values so far are nothing else.

    namespace: the notebook's ``globals()`` right after its parameters. papermill only
    warns about an unknown parameter and checks no type; here both stop the notebook
    with one sentence. needs: what alpha has to leave, "selected" images, "distilled"
    ones or both, with a space between. Returns the experiment and the parameters that
    are the chapter's own (`phase`; `networks`, `arms` and `alphas`, with spaces between
    them; `rows`, `panels` and OF_TABLE1, which `table1.chosen` checks; `roles`, yes or
    no).
    """
    extra = {"phase", "networks", "arms", "alphas", "roles"}
    if "rows" in namespace:  # chapter 16
        extra |= {"rows", "panels", *OF_TABLE1}
    known = {f.name for f in fields(Experiment)} | {*SHORTHANDS, "reading", *extra}
    values = given(namespace, known)
    chapter = {name: values.pop(name) for name in extra & set(values)}
    experiment = preset(**values)
    settle(experiment.portable)
    if needs:
        check_parts(experiment, needs.split())
    if "phase" in chapter:
        _check_phase(experiment, chapter["phase"])
    if "networks" in chapter:
        chapter["networks"] = _learners(experiment, chapter["networks"])
    if "arms" in chapter:
        chapter["arms"] = _measured(experiment, chapter["arms"])
    if "alphas" in chapter:
        chapter["alphas"] = _portions(experiment, chapter["alphas"])
    if chapter.get("roles") not in (None, True, False):
        raise InputError(f"roles is {chapter['roles']!r}, but must be True or False")
    return experiment, chapter


def check_parts(e: Experiment, needs: Sequence[str]) -> None:
    """Raise InputError where a chapter's kind of images is missing in the set.

    needs: "selected", "distilled" or both.
    """
    least = len(needs) - 1 + e.curricula
    if len(needs) > 1 and e.ipc < least:
        raise InputError(
            f"ipc is {e.ipc}, but this chapter needs at least one distilled image per "
            f"class and one selected in each phase (curricula is {e.curricula}): take "
            f"ipc from {least}"
        )
    if "selected" in needs and not e.real:
        raise InputError(
            f"alpha is {e.alpha:g}, but then nothing is selected, so there is nothing "
            f"to compare: with ipc {e.ipc} take alpha {_allowed(e, needs)}"
        )
    if "distilled" in needs and not e.distilled:
        raise InputError(
            f"alpha is {e.alpha:g}, but this chapter needs distilled images: with ipc "
            f"{e.ipc} take alpha {_allowed(e, needs)}"
        )
    if "selected" in needs and not e.distilled and e.coarse == "classified":
        raise InputError(
            f"coarse is 'classified', but with alpha {e.alpha:g} there is no first "
            "filter, every image counts as misclassified and none is a candidate: take "
            "coarse misclassified, or a larger alpha"
        )


def _allowed(e: Experiment, needs: Sequence[str]) -> str:
    """Name the alphas that leave all that is needed, for `check_parts`."""
    if "selected" in needs and e.ipc < e.curricula:
        return f"0 and curricula up to {e.ipc}"
    most = 1 - e.curricula / e.ipc if "selected" in needs else 1
    least = least_alpha(e.ipc)
    if most < float(least):
        return "0"
    some = least if most == float(least) else f"from {least} to {most:.3g}"
    return some if "distilled" in needs else f"0, or {some}"


def _check_phase(experiment: Experiment, phase) -> None:
    if not experiment.real:
        raise InputError(
            f"phase is {phase!r}, but alpha {experiment.alpha:g} leaves no real images "
            "to select, so there is no phase to show: take a smaller alpha"
        )
    last = experiment.curricula
    if isinstance(phase, bool) or not isinstance(phase, int) or not 1 <= phase <= last:
        raise InputError(f"phase is {phase!r}, but must be a whole number 1 to {last}")


def _names(parameter: str, names, what: str = "names") -> list[str]:
    if not isinstance(names, str):
        raise InputError(
            f"{parameter} is {names!r}, but must be {what} with spaces between them"
        )
    return names.split()


def _measured(experiment: Experiment, names) -> list[str]:
    """Arms that a chapter shows; [] for its usual ones."""
    found = _names("arms", names)
    for name in found:
        arms.parse(name, experiment)
    if found and (missing := [name for name in COMPARED if name not in found]):
        raise InputError(
            f"arms is {names!r} and lacks {missing[0]}: what the chapter says compares "
            f"{', '.join(COMPARED)}"
        )
    return found


def numbers(parameter: str, given, kind: type = float) -> list:
    """Read a parameter that holds numbers with spaces between them, or one; or None.

    kind: float or int. Raises InputError naming what is none.
    """
    if given is None:
        return []
    found, what = [], "whole number" if kind is int else "number"
    one = isinstance(given, int | float) and not isinstance(given, bool)
    for name in _names(parameter, str(given) if one else given, f"{what}s"):
        try:
            found.append(kind(name))
        except ValueError:
            raise InputError(f"{parameter} has {name!r}, which is no {what}") from None
    return found


def _portions(experiment: Experiment, given) -> list[float]:
    """Distilled portions that a chapter varies; [] for its usual ones."""
    found = numbers("alphas", given)
    for alpha in found:
        checked("alphas", replace, experiment, alpha=alpha)
    return found


def _learners(experiment: Experiment, names) -> list[str]:
    for name in _names("networks", names):
        try:
            checked("networks", replace, experiment, evaluation_network=name)
        except InputError as error:
            message = str(error).replace("evaluation_network", "networks")
            raise InputError(message) from None
    return names.split()


# Chapter 5 splits the paper's comparison into the teacher's part and the selection's.
COMPARED = (arms.CCFS, "random", "random-hard")
# What IPython itself keeps in the namespace of every notebook.
IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def given(namespace: dict, known: set[str]) -> dict:
    """Pick a notebook's parameters by name; InputError for one that is not known."""
    values = {k: v for k, v in namespace.items() if _is_parameter(k, v)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"{unknown[0]} is not a parameter of this notebook; it has "
            f"{', '.join(sorted(set(values) & known | {'ipc'}))}, and takes the other "
            "settings of `Experiment`, too, such as image_size, network or seeds"
        )
    return values


def _is_parameter(name: str, value) -> bool:
    plain = not isinstance(value, (types.ModuleType, type)) and not callable(value)
    return plain and not name.startswith("_") and name not in IPYTHON
