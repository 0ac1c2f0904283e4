"""What datamodels say: examples that matter, subpopulations, leaks, wrong labels, differences.

::

    fitted = Datamodels.load("runs/fit/datamodels.pt")
    leaks = rank_leaks(fitted).up_to(0.05)
    components = principal_components(sparse_weights(fitted).T, 10, normalize=True)

Names are loaded on first use.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.analysis.cluster_picture import (
        Subpopulations,
        place_on_map,
        plot_subpopulations,
    )
    from datamodels.analysis.components import (
        Components,
        ends,
        principal_components,
        spectral_clusters,
    )
    from datamodels.analysis.differences import Differences, compare_datamodels
    from datamodels.analysis.estimators import Estimates, difference_of_means, ridge
    from datamodels.analysis.leaks import Leaks, rank_leaks
    from datamodels.analysis.pictures import plot_top_examples
    from datamodels.analysis.report import write_report
    from datamodels.analysis.reporting.gathering import ReportOptions
    from datamodels.analysis.sparsity import sparse_weights, without_own
    from datamodels.analysis.suspects import Suspects, rank_mislabelled

__all__ = [
    "Components",
    "Differences",
    "Estimates",
    "Leaks",
    "ReportOptions",
    "Subpopulations",
    "Suspects",
    "compare_datamodels",
    "difference_of_means",
    "ends",
    "place_on_map",
    "plot_subpopulations",
    "plot_top_examples",
    "principal_components",
    "rank_leaks",
    "rank_mislabelled",
    "ridge",
    "sparse_weights",
    "spectral_clusters",
    "without_own",
    "write_report",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Components": "datamodels.analysis.components",
        "Differences": "datamodels.analysis.differences",
        "Estimates": "datamodels.analysis.estimators",
        "Leaks": "datamodels.analysis.leaks",
        "ReportOptions": "datamodels.analysis.reporting.gathering",
        "Subpopulations": "datamodels.analysis.cluster_picture",
        "Suspects": "datamodels.analysis.suspects",
        "compare_datamodels": "datamodels.analysis.differences",
        "difference_of_means": "datamodels.analysis.estimators",
        "ends": "datamodels.analysis.components",
        "place_on_map": "datamodels.analysis.cluster_picture",
        "plot_subpopulations": "datamodels.analysis.cluster_picture",
        "plot_top_examples": "datamodels.analysis.pictures",
        "principal_components": "datamodels.analysis.components",
        "rank_leaks": "datamodels.analysis.leaks",
        "rank_mislabelled": "datamodels.analysis.suspects",
        "ridge": "datamodels.analysis.estimators",
        "sparse_weights": "datamodels.analysis.sparsity",
        "spectral_clusters": "datamodels.analysis.components",
        "without_own": "datamodels.analysis.sparsity",
        "write_report": "datamodels.analysis.report",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
