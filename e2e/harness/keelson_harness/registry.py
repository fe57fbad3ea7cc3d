"""Runs the CNCF Distribution registry as a process; pushes artifacts as Flux does."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import requests
import yaml

from .pki import Pair
from .processes import Process, free_port

CONFIG = "application/vnd.cncf.flux.config.v1+json"
CONTENT = "application/vnd.cncf.flux.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """One registry on this machine's loopback.

    `htpasswd`: a line of an htpasswd file; then reading and writing need that password.
    `credentials` and `ca_file`: used by `push`.
    """

    def __init__(
        self,
        tool: Path,
        directory: Path,
        tls: Pair | None = None,
        htpasswd: str | None = None,
        credentials: tuple[str, str] | None = None,
        ca_file: Path | None = None,
    ):
        directory.mkdir(parents=True)
        self.address = f"127.0.0.1:{free_port()}"
        self.credentials = credentials
        http: dict = {"addr": self.address}
        self._verify = str(ca_file) if ca_file else True
        if tls:
            http["tls"] = {"certificate": str(tls.cert), "key": str(tls.key)}
        self._base = f"{'https' if tls else 'http'}://{self.address}/v2"
        settings: dict = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "http": http,
        }
        if htpasswd:
            (directory / "htpasswd").write_text(htpasswd + "\n")
            settings["auth"] = {"htpasswd": {"realm": "e2e", "path": str(directory / "htpasswd")}}
        config = directory / "config.yaml"
        config.write_text(yaml.safe_dump(settings))
        self.process = Process(
            "registry",
            [tool, "serve", config],
            directory / "registry.log",
            env={"OTEL_TRACES_EXPORTER": "none"},
        )

    def wait_ready(self) -> float:
        return self.process.wait_ready(lambda: self._call("GET", f"{self._base}/").ok, 30)

    def stop(self) -> None:
        self.process.stop()

    def url(self, repository: str) -> str:
        return f"oci://{self.address}/{repository}"

    def push(self, repository: str, tag: str, files: dict[str, str]) -> str:
        """Pushes files as `flux push artifact` does; returns the digest of the artifact."""
        content = self.push_blob(repository, _archive(files))
        config = self.push_blob(repository, b"{}")
        return self.push_manifest(repository, tag, (CONFIG, config), [(CONTENT, content, {})])

    def push_manifest(
        self,
        repository: str,
        reference: str,
        config: tuple[str, bytes],
        layers: list[tuple[str, bytes, dict]],
    ) -> str:
        """config: (media type, blob); layers: (media type, blob, annotations). Returns the digest."""
        body = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(*config),
            "layers": [
                _descriptor(kind, blob) | ({"annotations": notes} if notes else {})
                for kind, blob, notes in layers
            ],
        }
        text = json.dumps(body).encode()
        url = f"{self._base}/{repository}/manifests/{reference}"
        self._call("PUT", url, data=text, headers={"Content-Type": MANIFEST}).raise_for_status()
        return digest(text)

    def push_blob(self, repository: str, blob: bytes) -> bytes:
        """Uploads a blob and returns it: a manifest refers to it by its digest."""
        upload = self._call("POST", f"{self._base}/{repository}/blobs/uploads/")
        upload.raise_for_status()
        answer = self._call(
            "PUT",
            upload.headers["Location"],
            params={"digest": digest(blob)},
            data=blob,
            headers={"Content-Type": "application/octet-stream"},
        )
        answer.raise_for_status()
        return blob

    def _call(self, method: str, url: str, **options) -> requests.Response:
        return requests.request(
            method, url, auth=self.credentials, verify=self._verify, timeout=10, **options
        )


def digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(kind: str, blob: bytes) -> dict:
    return {"mediaType": kind, "digest": digest(blob), "size": len(blob)}


def _archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)
