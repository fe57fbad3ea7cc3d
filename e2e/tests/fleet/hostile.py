"""A workload cluster with a malicious API server: its answers are too large, endless, or redirects."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from keelson_harness.pki import Authority

from .proxies import LOOPBACK, Listener

NUMBER = 180
VALUES = "v" * 1_300_000
LIST = "/apis/helm.toolkit.fluxcd.io/v2/helmreleases"


class HostileApi(Listener):
    """`attack`: how it answers lists of HelmReleases. All other requests are answered as by an API server with Flux installed."""

    def __init__(self, directory: Path):
        pair = Authority(directory / "hostile", "hostile-ca")
        self.ca_file = pair.cert_file
        serving = pair.serving("hostile")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(serving.cert, serving.key)
        self.attack = "large"
        self.attacked: list[str] = []
        super().__init__()

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            url = urlsplit(target)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            if url.path == LIST and "watch" not in query and "as=Partial" not in headers.get("accept", ""):
                self.attacked.append(self.attack)
                await getattr(self, f"_{self.attack}")(writer, query)
            else:
                await self._answer(writer, method, url.path, query)

    async def _send(self, writer: StreamWriter, status: str, body: bytes, more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async def _answer(self, writer: StreamWriter, method: str, path: str, query: dict) -> None:
        name = path.rsplit("/", 1)[-1]
        if "watch" in query:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            await asyncio.sleep(3600)
        collection = method == "GET" and re.search(r"s$", name) and not re.search(r"(flux|-)", name)
        if collection and "customresourcedefinitions/" not in path:
            body: dict = {"metadata": {"resourceVersion": "1"}, "items": []}
        else:
            established = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": []}
            body = {
                "metadata": {"name": name, "resourceVersion": "1", "generation": 1, "uid": "1"},
                "status": established,
            }
        await self._send(writer, "200 OK", json.dumps(body).encode())

    def _item(self, number: int) -> bytes:
        metadata = {"name": f"release-{number}", "namespace": "shop", "generation": 1}
        return json.dumps({"metadata": metadata, "spec": {"values": {"v": VALUES}}}).encode()

    async def _large(self, writer: StreamWriter, query: dict) -> None:
        begin, limit = int(query.get("continue", 0)), int(query.get("limit", NUMBER))
        end = min(begin + limit, NUMBER)
        items = [self._item(number) for number in range(begin, end)]
        token = str(end) if end < NUMBER else ""
        meta = json.dumps({"continue": token}).encode()
        await self._send(writer, "200 OK", b'{"metadata": %s, "items": [%s]}' % (meta, b",".join(items)))

    async def _chunked(self, writer: StreamWriter, first: bytes, again: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = first
        # Until the client disconnects. The event loop must run in between: a TLS transport whose connection is lost neither reports
        # that it is closing nor blocks, and only the loop makes `drain` fail.
        while True:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
            part = again

    async def _endless(self, writer: StreamWriter, query: dict) -> None:
        await self._chunked(writer, b'{"items": [{}', b"," + b",".join([b"{}"] * 20_000))

    async def _crumbs(self, writer: StreamWriter, query: dict) -> None:
        """Small on the wire, large once parsed."""
        await self._send(writer, "200 OK", b'{"items": [%s]}' % b",".join([b'{"status":{"conditions":[{},{},{}]}}'] * 100_000))

    async def _bomb(self, writer: StreamWriter, query: dict) -> None:
        body = gzip.compress(b'{"items": [' + b" " * 300_000_000 + b"]}", 1)
        await self._send(writer, "200 OK", body, "Content-Encoding: gzip\r\n")

    async def _redirect(self, writer: StreamWriter, query: dict) -> None:
        await self._send(writer, "302 Found", b"", "Location: /elsewhere\r\n")
