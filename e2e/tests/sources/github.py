"""The part of GitHub's API with which a GitHub App gets a token: whoever has the App's key gets one."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

APP, INSTALLATION = "1271", "4711"


class GitHub:
    """`token` is the token that it issues; the Git server accepts it as the password of `x-access-token`."""

    def __init__(self, port: int, token: str):
        self.url, self.token = f"http://127.0.0.1:{port}", token
        self.requested: list[str] = []
        self._key = rsa.generate_private_key(65537, 2048)

    def secret(self) -> dict[str, str]:
        """The data of the Secret that Flux needs."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return {
            "githubAppID": APP,
            "githubAppInstallationID": INSTALLATION,
            "githubAppPrivateKey": pem.decode(),
            "githubAppBaseURL": self.url,
        }

    def is_app(self, token: str) -> bool:
        """Whether this JWT names the App, has the App's signature, and is valid now."""
        signed, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256()
            )
        except (InvalidSignature, ValueError):
            return False
        claims = json.loads(_decoded(signed.split(".")[1]))
        return claims["iss"] == APP and claims["iat"] <= time.time() <= claims["exp"]


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextmanager
def github(token: str) -> Iterator[GitHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            github_api.requested.append(self.path)
            kind, _, jwt = self.headers.get("Authorization", "").partition(" ")
            if self.path != f"/app/installations/{INSTALLATION}/access_tokens":
                self.answer(404, {"message": "Not Found"})
            elif kind != "Bearer" or not github_api.is_app(jwt):
                self.answer(401, {"message": "A JSON web token could not be decoded"})
            else:
                self.answer(201, {"token": github_api.token, "expires_at": "2099-01-01T00:00:00Z"})

        def answer(self, status: int, body: dict) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_args: object) -> None:
            """Nothing: `requested` has it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github_api = GitHub(server.server_address[1], token)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield github_api
    finally:
        server.shutdown()
