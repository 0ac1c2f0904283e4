"""The letters for the report: a renderer, and the departments as files.

python -m examples.text.show --show.out=FOLDER
"""

from pathlib import Path

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param, section

from datamodels.errors import DatamodelsError
from datamodels.files import new_folder
from datamodels.training.utils import make_config
from examples.text.tickets import DEPARTMENTS, INTENT_NAMES, load_tickets

Section("show", "departments for the report").params(
    out=Param(str, "folder to write; must not exist already", required=True),
)


def letter(part: str, index: int) -> str:
    """A letter, and what is known of it: ``--report.renderer=examples.text.show:letter``."""
    tickets = load_tickets()
    if part == "test":
        return f"{tickets.test_texts[index]} [{INTENT_NAMES[tickets.test_intents[index]]}]"
    known = INTENT_NAMES[tickets.train_intents[index]]
    if index in tickets.wrong:
        known += "; label planted wrong"
    if index in tickets.copies:
        known += "; copy of a test letter"
    return f"{tickets.train_texts[index]} [{known}]"


@section("show")
@param("out")
def save_departments(out: str) -> None:
    """``train_labels.npy``, ``test_labels.npy`` and ``departments.txt``, a name a line."""
    tickets = load_tickets()
    with new_folder(Path(out)) as partial:
        np.save(partial / "train_labels.npy", tickets.train_labels)
        np.save(partial / "test_labels.npy", tickets.test_labels)
        (partial / "departments.txt").write_text("\n".join(DEPARTMENTS) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    try:
        make_config(quiet=True)
        save_departments()
    except DatamodelsError as error:
        raise SystemExit(f"show: error: {error}") from None
