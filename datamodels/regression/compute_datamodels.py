"""``python -m datamodels.regression.compute_datamodels``: fit a datamodel for every target."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import COMPUTE_DATAMODELS
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.cli.shared_config import current_config
from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.files import new_folder, refuse_existing
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.row_source import RowSource
from datamodels.regression.run_config import RunConfig
from datamodels.regression.status import Status
from datamodels.regression.validation_rows import pick_validation_rows

if TYPE_CHECKING:
    from datamodels.regression.fit import FitResult

RESULT = "datamodels.pt"
_SAGA_ONLY = ("cfg.lr", "cfg.num_workers", "early_stopping.check_every", "early_stopping.eps")


def main() -> int:
    """The command; returns its exit status."""
    return run(COMPUTE_DATAMODELS, _compute)


def _compute(values: Values) -> int:
    began = time.monotonic()
    out_dir = Path(values["cfg.out_dir"])
    config = _run_config(values)
    refuse_existing(out_dir)
    source = open_source(config)
    check_targets(config, source)
    train_rows, val_rows = pick_rows(config, source)
    _say_what_is_ignored(source)
    from datamodels.regression.fit import fit_datamodels, save_logs  # numba is slow to import

    with new_folder(out_dir) as folder:
        with ProgressLine() as progress:
            result = fit_datamodels(
                source, train_rows, val_rows, config.fit, targets=config.targets, progress=progress
            )
        config.save(folder)
        FittedRows.of(source, np.concatenate([train_rows, val_rows])).save(folder)
        save_logs(folder, result)
        result.datamodels.save(folder / RESULT)
    _print_summary(result, config, time.monotonic() - began)
    print(f"wrote {out_dir / RESULT}")
    return _status(result, config)


def _run_config(values: Values) -> RunConfig:
    data, cfg = section(values, "data"), section(values, "cfg")
    end = data.pop("target_end_ind")
    # The results tell where they come from, wherever they are read from.
    data["data_path"] = str(Path(data["data_path"]).absolute())
    fit = FitConfig(
        k=cfg["k"], eps=cfg["eps"], use_bias=cfg["use_bias"], batch_size=cfg["batch_size"]
    )
    return RunConfig(**data, target_end_ind=None if end == -1 else end, fit=fit)


def open_source(config: RunConfig) -> RowSource:
    """The rows behind ``config``: of a store's folder, or of a ``.beton`` file."""
    path = Path(config.data_path)
    if path.is_dir():
        return RegressionDataset(path, config.y_name, config.x_name)
    if not path.exists():
        raise MissingFileError(
            f"there is no {path}: data_path names a store's folder, or a .beton file made by "
            "python -m datamodels.regression.write_dataset"
        )
    return BetonFile.open(path)


def check_targets(config: RunConfig, source: RowSource) -> None:
    """UsageError unless the source has the targets that are asked for."""
    end = config.target_end_ind
    if config.target_start_ind >= source.n_targets or (end or 0) > source.n_targets:
        raise UsageError(
            f"target_start_ind={config.target_start_ind} and target_end_ind="
            f"{-1 if end is None else end}: {config.data_path} has {source.n_targets} targets, 0 "
            f"to {source.n_targets - 1}; end=-1 takes all from the start on"
        )


def pick_rows(config: RunConfig, source: RowSource) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation rows, among the first num_train + num_val of the source."""
    used = config.num_train + config.num_val
    if used > source.n_rows:
        raise InputError(
            f"num_train={config.num_train} and num_val={config.num_val} need {used} complete rows; "
            f"{config.data_path} has {source.n_rows}. Lower one, or train the missing "
            f"{used - source.n_rows}"
        )
    val_rows = pick_validation_rows(used, config.num_val, config.seed)
    return np.setdiff1d(np.arange(used), val_rows), val_rows


def _say_what_is_ignored(source: RowSource) -> None:
    given = current_config().content
    names = [name for name in ("data.x_name", "data.y_name") if tuple(name.split(".")) in given]
    if names and isinstance(source, BetonFile):
        print(
            f"note: ignored, as a .beton file holds one x and one y: {', '.join(names)}",
            file=sys.stderr,
        )
    ignored = [name for name in _SAGA_ONLY if tuple(name.split(".")) in given]
    if ignored:
        print(
            f"note: ignored, as only the SAGA solver uses them: {', '.join(ignored)}; this solver "
            "takes no step size and stops on the duality gap",
            file=sys.stderr,
        )


def _print_summary(result: "FitResult", config: RunConfig, seconds: float) -> None:
    final, r2 = result.final, result.validation_r2
    least, median, most = np.percentile(final["weight_nz"], (0, 50, 100))
    defined = r2[~np.isnan(r2)]
    shown = f"{np.median(defined):.3f} in the median" if len(defined) else "undefined"
    print(
        f"{result.datamodels.n_targets} datamodels of {result.datamodels.n_train_examples} "
        f"training examples, from {config.num_train} + {config.num_val} models\n"
        f"  non-zero weights       {median:.0f} in the median, {least:.0f} to {most:.0f}\n"
        f"  validation R2          {shown}\n"
        f"  largest relative gap   {final['gap'].max():.1e}\n"
        f"  seconds                {seconds:.1f}"
    )


def _status(result: "FitResult", config: RunConfig) -> int:
    """1 when a fit was not finished, with a line that says so."""
    status, gap = result.final["status"], result.final["gap"]
    rounded = np.flatnonzero(status == Status.FLOAT32_LIMIT)
    if len(rounded):
        print(
            f"note: {_named(rounded, config)} solved, but float32 weights hold the gap only to "
            f"{gap[rounded].max():.1e}, not to {config.fit.final_tol:g}",
            file=sys.stderr,
        )
    failed = np.flatnonzero((status != Status.CONVERGED) & (status != Status.FLOAT32_LIMIT))
    if not len(failed):
        return 0
    print(
        f"error: {_named(failed, config)} not solved to the gap {config.fit.final_tol:g}; see "
        f"final_lambda/status.npy. Raise cfg.eps, which ends the path at a larger lambda, or fit "
        "more models",
        file=sys.stderr,
    )
    return 1


def _named(targets: NDArray[np.int64], config: RunConfig) -> str:
    """How many targets, and which is the first of them."""
    first = targets[0] + config.target_start_ind
    others = len(targets) - 1
    return f"targets {first} and {others} more are" if others else f"target {first} is"


if __name__ == "__main__":
    raise SystemExit(main())
