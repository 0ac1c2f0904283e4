"""The learning curve in a folder, as the report shows it."""

from datamodels.analysis.reporting.content import ReportCurve


def read_curve(folder: str) -> ReportCurve:
    """What ``python -m datamodels.evaluation.learning_curve`` wrote."""
    raise NotImplementedError(folder)
