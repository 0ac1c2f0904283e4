"""``datamodels.fit``: from arrays, a store or a ``.beton`` file to datamodels, in one call."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.near_miss import nearest
from datamodels.regression.fit_config import FitConfig, are_lambdas, check_whole_number
from datamodels.regression.groups import read_groups
from datamodels.regression.named_rows import beside_evaluation
from datamodels.regression.penalty_factors import PenaltyFactors
from datamodels.regression.result import Datamodels, as_numpy
from datamodels.regression.row_source import ArraySource, RowSource
from datamodels.regression.row_split import RowSplit, held_out_once, in_folds, whole
from datamodels.regression.sources import open_source
from datamodels.regression.status import Status
from datamodels.regression.validation_rows import pick_validation_rows
from datamodels.training.store import Store

_VALIDATION_SHARE = 0.2


def fit(
    masks: "ArrayLike | str | os.PathLike[str] | Store",
    outputs: ArrayLike | None = None,
    *,
    num_val: int | None = None,
    seed: int = 0,
    lam: ArrayLike | None = None,
    penalty_factors: "ArrayLike | str | os.PathLike[str] | None" = None,
    groups: ArrayLike | str | None = None,
    targets: slice = slice(None),
    moments: "str | os.PathLike[str] | None" = None,
    x_name: str = "masks",
    y_name: str = "margins",
    **options: Any,
) -> Datamodels:
    """Fit a sparse linear model from mask to output for every target.

    Args:
        masks: subsets (n, n_train) that n models were trained on, as an array or tensor; or a
            :class:`~datamodels.Store`, the path of one, or of a ``.beton`` file. Rows that a view
            of published files holds out for evaluation are left out.
        outputs: what the models said, (n, n_targets), or (n,) for one target; with arrays only.
        num_val: rows held out to choose lambda; by default a fifth, unless ``folds`` or ``lam`` are
            given, or the estimator has no lambda.
        seed: draws those rows, or the folds; -1 holds out the last rows.
        lam: a given lambda, for all targets or for each (n_targets,): in the units of the outputs,
            or without a unit for ``estimator="ridge"``.
        penalty_factors: (n_train,) or (n_train, n_targets), in [0, infinity], or an ``.npy`` file:
            0 leaves a training example unpenalized, infinity leaves it out.
        groups: a label for each row (n,), or the name of an integer array of the store: rows are
            centred within their group. With ``moments`` a name, which is kept in the file.
        targets: a slice of the targets.
        moments: ``.npz`` file of moments to use, to bring up to date, or to make.
        x_name, y_name: arrays of a store.
        **options: those of :class:`~datamodels.regression.FitConfig`, such as ``k``, ``eps``,
            ``folds``, ``rule``, ``engine``, ``estimator``, ``use_bias``, ``threads``.

    Returns:
        Datamodels in the units of masks and outputs: ``mask @ weight + bias`` predicts an output.

    Raises:
        UsageError: an option is wrong, or what is asked for does not go together.
        InputError: shapes do not fit, or values are NaN or infinite.
        MissingFileError: there is no such file or store.
    """
    config = _config(options, seed, num_val)
    if moments is not None and groups is not None and not isinstance(groups, str):
        raise UsageError(
            "groups are given as an array beside moments, whose file keeps only the name of "
            "groups: put the labels into the store, and name them"
        )
    source, path = _source(masks, outputs, x_name, y_name)
    rows = beside_evaluation(source.idx, path, "give rows as arrays")
    split = _split(source, rows, config, num_val, seed, lam is not None)
    from datamodels.regression.fit import FitData, run_fit  # numba is slow to import

    data = FitData(
        source=source,
        split=split,
        targets=targets,
        factors=_factors(penalty_factors, source),
        groups=_groups(groups, source, path),
        groups_key=groups if isinstance(groups, str) else None,
        lam=_lambdas(lam, source.n_targets, targets),
    )
    result = run_fit(data, config, moments=None if moments is None else Path(moments))
    _warn_unsolved(result.final["status"], config, data.targets.start)
    return result.datamodels


def _warn_unsolved(status: NDArray[np.int8], config: FitConfig, first: int) -> None:
    fine = (Status.CONVERGED, Status.FLOAT32_LIMIT, Status.NOT_RUN)  # the last is warned of before
    failed = np.flatnonzero(~np.isin(status, fine))
    if len(failed):
        warnings.warn(
            f"{len(failed)} targets (the first is {failed[0] + first}) are not solved to the gap "
            f"{config.final_tol:g}; raise eps, or fit more models",
            stacklevel=3,
        )


def _config(options: dict[str, Any], seed: int, num_val: int | None) -> FitConfig:
    check_whole_number("seed", seed)
    if num_val is not None:
        check_whole_number("num_val", num_val)
    known = list(FitConfig.__dataclass_fields__)
    for name in options:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"they are {', '.join(known)}"
            raise UsageError(f"fit has no option {name!r}: {hint}")
    return FitConfig(**options, seed=max(seed, 0))


def _source(
    masks: Any, outputs: ArrayLike | None, x_name: str, y_name: str
) -> tuple[RowSource, Path | None]:
    """The rows, and the path that they come from."""
    if not isinstance(masks, str | os.PathLike | Store):
        if outputs is None:
            raise UsageError("outputs are missing: give fit(masks, outputs), or a store's path")
        return ArraySource(as_numpy(masks), as_numpy(outputs)), None
    if outputs is not None:
        raise UsageError("outputs are given beside a store or file, which holds its own")
    path = masks.path if isinstance(masks, Store) else Path(masks)
    return open_source(path, x_name, y_name), path


def _split(
    source: RowSource,
    rows: NDArray[np.int64],
    config: FitConfig,
    num_val: int | None,
    seed: int,
    lam_given: bool,
) -> RowSplit:
    """How ``rows`` (n,), positions in ``source``, are used."""
    if num_val is not None and (lam_given or config.folds is not None):
        raise UsageError("num_val is for held-out rows; leave it out with folds or lam")
    if lam_given:
        if config.folds is not None:
            raise UsageError("lam and folds are both given: lambda is either given or chosen")
        return whole(rows)
    if config.folds is not None:
        return in_folds(rows, source.idx[rows], config.folds, seed)
    if config.estimator == "difference" and num_val is None:
        return whole(rows)
    count = max(1, round(_VALIDATION_SHARE * len(rows))) if num_val is None else num_val
    val = pick_validation_rows(len(rows), count, seed)
    return held_out_once(np.delete(rows, val), rows[val])


def _factors(values: Any, source: RowSource) -> PenaltyFactors | None:
    if values is None:
        return None
    if isinstance(values, str | os.PathLike):
        return PenaltyFactors.read(Path(values), source.n_features, source.n_targets)
    return PenaltyFactors(as_numpy(values), source.n_features, source.n_targets)


def _groups(groups: Any, source: RowSource, path: Path | None) -> NDArray[np.int64] | None:
    if groups is None:
        return None
    if isinstance(groups, str):
        if path is None:
            raise UsageError(f"groups={groups!r} names an array of a store; give the labels (n,)")
        return read_groups(source, path, groups)
    labels = as_numpy(groups)
    if labels.shape != (source.n_rows,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"groups have shape {labels.shape} and dtype {labels.dtype}; give one integer for each "
            f"of the {source.n_rows} rows"
        )
    return labels.astype(np.int64)


def _lambdas(lam: Any, n_targets: int, targets: slice) -> NDArray[np.float64] | None:
    if lam is None:
        return None
    values = as_numpy(lam)
    if values.shape not in ((), (n_targets,)) or not are_lambdas(values):
        given = f"lam={lam}" if values.ndim == 0 else f"lam has shape {values.shape}"
        raise UsageError(
            f"{given}; give one lambda above 0, or one for each of the {n_targets} targets"
        )
    return np.broadcast_to(values.astype(np.float64), (n_targets,))[targets].copy()
