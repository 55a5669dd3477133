"""A user's functions by name, ``module:function``, so that any process can import them.

The module is looked for as ``python -m`` does, in the current folder first. No torch
here: a name can be checked before anything expensive is imported.
"""

import hashlib
import importlib
import inspect
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path

from ccfs_lib.errors import InputError, Notice, TimeUp
from ccfs_lib.runtime.paths import PACKAGE

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_lock = threading.RLock()
_hashes: dict[str, str] = {}  # of the modules' sources, as they were when imported
_warned: set[str] = set()
_files: set[str] = set()  # of the user's modules, also of one that cannot be imported


def named(name: str) -> bool:
    """Check whether a name is ``module:function`` or ``pkg.module:Class.method``."""
    return bool(NAME.fullmatch(name)) and not name.endswith((".npy", ".npz"))


def check(name: str, argument: str, asked: str = "") -> None:
    """Raise InputError unless the module is there; it is not imported.

    argument: what the sentence calls the name. asked: how it was given, if otherwise. A
    package around the module is not imported either. Whether the module has the
    function, `resolve` finds out.
    """
    module = name.partition(":")[0]
    with _lock:
        spec = _spec(module)
    if module == "__main__" or spec is None:
        raise InputError(
            f"{argument} is {asked or name!r}, but there is no module {module} in "
            f"{os.getcwd()} or elsewhere on Python's path: write the function into a "
            "file of that name"
        )


def resolve(name: str, argument: str, takes: tuple[str, ...] | None = None) -> Callable:
    """Import the function that is named ``module:function``.

    argument: what the sentences call the name. takes: what the function is called
    with, by position. Raises InputError where the module or the function is not there,
    or cannot be called so; what the module itself raises while it is imported passes.
    """
    check(name, argument)
    module, _, path = name.partition(":")
    function = _imported(module)
    for part in path.split("."):
        try:
            function = getattr(function, part)
        except AttributeError:
            raise InputError(
                f"{argument} is {name!r}, but module {module} has no {path}"
            ) from None
    if not callable(function):
        kind = type(function).__name__
        raise InputError(f"{argument} is {name!r}, which is no function but a {kind}")
    if takes is not None and not _callable_with(function, len(takes)):
        raise InputError(
            f"{argument} is {name!r}, which must be a function of {', '.join(takes)}"
        )
    return function


@contextmanager
def told(name: str, argument: str) -> Iterator[None]:
    """Turn what a user's function or its module raises into one sentence, InputError.

    name, argument: as for `resolve`. What ends a command on purpose passes: a time
    limit, Ctrl-C.
    """
    try:
        yield
    except (InputError, TimeUp):
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        found = "" if isinstance(error, SyntaxError) else place(error)
        where = f" ({found})" if found else ""
        raise InputError(
            f"{argument} has {name!r}, which raised {what}{where}"
        ) from error


def source_hash(name: str) -> str:
    """Compute sha256 (hex) of the file of the module in ``module:function``.

    The file as it was when this process imported it: results must not be filed under
    a text that did not compute them. Modules that this one imports are not in it.
    Raises InputError for a module that is not there or has no file.
    """
    check(name, "name")
    module = name.partition(":")[0]
    _imported(module)
    if not _hashes[module]:
        raise InputError(f"module {module} has no source file, so {name} has no hash")
    return _hashes[module]


def sources(values: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Hash the sources of those settings, (field, value), that name functions."""
    return {field: source_hash(value) for field, value in values if named(value)}


def place(error: BaseException) -> str:
    """Say where in a user's module an error was raised, as `file, line n, in f`.

    "" where none of those that were named has a part in it. A worker's error brings its
    traceback as text.
    """
    text = "".join(traceback.format_exception(error))
    frames = re.findall(r'File "(.+)", line (\d+)(?:, in (.+))?', text)
    own = [frame for frame in frames if frame[0] in _files]
    if not own:
        return ""
    file, line, function = own[-1]
    return f"{file}, line {line}" + f", in {function}" * bool(function)


def shown(error: BaseException) -> list[str]:
    """Format an error's traceback with frames of the user's modules, none of ours.

    From the first frame of theirs on, what they call in turn stays, too. Lines of text.
    """
    remote = getattr(error.__cause__, "tb", "")  # a worker's traceback comes as text
    text = remote.strip('"\n') or "".join(traceback.format_exception(error))
    lines, inside, keep = [], False, True
    for line in text.splitlines():
        if frame := re.match(r'  File "(.+)", line \d+', line):
            inside = inside or frame[1] in _files
            keep = inside and not Path(frame[1]).is_relative_to(PACKAGE)
        elif not line.startswith("    "):
            inside, keep = inside and not line.startswith("Traceback"), True
        lines += [line] * keep
    return lines


def _inform_notebook() -> None:
    """Have this notebook, if it is one, print errors of users' modules by `shown`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or shell.custom_exceptions:
        return

    def handle(shell, kind, error, trace, tb_offset=None):
        """Print an error; of a user's module without the library's frames."""
        if place(error) and not isinstance(error, InputError):
            shell._showtraceback(kind, error, shown(error))
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((Exception,), handle)


def _imported(module: str):
    _inform_notebook()
    with _lock:
        file = _file(module)
        _files.add(str(file))
        before = _digest(file)
        if module not in _hashes:
            imported = importlib.import_module(module)
            _hashes[module] = before
            return imported
        if before != _hashes[module] and module not in _warned:
            _warned.add(module)
            message = f"{file} has changed since this process imported it, and is not "
            message += "read again: start a new process (restart the kernel) for that"
            warnings.warn(message, Notice, stacklevel=4)
        return sys.modules[module]


def _file(module: str) -> Path | None:
    # Of what is imported already, wherever that was; else where it will be found.
    spec = getattr(sys.modules.get(module), "__spec__", None) or _spec(module)
    return Path(spec.origin) if spec and spec.has_location else None


def _digest(file: Path | None) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file else ""
    except OSError:
        return ""


def _spec(module: str) -> ModuleSpec | None:
    """Find where a module would be imported from; no package is imported."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may be a second old
    path, name, spec = None, "", None
    for part in module.split("."):
        if name and path is None:  # not a package
            return None
        name = f"{name}.{part}" if name else part
        finders = (f for f in sys.meta_path if hasattr(f, "find_spec"))
        spec = next((s for f in finders if (s := f.find_spec(name, path))), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _callable_with(function: Callable, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # built in, without a signature
        pass
    return True
