"""Running FFCV in processes of their own: its writer leaves workers, and its reader takes over."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT


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
