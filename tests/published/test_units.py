"""Which units weights are in, told from models that they were not fitted to."""

import numpy as np
import pytest

from datamodels.errors import InputError
from datamodels.published import units
from datamodels.published.mask_scales import estimate_scales
from datamodels.published.units import compare_units
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import ArraySource
from tests.conftest import assert_fails
from tests.published.on_disk import (
    N_FIT,
    N_TEST,
    N_TRAIN,
    N,
    linear_outputs,
    put,
    put_datamodels,
)

ROWS = np.arange(N_FIT, N)


def world(alpha=0.5, seed=0):
    """(masks, outputs, datamodels in raw units, the same in standardized ones)."""
    rng = np.random.default_rng(seed)
    masks = rng.random((N, N_TRAIN)) < alpha
    _, _, weight, bias = linear_outputs(seed)
    outputs = masks @ weight + bias + 0.5 * rng.standard_normal((N, N_TEST))
    mean, deviation = masks[:N_FIT].mean(axis=0), masks[:N_FIT].std(axis=0)
    lam = np.zeros(N_TEST, np.float32)
    raw = Datamodels(weight, bias, lam)
    other = (weight * deviation[:, None], bias + mean @ weight)
    standardized = Datamodels(*(part.astype(np.float32) for part in other), lam)
    return masks, outputs.astype(np.float16), raw, standardized


def compared(masks, outputs, datamodels, **options):
    source = ArraySource(masks, outputs)
    scales = estimate_scales(masks, np.arange(N_FIT))
    return compare_units(datamodels, source, ROWS, scales, **options)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(3))
def test_the_right_units_are_found(alpha, seed):
    masks, outputs, raw, standardized = world(alpha, seed)
    assert compared(masks, outputs, raw).verdict == "raw"
    assert compared(masks, outputs, standardized).verdict == "standardized"


def test_each_reading_is_scored_as_its_predictions_are(monkeypatch):
    monkeypatch.setattr(units, "_BLOCK_BYTES", 999)  # blocks that do not divide the rows
    masks, outputs, raw, _ = world()
    scales = estimate_scales(masks, np.arange(N_FIT))
    report = compared(masks, outputs, raw)
    readings = {"raw": raw, "standardized": raw.from_standardized(scales.mean, scales.deviation)}
    y = outputs[ROWS].astype(np.float64)
    for name, datamodels in readings.items():
        reading, p = report.readings[name], datamodels.predict(masks[ROWS]).astype(np.float64)
        np.testing.assert_allclose(reading.error, ((y - p) ** 2).mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(reading.r2, datamodels.score(masks[ROWS], y), rtol=1e-3)
        np.testing.assert_allclose(reading.offset, (y - p).mean(axis=0), rtol=1e-3, atol=1e-4)
        slopes = [np.polyfit(p[:, t], y[:, t], 1)[0] for t in range(N_TEST)]
        np.testing.assert_allclose(reading.slope, slopes, rtol=1e-3)
        free = 1 - (y - p).var(axis=0) / y.var(axis=0)
        np.testing.assert_allclose(reading.r2_without_offset, free, rtol=1e-3, atol=1e-3)


def test_examples_of_other_chances_are_scaled_each_by_its_own():
    masks, outputs, raw, _ = world()
    chance = np.linspace(0.1, 0.9, N_TRAIN)
    masks = np.random.default_rng(7).random((N, N_TRAIN)) < chance
    outputs = raw.predict(masks) + 0.1 * outputs
    mean, deviation = masks[:N_FIT].mean(axis=0), masks[:N_FIT].std(axis=0)
    bias = (raw.bias + mean @ raw.weight).astype(np.float32)
    other = Datamodels((raw.weight * deviation[:, None]).astype(np.float32), bias, raw.lam)
    report = compared(masks, outputs, other)
    assert not report.scales.are_uniform
    assert report.verdict == "standardized"


def test_only_some_targets_may_be_looked_at():
    masks, outputs, raw, _ = world()
    whole, some = (compared(masks, outputs, raw, targets=t) for t in (None, np.array([1, 4])))
    assert some.n_targets == 2
    np.testing.assert_allclose(some.readings["raw"].r2, whole.readings["raw"].r2[[1, 4]], rtol=1e-5)


def test_targets_without_variance_or_with_infinite_outputs_are_left_out():
    masks, outputs, raw, _ = world()
    outputs[:, 0] = 2
    outputs[N_FIT + 3, 1] = np.inf
    report = compared(masks, outputs, raw)
    assert np.isnan(report.readings["raw"].r2).tolist() == [True, True] + [False] * 4
    assert report.verdict == "raw"


def nonsense(name, raw):
    rng = np.random.default_rng(3)
    changed = {
        "random weights": rng.standard_normal(raw.weight.shape).astype(np.float32),
        "no weights": np.zeros_like(raw.weight),
        "other examples": np.roll(raw.weight, 5, axis=0),
        "other targets": np.roll(raw.weight, 1, axis=1),
        "another scale": raw.weight * 10,
        "the wrong sign": -raw.weight,
    }
    return Datamodels(changed[name], raw.bias, raw.lam)


@pytest.mark.parametrize(
    "name",
    ["random weights", "no weights", "other examples", "other targets", "another scale",
     "the wrong sign"],
)  # fmt: skip
def test_nonsense_fits_in_neither_units(name):
    masks, outputs, raw, _ = world()
    assert compared(masks, outputs, nonsense(name, raw)).verdict is None


def test_models_of_other_sizes_are_refused():
    masks, outputs, raw, _ = world()
    with pytest.raises(InputError, match="do not belong together"):
        compared(masks[:, 1:], outputs, raw)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, run):
    masks, outputs, raw, standardized = world()
    put(tmp_path, masks, "masks")
    put(tmp_path, outputs, "margins")
    put_datamodels(tmp_path, raw.weight, raw.bias)
    assert run("published view", tmp_path).returncode == 0
    raw.save(tmp_path / "raw.pt")
    standardized.save(tmp_path / "standardized.pt")
    nonsense("random weights", raw).save(tmp_path / "nonsense.pt")
    return tmp_path


def told(run, root, name, *options):
    return run(
        "published units", f"--units.datamodels={root / name}",
        f"--units.store={root / 'cifar/50pct'}", *options,
    )  # fmt: skip


def test_the_command_says_which_fits_and_by_how_much(run, root):
    for name in ("raw", "standardized"):
        said = told(run, root, f"{name}.pt", "--units.rows=300-359")
        assert said.returncode == 0, said.stderr
        assert f"the weights are {name}: R2 0." in said.stdout
        assert f"units='{name}'" in said.stdout
        assert "100% of the targets" in said.stdout
    assert_fails(told(run, root, "nonsense.pt", "--units.rows=300-359"), 1, "neither fits")


def test_the_command_refuses_what_it_cannot_judge_by(run, root):
    assert_fails(told(run, root, "raw.pt"), 2, "--units.rows")
    assert_fails(told(run, root, "raw.pt", "--units.rows=0-1"), 2, "names 2 of", "3 at least")
    assert_fails(told(run, root, "raw.pt", "--units.rows=0-9", "--units.targets=0"), 2, "targets=0")
    assert_fails(told(run, root, "none.pt", "--units.rows=0-9"), 1, "none.pt")
