"""A small store on disk and the spec behind it."""

import json
from pathlib import Path

import pytest

from datamodels.training.spec import Spec
from datamodels.training.store import Store

CONTENT = {
    "num_models": 7,
    "schema": {
        "masks": {"shape": [5], "dtype": "bool_"},
        "margins": {"shape": [3], "dtype": "float16"},
        "epochs": {"shape": [], "dtype": "int64"},
    },
}


@pytest.fixture
def spec() -> Spec:
    return Spec.parse(CONTENT)


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(CONTENT))
    return path


@pytest.fixture
def store(tmp_path: Path, spec: Spec) -> Store:
    return Store.create(tmp_path / "store", spec)
