"""Processor time of a test run, by program: what a faster test suite has to save.

Each harness process adds up its children's times and its own, and writes them when it exits. `run_all.py` prints the sums.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import time
from collections import Counter
from pathlib import Path

FOLDER = "KEELSON_PROCESSOR_TIMES"
_seconds: Counter[str] = Counter()
_of_children = 0.0


def of_exited(pid: int) -> float | None:
    """Seconds of a child that exited and was not waited for yet, with those of its own children; None while it runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # proc(5): state, then utime, stime, cutime, cstime are the 12th to the 15th after the name.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields[0] == "Z" else None


def add(program: str, seconds: float, is_child: bool = True) -> None:
    """is_child: of this process, so that the kernel adds its time to that of all children."""
    global _of_children
    _seconds[program] += seconds
    _of_children += seconds * is_child


def write(folder: str) -> None:
    """Children that are not a `Process`, such as one command of the CLI, count together."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    _seconds["other programs"] += max(0, children.ru_utime + children.ru_stime - _of_children)
    _seconds["pytest"] += time.process_time()
    (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(_seconds))


def total(folder: Path) -> Counter[str]:
    """Seconds by program, of all processes that wrote theirs."""
    seconds: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        seconds.update(json.loads(path.read_text()))
    return seconds


if folder := os.environ.get(FOLDER):
    atexit.register(write, folder)
