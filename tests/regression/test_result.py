"""Datamodels: what they predict, whom they name, and what their file may hold."""

import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from datamodels.errors import ExistsError, InputError, MissingFileError, UsageError
from datamodels.regression import result_file
from datamodels.regression.result import Datamodels
from tests.regression.problems import random_masks

WEIGHT = np.array([[2, 0], [-1, 0], [0.5, 0], [0, 0], [-3, 4]], np.float32)  # (5, 2)


@pytest.fixture(autouse=True, params=["read", "mapped"])
def way(request, monkeypatch):
    """Small files are read, large ones mapped: nobody can tell by what comes."""
    if request.param == "mapped":
        monkeypatch.setattr(result_file, "_MAP_FROM", 0)
        monkeypatch.setattr(result_file, "_BLOCK", 3)
    return request.param


@pytest.fixture
def datamodels():
    return Datamodels(WEIGHT, np.array([10, 20], np.float32), np.array([0.1, 0.2], np.float32))


def test_prediction_is_mask_times_weight_plus_bias(datamodels):
    masks = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(datamodels.predict(masks), [[11, 20], [7, 24]])
    np.testing.assert_array_equal(datamodels.predict(masks[0]), [11, 20])
    np.testing.assert_array_equal(datamodels.predict([[1, 1, 0, 0, 0]]), [[11, 20]])


def test_masks_of_another_length_are_refused(datamodels):
    with pytest.raises(InputError, match="take 5 training examples"):
        datamodels.predict(np.zeros((3, 4), bool))


@pytest.mark.parametrize(
    ("masks", "remedy"),
    [
        (torch.ones(2, 5, dtype=torch.bfloat16), "float"),
        (torch.eye(5).to_sparse(), "to_dense"),
        (scipy.sparse.eye_array(5), "toarray"),
        ([[1, 0, 1, 0, 0], [1, 0]], "one length"),
    ],
)
def test_what_makes_no_array_is_refused_with_a_remedy(datamodels, masks, remedy):
    with pytest.raises(InputError, match=remedy):
        datamodels.predict(masks)


def test_top_names_the_most_helpful_and_the_most_harmful(datamodels):
    top = datamodels.top(0, 2)
    np.testing.assert_array_equal(top.helpful.examples, [0, 2])
    np.testing.assert_array_equal(top.helpful.weights, [2, 0.5])
    np.testing.assert_array_equal(top.harmful.examples, [4, 1])
    np.testing.assert_array_equal(top.harmful.weights, [-3, -1])


def test_top_names_no_example_without_weight(datamodels):
    top = datamodels.top(-1, 10)
    np.testing.assert_array_equal(top.helpful.examples, [4])
    assert len(top.harmful.examples) == 0


def test_top_of_a_target_that_is_not_there_is_refused(datamodels):
    with pytest.raises(UsageError, match="target=2; these datamodels have 2 targets"):
        datamodels.top(2, 1)
    with pytest.raises(UsageError, match="k=-1"):
        datamodels.top(0, -1)


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="do not belong together"):
        Datamodels(WEIGHT, np.zeros(3, np.float32), np.zeros(2, np.float32))
    with pytest.raises(InputError, match="do not belong together"):
        Datamodels(WEIGHT[0], np.zeros(2, np.float32), np.zeros(2, np.float32))


# --- the file ------------------------------------------------------------------------------------


def test_file_holds_three_float32_tensors_and_reads_back_equal(datamodels, tmp_path):
    path = tmp_path / "datamodels.pt"
    datamodels.save(path)
    content = torch.load(path, weights_only=True)
    assert set(content) == {"weight", "bias", "lam"}
    assert all(tensor.dtype == torch.float32 for tensor in content.values())
    assert content["weight"].is_contiguous()
    back = Datamodels.load(path)
    for name in content:
        np.testing.assert_array_equal(getattr(back, name), getattr(datamodels, name))


def test_saving_never_overwrites_and_leaves_nothing_else(datamodels, tmp_path):
    path = tmp_path / "datamodels.pt"
    path.write_bytes(b"mine")
    with pytest.raises(ExistsError, match="exists already"):
        datamodels.save(path)
    assert path.read_bytes() == b"mine"
    path.unlink()
    datamodels.save(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["datamodels.pt"]


def test_saved_file_has_the_permissions_of_any_new_file(datamodels, tmp_path):
    datamodels.save(tmp_path / "datamodels.pt")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("datamodels.pt", "plain")]
    assert modes[0] == modes[1]


def test_saving_into_no_folder_is_refused(datamodels, tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        datamodels.save(tmp_path / "nowhere" / "datamodels.pt")


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "write", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))]
)
def test_pickled_code_is_refused_and_never_run(tmp_path, write):
    path = tmp_path / "trap.pt"
    tensors = {key: torch.zeros(2) for key in ("weight", "bias")}
    write({**tensors, "lam": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(InputError, match="pickled code"):
        Datamodels.load(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"\['bias', 'weight'\]"),
        ([torch.zeros(3)], "holds list"),
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "lam": torch.zeros(2)},
            r"bias \(3,\)",
        ),
        ({"weight": [1.0], "bias": torch.zeros(3), "lam": torch.zeros(2)}, "weight in .* tensor"),
        (
            {"weight": torch.zeros(3, 2).long(), "bias": torch.zeros(2), "lam": torch.zeros(2)},
            "weight in .* floats",
        ),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        Datamodels.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a torch file", b"PK\x03\x04 cut short", b"\x80\x02"]
)
def test_files_that_are_not_of_torch_are_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.pt"):
        Datamodels.load(path)


def test_a_truncated_file_is_refused(datamodels, tmp_path):
    datamodels.save(tmp_path / "whole.pt")
    cut = tmp_path / "cut.pt"
    cut.write_bytes((tmp_path / "whole.pt").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut\.pt .* damaged. Make it again"):
        Datamodels.load(cut)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("cut", [0, 1000, 11_000, -100])
def test_a_file_cut_anywhere_is_said_to_be_damaged(tmp_path, old, cut):
    path = tmp_path / "cut.pt"
    content = {"weight": torch.ones(100, 30), "bias": torch.zeros(30), "lam": torch.zeros(30)}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        InputError, match=r"cut\.pt .* damaged. Make it again, or download it again"
    ):
        Datamodels.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.pt"):
        Datamodels.load(tmp_path / "none.pt")
    with pytest.raises(InputError):
        Datamodels.load(tmp_path)


def test_what_was_loaded_outlives_the_file_and_never_changes_it(datamodels, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    datamodels.save(folder / "datamodels.pt")
    before = (folder / "datamodels.pt").read_bytes()
    back = Datamodels.load(folder / "datamodels.pt")
    back.weight[0] = 7
    assert (folder / "datamodels.pt").read_bytes() == before
    shutil.rmtree(folder)
    assert back.weight[0].tolist() == [7, 7]
    np.testing.assert_array_equal(back.weight[1:], WEIGHT[1:])
    back.save(tmp_path / "again.pt")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the maps of Linux")
def test_large_files_take_no_memory_of_their_own(datamodels, tmp_path, way):
    datamodels.save(tmp_path / "datamodels.pt")
    loaded = Datamodels.load(tmp_path / "datamodels.pt")
    mapped = str(tmp_path / "datamodels.pt") in Path("/proc/self/maps").read_text()
    assert mapped == (way == "mapped")
    assert loaded.n_targets == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("new", [True, False])
def test_old_and_new_files_of_any_floats_hold_the_same(tmp_path, dtype, new):
    tensors = {"weight": torch.tensor(WEIGHT), "bias": torch.ones(2), "lam": torch.zeros(2)}
    path = tmp_path / "some.pt"
    torch.save({key: value.to(dtype) for key, value in tensors.items()}, path,
               _use_new_zipfile_serialization=new)  # fmt: skip
    back = Datamodels.load(path)
    assert back.weight.dtype == np.float32
    np.testing.assert_array_equal(back.weight, WEIGHT)


@pytest.mark.parametrize("place", [(0, 0), (4, 1)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_wherever_they_stand(tmp_path, place, value):
    weight = torch.tensor(WEIGHT)
    weight[place] = value
    path = tmp_path / "bad.pt"
    torch.save({"weight": weight, "bias": torch.ones(2), "lam": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"weight in .*bad\.pt holds NaN or infinity"):
        Datamodels.load(path)


# --- files of the public code --------------------------------------------------------------------


@pytest.fixture
def public(tmp_path):
    """(path, masks, predictions on these masks) of a file in standardized units."""
    masks = random_masks(200, 30, alpha=0.3)
    masks[:, 4] = True
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((30, 3)), rng.standard_normal(3)
    scale = masks.std(axis=0)
    z = (masks - masks.mean(axis=0)) / np.where(scale > 0, scale, np.inf)
    tensors = {"weight": weight, "bias": bias, "lam": np.ones(3)}
    path = tmp_path / "public.pt"
    torch.save({key: torch.tensor(value).half() for key, value in tensors.items()}, path)
    return path, masks, z @ weight + bias


@pytest.mark.parametrize("kind", ["array", "float", "file", "str"])
def test_standardized_weights_are_brought_to_raw_units(public, tmp_path, kind):
    path, masks, predictions = public
    np.save(tmp_path / "masks.npy", masks)
    given = {
        "array": masks,
        "float": masks.astype(np.float32),
        "file": tmp_path / "masks.npy",
        "str": str(tmp_path / "masks.npy"),
    }[kind]
    datamodels = Datamodels.load(path, units="standardized", masks=given)
    assert datamodels.weight.dtype == datamodels.bias.dtype == np.float32
    np.testing.assert_allclose(datamodels.predict(masks), predictions, atol=2e-2)  # half precision
    assert not datamodels.weight[4].any()


def test_standardized_units_need_the_training_masks(public, tmp_path):
    path, masks, _ = public
    with pytest.raises(UsageError, match="needs masks="):
        Datamodels.load(path, units="standardized")
    with pytest.raises(UsageError, match="units='percent'"):
        Datamodels.load(path, units="percent", masks=masks)
    with pytest.raises(InputError, match=r"masks have shape \(200, 29\)"):
        Datamodels.load(path, units="standardized", masks=masks[:, 1:])
    with pytest.raises(MissingFileError):
        Datamodels.load(path, units="standardized", masks=tmp_path / "none.npy")


def test_means_and_deviations_do_what_the_masks_do(public):
    path, masks, _ = public
    by_masks = Datamodels.load(path, units="standardized", masks=masks)
    by_moments = Datamodels.load(path).from_standardized(masks.mean(axis=0), masks.std(axis=0))
    np.testing.assert_allclose(by_moments.weight, by_masks.weight, rtol=1e-6)
    np.testing.assert_allclose(by_moments.bias, by_masks.bias, rtol=1e-5)
    half = Datamodels.load(path).from_standardized(0.5, 0.5)
    np.testing.assert_allclose(half.weight, 2 * Datamodels.load(path).weight)
    with pytest.raises(InputError, match="30 training examples"):
        half.from_standardized(np.zeros(3), 1)


def test_importing_datamodels_loads_neither_torch_nor_numba():
    code = "import datamodels, datamodels.regression.result, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numba"} & set(loaded.stdout.split())
