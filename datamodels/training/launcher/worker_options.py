"""Options of workers that whoever starts them sets, and that stand on no command line of theirs."""

import sys

from datamodels.cli.catalogue import WORKER
from datamodels.cli.command_line import scan
from datamodels.cli.option import Command
from datamodels.errors import UsageError


def refuse_worker_options(command: Command, section: str) -> None:
    """UsageError where the command line has a worker's option that ``command`` does not take.

    ``section`` is that of the command's own options, one of which may be meant.
    """
    own = command.options()
    flags = command.flags() | WORKER.flags()
    found = scan(sys.argv[1:], declared=own, flags=flags).options
    for name in sorted((found.keys() & WORKER.options()) - own.keys()):
        meant = f"{section}.{name.partition('.')[2]}"
        hint = f"write --{meant}" if meant in own else "leave it out"
        raise UsageError(f"--{name} is the launcher's to set; {hint}")
