"""A pickled batch is read, and whatever else a pickle may do is not done."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodels.errors import InputError
from examples.cifar10.sources.pickled import integers, read_pickle

# As Python 2 pickled CIFAR-10 (protocol 2): a dict of str keys; its array is built by
# numpy.core.multiarray._reconstruct, and its state holds raw bytes as a str.
OF_PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq"
    b"\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\x02\x80\xff"
    b"\x05tbU\x06labelsq\x08]q\t(K\x07K\x09eu."
)


class Calls:
    """Unpickled in the usual way, it calls something."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def test_a_batch_of_python_2(tmp_path):
    (tmp_path / "batch").write_bytes(OF_PYTHON_2)
    batch = read_pickle(tmp_path / "batch")
    assert batch["labels"] == [7, 9]
    np.testing.assert_array_equal(integers(batch["data"]), [[0, 1, 2], [128, 255, 5]])
    assert integers(batch["data"]).dtype == np.uint8


@settings(max_examples=50, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(["u1", "<i2", ">i4", "<i8", ">u8"]),
    fortran=st.booleans(),
    protocol=st.integers(0, 5),
)
def test_arrays_come_back(tmp_path_factory, shape, dtype, fortran, protocol):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    if fortran:
        array = np.asfortranarray(array)
    path = tmp_path_factory.mktemp("pickle") / "batch"
    path.write_bytes(pickle.dumps({b"data": array, "more": [array]}, protocol=protocol))
    got = integers(read_pickle(path)["data"])
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: Calls(os.mkdir, str(path)),
        lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
        lambda path: Calls(Path.touch, path),
        lambda path: Calls(np.save, str(path), 0),
        lambda path: Calls(np.memmap, str(path), "u1", "w+", 0, (1,)),
        lambda path: Calls(bytes.decode, str(path).encode(), "no_such_codec"),
        lambda path: np.array([Calls(os.mkdir, str(path))], object),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_is_called(tmp_path, harm, protocol):
    pickled = pickle.dumps({"labels": [0], "data": harm(tmp_path / "made")}, protocol=protocol)
    (tmp_path / "batch").write_bytes(pickled)
    with pytest.raises(InputError, match="no pickled batch, or damaged: it wants"):
        read_pickle(tmp_path / "batch")
    assert [path.name for path in tmp_path.iterdir()] == ["batch"]


@pytest.mark.parametrize("value", [np.zeros(3), np.array(["a"]), [[1], [2, 3]], ["a"], None, {}])
def test_what_is_no_integers_is_none(tmp_path, value):
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": value}))
    assert integers(read_pickle(tmp_path / "batch")["data"]) is None


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(OF_PYTHON_2) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_batch_is_an_error_or_a_batch(tmp_path_factory, place, byte, cut):
    """Never another exception, whichever byte is wrong or missing."""
    changed = OF_PYTHON_2[:place] + (b"" if cut else bytes([byte]) + OF_PYTHON_2[place + 1 :])
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(changed)
    try:
        for value in read_pickle(path).values():
            integers(value)
    except InputError as error:
        assert "no pickled batch" in str(error)  # noqa: PT017
