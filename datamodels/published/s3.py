"""A bucket whose requesters pay: what an object is, and ranges of its bytes.

Every range is asked for with If-Match, so that an object that was replaced is noticed and never
mixed with what it was before. The endpoint and the credentials are those of boto3's own chain
(AWS_ENDPOINT_URL, AWS_PROFILE, ...). Nothing is tried twice here: see ``transfer``.
"""

import re
from collections.abc import Iterator
from typing import Any

from datamodels.optional import import_optional
from datamodels.published.layout import BUCKET
from datamodels.published.partial_file import Source
from datamodels.published.s3_errors import (
    S3Error,
    TemporaryError,
    changed,
    is_url,
    no_credentials,
    translated,
)

_PIECE = 256 * 1024  # bytes read at a time: how soon a stop is noticed
_CONNECT_SECONDS = 10
_READ_SECONDS = 30
_NO_URL = "AWS_ENDPOINT_URL is no URL such as http://host:port"


class Bucket:
    """The objects of one bucket. Several threads may use it at a time."""

    def __init__(self, name: str = BUCKET, *, connections: int = 10) -> None:
        """MissingPackageError without boto3, CredentialsError where its chain finds none."""
        boto3 = import_optional("boto3", "boto3", "the published files", extra="published")
        from botocore.config import Config
        from botocore.exceptions import InvalidRegionError

        self.name = name
        with translated(f"s3://{name}", "boto3"):
            session = boto3.session.Session()
            if session.get_credentials() is None:
                raise no_credentials()
            try:
                self._client: Any = session.client(
                    "s3",
                    config=Config(
                        connect_timeout=_CONNECT_SECONDS,
                        read_timeout=_READ_SECONDS,
                        max_pool_connections=connections,
                        retries={"total_max_attempts": 1},
                    ),
                )
            except InvalidRegionError:
                raise S3Error(
                    "the region is none such as us-east-1: mend AWS_DEFAULT_REGION, AWS_REGION or "
                    "the region of your profile in ~/.aws/config"
                ) from None
            except ValueError:  # botocore's, of an endpoint that is no URL
                raise S3Error(_NO_URL) from None
        self._endpoint = str(self._client.meta.endpoint_url)
        if not is_url(self._endpoint):
            raise S3Error(_NO_URL)

    def head(self, key: str) -> Source:
        """Size and ETag of an object, without its bytes."""
        with translated(self._named(key), self._endpoint):
            answer = self._client.head_object(Bucket=self.name, Key=key, RequestPayer="requester")
        name = self._named(key)
        return Source(self.name, key, _told(answer, "ETag", name), _length(answer, name))

    def read(self, source: Source, start: int, stop: int) -> Iterator[bytes]:
        """Bytes ``start`` to ``stop - 1`` of the object, piece by piece.

        ChangedObjectError where the object is no longer ``source``; TemporaryError where the
        connection breaks, after the pieces that came.
        """
        name = self._named(source.key)
        with translated(name, self._endpoint):
            answer = self._client.get_object(
                Bucket=source.bucket,
                Key=source.key,
                Range=f"bytes={start}-{stop - 1}",
                IfMatch=source.etag,
                RequestPayer="requester",
            )
        body = answer["Body"]
        try:
            _check_answer(answer, source, start, stop, name)
            rest = stop - start
            while rest:
                with translated(name, self._endpoint):
                    piece = body.read(min(_PIECE, rest))
                if not piece:
                    raise TemporaryError(f"{name} ended {rest} bytes early. Run the same again")
                rest -= len(piece)
                yield piece
        finally:
            body.close()

    def _named(self, key: str) -> str:
        return f"s3://{self.name}/{key}"


def _check_answer(answer: Any, source: Source, start: int, stop: int, name: str) -> None:
    """The right range of the right object, whatever server or proxy is in between."""
    if _told(answer, "ETag", name) != source.etag:
        raise changed(name)
    said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.get("ContentRange", ""))
    if said is None:  # all of it
        total = _length(answer, name)
        first, last = 0, total - 1
    else:
        first, last, total = int(said[1]), int(said[2]), int(said[3])
    if total != source.size:
        raise changed(name)
    if (first, last + 1) != (start, stop):
        raise S3Error(
            f"asked for bytes {start}-{stop - 1} of {name}, the server gives {first}-{last}"
        )


def _length(answer: Any, name: str) -> int:
    return int(_told(answer, "ContentLength", name))


def _told(answer: Any, field: str, name: str) -> str:
    """A field of an answer that Amazon always gives; S3Error where it is not there."""
    if field not in answer:
        raise S3Error(
            f"the answer about {name} has no {field}, without which an object that changed would "
            "not be noticed: a proxy in between takes it out (HTTPS_PROXY, AWS_ENDPOINT_URL)"
        )
    return str(answer[field])
