"""Runs one API server for each EKS cluster of the emulator: starts it when the cluster is created, stops it when the cluster is deleted.

All store their objects in one etcd. The emulator keeps a cluster in CREATING until its API server is posted to it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from .aws import Aws
from .kubernetes import BASE_CONTROLLERS, WORKLOAD_CONTROLLERS, ControlPlane
from .kubelet import Kubelet, Runner

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class OwnApiServers:
    """Which EKS clusters have an API server, and what runs in them in addition.

    clusters: their names; the others have none. Empty: each has one. controllers: of kube-controller-manager. namespaces: those
    whose Pods run. runners: of the kubelet.
    """

    clusters: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runners: Mapping[str, Runner] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """The emulator's setting WORKLOAD_EACH."""
        return ",".join(self.clusters) or "true"


class WorkloadClusters:
    """Follows the emulator's clusters from `start` to `stop`. `kubelet` creates the simulated kubelet of a control plane."""

    def __init__(
        self,
        aws: Aws,
        tools: dict[str, Path],
        directory: Path,
        etcd_url: str,
        kubelet: Callable[[ControlPlane], Kubelet],
        log: Callable[[str], None],
        own: OwnApiServers,
    ):
        self._aws, self._tools, self._directory, self._etcd_url = aws, tools, directory, etcd_url
        self._kubelet = kubelet
        self._log = log
        self._own = own
        # A number in the name: a cluster recreated with the same name does not see the old objects in etcd.
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str, str, float], tuple[ControlPlane, Kubelet]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="workloads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for key in list(self._running):
            self._stop_one(key)

    def control_planes(self) -> list[ControlPlane]:
        with self._lock:
            return [plane for plane, _ in self._running.values()]

    def kubelets(self) -> list[Kubelet]:
        with self._lock:
            return [kubelet for _, kubelet in self._running.values()]

    def control_plane(self, cluster: str, account: str | None = None) -> ControlPlane:
        """The control plane of the EKS cluster of that name."""
        return self._find(cluster, account)[0]

    def kubelet(self, cluster: str, account: str | None = None) -> Kubelet:
        """The simulated kubelet of the EKS cluster of that name."""
        return self._find(cluster, account)[1]

    def _find(self, cluster: str, account: str | None) -> tuple[ControlPlane, Kubelet]:
        with self._lock:
            for (of_account, _, name, _), found in self._running.items():
                if name == cluster and account in (None, of_account):
                    return found
        raise KeyError(f"no cluster {cluster} has an API server")

    def _follow(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                clusters = self._aws.control("GET", "clusters")["clusters"]
            except (requests.RequestException, RuntimeError):
                # Tests stop and start the emulator.
                continue
            clusters = [c for c in clusters if not self._own.clusters or c["cluster"] in self._own.clusters]
            wanted = {(c["account"], c["region"], c["cluster"], c["createdAt"]) for c in clusters if c["status"] != "FAILED"}
            for key in set(self._running) - wanted:
                self._stop_one(key)
            new = sorted(wanted - set(self._running))
            threads = [threading.Thread(target=self._start_one, args=(key,), daemon=True) for key in new]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _start_one(self, key: tuple[str, str, str, float]) -> None:
        account, region, cluster, _ = key
        name = f"workload-{next(self._numbers)}-{cluster}"
        controllers = [*BASE_CONTROLLERS, *WORKLOAD_CONTROLLERS, *self._own.controllers]
        plane = ControlPlane(name, self._tools, self._directory / name, controllers=controllers)
        plane.token_webhook = f"{self._aws.token_review_url}/{account}/{region}/{cluster}"
        kubelet = self._kubelet(plane)
        with self._lock:
            self._running[key] = (plane, kubelet)
        plane.start_apiserver(self._etcd_url)
        seconds = plane.wait_apiserver()
        plane.start_controller_manager()
        plane.wait_controller_manager()
        kubelet.start()
        self._log(f"API server of EKS cluster {cluster} in {account} ready after {seconds:.1f} s: {plane.kubeconfig}")
        server = {"endpoint": plane.url, "caFile": str(plane.ca_file), "kubeconfig": str(plane.kubeconfig)}
        self._aws.control(
            "POST", "api-servers", json={"account": account, "region": region, "cluster": cluster, **server}
        )

    def _stop_one(self, key: tuple[str, str, str, float]) -> None:
        with self._lock:
            plane, kubelet = self._running.pop(key)
        kubelet.stop()
        plane.stop()
