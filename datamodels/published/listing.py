"""``python -m datamodels.published list``: what was published, its sizes, what it costs to fetch.

Sizes follow from shapes. With ``--check`` the bucket is asked (a HEAD request a file), and the
status is 1 unless all is there as listed.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from datamodels.cli.amounts import bytes_text
from datamodels.cli.published_commands import PUBLISHED_LIST
from datamodels.cli.runner import Values, run, section
from datamodels.errors import DatamodelsError
from datamodels.published.catalogue import USD_PER_GIB, PublishedFile
from datamodels.published.limits import check_limits
from datamodels.published.retries import persistently
from datamodels.published.s3_errors import AccessError, NoObjectError
from datamodels.published.selection import select
from datamodels.published.tables import columns, cost_text

_ABOUT = 1e-3  # of the size of a .pt file, which has more in it than arrays
_HEADS = ("data set", "alpha", "kind", "split", "models", "shape", "dtype", "size", "cost", "")
_REQUESTS = 8  # at a time
_DIFFERENCES = (
    "refused (403), which is also what an absent file looks like",
    "not there",
    "of another size",
    "there, though reported missing",
)
_NAMED = 4  # files of a kind in a message; the table has all


@dataclass(frozen=True)
class Found:
    """What the bucket says of a file."""

    size: int | None  # bytes; None where it gives none
    refusal: AccessError | None = None  # None and no size: it is not there


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_LIST, _list)


def _list(values: Values) -> int:
    options = section(values, "list")
    files = select(options["dataset"], options["alpha"], options["kinds"], options["splits"])
    check_limits("list", options)
    found = _ask(files, options["retries"]) if options["check"] else None
    if options["json"]:
        rows = [_object(file) for file in files]
        for row, file in zip(rows, files, strict=True):
            if found is not None:
                answer = found[file.key]
                row |= {
                    "found_size": answer.size,
                    "refused": answer.refusal is not None,
                    "as_listed": _as_listed(file, answer),
                }
        print(json.dumps(rows, indent=1))
    else:
        print("\n".join(_table(files, found)))
    if found is not None:
        _refuse_differences(files, found)
    return 0


def _refuse_differences(files: Sequence[PublishedFile], found: dict[str, Found]) -> None:
    """DatamodelsError that says which files are not as listed, and what that means; the refusal
    itself where nothing could be asked."""
    refusals = [answer.refusal for answer in found.values()]
    if refusals and refusals[0] is not None and all(refusals):
        raise refusals[0]
    wrong = [file for file in files if not _as_listed(file, found[file.key])]
    if not wrong:
        return
    kinds: dict[str, list[str]] = {}
    for file in wrong:
        kinds.setdefault(_difference(file, found[file.key]), []).append(file.key)
    told = [f"{what}: {_in_short(kinds[what])}" for what in _DIFFERENCES if what in kinds]
    raise DatamodelsError(
        f"{len(wrong)} of {len(files)} files are not as listed: {'; '.join(told)}. What is found "
        "rules: download fetches what is there, and shows what that costs; name others by "
        "--download.kinds and --download.splits"
    )


def _difference(file: PublishedFile, answer: Found) -> str:
    """Which of ``_DIFFERENCES`` a file has that is not as listed."""
    refused, absent, other, late = _DIFFERENCES
    if answer.size is None:
        return absent if answer.refusal is None else refused
    return late if file.reported_missing else other


def _in_short(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def _ask(files: Sequence[PublishedFile], retries: int) -> dict[str, Found]:
    """What the bucket says, by key."""
    from datamodels.published.s3 import Bucket

    bucket = Bucket(connections=_REQUESTS)

    def ask(file: PublishedFile) -> Found:
        try:
            return Found(persistently(lambda: bucket.head(file.key), retries).size)
        except NoObjectError:
            return Found(None)
        except AccessError as error:  # of one file, perhaps
            return Found(None, error)

    with ThreadPoolExecutor(_REQUESTS) as pool:
        return dict(zip((file.key for file in files), pool.map(ask, files), strict=True))


def _as_listed(file: PublishedFile, answer: Found) -> bool:
    """Whether nothing speaks against the list: a file that is reported missing may be refused."""
    size = answer.size
    if size is None or file.reported_missing:
        return size is None and file.reported_missing is not None
    return size == file.size or (not file.is_array and abs(size / file.size - 1) < _ABOUT)


def _table(files: Sequence[PublishedFile], found: dict[str, Found] | None) -> list[str]:
    rows = [_HEADS] + [_cells(file, found) for file in files]
    lines = columns(rows, "lrllrrlrr")
    if found is None:
        sizes = [None if file.reported_missing else file.size for file in files]
    else:
        sizes = [found[file.key].size for file in files]
    size = sum(filter(None, sizes))
    what = "to fetch it all" if found is None else "to fetch all that was found"
    total = f"together {bytes_text(size)}: {cost_text(size)} {what}"
    lines += ["", f"{total}, at {USD_PER_GIB} USD a GiB from Amazon S3 to the internet"]
    if found is None and None in sizes:
        lines.append("(missing): promised, and reported not to be there; not in the total")
    lines.append("Rows are models: those listed, and 10,000 more for evaluation.")
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
    answer = found[file.key]
    if answer.refusal is not None:
        return "refused: 403" + (", as absent files are" if file.reported_missing else "")
    if answer.size is None:
        return "not there, as reported" if file.reported_missing else "NOT THERE"
    if file.reported_missing:
        return f"there after all: {answer.size} bytes"
    return "as listed" if _as_listed(file, answer) else f"{answer.size} BYTES, NOT {file.size}"


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
