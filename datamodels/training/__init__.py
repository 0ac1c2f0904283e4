"""From a spec to a store full of rows: one row per model, written by the user's ``main``."""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.training.copies import TrainedCopies
    from datamodels.training.launcher.fill import fill_store
    from datamodels.training.many import train_copies
    from datamodels.training.masks import row_seed, subset_mask, subset_masks
    from datamodels.training.planned_masks import subset_for, subsets_for
    from datamodels.training.spec import Spec
    from datamodels.training.store import Store
    from datamodels.training.store_checks import verify_store
    from datamodels.training.store_growth import grow_store
    from datamodels.training.store_merge import merge_stores
    from datamodels.training.store_status import status_of

__all__ = [
    "Spec",
    "Store",
    "TrainedCopies",
    "fill_store",
    "grow_store",
    "merge_stores",
    "row_seed",
    "status_of",
    "subset_for",
    "subset_mask",
    "subset_masks",
    "subsets_for",
    "train_copies",
    "verify_store",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Spec": "datamodels.training.spec",
        "Store": "datamodels.training.store",
        "TrainedCopies": "datamodels.training.copies",
        "fill_store": "datamodels.training.launcher.fill",
        "grow_store": "datamodels.training.store_growth",
        "merge_stores": "datamodels.training.store_merge",
        "row_seed": "datamodels.training.masks",
        "status_of": "datamodels.training.store_status",
        "subset_for": "datamodels.training.planned_masks",
        "subset_mask": "datamodels.training.masks",
        "subset_masks": "datamodels.training.masks",
        "subsets_for": "datamodels.training.planned_masks",
        "train_copies": "datamodels.training.many",
        "verify_store": "datamodels.training.store_checks",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
