"""A proxy between the operator and AWS that records each answer. I/O: HTTP, on loopback and to AWS.

The operator's SDK sends every call to AWS_ENDPOINT_URL, the proxy, with a signature for that host. The proxy signs it again for the
service's own endpoint, which boto3 resolves: AWS's, or the emulator's. It holds the same credentials as the operator; its
path has a random part, so that no other process of the machine can use them.

STS is not behind it (AWS_ENDPOINT_URL_STS): a token for a cluster is a request to STS that EKS accepts only for STS's own host.
"""

from __future__ import annotations

import functools
import secrets
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from .recorder import Recorder
from .wire import Scope, operation_of, scope_of

# Of the request: what its signature covers anew, or what concerns the connection.
NOT_FORWARDED = {"authorization", "host", "connection", "content-length", "x-amz-date", "x-amz-security-token", "accept-encoding", "transfer-encoding"}
NOT_RETURNED = {"connection", "content-length", "transfer-encoding", "content-encoding", "keep-alive"}
# Longer than the operator waits for any answer.
TIMEOUT_SECONDS = 120
CONNECTIONS = 50


# The region for which calls of a partition's global services (IAM) are signed.
GLOBAL_REGIONS = {
    "aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws-iso": "us-iso-east-1", "aws-iso-b": "us-isob-east-1",
    "aws-eusc": "eusc-de-east-1",
}


@dataclass(frozen=True)
class Endpoint:
    url: str
    signing_name: str
    signing_region: str


class RecordingProxy:
    def __init__(self, session: boto3.Session, region: str, recorder: Recorder) -> None:
        self._session, self._region, self._recorder = session, region, recorder
        self._secret = f"/{secrets.token_urlsafe(24)}"
        self._resolving = threading.Lock()
        proxies = get_environ_proxies(session.client("sts", region_name=region).meta.endpoint_url)
        self._http = URLLib3Session(proxies=proxies, timeout=TIMEOUT_SECONDS, max_pool_connections=CONNECTIONS)
        self.calls = 0
        # Services whose calls were forwarded without being recorded: unknown to botocore.
        self.not_recorded: set[str] = set()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Otherwise the head and the body of an answer wait for each other.
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, answer = proxy.forward(self.command, self.path, dict(self.headers.items()), body)
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in NOT_RETURNED:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="recording proxy", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self._secret}"

    def operator_env(self) -> dict[str, str]:
        """What sends an operator's calls here; those of STS to its own endpoint."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ENDPOINT_URL_STS": self.endpoint("sts", self._region).url}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def endpoint(self, service: str, region: str) -> Endpoint:
        """Where calls of a service in a region go."""
        # Sessions of boto3 do not create clients concurrently.
        with self._resolving:
            return self._resolve(service, region)

    @functools.cache
    def _resolve(self, service: str, region: str) -> Endpoint:
        client = self._session.client(service, region_name=region)
        signing_name = client.meta.service_model.signing_name
        # A service that is global has one region for signatures. The operator's SDK does not know it: for an endpoint of its own it signs
        # with the region that it is configured for.
        is_global = client.meta.region_name.endswith("-global")
        scope = GLOBAL_REGIONS[client.meta.partition] if is_global else region
        return Endpoint(str(client.meta.endpoint_url).rstrip("/"), signing_name, scope)

    def forward(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name.lower(): value for name, value in headers.items()}
        scope = scope_of(headers.get("authorization", ""))
        if not target.startswith(self._secret) or scope is None:
            return 403, {"content-type": "text/plain"}, b"this proxy forwards only the signed calls of its own operator"
        target = target[len(self._secret) :] or "/"
        try:
            answer = self._send(scope, method, target, headers, body)
        except HTTPClientError as error:
            return 502, {"content-type": "text/plain"}, f"no answer from AWS: {type(error).__name__}".encode()
        received = {name.lower(): value for name, value in answer.headers.items()}
        self.calls += 1
        try:
            self._record(scope.service, method, target, headers, body, answer.status_code, received, answer.content)
        except Exception as error:  # the operator's call has succeeded
            self._recorder.unreadable.append(f"{scope.service} {method}: cannot be recorded: {error!r}")
        return answer.status_code, received, answer.content

    def _send(self, scope: Scope, method: str, target: str, headers: dict[str, str], body: bytes) -> AWSResponse:
        credentials = self._session.get_credentials()
        endpoint = self.endpoint(scope.service, scope.region)
        kept = {name: value for name, value in headers.items() if name not in NOT_FORWARDED}
        request = AWSRequest(method, endpoint.url + target, kept, body)
        SigV4Auth(credentials.get_frozen_credentials(), endpoint.signing_name, endpoint.signing_region).add_auth(request)
        return self._http.send(request.prepare())

    def _record(
        self, service: str, method: str, target: str, headers: dict[str, str], body: bytes, status: int, received: dict[str, str], answer: bytes
    ) -> None:
        found = operation_of(service, method, target, headers, body)
        if found is None:
            self.not_recorded.add(f"{service} {method} {target.partition('?')[0]}")
            return
        operation, parameters = found
        named: list[Any] = _texts(target, body)
        self._recorder.record(service, operation, parameters, named, status, received, answer)


def _texts(target: str, body: bytes) -> list[Any]:
    """Words of a request that an error's message may repeat: whatever is between quotes, slashes and separators."""
    text = unquote(f"{target} {body.decode('utf-8', 'replace')}")
    for separator in '"{}[],:&=?/':
        text = text.replace(separator, " ")
    return text.split()
