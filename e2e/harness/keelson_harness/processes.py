"""Child processes with readiness probes, which never outlive the harness.

Each child asks the kernel to kill it when its parent dies (Linux), so that a SIGKILL of
the harness leaves no process behind. For the kernel the parent is the *thread* that
forked, so one thread that lives as long as the program starts all children.
"""

import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from . import processor_time
from .forked import ForkedChild

PR_SET_PDEATHSIG = 1
# Between two polls: short at first, longer as a wait gets longer, for each costs processor time here and in what is polled.
POLL_SECONDS, LONGEST_POLL_SECONDS, POLL_SHARE = 0.05, 0.2, 0.1
# Go programs collect garbage less often: their processes are small and short-lived, and processor time is scarce. On one
# processor they do not pass work between threads: that is a fifth of what an API server uses, and a quarter of etcd.
GO_ENV = {"GOGC": "400", "GOMAXPROCS": "1"}

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_requests: queue.SimpleQueue = queue.SimpleQueue()
_spawner_lock = threading.Lock()
_spawner: threading.Thread | None = None
# Sockets that reserve the ports of free_port, on Linux only.
_holders: list[socket.socket] = []


def poll_seconds(started: float) -> float:
    """How long to sleep before the next poll of what is waited for since `started` (time.monotonic)."""
    return min(LONGEST_POLL_SECONDS, max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - started)))


class NotReady(Exception):
    """A process died or was not ready in time; holds the end of its log."""


def free_port() -> int:
    """Reserves a TCP port while this program runs, so that a server can restart on it.

    A bound socket that does not listen reserves it: on Linux a server with SO_REUSEADDR, as all of
    ours have, can listen beside it, and the kernel does not assign the port to anyone else.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    _holders.append(holder)
    if sys.platform != "linux":
        holder.close()
    return port


def _die_with_parent(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before prctl
                os._exit(1)

    return prepare


def _serve_spawns() -> None:
    while True:
        future, argv, options = _requests.get()
        try:
            future.set_result(subprocess.Popen(argv, **options))
        except BaseException as error:  # passed on to the caller
            future.set_exception(error)


def _spawn(argv: Sequence[str], **options) -> subprocess.Popen:
    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = threading.Thread(target=_serve_spawns, name="spawner", daemon=True)
            _spawner.start()
    future: Future = Future()
    _requests.put((future, argv, options))
    return future.result()


class Process:
    """One child with its log file. `wait_ready` polls a probe; `stop` is safe to repeat."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        fork_from: Path | None = None,
    ):
        """fork_from: the socket of a process that has loaded the Python module of `argv`, and forks (`forked.py`)."""
        self.name = name
        self.log = log
        self.started = time.monotonic()
        # The program's time counts once it exited.
        self._counted = False
        is_module = len(argv) > 2 and argv[1] == "-m"
        self._program = str(argv[2]) if is_module else Path(argv[0]).name
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**GO_ENV, **os.environ, **(env or {})}
        with open(log, "ab") as output:
            if fork_from:
                arguments = [str(part) for part in argv[3:]]
                self._child: subprocess.Popen | ForkedChild = ForkedChild(fork_from, arguments, environment, output.fileno())
                return
            self._child = _spawn(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                # Its own session: Ctrl-C reaches only the harness, which stops all in order.
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        self._count_time()
        return self._child.poll()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def _count_time(self) -> None:
        if self._counted:
            return
        if isinstance(self._child, ForkedChild):
            self._child.poll()
            seconds = self._child.seconds
        else:
            seconds = processor_time.of_exited(self.pid)
        if seconds is not None:
            self._counted = True
            processor_time.add(self._program, seconds, not isinstance(self._child, ForkedChild))

    def _wait(self, timeout: float | None = None) -> int:
        """Waits as Popen.wait does, and counts the time of the process before its entry in /proc is gone."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._child.returncode is None and not self._counted:
            self._count_time()
            if not self._counted:
                if self._child.poll() is not None:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(self._child.args, timeout)
                time.sleep(0.01)
        return self._child.wait()

    def wait_ready(self, probe: Callable[[], bool], timeout: float = 60) -> float:
        """Polls until the probe is true; returns the seconds since the start.

        An exception of the probe counts as not ready: connections are refused at first.
        """
        last: BaseException | None = None
        while time.monotonic() - self.started < timeout:
            if not self.alive:
                raise NotReady(f"{self.name} exited with {self.returncode}\n{self.tail()}")
            try:
                if probe():
                    return time.monotonic() - self.started
            except Exception as error:
                last = error
            time.sleep(poll_seconds(self.started))
        raise NotReady(
            f"{self.name} not ready after {timeout:.0f} s (last: {last})\n{self.tail()}"
        )

    def tail(self, lines: int = 20) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return f"end of {self.log}:\n" + "\n".join(f"  {line}" for line in text)

    def resident_bytes(self) -> int:
        """Current resident memory (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; waits until it has exited."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self, timeout: float = 10) -> int:
        """SIGTERM, then SIGKILL after the timeout; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self._wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._child.returncode
