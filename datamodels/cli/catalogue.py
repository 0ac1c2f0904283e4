"""Every command of the package and every option it takes, as data.

Option names, types and defaults are a contract with users' scripts and configuration files. They
stand in a module for each package; nothing there, or here, imports the code behind the commands.
"""

from datamodels.cli.analysis_commands import (
    CLUSTERS,
    COMPARE,
    INFLUENCE,
    LEAKAGE,
    MISLABELLED,
    REPORT,
    TOP,
)
from datamodels.cli.evaluation_commands import (
    COUNTERFACTUALS,
    LDS,
    LEARNING_CURVE,
    LINEAR_SHARE,
    RETRAINED,
    SUPPORT,
)
from datamodels.cli.published_commands import PUBLISHED_COMMANDS
from datamodels.cli.regression_commands import COMPUTE_DATAMODELS, MERGE, MOMENTS, WRITE_DATASET
from datamodels.cli.training_commands import (
    ESTIMATE,
    GROW,
    INITIALIZE_STORE,
    LAUNCH,
    MERGE_STORES,
    STATUS,
    VERIFY,
    WORKER,
)

__all__ = [
    "CLUSTERS",
    "COMMANDS",
    "COMPARE",
    "COMPUTE_DATAMODELS",
    "COUNTERFACTUALS",
    "ESTIMATE",
    "GROW",
    "INFLUENCE",
    "INITIALIZE_STORE",
    "LAUNCH",
    "LDS",
    "LEAKAGE",
    "LEARNING_CURVE",
    "LINEAR_SHARE",
    "MERGE",
    "MERGE_STORES",
    "MISLABELLED",
    "MOMENTS",
    "REPORT",
    "RETRAINED",
    "STATUS",
    "SUPPORT",
    "TOP",
    "VERIFY",
    "WORKER",
    "WRITE_DATASET",
    "known_names",
]

COMMANDS = (
    INITIALIZE_STORE,
    WORKER,
    LAUNCH,
    ESTIMATE,
    WRITE_DATASET,
    COMPUTE_DATAMODELS,
    MOMENTS,
    MERGE,
    LDS,
    STATUS,
    GROW,
    VERIFY,
    MERGE_STORES,
    COUNTERFACTUALS,
    SUPPORT,
    RETRAINED,
    LEARNING_CURVE,
    LINEAR_SHARE,
    TOP,
    CLUSTERS,
    LEAKAGE,
    MISLABELLED,
    COMPARE,
    INFLUENCE,
    REPORT,
    *PUBLISHED_COMMANDS,
)


def known_names() -> set[str]:
    """Full names of all options of all commands."""
    return {name for command in COMMANDS for name in command.options()}
