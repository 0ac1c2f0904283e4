"""``python -m datamodels.regression.compute_datamodels``: fit a datamodel for every target."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import COMPUTE_DATAMODELS
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section, warn
from datamodels.cli.shared_config import current_config
from datamodels.errors import InputError, UsageError
from datamodels.npy_file import open_map
from datamodels.read_only import refuse_inside_read_only
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.fit_config import FitConfig, are_lambdas
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.groups import read_groups
from datamodels.regression.logs import FINAL_FOLDER, read_logs
from datamodels.regression.named_rows import evaluation_rows
from datamodels.regression.penalty_factors import PenaltyFactors
from datamodels.regression.results import FILE_NAME, Results
from datamodels.regression.row_source import RowSource
from datamodels.regression.row_split import RowSplit, held_out_once, in_folds, whole
from datamodels.regression.run_config import RunConfig
from datamodels.regression.run_folder import RunFolder, check_complete, open_run
from datamodels.regression.run_report import print_summary, status_of
from datamodels.regression.shared_masks import warn_of_shared_masks
from datamodels.regression.sources import open_source, target_range
from datamodels.regression.validation_rows import pick_validation_rows
from datamodels.training.layout import StoreLayout

if TYPE_CHECKING:
    from datamodels.regression.fit import FitData, FitResult
    from datamodels.regression.plan import Plan

_SAGA_ONLY = ("cfg.lr", "early_stopping.check_every", "early_stopping.eps")


def main() -> int:
    """The command; returns its exit status."""
    return run(COMPUTE_DATAMODELS, _compute)


def _compute(values: Values) -> int:
    began = time.monotonic()
    out_dir = Path(values["cfg.out_dir"])
    config = _run_config(values)
    if values["cfg.resume"] and out_dir.exists():
        return _already_complete(out_dir, config)
    if config.moments is not None:
        refuse_inside_read_only(Path(config.moments), "cfg.moments")
    source = open_source(config.data_path, config.x_name, config.y_name)
    end = -1 if config.target_end_ind is None else config.target_end_ind
    target_range(config.target_start_ind, end, source, config.data_path)
    _say_what_is_ignored(source, config)
    with open_run(out_dir, resume=values["cfg.resume"]) as folder:
        resumed = folder.can_resume
        if resumed:
            folder.check_asked(config)
        positions = folder.positions(source) if resumed else first_rows(config, source)
        data = fit_data(config, source, positions)
        warn_of_shared_masks(source, config.data_path, data.split)
        result, rows = _fit(config, data, positions, folder, resumed=resumed)
        as_run = dataclasses.replace(
            config,
            fit=dataclasses.replace(config.fit, engine=result.plan.engine),
            engine_reason=result.plan.reason,
        )
        Results(result.datamodels, result.path, result.final, as_run, rows).save(out_dir)
    print_summary(result, as_run, time.monotonic() - began)
    print(f"wrote {out_dir / FILE_NAME}")
    return status_of(result.final, as_run)


def _already_complete(out_dir: Path, config: RunConfig) -> int:
    check_complete(out_dir, config)
    print(f"{out_dir} is complete: nothing is left to do")
    return status_of(read_logs(out_dir)[FINAL_FOLDER], config)


def _fit(
    config: RunConfig,
    data: "FitData",
    positions: NDArray[np.int64],
    folder: RunFolder,
    *,
    resumed: bool,
) -> "tuple[FitResult, FittedRows]":
    from datamodels.regression.fit import plan_of, run_fit  # numba is slow to import

    rows = FittedRows.of(data.source, positions)
    moments = None if config.moments is None else Path(config.moments)
    if resumed:
        plan = folder.plan()
        print(f"resuming {folder.path}", file=sys.stderr)
    else:
        plan = plan_of(data, config.fit, moments)
        folder.begin(config, plan, rows, data.source, positions)
    _say_engine(plan, config.fit)
    with ProgressLine() as progress:
        result = run_fit(
            data,
            plan.config,
            plan=plan,
            progress=progress,
            journal=folder.journal,
            moments=moments,
            keep_moments=folder.moments,
        )
    return result, rows


def _say_engine(plan: "Plan", asked: FitConfig) -> None:
    if plan.config.estimator == "lasso":
        print(f"engine: {plan.engine} ({plan.reason})", file=sys.stderr)
    of_use = plan.engine == "torch" or (asked.engine == "auto" and asked.device == "cpu")
    if asked.device is not None and not of_use:
        print(
            f"note: ignored, as engine={plan.engine} runs on the CPU: cfg.device={asked.device}",
            file=sys.stderr,
        )


def _run_config(values: Values) -> RunConfig:
    data, cfg = section(values, "data"), section(values, "cfg")
    stopping = section(values, "early_stopping")
    end = data.pop("target_end_ind")
    # The results tell where they come from, wherever they are read from.
    data["data_path"] = _absolute(data["data_path"])
    names = {f.name for f in dataclasses.fields(FitConfig)}
    fit = FitConfig(
        **{name: value for name, value in cfg.items() if name in names},
        check_every=stopping["check_every"],
        change_eps=stopping["eps"],
        seed=max(data["seed"], 0),
    )
    return RunConfig(
        **data,
        target_end_ind=None if end == -1 else end,
        fit=fit,
        lam=_number_or_path(cfg["lam"]),
        groups=cfg["groups"],
        penalty_factors=_absolute(cfg["penalty_factors"]),
        moments=_absolute(cfg["moments"]),
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _number_or_path(text: str | None) -> float | str | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return _absolute(text)


def first_rows(config: RunConfig, source: RowSource) -> NDArray[np.int64]:
    """Positions of the first num_train + num_val rows of the source, ascending.

    Rows that a view holds out for evaluation come after all others, and with a warning.
    """
    used = config.num_rows
    if used > source.n_rows:
        val = "" if config.num_val is None else f" and num_val={config.num_val}"
        raise InputError(
            f"num_train={config.num_train}{val} need {used} complete rows; "
            f"{config.data_path} has {source.n_rows}. Lower one, or get the missing "
            f"{used - source.n_rows}: {StoreLayout(Path(config.data_path)).how_to_complete()}"
        )
    held_out = np.isin(source.idx, evaluation_rows(config.data_path))
    taken = used - int((~held_out).sum())
    if taken > 0:
        warn(
            f"{taken} of the {used} rows are held out for evaluation in {config.data_path}: what "
            "is fitted to them is not to be scored on them. Lower num_train to leave them out"
        )
    return np.sort(np.argsort(held_out, kind="stable")[:used])


def split_rows(config: RunConfig, source: RowSource, rows: NDArray[np.int64]) -> RowSplit:
    """Which of ``rows`` choose lambda."""
    if config.fit.folds is not None:
        return in_folds(rows, source.idx[rows], config.fit.folds, config.seed)
    if config.lam is not None or config.num_val is None:
        return whole(rows)
    val = pick_validation_rows(len(rows), config.num_val, config.seed)
    return held_out_once(np.delete(rows, val), rows[val])


def fit_data(config: RunConfig, source: RowSource, rows: NDArray[np.int64]) -> "FitData":
    """The data behind ``config``, and how its rows are used."""
    from datamodels.regression.fit import FitData

    factors = groups = None
    if config.penalty_factors is not None:
        factors = PenaltyFactors.read(config.penalty_factors, source.n_features, source.n_targets)
    if config.groups is not None:
        groups = read_groups(source, config.data_path, config.groups)
    return FitData(
        source=source,
        split=split_rows(config, source, rows),
        targets=config.targets,
        factors=factors,
        groups=groups,
        groups_key=config.groups,
        lam=_given_lambda(config, source.n_targets),
    )


def _given_lambda(config: RunConfig, n_targets: int) -> NDArray[np.float64] | None:
    """One lambda for each of the run's targets, where it is given."""
    if config.lam is None:
        return None
    if isinstance(config.lam, float):
        return np.full(n_targets, config.lam)[config.targets]
    if not Path(config.lam).exists():
        raise UsageError(
            f"lam={config.lam} is neither a number nor a file; give a lambda, or an .npy file of "
            "one for each target"
        )
    lam = open_map(Path(config.lam))
    if lam.shape != (n_targets,) or not are_lambdas(lam):
        raise InputError(
            f"lam={config.lam}: shape {lam.shape}, dtype {lam.dtype}; give one lambda above 0 for "
            f"each of the {n_targets} targets of {config.data_path}"
        )
    return lam.astype(np.float64)[config.targets]


def _say_what_is_ignored(source: RowSource, config: RunConfig) -> None:
    given = current_config().content
    names = [name for name in ("data.x_name", "data.y_name") if tuple(name.split(".")) in given]
    if names and isinstance(source, BetonFile):
        print(
            f"note: ignored, as a .beton file holds one x and one y: {', '.join(names)}",
            file=sys.stderr,
        )
    if ("cfg", "num_workers") in given:
        print("note: cfg.num_workers is ignored by every engine; see cfg.threads", file=sys.stderr)
    ignored = [name for name in _SAGA_ONLY if tuple(name.split(".")) in given]
    if ignored and config.fit.engine != "saga":
        print(
            f"note: ignored, as only the SAGA solver uses them: {', '.join(ignored)}; other "
            "engines take no step size and stop on the duality gap",
            file=sys.stderr,
        )


if __name__ == "__main__":
    raise SystemExit(main())
