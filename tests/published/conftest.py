"""Published files made small, in a bucket on this machine."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.published.s3_server import Proxy, S3Server, environment

MASKS = "cifar/data/train_masks_50pct.npy"
MARGINS = "cifar/data/test_margins_50pct.npy"
WEIGHTS = "cifar/datamodels/test_50pct.pt"
N_ROWS, N_TRAIN, N_TEST = 10_300, 300, 20  # the last 10,000 rows are those for evaluation


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def objects() -> dict[str, bytes]:
    """Key -> bytes, of one setting."""
    rng = np.random.default_rng(0)
    weights = {
        "weight": torch.from_numpy(rng.normal(size=(N_TRAIN, N_TEST)).astype("f4")),
        "bias": torch.zeros(N_TEST),
        "lam": torch.ones(N_TEST),
    }
    file = io.BytesIO()
    torch.save(weights, file)
    return {
        MASKS: npy(rng.random((N_ROWS, N_TRAIN)) < 0.5),
        MARGINS: npy(rng.normal(size=(N_ROWS, N_TEST)).astype("f2")),
        WEIGHTS: file.getvalue(),
    }


@pytest.fixture
def bucket(server: S3Server, objects: dict[str, bytes]) -> S3Server:
    """The bucket as published."""
    server.clear()
    for key, content in objects.items():
        server.put(key, content)
    return server


@pytest.fixture
def proxy(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands between boto3, here and in processes that a test starts, and the bucket."""
    made = Proxy(bucket)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(made.endpoint).items():
        monkeypatch.setenv(name, value)
    yield made
    made.shutdown()
    made.server_close()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
