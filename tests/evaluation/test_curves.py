"""Learning curves: every prefix is fitted as if alone, and a stopped run goes on."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.curve_memory import CurveSize
from datamodels.evaluation.curves import LearningCurve, measure_learning_curve, split_rows
from datamodels.evaluation.prefixes import PrefixFits, plan_prefixes
from datamodels.regression.fit import FitData, run_fit
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.plan import pair_bytes
from datamodels.regression.row_source import ArraySource, silent
from tests.conftest import ROOT, assert_fails

N, P, T = 240, 30, 4
OPTIONS = {"k": 20, "eps": 1e-2, "engine": "cpu", "target_block": 4}


def problem(kind=bool):
    rng = np.random.default_rng(0)
    masks = rng.random((N, P)) < 0.5
    outputs = masks @ rng.standard_normal((P, T)) + 2 * rng.standard_normal((N, T))
    return masks.astype(kind), outputs.astype(np.float32)


@pytest.mark.parametrize("folds", [None, 4])
@pytest.mark.parametrize("kind", [bool, np.float64])
def test_prefixes_equal_fits_from_scratch(folds, kind):
    masks, outputs = problem(kind)
    if kind is np.float64:
        masks *= 1.5
    source, config = ArraySource(masks, outputs), FitConfig(**OPTIONS, folds=folds)
    rows = split_rows(source)
    plan = plan_prefixes(config, source, len(rows.learnt), T)
    fits = PrefixFits(source, rows.learnt, rows.names, slice(0, T), plan, 0, silent)
    for n in (60, 100, 192):
        found = fits.fit(n)
        alone = run_fit(FitData(source, fits.split(n)), plan.config)
        assert set(fits.split(n).rows) == set(range(n))
        np.testing.assert_allclose(found.final["lambda"], alone.final["lambda"], rtol=1e-5)
        weights = (found.datamodels.weight, alone.datamodels.weight)
        np.testing.assert_allclose(*weights, atol=2e-3 * np.abs(weights[1]).max())


def test_every_size_is_scored_on_the_same_held_out_rows():
    masks, outputs = problem()
    curve = measure_learning_curve(
        ArraySource(masks, outputs), FitConfig(**OPTIONS), sizes=[60, 192], n_resamples=20
    )
    assert curve.n_held_out == 48
    assert curve.mean_lds[1] > curve.mean_lds[0]
    assert (curve.intervals[:, 0] < curve.mean_lds).all()
    np.testing.assert_allclose(curve.variance, outputs[192:].var(axis=0), rtol=1e-5)
    assert 0 < curve.r2[1] < 1


def test_trainings_of_held_out_masks_are_not_learnt_from():
    masks, outputs = problem()
    ids = np.arange(N)
    ids[:10] = ids[-10:]
    rows = split_rows(ArraySource(masks, outputs), 20, ids)
    assert not np.isin(ids[rows.learnt], ids[rows.held_out]).any()
    assert len(rows.learnt) == N - 20 - 10


def test_sizes_that_are_not_there_are_refused():
    source = ArraySource(*problem())
    with pytest.raises(UsageError, match="from 10 to 192"):
        measure_learning_curve(source, FitConfig(**OPTIONS), sizes=[60, 193])
    with pytest.raises(UsageError, match="works on the rows"):
        measure_learning_curve(source, FitConfig(engine="saga"))


def test_command_writes_the_curve_and_goes_on_after_a_stop(run, tmp_path):
    masks, outputs = problem()
    arrays = {"masks": masks, "margins": outputs, "_completed": np.ones(N, bool)}
    for key, array in arrays.items():
        np.save(tmp_path / f"{key}.npy", array)
    options = ("--curve.data_path=.", "--curve.k=20", "--curve.eps=0.01", "--curve.resamples=20",
               "--curve.engine=cpu", "--curve.sizes=40,60,90,130,192")  # fmt: skip
    first = run("evaluation.learning_curve", *options, "--curve.out=curve")
    assert first.returncode == 0, first.stderr
    assert "models     LDS" in first.stdout
    assert "the saturating law" in first.stdout
    assert (tmp_path / "curve" / "curve.png").stat().st_size > 10_000
    curve = LearningCurve.load(tmp_path / "curve")
    assert curve.sizes.tolist() == [40, 60, 90, 130, 192]
    assert_fails(run("evaluation.learning_curve", *options, "--curve.out=curve"), 1, "exists")

    # The same, killed after its first size: what is done stays as it is.
    unfinished = tmp_path / "again.unfinished"
    words = [sys.executable, "-m", "datamodels.evaluation.learning_curve", *options]
    process = subprocess.Popen(
        [*words, "--curve.out=again"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    done = unfinished / "steps" / "models_40.npz"
    while not done.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done.exists()
    assert not (tmp_path / "again").exists()
    unable = run("evaluation.learning_curve", *options, "--curve.out=c", "--curve.engine=saga")
    assert_fails(unable, 2, "saga")
    assert not (tmp_path / "c.unfinished").exists()  # which would stand in the way of another call
    assert_fails(run("evaluation.learning_curve", *options, "--curve.out=c", "--curve.goals=1.2"),
                 2, "goals holds 1.2")  # fmt: skip
    other = run("evaluation.learning_curve", *options, "--curve.out=again", "--curve.seed=1")
    assert_fails(other, 1, "unfinished curve of seed=0, not 1;")
    with np.load(done) as file:
        step = dict(file)
    np.savez(done, **{**step, "nonzeros": np.array(-7.0)})  # to tell it from one made anew
    resumed = run("evaluation.learning_curve", *options, "--curve.out=again")
    assert resumed.returncode == 0, resumed.stderr
    again = LearningCurve.load(tmp_path / "again")
    np.testing.assert_array_equal(again.lds, curve.lds)
    assert again.nonzeros[0] == -7
    assert not unfinished.exists()


def test_resamples_and_masks_that_leave_nothing_are_refused_before_any_fit(run, tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.random((20, 6)) < 0.5
    arrays = {"masks": np.tile(masks, (10, 1)), "margins": rng.standard_normal((200, 2)),
              "_completed": np.ones(200, bool), "mask_id": np.tile(np.arange(20), 10)}  # fmt: skip
    for key, values in arrays.items():
        np.save(tmp_path / f"{key}.npy", values)
    options = ["--curve.data_path=.", "--curve.out=curve", "--curve.k=5"]
    none = run("evaluation.learning_curve", *options, "--curve.resamples=0")
    assert_fails(none, 2, "curve.resamples=0", "at least 1")
    shared = run("evaluation.learning_curve", *options)
    assert_fails(shared, 1, "share their masks with all but 0 of the others")
    assert not (tmp_path / "curve").exists()


@pytest.mark.parametrize(
    ("folds", "kind", "options"),
    [(None, bool, {}), (5, bool, {}), (2, np.float64, {}), (None, bool, {"use_bias": False})],
)
def test_memory_is_what_was_allowed_for(folds, kind, options):
    p, t, n_held_out = 1600, 4, 60
    rng = np.random.default_rng(0)
    masks = (rng.random((220, p)) < 0.5).astype(kind)
    if kind is np.float64:
        masks *= 1.5
    outputs = rng.standard_normal((220, t)).astype(np.float32)
    config = FitConfig(k=3, eps=0.5, engine="cpu", folds=folds, target_block=2, **options)
    size = CurveSize(p, t, n_held_out, pair_bytes(masks.dtype), masks.itemsize)
    allowed = size.table_bytes(config) + size.other_bytes(config)

    def measure(n_features):
        source = ArraySource(masks[:, :n_features], outputs)
        rows = split_rows(source, n_held_out)
        measure_learning_curve(source, config, sizes=[80, 120, 160], rows=rows, n_resamples=5)

    measure(20)  # what is imported and compiled stays
    tracemalloc.start()
    try:
        measure(p)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 * allowed < peak < 1.1 * allowed, peak / allowed


def test_a_curve_that_does_not_fit_in_memory_is_refused():
    masks, outputs = problem()
    config = FitConfig(engine="cpu", folds=5, memory_gb=1e-4)
    with pytest.raises(InputError, match=r"takes .* GiB, .* that folds=5 and .* lower it"):
        measure_learning_curve(ArraySource(masks, outputs), config, sizes=[100])
