"""Saves the state that one version of the operator leaves, and loads it for another version: every object of the API servers
as stored in etcd, and the state of the AWS emulator. Objects keep their UIDs, status and managed fields.

I/O: the files, etcd, the emulator.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import etcd_keys
from .aws import Aws

ABOUT, AWS = "about.json", "aws.pickle.gz"
# Keys of the control planes themselves, and of one run.
EXCLUDED = ("events/", "leases/kube-", "masterleases/", "peerserverleases/")


@dataclass(frozen=True)
class Snapshot:
    """A folder with the saved state."""

    directory: Path

    @property
    def about(self) -> dict:
        """Which version saved it, and when."""
        return json.loads((self.directory / ABOUT).read_text())

    def save(self, etcd_url: str, planes: dict[str, str], aws: Aws, about: dict[str, str]) -> None:
        """Call while no operation is in progress and no operator runs. planes: the URL of each control plane by name."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for plane in planes:
            lines = "".join(f"{json.dumps(entry)}\n" for entry in _read(etcd_url, plane))
            # No timestamp: the same contents give the same file.
            self._objects(plane).write_bytes(gzip.compress(lines.encode(), mtime=0))
        saved = aws.control("GET", "saved")["saved"]
        (self.directory / AWS).write_bytes(base64.b64decode(saved))
        (self.directory / ABOUT).write_text(json.dumps({**about, "planes": planes}, indent=2) + "\n")

    def load_objects(self, etcd_url: str, planes: dict[str, str]) -> None:
        """Call before the API servers start. Replaces their old addresses in the objects with the new ones."""
        addresses = [(was.encode(), planes[name].encode()) for name, was in self.about["planes"].items()]
        # Protobuf has length prefixes: the replacement must have the same length.
        assert all(len(was) == len(now) for was, now in addresses), addresses
        for plane in planes:
            for line in gzip.decompress(self._objects(plane).read_bytes()).decode().splitlines():
                entry = json.loads(line)
                value = base64.b64decode(entry["value"])
                for was, now in addresses:
                    value = value.replace(was, now)
                etcd_keys.call(etcd_url, "put", {**entry, "value": etcd_keys.text(value)})

    def load_aws(self, aws: Aws) -> None:
        """Replaces the state of the emulator."""
        saved = base64.b64encode((self.directory / AWS).read_bytes()).decode()
        aws.control("POST", "saved", json={"saved": saved})

    def _objects(self, plane: str) -> Path:
        return self.directory / f"{plane}.jsonl.gz"


def _read(etcd_url: str, plane: str) -> Iterator[dict[str, str]]:
    prefix = f"/{plane}/"
    for key, stored in etcd_keys.read(etcd_url, prefix).items():
        if not key.removeprefix(prefix).startswith(EXCLUDED):
            yield {"key": etcd_keys.text(key.encode()), "value": etcd_keys.text(stored.value)}
