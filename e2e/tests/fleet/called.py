"""Which AWS actions the operator called in this test session, by the emulators' own logs.

The tests call AWS themselves, to prepare and to look. Their calls are counted as they leave,
and only what the logs have beyond those is the operator's. `test_iam_policy.py` reads it.

Where the files are run in processes of their own (`../../side_by_side.py`) each keeps its counts in a folder.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from pathlib import Path

from .policy import permission

_lock = threading.Lock()
_by_tests: Counter[str] = Counter()
_logged: Counter[str] = Counter()
# Answered well at least once: what was only ever refused is not what a policy has to allow.
_well: set[str] = set()


def count_calls_of(client) -> None:
    """Counts every request that this boto3 client sends."""
    service = client.meta.service_model.signing_name

    def sent(event_name: str, **_: object) -> None:
        with _lock:
            _by_tests[f"{service}:{event_name.rpartition('.')[2]}"] += 1

    client.meta.events.register("before-send", sent)


def read_log(path: Path) -> None:
    """Takes over a whole call log, once its emulator is about to go."""
    with _lock:
        for line in path.read_text().splitlines():
            call = json.loads(line)
            action = f"{call['service']}:{call['action']}"
            _logged[action] += 1
            if call["status"] and call["status"] < 400:
                _well.add(action)


def folder() -> Path | None:
    """Where the processes of one run of all tests keep their counts; none when this is the only one."""
    named = os.environ.get("KEELSON_CALLS")
    return Path(named) if named else None


def keep(files: set[str]) -> None:
    """Leaves the counts of this process, which ran those files, to one that comes later."""
    counts = {
        "files": sorted(files),
        "byTests": _by_tests,
        "logged": _logged,
        "well": sorted(_well),
    }
    if directory := folder():
        (directory / f"{os.getpid()}.json").write_text(json.dumps(counts))


def take_over() -> set[str]:
    """Adds what earlier processes kept. The files that they ran."""
    files: set[str] = set()
    if directory := folder():
        for path in directory.glob("*.json"):
            kept = json.loads(path.read_text())
            with _lock:
                _by_tests.update(kept["byTests"])
                _logged.update(kept["logged"])
                _well.update(kept["well"])
            files |= set(kept["files"])
    return files


def by_operator() -> set[str]:
    """`service:Action` of everything that it called, and AWS did, at least once."""
    with _lock:
        return {permission(action) for action in _well if _logged[action] > _by_tests[action]}
