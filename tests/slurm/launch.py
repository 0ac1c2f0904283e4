"""A launcher for the tests: ``launch.py STORE WAIT [option=value ...] [--section.name=value ...]``.

Prints what it is told, and at last the outcome as JSON.
"""

import json
import sys
from dataclasses import asdict

from datamodels.errors import DatamodelsError
from datamodels.training.launcher.slurm_engine import run_on_slurm
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.store import Store


class Printed:
    def update(self, done: int, failed: int, running: int) -> None:
        print(f"{done} done, {failed} failed, {running} running", flush=True)

    def say(self, line: str) -> None:
        print(line, flush=True)


def _number_or_text(text: str) -> object:
    return int(text) if text.isdecimal() else text


def main(folder: str, wait: str, *words: str) -> int:
    store = Store.open(folder)
    own = dict(word.split("=", 1) for word in words if not word.startswith("--"))
    options = {name: _number_or_text(text) for name, text in own.items()}
    options["poll_seconds"] = 0.5
    if "time" in own:
        options["time"] = own["time"]
    users = [word for word in words if word.startswith("--")]
    base = [f"--worker.logdir={folder}", "--worker.main_import=rows"]
    argv = [sys.executable, "-m", "datamodels.training.worker", *base, *users]
    rows = list(range(store.num_models))
    try:
        outcome = run_on_slurm(
            store, rows, argv, SlurmOptions(**options), Printed(), wait=wait == "1"
        )
    except DatamodelsError as error:
        print(f"error: {error}")
        return error.exit_status
    print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
