"""Kills the operator while the workload cluster's API server handles one of its writes: nobody receives the response.

An admission webhook sees every write before it is stored. There the operator is stopped (SIGSTOP), and killed once the write
is stored: with its connection closed earlier, the API server would have aborted the write. Only writes that change something
count: a restarted operator applies everything again, and objects that match stay unchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleet.admission_webhook import shown_writes
from fleet.environment import Environment
from fleet.killing import runs_on
from keelson_harness.kubernetes import ControlPlane

from . import FIELD_MANAGER

# Seconds until an admitted write is stored.
SECONDS_UNTIL_STORED = 0.05
RULES = {
    "": ["namespaces", "resourcequotas", "serviceaccounts", "services", "secrets", "configmaps"],
    "apps": ["deployments"],
    "apiextensions.k8s.io": ["customresourcedefinitions"],
    "rbac.authorization.k8s.io": ["clusterroles", "clusterrolebindings"],
    "networking.k8s.io": ["networkpolicies"],
    "source.toolkit.fluxcd.io": ["gitrepositories"],
    "kustomize.toolkit.fluxcd.io": ["kustomizations"],
}


def is_of_operator(request: dict) -> bool:
    return request.get("options", {}).get("fieldManager") == FIELD_MANAGER


class Killer:
    """Where the operator was killed, as "CREATE Kind name". `counts`: at which requests."""

    def __init__(self, counts: Callable[[dict], bool] = is_of_operator) -> None:
        self.points: list[str] = []
        self._counts = counts
        self.starts = 0
        self._pid: int | None = None
        self._lock = threading.Lock()

    def arm(self, pid: int | None) -> None:
        with self._lock:
            self._pid = pid

    def intercept(self, request: dict) -> None:
        if not self._counts(request) or not changes(request):
            return
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._pid is None:
                return
            os.kill(self._pid, signal.SIGSTOP)
            threading.Timer(SECONDS_UNTIL_STORED, os.kill, (self._pid, signal.SIGKILL)).start()
            self._pid = None
            self.points.append(f"{request['operation']} {request['kind']['kind']} {request['name']}")
            self.killed(request)

    def killed(self, request: dict) -> None:
        """For those who want to know more of the writes."""

    def run(
        self, on: Environment, done: Callable[[], bool], timeout: float = 300, flags: tuple[str, ...] = (), at_aws: str | None = None, **options: object
    ) -> list[str]:
        """Runs operators until `done`, each killed at its first write that changes something.

        at_aws: an account in which a write kills as well, before its response is sent. options: of `Environment.start`.
        """
        before = len(self.points)
        deadline = time.monotonic() + timeout
        while not done():
            operator = on.start(*flags, wait=False, **options)
            self.starts += 1
            self.arm(operator.pid)
            signal_of_aws = {"signal": {"pid": operator.pid, "signal": signal.SIGKILL.value, "when": "before"}}
            rule = on.aws.add_fault({"write": True, "account": at_aws}, signal_of_aws) if at_aws else None
            try:
                while runs_on(operator, done):
                    late = time.monotonic() > deadline
                    assert not late, f"not done after {self.starts} starts, last {self.points[-3:]}"
            finally:
                self.arm(None)
                if rule is not None:
                    on.aws.control("DELETE", "faults", params={"id": rule})
                if operator.alive:
                    operator.stop()
        return self.points[before:]


def changes(request: dict) -> bool:
    return comparable(request.get("oldObject")) != comparable(request.get("object"))


def comparable(item: dict | None) -> dict:
    """An object without the fields that every write changes."""
    item = json.loads(json.dumps(item or {}))
    meta = item.get("metadata", {})
    meta.pop("resourceVersion", None)
    for entry in meta.get("managedFields", []):
        entry.pop("time", None)
    return item


@contextmanager
def killer(
    on: Environment, plane: ControlPlane | None = None, rules: dict[str, list[str]] = RULES, found: Killer | None = None
) -> Iterator[Killer]:
    """Kills at writes to the workload cluster for a block. `rules`: the kinds, by group; found: one that kills at other servers, too."""
    found = found or Killer()
    kinds = [{"apiGroups": [group], "operations": ["CREATE", "UPDATE"], "resources": resources} for group, resources in rules.items()]
    with shown_writes(plane or on.cloud.workload, "killer", kinds, found.intercept):
        yield found
