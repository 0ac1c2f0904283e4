"""The configuration of one regression run: checked when built, saved with its results."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.regression.fit_config import FitConfig


@dataclass(frozen=True)
class RunConfig:
    """What ``compute_datamodels`` is asked to do. UsageError names what cannot be."""

    FILE_NAME: ClassVar[str] = "config.json"

    data_path: str  # a .beton file or a store
    num_train: int
    num_val: int
    fit: FitConfig
    x_name: str = "masks"  # of a store
    y_name: str = "margins"  # of a store
    seed: int = 0  # picks the validation rows; -1: the last ones
    target_start_ind: int = 0
    target_end_ind: int | None = None  # None: to the end

    def __post_init__(self) -> None:
        if self.num_train < 2 or self.num_val < 1:
            raise UsageError(
                f"num_train={self.num_train} and num_val={self.num_val}: a fit takes at least 2 "
                "models, and the choice of lambda at least 1"
            )
        if self.seed < -1:
            raise UsageError(f"seed={self.seed} must be 0 or more, or -1 for the last rows")
        end = self.target_end_ind
        if self.target_start_ind < 0 or (end is not None and end <= self.target_start_ind):
            raise UsageError(
                f"target_start_ind={self.target_start_ind} and target_end_ind="
                f"{-1 if end is None else end} select no target; give 0 <= start < end, or end=-1"
            )

    @property
    def targets(self) -> slice:
        """The targets to fit."""
        return slice(self.target_start_ind, self.target_end_ind)

    def save(self, folder: Path) -> None:
        """Write it into a folder of results."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / self.FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> "RunConfig":
        """The configuration behind a folder of results."""
        path = Path(folder) / cls.FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**content, "fit": FitConfig(**content["fit"])})
        except FileNotFoundError:
            raise MissingFileError(f"{folder} holds no {cls.FILE_NAME}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is damaged, or of another version: {error}") from None
