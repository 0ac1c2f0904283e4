"""Judging datamodels, and any other attribution scores, on models they have not seen."""

from datamodels.evaluation.scoring import (
    LinearDatamodelingScore,
    linear_datamodeling_score,
    score_weights,
)

__all__ = ["LinearDatamodelingScore", "linear_datamodeling_score", "score_weights"]
