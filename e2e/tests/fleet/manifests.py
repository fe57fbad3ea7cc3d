"""Manifests as users write them. Pure."""

from __future__ import annotations

from keelson_harness.aws import REGION

from . import API

VERSION = "1.34"
# The label with which the owner of a Secret allows its use by clusters.
SECRET_USE = "keelson.dev/use"
# The add-ons of a cluster that lists none.
DEFAULT_ADDONS = ("coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni")


def cluster(
    name: str, namespace: str = "default", upgrade: dict | None = None, **spec: object
) -> dict:
    # Most test environments have no workload cluster whose nodes an upgrade could read.
    upgrade = {"unreadableNodes": "Ignore", **(upgrade or {})}
    return {
        "apiVersion": API,
        "kind": "EksCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"region": REGION, "version": VERSION, "upgrade": upgrade, **spec},
    }


def node_group(cluster: str, name: str = "", namespace: str = "default", **spec: object) -> dict:
    return {
        "apiVersion": API,
        "kind": "NodeGroup",
        "metadata": {"name": name or f"{cluster}-default", "namespace": namespace},
        "spec": {"clusterRef": {"name": cluster}, "scaling": {"min": 2, "max": 4}, **spec},
    }


ALLOWLISTS = (
    "allowedRoleArns",
    "allowedPolicyArns",
    "allowedVpcIds",
    "allowedSecurityGroupIds",
    "allowedKmsKeyArns",
    "allowedLaunchTemplateIds",
    "allowedImageOwners",
    "allowedImageIds",
    "allowedCapacityReservationIds",
    "allowedPlacementGroups",
    "allowedElasticIpAllocationIds",
)
# For an account that several tenants share: a spec may name only resources that its tenant created.
CLOSED: dict[str, list[str]] = {name: [] for name in ALLOWLISTS}


def account(name: str, account_id: str, **spec: object) -> dict:
    """An account of one tenant, which may name anything in it, unless `spec` has other allowlists."""
    allowed = {name: ["*"] for name in ("allowedNamespaces", *ALLOWLISTS)}
    return {
        "apiVersion": API,
        "kind": "AwsAccount",
        "metadata": {"name": name},
        "spec": {"accountId": account_id, **allowed, **spec},
    }


def secret(name: str, namespace: str = "default", use: str | None = "git", **data: str) -> dict:
    """use: the use that its owner allows; None: no use."""
    labels = {"labels": {SECRET_USE: use}} if use else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, **labels},
        "stringData": data,
    }


def namespace(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def flux(url: str, path: str = "clusters/demo", **git: object) -> dict:
    """spec.gitops: Flux syncs from that repository."""
    source = {"git": {"url": url, "ref": {"branch": "main"}, **git}}
    return {"flux": {"source": source, "path": path}}


def existing(*subnet_ids: str) -> dict:
    """spec.network: existing subnets, not created by Keelson."""
    return {"existing": {"subnetIds": list(subnet_ids)}}


def key_of(item: dict) -> tuple[str, str, str, str]:
    """(apiVersion, kind, name, namespace): the arguments of the harness's KubeApi."""
    meta = item["metadata"]
    return item["apiVersion"], item["kind"], meta["name"], meta.get("namespace", "default")
