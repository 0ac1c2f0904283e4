"""Training examples, or targets, as vectors of weights: principal components and clusters.

Examples that act alike on all targets have like rows of weights. The two ends of a principal
component of these rows are subpopulations that pull the outputs in opposite directions (section 5
of Ilyas, Park, Engstrom, Leclerc, Madry: Datamodels, ICML 2022, arXiv 2202.00622).
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.optional import import_optional, import_scipy_sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float64s = NDArray[np.float64]

_NO_VARIANCE = 1e-12  # share of the mean square below which a variance is rounding
_DENSE_COLUMNS = 64  # of vectors whose neighbours are found by trees, zeros and all
# ARPACK factors the graph, of 15,000 vectors in 78 s and 1 GB; LOBPCG takes 11 s, but more of few.
_MAX_FACTORED = 5_000


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of n vectors of m weights, the largest first.

    Vector i is ``mean + scores[i] @ directions.T`` and what other components add.

    Attributes:
        scores: (n, k), in the units of the vectors.
        directions: (m, k), orthonormal; the largest entry of each is positive, so that the sign
            does not depend on the machine.
        mean: (m,) that was taken away; zeros where nothing was.
        variance: (k,) of the scores over the n vectors, falling.
        total_variance: of all vectors, in all directions.
    """

    scores: Float64s
    directions: Float64s
    mean: Float64s
    variance: Float64s
    total_variance: float

    @property
    def n_components(self) -> int:
        return len(self.variance)

    @property
    def explained(self) -> Float64s:
        """Share of the total variance (k,)."""
        return self.variance / self.total_variance


class Ends(NamedTuple):
    """The members at the two ends of a component, the outermost first."""

    low: NDArray[np.int64]  # most negative first
    high: NDArray[np.int64]  # largest first


def principal_components(
    vectors: Any,
    n_components: int,
    *,
    normalize: bool = False,
    centre: bool = True,
    seed: int = 0,
) -> Components:
    """Principal components of the rows of a matrix, sparse or dense, which is never centred or
    made dense as a whole.

    A Lanczos iteration on products with the matrix: 50,000 x 10,000 weights of 5 million non-zeros
    take 25 s for 10 components, even of noise.

    Args:
        vectors: (n, m) finite: ``sparse_weights(datamodels)`` embeds the targets,
            ``sparse_weights(datamodels).T`` the training examples.
        n_components: from 1 to min(n, m) - 1.
        normalize: bring every vector to length 1 first: directions of weights are compared, and
            examples of large weights do not decide alone. Vectors of zeros stay as they are.
        centre: take the mean of the vectors away, as a PCA does.
        seed: of the iteration's start; it moves nothing but rounding errors.

    Raises:
        UsageError: ``n_components`` is out of range. InputError: a vector is not finite.
        MissingPackageError: scipy is not installed.
    """
    matrix = to_rows(vectors)
    n, m = matrix.shape
    if not 1 <= n_components < min(n, m):
        raise UsageError(
            f"n_components={n_components} is out of range: {n} vectors of {m} weights have 1 to "
            f"{min(n, m) - 1} components"
        )
    if normalize:
        matrix = normalized_rows(matrix)
    mean = np.asarray(matrix.mean(axis=0)).ravel() if centre else np.zeros(m)
    squares = float(row_lengths(matrix) @ row_lengths(matrix)) / n
    total = squares - float(mean @ mean)
    if total <= _NO_VARIANCE * squares:
        raise InputError(f"the {n} vectors are all equal: they have no components")
    left, singular, right = _largest_singular(matrix, mean, n_components, seed)
    signs: Float64s = np.sign(right[np.arange(n_components), np.abs(right).argmax(axis=1)])
    signs[signs == 0] = 1.0
    return Components(
        scores=left * (singular * signs),
        directions=(right * signs[:, None]).T,
        mean=mean,
        variance=singular**2 / n,
        total_variance=total,
    )


def ends(values: Float64s, k: int) -> Ends:
    """At most ``k`` members at either end of ``values`` (n,), such as the scores of a component;
    none is at both, ties are ordered by index, and zeros are at neither."""
    if k < 1:
        raise UsageError(f"k={k} is out of range: it must be at least 1")
    low, high = (np.argsort(sign * values, kind="stable")[:k] for sign in (1, -1))
    return Ends(low[values[low] < 0], high[values[high] > 0])


def spectral_clusters(
    vectors: Any, n_clusters: int, *, n_neighbors: int = 10, seed: int = 0
) -> NDArray[np.int64]:
    """Clusters of the rows of a matrix by the directions they point in.

    Spectral clustering of the graph that joins each vector with its ``n_neighbors`` nearest by
    cosine (either of two vectors may name the other), eigenvectors cut apart by pivoted QR (Damle,
    Minden, Ying: Simple, direct and efficient multi-way spectral clustering, 2019), which needs no
    random start. 50,000 vectors of 10,000 entries, 100 of them not zero, take 3 minutes and 2.5 GB.

    Args:
        vectors: (n, m) sparse or dense, such as ``components.scores``.
        n_clusters: from 2 to the number of vectors that are not zero, less one.
        seed: of the eigenvectors' iteration.

    Returns:
        (n,) cluster of each vector: 0 is the largest; -1 for a vector of zeros, which points
        nowhere.

    Raises:
        UsageError: an argument is out of range. InputError: a vector is not finite.
        MissingPackageError: scikit-learn is not installed.
    """
    cluster = import_optional("sklearn.cluster", "scikit-learn", "clusters")
    matrix = to_rows(vectors)
    used = np.flatnonzero(row_lengths(matrix) > 0)
    if not 2 <= n_clusters < len(used):
        raise UsageError(
            f"n_clusters={n_clusters} is out of range: of {matrix.shape[0]} vectors {len(used)} "
            f"are not zero, for 2 to {len(used) - 1} clusters"
        )
    if not 1 <= n_neighbors < len(used):
        raise UsageError(
            f"n_neighbors={n_neighbors} is out of range: there are 1 to {len(used) - 1} others"
        )
    graph = _neighbor_graph(normalized_rows(matrix)[used], n_neighbors)
    model = cluster.SpectralClustering(
        n_clusters,
        affinity="precomputed",
        assign_labels="cluster_qr",
        eigen_solver="arpack" if len(used) <= _MAX_FACTORED else "lobpcg",
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Of a graph in several parts, which are clusters, and of an iteration's last digits.
        warnings.simplefilter("ignore", UserWarning)
        found = model.fit_predict(graph)
    clusters = np.full(matrix.shape[0], -1)
    clusters[used] = _largest_first(found)
    return clusters


def to_rows(vectors: Any) -> "csr_array":
    """The matrix as float64 rows without zeros: float32 would be converted at every product."""
    matrix = import_scipy_sparse().csr_array(vectors, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix.data).all():
        raise InputError(f"vectors of shape {matrix.shape}: expected a finite matrix, one a row")
    return matrix


def normalized_rows(matrix: "csr_array") -> "csr_array":
    """The rows of ``matrix`` at length 1; rows of zeros stay as they are."""
    sparse = import_scipy_sparse()
    lengths = row_lengths(matrix)
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    values = matrix.data * np.repeat(inverse, np.diff(matrix.indptr))
    return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def row_lengths(matrix: "csr_array") -> Float64s:
    """Euclidean length of each row (n,)."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    lengths: Float64s = np.sqrt(np.bincount(rows, matrix.data**2, minlength=matrix.shape[0]))
    return lengths


def _largest_singular(
    matrix: "csr_array", mean: Float64s, k: int, seed: int
) -> tuple[Float64s, Float64s, Float64s]:
    """The k largest singular values of ``matrix - mean`` and their vectors (n, k), (k,), (k, m)."""
    linalg = import_optional("scipy.sparse.linalg", "scipy", "principal components")
    transposed = matrix.T.tocsr()
    operator = linalg.LinearOperator(
        matrix.shape,
        matvec=lambda v: matrix @ v.ravel() - mean @ v.ravel(),
        rmatvec=lambda u: transposed @ u.ravel() - mean * u.sum(),
        matmat=lambda v: matrix @ v - mean @ v,
        rmatmat=lambda u: transposed @ u - np.outer(mean, u.sum(axis=0)),
        dtype=np.float64,
    )
    start = np.random.Philox(key=seed).random_raw(min(matrix.shape)) / 2.0**64 - 0.5
    left, singular, right = linalg.svds(operator, k, v0=start, solver="arpack")
    order = np.argsort(-singular, kind="stable")
    return left[:, order], singular[order], right[order]


def _neighbor_graph(units: "csr_array", n_neighbors: int) -> Any:
    """Who is near whom: 1 where both of two vectors name the other, 1/2 where one does."""
    neighbors = import_optional("sklearn.neighbors", "scikit-learn", "clusters")
    points = units.toarray() if units.shape[1] <= _DENSE_COLUMNS else units
    search = neighbors.NearestNeighbors(n_neighbors=n_neighbors).fit(points)
    named = search.kneighbors_graph()  # of the others; by distance, which falls with the cosine
    return (named + named.T) / 2


def _largest_first(clusters: NDArray[Any]) -> NDArray[np.int64]:
    """The same clusters by falling size; equal ones in the order of their first members."""
    _, first, inverse, sizes = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse]
