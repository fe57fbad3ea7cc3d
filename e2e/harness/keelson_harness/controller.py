"""The operator as a process: starts, kills and restarts `keelson controller`."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from . import confidential
from .light_http import answers
from .processes import Process


class Controller:
    """One replica. All its processes append to one log."""

    def __init__(
        self,
        binary: Path,
        log: Path,
        env: Mapping[str, str],
        args: Sequence[str] = (),
        name: str = "keelson",
        url: str = "",
    ):
        """url: where it serves /healthz, /readyz and /metrics."""
        self.name = name
        self.url = url
        self.log = log
        self.env = dict(env)
        self.args = list(args)
        self._binary = binary
        self.starts = 0
        # The last metrics of each process, scraped before SIGTERM.
        self.recorded_metrics: list[str] = []
        confidential.add_process(self.args, self.env)
        self.process = self._start()

    def _start(self) -> Process:
        self.starts += 1
        return Process(
            self.name, [self._binary, "controller", *self.args], self.log, env=self.env
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.alive

    def kill(self) -> None:
        """SIGKILL, as when the node loses power."""
        self.process.kill()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM; returns the exit code, -9 after the timeout."""
        if self.alive:
            self.record_metrics()
        return self.process.stop(timeout)

    def restart(self) -> None:
        """Starts a new process; kills the old one first if it still runs."""
        if self.alive:
            self.kill()
        self.process = self._start()

    def wait_ready(self, timeout: float = 30) -> float:
        """Waits for /readyz; returns the seconds since the process started."""
        return self.process.wait_ready(self.ready, timeout)

    def ready(self) -> bool:
        return answers(f"{self.url}/readyz")

    def metrics(self, timeout: float = 10) -> str:
        """In Prometheus text format."""
        answer = requests.get(f"{self.url}/metrics", timeout=timeout)
        answer.raise_for_status()
        return answer.text

    def record_metrics(self) -> None:
        # A paused or just started process does not answer.
        with contextlib.suppress(requests.RequestException):
            self.recorded_metrics.append(self.metrics(timeout=1))

    @property
    def log_level(self) -> str:
        named = [arg.partition("=")[2] for arg in self.args if arg.startswith("--log-level=")]
        return named[-1] if named else self.env.get("KEELSON_LOG_LEVEL", "info")
