"""``python -m datamodels.evaluation.support``: the fewest examples that a prediction rests on.

For each target the smallest set of training examples without which the output is predicted to fall
below 0 (a margin below 0 is a mistake), and the smallest set that brings it so far below 0 that
residuals of the datamodel do not matter.

Which models are meant is the user's to say. Datamodels are fitted on subsets of a share alpha, and
outputs that they predict are those of such models: models trained on random subsets of that size,
the set being taken out of the pool, are the default. With ``--support.alpha=1`` the set is taken
out of the full training set, which is what most questions are about. Then the output to begin with
is extrapolated (unless ``--support.outputs`` gives the one measured), and so is what each example
adds to it: a full set holds more examples that stand in for those removed. How far it carries is
what the retrainings of ``--support.plan`` tell. Neither is quite like a subset of the fit, which
held some of the set nearly always, while now all of it is gone.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import SUPPORT
from datamodels.cli.runner import Values, run, section
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.data_support import DataSupport, smallest_supports, support_examples
from datamodels.evaluation.fitted_source import FittedSource, read_fitted
from datamodels.evaluation.removal_options import as_table, chosen_targets, read_base, what_to_do
from datamodels.evaluation.removals import Removal
from datamodels.evaluation.retraining_plan import base_subsets, prepare_retrainings
from datamodels.files import check_new_file, new_file, refuse_existing
from datamodels.npy_file import open_map

RAW, SAFE = "support", "safe support"
_TARGETS_PER_BLOCK = 64


@dataclass(frozen=True, eq=False)
class _Found:
    """The supports of some targets, raw and with the margin of safety."""

    targets: NDArray[np.int64]  # of the datamodels
    weight: NDArray[np.float32]  # (n_train, n_targets), of all targets
    candidates: NDArray[np.bool_]  # (n_train,)
    by_name: dict[str, DataSupport]

    def examples(self, name: str, place: int) -> NDArray[np.int64]:
        size = int(self.by_name[name].size[place])
        return support_examples(self.weight[:, self.targets[place]], size, self.candidates)


def main() -> int:
    """The command; returns its exit status."""
    return run(SUPPORT, _find)


def _find(values: Values) -> None:
    given = section(values, "support")
    if given["out"] is not None:
        check_new_file(given["out"])
    if given["plan"] is not None:
        refuse_existing(Path(given["plan"]))  # a store, whose folders above are made
    if given["safety"] < 0 or given["show"] < 0:
        raise UsageError("--support.safety and --support.show must be 0 or more")
    source = read_fitted(
        given["datamodels"],
        given["store"],
        x_name=given["x_name"],
        y_name=given["y_name"],
        mask_id=given["mask_id"],
    )
    if given["alpha"] is None:
        given["alpha"] = source.alpha()
    base = read_base(given["base"])
    bases = base_subsets(
        source.n_train, given["repeats"], alpha=given["alpha"], base=base, seed=given["seed"]
    )
    found = _supports(source, given, None if base is None else bases[0])
    print(_report(found, given, base is not None))
    if given["out"] is not None:
        with new_file(given["out"]) as partial, partial.open("wb") as file:
            np.savez(file, **_as_arrays(found))  # type: ignore[arg-type]
    if given["plan"] is not None:
        plan = prepare_retrainings(
            given["plan"],
            source,
            _removals(found, source.columns),
            bases,
            kind="support",
            controls=given["controls"],
            description={
                name: given[name] for name in ("datamodels", "alpha", "base", "seed", "safety")
            },
        )
        print(f"\n{what_to_do(plan, given['plan'], source.store.layout)}")


def _supports(source: FittedSource, given: Values, base: NDArray[np.bool_] | None) -> _Found:
    datamodels = source.datamodels
    targets = np.array(chosen_targets(given["targets"], datamodels.n_targets, given["datamodels"]))
    weight = datamodels.weight
    share = given["alpha"] if base is None else 1.0
    start = (
        _measured(given["outputs"], datamodels.n_targets)[targets]
        if given["outputs"] is not None
        else datamodels.bias[targets] + _expected_sums(weight, targets, share, base)
    )
    candidates = np.ones(len(weight), bool) if base is None else base
    find = partial(
        smallest_supports, weight, start, share=share, candidates=candidates, targets=targets
    )
    by_name = {RAW: find()}
    if given["safety"]:
        by_name[SAFE] = find(margin=given["safety"] * source.residual_deviation(targets))
    return _Found(targets, weight, candidates, by_name)


def _expected_sums(
    weight: NDArray[np.float32],
    targets: NDArray[np.int64],
    share: float,
    base: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """Of the ``targets``' weights of a subset: a random one of a ``share``, or ``base``."""
    sums = np.empty(len(targets))
    for first in range(0, len(targets), _TARGETS_PER_BLOCK):
        part = slice(first, first + _TARGETS_PER_BLOCK)
        some = weight[:, targets[part]]
        sums[part] = some.sum(
            axis=0, dtype=np.float64, where=True if base is None else base[:, None]
        )
    return sums if base is not None else share * sums


def _measured(path: str, n_targets: int) -> NDArray[np.float64]:
    outputs = np.array(open_map(Path(path)))
    if outputs.shape != (n_targets,) or outputs.dtype.kind not in "biuf":
        raise InputError(
            f"{path} has shape {outputs.shape} and dtype {outputs.dtype}; expected a number for "
            f"each of the {n_targets} targets"
        )
    return outputs.astype(np.float64)


def _removals(found: _Found, columns: NDArray[np.int64]) -> list[Removal]:
    return [
        Removal(int(target), int(columns[target]), name, int(support.size[place]),
                found.examples(name, place))
        for name, support in found.by_name.items()
        for place, target in enumerate(found.targets)
        if support.flippable[place]
    ]  # fmt: skip


def _as_arrays(found: _Found) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {"targets": found.targets}
    for name, support in found.by_name.items():
        prefix = name.replace(" ", "_")
        examples = [found.examples(name, place) for place in range(len(found.targets))]
        arrays |= {
            f"{prefix}_{field}": getattr(support, field)
            for field in ("size", "found", "before", "after", "margin")
        }
        arrays[f"{prefix}_examples"] = np.concatenate([*examples, np.array([], np.int64)])
        arrays[f"{prefix}_ends"] = np.cumsum([len(part) for part in examples])
    return arrays


def _report(found: _Found, given: Values, from_base: bool) -> str:
    start = f"the mask {given['base']}" if from_base else (
        "the full training set" if given["alpha"] == 1
        else f"random subsets of a share {given['alpha']:.3g} of the training set"
    )  # fmt: skip
    lines = [f"Fewest training examples whose removal is predicted to flip a target, from {start}"]
    if SAFE in found.by_name:
        lines.append(f"safe: to {given['safety']:g} standard deviations of the residual below 0")
    lines += [_summary(name, support) for name, support in found.by_name.items()]
    order = np.argsort(
        np.where(found.by_name[RAW].flippable, found.by_name[RAW].size, np.iinfo(np.int64).max),
        kind="stable",
    )[: given["show"]]
    if len(order):
        rows = [["target", "output", *found.by_name]]
        rows += [
            [str(found.targets[place]), f"{found.by_name[RAW].before[place]:.2f}",
             *(_size(support, place) for support in found.by_name.values())]
            for place in order
        ]  # fmt: skip
        lines += ["", as_table(rows)]
    if len(order) < len(found.targets):
        where = "all are in" if given["out"] is not None else "--support.out=FILE.npz keeps all"
        named = f" {given['out']}" if given["out"] is not None else ""
        lines.append(f"and {len(found.targets) - len(order)} more; {where}{named}")
    return "\n".join(lines)


def _summary(name: str, support: DataSupport) -> str:
    below = int(np.count_nonzero(support.before <= 0))
    sizes = support.size[support.flippable]
    none = len(support.size) - below - len(sizes)
    quartiles = (
        ", of {:.0f} (median; middle half {:.0f} to {:.0f}) training examples".format(
            *np.quantile(sizes, [0.5, 0.25, 0.75])
        )
        if len(sizes)
        else ""
    )
    return (
        f"{name}: {len(sizes)} of {len(support.size)} targets{quartiles}; {none} have none within "
        f"all positive weights, {below} are below 0 already"
    )


def _size(support: DataSupport, place: int) -> str:
    if support.before[place] <= 0:
        return "already below 0"
    return str(support.size[place]) if support.found[place] else "none"


if __name__ == "__main__":
    raise SystemExit(main())
