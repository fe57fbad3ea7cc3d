"""Records the output of a local cloud, so that a test can search it for secrets after all other tests: each operator's log,
metrics and traces, every state of our objects, every event. Beside it the confidential values that must not occur in it (`confidential.py`).

Only where KEELSON_RECORD_DIR names a folder. I/O: that folder, and watches of the API servers.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from . import confidential
from .kubeapi import ApiError, KubeApi

if TYPE_CHECKING:
    from .cloud import LocalCloud

RECORD_DIR = "KEELSON_RECORD_DIR"
API = "keelson.dev/v1alpha1"
WATCHED = ((API, "EksCluster"), (API, "NodeGroup"), (API, "AwsAccount"), ("events.k8s.io/v1", "Event"))
# What the operator writes in the clusters that it creates, and beside its Lease.
LISTED = (
    *WATCHED,
    ("v1", "ConfigMap"),
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("argoproj.io/v1alpha1", "Application"),
)
RETRY_SECONDS = 0.3
WATCH_SECONDS = 600
# Fast rather than small: it is read once and deleted.
COMPRESSION_LEVEL = 1


def recorder_from_environment(cloud: LocalCloud) -> Recorder | None:
    named = os.environ.get(RECORD_DIR)
    return Recorder(cloud, Path(named)) if named else None


class Recorder:
    """Records the output of one cloud, from its start to `save`."""

    def __init__(self, cloud: LocalCloud, folder: Path):
        self._cloud = cloud
        self.folder = folder / f"{os.getpid()}-{cloud.directory.name}"
        self.folder.mkdir(parents=True)
        self._test = os.environ.get("PYTEST_CURRENT_TEST", "")
        self._streams = [_Stream(cloud.management.api, kind, self.folder) for kind in WATCHED]

    def save(self) -> None:
        """Call while the API servers and the emulator still answer. No failure here fails a test: the watches have recorded the objects."""
        for stream in self._streams:
            stream.close()
        for plane in self._cloud.clusters():
            self._write(f"objects-{plane.name}", self._objects(plane.api))
        for controller in self._cloud.controllers:
            name = controller.log.stem
            if controller.alive:
                controller.record_metrics()
            self._write(f"metrics-{name}", "\n".join(controller.recorded_metrics))
            with open(controller.log, "rb") as log, gzip.open(self.folder / f"log-{name}.gz", "wb", COMPRESSION_LEVEL) as output:
                shutil.copyfileobj(log, output)
        for number, collector in enumerate(self._cloud.collectors, 1):
            self._write(f"traces-{number}", "\n".join(collector.bodies))
        if self._cloud.aws:
            with contextlib.suppress(requests.RequestException, RuntimeError):
                confidential.add(*self._cloud.aws.control("GET", "confidential")["confidential"])
        for key in self._cloud.directory.rglob("*.key"):
            confidential.add(key.read_text())
        about = {
            "test": self._test,
            "levels": sorted({controller.log_level for controller in self._cloud.controllers}),
            "confidential": sorted(confidential.known()),
        }
        (self.folder / "about.json").write_text(json.dumps(about))

    def _objects(self, api: KubeApi) -> str:
        """The objects at the end. Secrets are not written; their values are added to the confidential ones."""
        found: list[dict] = []
        for version, kind in LISTED:
            with contextlib.suppress(ApiError, requests.RequestException):
                found += api.list(version, kind)
        with contextlib.suppress(ApiError, requests.RequestException):
            for item in api.list("v1", "Secret"):
                confidential.add_secret(item)
        return "\n".join(map(json.dumps, found))

    def _write(self, name: str, text: str) -> None:
        with gzip.open(self.folder / f"{name}.gz", "wt", COMPRESSION_LEVEL) as output:
            output.write(text)


class _Stream:
    """Watches one kind of the management cluster: each state of each object as the API server sends it."""

    def __init__(self, api: KubeApi, kind: tuple[str, str], folder: Path):
        self._api, self._kind = api, kind
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._file = gzip.open(folder / f"watch-{kind[1]}.gz", "wb", COMPRESSION_LEVEL)
        threading.Thread(target=self._run, name=f"record {kind[1]}", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._ended.set()
            self._file.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            # Its CRD may not exist yet, and tests stop API servers.
            with contextlib.suppress(ApiError, requests.RequestException, ValueError):
                path = self._api.path(*self._kind, namespace=None)
                for data in self._api.watch_bytes(path, {}, WATCH_SECONDS):
                    with self._lock:
                        if self._ended.is_set():
                            return
                        self._file.write(data)
            self._ended.wait(RETRY_SECONDS)
