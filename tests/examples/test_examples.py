"""The examples, run as the README says."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from datamodels import Datamodels
from datamodels.training import Store
from tests.conftest import ROOT

BIN = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120


def shell(*words, **settings):
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PATH": BIN}, capture_output=True, text=True, **settings
    )


def test_minimal_example():
    result = shell("bash", "examples/minimal/example.sh")
    assert result.returncode == 0, result.stderr
    assert "1 of 10 rows are complete" in result.stdout


def test_minimal_check_finds_a_wrong_row_and_an_empty_store(tmp_path):
    def python(*words):
        return shell(sys.executable, "-m", *words)

    store = f"--logging.logdir={tmp_path / 's'}"
    python("datamodels.training.initialize_store", store,
           "--logging.spec=examples/minimal/spec.json")  # fmt: skip
    check = ["examples.minimal.check", f"--checking.logdir={tmp_path / 's'}"]
    assert python(*check, "--trainer.multiple=2").returncode == 1
    made = python("datamodels.worker", "--worker.index=0", f"--worker.logdir={tmp_path / 's'}",
                  "--worker.main_import=examples.minimal.train_minimal",
                  "--trainer.multiple=2")  # fmt: skip
    assert made.returncode == 0, made.stderr
    row = np.load(tmp_path / "s" / "random_numbers.npy")[0]
    assert row.dtype == np.uint8
    assert (row == 2).all()
    assert row.shape == (256,)
    assert python(*check, "--trainer.multiple=2").returncode == 0
    assert python(*check, "--trainer.multiple=3").returncode == 1
    assert python(*check).returncode == 0  # 2 unless said otherwise


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The digits demo with few models, run twice."""
    out = tmp_path_factory.mktemp("demo")
    words = [sys.executable, "-m", "examples.digits.demo", f"--demo.out={out}", "--demo.models=70"]
    first = shell(*words)
    rows = np.load(out / "store" / "margins.npy")
    (out / "report.png").rename(out / "first.png")
    return out, first, rows, shell(*words)


def test_the_demo_ends_by_naming_its_report(demo):
    out, first, _, again = demo
    for result in (first, again):
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.splitlines()[-1].endswith(f"The report: {out / 'report.html'}")
        assert "LDS 0." in result.stdout
    assert (out / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (out / "report.html").read_text()
    assert "Datamodels of the digits</title>" in page
    assert '"curve":{"n_models":[50,' in page


def test_started_again_it_goes_on_where_it_was(demo):
    out, _, rows, again = demo
    assert "Train no more networks" in again.stdout
    for made in ("datamodels", "learning_curve"):
        assert f"{out / made} is there already" in again.stdout
    np.testing.assert_array_equal(rows, np.load(out / "store" / "margins.npy"))


def test_the_questions_of_the_readme_are_answered_as_written(demo):
    out, *_ = demo
    text = (ROOT / "README.md").read_text()
    (block,) = (part for part in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
                if "--counterfactuals.out" in part)  # fmt: skip
    for written, smaller in (("demo/", f"{out}/"), ("num_train=1280", "num_train=45"),
                             ("num_val=320", "num_val=11"), ("rows=0-1599", "rows=0-55"),
                             ("rows=1600-1999", "rows=56-69"),
                             ("--counterfactuals.out", "--counterfactuals.sizes=5 "
                              "--counterfactuals.repeats=1 --counterfactuals.out")):  # fmt: skip
        assert written in block, written
        block = block.replace(written, smaller)
    result = shell("bash", "-euc", block)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "it is not known" not in result.stderr
    names = ("curve", "removed-read", "clusters", "own", "influence.npz", "ridge", "all.html")
    assert all((out / name).exists() for name in names)


def test_the_networks_learn_and_the_datamodels_fit(demo):
    out, *_ = demo
    store = Store.open(out / "store")
    assert store.completed.all()
    assert store["accuracy"][:].mean() > 0.9
    masks = store["masks"][:]
    assert (masks.sum(axis=1) == 718).all()
    assert len(np.unique(masks, axis=0)) == 70
    assert Datamodels.load(out / "datamodels" / "datamodels.pt").weight.shape == (1437, 360)


def test_a_row_is_a_function_of_its_index_alone(demo, tmp_path):
    """Row 7 of a fresh store, made alone, is row 7 of the demo's."""
    out, *_ = demo
    shell(sys.executable, "-m", "datamodels.training.initialize_store",
          f"--logging.logdir={tmp_path}", f"--logging.spec={out / 'spec.json'}")  # fmt: skip
    done = shell(sys.executable, "-m", "datamodels.training.worker", "--worker.index=7",
                 f"--worker.logdir={tmp_path}",
                 "--worker.main_import=examples.digits.train_digits")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for key in ("masks", "margins", "train_margins"):
        here, there = (np.load(folder / f"{key}.npy")[7] for folder in (tmp_path, out / "store"))
        # 32 networks at once round otherwise than one; margins are float16
        np.testing.assert_allclose(here, there, rtol=2e-3, atol=2e-3)
