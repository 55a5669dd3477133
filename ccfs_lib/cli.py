"""The command line of `ccfs`; errors are sentences."""

import os
import signal
import sys

import tyro

from ccfs_lib.commands.files import Export, Select, Ship
from ccfs_lib.commands.results import Doctor, Results
from ccfs_lib.commands.run import Match, Squeeze, Sweep
from ccfs_lib.commands.table1 import Table1
from ccfs_lib.errors import InputError, TimeUp, plainly

COMMANDS = Sweep | Match | Table1 | Squeeze | Select | Export | Ship | Results | Doctor


def main() -> None:
    """Run `ccfs`; exit code 2 and one sentence for what a user can mend."""
    command = tyro.cli(COMMANDS, prog="ccfs")
    plainly()
    try:
        command()
    except TimeUp as stop:
        print(f"ccfs: {stop}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)  # 75: run me again
    except (InputError, FloatingPointError, OSError) as error:
        print(f"ccfs: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ccfs: stopped; the same command continues where it was", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
