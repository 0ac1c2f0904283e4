"""A spec for the images at hand: ``spec.json`` with their numbers.

    python -m examples.cifar10.fit_spec --spec.train_dataset=cifar_train.npz \
        --spec.val_dataset=cifar_test.npz --spec.out=spec.json [--spec.num_models=300]

A spec that stands there already is kept where it says the same, and refused otherwise.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datamodels.cli.option import Command, Option, OptionSection
from datamodels.cli.runner import Values, run
from datamodels.errors import ExistsError, UsageError
from datamodels.files import new_file
from datamodels.training import Spec
from examples.cifar10.images import read_images

TEMPLATE = Path(__file__).with_name("spec.json")

FIT_SPEC = Command(
    "examples.cifar10.fit_spec",
    "a spec for the images at hand: that of the example with their numbers",
    (
        OptionSection(
            "spec",
            "of which images, and whereto",
            (
                Option("train_dataset", "path", "training images", required=True),
                Option("val_dataset", "path", "test images", required=True),
                Option("num_models", "int", "models to train (default: those of the example)"),
                Option("out", "path", "the .json to write", required=True),
            ),
        ),
    ),
    strict=True,
)


def main() -> int:
    """The command; returns its exit status."""
    return run(FIT_SPEC, _write)


def _write(values: Values) -> None:
    out = Path(values["spec.out"])
    spec = fitted_spec(
        len(read_images(values["spec.train_dataset"]).labels),
        len(read_images(values["spec.val_dataset"]).labels),
        values["spec.num_models"],
    )
    if out.exists():
        there = Spec.read(out)
        asked = Spec.parse(spec)
        arrays = {key: there.schema.get(key) for key in asked.schema}  # it may have more
        if (there.num_models, arrays) != (asked.num_models, asked.schema):
            raise ExistsError(
                f"{out} is a spec of other images, or of another number of models; name another "
                "place, or leave options as they were"
            )
        return
    with new_file(out) as partial:
        partial.write_text(json.dumps(spec, indent=4) + "\n", encoding="utf-8")


def fitted_spec(n_train: int, n_test: int, num_models: int | None = None) -> dict[str, Any]:
    """The spec of the example for so many images; UsageError for less than one model."""
    spec: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    if num_models is not None:
        if num_models < 1:
            raise UsageError(f"--spec.num_models={num_models} must be at least 1")
        spec["num_models"] = num_models
    spec["schema"]["masks"]["shape"] = [n_train]
    spec["schema"]["margins"]["shape"] = [n_test]
    return spec


if __name__ == "__main__":
    sys.exit(main())
