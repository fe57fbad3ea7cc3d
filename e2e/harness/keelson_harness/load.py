"""How busy this machine is, for tests that measure time.

I/O: reads /proc/loadavg.
"""

from __future__ import annotations

import os
from pathlib import Path

LOAD = Path("/proc/loadavg")


def busy_factor() -> float:
    """By how much longer something may take than on a quiet machine, where it is 1: the processes that want to run for each core, now or in
    the last minute.
    """
    try:
        average, _, _, processes, _ = LOAD.read_text().split()
    except OSError:  # Not on Linux.
        return max(1.0, os.getloadavg()[0] / _cores())
    running = int(processes.partition("/")[0])
    return max(1.0, float(average) / _cores(), running / _cores())


def _cores() -> int:
    return os.cpu_count() or 1
