"""``python -m datamodels.evaluation.retrained``: compare retrainings with what was predicted."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from datamodels.cli.catalogue import RETRAINED
from datamodels.cli.runner import Values, run, section
from datamodels.evaluation.agreement import Agreement, measure_agreement, wilson_interval
from datamodels.evaluation.removal_options import as_table
from datamodels.evaluation.removal_pictures import OTHERWISE, draw_changes
from datamodels.evaluation.retrained_changes import RetrainedChanges, measure_changes
from datamodels.evaluation.retraining_plan import RetrainingPlan, read_plan
from datamodels.files import new_folder, refuse_existing
from datamodels.optional import require_matplotlib
from datamodels.training.store import Store


def main() -> int:
    """The command; returns its exit status."""
    return run(RETRAINED, _compare)


def _compare(values: Values) -> None:
    given = section(values, "retrained")
    picture = given["picture"] and given["out"] is not None
    if given["out"] is not None:
        refuse_existing(Path(given["out"]))
    if picture:
        require_matplotlib(OTHERWISE)
    store = Store.open(given["store"])
    plan = read_plan(store)
    changes = measure_changes(store, plan)
    agreements = _agreements(plan, changes, given["resamples"], given["seed"])
    text = _report(plan, changes, agreements)
    print(text)
    if given["out"] is None:
        return
    with new_folder(given["out"]) as folder:
        (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
        content = [asdict(agreement) for agreement in agreements]
        (folder / "agreement.json").write_text(
            json.dumps(_without_nan(content), indent=2) + "\n", encoding="utf-8"
        )
        _write_removals(folder / "removals.csv", plan, changes)
        if picture:
            panels = [agreement for agreement in agreements if agreement.name != "all"]
            draw_changes(folder / "changes.png", changes, plan.removals, panels, output=plan.y_name)
    print(f"\nwritten to {given['out']}")


def _agreements(
    plan: RetrainingPlan, changes: RetrainedChanges, n_resamples: int, seed: int
) -> list[Agreement]:
    """Of each method, in the plan's order, and where these may be compared, of all together."""
    methods = np.array([removal.method for removal in plan.removals])
    targets = np.array([removal.target for removal in plan.removals])
    rows = {str(method): methods == method for method in dict.fromkeys(methods.tolist())}
    if plan.kind != "support" and len(rows) > 1:
        rows["all"] = np.ones(len(methods), bool)
    return [
        measure_agreement(
            name,
            changes.predicted[own],
            changes.actual[own],
            targets[own],
            n_resamples=n_resamples,
            seed=seed,
        )
        for name, own in rows.items()
    ]


def _report(plan: RetrainingPlan, changes: RetrainedChanges, agreements: list[Agreement]) -> str:
    head = (
        f"Changes of {plan.y_name} in {plan.n_rows:,} retrainings: means over {plan.repeats} "
        "repeats; correlations with 95% intervals over targets"
    )
    rows = [["removed", "removals", "targets", "predicted", "actual", "Pearson", "Spearman",
             "slope"]]  # fmt: skip
    rows += [
        [a.name, str(a.n), str(a.n_targets), f"{a.predicted:.3f}", f"{a.actual:.3f}",
         str(a.pearson), str(a.spearman), str(a.slope)]
        for a in agreements
    ]  # fmt: skip
    detail = _flips(plan, changes) if plan.kind == "support" else _sizes(plan, changes)
    return f"{head}\n\n{as_table(rows)}\n\n{detail}"


def _sizes(plan: RetrainingPlan, changes: RetrainedChanges) -> str:
    """Mean changes by method and number of examples asked for, of which there may be fewer."""
    kinds = [(removal.method, removal.k) for removal in plan.removals]
    counts = np.array([len(removal.examples) for removal in plan.removals])
    rows = [["removed", "k", "in fact", "removals", "predicted", "actual", "flipped"]]
    methods = list(dict.fromkeys(removal.method for removal in plan.removals))
    for kind in sorted(set(kinds), key=lambda kind: (methods.index(kind[0]), kind[1])):
        own = np.array([each == kind for each in kinds])
        rows.append(
            [kind[0], str(kind[1]), f"{counts[own].mean():.1f}", str(own.sum()),
             f"{changes.predicted[own].mean():.3f}", f"{changes.actual[own].mean():.3f}",
             f"{changes.flipped[own].mean():.0%}"]
        )  # fmt: skip
    return as_table(rows)


def _flips(plan: RetrainingPlan, changes: RetrainedChanges) -> str:
    """How many of the supports do flip their target."""
    methods = np.array([removal.method for removal in plan.removals])
    lines = []
    for method in dict.fromkeys(methods.tolist()):
        own = (methods == method) & (changes.before > 0)
        flipped, n = int(changes.flipped[own].sum()), int(own.sum())
        wrong = int((methods == method).sum()) - n
        low, high = wilson_interval(flipped, n)
        lines.append(
            f"{method}: without it {flipped} of {n} targets flip"
            + (f" ({flipped / n:.0%}, 95% interval {low:.0%} to {high:.0%})" if n else "")
            + (f"; {wrong} more were below 0 with nothing removed" if wrong else "")
        )
    return "\n".join(lines)


def _write_removals(path: Path, plan: RetrainingPlan, changes: RetrainedChanges) -> None:
    """A line for each removal."""
    names = ("predicted", "actual", "error", "before", "after", "below")
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["target", "method", "k", "removed", *names, "flipped"])
        for place, removal in enumerate(plan.removals):
            numbers = [f"{getattr(changes, name)[place]:.6g}" for name in names]
            flipped = int(changes.flipped[place])
            table.writerow([removal.target, removal.method, removal.k, len(removal.examples),
                            *numbers, flipped])  # fmt: skip


def _without_nan(content: object) -> object:
    """JSON has no NaN."""
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and np.isnan(content) else content


if __name__ == "__main__":
    raise SystemExit(main())
