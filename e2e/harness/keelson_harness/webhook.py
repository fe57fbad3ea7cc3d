"""An endpoint of notifications: verifies each request as Standard Webhooks and CloudEvents specify, and keeps the events. I/O: a
loopback port."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import confidential
from .processes import free_port

# A token in the address, which nothing that is printed may contain.
TOKEN = "token-in-the-path-4711"
PATH = f"/hooks/{TOKEN}"
TYPE = "application/cloudevents+json"
# How far the time of a signature may be off.
TOLERANCE_SECONDS = 300
ATTRIBUTES = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}


def new_key() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Webhook:
    """Takes events between `open` and `close`. `status` is answered, after the event was kept if it is 200."""

    key: str = field(default_factory=new_key)
    status: int = 200
    # A request is read and never answered.
    hangs: bool = False
    # PEM files of its certificate and key: it then speaks TLS.
    tls: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        confidential.add(self.key, TOKEN)
        self.port = free_port()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{PATH}"
        # Each request that was verified, with the answer.
        self.attempts: list[tuple[dict, int]] = []
        # Why a request was not as specified.
        self.invalid: list[str] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.open()

    def open(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        server.daemon_threads = True
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="webhook", daemon=True).start()
        self._server = server

    def close(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def events(self, kind: str = "", name: str = "") -> list[dict]:
        """The events that were taken, in order; of that type, about the object of that name."""
        with self._lock:
            assert not self.invalid, self.invalid
            taken = [event for event, status in self.attempts if status == 200]
        return [event for event in taken if event["type"].startswith(kind) and (not name or event["data"]["object"]["name"] == name)]

    def refused(self) -> int:
        with self._lock:
            return sum(status != 200 for _, status in self.attempts)

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> int:
        try:
            event = self._verified(path, headers, body)
        except AssertionError as error:
            with self._lock:
                self.invalid.append(f"{error}: {headers} {body!r}")
            return 400
        status = self.status
        with self._lock:
            self.attempts.append((event, status))
        return status

    def _verified(self, path: str, headers: dict[str, str], body: bytes) -> dict:
        assert path == PATH, path
        assert headers["content-type"].partition(";")[0] == TYPE, "content type"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < TOLERANCE_SECONDS, "time"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(base64.b64decode(self.key.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        assert f"v1,{base64.b64encode(mac).decode()}" in headers["webhook-signature"].split(), "signature"
        event = json.loads(body)
        assert event["specversion"] == "1.0" and event.keys() <= ATTRIBUTES, "attributes"
        assert event["id"] == headers["webhook-id"], "id"
        return event

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = webhook.receive(self.path, headers, body)
                if webhook.hangs:
                    self.close_connection = True
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://127.0.0.1:{webhook.port}{PATH}-elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
