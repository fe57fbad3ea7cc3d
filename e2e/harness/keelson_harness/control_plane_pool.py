"""Control planes that several test files use one after another: `python -m keelson_harness.control_plane_pool SOCKET`.

To start etcd, an API server and a controller manager and to install the CRDs is half of what they cost a test file. This
process keeps those that a file released, deletes in etcd what the file left, and gives them to the next one.

A client connects to the Unix socket and receives a line: where its control plane is. While it keeps the connection open
it is the only one that uses it. To release it, it sends RELEASED and closes the connection. A control plane whose client
died or closed the connection otherwise is stopped, and so is one that cannot be reset in full.

I/O: the socket, etcd, processes.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import etcd_keys
from .cloud import LocalCloud
from .etcd_keys import Stored
from .kubernetes import ControlPlane
from .pooled import RELEASED, Pooled

BACKLOG = 128
# The API server renews its own Leases, and its identity is of one process.
OWN_KEYS = ("leases/kube-system/apiserver-", "masterleases/", "peerserverleases/")
# What the API server keeps more state of than its watches: a control plane where a test changed these is not used again.
NOT_RESET = (
    "apiextensions.k8s.io/",
    "apiregistration.k8s.io/",
    "ipaddresses/",
    "ranges/",
    "servicecidrs/",
    "services/",
)
NAMESPACES = "namespaces/"
# Until the controllers' caches have seen that a namespace is gone: they would recreate what it contained.
NAMESPACE_SECONDS = 0.5
# The API server reloads admission policies once a second; the controllers react within less.
SETTLE_SECONDS = 2.5
ATTEMPTS = 4
# A control plane that is being reset is ready sooner than a new one, which takes several seconds of processor time.
WAIT_SECONDS = 15
# A fresh one after that many files, in case that something accumulates.
MAX_USES = 25


class NotReset(Exception):
    """A control plane has objects that it did not have when it started."""


class Plane:
    """A control plane with its etcd, and the keys that it had before its first use."""

    def __init__(self) -> None:
        self._cloud = LocalCloud(aws=False, git=False)
        self.uses = 0
        self._cloud.__enter__()
        try:
            self._cloud.install_crds()
            self._baseline = self._await_steady()
        except BaseException:
            self.stop()
            raise

    @property
    def control_plane(self) -> ControlPlane:
        return self._cloud.management

    def describe(self) -> Pooled:
        plane = self.control_plane
        return Pooled(plane.name, self._cloud.etcd.url, plane.port, str(plane.directory))

    def stop(self) -> None:
        self._cloud.__exit__(None, None, None)

    def reset(self) -> None:
        """Deletes what was added since the start, and restores what was changed or deleted. Raises `NotReset`."""
        # A workload cluster's API server stores its objects in the same etcd.
        etcd_keys.delete_others(self._cloud.etcd.url, self._prefix)
        for _ in range(ATTEMPTS):
            changes = self._changes()
            if not changes:
                self._check()
                return
            self._undo(changes)
            time.sleep(SETTLE_SECONDS)
        raise NotReset(f"it changes again: {', '.join(sorted(self._changes())[:5])}")

    def _changes(self) -> dict[str, Stored | None]:
        """The keys that differ from the baseline, each with what it was."""
        now = self._keys(values=False)
        changed = {key for key, was in self._baseline.items() if key not in now or now[key].revision != was.revision}
        return {key: self._baseline.get(key) for key in changed | (now.keys() - self._baseline.keys())}

    def _undo(self, changes: dict[str, Stored | None]) -> None:
        kept = [key for key in changes if key.removeprefix(self._prefix).startswith(NOT_RESET)]
        if kept:
            raise NotReset(f"changed: {', '.join(sorted(kept)[:5])}")
        url = self._cloud.etcd.url
        added = [key for key, was in changes.items() if was is None]
        namespaces = [key for key in added if key.removeprefix(self._prefix).startswith(NAMESPACES)]
        if namespaces:
            etcd_keys.delete(url, namespaces)
            time.sleep(NAMESPACE_SECONDS)
        etcd_keys.delete(url, [key for key in added if key not in namespaces])
        for key, was in changes.items():
            if was:
                self._baseline[key] = Stored(was.value, etcd_keys.put(url, {key: was.value}))

    def _check(self) -> None:
        """Lists through the API server, which then has seen all that etcd stores."""
        for process in (self._cloud.etcd.process, self.control_plane.apiserver, self.control_plane.controller_manager):
            if not process.alive:
                raise NotReset(f"{process.name} exited with {process.returncode}")
        listed = self.control_plane.api.list("v1", "Namespace")
        stored = [key for key in self._baseline if key.removeprefix(self._prefix).startswith(NAMESPACES)]
        if len(listed) != len(stored):
            raise NotReset(f"{len(listed)} namespaces instead of {len(stored)}")

    def _await_steady(self) -> dict[str, Stored]:
        """Its keys, once the controllers have created theirs."""
        known = self._keys()
        while True:
            time.sleep(SETTLE_SECONDS)
            now = self._keys()
            if now == known:
                return known
            known = now

    def _keys(self, values: bool = True) -> dict[str, Stored]:
        found = etcd_keys.read(self._cloud.etcd.url, self._prefix, values)
        return {key: stored for key, stored in found.items() if not key.removeprefix(self._prefix).startswith(OWN_KEYS)}

    @property
    def _prefix(self) -> str:
        return f"/{self.control_plane.name}/"


@dataclass
class Pool:
    """Control planes that nobody uses. Starts one where there is none."""

    start: Callable[[], Plane] = Plane
    _idle: list[Plane] = field(default_factory=list)
    _all: list[Plane] = field(default_factory=list)
    _resetting: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def acquire(self) -> Plane:
        deadline = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not self._idle and self._resetting and time.monotonic() < deadline:
                self._changed.wait(1)
            if self._idle:
                return self._idle.pop()
        plane = self.start()
        with self._changed:
            self._all.append(plane)
        return plane

    def release(self, plane: Plane) -> None:
        """Resets it for the next client."""
        plane.uses += 1
        if plane.uses >= MAX_USES:
            self.discard(plane)
            return
        with self._changed:
            self._resetting += 1
        usable = False
        try:
            plane.reset()
            usable = True
        except Exception as error:  # whatever fails: a new one works
            # At the end the last ones are stopped while they are being reset.
            if plane in self._all:
                print(f"{plane.describe().directory} is not used again: {error!r}", file=sys.stderr, flush=True)
        finally:
            with self._changed:
                self._resetting -= 1
                if usable:
                    self._idle.append(plane)
                self._changed.notify_all()
        if not usable:
            self.discard(plane)

    def discard(self, plane: Plane) -> None:
        with self._changed:
            if plane not in self._all:
                return
            self._all.remove(plane)
        plane.stop()

    def stop(self) -> None:
        with self._changed:
            planes, self._all = self._all, []
        for plane in planes:
            plane.stop()


def serve(path: Path) -> None:
    pool = Pool()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(BACKLOG)
        try:
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_serve_client, args=(pool, client), daemon=True).start()
        finally:
            pool.stop()


def _serve_client(pool: Pool, client: socket.socket) -> None:
    with client:
        plane = pool.acquire()
        with contextlib.suppress(OSError):
            client.sendall(plane.describe().encode())
        received = b""
        with contextlib.suppress(OSError):
            while data := client.recv(64):
                received += data
    if received == RELEASED:
        pool.release(plane)
    else:
        pool.discard(plane)


def main() -> None:
    # So that processes are stopped and their times are written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
