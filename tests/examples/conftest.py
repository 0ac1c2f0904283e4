import pytest
import torch

from datamodels.cli.shared_config import current_config


@pytest.fixture
def digits_alone(monkeypatch):
    """The options of the digits alone, as in a worker: in this process modules of other examples
    may have declared theirs, some of which are required."""
    config = current_config()
    own = {path: entry for path, entry in config.entries.items() if path[0] == "digits"}
    monkeypatch.setattr(config, "entries", own)


@pytest.fixture(scope="session", autouse=True)
def cpu_where_torch_sees_no_gpu():
    """The CIFAR example refuses to pass over a GPU that this torch cannot use, unless told to."""
    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available():
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield
