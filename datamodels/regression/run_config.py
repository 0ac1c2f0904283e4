"""The configuration of one regression run: checked when built, saved with its results."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.regression.fit_config import NO_LAMBDA, FitConfig


@dataclass(frozen=True)
class RunConfig:
    """What ``compute_datamodels`` is asked to do. UsageError names what cannot be."""

    FILE_NAME: ClassVar[str] = "config.json"

    data_path: str  # a .beton file or a store
    num_train: int
    fit: FitConfig
    num_val: int | None = None  # needed only where held-out rows choose lambda
    x_name: str = "masks"  # of a store
    y_name: str = "margins"  # of a store
    seed: int = 0  # picks the validation rows; -1: the last ones
    target_start_ind: int = 0
    target_end_ind: int | None = None  # None: to the end
    # given for all targets (of ridge: without unit), or an .npy file (n_targets,)
    lam: float | str | None = None
    groups: str | None = None  # array of the store that labels the rows
    penalty_factors: str | None = None  # .npy file
    moments: str | None = None  # .npz file to use, extend or make
    engine_reason: str = ""  # why fit.engine was picked, where it was

    def __post_init__(self) -> None:
        if self.chooses_by_held_out_rows:
            if self.num_val is None:
                raise UsageError(
                    "num_val is missing: the models that choose lambda; or choose it by "
                    "cross-validation (cfg.folds=5), or give it (cfg.lam)"
                )
            if self.num_train < 2 or self.num_val < 1:
                raise UsageError(
                    f"num_train={self.num_train} and num_val={self.num_val}: a fit takes at least "
                    "2 models, and the choice of lambda at least 1"
                )
        elif self.num_train < 2 or (self.num_val or 0) < 0:
            raise UsageError(
                f"num_train={self.num_train} and num_val={self.num_val}: a fit takes at least 2 "
                "models"
            )
        if self.lam is not None and self.fit.folds is not None:
            raise UsageError("lam and folds are both given: lambda is either given or chosen")
        if self.lam is not None and self.fit.estimator == "difference":
            raise UsageError(NO_LAMBDA)
        if isinstance(self.lam, float) and not 0 < self.lam < float("inf"):
            raise UsageError(f"lam={self.lam}; lambda is above 0, in the units of the outputs")
        if self.seed < (-1 if self.chooses_by_held_out_rows else 0):
            raise UsageError(
                f"seed={self.seed} must be 0 or more, or -1 for the last rows as validation rows"
            )
        end = self.target_end_ind
        if self.target_start_ind < 0 or (end is not None and end <= self.target_start_ind):
            raise UsageError(
                f"target_start_ind={self.target_start_ind} and target_end_ind="
                f"{-1 if end is None else end} select no target; give 0 <= start < end, or end=-1"
            )

    @property
    def chooses_by_held_out_rows(self) -> bool:
        """Whether num_val rows choose lambda, rather than folds or nobody."""
        if self.fit.estimator == "difference" and self.num_val is None:
            return False  # it has no lambda
        return self.fit.folds is None and self.lam is None

    @property
    def is_of_beton(self) -> bool:
        """Whether the rows came from a ``.beton`` file. A store may have been moved since."""
        return self.data_path.endswith(".beton") and not Path(self.data_path).is_dir()

    @property
    def num_rows(self) -> int:
        """Complete rows that take part."""
        return self.num_train + (self.num_val or 0)

    @property
    def targets(self) -> slice:
        """The targets to fit."""
        return slice(self.target_start_ind, self.target_end_ind)

    def options(self) -> dict[str, object]:
        """All options by name, those of the fit after the run's own. One that both have (the fit's
        ``seed`` is not below 0) is called ``fit.seed`` there."""
        own = dataclasses.asdict(self)
        fit = own.pop("fit")
        return own | {f"fit.{name}" if name in own else name: fit[name] for name in fit}

    def differences(self, other: "RunConfig") -> list[str]:
        """Names of the options that differ, those of the fit included."""
        others = other.options()
        return [name for name, value in self.options().items() if value != others[name]]

    def option(self, name: str) -> object:
        """The value of an option, of the fit or of the run."""
        return self.options()[name]

    def save(self, folder: Path, name: str = FILE_NAME) -> None:
        """Write it into a folder of results."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / name).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path, name: str = FILE_NAME) -> "RunConfig":
        """The configuration behind a folder of results."""
        path = Path(folder) / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**content, "fit": FitConfig(**content["fit"])})
        except FileNotFoundError:
            raise MissingFileError(f"{folder} holds no {name}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is damaged, or of another version: {error}") from None
