"""The objects that EKS creates in a cluster: Nodes of its instances, and aws-node, kube-proxy and coredns.

With WORKLOAD_KUBECONFIG (an administrator's), all clusters of the emulator share one API server; with WORKLOAD_EACH each
cluster has its own. The emulator's thread computes the desired objects. Each API server has its own thread that applies
them, because it may be slow or unavailable.
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

from .eks import fleet, user_data
from .eks.access import admits_nodes
from .eks.service import Eks
from .eks.state import Cluster, Part, Region
from .images import image_id
from .settings import Settings

log = logging.getLogger(__name__)
SYNC_SECONDS = 0.25
Objects = dict[str, dict[str, Any]]
# DaemonSets of CNIs that are not EKS's.
OTHER_CNIS = ("cilium", "calico-node", "antrea-agent", "kube-flannel-ds")


class WorkloadClusters:
    """The API servers of the clusters: a shared one, or one per cluster."""

    def __init__(self, shared_kubeconfig: str, settings: Settings) -> None:
        self._settings = settings
        self._shared = WorkloadCluster(shared_kubeconfig, settings) if shared_kubeconfig else None
        self._own: dict[str, WorkloadCluster] = {}

    def sync(self, eks: Eks) -> None:
        """Passes the desired objects to each API server."""
        if self._shared:
            self._shared.sync(eks.regions.values())
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
                        self._own[kubeconfig] = WorkloadCluster(kubeconfig, self._settings)
                    self._own[kubeconfig].sync([only])


class WorkloadCluster:
    """One API server."""

    def __init__(self, kubeconfig: str, settings: Settings) -> None:
        self._api = Api(kubeconfig)
        self._settings = settings
        self._has_other_cni = False
        self._desired: queue.Queue[Objects] = queue.Queue(maxsize=1)
        self._applied: Objects = {}
        self._error_logged = False
        self._clusters: set[tuple[str, str, str]] = set()
        self._cluster_deleted = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._apply_loop, name="workload", daemon=True).start()

    def sync(self, regions: Iterable[Region]) -> None:
        """Passes the desired objects to the thread, unless the last list is still queued."""
        regions = list(regions)
        clusters = {(region.account, region.name, name) for region in regions for name in region.clusters}
        if self._clusters - clusters:
            self._cluster_deleted.set()
        self._clusters = clusters
        for region in regions:
            for cluster in region.clusters.values():
                cluster.has_other_cni = self._has_other_cni
        if self._desired.empty():
            self._desired.put_nowait(desired_objects(regions, bool(self._settings.nodes_need_cni)))

    def stop(self) -> None:
        """Stops writing: the API server is being removed."""
        self._stopped.set()
        if self._desired.empty():
            self._desired.put_nowait({})

    def _apply_loop(self) -> None:
        while True:
            desired = self._desired.get()
            if self._stopped.is_set():
                return
            try:
                for path in [path for path in self._applied if path not in desired]:
                    self._api.delete(path)
                    del self._applied[path]
                for path, body in desired.items():
                    if path not in self._applied:
                        self._api.create(path, body)
                    elif self._applied[path] != body:
                        self._api.update(path, self._applied[path], body)
                    self._applied[path] = body
                if self._settings.nodes_need_cni and any(body["kind"] == "Node" for body in desired.values()):
                    self._has_other_cni = self._api.has_other_cni()
                if self._cluster_deleted.is_set():
                    self._api.resume_flux()
                    self._cluster_deleted.clear()
                self._error_logged = False
            except (requests.RequestException, OSError, ValueError) as error:
                # It may not be up yet, or a test has stopped it. Logged once; retried with the next list.
                if not self._error_logged:
                    log.warning("cannot reach the workload cluster: %s", error)
                    self._error_logged = True


class Api:
    """A minimal Kubernetes client: create, update and delete with a kubeconfig's credentials."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self._session: requests.Session | None = None
        self._server = ""

    def create(self, path: str, body: dict[str, Any]) -> None:
        answer = self._connect().post(self._server + path.rpartition("/")[0], json=body, timeout=5)
        if answer.status_code not in (200, 201, 409):
            raise ValueError(f"create {path}: {answer.status_code} {answer.text[:300]}")

    def update(self, path: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Patches only the differences, so that fields of other writers stay; status uses its subresource."""
        for part, suffix in (("metadata", ""), ("spec", ""), ("status", "/status")):
            if old.get(part) == new.get(part):
                continue
            patch = {part: difference(old.get(part, {}), new.get(part, {}))}
            headers = {"Content-Type": "application/merge-patch+json"}
            answer = self._connect().patch(self._server + path + suffix, json=patch, headers=headers, timeout=5)
            if answer.status_code not in (200, 404):
                raise ValueError(f"update {path}: {answer.status_code} {answer.text[:300]}")

    def delete(self, path: str) -> None:
        answer = self._connect().delete(self._server + path, timeout=5)
        if answer.status_code not in (200, 202, 404):
            raise ValueError(f"delete {path}: {answer.status_code} {answer.text[:300]}")

    def has_other_cni(self) -> bool:
        """Whether the DaemonSet of a CNI that is not EKS's exists."""
        answer = self._connect().get(f"{self._server}/apis/apps/v1/daemonsets", timeout=5)
        names = [item["metadata"]["name"] for item in answer.json()["items"]] if answer.status_code == 200 else []
        return any(name in OTHER_CNIS for name in names)

    def resume_flux(self) -> None:
        """Resumes objects that were suspended for a deleted cluster: in AWS the next cluster would have a new API server."""
        for kind in ("kustomize.toolkit.fluxcd.io/v1/kustomizations", "helm.toolkit.fluxcd.io/v2/helmreleases"):
            answer = self._connect().get(f"{self._server}/apis/{kind}", timeout=5)
            for item in answer.json()["items"] if answer.status_code == 200 else []:
                if item["spec"].get("suspend"):
                    group, _, plural = kind.rpartition("/")
                    path = f"/apis/{group}/namespaces/{item['metadata']['namespace']}/{plural}/{item['metadata']['name']}"
                    headers = {"Content-Type": "application/merge-patch+json"}
                    self._session.patch(self._server + path, json={"spec": {"suspend": False}}, headers=headers, timeout=5)  # type: ignore[union-attr]

    def _connect(self) -> requests.Session:
        # Read on first use: the file may be written after the emulator starts.
        if self._session is None:
            with open(self._kubeconfig) as file:
                config = yaml.safe_load(file)
            cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
            session = requests.Session()
            session.trust_env = False
            self._server = cluster["server"].rstrip("/")
            session.verify = credential_file(cluster, "certificate-authority") or True
            if "token" in user:
                session.headers["Authorization"] = f"Bearer {user['token']}"
            certificate, key = credential_file(user, "client-certificate"), credential_file(user, "client-key")
            if certificate and key:
                session.cert = (certificate, key)
            self._session = session
        return self._session


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A merge patch: removed keys are null."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if old.get(key) != value:
            both = isinstance(value, dict) and isinstance(old.get(key), dict)
            patch[key] = difference(old[key], value) if both else value
    return patch


def credential_file(entry: dict[str, str], name: str) -> str | None:
    if name in entry:
        return entry[name]
    if f"{name}-data" not in entry:
        return None
    with tempfile.NamedTemporaryFile(delete=False, prefix="keelson-aws-") as file:
        file.write(base64.b64decode(entry[f"{name}-data"]))
    return file.name


def desired_objects(regions: Iterable[Region], need_cni: bool = False) -> Objects:
    """The desired objects of the workload cluster, by path."""
    desired: Objects = {}
    for region in regions:
        for cluster in region.clusters.values():
            if cluster.status in ("ACTIVE", "UPDATING"):
                desired.update(system_objects(cluster))
            has_network = cluster.has_cni() or not need_cni
            for part in cluster.nodegroups.values():
                for node in nodes(region, part, has_network):
                    desired[f"/api/v1/nodes/{node['metadata']['name']}"] = node
    return desired


def nodes(region: Region, part: Part, has_network: bool = True) -> list[dict[str, Any]]:
    names = [group["name"] for group in (part.body.get("resources") or {}).get("autoScalingGroups", [])]
    groups = autoscaling_backends[region.account][region.name].autoscaling_groups
    instances = [state.instance for name in names if name in groups for state in groups[name].instance_states]
    return [node_object(region, part, instance, has_network) for instance in instances if instance.state == "running"]


def nodes_of(region: Region, cluster: Cluster) -> list[dict[str, Any]]:
    """A summary of the nodes, for tests."""
    return [
        {
            "name": node["metadata"]["name"], "nodegroup": name, "kubelet": node["status"]["nodeInfo"]["kubeletVersion"],
            "cordoned": node["spec"]["unschedulable"], "ready": node["status"]["conditions"][0]["status"] == "True",
        }
        for name, part in cluster.nodegroups.items()
        for node in nodes(region, part)
    ]


def image_of_node(ami_type: str, image: fleet.Image) -> str:
    # For custom AMIs the release is the AMI id.
    return image.release if ami_type == "CUSTOM" else image_id(image.version, ami_type, image.release)


def node_object(region: Region, part: Part, instance: Any, has_network: bool) -> dict[str, Any]:
    body = part.body
    zone = instance.placement.zone
    name = fleet.node_name(region.name, instance.id)
    rolling = part.data.get("rolling")
    joining = rolling is not None and instance.id in rolling.joining
    cordoned = rolling is not None and instance.id in rolling.cordoned
    image = fleet.image_of(part, instance.id)
    settings = user_data.kubelet_of(user_data.text_of(dict(image.template)))
    arch = "arm64" if "ARM_64" in body["amiType"] else "amd64"
    labels = {
        "eks.amazonaws.com/nodegroup": body["nodegroupName"],
        "eks.amazonaws.com/nodegroup-image": image_of_node(body["amiType"], image),
        "eks.amazonaws.com/capacityType": body["capacityType"],
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "node.kubernetes.io/instance-type": instance.instance_type, "topology.kubernetes.io/region": region.name,
        "topology.kubernetes.io/zone": zone, **settings.labels, **body["labels"],
    }
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
    taints = [{"key": t["key"], "value": t.get("value", ""), "effect": effects[t["effect"]]} for t in body["taints"]] + settings.taints
    size = {"cpu": "2", "memory": "7934Mi", "pods": str(settings.max_pods or 29), "ephemeral-storage": "20Gi"}
    if cordoned:
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    kubelet = fleet.kubelet_version(part, instance.id)
    ready = ("True", "KubeletReady", "kubelet is posting ready status")
    if joining:
        ready = ("False", "KubeletNotReady", "container runtime network not ready")
    elif not has_network:
        ready = ("False", "KubeletNotReady", "container runtime network not ready: NetworkPluginNotReady: cni plugin not initialized")
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    elif not admits_nodes(region.clusters[body["clusterName"]], part):
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


def system_objects(cluster: Cluster) -> Objects:
    """The software of the core add-ons that runs in the cluster. The pod contents do not matter, because no kubelet runs them."""

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
    objects = {
        "vpc-cni": (f"{path}/daemonsets/aws-node", workload("DaemonSet", "aws-node", {"k8s-app": "aws-node"})),
        "kube-proxy": (f"{path}/daemonsets/kube-proxy", workload("DaemonSet", "kube-proxy", {"k8s-app": "kube-proxy"})),
        "coredns": (f"{path}/deployments/coredns", workload("Deployment", "coredns", {"k8s-app": "kube-dns"}, replicas=2)),
    }
    return dict(found for addon, found in objects.items() if cluster.has_software(addon))
