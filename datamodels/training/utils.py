"""Small helpers for users' modules: where an array lies, opening it, and reading the options."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.cli.shared_config import SharedConfig, current_config
from datamodels.training.layout import StoreLayout


def memmap_path(logdir: str | Path, key: str) -> Path:
    """The file of one array of a store."""
    return StoreLayout(Path(logdir)).array(key)


def load_memmap(logdir: str | Path, key: str, mode: Any = "r") -> np.ndarray[Any, Any]:
    """One array of a store as a numpy memory map.

    Write rows with ``Store.write``: a map opened for writing (``"r+"``) can undo the rows that
    other hosts write to the same network file system. ReadOnlyError for one of a store that is only
    to be read.
    """
    if mode not in ("r", "c"):
        StoreLayout(Path(logdir)).refuse_writing()
    return np.lib.format.open_memmap(memmap_path(logdir, key), mode=mode)


def make_config(quiet: bool = False, conf_path: str | Path | None = None) -> SharedConfig:
    """Fill fastargs' current configuration from ``conf_path``, argv and the environment.

    Options that nobody declared are ignored. With ``--help`` in argv the options are printed and
    the program ends; where a required one is missing it ends with status 2. Unless ``quiet``, a
    summary goes to standard error.
    """
    config = current_config()
    if conf_path is not None:
        config.collect_config_file(conf_path)
    config.collect_argv()
    if "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
        print(config.help_tables())
        raise SystemExit(0)
    config.validate(mode="stderr")
    if not quiet:
        config.summary()
    return config
