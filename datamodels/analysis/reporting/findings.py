"""Components, clusters, suspects and leaks, as the report shows them."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.components import ends, principal_components, spectral_clusters
from datamodels.analysis.leaks import rank_leaks
from datamodels.analysis.reporting.content import (
    Int32s,
    RankedExamples,
    RankedPairs,
    ReportCluster,
    ReportComponent,
)
from datamodels.analysis.suspects import rank_mislabelled
from datamodels.errors import InputError
from datamodels.regression.result import Datamodels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats64 = NDArray[np.float64]

_COMPONENTS: Final = 8
_CLUSTERS: Final = 10
_MEMBERS: Final = 24  # of a cluster
_RANKED: Final = 100  # examples or pairs in a table
_LABELS: Final = 4  # of a cluster, by name
MOST_CLUSTERED: Final = 10_000  # training examples beyond which clusters take minutes


def find_components(weights: "csr_array", k: int) -> list[ReportComponent]:
    """Principal components of the training examples' weights on all targets (n_targets, n_train),
    each example's brought to length 1."""
    n = min(_COMPONENTS, min(weights.shape) - 1)
    if n < 1:
        return []
    found = principal_components(weights.T, n, normalize=True)
    return describe_components(found.scores, found.directions, found.explained, k)


def describe_components(
    scores: Floats64, directions: Floats64, explained: Floats64, k: int
) -> list[ReportComponent]:
    """At most ``k`` training examples, by ``scores`` (n_train, c), and targets, by ``directions``
    (n_targets, c), at each end of each component."""
    shown = []
    for c, share in enumerate(explained):
        parts = (*ends(scores[:, c], k), *ends(directions[:, c], k))
        shown.append(ReportComponent(float(share), *(_int32(part) for part in parts)))
    return shown


def find_clusters(
    weights: "csr_array", names: Sequence[str] | None
) -> tuple[Int32s, list[ReportCluster]] | None:
    """The cluster of every training example, and what each is made of; None for too few examples,
    or so many that it would take minutes."""
    n_targets, n_train = weights.shape
    if min(n_targets, n_train) <= 2 * _CLUSTERS or n_train > MOST_CLUSTERED:
        return None
    found = principal_components(weights.T, _CLUSTERS, normalize=True)
    if np.count_nonzero(np.linalg.norm(found.scores, axis=1)) <= 2 * _CLUSTERS:
        return None
    return describe_clusters(spectral_clusters(found.scores, _CLUSTERS), found.scores, names)


def describe_clusters(
    clusters: NDArray[Any], scores: NDArray[np.float64], names: Sequence[str] | None
) -> tuple[Int32s, list[ReportCluster]]:
    """The cluster of every training example (n_train,), -1 for none, and what each is made of;
    ``scores`` (n_train, k) say which members are nearest to its middle."""
    return _int32(clusters), [
        _cluster(np.flatnonzero(clusters == c), scores, names) for c in range(clusters.max() + 1)
    ]


def find_mislabelled(own: Datamodels | None, test: Datamodels | None) -> RankedExamples:
    """The likeliest of wrong labels."""
    found = rank_mislabelled(own, test)
    first = found.order[:_RANKED]
    columns: dict[str, NDArray[Any]] = {"score": found.score[first], "harm": found.harm[first]}
    note = (
        "Ranked by harm alone: the sum of an example's negative weights. Datamodels of the "
        "training examples' own outputs (--report.own) add self-influence, which ranks much better."
    )
    if found.self_influence is not None:
        columns["self-influence"] = found.self_influence[first]
        note = "Ranked by self-influence and harm together, each in units of its spread."
    return RankedExamples(_int32(first), _float32(columns), note)


def find_leaks(datamodels: Datamodels, *, own: bool) -> RankedPairs | None:
    """Pairs of weights so large that fewer than one such was expected by chance, of examples with
    themselves too if ``own``; None where there is none."""
    try:
        found = rank_leaks(datamodels, own=own).up_to(1).first(_RANKED)
    except InputError:  # all weights are zero
        return None
    if not len(found):
        return None
    columns: dict[str, NDArray[Any]] = {
        "weight": found.weights,
        "excess": found.excess,
        "expected": found.expected,
        "elsewhere": found.elsewhere,
    }
    return RankedPairs(
        _int32(found.examples),
        _int32(found.targets),
        _float32(columns),
        "Excess is the weight in units of the scale of the target's other weights; expected is how "
        "many pairs as large there would be among all targets by chance. Below 0.05, chance is no "
        "explanation, though a near-duplicate may be. Elsewhere is the example's largest weight on "
        "any other target: of a copy it is small.",
    )


def _cluster(
    members: NDArray[np.int64], scores: NDArray[np.float64], names: Sequence[str] | None
) -> ReportCluster:
    """The members nearest to the middle first."""
    vectors = scores[members]
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / np.where(lengths > 0, lengths, 1.0)[:, None]
    nearest = members[np.argsort(-(units @ units.mean(axis=0)), kind="stable")]
    labels = Counter(names[i] for i in members) if names is not None else Counter[str]()
    return ReportCluster(len(members), _int32(nearest[:_MEMBERS]), labels.most_common(_LABELS))


def _int32(values: NDArray[Any]) -> Int32s:
    return values.astype(np.int32)


def _float32(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return {name: values.astype(np.float32) for name, values in columns.items()}
