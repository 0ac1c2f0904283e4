"""Shares of variance: linear, non-linear and noise, where they are known."""

import json
from itertools import combinations, product

import numpy as np
import pytest

from datamodels.errors import InputError
from datamodels.evaluation.linear_ceiling import estimate_linear_share, share_bytes

N_SIMULATED = 300


def all_masks(kind, p):
    if kind == "fixed":
        masks = np.zeros((0, p), bool)
        rows = [np.isin(np.arange(p), chosen) for chosen in combinations(range(p), p // 2)]
        return np.concatenate([masks, rows])
    return np.array(list(product([False, True], repeat=p)))


def population(kind, p, rng):
    """All masks (equally likely), their mean outputs, and V_L and V_N by regression on them all."""
    masks = all_masks(kind, p)
    pairs = rng.standard_normal((p, p))
    means = masks @ rng.standard_normal(p) + 0.7 * np.einsum("ip,pq,iq->i", masks, pairs, masks)
    design = np.column_stack([np.ones(len(masks)), masks])
    linear = design @ np.linalg.lstsq(design, means, rcond=None)[0]
    return masks, means, linear.var(), (means - linear).var()


@pytest.mark.parametrize("kind", ["fixed", "bernoulli"])
def test_components_are_unbiased_and_their_errors_honest(kind):
    rng = np.random.default_rng(0)
    p, k = 8, 60
    masks, means, linear, nonlinear = population(kind, p, rng)
    noise = 1.5 * means.var()
    found, errors = [], []
    for _ in range(N_SIMULATED):
        chosen = rng.integers(len(masks), size=k)
        ids = rng.permutation(np.repeat(np.arange(k), rng.integers(1, 4, k)))  # unequal groups
        which = chosen[ids]
        outputs = means[which] + np.sqrt(noise) * rng.standard_normal(len(ids))
        share = estimate_linear_share(masks[which], outputs, ids)
        total = share.variance[0]
        found.append([part.value * total for part in (share.linear, share.nonlinear, share.noise)])
        errors.append([share.linear.error, share.noise.error])
    found = np.array(found)
    truth = np.array([linear, nonlinear, noise])
    standard_error = found.std(axis=0) / np.sqrt(N_SIMULATED)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - truth), 3.5 * standard_error)
    shares = found / found.sum(axis=1, keepdims=True)
    spread = shares.std(axis=0)[[0, 2]]
    mean_error = np.sqrt((np.array(errors) ** 2).mean(axis=0))
    assert (np.abs(mean_error / spread - 1) < 0.25).all(), mean_error / spread


@pytest.mark.parametrize("kind", ["fixed", "bernoulli"])
def test_linear_share_is_known_with_fewer_models_than_training_examples(kind):
    rng = np.random.default_rng(1)
    p, n, t = 600, 400, 40
    masks = rng.random((n, p)) < 0.3
    if kind == "fixed":
        masks = np.argsort(rng.random((n, p)), axis=1) < 180
    weight = rng.standard_normal((p, t)) / np.sqrt(p * 0.21)  # V_L = 1
    a, b = rng.integers(p, size=(2, 300, t))
    centred = masks - 0.3
    crossed = np.stack([(centred[:, a[:, j]] * centred[:, b[:, j]]).sum(axis=1) for j in range(t)])
    outputs = masks @ weight + crossed.T / np.sqrt(300 * 0.21**2) + rng.standard_normal((n, t))
    share = estimate_linear_share(masks, outputs)
    assert abs(share.linear.value - 1 / 3) < 4 * share.linear.error
    assert share.linear.error < 0.04
    assert share.noise is None


def test_noise_of_repeats_equals_the_textbook_analysis_of_variance():
    rng = np.random.default_rng(2)
    counts = np.array([3, 1, 2, 4, 2, 2])
    ids = np.repeat(np.arange(6), counts)
    masks = (rng.random((6, 40)) < 0.5)[ids]
    y = rng.standard_normal(14) + 2 * rng.standard_normal(6)[ids]
    groups = [y[ids == i] for i in range(6)]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (14 - 6)
    between_square = sum(len(g) * (g.mean() - y.mean()) ** 2 for g in groups) / 5
    n0 = (14 - (counts**2).sum() / 14) / 5
    between = (between_square - within) / n0
    share = estimate_linear_share(masks, y, ids)
    assert share.noise.value == pytest.approx(within / (within + between))
    assert share.variance[0] == pytest.approx(within + between)
    parts = share.linear.value + share.nonlinear.value + share.noise.value
    assert parts == pytest.approx(1)


def test_is_invariant_to_the_order_of_models_and_to_the_scale_of_outputs():
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(20), 2)
    masks, outputs = (rng.random((20, 50)) < 0.5)[ids], rng.standard_normal((40, 3))
    one = estimate_linear_share(masks, outputs, ids)
    order = rng.permutation(40)
    other = estimate_linear_share(masks[order], 5 * outputs[order] + 7, ids[order])
    for name in ("linear", "noise", "nonlinear", "between"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a.value, a.error) == pytest.approx((b.value, b.error), rel=1e-6)


def test_masks_drawn_in_groups_are_refused():
    rng = np.random.default_rng(4)
    masks = (rng.random((200, 10)) < 0.5).repeat(20, axis=1)  # twenty examples join together
    with pytest.raises(InputError, match="overlaps of two masks vary"):
        estimate_linear_share(masks, rng.standard_normal((200, 2)))


@pytest.mark.parametrize(
    ("masks", "outputs", "message"),
    [
        (np.eye(5), np.zeros((4, 1)), "expected"),
        (np.eye(5), np.ones((5, 1)), "no output ever changes"),
        (np.eye(3), np.arange(3.0), "4 or more"),
        (np.ones((5, 6)), np.arange(5.0), "none differ"),
        (np.eye(5), np.array([1, 2, np.nan, 3, 4.0]), r"outputs\[2, 0\]=nan"),
    ],
)
def test_bad_arrays(masks, outputs, message):
    with pytest.raises(InputError, match=message):
        estimate_linear_share(masks, outputs)


def test_command_prints_the_four_shares(run, tmp_path):
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(60), 2)
    masks = (rng.random((60, 30)) < 0.5)[ids]
    margins = (masks @ rng.standard_normal((30, 4)) + rng.standard_normal((120, 4))).astype("f4")
    arrays = {"masks": masks, "margins": margins, "_completed": np.ones(120, bool), "mask_id": ids}
    for key, array in arrays.items():
        np.save(tmp_path / f"{key}.npy", array)
    made = run("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=64",
               "--data.num_val=16", "--cfg.k=20", "--cfg.out_dir=fit")  # fmt: skip
    assert made.returncode == 0, made.stderr
    result = run("evaluation.linear_share", "--share.store=.", "--share.out=share.json",
                 "--share.datamodels=fit/datamodels.pt")  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "120 trainings on 60 masks, 4 targets" in lines[0]
    names = ("noise", "non-linear", "linear but unlearnt", "explained")
    pairs = zip(lines[1:], names, strict=True)
    values = [float(line.removeprefix(name).split()[0]) for line, name in pairs]
    assert sum(values) == pytest.approx(1, abs=2e-3)
    assert 0.6 < values[3] < 1

    def shares(*options):
        said = run("evaluation.linear_share", "--share.store=.", *options)
        return said.returncode, said.stderr, said.stdout.splitlines()

    fit = "--share.datamodels=fit/datamodels.pt"
    held_out, some = "80-119", "80-99"
    part = shares(fit, f"--share.rows={held_out}")[2]
    assert part[-1] == lines[-1]  # explained: of the rows that took no part in the fit, all here
    assert (
        shares(fit, f"--share.rows=0-19,{some}")[2][-1]
        == shares(fit, f"--share.rows={some}")[2][-1]
    )
    status, error, _ = shares(fit, "--share.rows=0-79")
    assert status == 1
    assert "all 80 rows took part in the fit; name others" in error

    (tmp_path / "mask_id.npy").unlink()
    without = run(
        "evaluation.linear_share",
        "--share.store=.",
        f"--share.rows={','.join(map(str, range(0, 120, 2)))}",
    )
    assert "noise and non-linear" in without.stdout
    assert "cannot be told apart" in without.stdout


def test_rows_that_do_not_fit_in_memory_are_refused_before_they_are_read(
    call, tmp_path, monkeypatch
):
    rng = np.random.default_rng(5)
    for key, array in {"masks": rng.random((50, 30)) < 0.5, "margins": rng.random((50, 4)),
                       "_completed": np.ones(50, bool)}.items():  # fmt: skip
        np.save(tmp_path / f"{key}.npy", array)
    monkeypatch.setattr(
        "datamodels.evaluation.linear_share.memory_budget", lambda _: 40 * share_bytes(30, 4)
    )
    refused = call("evaluation.linear_share", f"--share.store={tmp_path}")
    assert refused.returncode == 1
    assert "name at most 40 of them with --share.rows" in refused.stderr
    taken = call("evaluation.linear_share", f"--share.store={tmp_path}", "--share.rows=0-39")
    assert taken.returncode == 0, taken.stderr


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (40, "only 1 of the rows took no part in the fit"),
        (41, "only 2 of the rows"),
        (43, "no output varies over the 4 rows"),
    ],
)
def test_what_too_few_unseen_models_cannot_tell_is_left_open(call, tmp_path, last, reason):
    rng = np.random.default_rng(5)
    masks = rng.random((44, 8)) < 0.5
    margins = (masks @ rng.standard_normal((8, 2)) + rng.standard_normal((44, 2))).astype("f4")
    margins[40:] = 1
    for key, array in {"masks": masks, "margins": margins, "_completed": np.ones(44, bool)}.items():
        np.save(tmp_path / f"{key}.npy", array)
    made = call("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=32",
                "--data.num_val=8", "--cfg.k=5", "--cfg.out_dir=fit")  # fmt: skip
    assert made.returncode == 0, made.stderr
    with pytest.warns(UserWarning, match=reason):
        said = call("evaluation.linear_share", "--share.store=.", "--share.out=share.json",
                    "--share.datamodels=fit/datamodels.pt", f"--share.rows=0-{last}")  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "explained" not in said.stdout
    summary = json.loads((tmp_path / "share.json").read_text(), parse_constant=pytest.fail)
    assert summary["explained"] is None
