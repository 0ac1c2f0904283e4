"""``python -m datamodels.evaluation.learning_curve``: how much more models would help."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.cli.catalogue import LEARNING_CURVE
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.errors import DatamodelsError, UsageError
from datamodels.evaluation.curve_journal import open_steps, some_hashes
from datamodels.evaluation.curve_picture import draw_curve
from datamodels.evaluation.curves import (
    CurveRows,
    LearningCurve,
    checked_sizes,
    default_sizes,
    measure_learning_curve,
    split_rows,
)
from datamodels.evaluation.extrapolation import LAWS, Extrapolation, next_goals
from datamodels.evaluation.measures import check_correlation
from datamodels.evaluation.repeats import read_mask_id
from datamodels.files import new_folder
from datamodels.optional import require_matplotlib
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.named_rows import evaluation_rows
from datamodels.regression.sources import target_range

_POOR_FIT = 0.02  # of LDS, root mean square: beyond what scores of held-out models are unsure of
_LEGEND = (
    "LDS: mean over targets; R2: of the variance of all outputs together, on the held-out models;\n"
    "error: mean squared error there (both of single trainings, where masks have several);\n"
    "weights: non-zero ones a target, on average"
)
_INTERVALS = (
    "(intervals allow for which models were held out and which were learnt from, not for a law\n"
    "that is another beyond these sizes)"
)


def main() -> int:
    """The command; returns its exit status."""
    return run(LEARNING_CURVE, _measure)


def _measure(values: Values) -> None:
    options = section(values, "curve")
    require_matplotlib()
    check_correlation(options["correlation"])
    if options["law"] not in LAWS:
        raise UsageError(f"curve.law={options['law']}; it must be one of {', '.join(LAWS)}")
    if options["resamples"] < 1:
        raise UsageError(f"curve.resamples={options['resamples']} is out of range: at least 1")
    wanted = _numbers("goals", options["goals"], float)
    if unreachable := [value for value in wanted if not 0 < value < 1]:
        raise UsageError(
            f"curve.goals holds {unreachable[0]:g}: an LDS is a correlation; name some above 0 and "
            "below 1"
        )
    config = _fit_config(options)
    dataset = RegressionDataset(options["data_path"], options["y_name"], options["x_name"])
    target_range(
        options["target_start_ind"], options["target_end_ind"], dataset, options["data_path"]
    )
    ids = read_mask_id(options["data_path"], dataset, options["mask_id"])
    reserved = np.flatnonzero(np.isin(dataset.idx, evaluation_rows(options["data_path"])))
    rows = split_rows(dataset, options["num_held_out"], ids, reserved)
    sizes = _numbers("sizes", options["sizes"], int) or default_sizes(len(rows.learnt))
    _refuse_what_cannot_be_fitted(config, dataset, sizes, rows, _targets(options))
    out = Path(options["out"])
    asked = _asked(options, config, dataset, rows, sizes)
    with open_steps(out, asked) as journal, ProgressLine() as progress:
        curve = measure_learning_curve(
            dataset,
            config,
            sizes=sizes,
            rows=rows,
            targets=_targets(options),
            correlation=options["correlation"],
            n_resamples=options["resamples"],
            seed=options["seed"],
            journal=journal,
            fit_journal=journal,
            progress=progress,
        )
        progress.close()
        extrapolation = _extrapolate(curve, options["law"], options["seed"])
        with new_folder(out) as partial:
            curve.save(partial)
            beyond = {"law": options["law"], "goals": wanted}  # the report extrapolates likewise
            _save_asked(partial, asked | beyond, extrapolation)
            draw_curve(curve, extrapolation, partial / "curve.png")
    print(curve.table())
    print(_LEGEND)
    _say(curve, extrapolation, wanted)
    print(f"wrote {out}")


def _refuse_what_cannot_be_fitted(
    config: FitConfig,
    dataset: RegressionDataset,
    sizes: list[int],
    rows: CurveRows,
    targets: slice,
) -> None:
    """What :func:`measure_learning_curve` would refuse, before a folder is made for it."""
    from datamodels.evaluation.prefixes import plan_prefixes  # numba is slow to import

    start, stop, _ = targets.indices(dataset.n_targets)
    most = checked_sizes(sizes, len(rows.learnt))[-1]
    plan_prefixes(config, dataset, most, stop - start, len(rows.held_out))


def _extrapolate(curve: LearningCurve, law: str, seed: int) -> Extrapolation | None:
    try:
        return curve.extrapolate(law, seed=seed)
    except DatamodelsError:  # too few sizes: the curve is still worth its while
        return None


def _say(curve: LearningCurve, found: Extrapolation | None, wanted: list[float]) -> None:
    if found is None:
        print("too few sizes to extrapolate")
        return
    law = found.fitted.law
    print(
        f"LDS(n) = {law.words} (the {law.name} law), off by {found.rms_residual:.4f} (rms); "
        f"limit {found.limit}"
    )
    if found.rms_residual > _POOR_FIT:
        print("the points do not follow this law: what it says beyond them is worth little")
    twice = 2 * found.n_last
    print(f"with {twice:,} models: LDS {found.at(twice)}")
    print(_INTERVALS)
    for value in wanted or next_goals(float(curve.mean_lds[-1])):
        print(found.say_needed(value))


def _save_asked(folder: Path, asked: dict[str, Any], found: Extrapolation | None) -> None:
    content: dict[str, Any] = {k: v for k, v in asked.items() if k != "hashes"}
    if found is not None:
        content["extrapolation"] = {
            "law": found.fitted.law.words,
            "coefficients": found.fitted.coefficients[0].tolist(),
            "shape": float(found.fitted.shapes[0]),
            "limit": asdict(found.limit),
            "rms_residual": found.rms_residual,
        }
    text = json.dumps(content, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _fit_config(options: dict[str, Any]) -> FitConfig:
    names = ("k", "eps", "estimator", "engine", "device", "folds", "memory_gb", "threads")
    return FitConfig(**{name: options[name] for name in names}, seed=options["seed"])


def _targets(options: dict[str, Any]) -> slice:
    end = options["target_end_ind"]
    return slice(options["target_start_ind"], None if end == -1 else end)


def _asked(
    options: dict[str, Any],
    config: FitConfig,
    dataset: RegressionDataset,
    rows: CurveRows,
    sizes: list[int],
) -> dict[str, Any]:
    """What a resumed run must be asked for as well."""
    same = ("x_name", "y_name", "correlation", "resamples", "seed", "target_start_ind",
            "target_end_ind")  # fmt: skip
    return {
        **{name: options[name] for name in same},
        "fit": {k: v for k, v in asdict(config).items() if k not in ("memory_gb", "threads")},
        "data_path": str(Path(options["data_path"]).absolute()),
        "sizes": sizes,
        "learnt": dataset.idx[rows.learnt].tolist(),
        "held_out": dataset.idx[rows.held_out].tolist(),
        "hashes": some_hashes(dataset, np.concatenate([rows.learnt, rows.held_out])),
    }


def _numbers(name: str, text: str | None, kind: type) -> list[Any]:
    if text is None:
        return []
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"curve.{name}={text}: give numbers, A,B,...") from None


if __name__ == "__main__":
    raise SystemExit(main())
