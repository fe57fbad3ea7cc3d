"""Resource usage of processes: memory and CPU, from /proc; and the operator's metrics. Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import requests

from keelson_harness.controller import Controller
from keelson_harness.processes import Process

MIB = 1024 * 1024
MB = 1_000_000
_TICKS = os.sysconf("SC_CLK_TCK")


def memory_mb(process: Process) -> float:
    """Current resident memory, in units of 10^6 bytes."""
    return process.resident_bytes() / MB


def peak_mb(process: Process) -> float:
    """Peak resident memory (VmHWM)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


class CpuUsage:
    """The share of one CPU that a process has used since the creation of this object."""

    def __init__(self, process: Process):
        self._process = process
        self._began = time.monotonic()
        self._before = self._seconds()

    def _seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def share(self) -> float:
        return (self._seconds() - self._before) / max(time.monotonic() - self._began, 0.001)


def metrics(controller: Controller, name: str) -> dict[str, float]:
    """The samples of one metric of the operator, by labels."""
    found = {}
    for line in requests.get(f"{controller.url}/metrics", timeout=5).text.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == name:
            found[sample.partition("{")[2].rstrip("}")] = float(value)
    return found


def total(controller: Controller, name: str) -> float:
    return sum(metrics(controller, name).values())
