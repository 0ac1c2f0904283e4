"""``python -m datamodels.analysis.mislabelled``: training examples that may be mislabelled."""

import csv
import io
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from datamodels.analysis.example_files import plain, read_labels
from datamodels.analysis.suspects import Suspects, rank_mislabelled
from datamodels.cli.catalogue import MISLABELLED
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.files import check_new_file, new_file
from datamodels.regression.result import Datamodels

_LEGEND_OF_HARM = (
    "harm: the sum of an example's negative weights on other outputs; score: harm from its\n"
    "median, in units of its spread. A ranking to look through: how many of the first are wrong\n"
    "it does not say"
)
_LEGEND = (
    "self_influence: what being trained on adds to an example's own output; harm: the sum of its\n"
    "negative weights on other outputs; score: both from their medians, in units of their\n"
    "spreads. A ranking to look through: how many of the first are wrong it does not say"
)


def main() -> int:
    """The command; returns its exit status."""
    return run(MISLABELLED, _find)


def _find(values: Values) -> None:
    options = section(values, "mislabelled")
    own, test, out = options["own"], options["test"], options["out"]
    if own is None and test is None:
        raise UsageError(
            "one is required: --mislabelled.own=datamodels.pt of the training examples' own "
            "outputs, or --mislabelled.test=datamodels.pt of others; both are best"
        )
    if options["n"] < 1:
        raise UsageError(f"mislabelled.n={options['n']} is out of range: it must be at least 1")
    if out is not None:
        check_new_file(out)
    suspects = rank_mislabelled(*(None if p is None else Datamodels.load(p) for p in (own, test)))
    labels = read_labels(options["labels"], len(suspects.order), "mislabelled.labels")
    print(_table(suspects, labels, options["n"]))
    if out is not None:
        _write_csv(suspects, labels, Path(out))
        print(f"wrote {out}")


def _fields(suspects: Suspects, labels: NDArray[Any] | None) -> list[str]:
    fields = ["rank", "example", "score", "self_influence", "harm", "label"]
    if suspects.self_influence is None:
        fields.remove("self_influence")
    return fields if labels is not None else fields[:-1]


def _row(suspects: Suspects, labels: NDArray[Any] | None, rank: int) -> dict[str, Any]:
    example = int(suspects.order[rank])
    row: dict[str, Any] = {"rank": rank + 1, "example": example}
    for name in ("score", "self_influence", "harm"):
        values = getattr(suspects, name)
        if values is not None:
            row[name] = float(values[example])
    return row if labels is None else {**row, "label": plain(labels[example])}


def _table(suspects: Suspects, labels: NDArray[Any] | None, n: int) -> str:
    fields = _fields(suspects, labels)
    lines = [f"the {min(n, len(suspects.order))} likeliest of {len(suspects.order)} examples"]
    lines.append("".join(f"{name:>16}" for name in fields))
    for rank in range(min(n, len(suspects.order))):
        row = _row(suspects, labels, rank)
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append("".join(f"{cell:>16}" for cell in cells))
    lines.append(_LEGEND if suspects.self_influence is not None else _LEGEND_OF_HARM)
    return "\n".join(lines)


def _write_csv(suspects: Suspects, labels: NDArray[Any] | None, out: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _fields(suspects, labels), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(suspects, labels, rank) for rank in range(len(suspects.order)))
    with new_file(out) as partial:
        partial.write_text(text.getvalue())


if __name__ == "__main__":
    raise SystemExit(main())
