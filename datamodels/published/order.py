"""What one download is asked for, and the bucket it comes from."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from datamodels.published.catalogue import PublishedFile
from datamodels.published.evaluation_rows import Told
from datamodels.published.partial_file import Source
from datamodels.published.place import check_writable
from datamodels.published.plan import Plan, make_plan
from datamodels.published.retries import persistently
from datamodels.published.s3 import Bucket
from datamodels.published.selection import Rows


@dataclass(frozen=True)
class Order:
    """``files``, of ``.npy`` files ``rows`` of them (None: all), into folder ``root``."""

    root: Path
    files: tuple[PublishedFile, ...]
    rows: Rows | None
    told: Told  # of the rows held out for evaluation
    workers: int  # requests at a time
    retries: int  # of each request
    will_write: bool  # where something is missing: not in a dry run
    _heads: dict[str, Source] = field(default_factory=dict, repr=False)

    def plan(self, *, agreed: bool) -> Plan:
        """What is missing now. Unless it is ``agreed`` to, no byte of an object is read."""
        return make_plan(
            self.root,
            self.files,
            self.rows,
            head=self._head,
            read=self._read if agreed else None,
            evaluation=self.told,
        )

    @cached_property
    def bucket(self) -> Bucket:
        """Made only where something is missing; DatamodelsError where nothing can be written."""
        if self.will_write:
            check_writable(self.root, self.files)
        return Bucket(connections=self.workers)

    def _head(self, key: str) -> Source:
        """What the bucket says of an object, the first time that it says something."""
        if key not in self._heads:
            self._heads[key] = persistently(lambda: self.bucket.head(key), self.retries)
        return self._heads[key]

    def _read(self, source: Source, start: int, stop: int) -> bytes:
        return persistently(lambda: b"".join(self.bucket.read(source, start, stop)), self.retries)
