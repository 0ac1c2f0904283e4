"""The commands of the analysis. Most calls are within this process, as every new one takes
seconds to load torch; one of each command is as a user makes it."""

import csv
import json

import numpy as np
import pytest

from datamodels import Datamodels
from tests.analysis.conftest import as_datamodels, sparse_noise
from tests.conftest import assert_fails


@pytest.fixture
def folder(tmp_path, monkeypatch, two_groups):
    """``a.pt`` (60, 40), ``own.pt`` (60, 60) with self-influence, labels and images."""
    monkeypatch.chdir(tmp_path)
    two_groups.save(tmp_path / "a.pt")
    own = 0.1 * sparse_noise(60, 60) + np.eye(60)
    own[7, 7], own[7, ::2] = 9, -1
    own[20, 5] = 30
    as_datamodels(own).save(tmp_path / "own.pt")
    np.save(tmp_path / "labels.npy", np.arange(60) // 20)
    np.save(tmp_path / "test_labels.npy", np.array([f"t{i % 2}" for i in range(40)]))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (60, 6, 5, 3)).astype(np.uint8))
    return tmp_path


def test_top_lists_what_datamodels_top_says(run, call, folder):
    options = ["--top.datamodels=a.pt", "--top.targets=3,0", "--top.k=4"]
    labels = ["--top.labels=labels.npy", "--top.test_labels=test_labels.npy"]
    found = json.loads(call("analysis.top", *options, *labels, "--json").stdout)
    assert [(entry["target"], entry["label"]) for entry in found] == [(3, "t1"), (0, "t0")]
    datamodels = Datamodels.load(folder / "a.pt")
    for entry in found:
        for effect, ranked in zip(
            ("helpful", "harmful"), datamodels.top(entry["target"], 4), strict=True
        ):
            assert [e["example"] for e in entry[effect]] == ranked.examples.tolist()
            assert [np.float32(e["weight"]) for e in entry[effect]] == ranked.weights.tolist()
            assert [e["label"] for e in entry[effect]] == (ranked.examples // 20).tolist()
    lines = list(csv.DictReader(call("analysis.top", *options, "--csv").stdout.splitlines()))
    assert len(lines) == 16
    first = found[0]["helpful"][0]
    assert lines[0] == {"target": "3", "target_label": "", "effect": "helpful", "rank": "1",
                        "example": str(first["example"]), "weight": str(first["weight"]),
                        "label": ""}  # fmt: skip
    table = run("analysis.top", *options, *labels)
    assert table.returncode == 0
    assert "target 3, label t1" in table.stdout
    assert f"{first['weight']:+.3g}" in table.stdout


@pytest.mark.parametrize(
    ("options", "status", "needle"),
    [
        (["--top.targets=40"], 2, "40 is not in"),
        (["--top.targets=0", "--top.k=0"], 2, "k=0"),
        (["--top.targets=0", "--csv", "--json"], 2, "one of them"),
        (["--top.targets=0", "--top.labels=test_labels.npy"], 1, "(60,)"),
    ],
)
def test_top_refuses(call, folder, options, status, needle):
    assert_fails(call("analysis.top", "--top.datamodels=a.pt", *options), status, needle)


SMALL = ["--clusters.datamodels=a.pt", "--clusters.components=3", "--clusters.n_clusters=2",
         "--clusters.shown=0-1"]  # fmt: skip


def test_clusters_writes_tables_and_a_picture(run, call, folder):
    options = [*SMALL, "--clusters.images=images.npy", "--clusters.labels=labels.npy",
               "--clusters.title=Two groups", "--clusters.k=20"]  # fmt: skip
    result = run("analysis.clusters", *options, "--clusters.out=out")
    assert result.returncode == 0, result.stderr
    assert "wrote out" in result.stdout
    arrays = np.load(folder / "out" / "components.npz")
    assert arrays["scores"].shape == (60, 3)
    assert arrays["directions"].shape == (40, 3)
    ends = np.argsort(arrays["scores"][:, 0])
    assert {frozenset(ends[:20]), frozenset(ends[-20:])} == {
        frozenset(range(20)),
        frozenset(range(20, 40)),
    }
    table = list(csv.DictReader((folder / "out" / "clusters.csv").read_text().splitlines()))
    assert [int(line["label"]) for line in table] == [j // 20 for j in range(60)]
    clusters = [int(line["cluster"]) for line in table]
    assert clusters == arrays["clusters"].tolist()
    assert len(set(clusters[:20])) == len(set(clusters[20:40])) == 1
    assert clusters[0] != clusters[20]
    assert (folder / "out" / "clusters.png").read_bytes().startswith(b"\x89PNG")
    assert_fails(call("analysis.clusters", *options, "--clusters.out=out"), 1, "exists already")


def test_clusters_come_out_the_same_again_and_without_images(call, folder):
    pictures = []
    for out in ("one", "two"):
        result = call("analysis.clusters", *SMALL, "--clusters.of=targets", f"--clusters.out={out}")
        assert result.returncode == 0, result.stderr
        pictures.append((folder / out / "clusters.png").read_bytes())
    assert pictures[0] == pictures[1]
    one, two = (np.load(folder / out / "components.npz") for out in ("one", "two"))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert one["scores"].shape == (40, 3)


@pytest.mark.parametrize(
    ("options", "status", "needle"),
    [
        (["--clusters.of=tests"], 2, "one of train, targets"),
        (["--clusters.map=umap"], 2, "one of auto, tsne, pca"),
        (["--clusters.shown=3"], 2, "component 3"),
        (["--clusters.exclude_own"], 2, "40 targets are not the 60"),
        (["--clusters.images=labels.npy"], 1, "(60, h, w)"),
        (["--clusters.components=40"], 2, "1 to 39 components"),
    ],
)
def test_clusters_refuses_and_leaves_nothing(call, folder, options, status, needle):
    before = sorted(folder.iterdir())
    assert_fails(call("analysis.clusters", *SMALL, "--clusters.out=out", *options), status, needle)
    assert sorted(folder.iterdir()) == before


def test_leakage_lists_the_planted_pair(run, call, folder):
    options = ["--leakage.datamodels=own.pt", "--leakage.exclude_own"]
    options.append("--leakage.expected=0.001")
    result = run("analysis.leakage", *options, "--leakage.out=pairs.csv")
    assert result.returncode == 0, result.stderr
    (line,) = csv.DictReader((folder / "pairs.csv").read_text().splitlines())
    assert (line["example"], line["target"]) == ("20", "5")
    assert float(line["expected"]) < 0.001
    assert "1 pairs so large that fewer than 0.001" in result.stdout
    listed = call("analysis.leakage", *options, "--leakage.n=7").stdout
    assert len(listed.partition("excess:")[0].splitlines()) == 9
    with_own = call("analysis.leakage", "--leakage.datamodels=own.pt")
    assert "of an example with itself" in with_own.stderr
    assert "of an example with itself" not in call("analysis.leakage", *options).stderr
    assert_fails(call("analysis.leakage", *options, "--leakage.n=0"), 2, "n=0")
    assert_fails(call("analysis.leakage", *options, "--leakage.expected=0"), 2, "expected=0")
    assert_fails(call("analysis.leakage", *options, "--leakage.out=pairs.csv"), 1, "exists")


def test_estimates_are_scored_as_they_are_written_and_no_datamodels(call, folder):
    rng = np.random.default_rng(0)
    masks = rng.random((50, 12)) < 0.5
    arrays = {
        "masks": masks,
        "margins": masks @ rng.normal(size=(12, 5)),
        "_completed": [True] * 50,
    }
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    made = call("analysis.influence", "--influence.data_path=.", "--influence.out=inf.npz")
    assert made.returncode == 0, made.stderr
    assert "by chance" in made.stdout
    scored = call("evaluation.lds", "--lds.scores=inf.npz", "--lds.store=.")
    assert scored.stdout.startswith("LDS 0.")
    np.savez(folder / "other.npz", weights=np.ones(3))
    assert_fails(call("evaluation.lds", "--lds.scores=other.npz", "--lds.store=."), 1,
                 "no .npz file with an array weight")  # fmt: skip
    refused = call("analysis.compare", "--compare.a=a.pt", "--compare.b=inf.npz")
    assert_fails(refused, 1, "inf.npz is not a whole file of torch.save: a .npz file holds")
    assert_fails(call("evaluation.lds", "--lds.scores=inf.npz", "--lds.store=.", "--lds.targets=0"),
                 2, "--lds.targets is no option of this command")  # fmt: skip


def test_mislabelled_lists_the_planted_example(run, call, folder):
    options = ["--mislabelled.own=own.pt", "--mislabelled.labels=labels.npy"]
    result = run("analysis.mislabelled", *options, "--mislabelled.n=3", "--mislabelled.out=s.csv")
    assert result.returncode == 0, result.stderr
    lines = list(csv.DictReader((folder / "s.csv").read_text().splitlines()))
    assert len(lines) == 60
    assert (lines[0]["example"], lines[0]["label"]) == ("7", "0")
    assert float(lines[0]["self_influence"]) == 9
    assert "the 3 likeliest of 60" in result.stdout
    test_only = call("analysis.mislabelled", "--mislabelled.test=a.pt")
    assert "self_influence" not in test_only.stdout
    assert_fails(call("analysis.mislabelled", "--mislabelled.own=a.pt"), 1, "40 targets")


def test_compare_says_what_there_is_of_datamodels_without_weights_or_of_one_target(call, folder):
    a = Datamodels.load(folder / "a.pt")
    for name, weight, n in (("zero", 0 * a.weight, None), ("one", a.weight[:, :1], 1)):
        Datamodels(weight, a.bias[:n], a.lam[:n]).save(folder / f"{name}.pt")
    zero = call(
        "analysis.compare", "--compare.a=a.pt", "--compare.b=zero.pt", "--compare.out=d.npz"
    )
    assert zero.returncode == 0, zero.stderr
    n = a.n_targets
    assert f"{n} targets, {n} of them without weights in A or in B" in zero.stdout
    assert "direction 0:" in zero.stdout
    assert zero.stdout.count("nothing to list: all of its weights are zero") == 1
    with np.load(folder / "d.npz") as arrays:
        assert arrays["b_without_a_directions"].shape == (a.n_train_examples, 0)
    level = a.weight.copy()
    level[:, 0] = 0.5  # ranks that are all equal
    Datamodels(level, a.bias, a.lam).save(folder / "level.pt")
    level = call("analysis.compare", "--compare.a=a.pt", "--compare.b=level.pt")
    assert level.returncode == 0, level.stderr
    assert "nan" not in level.stdout
    one = call("analysis.compare", "--compare.a=one.pt", "--compare.b=one.pt")
    assert one.returncode == 0, one.stderr
    assert "rank correlation 1.000 in the median" in one.stdout
    assert one.stdout.count("points the same way as the other") == 2
    asked = call("analysis.compare", "--compare.a=one.pt", "--compare.b=one.pt",
                 "--compare.components=1")  # fmt: skip
    assert_fails(asked, 2, "n_components=1", "leave it out")


def test_compare_writes_both_residuals(run, call, folder):
    rng = np.random.default_rng(1)
    weight = Datamodels.load(folder / "a.pt").weight.copy()
    weight[40:50] += 3
    weight += 0.01 * rng.standard_normal(weight.shape)
    as_datamodels(weight).save(folder / "b.pt")
    options = ["--compare.a=a.pt", "--compare.b=b.pt", "--compare.components=2"]
    result = run("analysis.compare", *options, "--compare.k=10", "--compare.labels=labels.npy",
                 "--compare.out=d.npz")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "what B has and A lacks" in result.stdout
    arrays = np.load(folder / "d.npz")
    direction = arrays["b_without_a_directions"][:, 0]
    assert set(np.argsort(-direction)[:10]) == set(range(40, 50))
    assert arrays["cosine"].shape == (40,)
    assert_fails(call("analysis.compare", "--compare.a=a.pt", "--compare.b=own.pt"), 1, "same")
    assert_fails(call("analysis.compare", *options, "--compare.out=d.txt"), 2, ".npz")


@pytest.mark.parametrize("estimator", ["difference", "ridge"])
def test_influence_writes_estimates_of_a_store(run, call, monkeypatch, tmp_path, estimator):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    masks = rng.random((70, 6)) < 0.5
    margins = (masks @ rng.standard_normal((6, 4)) + 1).astype(np.float32)
    flags = np.ones(70, bool)
    flags[[3, 60]] = False
    for key, array in {"masks": masks, "margins": margins, "_completed": flags}.items():
        np.save(tmp_path / f"{key}.npy", array)
    options = ["--influence.data_path=.", f"--influence.estimator={estimator}"]
    few = ["--influence.rows=10-49", "--influence.target_start_ind=1"]
    result = run("analysis.influence", *options, *few, "--influence.out=e.npz")
    assert result.returncode == 0, result.stderr
    arrays = np.load(tmp_path / "e.npz")
    assert arrays["weight"].shape == arrays["standard_error"].shape == (6, 3)
    assert arrays["n_models"] == 40
    if estimator == "difference":
        rows = slice(10, 50)
        expected = [
            margins[rows][masks[rows, j], 1:].mean(axis=0)
            - margins[rows][~masks[rows, j], 1:].mean(axis=0)
            for j in range(6)
        ]
        np.testing.assert_allclose(arrays["weight"], expected, atol=1e-5)
    assert call("analysis.influence", *options, "--influence.out=all.npz").returncode == 0
    assert np.load(tmp_path / "all.npz")["n_models"] == 68
    for wrong, status, needle in (
        (["--influence.rows=0-5"], 1, "row 3"),
        (["--influence.out=e.txt"], 2, ".npz"),
        (["--influence.estimator=mean"], 2, "difference, ridge"),
        (["--influence.memory_gb=1e-9"], 1, "memory_gb"),
        (["--influence.lam=-1"], 2, "lam"),
    ):
        assert_fails(
            call("analysis.influence", *options, "--influence.out=x.npz", *wrong), status, needle
        )
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("estimator", ["difference", "ridge"])
def test_influence_averages_repeated_trainings_of_a_mask(call, tmp_path, estimator):
    """Estimates and errors are those of the means, a row a mask: to repeat a mask is no new one."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 4, 40)))
    masks = rng.random((40, 6)) < 0.5
    margins = (masks @ rng.standard_normal((6, 4)))[ids] + rng.standard_normal((len(ids), 4))
    means = np.stack([margins[ids == i].mean(axis=0) for i in np.unique(ids)])
    for store, arrays in (
        ("all", {"masks": masks[ids], "margins": margins, "mask_id": ids}),
        ("means", {"masks": masks[np.unique(ids)], "margins": means}),
    ):
        (tmp_path / store).mkdir()
        for key, array in {**arrays, "_completed": np.ones(len(arrays["masks"]), bool)}.items():
            np.save(tmp_path / store / f"{key}.npy", array)
        options = [f"--influence.data_path={store}", f"--influence.estimator={estimator}"]
        said = call("analysis.influence", *options, f"--influence.out={store}.npz")
        assert said.returncode == 0, said.stderr
        if store == "all":
            assert f"{len(means)} masks (mean outputs of {len(ids)} trainings)" in said.stdout
    found, expected = (np.load(tmp_path / f"{store}.npz") for store in ("all", "means"))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    wrong = masks[ids].copy()
    wrong[np.flatnonzero(ids == np.argmax(np.bincount(ids)))[1]] ^= True
    np.save(tmp_path / "all" / "masks.npy", wrong)
    refused = call("analysis.influence", "--influence.data_path=all", "--influence.out=x.npz")
    assert_fails(refused, 1, "have the same mask_id and other masks")


def test_a_lacking_package_names_the_line_to_type(run, folder):
    (folder / "scipy").mkdir()
    (folder / "scipy" / "__init__.py").write_text("raise ImportError\n")
    result = run("analysis.leakage", "--leakage.datamodels=a.pt")
    assert_fails(result, 1, "pip install 'datamodels[analysis]'")
