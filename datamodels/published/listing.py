"""``python -m datamodels.published list``: what was published, its sizes, what it costs to fetch.

Sizes follow from shapes. With ``--check`` the bucket is asked (a HEAD request a file), and the
status is 1 unless all is there as listed.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datamodels.cli.amounts import bytes_text
from datamodels.cli.published_commands import PUBLISHED_LIST
from datamodels.cli.runner import Values, run, section
from datamodels.errors import DatamodelsError
from datamodels.published.catalogue import USD_PER_GIB, PublishedFile
from datamodels.published.retries import persistently
from datamodels.published.selection import select
from datamodels.published.tables import columns, cost_text

_ABOUT = 1e-3  # of the size of a .pt file, which has more in it than arrays
_HEADS = ("data set", "alpha", "kind", "split", "models", "shape", "dtype", "size", "cost", "")
_REQUESTS = 8  # at a time
_NAMED = 4  # files of a kind in a message; the table has all

Found = int | None  # bytes of an object; None where there is none


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_LIST, _list)


def _list(values: Values) -> int:
    options = section(values, "list")
    files = select(options["dataset"], options["alpha"], options["kinds"], options["splits"])
    found = _ask(files) if options["check"] else None
    if options["json"]:
        rows = [_object(file) for file in files]
        for row, file in zip(rows, files, strict=True):
            if found is not None:
                row |= {"found_size": found[file.key], "as_listed": _as_listed(file, found)}
        print(json.dumps(rows, indent=1))
    else:
        print("\n".join(_table(files, found)))
    if found is not None:
        _refuse_differences(files, found)
    return 0


def _refuse_differences(files: Sequence[PublishedFile], found: dict[str, Found]) -> None:
    """DatamodelsError that says which files are not as listed, and what that means."""
    wrong = [file for file in files if not _as_listed(file, found)]
    if not wrong:
        return
    absent = [file.key for file in wrong if found[file.key] is None]
    late = [file.key for file in wrong if found[file.key] is not None and file.reported_missing]
    other = [file.key for file in wrong if file.key not in (*absent, *late)]
    told = [
        f"{what}: {_in_short(keys)}"
        for what, keys in (
            ("not there", absent),
            ("of another size", other),
            ("there, though reported missing", late),
        )
        if keys
    ]
    raise DatamodelsError(
        f"{len(wrong)} of {len(files)} files are not as listed: {'; '.join(told)}. What is found "
        "rules: download fetches what is there, and shows what that costs; name others by "
        "--download.kinds and --download.splits"
    )


def _in_short(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def _ask(files: Sequence[PublishedFile]) -> dict[str, Found]:
    """Sizes in the bucket by key."""
    from datamodels.published.s3 import Bucket
    from datamodels.published.s3_errors import AccessError, NoObjectError

    bucket = Bucket(connections=_REQUESTS)

    def size(file: PublishedFile) -> Found:
        try:
            return persistently(lambda: bucket.head(file.key)).size
        except NoObjectError:
            return None
        except AccessError:  # where the bucket may not be listed, what is not there is refused
            if file.reported_missing:
                return None
            raise

    with ThreadPoolExecutor(_REQUESTS) as pool:
        return dict(zip((file.key for file in files), pool.map(size, files), strict=True))


def _as_listed(file: PublishedFile, found: dict[str, Found]) -> bool:
    size = found[file.key]
    if size is None or file.reported_missing:
        return size is None and file.reported_missing is not None
    return size == file.size or (not file.is_array and abs(size / file.size - 1) < _ABOUT)


def _table(files: Sequence[PublishedFile], found: dict[str, Found] | None) -> list[str]:
    rows = [_HEADS] + [_cells(file, found) for file in files]
    lines = columns(rows, "lrllrrlrr")
    if found is None:
        sizes = [None if file.reported_missing else file.size for file in files]
    else:
        sizes = [found[file.key] for file in files]
    size = sum(filter(None, sizes))
    what = "to fetch it all" if found is None else "to fetch all that was found"
    total = f"together {bytes_text(size)}: {cost_text(size)} {what}"
    lines += ["", f"{total}, at {USD_PER_GIB} USD a GiB from Amazon S3 to the internet"]
    if found is None and None in sizes:
        lines.append("(missing): promised, and reported not to be there; not in the total")
    lines.append("Rows are models: those listed, and 10,000 more for evaluation, the last ones.")
    return lines


def _cells(file: PublishedFile, found: dict[str, Found] | None) -> tuple[str, ...]:
    return (
        file.dataset,
        str(file.alpha),
        file.kind,
        file.split,
        f"{file.n_models:,}",
        " x ".join(map(str, file.shape)),
        str(file.dtype),
        bytes_text(file.size),
        cost_text(file.size),
        _remark(file, found),
    )


def _remark(file: PublishedFile, found: dict[str, Found] | None) -> str:
    missing = "(missing)" if file.reported_missing else ""
    if found is None:
        return missing
    size = found[file.key]
    if size is None:
        return "not there, as reported" if file.reported_missing else "NOT THERE"
    if file.reported_missing:
        return f"there after all: {size} bytes"
    return "as listed" if _as_listed(file, found) else f"{size} BYTES, NOT {file.size}"


def _object(file: PublishedFile) -> dict[str, Any]:
    return {
        "dataset": file.dataset,
        "alpha": file.alpha,
        "kind": file.kind,
        "split": file.split,
        "key": file.key,
        "models": file.n_models,
        "evaluation_models": file.n_evaluation,
        "shape": list(file.shape),
        "dtype": str(file.dtype),
        "size": file.size,
        "cost_usd": round(file.cost, 4),
        "reported_missing": file.reported_missing,
    }
