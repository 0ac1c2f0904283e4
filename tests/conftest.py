"""What the tests share: running commands as a user does, and a module with a ``main`` to run."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import fastargs.state
import pytest

# What runs in the background of a shell ignores Ctrl-C, and under nohup a hang-up as well; so would
# all that the tests start, which get what is ignored, but not what is handled.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

ROOT = Path(__file__).parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]
_OLD = 24 * 3600  # seconds; younger folders of kernels may be those of other tests under way


def _kernels_folder() -> Path:
    """Where numba keeps what it compiled from these very sources: by itself, it would not notice a
    change of a kernel that one in another file calls. Removes old ones."""
    sources = sorted((ROOT / "datamodels" / "regression").rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    folder = ROOT / ".pytest_cache" / "kernels" / digest[:16]
    for other in folder.parent.glob("*"):
        if other != folder and other.stat().st_mtime < time.time() - _OLD:
            shutil.rmtree(other, ignore_errors=True)
    return folder


# Before anything imports numba, and for the processes that tests start as well.
os.environ.setdefault("NUMBA_CACHE_DIR", str(_kernels_folder()))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("training.worker", "--worker.index=0", ...)`` in ``tmp_path``; returns what came.

    A command with subcommands is named with its word: ``run("published list")``.
    """

    def run_command(module, *arguments, cwd=tmp_path, env=None, timeout=120):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                *f"datamodels.{module}".rstrip(".").split(),
                *map(str, arguments),
            ],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run_command


@pytest.fixture
def call(monkeypatch, capsys, tmp_path: Path) -> Run:
    """``run`` within this process, as every new one takes seconds to load torch: for commands that
    tests run many times. Tests change to other folders than ``tmp_path`` themselves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # commands change it

    def call_command(module, *arguments):
        monkeypatch.setitem(fastargs.state.STATE, "config", None)  # as in a new process
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        capsys.readouterr()
        status = import_module(f"datamodels.{module}").main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess([module, *arguments], status, said.out, said.err)

    return call_command


def assert_fails(result: "subprocess.CompletedProcess[str]", status: int, *needles: str) -> None:
    """The command ended with ``status``, said every needle, and showed no traceback of ours."""
    said = result.stdout + result.stderr
    assert result.returncode == status, said
    assert "Traceback" not in said, said
    for needle in needles:
        assert needle in said, said


def requires(name: str, condition: object, reason: str) -> pytest.MarkDecorator:
    """A mark: skip the test, saying ``reason``, unless ``condition`` holds.

    Where the environment's DATAMODELS_REQUIRE names ``name`` (e.g. ``faults,parallel``) the test
    fails instead, so that what should have been tested there is not passed over in silence.
    """
    return pytest.mark.requires(name, bool(condition), reason)


def unavailable(name: str, reason: str) -> NoReturn:
    """As :func:`requires`, for what only a test under way can find out."""
    if name in os.environ.get("DATAMODELS_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"{reason}, and DATAMODELS_REQUIRE asks for {name}", pytrace=False)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(name, condition, reason): see tests/conftest.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requires"):
        name, holds, reason = mark.args
        if not holds:
            unavailable(name, reason)
