"""HTTP for what the harness does most often, API requests, polls and streams, with http.client: `requests` takes three times the
processor time, a third of all that the test processes used.

I/O: HTTP requests.
"""

from __future__ import annotations

import http.client
import json
import select
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import requests

REQUEST_SECONDS = 30
STREAM_BYTES = 1 << 20
PROBE_SECONDS = 2
# In `Client.request` the name `json` is a parameter.
dump_json = json.dumps


class Refused(Exception):
    """The server answered a stream's request with an error."""

    def __init__(self, status: int, reason: str, message: str):
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


def answers(url: str) -> bool:
    """Whether a GET of this plain HTTP URL succeeds: a readiness probe. Raises OSError while nobody listens."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status < 400
    finally:
        connection.close()


def stream(url: str, headers: dict[str, str], tls: ssl.SSLContext, seconds: float) -> Iterator[bytes]:
    """The body of a GET as it arrives. Raises `Refused`, and requests.ConnectionError where the connection fails."""
    address = urlsplit(url)
    connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=seconds, context=tls)
    try:
        connection.request("GET", f"{address.path}?{address.query}", headers=headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            raise Refused(answer.status, answer.reason, answer.read().decode(errors="replace"))
        while data := answer.read1(STREAM_BYTES):
            yield data
    except (OSError, http.client.HTTPException) as error:
        raise requests.ConnectionError(f"{url}: {error!r}") from error
    finally:
        connection.close()


@dataclass(frozen=True)
class Response:
    """The part of requests.Response that is in use here."""

    status_code: int
    reason: str
    content: bytes

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self):
        return json.loads(self.content)


class Client:
    """Requests to one server, with a connection for each thread. Reads no proxies and no credentials from the environment.

    Raises requests.ConnectionError where the connection fails, and requests.ReadTimeout.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, tls: Callable[[], ssl.SSLContext] | None = None):
        """tls: called when a connection is opened to an `https` URL."""
        self._address = urlsplit(url)
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._tls = tls
        self._local = threading.local()

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None = None,
        json: object = None,
        data: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_SECONDS,
    ) -> Response:
        """params: its None values are left out. json: the body, which takes precedence over `data`."""
        query = urlencode([(name, value) for name, value in (params or {}).items() if value is not None], doseq=True)
        target = f"{self._address.path}{path}" + (f"?{query}" if query else "")
        sent = {**self._headers, **(headers or {})}
        if json is not None:
            data = dump_json(json)
            sent.setdefault("Content-Type", "application/json")
        body = data.encode() if isinstance(data, str) else data
        connection = self._connection(timeout)
        try:
            connection.request(method, target, body, sent)
            answer = connection.getresponse()
            return Response(answer.status, answer.reason, answer.read())
        except TimeoutError as error:
            connection.close()
            raise requests.ReadTimeout(f"{method} {target}: {error!r}") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise requests.ConnectionError(f"{method} {target}: {error!r}") from error
        except BaseException:
            # The rest of the answer must not be read as the next one.
            connection.close()
            raise

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._address.hostname, self._address.port
            if self._address.scheme == "https":
                connection = http.client.HTTPSConnection(host, port, context=self._tls() if self._tls else None)
            else:
                connection = http.client.HTTPConnection(host, port)
            self._local.connection = connection
        connection.timeout = timeout
        if connection.sock:
            if select.select([connection.sock], [], [], 0)[0]:
                # Readable without a request: the server closed it, and the next request opens another.
                connection.close()
            else:
                connection.sock.settimeout(timeout)
        return connection
