"""``python -m datamodels.published view DIR``: show downloaded files as stores.

``download`` ends with the same; this is for files that came in another way.
"""

from pathlib import Path

from datamodels.cli.published_commands import PUBLISHED_VIEW
from datamodels.cli.runner import Values, run, warn
from datamodels.errors import MissingFileError
from datamodels.published.layout import JOURNAL, PARTIAL, final_of
from datamodels.published.partial_file import present_file
from datamodels.published.view import refresh_views


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_VIEW, _view)


def _view(values: Values) -> int:
    root = Path(values["view.root"])
    views = refresh_views(
        root, evaluation=values["view.evaluation"], n_evaluation=values["view.n_evaluation"]
    )
    if not views:
        lost = [
            p.name for p in root.glob(f"*/data/*.npy{PARTIAL}") if present_file(final_of(p)) is None
        ]
        if lost:
            raise MissingFileError(
                f"{root} holds no whole array, and of {', '.join(sorted(lost))} nothing is known "
                f"without {'its' if len(lost) == 1 else 'their'} journal ({JOURNAL}): remove "
                f"{'it' if len(lost) == 1 else 'them'} and download again"
            )
        raise MissingFileError(
            f"{root} holds no published array: they would be in {root / 'cifar' / 'data'} and the "
            "like. Name the folder that was --download.root"
        )
    for view in views:
        print(view)
        for remark in view.remarks:
            warn(remark)
    return 0
