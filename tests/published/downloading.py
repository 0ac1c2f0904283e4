"""Downloads in this process, in small pieces."""

import os
from functools import cache
from pathlib import Path

from datamodels.published.catalogue import find
from datamodels.published.plan import Plan, make_plan
from datamodels.published.s3 import Bucket
from datamodels.published.selection import Rows
from datamodels.published.transfer import Transfer

FILES = [find("cifar", 0.5, kind) for kind in ("masks", "margins", "datamodels")]
CHUNK = 256 * 1024


@cache
def bucket_at(endpoint: str) -> Bucket:
    """boto3 takes a third of a second to get ready."""
    assert os.environ["AWS_ENDPOINT_URL"] == endpoint
    return Bucket()


def the_bucket() -> Bucket:
    return bucket_at(os.environ["AWS_ENDPOINT_URL"])


def planned(root: Path, files=FILES, rows: str | None = None) -> Plan:
    asked = the_bucket()
    return make_plan(
        root,
        files,
        None if rows is None else Rows(rows),
        head=asked.head,
        read=lambda *span: b"".join(asked.read(*span)),
    )


def download(root: Path, files=FILES, rows=None, *, workers=3, chunk=CHUNK, retries=3) -> Transfer:
    plan = planned(root, files, rows)
    transfer = Transfer(the_bucket(), plan, workers=workers, chunk=chunk, retries=retries)
    transfer.run(lambda _: None)
    return transfer
