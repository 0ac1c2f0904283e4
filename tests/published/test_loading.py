"""Opening downloaded files: maps of the rows asked for, datamodels in raw units, clear refusals."""

import subprocess
import sys

import numpy as np
import pytest

from datamodels import published
from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.published import mask_scales
from datamodels.published.evaluation_rows import EvaluationRows
from datamodels.published.loading import load, rows_of_part
from tests.published.on_disk import (
    LAST,
    N_EVALUATION,
    N_FIT,
    N_TEST,
    N_TRAIN,
    N,
    linear_outputs,
    path_of,
    put,
    put_datamodels,
    put_rows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*the catalogue says")
MASKS, MARGINS, WEIGHT, BIAS = linear_outputs()
HELD_OUT = {"n_evaluation": N_EVALUATION}


@pytest.fixture
def root(tmp_path):
    put(tmp_path, MASKS, "masks")
    put(tmp_path, MARGINS, "margins")
    return tmp_path


def test_the_parts_are_maps_and_make_up_the_whole(root):
    fit, held_out, everything = (
        load(root, kind="masks", part=part, **HELD_OUT) for part in ("fit", "evaluation", "all")
    )
    np.testing.assert_array_equal(fit, MASKS[:N_FIT])
    np.testing.assert_array_equal(held_out, MASKS[LAST])
    np.testing.assert_array_equal(everything, MASKS)
    for array in (fit, held_out, everything):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    assert load(root, kind="margins", **HELD_OUT).shape == (N_FIT, N_TEST)
    first = load(root, kind="masks", part="evaluation", evaluation="first", **HELD_OUT)
    np.testing.assert_array_equal(first, MASKS[:N_EVALUATION])


@pytest.mark.parametrize("end", ["first", "last"])
@pytest.mark.parametrize("n_evaluation", [1, 60, 359])
def test_no_row_is_in_both_parts_and_none_in_neither(end, n_evaluation):
    rows = EvaluationRows(end, n_evaluation)
    fit, held_out = (rows_of_part(N, part, rows) for part in ("fit", "evaluation"))
    both = sorted([*range(N)[fit], *range(N)[held_out]])
    assert both == list(range(N))
    assert len(range(N)[held_out]) == n_evaluation


def test_a_file_that_is_cut_short_is_to_be_downloaded_again(root):
    for kind, more in (("masks", {}), ("datamodels", {"units": "raw"})):
        path = put_datamodels(root, WEIGHT, BIAS) if kind == "datamodels" else path_of(root, kind)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match=f"{path.name}.* download it again"):
            load(root, kind=kind, **more)


def test_rows_can_be_named(root):
    np.testing.assert_array_equal(load(root, kind="margins", rows=slice(7, 9)), MARGINS[7:9])
    np.testing.assert_array_equal(load(root, kind="margins", rows=slice(350, None)), MARGINS[350:])


def test_what_is_there_of_a_partial_file_opens_and_the_rest_is_asked_for(tmp_path):
    put_rows(tmp_path, MASKS, "masks", (0, 100), (N_FIT, N))
    np.testing.assert_array_equal(
        load(tmp_path, kind="masks", part="evaluation", **HELD_OUT), MASKS[LAST]
    )
    np.testing.assert_array_equal(load(tmp_path, kind="masks", rows=slice(0, 100)), MASKS[:100])
    with pytest.raises(
        MissingFileError, match=r"200 of rows 0-299 .* there are: 0-99,300-359"
    ) as e:
        load(tmp_path, kind="masks", **HELD_OUT)
    assert "--download.kinds=masks --download.rows=0-299" in str(e.value)
    assert f"--download.root={tmp_path} " in str(e.value)
    with pytest.raises(MissingFileError, match="1 of rows 99-100"):
        load(tmp_path, kind="masks", rows=slice(99, 101))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "logits"}, MissingFileError, "--download.kinds=logits --download.splits=test"),
        ({"kind": "logit"}, UsageError, "did you mean 'logits'"),
        ({"kind": "masks", "dataset": "mnist"}, UsageError, "cifar, fmow"),
        ({"kind": "masks", "alpha": 0.3}, UsageError, r"0\.1, 0\.2, 0\.5, 0\.75"),
        ({"kind": "masks", "part": "test"}, UsageError, "fit, evaluation, all"),
        ({"kind": "masks", "evaluation": "middle"}, UsageError, "last, first"),
        ({"kind": "masks"}, UsageError, "n_evaluation=10000: the files have 360 rows"),
        ({"kind": "masks", "units": "raw"}, UsageError, "leave it out for masks"),
        ({"kind": "masks", "rows": slice(0, 400)}, UsageError, "END <= 360"),
        ({"kind": "masks", "rows": slice(0, 40, 2)}, UsageError, "no step"),
        ({"kind": "masks", "rows": slice(5, 5)}, UsageError, "END <= 360"),
        ({"kind": "datamodels"}, UsageError, "published units"),
        ({"kind": "datamodels", "units": "raw"}, MissingFileError, "--download.kinds=datamodels"),
        (
            {"kind": "datamodels", "units": "raw", "split": "train", "alpha": 0.1},
            MissingFileError,
            "reported not to be there",
        ),
    ],
)
def test_what_is_not_there_or_not_meant_is_refused(root, arguments, error, message):
    with pytest.raises(error, match=message):
        load(root, **arguments)


def test_another_file_under_a_published_name_is_refused(root):
    put(root, MASKS[:, 0], "margins")
    with pytest.raises(InputError, match="another file"):
        load(root, kind="margins", part="all")


@pytest.mark.filterwarnings("default:.*the catalogue says")
def test_a_shape_that_differs_from_the_catalogue_is_a_warning(root):
    with pytest.warns(UserWarning, match=r"\(360, 40\) .* \(310000, 50000\)"):
        load(root, kind="masks", part="all")


# --- datamodels --------------------------------------------------------------------------------


def test_weights_are_taken_as_they_are_where_they_are_raw(root):
    put_datamodels(root, WEIGHT, BIAS)
    loaded = load(root, kind="datamodels", units="raw")
    np.testing.assert_array_equal(loaded.weight, WEIGHT)
    with pytest.raises(UsageError, match="units='percent'"):
        load(root, kind="datamodels", units="percent")


@pytest.mark.parametrize("alpha", [0.5, 0.2])
@pytest.mark.parametrize("there", ["nothing", "evaluation rows", "all rows"])
def test_standardized_weights_predict_raw_masks_with_whatever_masks_are_there(
    tmp_path, alpha, there
):
    rng = np.random.default_rng(0)
    masks = rng.random((20_000, N_TRAIN)) < alpha
    z = (masks - masks.mean(axis=0)) / masks.std(axis=0)
    put_datamodels(tmp_path, WEIGHT, BIAS)
    if alpha != 0.5:
        name = "cifar/datamodels/test_{}pct.pt"
        (tmp_path / name.format(50)).rename(tmp_path / name.format(20))
    if there != "nothing":
        rows = masks if there == "all rows" else masks[-2_000:]
        put(tmp_path, rows, "masks", alpha=alpha)
    loaded = load(tmp_path, alpha=alpha, kind="datamodels", units="standardized")
    error = loaded.predict(masks) - (z @ WEIGHT + BIAS)
    assert np.abs(error).max() < 0.2
    assert error.std() < 0.03


def test_examples_that_are_not_drawn_alike_keep_their_own_means(monkeypatch):
    monkeypatch.setattr(mask_scales, "_BLOCK_BYTES", 999)
    chance = np.linspace(0.2, 0.8, N_TRAIN)
    masks = np.random.default_rng(0).random((2_000, N_TRAIN)) < chance
    rows = np.arange(500, 2_000)
    scales = mask_scales.estimate_scales(masks, rows)
    assert not scales.are_uniform
    np.testing.assert_allclose(scales.mean, masks[500:].mean(axis=0))
    np.testing.assert_allclose(scales.deviation, masks[500:].std(axis=0))
    assert "not drawn alike" in scales.origin


@pytest.mark.parametrize("fixed_size", [True, False])
def test_random_subsets_are_taken_for_such(fixed_size):
    rng = np.random.default_rng(0)
    masks = rng.random((3_000, N_TRAIN)) < 0.3
    if fixed_size:
        masks = rng.random((3_000, N_TRAIN)).argsort(axis=1) < 12
    scales = mask_scales.estimate_scales(masks, np.arange(3_000))
    assert scales.are_uniform
    assert scales.mean[0] == pytest.approx(0.3, abs=0.01)
    assert scales.deviation[0] == pytest.approx(0.3**0.5 * 0.7**0.5, abs=0.01)
    assert "3,000 masks" in scales.origin


def test_importing_the_package_is_quick_and_has_these_names():
    code = "import datamodels.published as p, sys; print(*sys.modules); print(*p.__all__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numba", "boto3"} & set(said.stdout.split())
    assert all(callable(getattr(published, name)) for name in published.__all__)
