"""The call log: every AWS call as a line of JSON, in memory and, if CALL_LOG is set, in a file."""

from __future__ import annotations

import json
import time
from collections import deque
from itertools import islice
from typing import Any, TextIO

from .call import Call

MAX_ENTRIES = 200_000
# Request parameters of EKS writes that the log includes, e.g. to check the order of updates.
LOGGED_PARAMETERS = ("version", "addonVersion", "releaseVersion", "force", "clientRequestToken", "preserve")


class CallLog:
    def __init__(self, path: str = "") -> None:
        self._path = ""
        self._file: TextIO | None = None
        self._entries: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self._number = 0
        self.open(path)

    def open(self, path: str) -> None:
        if path == self._path:
            return
        if self._file:
            self._file.close()
        self._path = path
        # Line-buffered: no entry is lost when the emulator is killed.
        self._file = open(path, "a", buffering=1) if path else None

    def write(self, call: Call, status: int, error: str, fault: str, request_id: str = "") -> None:
        self._number += 1
        entry: dict[str, Any] = {
            "number": self._number,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now := time.time())) + f".{int(now * 1000) % 1000:03d}Z",
            "account": call.account,
            "region": call.region,
            "service": call.service,
            "action": call.action,
            "resource": call.resource,
            "status": status,
            "error": error,
            "write": call.write,
        }
        if request_id:
            entry["requestId"] = request_id
        parameters = {name: call.params[name] for name in LOGGED_PARAMETERS if name in call.params} if call.service == "eks" and call.write else {}
        if parameters:
            entry["asked"] = parameters
        if names := call.names:
            entry["names"] = names
        if ":assumed-role/" in call.caller_arn:
            entry["session"] = call.caller_arn.partition(":assumed-role/")[2]
        if call.checks:
            entry["checks"] = call.checks
        if fault:
            entry["fault"] = fault
        self._entries.append(entry)
        if self._file:
            self._file.write(json.dumps(entry) + "\n")

    @property
    def last(self) -> int:
        """The number of the latest call."""
        return self._number

    def since(self, number: int) -> list[dict[str, Any]]:
        """Every call with a number above this one, oldest first."""
        # Iterates from the end, so that frequent polling only reads new entries.
        new = min(self._number - number, len(self._entries))
        return list(islice(reversed(self._entries), new))[::-1] if new > 0 else []

    def clear(self) -> None:
        """Clears the entries in memory. Numbering continues, so that a reader's `since` stays valid."""
        self._entries.clear()
