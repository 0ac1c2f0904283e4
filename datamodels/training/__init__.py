"""From a spec to a store full of rows: one row per model, written by the user's ``main``."""

from datamodels.training.masks import row_seed, subset_mask, subset_masks
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_checks import verify_store
from datamodels.training.store_growth import grow_store
from datamodels.training.store_merge import merge_stores
from datamodels.training.store_status import status_of

__all__ = [
    "Spec",
    "Store",
    "grow_store",
    "merge_stores",
    "row_seed",
    "status_of",
    "subset_mask",
    "subset_masks",
    "verify_store",
]
