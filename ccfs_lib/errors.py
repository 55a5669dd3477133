"""What a user is meant to read: a bad argument, and the end of a time limit."""


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
