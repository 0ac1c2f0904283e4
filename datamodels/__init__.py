"""Which training examples made a model behave as it does.

Train many models on random subsets of a training set, store each subset and the model's outputs
(:mod:`datamodels.training`), and fit for every output a sparse linear model from subset to output
(:mod:`datamodels.regression`). The weights of that fit, a *datamodel*, say which training examples
help or hurt that output (Ilyas, Park, Engstrom, Leclerc, Madry: Datamodels, ICML 2022).

Importing this package is quick: names below load their module on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodels.regression.result import Datamodels
    from datamodels.training.spec import Spec
    from datamodels.training.store import Store

__version__ = "0.1.0"
__all__ = ["Datamodels", "Spec", "Store", "__version__"]

_HOMES = {
    "Datamodels": "datamodels.regression.result",
    "Spec": "datamodels.training.spec",
    "Store": "datamodels.training.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
