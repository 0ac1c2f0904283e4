"""``python -m datamodels.analysis.top``: the training examples that matter most to a target."""

import csv
import json
import sys
from typing import Any

from numpy.typing import NDArray

from datamodels.analysis.example_files import plain, read_labels
from datamodels.cli.catalogue import TOP
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.regression.result import Datamodels, Ranked
from datamodels.training.indices import parse_indices

_EFFECTS = ("helpful", "harmful")
Labels = NDArray[Any] | None


def main() -> int:
    """The command; returns its exit status."""
    return run(TOP, _show)


def _show(values: Values) -> None:
    options = section(values, "top")
    if options["json"] and options["csv"]:
        raise UsageError("top.json and top.csv are both given: the output is one of them")
    if options["k"] < 1:
        raise UsageError(f"top.k={options['k']} is out of range: it must be at least 1")
    datamodels = Datamodels.load(options["datamodels"])
    targets = parse_indices(
        options["targets"], datamodels.n_targets, options["datamodels"], noun="target"
    )
    labels = read_labels(options["labels"], datamodels.n_train_examples, "top.labels")
    test_labels = read_labels(options["test_labels"], datamodels.n_targets, "top.test_labels")
    found = [_entry(datamodels, t, options["k"], labels, test_labels) for t in targets]
    if options["json"]:
        json.dump(found, sys.stdout, indent=1)
        print()
    elif options["csv"]:
        _print_csv(found)
    else:
        print("\n\n".join(_table(entry) for entry in found))


def _entry(
    datamodels: Datamodels, target: int, k: int, labels: Labels, test_labels: Labels
) -> dict[str, Any]:
    """What is known of a target, for JSON."""
    ranked = datamodels.top(target, k)
    entry: dict[str, Any] = {"target": target}
    if test_labels is not None:
        entry["label"] = plain(test_labels[target])
    for effect, examples in zip(_EFFECTS, ranked, strict=True):
        entry[effect] = _examples(examples, labels)
    return entry


def _examples(ranked: Ranked, labels: Labels) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    for example, weight in zip(ranked.examples, ranked.weights, strict=True):
        # The shortest decimal number that is this float32.
        listed.append({"example": int(example), "weight": float(str(weight))})
        if labels is not None:
            listed[-1]["label"] = plain(labels[example])
    return listed


def _print_csv(found: list[dict[str, Any]]) -> None:
    """A line for each target and example; the columns do not depend on what is found."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["target", "target_label", "effect", "rank", "example", "weight", "label"])
    for entry in found:
        for effect in _EFFECTS:
            for rank, example in enumerate(entry[effect], start=1):
                writer.writerow(
                    [entry["target"], entry.get("label", ""), effect, rank, example["example"],
                     example["weight"], example.get("label", "")]
                )  # fmt: skip


def _table(entry: dict[str, Any]) -> str:
    """Helpful examples on the left, harmful ones on the right."""
    labelled = "label" in entry
    lines = [f"target {entry['target']}" + (f", label {entry['label']}" if labelled else "")]
    columns = [_column(effect, entry[effect]) for effect in _EFFECTS]
    height = max(map(len, columns))
    width = max(map(len, columns[0]))
    for i in range(height):
        left, right = (column[i] if i < len(column) else "" for column in columns)
        lines.append(f"  {left:<{width}}    {right}".rstrip())
    return "\n".join(lines)


def _column(effect: str, examples: list[dict[str, Any]]) -> list[str]:
    if not examples:
        return [effect, "none"]
    heads = [effect, "weight", *(["label"] if "label" in examples[0] else [])]
    cells = [
        [
            str(e["example"]),
            format(e["weight"], "+#.3g"),
            *([str(e["label"])] if "label" in e else []),
        ]
        for e in examples
    ]
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    return [
        "  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True))
        for row in [heads, *cells]
    ]


if __name__ == "__main__":
    raise SystemExit(main())
