"""Fixtures: one etcd and one real API server for all tests of the harness."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from keelson_harness.flux import FLUX_TOOLS
from keelson_harness.kubernetes import (
    BASE_CONTROLLERS,
    WORKLOAD_CONTROLLERS,
    ControlPlane,
    Etcd,
)
from keelson_harness.paths import tools as find_tools

KUBERNETES = ("etcd", "kube-apiserver", "kube-controller-manager")


class TokenReviewer:
    """A TokenReview webhook that accepts the tokens in `known`: {token: (user, groups)}."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, list[str]]] = {}
        self.reviews: list[dict] = []
        reviewer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reviewer.reviews.append(review)
                found = reviewer.known.get(review["spec"]["token"])
                status: dict = {"authenticated": bool(found)}
                if found:
                    status["user"] = {"username": found[0], "groups": found[1]}
                answer = json.dumps({**review, "status": status}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/tokenreview"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="session")
def tools() -> dict[str, Path]:
    return find_tools(*KUBERNETES, *FLUX_TOOLS)


@pytest.fixture(scope="session")
def reviewer() -> Iterator[TokenReviewer]:
    webhook = TokenReviewer()
    yield webhook
    webhook.stop()


@pytest.fixture(scope="session")
def cluster(tools, reviewer, tmp_path_factory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("cluster")
    etcd = Etcd(tools["etcd"], directory / "etcd")
    plane = ControlPlane(
        "workload",
        tools,
        directory / "workload",
        reviewer.url,
        BASE_CONTROLLERS + WORKLOAD_CONTROLLERS,
    )
    try:
        etcd.wait_ready()
        plane.start_apiserver(etcd.url)
        plane.wait_apiserver()
        plane.start_controller_manager()
        plane.wait_controller_manager()
        yield plane
    finally:
        plane.stop()
        etcd.stop()
