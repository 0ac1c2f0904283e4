"""``python -m datamodels.evaluation.counterfactuals``: prepare retrainings that check datamodels.

Training examples are removed (the most helpful ones of a target, or as baselines random ones and
the nearest ones), and the change of its output is predicted as minus the sum of their weights. The
launcher retrains without them, ``datamodels.evaluation.retrained`` compares.
"""

from pathlib import Path

import numpy as np

from datamodels.cli.catalogue import COUNTERFACTUALS
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.evaluation.fitted_source import read_fitted
from datamodels.evaluation.removal_options import chosen_targets, numbers, read_base, what_to_do
from datamodels.evaluation.removals import Features, choose_removals
from datamodels.evaluation.retraining_plan import base_subsets, prepare_retrainings
from datamodels.files import refuse_existing
from datamodels.npy_file import open_map

_N_TARGETS = 20  # without --counterfactuals.targets


def main() -> int:
    """The command; returns its exit status."""
    return run(COUNTERFACTUALS, _prepare)


def _prepare(values: Values) -> None:
    given = section(values, "counterfactuals")
    refuse_existing(Path(given["out"]))
    source = read_fitted(
        given["datamodels"], given["store"], x_name=given["x_name"], y_name=given["y_name"]
    )
    base = read_base(given["base"])
    bases = base_subsets(
        source.n_train, given["repeats"], alpha=given["alpha"], base=base, seed=given["seed"]
    )
    features = _features(given)
    removals = choose_removals(
        source.datamodels.weight,
        source.columns,
        chosen_targets(
            given["targets"], source.datamodels.n_targets, given["datamodels"], at_most=_N_TARGETS
        ),
        sizes=numbers(given["sizes"], "counterfactuals.sizes"),
        methods=_methods(given["methods"], features),
        candidates=np.ones(source.n_train, bool) if base is None else bases[0],
        features=features,
        n_outputs=source.n_outputs,
        seed=given["seed"],
    )
    plan = prepare_retrainings(
        given["out"],
        source,
        removals,
        bases,
        kind="counterfactuals",
        controls=given["controls"],
        description={name: given[name] for name in ("datamodels", "alpha", "base", "seed")},
    )
    print(what_to_do(plan, given["out"], source.store.layout))


def _features(given: Values) -> Features | None:
    paths = [given["train_features"], given["test_features"]]
    if None not in paths:
        train, test = (open_map(Path(path)) for path in paths)
        return train, test
    if paths != [None, None]:
        raise UsageError(
            "give both --counterfactuals.train_features and --counterfactuals.test_features"
        )
    return None


def _methods(text: str | None, features: Features | None) -> list[str]:
    if text is not None:
        return list(dict.fromkeys(text.split(",")))
    return ["helpful", "random", *(["nearest"] if features else [])]


if __name__ == "__main__":
    raise SystemExit(main())
