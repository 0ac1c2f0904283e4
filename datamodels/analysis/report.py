"""``python -m datamodels.analysis.report``: all that datamodels say, in one HTML file."""

from pathlib import Path

from datamodels.analysis.reporting.gathering import ReportOptions, gather_report
from datamodels.analysis.reporting.page import render_page
from datamodels.cli.catalogue import REPORT
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.files import check_new_file, new_file
from datamodels.optional import import_optional

__all__ = ["ReportOptions", "main", "write_report"]


def main() -> int:
    """The command; returns its exit status."""
    return run(REPORT, _report)


def write_report(options: ReportOptions, out: str | Path) -> Path:
    """Write the report to ``out``, whole or not at all; an existing file is never overwritten.

    Raises:
        ExistsError, MissingFileError: ``out`` is taken, or its folder does not exist.
        DatamodelsError: what is named in ``options`` is missing or does not fit together.
        MissingPackageError: jinja2, scipy, scikit-learn or pillow is not installed.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"report.out={out}: a report is a page; end the name in .html")
    check_new_file(out)
    import_optional("jinja2", "jinja2", "reports")  # before minutes of work
    page = render_page(gather_report(options))
    with new_file(out) as partial:
        partial.write_text(page, encoding="utf-8")
    return out


def _report(values: Values) -> None:
    given = section(values, "report")
    out = given.pop("out")
    path = write_report(ReportOptions(**given), out)
    print(f"wrote {path} ({path.stat().st_size / 2**20:.1f} MiB): open it in a browser")


if __name__ == "__main__":
    raise SystemExit(main())
