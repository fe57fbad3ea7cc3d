"""A child that another process forks for us: the emulator, from a process that has loaded it (`keelson_aws/preloaded.py`).

Its lifetime is that of our connection to that process, so that it does not outlive the harness. It has the part of Popen's
interface that `processes.py` uses. I/O: a Unix socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_SECONDS = 60
RETRY_SECONDS = 0.05


class ForkedChild:
    def __init__(self, server: Path, arguments: Sequence[str], environment: Mapping[str, str], log: int):
        """log: the descriptor of its output."""
        self.args = arguments
        self.returncode: int | None = None
        # Of its processor; known once it exited.
        self.seconds: float | None = None
        self._received = b""
        self._lock = threading.Lock()
        self._connection = _connect(server)
        message = json.dumps({"arguments": arguments, "environment": dict(environment)}).encode() + b"\n"
        socket.send_fds(self._connection, [message], [log])
        started = self._line()
        if not started:
            raise ChildProcessError(f"the process that listens on {server} died")
        self.pid: int = json.loads(started)["pid"]

    def _line(self) -> bytes:
        """The next line; empty when the other process died."""
        while b"\n" not in self._received:
            data = self._connection.recv(4096)
            if not data:
                return b""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
                self._read_exit()
            return self.returncode

    def wait(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                self._read_exit()
            return self.returncode

    def _read_exit(self) -> None:
        line = self._line()
        exited = json.loads(line) if line else {"status": signal.SIGKILL, "seconds": 0}
        self.seconds = exited["seconds"]
        self.returncode = os.waitstatus_to_exitcode(exited["status"])
        self._connection.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _connect(server: Path) -> socket.socket:
    """Waits until the server listens, for it may have been started just now."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            connection.connect(str(server))
            return connection
        connection.close()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{server} does not listen")
        time.sleep(RETRY_SECONDS)
