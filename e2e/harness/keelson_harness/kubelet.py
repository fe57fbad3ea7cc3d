"""Simulates the scheduler and the kubelets: pods of selected namespaces run and become ready.

With `needs_cni` they run as on real nodes: until a CNI's DaemonSet is there, only pods on the host network that
tolerate NotReady nodes do, once a node exists. Such pods have one address: two that listen on the same port collide.

The real controllers manage Deployments, ReplicaSets and their status; this only does to a
Pod what a kubelet does. A pod with a runner is a real process on this machine: ready when
the process is, restarted when it exits. A pod of a Job runs the commands of its containers, once, with their environment: its
phase says how they ended, and the last lines of a failed one are its termination message.
"""

import contextlib
import datetime
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .kubeapi import ApiError
from .kubernetes import ControlPlane, write_kubeconfig
from .processes import Process, free_port

POLL_SECONDS = 0.2
POD = "pod.json"
# DaemonSets of CNIs, EKS's own first.
CNIS = ("aws-node", "cilium", "calico-node", "antrea-agent", "kube-flannel-ds")
NOT_READY = "node.kubernetes.io/not-ready"


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
        needs_cni: bool = False,
    ):
        self._cluster = cluster
        self._directory = directory
        self._runners = runners
        self.namespaces = set(namespaces) | ({"kube-system"} if needs_cni else set())
        self._node = Node(cluster) if needs_cni else None
        self._pods: dict[str, _Pod] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._paused = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        threading.Thread(target=self._watch, name="kubelet", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            pods, self._pods = list(self._pods.values()), {}
        for pod in pods:
            pod.stop()

    def pause(self) -> None:
        """Pods that are created from now on do not start until `resume`."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

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
                kind = _JobPod if _is_of_job(item) else _Pod
                pod = kind(self._cluster, item, self._directory / uid, self._runners.get(app), self._node, self._paused)
                self._pods[uid] = pod
                threading.Thread(target=pod.run, name=f"pod {app}", daemon=True).start()
                return
        if gone and pod:
            pod.stop()


class Node:
    """Whether pods can start on the cluster's nodes, which are one node here."""

    def __init__(self, cluster: ControlPlane):
        self._api = cluster.api
        self._lock = threading.Lock()
        self._read = 0.0
        self._has_cni = self._exists = False

    def can_start(self, pod: dict) -> bool:
        has_cni, exists = self._state()
        return exists and (has_cni or (is_on_host(pod) and tolerates(pod, NOT_READY)))

    def _state(self) -> tuple[bool, bool]:
        with self._lock:
            if time.monotonic() - self._read > POLL_SECONDS:
                names = {item["metadata"]["name"] for item in self._api.list("apps/v1", "DaemonSet")}
                self._has_cni, self._exists = bool(names & set(CNIS)), bool(self._api.list("v1", "Node"))
                self._read = time.monotonic()
            return self._has_cni, self._exists


class HostNetwork:
    """The ports of the cluster's node, as free ports of this machine: other clusters' nodes have the same ones."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    def flags(self, directory: Path) -> list[str] | None:
        """The arguments of a pod on the host network, with this machine's ports; None if it is not on it."""
        pod = json.loads((directory / POD).read_text())
        if not is_on_host(pod):
            return None
        [container] = pod["spec"]["containers"]
        arguments = container.get("args", [])
        if names := [argument for argument in arguments if ".svc" in argument]:
            raise DependencyMissing(f"the node's DNS does not resolve {names}")
        return [re.sub(r"(?<![0-9.])9[67][0-9]{2}(?![0-9])", self._port, argument) for argument in arguments]

    def _port(self, match: re.Match) -> str:
        return str(self._ports.setdefault(match[0], free_port()))


def is_on_host(pod: dict) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def tolerates(pod: dict, key: str) -> bool:
    return any(one.get("key") == key and one.get("operator") == "Exists" for one in pod["spec"].get("tolerations", []))


def _app(pod: dict) -> str:
    labels = pod["metadata"].get("labels", {})
    return labels.get("app") or labels.get("app.kubernetes.io/name", "")


def _is_of_job(pod: dict) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))


class _Pod:
    """Runs one pod, in its own thread."""

    def __init__(
        self, cluster: ControlPlane, item: dict, directory: Path, runner: Runner | None, node: Node | None, paused: threading.Event
    ):
        self._node = node
        self._paused = paused
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

    def _await_node(self) -> None:
        while self._paused.is_set() and not self._gone.is_set():
            self._gone.wait(POLL_SECONDS)
        while self._node and not self._gone.is_set() and not self._is_ready(lambda: self._node.can_start(self._item)):
            self._gone.wait(POLL_SECONDS)

    def run(self) -> None:
        self._await_node()
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
                    path, self._api_server(), self._cluster.ca_file, token=token
                )
            self._gone.wait(POLL_SECONDS)
        return None

    def _api_server(self) -> str:
        """On the host network as its environment says: without kube-proxy there is no Service."""
        if not (self._node and is_on_host(self._item)):
            return self._cluster.url
        entries = self._item["spec"]["containers"][0].get("env", [])
        env = {entry["name"]: entry.get("value", "") for entry in entries}
        return f"https://{env.get('KUBERNETES_SERVICE_HOST')}:{env.get('KUBERNETES_SERVICE_PORT')}"

    @staticmethod
    def _is_ready(ready: Callable[[], bool]) -> bool:
        try:
            return ready()
        except Exception:  # connections are refused until it listens
            return False

    def _report(self, ready: bool, restarts: int) -> None:
        now = _now()
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
        self._patch(status)

    def _patch(self, status: dict) -> None:
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


class _JobPod(_Pod):
    """Runs a pod of a Job: its init containers one after the other, then its first container."""

    def run(self) -> None:
        self._await_node()
        spec, ended = self._item["spec"], []
        self._directory.mkdir(parents=True, exist_ok=True)
        self._patch({"phase": "Running", "startTime": _now(), "containerStatuses": self._statuses({"running": {"startedAt": _now()}})})
        for container in [*spec.get("initContainers", []), spec["containers"][0]]:
            code = self._run_container(container)
            if self._gone.is_set():
                return
            ended.append((container, code))
            if code:
                break
        container, code = ended[-1]
        terminated = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": _now(), "startedAt": _now()}
        if code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            terminated["message"] = self._log(container).read_text(errors="replace")[-2048:]
        self._patch({"phase": "Failed" if code else "Succeeded", "containerStatuses": self._statuses({"terminated": terminated})})

    def _run_container(self, container: dict) -> int:
        env = {"PATH": os.environ["PATH"], **{entry["name"]: entry.get("value", "") for entry in container.get("env", [])}}
        command = [*container.get("command", []), *container.get("args", [])]
        with self._lock:
            if self._gone.is_set():
                return 137
            self.process = Process(f"job {self._name}", command, self._log(container), env, self._directory)
        while self.process.alive:
            self._gone.wait(POLL_SECONDS)
        code = self.process.returncode or 0
        # As a shell says that a signal ended it.
        return code if code >= 0 else 128 - code

    def _log(self, container: dict) -> Path:
        return self._directory / f"{container['name']}.log"

    def _statuses(self, state: dict) -> list[dict]:
        return [
            {"name": name, "image": "local", "imageID": "local", "ready": False, "restartCount": 0, "started": True, "state": state}
            for name in self._containers
        ]


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
