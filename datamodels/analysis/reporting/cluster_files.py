"""Clusters of training examples in a folder, as the report takes them."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError

CLUSTER_FILE: Final = "components.npz"
OF_EXAMPLES: Final = "training examples"


@dataclass(frozen=True, eq=False)
class Clusters:
    """What ``python -m datamodels.analysis.clusters`` wrote."""

    clusters: NDArray[np.int64]  # (n_train,) -1 for none
    scores: NDArray[np.float64]  # (n_train, k)
    directions: NDArray[np.float64]  # (n_targets, k)
    explained: NDArray[np.float64]  # (k,)


def read_clusters(folder: str, n_train: int, n_targets: int) -> Clusters:
    """Components and clusters of the training examples in ``folder``.

    Raises:
        MissingFileError: there is no such file. InputError: it is another one, or the clusters are
            of something else than ``n_train`` training examples by weights on ``n_targets``.
    """
    path = Path(folder) / CLUSTER_FILE
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist; --report.clusters names a folder that python -m "
            "datamodels.analysis.clusters wrote"
        )
    arrays = _load(path)
    members, n, m = str(arrays["members"]), len(arrays["clusters"]), len(arrays["directions"])
    if members != OF_EXAMPLES or (n, m) != (n_train, n_targets):
        raise InputError(
            f"{path} holds clusters of {n} {members} by {m} weights each; these datamodels have "
            f"{n_train} {OF_EXAMPLES} and {n_targets} targets: make it from them, with "
            "--clusters.of=train"
        )
    return Clusters(
        arrays["clusters"].astype(np.int64),
        *(arrays[name].astype(np.float64) for name in ("scores", "directions", "explained")),
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    names = ("clusters", "scores", "directions", "explained", "members")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no file of clusters ({error}); make one with python -m "
            "datamodels.analysis.clusters"
        ) from None
