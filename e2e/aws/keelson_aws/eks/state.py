"""EKS state of an account in a region. Bodies have the format of API responses; other fields are internal.

Saved snapshots (`saved.py`) contain these classes by name: renaming a class or field breaks them."""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from ..errors import AwsError


@dataclass
class Update:
    """An update, in progress or finished, of a cluster or of one of its node groups or add-ons."""

    id: str
    type: str
    params: list[dict[str, str]]
    created_at: float
    nodegroup: str = ""
    addon: str = ""
    capability: str = ""
    status: str = "InProgress"
    errors: list[dict[str, Any]] = field(default_factory=list)
    # Only if it was cancelled.
    cancellation: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "type": self.type,
            "params": self.params,
            "createdAt": self.created_at,
            "errors": self.errors,
        }
        return {**body, "cancellation": self.cancellation} if self.cancellation else body


@dataclass
class Part:
    """A subresource of a cluster: node group, add-on, Fargate profile, access entry, ..."""

    body: dict[str, Any]
    # Internal data of this kind of part: see the module of the kind.
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ApiServer:
    """The API server of one cluster."""

    endpoint: str
    ca_file: str
    # An administrator's.
    kubeconfig: str

    def ca(self) -> str:
        """The PEM in Base64, as in DescribeCluster. Read on each call: tests rotate it."""
        with open(self.ca_file, "rb") as file:
            return base64.b64encode(file.read()).decode()


@dataclass
class Cluster:
    name: str
    body: dict[str, Any]
    creator_arn: str
    nodegroups: dict[str, Part] = field(default_factory=dict)
    addons: dict[str, Part] = field(default_factory=dict)
    fargate_profiles: dict[str, Part] = field(default_factory=dict)
    access_entries: dict[str, Part] = field(default_factory=dict)
    pod_identities: dict[str, Part] = field(default_factory=dict)
    identity_providers: dict[str, Part] = field(default_factory=dict)
    capabilities: dict[str, Part] = field(default_factory=dict)
    # By id, the oldest first.
    certificate_authorities: dict[str, Part] = field(default_factory=dict)
    insights: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Insights as they will be after the next refresh, by name; and the last refresh on demand.
    next_insights: dict[str, dict[str, Any]] = field(default_factory=dict)
    insights_refresh: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, Update] = field(default_factory=dict)
    network_interfaces: list[str] = field(default_factory=list)
    # Names of the zones that it was created in: they are fixed.
    zones: list[str] = field(default_factory=list)
    # The version before the last upgrade, and when that was: the target of a rollback.
    upgraded_from: tuple[str, float] | None = None
    # Nodes outside managed node groups, such as Karpenter's.
    other_nodes: int = 0
    # Add-ons whose objects in the cluster others have changed or installed.
    edited_addons: set[str] = field(default_factory=set)
    # Core add-ons whose software runs in the cluster without an add-on: EKS's self-managed ones, and preserved ones.
    unmanaged_software: set[str] = field(default_factory=set)
    # A CNI that is not EKS's runs: its DaemonSet is in the API server.
    has_other_cni: bool = False
    # Set if each cluster has its own API server (setting WORKLOAD_EACH).
    api_server: ApiServer | None = None

    @property
    def status(self) -> str:
        return str(self.body["status"])

    @property
    def version(self) -> str:
        return str(self.body["version"])

    @property
    def vpc_id(self) -> str:
        return str(self.body["resourcesVpcConfig"]["vpcId"])

    def running_update(self) -> Update | None:
        """The cluster's own update in progress, not those of node groups and add-ons."""
        for update in self.updates.values():
            if update.status == "InProgress" and not (update.nodegroup or update.addon or update.capability):
                return update
        return None

    def has_software(self, addon: str) -> bool:
        """Whether the software of a core add-on runs, with or without the add-on."""
        part = self.addons.get(addon)
        return addon in self.unmanaged_software or (part is not None and part.body["status"] not in ("CREATING", "CREATE_FAILED"))

    def has_cni(self) -> bool:
        """Whether its nodes can become Ready."""
        return self.has_other_cni or self.has_software("vpc-cni")

    def has_nodes(self) -> bool:
        """Whether a pod can be scheduled on a node: of a node group with at least one instance, of Auto Mode, or another."""
        for part in self.nodegroups.values():
            if part.body["status"] in ("ACTIVE", "UPDATING", "DEGRADED") and part.body["scalingConfig"]["desiredSize"] > 0:
                return True
        compute = self.body.get("computeConfig") or {}
        return self.other_nodes > 0 or bool(compute.get("enabled") and compute.get("nodePools"))


@dataclass
class Region:
    account: str
    name: str
    clusters: dict[str, Cluster] = field(default_factory=dict)
    tokens: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)

    def cluster(self, name: str) -> Cluster:
        cluster = self.clusters.get(name)
        if cluster is None:
            raise not_found(f"No cluster found for name: {name}.", clusterName=name)
        return cluster

    def arn(self, path: str) -> str:
        return f"arn:aws:eks:{self.name}:{self.account}:{path}"


def not_found(message: str, **members: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404, **members)


def in_use(message: str, **members: str) -> AwsError:
    return AwsError("ResourceInUseException", message, 409, **members)


def bad_parameter(message: str, **members: str) -> AwsError:
    return AwsError("InvalidParameterException", message, 400, **members)


def bad_request(message: str, **members: str) -> AwsError:
    return AwsError("InvalidRequestException", message, 400, **members)


def limit_exceeded(message: str, **members: str) -> AwsError:
    return AwsError("ResourceLimitExceededException", message, 400, **members)


def new_id() -> str:
    return str(uuid.uuid4())


def new_hex(length: int) -> str:
    return secrets.token_hex(length)[:length].upper()
