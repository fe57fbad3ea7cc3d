"""The operator's own process: `keelson controller`, to be started, killed and started again."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from . import confidential
from .processes import Process


class Controller:
    """One replica. All its lives write to one log, in order."""

    def __init__(
        self,
        binary: Path,
        log: Path,
        env: Mapping[str, str],
        args: Sequence[str] = (),
        name: str = "keelson",
        url: str = "",
    ):
        """url: where it answers /healthz, /readyz and /metrics."""
        self.name = name
        self.url = url
        self.log = log
        self.env = dict(env)
        self.args = list(args)
        self._binary = binary
        self.starts = 0
        # As it last was in each life that was told to stop.
        self.metrics_seen: list[str] = []
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
        """SIGKILL: what a node that loses power does to it."""
        self.process.kill()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM; returns the exit code, -9 when it did not go in time."""
        if self.alive:
            self.remember_metrics()
        return self.process.stop(timeout)

    def restart(self) -> None:
        """A new life, after killing the old one if it still runs."""
        if self.alive:
            self.kill()
        self.process = self._start()

    def wait_ready(self, timeout: float = 30) -> float:
        """Until /readyz says so; returns the seconds since this life began."""
        return self.process.wait_ready(self.ready, timeout)

    def ready(self) -> bool:
        return requests.get(f"{self.url}/readyz", timeout=2).ok

    def metrics(self, timeout: float = 10) -> str:
        """Prometheus's text format."""
        answer = requests.get(f"{self.url}/metrics", timeout=timeout)
        answer.raise_for_status()
        return answer.text

    def remember_metrics(self) -> None:
        # One that is paused, or was just started, does not answer.
        with contextlib.suppress(requests.RequestException):
            self.metrics_seen.append(self.metrics(timeout=1))

    @property
    def log_level(self) -> str:
        named = [arg.partition("=")[2] for arg in self.args if arg.startswith("--log-level=")]
        return named[-1] if named else self.env.get("KEELSON_LOG_LEVEL", "info")
