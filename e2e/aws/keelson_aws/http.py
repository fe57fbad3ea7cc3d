"""HTTP/1.1 server on asyncio: one thread answers all calls as they arrive.

Handlers only compute, so a thread per connection would only wait for the interpreter lock.
Nothing here but the id of a call is specific to AWS. A reply can be delayed, or replaced by a connection reset.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_BODY = 16 * 1024 * 1024
POLL_SECONDS = 0.02
REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: str = "127.0.0.1"

    @property
    def path(self) -> str:
        """The path as sent, percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    before_send: Callable[[], None] | None = None
    after_send: Callable[[], None] | None = None
    # For a long poll: called repeatedly until it returns the reply to send instead.
    poll: Callable[[], Reply | None] | None = None

    @classmethod
    def json(cls, status: int, value: object, **headers: str) -> Reply:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def request_id(self) -> str:
        """The id that AWS gives every call; adds one where the answer has none."""
        found = next((value for name, value in self.headers.items() if name.lower() == "x-amzn-requestid"), None)
        return found or self.headers.setdefault("x-amzn-RequestId", str(uuid.uuid4()))

    def encode(self, keep_alive: bool, head_only: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"Content-Length: {len(self.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if head_only else head + self.body


class BadRequest(Exception):
    pass


Handler = Callable[[Request], Reply]


class Connection(asyncio.Protocol):
    """A client connection. Its requests are answered one after the other."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.busy = False
        self.peer = "127.0.0.1"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else self.peer

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.process_requests()

    def process_requests(self) -> None:
        while self.transport is not None and not self.busy:
            try:
                request = self.next_request()
            except BadRequest as error:
                self.transport.write(Reply.json(400, {"message": str(error)}).encode(False, False))
                self.transport.close()
                return
            if request is None:
                return
            self.answer(request)

    def next_request(self) -> Request | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > 64 * 1024:
                raise BadRequest("the request head is too long")
            return None
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3:
            raise BadRequest("not HTTP")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        start = end + 4
        if "chunked" in headers.get("transfer-encoding", "").lower():
            found = self.chunked_body(start)
            if found is None:
                return None
            body, after = found
        else:
            try:
                length = int(headers.get("content-length") or 0)
            except ValueError as error:
                raise BadRequest("bad Content-Length") from error
            if not 0 <= length <= MAX_BODY:
                raise BadRequest("the request body is too long")
            after = start + length
            if len(self.buffer) < after:
                if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) == start and self.transport:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return None
            body = bytes(self.buffer[start:after])
        del self.buffer[:after]
        return Request(parts[0], parts[1], headers, body, self.peer)

    def chunked_body(self, start: int) -> tuple[bytes, int] | None:
        body, at = bytearray(), start
        while True:
            line_end = self.buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            try:
                size = int(bytes(self.buffer[at:line_end]).split(b";")[0], 16)
            except ValueError as error:
                raise BadRequest("bad chunk") from error
            at = line_end + 2
            if len(body) + size > MAX_BODY:
                raise BadRequest("the request body is too long")
            if len(self.buffer) < at + size + 2:
                return None
            if size == 0:
                return bytes(body), at + 2
            body += self.buffer[at : at + size]
            at += size + 2

    def answer(self, request: Request) -> None:
        reply = self.handle(request)
        keep_alive = request.headers.get("connection", "").lower() != "close"
        if reply.poll:
            self.busy = True
            self.poll_reply(reply.poll, request, keep_alive)
            return
        if reply.delay > 0:
            self.busy = True
            asyncio.get_running_loop().call_later(reply.delay, self.send, reply, request, keep_alive)
            return
        self.send(reply, request, keep_alive)

    def poll_reply(self, poll: Callable[[], Reply | None], request: Request, keep_alive: bool) -> None:
        if self.transport is None:
            return
        reply = poll()
        if reply is None:
            asyncio.get_running_loop().call_later(POLL_SECONDS, self.poll_reply, poll, request, keep_alive)
        else:
            self.send(reply, request, keep_alive)

    def send(self, reply: Reply, request: Request, keep_alive: bool) -> None:
        self.busy = False
        if reply.before_send:
            reply.before_send()
        if self.transport is None:
            return
        if reply.drop:
            # SO_LINGER of zero makes close() send RST: the client sees "connection reset by peer".
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            return
        self.transport.write(reply.encode(keep_alive, request.method == "HEAD"))
        if reply.after_send:
            reply.after_send()
        if not keep_alive:
            self.transport.close()
            return
        if self.buffer:
            asyncio.get_running_loop().call_soon(self.process_requests)


async def serve(handle: Handler, host: str, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(handle), host, port, backlog=2048)
