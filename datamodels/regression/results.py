"""The folder of results of a run: what it holds, and how it is written and read."""

from dataclasses import dataclass
from pathlib import Path

from datamodels.files import new_folder
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.logs import FINAL_FOLDER, PATH_FOLDER, Fields, read_logs, write_logs
from datamodels.regression.result import Datamodels
from datamodels.regression.run_config import RunConfig

FILE_NAME = "datamodels.pt"


@dataclass(frozen=True, eq=False)
class Results:
    """All that a run leaves.

    ``datamodels.pt``; ``regularization_path/`` and ``final_lambda/`` (see ``logs``);
    ``config.json``, the configuration as run; ``rows.npy`` and ``first_masks.npy``, the models that
    took part.
    """

    datamodels: Datamodels
    path: Fields
    final: Fields
    config: RunConfig
    rows: FittedRows

    def save(self, out_dir: Path) -> None:
        """Write the folder, which appears whole or not at all."""
        with new_folder(out_dir) as folder:
            self.config.save(folder)
            self.rows.save(folder)
            write_logs(folder, self.path, self.final)
            self.datamodels.save(folder / FILE_NAME)

    @classmethod
    def read(cls, out_dir: str | Path) -> "Results":
        """The results in a folder."""
        logs = read_logs(out_dir)
        return cls(
            Datamodels.load(Path(out_dir) / FILE_NAME),
            logs[PATH_FOLDER],
            logs[FINAL_FOLDER],
            RunConfig.read(out_dir),
            FittedRows.read(out_dir),
        )
