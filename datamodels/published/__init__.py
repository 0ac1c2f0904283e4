"""The datamodels, masks and outputs published with the paper, for CIFAR-10 and FMoW.

``find`` says what an object holds and how large it is; ``load`` opens what has been downloaded
(``python -m datamodels.published``). Importing this package is quick: names below load their module
on first use.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.published.catalogue import PublishedFile, find, published_files

__all__ = ["PublishedFile", "find", "published_files"]

__getattr__ = lazy_names(
    __name__,
    {
        "PublishedFile": "datamodels.published.catalogue",
        "find": "datamodels.published.catalogue",
        "published_files": "datamodels.published.catalogue",
    },
)
