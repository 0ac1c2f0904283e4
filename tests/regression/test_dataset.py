import numpy as np
import pytest

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.write_dataset import RegressionDataset, write_dataset
from tests.conftest import assert_fails

N, P, T = 9, 5, 3


@pytest.fixture
def folder(tmp_path):
    """A store as the public code leaves it: arrays alone; rows 0, 2, 3 and 8 are complete."""
    rng = np.random.default_rng(0)
    flags = np.zeros(N, bool)
    flags[[0, 2, 3, 8]] = True
    np.save(tmp_path / "_completed.npy", flags)
    np.save(tmp_path / "masks.npy", rng.random((N, P)) < 0.5)
    np.save(tmp_path / "margins.npy", rng.standard_normal((N, T)).astype(np.float16))
    np.save(tmp_path / "loss.npy", rng.standard_normal(N))
    np.save(tmp_path / "logits.npy", rng.standard_normal((N, T, 2)))
    return tmp_path


def arrays(folder, *keys):
    return [np.load(folder / f"{key}.npy") for key in keys]


def test_complete_rows_in_order_with_their_numbers(folder):
    dataset = RegressionDataset(folder, "margins")
    masks, margins = arrays(folder, "masks", "margins")
    assert dataset.idx.tolist() == [0, 2, 3, 8]
    got = dataset.read(np.array([1, 3]))
    np.testing.assert_array_equal(got[0], masks[[2, 8]])
    np.testing.assert_array_equal(got[1], margins[[2, 8]].astype(np.float32))
    items = [dataset[i] for i in range(len(dataset))]
    np.testing.assert_array_equal([item[0] for item in items], masks[[0, 2, 3, 8]])
    assert [item[2] for item in items] == [0, 2, 3, 8]
    assert items[0][1].dtype == np.float32
    with pytest.raises(IndexError):
        dataset[4]


def test_iterating_ends(folder):
    assert len(list(iter(RegressionDataset(folder, "margins")))) == 4


def test_every_row_when_flags_are_ignored(folder):
    (folder / "_completed.npy").unlink()
    assert len(RegressionDataset(folder, "margins", ignore_completed=True)) == N
    with pytest.raises(MissingFileError, match="_completed"):
        RegressionDataset(folder, "margins")


def test_flags_of_another_name(folder):
    np.save(folder / "done.npy", np.arange(N) == 4)
    assert RegressionDataset(folder, "margins", completed_name="done").idx.tolist() == [4]


def test_one_column_and_one_dimension(folder):
    margins, loss = arrays(folder, "margins", "loss")
    column = RegressionDataset(folder, "margins", y_slice=1, ignore_completed=True)
    np.testing.assert_array_equal(column.read(np.arange(N))[1][:, 0], margins[:, 1])
    flat = RegressionDataset(folder, "loss", ignore_completed=True)
    assert flat.n_targets == 1
    np.testing.assert_array_equal(flat.read(np.arange(N))[1][:, 0], loss)


@pytest.mark.parametrize(
    ("names", "options", "error", "needle"),
    [
        (("margins",), {"y_slice": 3}, UsageError, "0 to 2"),
        (("margins",), {"y_slice": -2}, UsageError, "0 to 2"),
        (("loss",), {"y_slice": 1}, UsageError, "has 1 columns"),
        (("loss",), {"y_slice": -2}, UsageError, "has 1 columns"),
        (("margin",), {}, MissingFileError, "did you mean 'margins'"),
        (("other",), {}, MissingFileError, "it holds logits, loss, margins, masks"),
        (("margins", "logits"), {}, InputError, r"logits have shape \(9, 3, 2\)"),
        (("margins", "loss"), {}, InputError, r"loss have shape \(9,\)"),
        (("logits",), {}, InputError, r"logits have shape"),
    ],
)
def test_arrays_that_cannot_be_regressed_are_named(folder, names, options, error, needle):
    with pytest.raises(error, match=needle):
        RegressionDataset(folder, *names, **options)


def test_a_store_without_a_complete_row(folder):
    np.save(folder / "_completed.npy", np.zeros(N, bool))
    with pytest.raises(InputError, match="no complete row"):
        RegressionDataset(folder, "margins")


def test_arrays_of_unequal_length(folder):
    np.save(folder / "loss.npy", np.zeros(N - 1))
    with pytest.raises(InputError, match="masks have 9 rows and loss 8"):
        RegressionDataset(folder, "loss")
    np.save(folder / "_completed.npy", np.ones(N + 1, bool))
    with pytest.raises(InputError, match="10 flags"):
        RegressionDataset(folder, "margins")


def test_write_dataset_writes_what_the_store_holds(folder, tmp_path):
    write_dataset(folder, tmp_path / "a.beton", "margins")
    beton = BetonFile.open(tmp_path / "a.beton")
    masks, margins = arrays(folder, "masks", "margins")
    assert beton.idx.tolist() == [0, 2, 3, 8]
    got = beton.read(slice(None))
    np.testing.assert_array_equal(got[0], masks[beton.idx])
    np.testing.assert_array_equal(got[1], margins[beton.idx].astype(np.float32))


def test_write_dataset_command(run, folder, tmp_path):
    options = [f"--cfg.data_dir={folder}", "--cfg.y_name", "margins"]
    out = tmp_path / "a.beton"
    written = run("regression.write_dataset", *options, f"--cfg.out_path={out}")
    assert written.returncode == 0, written.stderr
    assert "4 rows" in written.stdout
    before = out.read_bytes()
    assert_fails(run("regression.write_dataset", *options, f"--cfg.out_path={out}"), 1, "exists")
    assert out.read_bytes() == before
    every = run("regression.write_dataset", *options, f"--cfg.out_path={tmp_path / 'b.beton'}",
                "--cfg.ignore_completed", "--cfg.y_slice=2")  # fmt: skip
    assert every.returncode == 0, every.stderr
    beton = BetonFile.open(tmp_path / "b.beton")
    assert (beton.n_rows, beton.n_targets) == (N, 1)


@pytest.mark.parametrize(
    ("damage", "needle"),
    [
        (lambda f: (f / "masks.npy").unlink(), "no array 'masks'"),
        (lambda f: (f / "masks.npy").write_bytes((f / "masks.npy").read_bytes()[:-1]), "truncated"),
        (lambda f: np.save(f / "_completed.npy", np.zeros(N, bool)), "no complete row"),
        (lambda f: np.save(f / "masks.npy", np.zeros((N, 2, 2))), "(9, 2, 2)"),
        (lambda f: np.save(f / "margins.npy", np.full((N, T), np.nan)), "row 0"),
        (lambda f: np.save(f / "margins.npy", np.where(np.arange(N)[:, None] == 8, np.inf, 0.0)),
         "row 8, target 0"),
        (lambda f: np.save(f / "margins.npy", np.array([{}] * N)), "Python objects"),
    ],
)  # fmt: skip
def test_bad_stores_leave_no_beton(run, folder, damage, needle):
    damage(folder)
    result = run("regression.write_dataset", f"--cfg.data_dir={folder}", "--cfg.y_name=margins",
                 f"--cfg.out_path={folder / 'a.beton'}")  # fmt: skip
    assert_fails(result, 1, needle)
    assert not [path for path in folder.iterdir() if "beton" in path.name]


def test_outputs_keep_their_digits_until_a_beton_rounds_them(folder):
    np.save(folder / "loss.npy", 1e6 + np.arange(N) / 1000)
    dataset = RegressionDataset(folder, "loss", ignore_completed=True)
    np.testing.assert_array_equal(dataset.read(np.arange(N))[1][:, 0], np.load(folder / "loss.npy"))
    np.save(folder / "loss.npy", np.full(N, 1e100))
    with pytest.raises(InputError, match=r"row 0, target 0, are 1e\+100"):
        write_dataset(folder, folder / "a.beton", "loss")
    assert not (folder / "a.beton").exists()


def test_bools_of_any_byte_are_true(folder):
    masks = np.load(folder / "masks.npy")
    np.save(folder / "masks.npy", (masks * np.uint8(255)).view(bool))
    got, _ = RegressionDataset(folder, "margins", ignore_completed=True).read(np.arange(N))
    np.testing.assert_array_equal(got.view(np.uint8), masks)
