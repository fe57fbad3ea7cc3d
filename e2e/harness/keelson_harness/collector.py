"""A collector of traces: receives OTLP/HTTP in JSON, and keeps the spans. I/O: a loopback port."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .processes import free_port

PATH = "/v1/traces"
INTERNAL, CLIENT = 1, 3


@dataclass(frozen=True)
class Span:
    trace: str
    id: str
    # Empty: the root.
    parent: str
    name: str
    kind: int
    # Seconds since 1970.
    start: float
    end: float
    attributes: dict
    # Empty: it did not fail.
    error: str
    # Of the process.
    resource: dict

    def __getitem__(self, attribute: str) -> object:
        return self.attributes.get(attribute)


class Collector:
    """Accepts spans between `open` and `close`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Each request as it was received.
        self.bodies: list[str] = []
        # Answered instead of 200.
        self.status = 200
        # Called after spans were received.
        self.received: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._server: ThreadingHTTPServer | None = None
        self.open()

    def open(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="collector", daemon=True).start()
        self._server = server

    def close(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def spans(self) -> list[Span]:
        """Each span once, as received last: a root may be exported twice, with the same id."""
        with self._lock:
            return list({(span.trace, span.id): span for span in self._spans}.values())

    def traces(self) -> dict[str, list[Span]]:
        """The spans of each trace, in the order of their starts."""
        found = defaultdict(list)
        for span in sorted(self.spans(), key=lambda span: span.start):
            found[span.trace].append(span)
        return dict(found)

    def roots(self) -> list[Span]:
        return [span for span in self.spans() if not span.parent]

    def changes(self, outcome: str | None = None) -> list[Span]:
        """The whole changes that have ended; with `outcome`, only those that ended so."""
        ended = [span for span in self.spans() if span.name.startswith("change ")]
        return [span for span in ended if outcome in (None, span["keelson.change.outcome"])]

    def receive(self, path: str, content_type: str, body: bytes) -> int:
        if self.status != 200:
            return self.status
        if path != PATH or content_type != "application/json":
            return 415
        request = json.loads(body)
        with self._lock:
            self.bodies.append(body.decode())
            self._spans += [span for part in request["resourceSpans"] for span in spans(part)]
        self.received()
        return 200

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.receive(self.path, self.headers.get("Content-Type", ""), body)
                answer = b"{}"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def spans(part: dict) -> list[Span]:
    resource = attributes(part["resource"])
    return [span(encoded, resource) for scope in part["scopeSpans"] for encoded in scope["spans"]]


def span(encoded: dict, resource: dict) -> Span:
    # Numbers of 64 bits are text, as protobuf's JSON has them; ids are hexadecimal.
    assert len(encoded["traceId"]) == 32 and len(encoded["spanId"]) == 16, encoded
    int(encoded["traceId"], 16), int(encoded["spanId"], 16)
    start, end = (int(encoded[f"{which}TimeUnixNano"]) / 1e9 for which in ("start", "end"))
    assert isinstance(encoded["startTimeUnixNano"], str) and start <= end, encoded
    status = encoded.get("status", {})
    assert not status or status["code"] == 2, encoded
    return Span(
        encoded["traceId"],
        encoded["spanId"],
        encoded.get("parentSpanId", ""),
        encoded["name"],
        encoded["kind"],
        start,
        end,
        attributes(encoded),
        status.get("message", ""),
        resource,
    )


def attributes(of: dict) -> dict:
    found = {}
    for attribute in of["attributes"]:
        ((kind, value),) = attribute["value"].items()
        assert attribute["key"] not in found, of
        found[attribute["key"]] = int(value) if kind == "intValue" else value
    return found
