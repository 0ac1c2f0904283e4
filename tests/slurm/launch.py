"""A launcher for the tests: ``launch.py STORE ROWS WAIT [option=value ...] [--section.name=value]``.

Prints what it is told, and at last the outcome as JSON.
"""

import json
import sys
from dataclasses import asdict

from datamodels.errors import DatamodelsError
from datamodels.training.indices import parse_indices
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


def main(folder: str, rows: str, wait: str, *words: str) -> int:
    store = Store.open(folder)
    own = dict(word.split("=", 1) for word in words if not word.startswith("--"))
    options = {name: _number_or_text(text) for name, text in own.items()}
    options["poll_seconds"] = 0.5
    if "time" in own:
        options["time"] = own["time"]
    argv = [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={folder}",
            "--worker.main_import=rows", *(word for word in words if word.startswith("--"))]  # fmt: skip
    asked = (list(range(store.num_models)) if rows == "all"
             else parse_indices(rows, store.num_models, folder))  # fmt: skip
    try:
        outcome = run_on_slurm(
            store, asked, argv, SlurmOptions(**options), Printed(), wait=wait == "1"
        )
    except DatamodelsError as error:
        print(f"error: {error}")
        return error.exit_status
    print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
