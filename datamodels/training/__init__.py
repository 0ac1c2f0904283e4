"""From a spec to a store full of rows: one row per model, written by the user's ``main``."""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names
from datamodels.training.masks import row_seed, subset_mask, subset_masks
from datamodels.training.spec import Spec
from datamodels.training.store import Store

if TYPE_CHECKING:
    from datamodels.training.copies import TrainedCopies
    from datamodels.training.many import train_copies

__all__ = [
    "Spec",
    "Store",
    "TrainedCopies",
    "row_seed",
    "subset_mask",
    "subset_masks",
    "train_copies",
]

# These need torch, which takes seconds to import.
__getattr__ = lazy_names(
    __name__,
    {
        "TrainedCopies": "datamodels.training.copies",
        "train_copies": "datamodels.training.many",
    },
)
