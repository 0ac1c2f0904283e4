"""``python -m datamodels.analysis.leakage``: pairs of training example and target that may be
copies."""

import csv
import io

from datamodels.analysis.leaks import Leaks, rank_leaks
from datamodels.cli.catalogue import LEAKAGE
from datamodels.cli.runner import Values, run, section, warn
from datamodels.errors import UsageError
from datamodels.files import check_new_file, new_file
from datamodels.regression.result import Datamodels

_LEGEND = (
    "excess: the weight in units of the scale of the target's other weights; expected: pairs as\n"
    "large that chance makes among all targets; elsewhere: the example's largest weight on any\n"
    "other target"
)
_FIELDS = ("example", "target", "weight", "excess", "expected", "elsewhere")


def main() -> int:
    """The command; returns its exit status."""
    return run(LEAKAGE, _find)


def _find(values: Values) -> None:
    options = section(values, "leakage")
    n, limit, out = options["n"], options["expected"], options["out"]
    if n is not None and n < 1:
        raise UsageError(f"leakage.n={n} is out of range: it must be at least 1")
    if not limit > 0:
        raise UsageError(f"leakage.expected={limit} is out of range: it must be above 0")
    if out is not None:
        check_new_file(out)
    datamodels = Datamodels.load(options["datamodels"])
    ranked = rank_leaks(datamodels, own=not options["exclude_own"])
    found = ranked.up_to(limit) if n is None else ranked.first(n)
    print(_table(found, datamodels.n_targets, limit if n is None else None))
    n_own = int((found.examples == found.targets).sum())
    if n_own and datamodels.n_targets == datamodels.n_train_examples:
        warn(
            f"{n_own} of these pairs are of an example with itself: if targets are the training "
            "examples, leave these out with --leakage.exclude_own"
        )
    if out is not None:
        with new_file(out) as partial:
            partial.write_text(_as_csv(found))
        print(f"wrote {out}")


def _table(found: Leaks, n_targets: int, limit: float | None) -> str:
    asked = "" if limit is None else f" so large that fewer than {limit:g} were expected by chance"
    lines = [f"{len(found)} pairs{asked}, of {n_targets} targets"]
    if len(found):
        lines.append("".join(f"{name:>10}" for name in _FIELDS))
    for row in _rows(found):
        example, target, weight, excess, expected, elsewhere = row
        lines.append(
            f"{example:>10}{target:>10}{weight:>+10.3g}{excess:>10.1f}{expected:>10.2g}"
            f"{elsewhere:>+10.3g}"
        )
    if len(found):
        lines.append(_LEGEND)
    return "\n".join(lines)


def _as_csv(found: Leaks) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FIELDS)
    writer.writerows(_rows(found))
    return text.getvalue()


def _rows(found: Leaks) -> list[tuple[int, int, float, float, float, float]]:
    columns = (found.examples, found.targets, found.weights, found.excess, found.expected,
               found.elsewhere)  # fmt: skip
    return list(zip(*(column.tolist() for column in columns), strict=True))


if __name__ == "__main__":
    raise SystemExit(main())
