"""Ways into the workload cluster that a test can close, move, give another certificate, or put a proxy before.

TlsProxy ends TLS under an authority of its own and hands the bytes on to the real API server. ConnectProxy is an HTTP proxy
that only does CONNECT. Each runs in a thread of the test's process.
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
    """Serves a port of loopback between `open` and `close`; what it accepted is closed with it."""

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
        """Ends the connections that are open."""

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
    """Both directions until either side ends."""
    name = LOOPBACK if tls else None
    there, back = await asyncio.open_connection(LOOPBACK, port, ssl=tls, server_hostname=name)

    async def pump(source: StreamReader, sink: StreamWriter) -> None:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()

    ways = [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.transport.abort()


class TlsProxy(Listener):
    """An endpoint of the workload cluster's API under `host`, with a certificate of its own authority."""

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
        # For the handshakes from now on.
        self.tls.load_cert_chain(pair.cert, pair.key)
        self.ca_file = authority.cert_file

    def rotate(self) -> None:
        """Another authority and certificate; connections under the old one end."""
        self._certify()
        self.drop()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.handshakes += 1
        trust = ssl.create_default_context(cafile=str(self._plane.ca_file))
        await join(reader, writer, self._plane.port, trust)


class ConnectProxy(Listener):
    """A proxy for those who know the password. It alone knows where `names` are."""

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
