"""What a user is meant to read: a bad argument, the end of a time limit, a notice."""

import warnings


class InputError(ValueError):
    """A bad argument: one sentence names it, its value and what is allowed.

    Notebooks (IPython, papermill) and the command line print the sentence alone: a
    traceback through our code would only hide it.
    """

    def _render_traceback_(self):
        # IPython asks an exception for this before it draws its own traceback.
        return [f"{type(self).__name__}: {self}"]


class TimeUp(Exception):
    """The time limit was reached at an epoch boundary; the same call continues."""


class Notice(UserWarning):
    """Something was mended, or is less than was asked; the work goes on."""


def plainly() -> None:
    """Print our notices as sentences from now on, without file, line and source.

    For the command line; a library's caller filters and shows warnings as they like.
    """
    warnings.formatwarning = _sentence


_default_format = warnings.formatwarning


def _sentence(message, category, *place) -> str:
    if issubclass(category, Notice):
        return f"ccfs: {message}\n"
    return _default_format(message, category, *place)
