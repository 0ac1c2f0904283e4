"""The datamodels, masks and outputs published with the paper, for CIFAR-10 and FMoW.

``find`` says what an object holds and how large it is; ``load`` opens what has been downloaded
(``python -m datamodels.published``). Importing this package is quick: names below load their module
on first use.
"""

from typing import TYPE_CHECKING

from datamodels.lazy import lazy_names

if TYPE_CHECKING:
    from datamodels.published.catalogue import PublishedFile, find, published_files
    from datamodels.published.loading import load
    from datamodels.published.margins import margins_from_logits
    from datamodels.published.view import open_view, refresh_views

__all__ = [
    "PublishedFile",
    "find",
    "load",
    "margins_from_logits",
    "open_view",
    "published_files",
    "refresh_views",
]

__getattr__ = lazy_names(
    __name__,
    {
        "PublishedFile": "datamodels.published.catalogue",
        "find": "datamodels.published.catalogue",
        "load": "datamodels.published.loading",
        "margins_from_logits": "datamodels.published.margins",
        "open_view": "datamodels.published.view",
        "published_files": "datamodels.published.catalogue",
        "refresh_views": "datamodels.published.view",
    },
)
