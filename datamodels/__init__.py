"""Which training examples made a model behave as it does.

Train many models on random subsets of a training set, store each subset and the model's outputs
(:mod:`datamodels.training`), and fit for every output a sparse linear model from subset to output
(:mod:`datamodels.regression`). The weights of that fit, a *datamodel*, say which training examples
help or hurt that output (Ilyas, Park, Engstrom, Leclerc, Madry: Datamodels, ICML 2022).

Importing this package is quick: names below load their module on first use.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.regression.api import fit
    from datamodels.regression.result import Datamodels
    from datamodels.training.spec import Spec
    from datamodels.training.store import Store

__version__ = "0.1.0"
__all__ = ["Datamodels", "Spec", "Store", "__version__", "fit"]

__getattr__ = lazy_names(
    __name__,
    {
        "Datamodels": "datamodels.regression.result",
        "Spec": "datamodels.training.spec",
        "Store": "datamodels.training.store",
        "fit": "datamodels.regression.api",
    },
)
