"""``python -m datamodels.published view DIR``: show downloaded files as stores.

``download`` ends with the same; this is for files that came in another way.
"""

from pathlib import Path

from datamodels.cli.published_commands import PUBLISHED_VIEW
from datamodels.cli.runner import Values, run, warn
from datamodels.errors import MissingFileError
from datamodels.published.view import refresh_views


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_VIEW, _view)


def _view(values: Values) -> int:
    root = Path(values["view.root"])
    views = refresh_views(root)
    if not views:
        raise MissingFileError(
            f"{root} holds no published array: they would be in {root / 'cifar' / 'data'} and the "
            "like. Name the folder that was --download.root"
        )
    for view in views:
        print(view)
        for remark in view.remarks:
            warn(remark)
    return 0
