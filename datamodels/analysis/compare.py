"""``python -m datamodels.analysis.compare``: two datamodels of the same data, side by side."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.components import ends
from datamodels.analysis.differences import Differences, Residual, compare_datamodels
from datamodels.analysis.example_files import read_labels
from datamodels.cli.catalogue import COMPARE
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.files import check_new_file, new_file
from datamodels.regression.result import Datamodels


def main() -> int:
    """The command; returns its exit status."""
    return run(COMPARE, _compare)


def _compare(values: Values) -> None:
    options = section(values, "compare")
    k, out = options["k"], options["out"]
    if k < 1:
        raise UsageError(f"compare.k={k} is out of range: it must be at least 1")
    if out is not None:
        if Path(out).suffix != ".npz":
            raise UsageError(f"compare.out={out}: differences are written as .npz; end the name so")
        check_new_file(out)
    a, b = (Datamodels.load(options[name]) for name in ("a", "b"))
    labels = read_labels(options["labels"], a.n_train_examples, "compare.labels")
    found = compare_datamodels(a, b, n_components=options["components"])
    print(_report(found, labels, k))
    if out is not None:
        with new_file(out) as partial, partial.open("wb") as file:
            np.savez(file, **_arrays(found))
        print(f"wrote {out}")


def _report(found: Differences, labels: NDArray[Any] | None, k: int) -> str:
    lines = _distances(found, k)
    for own, other, residual in (
        ("A", "B", found.a_without_b),
        ("B", "A", found.b_without_a),
    ):
        lines.append(f"what {own} has and {other} lacks")
        lines += _directions(residual, own, other, labels, k)
    return "\n".join(lines)


def _distances(found: Differences, k: int) -> list[str]:
    """Of the targets that have weights in both."""
    defined = np.flatnonzero(~np.isnan(found.cosine))
    lines = [f"{len(found.cosine)} targets"]
    if lacking := len(found.cosine) - len(defined):
        lines[0] += f", {lacking} of them without weights in A or in B"
    if not len(defined):
        return lines
    for name, values in (("cosine", found.cosine), ("rank correlation", found.rank_correlation)):
        there = values[~np.isnan(values)]  # ranks of weights that are all equal correlate with none
        if not len(there):
            continue
        low, middle, high = np.quantile(there, [0.05, 0.5, 0.95])
        lines.append(
            f"  {name:<17}{middle:.3f} in the median, {low:.3f} to {high:.3f} for nine in ten"
        )
    furthest = defined[np.argsort(found.cosine[defined], kind="stable")][:k]
    return [*lines, f"  least alike      {_listed(furthest, None)}"]


def _directions(
    residual: Residual, own: str, other: str, labels: NDArray[Any] | None, k: int
) -> list[str]:
    if residual.why_none is not None:
        return [f"  nothing to list: {residual.why_none}"]
    components, lines = residual.components, []
    for c in range(components.n_components):
        lines.append(
            f"  direction {c}: {components.explained[c]:.1%} of the residuals; of the weights "
            f"{residual.share_own[c]:.1%} in {own}, {residual.share_other[c]:.1%} in {other}"
        )
        examples, targets = ends(components.directions[:, c], k), ends(components.scores[:, c], k)
        for sign in ("high", "low"):
            lines.append(f"    {sign:<4} examples  {_listed(getattr(examples, sign), labels)}")
            lines.append(f"         targets   {_listed(getattr(targets, sign), None)}")
    return lines


def _listed(members: NDArray[np.int64], labels: NDArray[Any] | None) -> str:
    """``12 (cat), 7 (dog)``."""
    words = [str(j) if labels is None else f"{j} ({labels[j]})" for j in members]
    return ", ".join(words) or "none"


def _arrays(found: Differences) -> dict[str, Any]:
    arrays: dict[str, Any] = {"cosine": found.cosine, "rank_correlation": found.rank_correlation}
    for name in ("a_without_b", "b_without_a"):
        residual: Residual = getattr(found, name)
        arrays |= {
            f"{name}_scores": residual.components.scores,
            f"{name}_directions": residual.components.directions,
            f"{name}_explained": residual.components.explained,
            f"{name}_share_own": residual.share_own,
            f"{name}_share_other": residual.share_other,
        }
    return arrays


if __name__ == "__main__":
    raise SystemExit(main())
