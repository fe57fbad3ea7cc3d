"""HTTP for what the harness does most often, polls and streams, with http.client: `requests` takes several times the processor
time, a third of all that the test processes used.

I/O: HTTP requests.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

STREAM_BYTES = 1 << 20
PROBE_SECONDS = 2
_local = threading.local()


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


def session() -> requests.Session:
    """This thread's session: it keeps connections, and reads no proxies or credentials from the environment."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
    return _local.session
