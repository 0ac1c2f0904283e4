"""What can go wrong between here and a bucket, in words with a remedy.

Nothing of what botocore or the server says is repeated but error codes: their messages may hold
access key ids.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from datamodels.errors import DatamodelsError

_CHAIN = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile in AWS_PROFILE, or run "
    "`aws configure`"
)
_CREDENTIAL_CODES = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
_CLOCK_CODE = "RequestTimeTooSkewed"
_BUSY_CODES = {"BandwidthLimitExceeded", "RequestTimeout", "SlowDown", "Throttling"}


class S3Error(DatamodelsError):
    """The bucket did not do what was asked."""


class CredentialsError(S3Error):
    """There are no credentials, or they are not valid."""


class AccessError(S3Error):
    """The bucket refuses: 403."""


class NoObjectError(S3Error):
    """There is no such object: 404."""


class ChangedObjectError(S3Error):
    """The object is no longer the one that a download began with: 412."""


class TemporaryError(S3Error):
    """A connection that was cut, a server that is busy: the same request may succeed later."""


class UnreachableError(TemporaryError):
    """Nobody answers at the endpoint."""


def changed(name: str) -> ChangedObjectError:
    """The error about an object that changed under a download."""
    return ChangedObjectError(
        f"{name} has changed since its download began. What was fetched is of the old object: "
        "remove its .partial file and the .partial.jsonl beside it, and download it again"
    )


@contextmanager
def translated(name: str, endpoint: str) -> Iterator[None]:
    """Turn what botocore raises into an :class:`S3Error` about the object ``name``."""
    from botocore import exceptions as boto
    from urllib3.exceptions import HTTPError

    try:
        yield
    except boto.ClientError as error:
        raise _of_answer(error.response, name) from None
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ProfileNotFound,
        boto.CredentialRetrievalError,
        boto.UnauthorizedSSOTokenError,
        boto.SSOTokenLoadError,
        boto.TokenRetrievalError,
    ) as error:
        raise no_credentials(type(error).__name__) from None
    except (
        boto.EndpointConnectionError,
        boto.ConnectTimeoutError,
        boto.ProxyConnectionError,
        boto.SSLError,
    ) as error:
        raise UnreachableError(
            f"cannot reach {host_of(endpoint)} ({type(error).__name__}). Check the network, the "
            "proxy (HTTPS_PROXY) and AWS_ENDPOINT_URL, and run the same command again"
        ) from None
    except (
        boto.HTTPClientError,
        boto.IncompleteReadError,
        HTTPError,
        OSError,  # of a socket: nothing else is done here
    ) as error:
        raise TemporaryError(
            f"the connection to {host_of(endpoint)} broke in the midst of {name} "
            f"({type(error).__name__}), again and again. Run the same command later"
        ) from None
    except boto.BotoCoreError as error:  # configuration, most likely
        raise S3Error(
            f"boto3 cannot ask for {name}: {type(error).__name__}. Check ~/.aws/config and the "
            "AWS_ variables of the environment"
        ) from None


def no_credentials(reason: str = "") -> CredentialsError:
    """The error where boto3's chain ends with nothing that can be used."""
    return CredentialsError(
        f"boto3 finds no usable AWS credentials{f' ({reason})' if reason else ''}: {_CHAIN}. The "
        "bucket has requesters pay, so that even a question is on the account of whoever asks"
    )


def host_of(endpoint: str) -> str:
    """Host and port of a URL, without a user's name in it."""
    try:
        parts = urlsplit(endpoint)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:  # no URL: nothing of it is safe to show
        return "the endpoint"


def is_url(endpoint: str) -> bool:
    """Whether an endpoint has a host, and a port that is a number or none."""
    try:
        parts = urlsplit(endpoint)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _of_answer(response: dict[str, Any], name: str) -> S3Error:
    """The error that an answer of the server means. Answers to HEAD have a status alone."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _CREDENTIAL_CODES or code == _CLOCK_CODE:
        remedy = "set this machine's clock right" if code == _CLOCK_CODE else _CHAIN
        return CredentialsError(f"AWS does not accept your credentials ({code}): {remedy}")
    if status in (412, 416):  # another ETag; a range that a shorter object does not have
        return changed(name)
    if status == 404:
        return NoObjectError(
            f"there is no {name} ({code or status}). `python -m datamodels.published list --check` "
            "asks what is there"
        )
    if status == 403:
        return AccessError(
            f"access to {name} is refused (403). The requester pays here, so it takes credentials "
            "of an AWS account whose user may s3:GetObject; without leave to list the bucket, "
            "Amazon answers the same where there is no such object"
        )
    if status >= 500 or status == 429 or code in _BUSY_CODES:
        return TemporaryError(
            f"the server cannot give {name} now ({code or status}). Run the same command later"
        )
    return S3Error(
        f"the server refuses to give {name} ({code or status}). Are the credentials still valid? "
        "`aws sts get-caller-identity` tells"
    )
