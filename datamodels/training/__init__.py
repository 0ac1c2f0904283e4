"""From a spec to a store full of rows: one row per model, written by the user's ``main``."""

from datamodels.training.launcher.fill import fill_store
from datamodels.training.masks import row_seed, subset_mask, subset_masks
from datamodels.training.spec import Spec
from datamodels.training.store import Store

__all__ = ["Spec", "Store", "fill_store", "row_seed", "subset_mask", "subset_masks"]
