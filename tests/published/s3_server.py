"""A server of the S3 protocol on this machine, and a proxy before it that does harm on request."""

import http.client
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from datamodels.published.layout import BUCKET

KEY_ID, SECRET = "AKIAEXAMPLEEXAMPLE42", "not/so+secret+but+never+to+be+seen"
_PIECE = 16 * 1024
_OURS = ("content-length", "connection", "transfer-encoding")  # headers that the proxy makes


def environment(endpoint: str) -> dict[str, str]:
    """What boto3 is told: never a real account, never another host than this one."""
    return {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "*",
    }


class S3Server:
    """moto's server in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        self.call("PUT", f"/{BUCKET}")

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("moto's server does not answer")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, key: str, content: bytes) -> None:
        """Make or replace an object of the bucket."""
        self.call("PUT", f"/{BUCKET}/{key}", content)

    def clear(self) -> None:
        """Forget all objects."""
        self.call("POST", "/moto-api/reset")
        self.call("PUT", f"/{BUCKET}")

    def call(self, method: str, path: str, body: bytes = b"") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        authorization = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20200101/us-east-1/s3/aws4_request"
        connection.request(method, path, body, {"Authorization": authorization})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, (method, path, answer.status)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@dataclass(frozen=True)
class Cut:
    """Break the connection after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Short:
    """Send so many bytes of the body, and say that these are all."""

    length: int


@dataclass(frozen=True)
class Refuse:
    """Answer with an error."""

    status: int
    code: str = "AccessDenied"
    message: str = ""


@dataclass(frozen=True)
class Slow:
    """Pause so many seconds before every 16 KiB."""

    seconds: float


@dataclass(frozen=True)
class Without:
    """Hand the request on without one of its headers, as a proxy that knows no better."""

    header: str


@dataclass(frozen=True)
class Lacking:
    """Hand the answer on without one of its headers."""

    header: str


@dataclass(frozen=True)
class Before:
    """Do something first, then answer as always."""

    action: Callable[[], object]


@dataclass(frozen=True)
class Request:
    """What somebody asked for, and what he got of it."""

    method: str
    key: str
    headers: dict[str, str]
    sent: list[int] = field(default_factory=list)  # bytes of the body


class Proxy(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Hands requests on to ``server``.

    ``faults`` befall the next GET requests, one each (None: no fault); ``always`` befalls those
    that none is left for. Of HEAD requests ``heads_of`` befalls those of one key, ``head_faults``
    the next others, one each, and ``heads`` those that none is left for.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = server
        self.faults: deque[Any] = deque()
        self.always: Any = None
        self.heads: Any = None
        self.head_faults: deque[Any] = deque()
        self.heads_of: dict[str, Any] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def transferred(self) -> int:
        """Bytes of objects that were sent."""
        with self.lock:
            return sum(sum(request.sent) for request in self.requests if request.method == "GET")

    def gets(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET"]

    def handle_error(self, *_: object) -> None:
        """Clients that were killed are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_HEAD(self) -> None:
        with self.server.lock:
            queue = self.server.head_faults
            fault = self.server.heads_of.get(self.path.split("/", 2)[2])
            fault = fault or (queue.popleft() if queue else self.server.heads)
        self._answer(fault)

    def do_GET(self) -> None:
        with self.server.lock:
            fault = self.server.faults.popleft() if self.server.faults else self.server.always
        self._answer(fault)

    def log_message(self, *_: object) -> None:
        """Nothing to standard error."""

    def _answer(self, fault: Any) -> None:
        request = Request(self.command, self.path.split("/", 2)[2], dict(self.headers))
        with self.server.lock:
            self.server.requests.append(request)
        if isinstance(fault, Before):
            fault.action()
        if isinstance(fault, Refuse):
            self._refuse(fault)
            return
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind.port, timeout=30)
        headers = dict(self.headers)
        if isinstance(fault, Without):
            headers.pop(fault.header, None)
        behind.request(self.command, self.path, headers=headers)
        answer = behind.getresponse()
        body = answer.read()
        behind.close()
        if isinstance(fault, Short):
            body = body[: fault.length]
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            lacks = isinstance(fault, Lacking) and name.lower() == fault.header.lower()
            if not lacks and name.lower() not in _OURS:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            self._send(body, fault, request)

    def _send(self, body: bytes, fault: Any, request: Request) -> None:
        if isinstance(fault, Cut):
            body = body[: fault.after]
        for start in range(0, len(body), _PIECE):
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            piece = body[start : start + _PIECE]
            self.wfile.write(piece)
            with self.server.lock:
                request.sent.append(len(piece))
        if isinstance(fault, Cut):  # not in good order: a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, fault: Refuse) -> None:
        body = (
            f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message>"
            f"<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
        ).encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
