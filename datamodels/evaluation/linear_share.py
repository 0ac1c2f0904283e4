"""``python -m datamodels.evaluation.linear_share``: what limits datamodels, and what they reach."""

import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import LINEAR_SHARE
from datamodels.cli.runner import Values, run, section
from datamodels.errors import InputError
from datamodels.evaluation.held_out import Scored, read_datamodels
from datamodels.evaluation.linear_ceiling import (
    LinearShare,
    Share,
    estimate_linear_share,
    share_bytes,
)
from datamodels.evaluation.repeats import read_mask_id
from datamodels.evaluation.scoring import predict_outputs
from datamodels.evaluation.seen_rows import unseen_rows
from datamodels.files import check_new_file, new_file
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.memory import memory_budget
from datamodels.regression.named_rows import (
    EVALUATION,
    evaluation_rows,
    parse_rows,
    warn_if_assumed,
)

_LEAST_UNSEEN = 3  # models that a share of variance is taken over


def main() -> int:
    """The command; returns its exit status."""
    return run(LINEAR_SHARE, _estimate)


def _estimate(values: Values) -> None:
    options = section(values, "share")
    out = None if options["out"] is None else Path(options["out"])
    if out is not None:
        check_new_file(out)
    store, name = options["store"], options["datamodels"]
    scored = None if name is None else read_datamodels(name)
    fit_x, fit_y = (None, None) if scored is None else (scored.x_name, scored.y_name)
    dataset = RegressionDataset(
        store, options["y_name"] or fit_y or "margins", options["x_name"] or fit_x or "masks"
    )
    ids = read_mask_id(store, dataset, options["mask_id"])
    targets = slice(None) if scored is None else scored.targets
    positions = _positions(dataset, _default_rows(options, scored), store)
    unseen = None if scored is None else _unseen(dataset, scored, ids, positions, store)
    _refuse_what_does_not_fit(dataset, len(positions), store)
    masks, outputs = dataset.read(positions)
    share = estimate_linear_share(
        masks, outputs[:, targets], None if ids is None else ids[positions]
    )
    del masks, outputs
    explained = None if unseen is None or scored is None else _explained(dataset, scored, unseen)
    _print(share, explained)
    if out is not None:
        with new_file(out) as partial:
            partial.write_text(
                json.dumps(_summary(share, explained), indent=2, allow_nan=False) + "\n"
            )


def _default_rows(options: Values, scored: Scored | None) -> str | None:
    """The rows that are named or, where it is not known what published datamodels were fitted to,
    those that the view holds out."""
    rows: str | None = options["rows"]
    unknown = scored is not None and scored.fitted is None and evaluation_rows(options["store"])
    return EVALUATION if rows is None and unknown else rows


def _unseen(
    dataset: RegressionDataset,
    scored: Scored,
    ids: NDArray[np.int64] | None,
    positions: NDArray[np.int64],
    store: str,
) -> NDArray[np.int64]:
    """Those of ``positions`` that took no part in the fit, as far as that is known."""
    if scored.fitted is None and np.isin(dataset.idx[positions], evaluation_rows(store)).all():
        warn_if_assumed(store)
        return positions
    return unseen_rows(dataset, scored.fitted, ids, positions)


def _positions(dataset: RegressionDataset, rows: str | None, store: str) -> NDArray[np.int64]:
    """Complete rows, of those that are named."""
    if rows is None:
        return np.arange(dataset.n_rows)
    named = parse_rows(rows, dataset.idx, dataset.n_store_rows, store, "--share.rows")
    positions = np.flatnonzero(np.isin(dataset.idx, named))
    if not len(positions):
        raise InputError(f"none of the rows {rows} of {store} is complete; name others")
    return positions


def _refuse_what_does_not_fit(dataset: RegressionDataset, n_rows: int, store: str) -> None:
    """InputError where the rows would not fit in memory, all at once as the estimate takes them."""
    a_row = share_bytes(dataset.n_features, dataset.n_targets)
    budget = memory_budget(None)
    if n_rows * a_row > budget:
        raise InputError(
            f"{n_rows:,} rows of {store} need {n_rows * a_row / 2**30:.1f} GiB, and "
            f"{budget / 2**30:.1f} GiB may be taken: name at most {budget // a_row:,} of them with "
            "--share.rows"
        )


def _explained(
    dataset: RegressionDataset, scored: Scored, unseen: NDArray[np.int64]
) -> float | None:
    """R2 of the ``unseen`` single trainings, all targets together; None, with a warning, where
    they are too few or too much alike to tell."""
    if len(unseen) < _LEAST_UNSEEN:
        _warn_untold(f"only {len(unseen)} of the rows took no part in the fit, and a share of "
                     f"their variance takes {_LEAST_UNSEEN} or more")  # fmt: skip
        return None
    masks, outputs = dataset.read(unseen)
    outputs = outputs[:, scored.targets].astype(np.float64)
    variance = float(outputs.var(axis=0, ddof=1).sum())
    if not variance > 0:
        _warn_untold(f"no output varies over the {len(unseen)} rows that took no part in the fit")
        return None
    predictions = predict_outputs(scored.weight, masks, outputs)
    if scored.bias is not None:
        predictions += scored.bias
    error = float(((predictions - outputs) ** 2).mean(axis=0).sum())
    return 1 - error / variance


def _warn_untold(why: str) -> None:
    warnings.warn(
        f"{why}: what the datamodels explain cannot be told. Train more models, or name more rows "
        "with --share.rows",
        stacklevel=3,
    )


def _print(share: LinearShare, explained: float | None) -> None:
    print(
        f"shares of the variance of the outputs of {share.n_trainings:,} trainings on "
        f"{share.n_masks:,} masks, {len(share.variance):,} targets"
    )
    print(share.table(explained))
    if share.noise is None:
        print("no mask was trained on twice: noise and non-linear cannot be told apart")


def _summary(share: LinearShare, explained: float | None) -> dict[str, Any]:
    names = ("noise", "nonlinear", "linear", "between")
    parts = {name: getattr(share, name) for name in names}
    return {
        **{name: None if part is None else _in_json(part) for name, part in parts.items()},
        "explained": explained,
        "n_masks": share.n_masks,
        "n_trainings": share.n_trainings,
        "n_targets": len(share.variance),
    }


def _in_json(share: Share) -> dict[str, float | None]:
    """null for what is not known, as JSON has no NaN."""
    return {name: x if math.isfinite(x) else None for name, x in asdict(share).items()}


if __name__ == "__main__":
    raise SystemExit(main())
