"""From stores of masks and outputs to datamodels.

::

    config = FitConfig(k=50, eps=0.01)
    val = pick_validation_rows(len(masks), num_val=160, seed=0)
    train = np.setdiff1d(np.arange(len(masks)), val)
    result = fit_datamodels(ArraySource(masks, outputs), train, val, config)
    result.datamodels.predict(masks)

Names are loaded on first use: importing this package loads neither torch nor numba.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.regression.fit import FitResult, fit_datamodels
    from datamodels.regression.fit_config import FitConfig
    from datamodels.regression.logs import read_logs
    from datamodels.regression.result import Datamodels
    from datamodels.regression.row_source import ArraySource
    from datamodels.regression.validation_rows import pick_validation_rows

__all__ = [
    "ArraySource",
    "Datamodels",
    "FitConfig",
    "FitResult",
    "fit_datamodels",
    "pick_validation_rows",
    "read_logs",
]

__getattr__ = lazy_names(
    __name__,
    {
        "ArraySource": "datamodels.regression.row_source",
        "Datamodels": "datamodels.regression.result",
        "FitConfig": "datamodels.regression.fit_config",
        "FitResult": "datamodels.regression.fit",
        "fit_datamodels": "datamodels.regression.fit",
        "pick_validation_rows": "datamodels.regression.validation_rows",
        "read_logs": "datamodels.regression.logs",
    },
)
