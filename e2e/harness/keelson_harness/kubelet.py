"""Simulates the scheduler and the kubelets: pods of selected namespaces run and become ready.

The real controllers manage Deployments, ReplicaSets and their status; this only does to a
Pod what a kubelet does. A pod with a runner is a real process on this machine: ready when
the process is, restarted when it exits.
"""

import contextlib
import datetime
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .kubeapi import ApiError
from .kubernetes import ControlPlane, write_kubeconfig
from .processes import Process

POLL_SECONDS = 0.2
POD = "pod.json"


class Runner(Protocol):
    """Runs one kind of pod as a process; returns it with its readiness probe.

    The Pod as created is `pod.json` in its directory.
    """

    def __call__(self, kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]: ...


class DependencyMissing(Exception):
    """The cluster lacks something that a runner needs; the kubelet retries."""


class Kubelet:
    """Watches one cluster's pods. Keys of `runners`: the pod's label `app` or `app.kubernetes.io/name`."""

    def __init__(
        self,
        cluster: ControlPlane,
        directory: Path,
        runners: dict[str, Runner],
        namespaces: tuple[str, ...] = ("flux-system", "argocd"),
    ):
        self._cluster = cluster
        self._directory = directory
        self._runners = runners
        self.namespaces = set(namespaces)
        self._pods: dict[str, _Pod] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        threading.Thread(target=self._watch, name="kubelet", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            pods, self._pods = list(self._pods.values()), {}
        for pod in pods:
            pod.stop()

    def processes(self) -> list[Process]:
        with self._lock:
            return [pod.process for pod in self._pods.values() if pod.process]

    def process(self, app: str) -> Process | None:
        """The process of the newest pod of that `app`."""
        with self._lock:
            found = [pod.process for pod in self._pods.values() if pod.app == app and pod.process]
        return found[-1] if found else None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                for event, item in self._cluster.api.watch("v1", "Pod", timeout=3600):
                    if self._stopping.is_set():
                        return
                    if item["metadata"]["namespace"] in self.namespaces:
                        self._handle_event(event, item)
            except Exception:  # a test may stop the API server; its pods keep running
                self._stopping.wait(POLL_SECONDS)

    def _handle_event(self, event: str, item: dict) -> None:
        uid = item["metadata"]["uid"]
        gone = event == "DELETED" or item["metadata"].get("deletionTimestamp")
        with self._lock:
            if self._stopping.is_set():
                return
            pod = self._pods.pop(uid, None) if gone else self._pods.get(uid)
            if not gone and pod is None:
                app = _app(item)
                pod = _Pod(self._cluster, item, self._directory / uid, self._runners.get(app))
                self._pods[uid] = pod
                threading.Thread(target=pod.run, name=f"pod {app}", daemon=True).start()
                return
        if gone and pod:
            pod.stop()


def _app(pod: dict) -> str:
    labels = pod["metadata"].get("labels", {})
    return labels.get("app") or labels.get("app.kubernetes.io/name", "")


class _Pod:
    """Runs one pod, in its own thread."""

    def __init__(self, cluster: ControlPlane, item: dict, directory: Path, runner: Runner | None):
        meta = item["metadata"]
        self.app = _app(item)
        self.process: Process | None = None
        self._cluster = cluster
        self._item = item
        self._namespace, self._name = meta["namespace"], meta["name"]
        self._account = item["spec"].get("serviceAccountName", "default")
        self._containers = [entry["name"] for entry in item["spec"]["containers"]]
        self._directory = directory
        self._runner = runner
        self._gone = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        self._gone.set()
        with self._lock:
            if self.process:
                self.process.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(self) -> None:
        restarts = 0
        while not self._gone.is_set():
            ready = self._start()
            while not self._gone.is_set() and not self._is_ready(ready):
                if self.process and not self.process.alive:
                    break
                self._gone.wait(POLL_SECONDS)
            else:
                self._report(True, restarts)
                while not self._gone.wait(POLL_SECONDS):
                    if self.process and not self.process.alive:
                        break
            if not self._gone.is_set():
                restarts += 1
                self._report(False, restarts)
                self._gone.wait(1)

    def _start(self) -> Callable[[], bool]:
        if self._runner is None:
            return lambda: True
        kubeconfig = self._kubeconfig()
        while kubeconfig is not None:
            with self._lock, contextlib.suppress(DependencyMissing):
                if self._gone.is_set():
                    break
                self.process, ready = self._runner(kubeconfig, self._directory)
                return ready
            self._gone.wait(POLL_SECONDS)
        return lambda: False

    def _kubeconfig(self) -> Path | None:
        """For its own service account, so that it has exactly the installed RBAC."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / POD).write_text(json.dumps(self._item))
        while not self._gone.is_set():
            with contextlib.suppress(ApiError, OSError):
                token = self._cluster.api.service_account_token(self._namespace, self._account)
                path = self._directory / "kubeconfig"
                return write_kubeconfig(
                    path, self._cluster.url, self._cluster.ca_file, token=token
                )
            self._gone.wait(POLL_SECONDS)
        return None

    @staticmethod
    def _is_ready(ready: Callable[[], bool]) -> bool:
        try:
            return ready()
        except Exception:  # connections are refused until it listens
            return False

    def _report(self, ready: bool, restarts: int) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"running": {"startedAt": now}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
        flag = "True" if ready else "False"
        status = {
            "phase": "Running",
            "startTime": now,
            "conditions": [
                {"type": kind, "status": flag, "lastTransitionTime": now}
                for kind in ("Initialized", "ContainersReady", "Ready", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "name": name,
                    "image": "local",
                    "imageID": "local",
                    "ready": ready,
                    "restartCount": restarts,
                    "started": ready,
                    "state": state,
                }
                for name in self._containers
            ],
        }
        while not self._gone.is_set():
            try:
                self._cluster.api.patch(
                    "v1", "Pod", self._name, {"status": status}, self._namespace, "status"
                )
                return
            except ApiError as error:
                if error.code == 404:
                    return
            except OSError:
                pass  # the API server is down: retry, as a kubelet does
            self._gone.wait(POLL_SECONDS)
