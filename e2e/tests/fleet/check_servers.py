"""Servers that checks of a FleetRollout query: a real Prometheus with a value that the test sets, one that hangs, and one behind TLS that requires
a token.

They run in this process or as its children. I/O: loopback ports.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from keelson_harness.light_http import answers
from keelson_harness.pki import Authority
from keelson_harness.processes import Process, free_port
from keelson_harness.prometheus import prometheus_tools

from .proxies import LOOPBACK


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(handler: type[_Handler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server with these handlers."""
    server = ThreadingHTTPServer((LOOPBACK, 0), handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Metric:
    """The series of `errors`, by cluster, that a Prometheus scrapes."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, **values: object) -> None:
        self.values = {name.replace("_", "-"): str(value) for name, value in values.items()}

    def text(self) -> bytes:
        return "".join(f'errors{{cluster="{name}"}} {value}\n' for name, value in self.values.items()).encode()


class CheckedPrometheus:
    """A real Prometheus that scrapes `metric` every second."""

    def __init__(self, directory: Path, scraped: str):
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        job = {"job_name": "errors", "scrape_interval": "1s", "static_configs": [{"targets": [scraped.removeprefix("http://")]}]}
        config = directory / "prometheus.yaml"
        config.write_text(yaml.safe_dump({"global": {"evaluation_interval": "1s"}, "scrape_configs": [job]}))
        self._arguments = [
            prometheus_tools()["prometheus"], f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn",
        ]
        self._log = directory / "prometheus.log"
        self.start()

    def start(self) -> None:
        self.process = Process("prometheus", self._arguments, self._log)
        self.process.wait_ready(lambda: answers(f"{self.url}/-/ready"))

    def value(self, query: str) -> list[str]:
        found = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=5).json()["data"]["result"]
        return [series["value"][1] for series in found]


@contextlib.contextmanager
def prometheus(directory: Path) -> Iterator[tuple[CheckedPrometheus, Metric]]:
    metric = Metric()

    class Exporter(_Handler):
        def do_GET(self) -> None:
            self.answer(200, metric.text(), "text/plain; version=0.0.4")

    with serving(Exporter) as scraped:
        server = CheckedPrometheus(directory, scraped)
        try:
            yield server, metric
        finally:
            server.process.kill()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A server that accepts a query and does not answer it."""
    ended = threading.Event()

    class Hanging(_Handler):
        def do_POST(self) -> None:
            ended.wait(60)

    with serving(Hanging) as url:
        try:
            yield url
        finally:
            ended.set()


@contextlib.contextmanager
def protected(directory: Path, behind: str, token: str) -> Iterator[tuple[str, str]]:
    """The URL of a server with TLS that forwards queries with this bearer token, and the certificate authority of its certificate."""
    authority = Authority(directory / "protected", "protected-ca")
    pair = authority.serving("protected")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.cert, pair.key)

    class Protected(_Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given = self.headers.get("Authorization", "none")
            if given != f"Bearer {token}" or self.headers.get("X-Scope-OrgID") != "fleet":
                # A server that repeats what it was sent.
                self.answer(401, f"not authorized with {given}".encode(), "text/plain")
                return
            kind = {"Content-Type": self.headers["Content-Type"]}
            found = requests.post(f"{behind}{self.path}", data=body, headers=kind, timeout=5)
            self.answer(found.status_code, found.content)

    with serving(Protected, tls) as url:
        yield url, authority.cert_file.read_text()
