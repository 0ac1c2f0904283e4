"""``python -m datamodels.published check DIR``: are downloaded files whole, and what is there?

Status 1 where anything is wrong. What is merely other than published is a remark.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from datamodels.cli.amounts import bytes_text
from datamodels.cli.progress import ProgressLine
from datamodels.cli.published_commands import PUBLISHED_CHECK
from datamodels.cli.runner import Values, run
from datamodels.published.checks import Checked, check_folder
from datamodels.published.tables import columns


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_CHECK, _check)


def _check(values: Values) -> int:
    root = Path(values["check.root"])
    with ProgressLine("B") as progress:
        checked = check_folder(root, lambda done, total: progress("reading", done, total))
    if values["check.json"]:
        print(json.dumps([asdict(file) for file in checked], indent=1))
    else:
        print("\n".join(_lines(checked)))
    return int(any(file.faults for file in checked))


def _lines(checked: Sequence[Checked]) -> list[str]:
    rows = [("file", "there", "bytes", "")]
    rows += [(file.key, file.there, bytes_text(file.size), _state(file)) for file in checked]
    lines = columns(rows, "llr")
    for file in checked:
        lines += [f"error: {fault}" for fault in file.faults]
        lines += [f"note: {remark}" for remark in file.remarks]
    return [*lines, _summary(checked)]


def _state(file: Checked) -> str:
    if file.faults:
        return "WRONG"
    return "good" if file.whole else "part, good"


def _summary(checked: Sequence[Checked]) -> str:
    states = [_state(file) for file in checked]
    whole, part, wrong = map(states.count, ("good", "part, good", "WRONG"))
    parts = [f"{whole} {'file is' if whole == 1 else 'files are'} whole", f"{part} in part"]
    return ", ".join([*parts, f"{wrong} WRONG"] if wrong else parts)
