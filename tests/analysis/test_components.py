import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import PCA

from datamodels.analysis import components as module
from datamodels.analysis.components import ends, principal_components, spectral_clusters
from datamodels.analysis.sparse_weights import sparse_rows_of, sparse_weights, without_own
from datamodels.errors import InputError, UsageError
from tests.analysis.conftest import as_datamodels, sparse_noise


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block_bytes", [1, 1000, 2**20])
def test_sparse_weights_are_the_weights(monkeypatch, order, block_bytes):
    monkeypatch.setattr("datamodels.analysis.sparse_weights._BLOCK_BYTES", block_bytes)
    weight = np.asarray(sparse_noise(30, 17), np.float32, order=order)
    weight[3] = 0
    sparse = sparse_weights(as_datamodels(weight))
    assert sparse.shape == (17, 30)
    assert sparse.dtype == np.float32
    assert sparse.nnz == np.count_nonzero(weight)
    assert sparse.has_sorted_indices
    np.testing.assert_array_equal(sparse.toarray(), weight.T)


def test_weights_that_are_not_finite_are_named():
    weight = np.zeros((4, 3), np.float32)
    weight[2, 1] = np.nan
    with pytest.raises(InputError, match=r"weight\[2, 1\]=nan"):
        sparse_rows_of(weight)


def test_own_weights_can_be_left_out():
    weight = sparse_noise(12, 12, share=0.9)
    kept = without_own(sparse_weights(as_datamodels(weight))).toarray().T
    np.fill_diagonal(weight, 0)
    np.testing.assert_allclose(kept, weight, rtol=1e-6)
    with pytest.raises(UsageError, match="3 targets are not the 12"):
        without_own(sparse_weights(as_datamodels(weight[:, :3])))


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
@pytest.mark.parametrize("normalize", [False, True])
def test_components_are_those_of_a_dense_pca(shape, normalize):
    x = sparse_noise(*shape) + 0.3 * (np.arange(shape[1]) % 3 == 0)
    found = principal_components(csr_array(x), 6, normalize=normalize)
    if normalize:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    oracle = PCA(6, svd_solver="full").fit(x)
    np.testing.assert_allclose(found.explained, oracle.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(abs(found.directions.T @ oracle.components_.T), np.eye(6), atol=1e-6)
    np.testing.assert_allclose(found.scores, (x - found.mean) @ found.directions, atol=1e-8)
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(6), atol=1e-9)


def test_without_centring_components_are_singular_vectors():
    x = sparse_noise(30, 20) + 1
    found = principal_components(x, 3, centre=False)
    singular = np.linalg.svd(x, compute_uv=False)
    np.testing.assert_allclose(found.variance, singular[:3] ** 2 / 30, rtol=1e-9)
    np.testing.assert_allclose(found.total_variance, (x**2).sum() / 30)


def test_signs_and_components_do_not_depend_on_the_start_or_on_the_order():
    x = sparse_noise(40, 30)
    first = principal_components(x, 4)
    again = principal_components(x, 4, seed=7)
    np.testing.assert_allclose(again.scores, first.scores, atol=1e-8)
    shuffled = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(
        principal_components(x[shuffled], 4).scores, first.scores[shuffled], atol=1e-8
    )
    largest = np.abs(first.directions).argmax(axis=0)
    assert (first.directions[largest, range(4)] > 0).all()


def test_opposing_subpopulations_are_at_the_two_ends(two_groups):
    found = principal_components(sparse_weights(two_groups).T, 3)
    assert found.explained[0] > 0.8
    both = ends(found.scores[:, 0], 20)
    assert {frozenset(both.low), frozenset(both.high)} == {
        frozenset(range(20)),
        frozenset(range(20, 40)),
    }
    targets = ends(found.directions[:, 0], 20)
    assert {tuple(sorted(part % 2)) for part in targets} == {(0,) * 20, (1,) * 20}


def test_ends_are_ordered_and_leave_zeros_out():
    both = ends(np.array([0.0, 3, -1, 0, 5, -2, 3]), 3)
    assert both.high.tolist() == [4, 1, 6]
    assert both.low.tolist() == [5, 2]
    with pytest.raises(UsageError, match="k=0"):
        ends(np.zeros(3), 0)


def clustered(rng):
    """Ninety vectors in three directions, of any length, and three vectors of zeros."""
    directions = np.eye(3, 12).repeat([50, 25, 15], axis=0)
    x = (directions + 0.2 * rng.standard_normal((90, 12))) * rng.uniform(0.1, 10, (90, 1))
    return np.insert(x, [0, 40, 90], 0, axis=0), np.insert(np.repeat([0, 1, 2], [50, 25, 15]),
                                                           [0, 40, 90], -1)  # fmt: skip


@pytest.mark.parametrize("max_factored", [0, 5_000])
@pytest.mark.parametrize("as_matrix", [np.asarray, csr_array])
def test_clusters_are_directions_the_largest_first(monkeypatch, as_matrix, max_factored):
    monkeypatch.setattr(module, "_MAX_FACTORED", max_factored)
    x, truth = clustered(np.random.default_rng(0))
    np.testing.assert_array_equal(spectral_clusters(as_matrix(x), 3, n_neighbors=8), truth)


def test_clusters_are_those_of_scikit_learn():
    x = sparse_noise(80, 20, share=1)
    ours = spectral_clusters(x, 4)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    model = SpectralClustering(
        4, affinity="nearest_neighbors", n_neighbors=11, assign_labels="cluster_qr", random_state=0
    )
    theirs = model.fit_predict(units)  # they count the vector itself as a neighbour
    assert len(set(zip(ours, theirs, strict=True))) == 4
    np.testing.assert_array_equal(spectral_clusters(x, 4), ours)


@pytest.mark.parametrize(
    ("call", "error", "needle"),
    [
        (lambda x: principal_components(x, 0), UsageError, "n_components=0"),
        (lambda x: principal_components(x, 10), UsageError, "have 1 to 9 components"),
        (lambda x: principal_components(x * np.nan, 2), InputError, "finite"),
        (lambda x: principal_components(0 * x, 2), InputError, "all equal"),
        (lambda x: principal_components(0 * x + 1 / 3, 2), InputError, "all equal"),
        (lambda x: spectral_clusters(x, 1), UsageError, "n_clusters=1"),
        (lambda x: spectral_clusters(x, 3, n_neighbors=20), UsageError, "n_neighbors=20"),
        (lambda x: spectral_clusters(0 * x, 3), UsageError, "0 are not zero"),
    ],
)  # fmt: skip
def test_what_has_no_components_or_clusters_is_refused(call, error, needle):
    with pytest.raises(error, match=needle):
        call(sparse_noise(20, 10))
