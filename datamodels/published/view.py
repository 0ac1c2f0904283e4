"""Downloaded files of one setting as a store that is only to be read.

``root/cifar/50pct`` holds relative links to the files of CIFAR-10 at 50%, whole or ``.partial``,
under the names that a store gives its arrays, so that every command that reads stores reads them.
Rows keep their published numbers.

A row is complete when it is there in masks and in margins (of the test split); where only one of
the two has been downloaded, when it is there in that. Any other array is linked only if it has all
of these rows: a few rows of the train split's logits take nothing away from what the rest is good
for.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, ExistsError, MissingFileError
from datamodels.files import (
    disk_errors,
    leftovers_of,
    locked_folder,
    new_folder,
    sync_folder,
)
from datamodels.npy_file import NpyHeader, header_bytes
from datamodels.published.catalogue import (
    DATASETS,
    PublishedFile,
    alphas_of,
    find,
    kinds_of,
)
from datamodels.published.evaluation_rows import NOTHING_TOLD, End, Told, held_out
from datamodels.published.headers_on_disk import local_header
from datamodels.published.layout import PublishedLayout, percent
from datamodels.published.links import link, put
from datamodels.published.partial_file import complete_rows, present_file
from datamodels.read_only import ReadOnly, read_note
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import Field, Spec
from datamodels.training.store import Store

# What a store calls them: kind and split. The first two decide which rows are complete.
ARRAYS = {
    "masks": ("masks", "train"),
    "margins": ("margins", "test"),
    "train_margins": ("margins", "train"),
    "logits": ("logits", "test"),
    "train_logits": ("logits", "train"),
}
_DECISIVE = ("masks", "margins")
_KIND = "view of published files"  # says in the note who made the folder
_DOWNLOAD = "fetch them with python -m datamodels.published download"


@dataclass(frozen=True)
class View:
    """A folder of links, as just made or found to be right."""

    path: Path
    arrays: dict[str, Path]  # what a store calls them -> the file they are in
    n_rows: int
    n_complete: int
    remarks: tuple[str, ...]  # what was left out, and what differs from the catalogue

    def __str__(self) -> str:
        return (
            f"{self.path}: {', '.join(self.arrays)}; {self.n_complete:,} complete rows of "
            f"{self.n_rows:,}"
        )


def refresh_views(
    root: str | Path, *, evaluation: End | None = None, n_evaluation: int | None = None
) -> list[View]:
    """Make a view of every setting of which an array is there, or bring it up to date.

    What is wrong with one setting keeps none of the others back.

    Args:
        root: the folder that was downloaded to.
        evaluation: at which end of the files the evaluation rows lie, "last" or "first".
        n_evaluation: how many they are. None of either: what a view was told before; else the
            last 10,000, which is an assumption, and warned of where it matters.

    Raises:
        MissingFileError: there is no folder ``root``. UsageError: there are no such evaluation
            rows. DatamodelsError: of all settings together, folders that are no views and stand
            in the way, files that are damaged, and file systems without symbolic links.
    """
    root, made, faults = _existing(root), [], []
    told = Told(evaluation, n_evaluation)
    for name in DATASETS:
        for alpha in alphas_of(name):
            try:
                made.append(refresh_view(root, name, alpha, told))
            except DatamodelsError as error:
                faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise DatamodelsError("\n".join(map(str, faults)))
    return [view for view in made if view is not None]


def open_view(
    root: str | Path,
    dataset: str = "cifar",
    alpha: float = 0.5,
    *,
    evaluation: End | None = None,
    n_evaluation: int | None = None,
) -> Store:
    """The downloaded files of one setting as a store that is only to be read.

    The view is brought up to date first. Which rows are held out for evaluation is told as in
    :func:`refresh_views`. Errors are those of :func:`refresh_views`, and
    MissingFileError where no array of the setting has been downloaded.
    """
    alpha = find(dataset, alpha, "masks").alpha
    view = refresh_view(_existing(root), dataset, alpha, Told(evaluation, n_evaluation))
    if view is None:
        raise MissingFileError(
            f"{root} has no array of {dataset} at {percent(alpha)}%; download some with python -m "
            "datamodels.published download"
        )
    return Store.open(view.path)


def refresh_view(root: Path, dataset: str, alpha: float, told: Told = NOTHING_TOLD) -> View | None:
    """The view of one setting, made or brought up to date; None where there is no array of it.

    One process at a time; downloads may go on meanwhile. ``told`` is what is
    said of the evaluation rows.
    """
    layout = PublishedLayout(root)
    with locked_folder(layout.file(find(dataset, alpha, "masks").key).parent):
        return _refresh(root, layout.view(dataset, alpha), dataset, alpha, told)


def _refresh(root: Path, path: Path, dataset: str, alpha: float, told: Told) -> View | None:
    for folder in leftovers_of(path):
        shutil.rmtree(folder, ignore_errors=True)
    present = _present(root, dataset, alpha)
    if not present:
        return None
    chosen = _choose(present)
    complete = chosen.complete
    is_there = os.path.lexists(path)
    if is_there:
        _refuse_other(path)
    told_rows = told.rows(path)
    note = ReadOnly(
        of=f"the files of {dataset} at {percent(alpha)}% as they were published",
        remedy=_DOWNLOAD,
        kind=_KIND,
        repair="make it anew with python -m datamodels.published view {folder}/../..",
        evaluation=held_out(told_rows, len(complete)),
        evaluation_as_told=None if told_rows is None else asdict(told_rows),
    )
    if is_there:
        with disk_errors(path):
            _fill(path, chosen, note)
    else:
        with new_folder(path) as folder:
            _fill(folder, chosen, note)
    files = {key: array.file for key, array in chosen.arrays.items()}
    return View(path, files, len(complete), int(complete.sum()), tuple(chosen.remarks))


@dataclass(frozen=True, eq=False)
class _Array:
    published: PublishedFile
    file: Path
    header: NpyHeader
    rows: NDArray[np.bool_]  # (n_rows,) which are there


@dataclass(eq=False)
class _Chosen:
    """What a view shows; ``arrays`` are those linked."""

    complete: NDArray[np.bool_]  # (n_rows,)
    arrays: dict[str, _Array]
    remarks: list[str] = field(default_factory=list)

    def spec(self) -> Spec:
        """Published outputs may hold NaN or infinity: nobody checked them when they were made."""
        return Spec(
            len(self.complete),
            {
                key: Field(array.header.shape[1:], array.header.dtype, array.header.dtype != bool)
                for key, array in self.arrays.items()
            },
        )


def _existing(root: str | Path) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"there is no folder {root}; name the one that was downloaded to")
    return root


def _present(root: Path, dataset: str, alpha: float) -> dict[str, _Array]:
    found = {}
    for key, (kind, split) in ARRAYS.items():
        if kind not in kinds_of(dataset):
            continue
        published = find(dataset, alpha, kind, split)
        file = present_file(PublishedLayout(root).file(published.key))
        if file is not None:
            found[key] = _Array(published, file, local_header(file), complete_rows(file))
    return found


def _choose(present: dict[str, _Array]) -> _Chosen:
    decisive = [key for key in _DECISIVE if key in present] or [*present][:1]
    chosen = _Chosen(present[decisive[0]].rows, {})
    differences = []
    for key in sorted(present, key=lambda key: key not in decisive):  # decisive ones first
        array = present[key]
        about = array.published
        if (array.header.shape, array.header.dtype) != (about.shape, about.dtype):
            differences.append(
                f"{about.key} has shape {array.header.shape} and dtype {array.header.dtype}, not "
                f"{about.shape} and {about.dtype}"
            )
        if len(array.rows) != len(chosen.complete):
            chosen.remarks.append(
                f"{key} is left out: it has {len(array.rows):,} rows and {decisive[0]} "
                f"{len(chosen.complete):,}, so that they are not of the same models"
            )
            continue
        if key in decisive:
            chosen.complete = chosen.complete & array.rows
        elif lacking := int((chosen.complete & ~array.rows).sum()):
            chosen.remarks.append(
                f"{key} is left out: it lacks {lacking:,} of the {int(chosen.complete.sum()):,} "
                f"rows that {' and '.join(decisive)} have; fetch those, or open it with "
                "datamodels.published.load"
            )
            continue
        chosen.arrays[key] = array
    if differences:
        chosen.remarks.insert(0, f"other than the catalogue says: {'; '.join(differences)}")
    if len(chosen.complete) and not chosen.complete.any():
        chosen.remarks.append(f"no row is complete: none is there in {' and '.join(decisive)}")
    return chosen


def _refuse_other(path: Path) -> None:
    note = read_note(path)
    if note is None or note.kind != _KIND:
        raise ExistsError(
            f"{path} is no view of published files, and is left as it is; move it away, or "
            "download to another folder"
        )
    for array in map(StoreLayout(path).array, ARRAYS):
        if array.exists() and not array.is_symlink():
            raise ExistsError(f"{array} is no link of ours, and is left as it is; move it away")


def _fill(folder: Path, chosen: _Chosen, note: ReadOnly) -> None:
    """Bring a folder's files up to date one by one, so that at each moment it is a store: first
    what the spec will name, then the spec and the flags, at last the links that it names no more.
    """
    layout = StoreLayout(folder)
    for file in (layout.read_only, layout.spec, layout.completed, *map(layout.array, ARRAYS)):
        for leftover in leftovers_of(file):
            leftover.unlink()
    spec, complete = chosen.spec().to_json(), chosen.complete
    put(layout.read_only, _as_json(note.to_json()))
    for key, array in chosen.arrays.items():
        link(layout.array(key), os.path.join("..", "data", array.file.name))  # noqa: PTH118
    put(layout.spec, _as_json(spec))
    put(layout.completed, header_bytes(complete.shape, complete.dtype) + complete.tobytes())
    for key in ARRAYS.keys() - chosen.arrays.keys():
        if layout.array(key).is_symlink():
            layout.array(key).unlink()
    sync_folder(folder)


def _as_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
