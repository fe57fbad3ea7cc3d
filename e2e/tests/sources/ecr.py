"""The parts of ECR that a pull needs: credentials by EKS Pod Identity, a login, and a registry with ECR's host name behind a proxy.

The host names are AWS's own, so one proxy maps each of them to its address on this machine.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from keelson_harness import confidential
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.pki import Authority, Pair
from keelson_harness.registry import Registry

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
API = f"api.ecr.{REGION}.amazonaws.com"
KEY_ID, SECRET_KEY = "ASIAPULLER", "secret-key-of-the-role-71c3"
AGENT_TOKEN = "token-of-the-pod-a2e8"
PASSWORD = "ecr-token-9b41f2"
# The bcrypt hash of that password.
HTPASSWD = "AWS:$2b$05$keelsonkeelsonkeelson.RfrL57tMdzNGY6BbNqklK9GfJnVkf0e"


class Ecr:
    """`logins` has the access key of each login; `url` is the registry's, as users write it."""

    def __init__(self, tool: Path, directory: Path, authority: Authority):
        confidential.add(SECRET_KEY, AGENT_TOKEN, PASSWORD)
        tls = authority.serving("ecr", (HOST, API))
        login = ("AWS", PASSWORD)
        self.registry = Registry(tool, directory, tls, HTPASSWD, login, authority.cert_file)
        self.registry.wait_ready()
        self.logins: list[str] = []
        self._agent = _serve(self._credentials, "GET")
        api = _serve(self._login, "POST", tls)
        registry = self.registry.address.split(":")
        self._addresses = {HOST: (registry[0], int(registry[1])), API: api.server_address}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._servers = [self._agent, api]
        self.proxy = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"oci://{HOST}/fleet"
        self._environment = {
            "AWS_REGION": REGION,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._agent.server_port}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": AGENT_TOKEN,
            "SSL_CERT_FILE": str(authority.cert_file),
            # Unset the variable of whoever runs the tests: with it, AWS's SDK accepts none of Flux's HTTP clients.
            "AWS_CA_BUNDLE": "",
        }
        threading.Thread(target=self._accept, daemon=True).start()

    def identity_where(self, associated: Callable[[], object]) -> Callable[[], dict[str, str]]:
        """The environment of a starting Pod: with credentials only if its service account has a pod identity by then."""
        return lambda: self._environment if associated() else {"AWS_EC2_METADATA_DISABLED": "true"}

    def stop(self) -> None:
        self._listener.close()
        for server in self._servers:
            server.shutdown()
        self.registry.stop()

    def _credentials(self, headers: dict[str, str]) -> tuple[int, dict]:
        if headers.get("Authorization") != AGENT_TOKEN:
            return 403, {"message": "no such Pod"}
        credentials = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET_KEY, "Token": AGENT_TOKEN}
        return 200, {**credentials, "Expiration": "2099-01-01T00:00:00Z"}

    def _login(self, headers: dict[str, str]) -> tuple[int, dict]:
        signed = headers.get("Authorization", "")
        self.logins.append(signed.partition("Credential=")[2].partition("/")[0])
        token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
        login = {"authorizationToken": token, "expiresAt": time.time() + 3600}
        return 200, {"authorizationData": [{**login, "proxyEndpoint": f"https://{HOST}"}]}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                part = client.recv(4096)
                if not part:
                    return
                head += part
            name = head.split()[1].decode().rpartition(":")[0]
            if name not in self._addresses:
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(self._addresses[name]) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _forward(client, server)


def _forward(one: socket.socket, other: socket.socket) -> None:
    """Forwards in both directions until either side closes."""
    while True:
        for source in select.select([one, other], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def _serve(
    answer: Callable[[dict[str, str]], tuple[int, dict]], method: str, tls: Pair | None = None
) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(dict(self.headers))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_args: object) -> None:
            """Nothing: `logins` has what matters."""

    setattr(Handler, f"do_{method}", Handler.reply)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.cert, tls.key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
