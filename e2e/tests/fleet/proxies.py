"""Endpoints of the workload cluster that a test can close, move, give another certificate, or put behind a proxy.

TlsProxy terminates TLS with a certificate of its own CA and forwards to the real API server. ConnectProxy is an HTTP proxy
that only supports CONNECT. Each runs in a thread of the test's process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from keelson_harness.kubernetes import ControlPlane
from keelson_harness.pki import Authority
from keelson_harness.processes import free_port

CHUNK = 65536
LOOPBACK = "127.0.0.1"


class Listener:
    """Serves a loopback port between `open` and `close`; `close` also closes accepted connections."""

    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.port = free_port()
        self._connections: set[asyncio.Task] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server: asyncio.Server | None = None
        self.open()

    def _run(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def open(self) -> None:
        async def work() -> None:
            self._server = await asyncio.start_server(
                self._accepted, LOOPBACK, self.port, ssl=self.tls, reuse_address=True
            )

        self._run(work())

    def drop(self) -> None:
        """Closes the open connections."""

        async def work() -> None:
            for task in list(self._connections):
                task.cancel()

        self._run(work())

    def close(self) -> None:
        async def work() -> None:
            if self._server:
                self._server.close()
                self._server = None

        self._run(work())
        self.drop()

    async def _accepted(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
                await self.serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        raise NotImplementedError


async def join(reader: StreamReader, writer: StreamWriter, port: int, tls: ssl.SSLContext | None) -> None:
    """Forwards in both directions until either side closes."""
    name = LOOPBACK if tls else None
    upstream_reader, upstream_writer = await asyncio.open_connection(LOOPBACK, port, ssl=tls, server_hostname=name)

    async def pump(source: StreamReader, sink: StreamWriter) -> None:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()

    pumps = [asyncio.ensure_future(pump(reader, upstream_writer)), asyncio.ensure_future(pump(upstream_reader, writer))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        upstream_writer.transport.abort()


class TlsProxy(Listener):
    """An endpoint of the workload cluster's API at `host`, with a certificate of its own CA."""

    def __init__(self, plane: ControlPlane, directory: Path, host: str = LOOPBACK):
        self._plane, self._directory, self._host = plane, directory, host
        self._authorities = 0
        self.handshakes = 0
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certify()
        super().__init__()

    @property
    def url(self) -> str:
        return f"https://{self._host}:{self.port}"

    def _certify(self) -> None:
        self._authorities += 1
        authority = Authority(self._directory / f"door-{id(self)}-{self._authorities}", "door-ca")
        pair = authority.serving("door", (self._host,))
        # Used by later handshakes.
        self.tls.load_cert_chain(pair.cert, pair.key)
        self.ca_file = authority.cert_file

    def rotate(self) -> None:
        """Switches to another CA and certificate; closes connections under the old one."""
        self._certify()
        self.drop()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.handshakes += 1
        trust = ssl.create_default_context(cafile=str(self._plane.ca_file))
        await join(reader, writer, self._plane.port, trust)


class ConnectProxy(Listener):
    """A proxy with a password. Only it can resolve `names`."""

    def __init__(self, user: str, password: str, names: dict[str, int]):
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._authorization = f"basic {word}".lower()
        self._names = names
        self.asked: list[str] = []
        self.denied = 0
        super().__init__()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        if headers.get("proxy-authorization") != self._authorization:
            self.denied += 1
            await self._answer(writer, "407 Proxy Authentication Required\r\nContent-Length: 0")
            return
        method, target, _ = first.split(" ")
        self.asked.append(f"{method} {target}")
        port = self._names.get(target.rsplit(":", 1)[0])
        if method != "CONNECT" or port is None:
            await self._answer(writer, "502 Bad Gateway\r\nContent-Length: 0")
            return
        await self._answer(writer, "200 Connection established")
        await join(reader, writer, port, None)

    @staticmethod
    async def _answer(writer: StreamWriter, text: str) -> None:
        writer.write(f"HTTP/1.1 {text}\r\n\r\n".encode())
        await writer.drain()
