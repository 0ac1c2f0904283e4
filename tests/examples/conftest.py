import pytest

from datamodels.cli.shared_config import current_config


@pytest.fixture
def digits_alone(monkeypatch):
    """The options of the digits alone, as in a worker: in this process modules of other examples
    may have declared theirs, some of which are required."""
    config = current_config()
    own = {path: entry for path, entry in config.entries.items() if path[0] == "digits"}
    monkeypatch.setattr(config, "entries", own)
