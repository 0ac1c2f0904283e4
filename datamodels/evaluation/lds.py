"""``python -m datamodels.evaluation.lds``: score datamodels on models they have not seen."""

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import LDS
from datamodels.cli.runner import Values, run
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.held_out import Scored, read_datamodels, read_held_out, read_scores
from datamodels.evaluation.measures import WORDS, check_correlation, pooled_correlation
from datamodels.evaluation.scoring import (
    LinearDatamodelingScore,
    linear_datamodeling_score,
    predict_outputs,
    score_weights,
)
from datamodels.files import check_new_file, new_file
from datamodels.regression.row_source import Outputs

__all__ = ["LinearDatamodelingScore", "linear_datamodeling_score", "main", "score_weights"]


def main() -> int:
    """The command; returns its exit status."""
    return run(LDS, _score)


def _score(values: Values) -> None:
    out, own = values["lds.out"], values["lds.exclude_own"]
    check_correlation(values["lds.correlation"])
    if out is not None:
        check_new_file(out)
    scored = _read_scored(values)
    held_out = read_held_out(
        values["lds.store"],
        scored,
        x_name=values["lds.x_name"],
        y_name=values["lds.y_name"],
        rows=values["lds.rows"],
        mask_id=values["lds.mask_id"],
    )
    predictions = predict_outputs(
        scored.weight,
        held_out.masks,
        held_out.outputs,
        exclude_own=own,
        own_index=scored.own_index(held_out.n_store_targets) if own else None,
    )
    result = linear_datamodeling_score(
        predictions,
        held_out.outputs,
        correlation=values["lds.correlation"],
        n_resamples=values["lds.resamples"],
        seed=values["lds.seed"],
    )
    if held_out.n_trainings > result.n_models:
        result = replace(result, n_trainings=held_out.n_trainings)
    if result.n_undefined == result.n_targets:
        raise InputError(
            f"no target varies over these {result.n_models} models: there is nothing to rank"
        )
    if out is not None:
        with new_file(out) as partial, partial.open("wb") as file:
            np.save(file, result.per_target)
    print(result)
    if values["lds.pooled"]:
        _print_pooled(predictions, held_out.outputs, scored, values["lds.correlation"])
    if result.n_constant_predictions:
        print(
            f"{result.n_constant_predictions} targets are predicted by a constant and score 0",
            file=sys.stderr,
        )


def _print_pooled(
    predictions: NDArray[np.float64], outputs: Outputs, scored: Scored, correlation: str
) -> None:
    bias = "" if scored.bias is not None else ", without a bias"
    if scored.bias is not None:
        predictions = predictions + scored.bias
    pooled = pooled_correlation(predictions, outputs, correlation=correlation)
    n_models, n_targets = outputs.shape
    print(
        f"pooled {WORDS[correlation]} {pooled:.3f} over all {n_models:,} x {n_targets:,} pairs of "
        f"model and target at once{bias}"
    )


def _read_scored(values: Values) -> Scored:
    datamodels, scores = values["lds.datamodels"], values["lds.scores"]
    if (datamodels is None) == (scores is None):
        raise UsageError(
            "give one of --lds.datamodels=datamodels.pt and --lds.scores=scores.npy"
            + (", not both" if scores is not None else "")
        )
    if scores is not None:
        return read_scores(scores)
    return read_datamodels(datamodels)


if __name__ == "__main__":
    raise SystemExit(main())
