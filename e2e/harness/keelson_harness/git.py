"""Git repositories over HTTP(S), served by Git's own `git http-backend`.

The server only calls the CGI program. Commits are made in a work tree beside each bare
repository and pushed by path, so they work while the server is down or refuses requests.
"""

import base64
import gzip
import os
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from . import confidential
from .pki import Pair

BRANCH = "main"


def git(*args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs git without the user's configuration; returns its output."""
    completed = subprocess.run(
        ["git", *args],
        cwd=cwd,
        env={**os.environ, **_own_configuration(), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if completed.returncode:
        raise RuntimeError(f"git {' '.join(args)} failed: {completed.stderr.strip()}")
    return completed.stdout.strip()


def _own_configuration() -> dict[str, str]:
    settings = {
        "user.name": "Keelson end-to-end",
        "user.email": "e2e@keelson.dev",
        "init.defaultBranch": BRANCH,
        "safe.directory": "*",
        "commit.gpgSign": "false",
    }
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for index, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{index}"] = key
        env[f"GIT_CONFIG_VALUE_{index}"] = value
    return env


class Repository:
    """A bare repository with a work tree to commit from.

    `signing_key`: file of an SSH key; once set, it signs commits and tags.
    """

    def __init__(self, bare: Path, work: Path, url: str):
        self.url = url
        self.signing_key: Path | None = None
        self.work = work
        git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(bare))
        git("clone", "--quiet", str(bare), str(work))
        git("checkout", "--quiet", "-B", BRANCH, cwd=work)

    def commit(
        self,
        files: dict[str, str] | None = None,
        delete: tuple[str, ...] = (),
        message: str = "change",
        tag: str | None = None,
    ) -> str:
        """Writes and deletes files (paths in the repository), commits and pushes; returns the commit."""
        for name, text in (files or {}).items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in delete:
            path = self.work / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return self._push(message, tag)

    def commit_directory(self, source: Path, into: str, message: str = "change") -> str:
        """Replaces the folder `into` of the repository with a copy of a directory; returns the commit."""
        target = self.work / into
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return self._push(message, None)

    def _push(self, message: str, tag: str | None) -> str:
        with_key = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.signing_key}"]
        sign = ["--gpg-sign"] if self.signing_key else []
        commit = ["commit", "--quiet", "--allow-empty", "--message", message, *sign]
        git("add", "--all", cwd=self.work)
        git(*with_key, *commit, cwd=self.work)
        git("push", "--quiet", "origin", f"HEAD:{BRANCH}", cwd=self.work)
        if tag:
            signed = ["--sign", "--message", tag] if self.signing_key else []
            git(*with_key, "tag", *signed, tag, cwd=self.work)
            git("push", "--quiet", "origin", tag, cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work)


class GitServer:
    """Serves every repository under its directory; with credentials, only to clients that send them.

    `refuse`: the status that answers every request. `requests`: the requests so far.
    `authorization`: the required Authorization header, where it is not basic authentication.
    """

    def __init__(
        self,
        directory: Path,
        tls: Pair | None = None,
        credentials: tuple[str, str] | None = None,
        authorization: str | None = None,
    ):
        self.directory = directory
        self.refuse: int | None = None
        self.requests: list[str] = []
        self._required_authorization = authorization
        if credentials:
            self.require_credentials(*credentials)
        (directory / "served").mkdir(parents=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.cert, tls.key)
            # The handshake runs in the connection's own thread, so a stalled client blocks no other.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="git", daemon=True
        ).start()

    def require_credentials(self, user: str, password: str) -> None:
        """Requires these credentials from now on."""
        confidential.add(password)
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._required_authorization = f"Basic {encoded}"

    def repository(self, name: str) -> Repository:
        bare = self.directory / "served" / f"{name}.git"
        return Repository(bare, self.directory / "work" / name, f"{self.url}/{name}.git")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self._body())

            def _answer(self, body: bytes) -> None:
                server.requests.append(f"{self.command} {self.path}")
                if server.refuse:
                    self._plain(server.refuse)
                elif server._required_authorization and self.headers.get("Authorization") != server._required_authorization:
                    self._plain(401, ("WWW-Authenticate", 'Basic realm="git"'))
                else:
                    self._cgi(body)

            def _plain(self, status: int, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (*headers, ("Content-Length", "0")):
                    self.send_header(name, value)
                self.end_headers()

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                return body

            def _cgi(self, body: bytes) -> None:
                url = urlsplit(self.path)
                completed = subprocess.run(
                    ["git", "http-backend"],
                    input=body,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={
                        **os.environ,
                        **_own_configuration(),
                        "GIT_PROJECT_ROOT": str(server.directory / "served"),
                        "GIT_HTTP_EXPORT_ALL": "1",
                        "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                        "REQUEST_METHOD": self.command,
                        "PATH_INFO": url.path,
                        "QUERY_STRING": url.query,
                        "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                        "CONTENT_LENGTH": str(len(body)),
                        "REMOTE_ADDR": self.client_address[0],
                    },
                    check=False,
                )
                head, _, content = completed.stdout.partition(b"\r\n\r\n")
                if not head:
                    self._plain(500)
                    return
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                """No output: `requests` has them."""

        return Handler
