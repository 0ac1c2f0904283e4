"""``python -m datamodels.regression.merge``: what several machines made, as one.

Files of moments of different rows merge to the moments of all of these rows: the counts to the bit
of one pass over all of them, sums with outputs to rounding (within 1e-12 of the largest). Folders
of results of different targets merge to results of all of these targets.
"""

import time
from pathlib import Path

from datamodels.cli.catalogue import MERGE
from datamodels.cli.runner import Values, run, section
from datamodels.errors import MissingFileError, UsageError
from datamodels.files import check_new_file, refuse_existing
from datamodels.regression.moments_file import check_name
from datamodels.regression.moments_merge import merge_moments


def main() -> int:
    """The command; returns its exit status."""
    return run(MERGE, _merge)


def _merge(values: Values) -> None:
    began = time.monotonic()
    options = section(values, "merge")
    inputs, out = parse_inputs(options["inputs"]), Path(options["out"])
    if all(path.is_dir() for path in inputs):
        from datamodels.regression.results_merge import merge_results

        refuse_existing(out)
        merge_results(inputs, out)
        print(f"wrote {out}")
        return
    _refuse_folders(inputs)
    check_name(out)
    check_new_file(out)
    known = merge_moments(inputs, out)
    print(
        f"moments of {known.n} rows ({known.rows[0]} to {known.rows[-1]}), from {len(inputs)} "
        f"files\n  fingerprint  {known.fingerprint}\n"
        f"  seconds      {time.monotonic() - began:.1f}"
    )
    print(f"wrote {out}")


def parse_inputs(text: str) -> list[Path]:
    """The files or folders of a list such as ``a.npz,b.npz``: at least two, all different."""
    inputs = [Path(name.strip()).expanduser() for name in text.split(",") if name.strip()]
    if len(inputs) < 2:
        raise UsageError(f"inputs={text} names {len(inputs)} of at least 2; write e.g. A,B,C")
    for path in inputs:
        if not path.exists():
            raise MissingFileError(
                f"there is no {path}; inputs are files of moments, or folders of results"
            )
    places = [path.resolve() for path in inputs]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UsageError(f"{inputs[i]} is named twice in inputs={text}; name each one once")
    return inputs


def _refuse_folders(inputs: list[Path]) -> None:
    folders = [path for path in inputs if path.is_dir()]
    if folders:
        file = next(path for path in inputs if not path.is_dir())
        raise UsageError(
            f"{file} is a file and {folders[0]} a folder: files of moments merge with one another, "
            "and folders of results with one another"
        )


if __name__ == "__main__":
    raise SystemExit(main())
