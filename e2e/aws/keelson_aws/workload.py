"""What EKS puts into a cluster: Node objects of its instances, and aws-node, kube-proxy and coredns.

With WORKLOAD_KUBECONFIG, an administrator's, all clusters of the emulator share that one API server; with WORKLOAD_EACH every
cluster has its own. What is wanted is worked out on the emulator's thread; for each API server a thread of its own talks to it,
as it may be slow or away.
"""

from __future__ import annotations

import base64
import logging
import queue
import tempfile
import threading
from collections.abc import Iterable
from typing import Any

import requests
import yaml
from moto.autoscaling.models import autoscaling_backends

from .eks import fleet
from .eks.access import lets_nodes_in
from .eks.service import Eks
from .eks.state import Cluster, Part, Region
from .images import image_id

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.25
Objects = dict[str, dict[str, Any]]


class Workloads:
    """The API servers behind the clusters: one that all share, or one for each."""

    def __init__(self, shared_kubeconfig: str) -> None:
        self._shared = Workload(shared_kubeconfig) if shared_kubeconfig else None
        self._own: dict[str, Workload] = {}

    def look(self, eks: Eks) -> None:
        """Hand over to each what has to be there now."""
        if self._shared:
            self._shared.look(eks.regions.values())
            return
        servers = {cluster.api_server.kubeconfig for cluster in eks.clusters() if cluster.api_server}
        for kubeconfig in self._own.keys() - servers:
            self._own.pop(kubeconfig).stop()
        for region in eks.regions.values():
            for cluster in region.clusters.values():
                if cluster.api_server:
                    kubeconfig = cluster.api_server.kubeconfig
                    only = Region(region.account, region.name, {cluster.name: cluster})
                    if kubeconfig not in self._own:
                        self._own[kubeconfig] = Workload(kubeconfig)
                    self._own[kubeconfig].look([only])


class Workload:
    """One API server."""

    def __init__(self, kubeconfig: str) -> None:
        self._api = Api(kubeconfig)
        self._wanted: queue.Queue[Objects] = queue.Queue(maxsize=1)
        self._applied: Objects = {}
        self._told = False
        self._clusters: set[tuple[str, str, str]] = set()
        self._gone = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._work, name="workload", daemon=True).start()

    def look(self, regions: Iterable[Region]) -> None:
        """Hand over what has to be there now, unless the last list is still being worked on."""
        regions = list(regions)
        clusters = {(region.account, region.name, name) for region in regions for name in region.clusters}
        if self._clusters - clusters:
            self._gone.set()
        self._clusters = clusters
        if self._wanted.empty():
            self._wanted.put_nowait(wanted_objects(regions))

    def stop(self) -> None:
        """The API server goes away: nothing more is written to it."""
        self._stopped.set()
        if self._wanted.empty():
            self._wanted.put_nowait({})

    def _work(self) -> None:
        while True:
            wanted = self._wanted.get()
            if self._stopped.is_set():
                return
            try:
                for path in [path for path in self._applied if path not in wanted]:
                    self._api.delete(path)
                    del self._applied[path]
                for path, body in wanted.items():
                    if path not in self._applied:
                        self._api.create(path, body)
                    elif self._applied[path] != body:
                        self._api.change(path, self._applied[path], body)
                    self._applied[path] = body
                if self._gone.is_set():
                    self._api.resume_flux()
                    self._gone.clear()
                self._told = False
            except (requests.RequestException, OSError, ValueError) as error:
                # It may not be up yet, or be down for a test. Said once; tried again with the next list.
                if not self._told:
                    log.warning("the workload cluster cannot be reached: %s", error)
                    self._told = True


class Api:
    """Just enough of a Kubernetes client: create, change and delete with a kubeconfig's credentials."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self._session: requests.Session | None = None
        self._server = ""

    def create(self, path: str, body: dict[str, Any]) -> None:
        answer = self._connect().post(self._server + path.rpartition("/")[0], json=body, timeout=5)
        if answer.status_code not in (200, 201, 409):
            raise ValueError(f"create {path}: {answer.status_code} {answer.text[:300]}")

    def change(self, path: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Only what differs, so that what others wrote stays; status goes by its own way."""
        for part, suffix in (("metadata", ""), ("spec", ""), ("status", "/status")):
            if old.get(part) == new.get(part):
                continue
            patch = {part: difference(old.get(part, {}), new.get(part, {}))}
            headers = {"Content-Type": "application/merge-patch+json"}
            answer = self._connect().patch(self._server + path + suffix, json=patch, headers=headers, timeout=5)
            if answer.status_code not in (200, 404):
                raise ValueError(f"change {path}: {answer.status_code} {answer.text[:300]}")

    def delete(self, path: str) -> None:
        answer = self._connect().delete(self._server + path, timeout=5)
        if answer.status_code not in (200, 202, 404):
            raise ValueError(f"delete {path}: {answer.status_code} {answer.text[:300]}")

    def resume_flux(self) -> None:
        """What was suspended for a cluster that is gone runs again: the next cluster would have an API server of its own."""
        for kind in ("kustomize.toolkit.fluxcd.io/v1/kustomizations", "helm.toolkit.fluxcd.io/v2/helmreleases"):
            answer = self._connect().get(f"{self._server}/apis/{kind}", timeout=5)
            for item in answer.json()["items"] if answer.status_code == 200 else []:
                if item["spec"].get("suspend"):
                    group, _, plural = kind.rpartition("/")
                    path = f"/apis/{group}/namespaces/{item['metadata']['namespace']}/{plural}/{item['metadata']['name']}"
                    headers = {"Content-Type": "application/merge-patch+json"}
                    self._session.patch(self._server + path, json={"spec": {"suspend": False}}, headers=headers, timeout=5)  # type: ignore[union-attr]

    def _connect(self) -> requests.Session:
        # Read when first needed: the file may be written after the emulator has started.
        if self._session is None:
            with open(self._kubeconfig) as file:
                config = yaml.safe_load(file)
            cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
            session = requests.Session()
            session.trust_env = False
            self._server = cluster["server"].rstrip("/")
            session.verify = file_of(cluster, "certificate-authority") or True
            if "token" in user:
                session.headers["Authorization"] = f"Bearer {user['token']}"
            certificate, key = file_of(user, "client-certificate"), file_of(user, "client-key")
            if certificate and key:
                session.cert = (certificate, key)
            self._session = session
        return self._session


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A merge patch: what is gone is null."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if old.get(key) != value:
            both = isinstance(value, dict) and isinstance(old.get(key), dict)
            patch[key] = difference(old[key], value) if both else value
    return patch


def file_of(entry: dict[str, str], name: str) -> str | None:
    if name in entry:
        return entry[name]
    if f"{name}-data" not in entry:
        return None
    with tempfile.NamedTemporaryFile(delete=False, prefix="keelson-aws-") as file:
        file.write(base64.b64decode(entry[f"{name}-data"]))
    return file.name


def wanted_objects(regions: Iterable[Region]) -> Objects:
    """Every object that has to be in the workload cluster, by its path."""
    wanted: Objects = {}
    for region in regions:
        for cluster in region.clusters.values():
            if cluster.status in ("ACTIVE", "UPDATING"):
                wanted.update(system_objects())
            for part in cluster.nodegroups.values():
                for node in nodes(region, part):
                    wanted[f"/api/v1/nodes/{node['metadata']['name']}"] = node
    return wanted


def nodes(region: Region, part: Part) -> list[dict[str, Any]]:
    names = [group["name"] for group in (part.body.get("resources") or {}).get("autoScalingGroups", [])]
    groups = autoscaling_backends[region.account][region.name].autoscaling_groups
    instances = [state.instance for name in names if name in groups for state in groups[name].instance_states]
    return [node_object(region, part, instance) for instance in instances if instance.state == "running"]


def nodes_of(region: Region, cluster: Cluster) -> list[dict[str, Any]]:
    """The same in short, for tests."""
    return [
        {
            "name": node["metadata"]["name"], "nodegroup": name, "kubelet": node["status"]["nodeInfo"]["kubeletVersion"],
            "cordoned": node["spec"]["unschedulable"], "ready": node["status"]["conditions"][0]["status"] == "True",
        }
        for name, part in cluster.nodegroups.items()
        for node in nodes(region, part)
    ]


def image_of_node(ami_type: str, image: fleet.Image) -> str:
    # Of the caller's own images the release is the id.
    return image.release if ami_type == "CUSTOM" else image_id(image.version, ami_type, image.release)


def node_object(region: Region, part: Part, instance: Any) -> dict[str, Any]:
    body = part.body
    zone = instance.placement.zone
    name = fleet.node_name(region.name, instance.id)
    rolling = part.data.get("rolling")
    joining = rolling is not None and instance.id in rolling.joining
    cordoned = rolling is not None and instance.id in rolling.cordoned
    image = fleet.image_of(part, instance.id)
    arch = "arm64" if "ARM_64" in body["amiType"] else "amd64"
    labels = {
        "eks.amazonaws.com/nodegroup": body["nodegroupName"],
        "eks.amazonaws.com/nodegroup-image": image_of_node(body["amiType"], image),
        "eks.amazonaws.com/capacityType": body["capacityType"],
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "node.kubernetes.io/instance-type": instance.instance_type, "topology.kubernetes.io/region": region.name,
        "topology.kubernetes.io/zone": zone, **body["labels"],
    }
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
    taints = [{"key": t["key"], "value": t.get("value", ""), "effect": effects[t["effect"]]} for t in body["taints"]]
    size = {"cpu": "2", "memory": "7934Mi", "pods": "29", "ephemeral-storage": "20Gi"}
    if cordoned:
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    kubelet = fleet.kubelet_version(part, instance.id)
    ready = ("True", "KubeletReady", "kubelet is posting ready status")
    if joining:
        ready = ("False", "KubeletNotReady", "container runtime network not ready")
    elif not lets_nodes_in(region.clusters[body["clusterName"]], part):
        ready = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": f"aws:///{zone}/{instance.id}", "taints": taints, "unschedulable": cordoned},
        "status": {
            "capacity": size,
            "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": instance.private_ip}, {"type": "InternalDNS", "address": name}],
            "conditions": [
                dict(zip(("type", "status", "reason", "message"), ("Ready", *ready), strict=True)),
                *({"type": kind, "status": "False", "reason": "KubeletHas" + kind} for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")),
            ],
            "nodeInfo": {
                "architecture": arch, "bootID": instance.id, "containerRuntimeVersion": "containerd://2.1.4", "kernelVersion": "6.12.46",
                "kubeProxyVersion": kubelet, "kubeletVersion": kubelet, "machineID": instance.id, "operatingSystem": "linux",
                "osImage": "Amazon Linux 2023", "systemUUID": instance.id,
            },
        },
    }


def system_objects() -> Objects:
    """As a cluster has them from its start; what is inside the pods does not matter, there is no kubelet."""

    def workload(kind: str, name: str, label: dict[str, str], **spec: Any) -> dict[str, Any]:
        container = {"name": name, "image": f"602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/{name}:local"}
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "kube-system", "labels": label},
            "spec": {
                "selector": {"matchLabels": label},
                "template": {"metadata": {"labels": label}, "spec": {"containers": [container]}},
                **spec,
            },
        }

    path = "/apis/apps/v1/namespaces/kube-system"
    return {
        f"{path}/daemonsets/aws-node": workload("DaemonSet", "aws-node", {"k8s-app": "aws-node"}),
        f"{path}/daemonsets/kube-proxy": workload("DaemonSet", "kube-proxy", {"k8s-app": "kube-proxy"}),
        f"{path}/deployments/coredns": workload("Deployment", "coredns", {"k8s-app": "kube-dns"}, replicas=2),
    }
