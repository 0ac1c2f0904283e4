"""Files of moments of different rows, put together as one pass over all of these rows."""

from contextlib import ExitStack
from pathlib import Path

from datamodels.errors import InputError
from datamodels.regression.moments_file import MomentsFile, new_moments_file, summed
from datamodels.regression.row_moments import KnownRows


def merge_moments(inputs: list[Path], out: Path) -> KnownRows:
    """Write the sum of files of moments; their tables are summed as they are read."""
    with ExitStack() as stack:
        files = [stack.enter_context(MomentsFile(path)) for path in inputs]
        known = _joined(files, inputs)
        with new_moments_file(out) as new:
            for k in range(known.n_parts):
                new.add(*summed([(file, k) for file in files]))
            new.finish(known)
    return known


def _joined(files: list[MomentsFile], inputs: list[Path]) -> KnownRows:
    known = files[0].known
    for i in range(1, len(files)):
        try:
            known = known.joined(files[i].known)
        except InputError as error:
            others = str(inputs[0]) if i == 1 else f"the {i} before it"
            raise InputError(f"{inputs[i]} does not merge with {others}: {error}") from None
    return known
