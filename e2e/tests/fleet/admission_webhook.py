"""A validating webhook of an API server that allows everything, and shows each write to a test before it is stored."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from keelson_harness.kubernetes import ControlPlane

CONFIGURATION = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")


@contextlib.contextmanager
def shown_writes(plane: ControlPlane, name: str, rules: list[dict], called: Callable[[dict], None]) -> Iterator[None]:
    """Installs the webhook for a block. rules: apiGroups, resources and operations; called: with each AdmissionRequest."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            called(review["request"])
            response = {"uid": review["request"]["uid"], "allowed": True}
            body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    pair = plane.authority.serving(name, ())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    hook = {
        "name": f"{name}.keelson.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "clientConfig": {
            "url": f"https://127.0.0.1:{server.server_address[1]}/",
            "caBundle": base64.b64encode(plane.ca_file.read_bytes()).decode(),
        },
        "rules": [{"apiVersions": ["*"], "scope": "*", **rule} for rule in rules],
    }
    plane.api.apply({"apiVersion": CONFIGURATION[0], "kind": CONFIGURATION[1], "metadata": {"name": name}, "webhooks": [hook]})
    try:
        yield
    finally:
        plane.api.delete(*CONFIGURATION, name)
        server.shutdown()
