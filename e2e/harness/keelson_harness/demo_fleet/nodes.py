"""What is played on the nodes of the clusters: the scheduler, a registry with two images, and the evictions of EKS.

EKS evicts through the API server, where a PodDisruptionBudget may refuse; the emulator does not evict. Therefore updates of a
node group fail with EKS's own error as long as a budget of its cluster allows no disruption.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..aws import ACCOUNT
from ..cloud import LocalCloud
from ..kubeapi import ApiError, KubeApi
from ..kubelet import POD
from ..processes import Process
from .files import GOOD, IMAGE, NEXT, SHOP, WITH_WORKLOAD

POLL_SECONDS = 0.3
IMAGES = [f"{IMAGE}{tag}" for tag in (GOOD, NEXT)]
BUDGET = ("policy/v1", "PodDisruptionBudget")
EVICTION_FAILURE = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods from nodes in node group"}


def run_web(_kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]:
    """Runs a Pod of the shop; one whose image the registry does not have never becomes ready."""
    [container] = json.loads((directory / POD).read_text())["spec"]["containers"]
    process = Process("web", ["sleep", "infinity"], directory / "web.log")
    return process, lambda: container["image"] in IMAGES


class Nodes:
    """Follows the clusters from `start` to `stop`."""

    def __init__(self, cloud: LocalCloud):
        self._cloud = cloud
        # By cluster: the emulator's rule that makes updates fail.
        self._faults: dict[str, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="nodes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for name in WITH_WORKLOAD:
                # Its API server starts and stops with the cluster.
                with suppress(ApiError, OSError, KeyError, RuntimeError):
                    api = self._cloud.workloads.control_plane(name).api
                    self._schedule(api)
                    self._set_evictions(name, self.budget_is_used_up(api))

    def _schedule(self, api: KubeApi) -> None:
        """Binds each new Pod to the node with the fewest; ends those that are deleted, or whose node is gone."""
        nodes = [item["metadata"]["name"] for item in api.list("v1", "Node")]
        pods = api.list("v1", "Pod", SHOP)
        on_nodes = Counter(pod["spec"].get("nodeName") for pod in pods)
        for pod in pods:
            name, node = pod["metadata"]["name"], pod["spec"].get("nodeName")
            path = api.path("v1", "Pod", name, SHOP)
            if node and (node not in nodes or "deletionTimestamp" in pod["metadata"]):
                api.request("DELETE", path, json={"gracePeriodSeconds": 0})
            elif not node and nodes:
                chosen = min(nodes, key=lambda one: on_nodes[one])
                on_nodes[chosen] += 1
                target = {"apiVersion": "v1", "kind": "Node", "name": chosen}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                api.request("POST", f"{path}/binding", json=binding)

    @staticmethod
    def budget_is_used_up(api: KubeApi) -> bool:
        status = (api.find(*BUDGET, "web", SHOP) or {}).get("status", {})
        return status.get("expectedPods", 0) > 0 and status.get("disruptionsAllowed") == 0

    def _set_evictions(self, cluster: str, fail: bool) -> None:
        if fail and cluster not in self._faults:
            match = {"account": ACCOUNT, "action": "UpdateNodegroupVersion", "resource": f"{cluster}/*"}
            self._faults[cluster] = self._cloud.aws.add_fault(match, {"health_issue": EVICTION_FAILURE})
        elif not fail and cluster in self._faults:
            self._cloud.aws.control("DELETE", "faults", params={"id": self._faults.pop(cluster)})
