import numpy as np

from datamodels.training.utils import load_memmap, memmap_path


def test_arrays_are_found_and_opened_by_key(store):
    store.write(2, {"masks": 1, "margins": 2, "epochs": 3})
    assert memmap_path(store.path, "margins") == store.path / "margins.npy"
    assert memmap_path(str(store.path), "_completed") == store.layout.completed
    margins = load_memmap(store.path, "margins", "r")
    assert isinstance(margins, np.memmap)
    np.testing.assert_array_equal(margins[2], 2)
    assert load_memmap(store.path, "_completed", mode="r")[2]
