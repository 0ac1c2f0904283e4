"""Judging datamodels, and any other attribution scores, on models they have not seen.

Names are loaded on first use.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.evaluation.agreement import Agreement, measure_agreement
    from datamodels.evaluation.curves import LearningCurve, measure_learning_curve, split_rows
    from datamodels.evaluation.data_support import DataSupport, smallest_supports
    from datamodels.evaluation.extrapolation import Extrapolation
    from datamodels.evaluation.fitted_source import read_fitted
    from datamodels.evaluation.linear_ceiling import LinearShare, estimate_linear_share
    from datamodels.evaluation.measures import pooled_correlation
    from datamodels.evaluation.removals import Removal, choose_removals
    from datamodels.evaluation.repeats import average_repeats
    from datamodels.evaluation.retrained_changes import RetrainedChanges, measure_changes
    from datamodels.evaluation.retraining_plan import base_subsets, prepare_retrainings, read_plan
    from datamodels.evaluation.scoring import (
        LinearDatamodelingScore,
        linear_datamodeling_score,
        score_weights,
    )

__all__ = [
    "Agreement",
    "DataSupport",
    "Extrapolation",
    "LearningCurve",
    "LinearDatamodelingScore",
    "LinearShare",
    "Removal",
    "RetrainedChanges",
    "average_repeats",
    "base_subsets",
    "choose_removals",
    "estimate_linear_share",
    "linear_datamodeling_score",
    "measure_agreement",
    "measure_changes",
    "measure_learning_curve",
    "pooled_correlation",
    "prepare_retrainings",
    "read_fitted",
    "read_plan",
    "score_weights",
    "smallest_supports",
    "split_rows",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Agreement": "datamodels.evaluation.agreement",
        "DataSupport": "datamodels.evaluation.data_support",
        "Extrapolation": "datamodels.evaluation.extrapolation",
        "LearningCurve": "datamodels.evaluation.curves",
        "LinearDatamodelingScore": "datamodels.evaluation.scoring",
        "LinearShare": "datamodels.evaluation.linear_ceiling",
        "Removal": "datamodels.evaluation.removals",
        "RetrainedChanges": "datamodels.evaluation.retrained_changes",
        "average_repeats": "datamodels.evaluation.repeats",
        "base_subsets": "datamodels.evaluation.retraining_plan",
        "choose_removals": "datamodels.evaluation.removals",
        "estimate_linear_share": "datamodels.evaluation.linear_ceiling",
        "linear_datamodeling_score": "datamodels.evaluation.scoring",
        "measure_agreement": "datamodels.evaluation.agreement",
        "measure_changes": "datamodels.evaluation.retrained_changes",
        "measure_learning_curve": "datamodels.evaluation.curves",
        "pooled_correlation": "datamodels.evaluation.measures",
        "prepare_retrainings": "datamodels.evaluation.retraining_plan",
        "read_fitted": "datamodels.evaluation.fitted_source",
        "read_plan": "datamodels.evaluation.retraining_plan",
        "score_weights": "datamodels.evaluation.scoring",
        "smallest_supports": "datamodels.evaluation.data_support",
        "split_rows": "datamodels.evaluation.curves",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
