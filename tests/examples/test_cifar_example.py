"""The CIFAR-10 example from images to report, on coloured shapes."""

import json

import numpy as np
import pytest
import torch

from datamodels import Datamodels
from datamodels.training import Spec, Store, subset_mask
from examples.cifar10.images import read_images, save_images
from tests.conftest import ROOT, assert_fails
from tests.examples.coloured_shapes import coloured_shapes
from tests.examples.test_examples import shell

OPTIONS = (
    "--models=30", "--classes=disc,square", "--per-class=20,6", "--training.width=2",
    "--training.epochs=3", "--training.lr_peak_epoch=1", "--training.batch_size=8",
    "--training.lr=0.2", "--launch.workers=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    save_images(folder / "train.npz", coloured_shapes(60, classes=3))
    save_images(folder / "test.npz", coloured_shapes(18, classes=3, seed=1))
    return folder


@pytest.fixture(scope="module")
def made(images):
    """The example stopped after training, say, and gone on with: what it made, and what it said."""
    out = images / "out"
    words = ["bash", "examples/cifar10/example.sh", "--small", *OPTIONS, str(images), str(out)]
    first = shell(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    rows = np.load(out / "store" / "margins.npy")
    (out / "report.html").unlink()
    return out, first, rows, shell(*words)


def test_it_ends_by_naming_its_report(made):
    out, first, _, again = made
    for result in (first, again):
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.splitlines()[-1] == f"The report: {out / 'report.html'}"
        assert "LDS" in result.stdout
        assert "test accuracy" in result.stdout
    page = (out / "report.html").read_text()
    assert "Datamodels of images</title>" in page
    assert "square" in page


def test_started_again_it_goes_on_where_it_was(made):
    out, _, rows, again = made
    np.testing.assert_array_equal(rows, np.load(out / "store" / "margins.npy"))
    assert "nothing is left to do" in again.stdout


def test_the_store_is_of_the_images_at_hand(made):
    out, *_ = made
    spec = json.loads((out / "spec.json").read_text())
    assert spec["num_models"] == 30
    store = Store.open(out / "store")
    assert store.completed.all()
    assert store["margins"].shape == (30, 12)
    assert store["margins"].dtype == np.float16
    for row, mask in enumerate(store["masks"]):
        np.testing.assert_array_equal(mask, subset_mask(row, 40, alpha=0.5, seed=0))
    assert len(np.unique(store["margins"], axis=0)) == 30
    weight = Datamodels.load(out / "regression" / "reg_results" / "datamodels.pt").weight
    assert weight.shape == (40, 12)


def test_a_row_made_alone_is_the_same(made, tmp_path):
    """With repeats, too: row 14 then has the subset of row 7, and a mask_id where that is kept."""
    out, *_ = made
    spec = json.loads((out / "spec.json").read_text())
    spec["schema"] |= {
        "mask_id": {"shape": [], "dtype": "int64"},
        "accuracy": {"shape": [], "dtype": "float32"},
        "train_margins": {"shape": [40], "dtype": "float16"},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    made_store = shell("python", "-m", "datamodels.training.initialize_store",
                       f"--logging.logdir={tmp_path}",
                       f"--logging.spec={tmp_path / 'spec.json'}")  # fmt: skip
    assert made_store.returncode == 0, made_store.stderr
    worker = ["env", "OMP_NUM_THREADS=1", "python", "-m", "datamodels.training.worker",
              f"--worker.logdir={tmp_path}",
              "--worker.main_import=examples.cifar10.train_cifar",
              f"--data.train_dataset={out / 'cifar_train.npz'}",
              f"--data.val_dataset={out / 'cifar_test.npz'}",
              *(word for word in OPTIONS if word.startswith("--training."))]  # fmt: skip
    alone = shell(*worker, "--worker.index=7")
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_array_equal(
        np.load(tmp_path / "margins.npy")[7], np.load(out / "store" / "margins.npy")[7]
    )
    repeated = shell(*worker, "--worker.indices=14,15", "--training.repeats=2",
                     "--training.margin=logsumexp", "--training.lr_tta=False")  # fmt: skip
    assert repeated.returncode == 0, repeated.stderr
    store = Store.open(tmp_path)
    for row in (14, 15):
        np.testing.assert_array_equal(store["masks"][row], store["masks"][7])
        assert store["mask_id"][row] == 7
    assert (store["margins"][14] != store["margins"][15]).any()
    labels = read_images(out / "cifar_test.npz").labels
    assert store["accuracy"][7] == pytest.approx(np.mean(store["margins"][7] > 0))
    assert len(labels) == 12


def test_options_that_are_wrong_say_so(images, made, tmp_path):
    script = ["bash", "examples/cifar10/example.sh"]
    out, *_ = made
    assert_fails(shell(*script), 2, "usage: bash examples/cifar10/example.sh")
    assert_fails(shell(*script, "--smal", str(images)), 2, "unknown option --smal", "usage:")
    assert_fails(shell(*script, str(images / "nowhere")), 2, "does not exist", "curl")
    assert_fails(shell(*script, "--models=ten", str(images)), 2, "--models=ten is no number")
    assert_fails(shell(*script, "--models=9", str(images)), 2, "must be at least 25")
    fewer = [option for option in OPTIONS if not option.startswith("--models")]
    result = shell(*script, "--small", "--models=31", *fewer, str(images), str(out))
    assert_fails(result, 1, "made with other words")
    assert not (ROOT / "cifar_small").exists()


def test_wrong_values_are_refused_before_the_first_row(tmp_path):
    Store.create(tmp_path, Spec.read(ROOT / "examples" / "cifar10" / "spec.json"), reserve=False)
    launch = ["python", "-m", "datamodels.training.launch", f"--launch.logdir={tmp_path}",
              "--launch.main_import=examples.cifar10.train_cifar",
              "--launch.workers=1"]  # fmt: skip
    wrong = ("--training.epochs=0", "--training.precision=float8", "--training.lr=fast")
    assert_fails(
        shell(*launch, *wrong), 2,
        "--training.epochs=0 is not an integer of at least 1: passes through the subset",
        "--training.precision=float8 is not auto or float32 or bfloat16 or float16",
        "--training.lr=fast is not a number above 0: highest learning rate",
    )  # fmt: skip
    assert not list(tmp_path.rglob("error.txt"))


def test_the_spec_of_the_example_is_the_public_one():
    spec = json.loads((ROOT / "examples" / "cifar10" / "spec.json").read_text())
    assert spec == {
        "num_models": 100,
        "schema": {
            "masks": {"shape": [50000], "dtype": "bool_"},
            "margins": {"shape": [10000], "dtype": "float16"},
        },
    }


def test_regression_of_a_store_with_the_file_of_the_example(tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.random((100, 30)) < 0.5
    np.save(tmp_path / "masks.npy", masks)
    np.save(tmp_path / "margins.npy", (masks[:, :4] + rng.normal(0, 0.1, (100, 4))).astype("f2"))
    np.save(tmp_path / "_completed.npy", np.ones(100, bool))
    for _ in range(2):
        result = shell("bash", "examples/cifar10/example_reg.sh", str(tmp_path))
        assert result.returncode == 0, result.stderr
    saved = torch.load(tmp_path / "regression" / "reg_results" / "datamodels.pt", weights_only=True)
    assert saved["weight"].shape == (30, 4)


def test_rows_trained_after_a_file_was_written_come_into_a_new_one(tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.random((100, 30)) < 0.5
    np.save(tmp_path / "masks.npy", masks)
    np.save(tmp_path / "margins.npy", (masks[:, :4] + rng.normal(0, 0.1, (100, 4))).astype("f2"))
    np.save(tmp_path / "_completed.npy", np.arange(100) < 60)
    regress = ["bash", "examples/cifar10/example_reg.sh", str(tmp_path)]
    assert_fails(shell(*regress), 1, "60")
    np.save(tmp_path / "_completed.npy", np.ones(100, bool))
    result = shell(*regress)
    assert result.returncode == 0, result.stderr
    assert "writing it anew" in result.stdout
    written = (tmp_path / "regression" / "reg_data.beton").stat().st_mtime_ns
    (tmp_path / "_completed.npy").touch()
    assert shell(*regress).returncode == 0  # the results are of that file: it stays
    assert (tmp_path / "regression" / "reg_data.beton").stat().st_mtime_ns == written
