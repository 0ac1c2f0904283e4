"""``python -m datamodels.published check DIR``: are downloaded files whole, and what is there?

Status 1 where anything is wrong. What is merely other than published is a remark.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from datamodels.cli.progress import ProgressLine
from datamodels.cli.published_commands import PUBLISHED_CHECK
from datamodels.cli.runner import Values, run
from datamodels.published.checks import Checked, check_folder
from datamodels.published.tables import columns, size_text


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
    rows += [
        (file.key, file.there, size_text(file.size), "WRONG" if file.faults else "good")
        for file in checked
    ]
    lines = columns(rows, "llr")
    for file in checked:
        lines += [f"error: {fault}" for fault in file.faults]
        lines += [f"note: {remark}" for remark in file.remarks]
    wrong = sum(bool(file.faults) for file in checked)
    return [*lines, f"{len(checked) - wrong} of {len(checked)} files are good"]
