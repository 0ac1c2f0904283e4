"""``python -m datamodels.training.launcher.slurm_chunk STORE ROWS``: how many are not complete.

The script of a SLURM task asks this; ROWS is written as for ``--worker.indices``.
"""

import sys

from datamodels.errors import DatamodelsError
from datamodels.training.indices import parse_indices
from datamodels.training.store import Store


def main(arguments: list[str]) -> int:
    """Print the number of rows that are not complete; 1 where the store cannot be read."""
    folder, rows = arguments
    try:
        completed = Store.open(folder).completed
        print(int((~completed[parse_indices(rows, completed.size, folder)]).sum()))
    except (DatamodelsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
