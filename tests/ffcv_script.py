"""Running FFCV in processes of their own: its writer leaves workers, and its reader takes over."""

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT


def skip_without_ffcv() -> None:
    """Skip the module that calls this where FFCV is not installed."""
    if importlib.util.find_spec("ffcv") is None:  # found, not imported: that takes 5 s
        pytest.skip(
            "ffcv is not installed: apt-get install --no-install-recommends g++ pkg-config "
            "libopencv-dev libturbojpeg0-dev && pip install --no-build-isolation -c "
            "constraints.txt ffcv==1.0.2 (with torch and setuptools installed before)",
            allow_module_level=True,
        )


def run_script(file: str, action: str, folder: Path) -> None:
    """``python FILE ACTION FOLDER``, which must succeed; what it leaves running is killed."""
    process = subprocess.Popen(
        [sys.executable, file, action, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=180)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
