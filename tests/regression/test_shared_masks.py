"""Lambda is to be chosen on masks that are not fitted; a warning says where it is not."""

import warnings

import numpy as np
import pytest

N, P = 60, 8


@pytest.fixture
def fit(call, tmp_path):
    """Fits of a store of 20 masks, three trainings of each, one after the other."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(20), 3)
    masks = (rng.random((20, P)) < 0.5)[ids]
    arrays = {"masks": masks, "margins": rng.standard_normal((N, 2)) + masks[:, :2],
              "_completed": np.ones(N, bool), "mask_id": ids}  # fmt: skip
    for key, array in arrays.items():
        np.save(tmp_path / f"{key}.npy", array)

    def fit_with(*options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = call("regression.compute_datamodels", "--data.data_path=.", "--cfg.k=5",
                          "--cfg.out_dir=fit", *options)  # fmt: skip
        assert result.returncode == 0, result.stderr
        return " ".join(str(warning.message) for warning in caught)

    return fit_with


def test_shared_masks_are_told(fit):
    said = fit("--data.num_train=45", "--data.num_val=15")
    assert "of the 15 rows that choose lambda share their masks (mask_id)" in said
    assert "data.seed=-1" in said


def test_shared_masks_of_folds_are_told(fit):
    said = fit("--data.num_train=60", "--cfg.folds=4")
    assert "of the 60 rows that choose lambda share their masks (mask_id)" in said


def test_the_remedy_leaves_no_warning(fit):
    assert "mask_id" not in fit("--data.num_train=45", "--data.num_val=15", "--data.seed=-1")


def test_another_array_of_that_name_is_no_hindrance(fit, tmp_path):
    np.save(tmp_path / "mask_id.npy", np.zeros((N, 3)))
    assert "mask_id" not in fit("--data.num_train=45", "--data.num_val=15")
