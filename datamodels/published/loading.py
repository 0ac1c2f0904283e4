"""Opening what has been downloaded: memory maps of rows, and datamodels.

::

    masks = load("published", kind="masks", part="evaluation")      # (10,000, 50,000) bool
    margins = load("published", kind="margins", part="evaluation")  # (10,000, 10,000) float16
    fitted = load("published", kind="datamodels", units="raw")      # a Datamodels
"""

import shlex
import warnings
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.npy_file import open_map
from datamodels.published.catalogue import PublishedFile, find
from datamodels.published.evaluation_rows import ASSUMED, End, EvaluationRows, Told
from datamodels.published.headers_on_disk import local_header
from datamodels.published.layout import PARTIAL, PublishedLayout
from datamodels.published.mask_scales import training_scales
from datamodels.published.partial_file import complete_rows, present_file
from datamodels.regression.result import Datamodels, Units
from datamodels.training.indices import format_indices

Part = Literal["fit", "evaluation", "all"]

_PARTS = ("fit", "evaluation", "all")
_SHOWN = 200  # characters of row numbers in a message


@overload
def load(
    root: str | Path,
    dataset: str = "cifar",
    alpha: float = 0.5,
    *,
    kind: Literal["datamodels"],
    split: str | None = None,
    units: Units,
) -> Datamodels: ...
@overload
def load(
    root: str | Path,
    dataset: str = "cifar",
    alpha: float = 0.5,
    *,
    kind: Literal["masks", "margins", "logits"],
    split: str | None = None,
    part: Part = "fit",
    rows: slice | None = None,
    evaluation: End | None = None,
    n_evaluation: int | None = None,
) -> NDArray[Any]: ...


def load(
    root: str | Path,
    dataset: str = "cifar",
    alpha: float = 0.5,
    *,
    kind: str,
    split: str | None = None,
    part: Part = "fit",
    rows: slice | None = None,
    evaluation: End | None = None,
    n_evaluation: int | None = None,
    units: Units | None = None,
) -> NDArray[Any] | Datamodels:
    """Open one published file below ``root``, where ``python -m datamodels.published download`` put
    it; nothing is read before it is used.

    Args:
        dataset, alpha, kind, split: which file; ``split`` is by default "train" for masks, which
            are of the training set whatever the split, and else "test".
        part: of masks, margins and logits the rows (models) that the published datamodels were
            fitted on, those held out for their evaluation, or all.
        rows: these rows instead, as the files number them: ``slice(0, 1000)``.
        evaluation: at which end of the files the evaluation rows lie, "last" or "first".
        n_evaluation: how many they are. None of either: what the setting's view was told; else the
            last 10,000, which is an assumption.
        units: of the weights of ``kind="datamodels"``, for which it must be given: "raw", or
            "standardized", which are then brought to raw units. It is not documented which they
            are: ``python -m datamodels.published units`` tells which fit.

    Returns:
        A read-only memory map (n_part, ...), or a ``Datamodels`` in raw units.

    Raises:
        UsageError: an argument is wrong. MissingFileError: the file, or some of these rows, have
            not been downloaded; the message says which have, and how to get the others.
            InputError: the file is damaged.
    """
    published = find(dataset, alpha, kind, split)
    if not published.is_array:
        if units is None:
            raise UsageError(
                "which units the published weights are in is not documented: give units='raw' or "
                "units='standardized'; python -m datamodels.published units tells which fit"
            )
        return _load_datamodels(Path(root), published, units)
    if units is not None:
        raise UsageError(f"units={units!r} is for kind='datamodels'; leave it out for {kind}")
    file = _existing(Path(root), published)
    local_header(file)  # refuses a damaged file with the remedy of a download
    array = open_map(file)
    _warn_of_difference(published, array)
    if rows is None:
        view = PublishedLayout(Path(root)).view(dataset, published.alpha)
        held_out = Told(evaluation, n_evaluation).rows(view) or ASSUMED
        wanted = rows_of_part(len(array), part, held_out)
    else:
        wanted = rows
    wanted = slice(*_bounds(wanted, len(array)))
    if file.name.endswith(PARTIAL):
        _refuse_missing_rows(Path(root), published, complete_rows(file), wanted)
    return array[wanted]


def rows_of_part(n_rows: int, part: Part, held_out: EvaluationRows = ASSUMED) -> slice:
    """The rows of one part of files of ``n_rows``; UsageError for no such part or rows."""
    if part not in _PARTS:
        raise UsageError(f"part={part!r}; it is one of {', '.join(_PARTS)}")
    if part == "all":
        return slice(0, n_rows)
    rows = held_out.of(n_rows)
    if part == "evaluation":
        return rows
    return slice(rows.stop, n_rows) if rows.start == 0 else slice(0, rows.start)


def _load_datamodels(root: Path, published: PublishedFile, units: Units) -> Datamodels:
    file = PublishedLayout(root).file(published.key)
    _existing(root, published)
    if not file.is_file():
        raise MissingFileError(
            f"{file} has not been downloaded whole; {_how_to_get(root, published)} fetches the rest"
        )
    datamodels = Datamodels.load(file)
    if units == "raw":
        return datamodels
    if units != "standardized":
        raise UsageError(f"units={units!r}; they are 'raw' or 'standardized'")
    scales = training_scales(root, published.dataset, published.alpha, datamodels.n_train_examples)
    return datamodels.from_standardized(scales.mean, scales.deviation)


def _existing(root: Path, published: PublishedFile) -> Path:
    """Where the bytes of a file are; MissingFileError where none are."""
    final = PublishedLayout(root).file(published.key)
    file = present_file(final)
    if file is None:
        reported = ""
        if published.reported_missing is not None:
            reported = f" It is reported not to be there, though: {published.reported_missing}."
        raise MissingFileError(
            f"there is no {final}; {_how_to_get(root, published)} fetches it.{reported}"
        )
    return file


def _how_to_get(root: Path, published: PublishedFile) -> str:
    split = "" if published.kind == "masks" else f" --download.splits={published.split}"
    return (
        f"python -m datamodels.published download --download.root={shlex.quote(str(root))} "
        f"--download.dataset={published.dataset} --download.alpha={published.alpha} "
        f"--download.kinds={published.kind}{split}"
    )


def _bounds(rows: slice, n_rows: int) -> tuple[int, int]:
    start, stop = rows.start or 0, n_rows if rows.stop is None else rows.stop
    if rows.step not in (None, 1) or not 0 <= start < stop <= n_rows:
        raise UsageError(
            f"rows={rows}: the file has rows 0 to {n_rows - 1}; give slice(FIRST, END) with "
            f"0 <= FIRST < END <= {n_rows}, and no step"
        )
    return int(start), int(stop)


def _refuse_missing_rows(
    root: Path, published: PublishedFile, there: NDArray[np.bool_], wanted: slice
) -> None:
    lacking = int((~there[wanted]).sum())
    if not lacking:
        return
    have = _in_short(np.flatnonzero(there)) or "none"
    rows = f"{wanted.start}-{wanted.stop - 1}"
    raise MissingFileError(
        f"{lacking:,} of rows {rows} of {published.key} have not been downloaded; there are: "
        f"{have}. {_how_to_get(root, published)} --download.rows={rows} fetches the others; "
        "part='evaluation' and rows=slice(FIRST, END) open fewer"
    )


def _in_short(rows: NDArray[np.int64]) -> str:
    text = format_indices(rows.tolist())
    return text if len(text) <= _SHOWN else text[:_SHOWN].rpartition(",")[0] + ",..."


def _warn_of_difference(published: PublishedFile, array: NDArray[Any]) -> None:
    if array.ndim != len(published.shape):
        raise InputError(
            f"{published.key} has shape {array.shape}, and is to have {len(published.shape)} axes "
            f"as in {published.shape}: it is another file"
        )
    if (array.shape, array.dtype) != (published.shape, published.dtype):
        warnings.warn(
            f"{published.key} has shape {array.shape} and dtype {array.dtype}; the catalogue says "
            f"{published.shape} and {published.dtype}",
            stacklevel=3,
        )
