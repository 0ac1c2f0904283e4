"""What the tests share: running commands as a user does, and a module with a ``main`` to run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("training.worker", "--worker.index=0", ...)`` in ``tmp_path``; returns what came."""

    def run_command(module, *arguments, cwd=tmp_path, env=None, timeout=120):
        return subprocess.run(
            [sys.executable, "-m", f"datamodels.{module}".rstrip("."), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run_command


def assert_fails(result: "subprocess.CompletedProcess[str]", status: int, *needles: str) -> None:
    """The command ended with ``status``, said every needle, and showed no traceback of ours."""
    said = result.stdout + result.stderr
    assert result.returncode == status, said
    assert "Traceback" not in said, said
    for needle in needles:
        assert needle in said, said
