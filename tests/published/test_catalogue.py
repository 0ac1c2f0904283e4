import subprocess
import sys

import numpy as np
import pytest

from datamodels.errors import UsageError
from datamodels.npy_file import header_bytes
from datamodels.published.catalogue import GIB, find, published_files
from datamodels.published.evaluation_rows import EvaluationRows
from datamodels.published.selection import Rows, select
from tests.conftest import ROOT


def test_the_published_totals_follow_from_the_shapes():
    files = [file for file in published_files() if not file.reported_missing]
    assert sum(file.cost for file in files) == pytest.approx(374, rel=0.005)
    assert sum(f.cost for f in files if f.kind != "logits") == pytest.approx(53, rel=0.03)
    weights = [file for file in files if file.kind == "datamodels"]
    total = {
        name: sum(f.size for f in weights if f.dataset == name) / GIB for name in ("cifar", "fmow")
    }
    assert total["cifar"] == pytest.approx(16.9, abs=0.2)
    assert total["fmow"] == pytest.approx(0.75, abs=0.005)


def test_the_size_of_an_array_is_that_of_the_file_numpy_writes(tmp_path):
    for file in published_files():
        if file.is_array:
            few = (2, *file.shape[1:2])
            np.save(tmp_path / "few.npy", np.zeros(few, file.dtype))
            header = (tmp_path / "few.npy").stat().st_size - 2 * few[1] * file.dtype.itemsize
            assert len(header_bytes(file.shape, file.dtype)) == header == 128


def test_every_file_is_found_under_its_own_key():
    keys = set()
    for file in published_files():
        assert find(file.dataset, file.alpha, file.kind, file.split) == file
        keys.add(file.key)
    assert len(keys) == len(published_files())
    assert "cifar/data/train_masks_50pct.npy" in keys
    assert "fmow/datamodels/test_20pct.pt" in keys
    assert find("cifar", 0.1, "logits", "train").shape == (1_510_000, 50_000, 10)


@pytest.mark.parametrize(
    ("wanted", "needle"),
    [
        (("imagenet", 0.5, "masks"), "there are cifar, fmow"),
        (("cifra", 0.5, "masks"), "did you mean 'cifar'"),
        (("fmow", 0.1, "masks"), "there are 0.2, 0.5, 0.75"),
        (("fmow", 0.5, "logits"), "there are masks, margins, datamodels"),
        (("cifar", 0.5, "masks", "test"), "there are train"),
    ],
)
def test_what_was_not_published_is_refused_with_what_was(wanted, needle):
    with pytest.raises(UsageError, match=needle):
        find(*wanted)


def test_a_selection_is_the_product_of_its_lists():
    assert select(None, None, None, None) == list(published_files())
    assert select("all", "all", "all", "all") == list(published_files())
    chosen = select("cifar", "0.5,0.1", "masks,margins", "test")
    assert {file.key for file in chosen} == {
        f"cifar/data/{name}_{pct}pct.npy"
        for name in ("train_masks", "test_margins")
        for pct in (10, 50)
    }
    assert {file.dataset for file in select("all", "0.1", "masks", None)} == {"cifar"}
    for wrong in ({"kinds": "mask"}, {"splits": "val"}, {"alpha": "half"}, {"dataset": ""}):
        with pytest.raises(UsageError):
            select(**{"dataset": None, "alpha": None, "kinds": None, "splits": None} | wrong)


def test_rows_are_inclusive_ranges():
    assert Rows("0-2,5,6,evaluation").of(20, EvaluationRows("last", 4), "x") == [
        (0, 3),
        (5, 7),
        (16, 20),
    ]
    for wrong in ("", "3-1", "a", "-1", "1-", "evaluations"):
        with pytest.raises(UsageError):
            Rows(wrong)
    with pytest.raises(UsageError, match="rows 0 to 19"):
        Rows("20").of(20, EvaluationRows("last", 4), "x")
    with pytest.raises(UsageError, match="n_evaluation=4: the files have 4 rows"):
        Rows("evaluation").of(4, EvaluationRows("last", 4), "x")


def test_the_package_imports_nothing_heavy():
    code = (
        "import sys, datamodels.published; print(*sorted(set(sys.modules) & "
        "{'torch', 'numba', 'numpy', 'boto3'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert said.stdout.strip() == "", said
