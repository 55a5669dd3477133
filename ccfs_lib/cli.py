"""The command line of `ccfs`; errors are sentences."""

import codecs
import os
import signal
import sys

import tyro

from ccfs_lib.commands.files import Export, Select, Ship
from ccfs_lib.commands.results import Doctor, Results
from ccfs_lib.commands.run import Match, Squeeze, Sweep
from ccfs_lib.commands.table1 import Table1
from ccfs_lib.errors import InputError, TimeUp, plainly
from ccfs_lib.runtime import plugins

COMMANDS = Sweep | Match | Table1 | Squeeze | Select | Export | Ship | Results | Doctor


def main() -> None:
    """Run `ccfs`; exit code 2 and one sentence for what a user can mend."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of ASCII shows ± as +-
            stream.reconfigure(errors="ccfs")
    try:
        command = tyro.cli(COMMANDS, prog="ccfs")
        plainly()
        command()
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except TimeUp as stop:
        print(f"ccfs: {stop}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)  # 75: run me again
    except (InputError, FloatingPointError, OSError) as error:
        print(f"ccfs: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ccfs: stopped; the same command continues where it was", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if not (place := plugins.place(error)):
            raise  # ours: a traceback is what its report needs
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        print(f"ccfs: {place} raised {what}", file=sys.stderr)
        sys.exit(2)


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """Spell what an encoding lacks; a handler of `codecs.register_error`."""
    text = error.object[error.start : error.end]
    return "".join({"±": "+-", "…": "..."}.get(c, "?") for c in text), error.end


codecs.register_error("ccfs", _spelt)
