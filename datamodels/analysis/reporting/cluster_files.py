"""Clusters of training examples in a folder, as the report takes them."""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError

CLUSTER_FILE: Final = "components.npz"
OF_EXAMPLES: Final = "training examples"


def read_clusters(folder: str, n_train: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cluster (n_train,) and the scores (n_train, k) of every training example, which
    ``python -m datamodels.analysis.clusters`` wrote.

    Raises:
        MissingFileError: there is no such file. InputError: it is another one, or the clusters are
            of something else than these training examples.
    """
    path = Path(folder) / CLUSTER_FILE
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist; --report.clusters names a folder that python -m "
            "datamodels.analysis.clusters wrote"
        )
    arrays = _load(path)
    clusters, scores, members = arrays["clusters"], arrays["scores"], str(arrays["members"])
    if members != OF_EXAMPLES or clusters.shape != (n_train,) or len(scores) != n_train:
        raise InputError(
            f"{path} holds clusters of {len(clusters)} {members}; these datamodels have {n_train} "
            f"{OF_EXAMPLES}: make it from them, with --clusters.of=train"
        )
    return clusters.astype(np.int64), scores.astype(np.float64)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    names = ("clusters", "scores", "members")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no file of clusters ({error}); make one with python -m "
            "datamodels.analysis.clusters"
        ) from None
