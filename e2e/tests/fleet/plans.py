"""Compares `status.plan` with the call log: which plan step each write belongs to."""

from __future__ import annotations

import re
from collections import Counter

from .account import RESOURCE, Account

# The kind of resource that each write creates, as in the resource keys of the graph.
MAKES = {
    "CreateVpc": "vpc",
    "CreateSubnet": "subnet",
    "CreateInternetGateway": "internetGateway",
    "AllocateAddress": "elasticIp",
    "CreateNatGateway": "natGateway",
    "CreateRouteTable": "routeTable",
    "AssociateRouteTable": "routeTableAssociation",
    "CreateRoute": "route",
    "CreateSecurityGroup": "securityGroup",
    "CreateVpcEndpoint": "vpcEndpoint",
    "CreateFlowLogs": "flowLog",
    "CreateRole": "role",
    "CreateCluster": "cluster",
    "CreateOpenIDConnectProvider": "oidcProvider",
    "CreateAddon": "addon",
    "CreateNodegroup": "nodeGroup",
    "CreateAccessEntry": "accessEntry",
    "CreatePodIdentityAssociation": "podIdentity",
    "CreateFargateProfile": "fargateProfile",
}
# Writes to the cluster itself, whatever else the call names.
OF_CLUSTER = {"UpdateClusterConfig", "UpdateClusterVersion", "AssociateEncryptionConfig", "DeleteCluster"}


def steps(status: dict) -> list[tuple[str, str]]:
    """(action, resource) of each step of a plan."""
    return [(step["action"], step["resource"]) for step in status.get("plan", {}).get("steps", [])]


def kinds_to_make(status: dict) -> Counter[str]:
    """How many of each kind the plan creates."""
    return Counter(resource.partition("/")[0] for action, resource in steps(status) if action == "Create")


def kinds_made(writes: list[dict]) -> Counter[str]:
    """How many of each kind were created."""
    return Counter(MAKES[write["action"]] for write in writes if write["action"] in MAKES)


def keys_written(account: Account, writes: list[dict]) -> set[str]:
    """The resource keys that the writes changed. A write whose key is unknown stands for itself."""
    by_id = {i: tags[RESOURCE] for i, tags in account.tagged().items()}
    by_id |= {name: tags[RESOURCE] for name, tags in account.roles().items() if RESOURCE in tags}
    return {_key(write, by_id) for write in writes}


def _key(write: dict, by_id: dict[str, str]) -> str:
    action, resource = write["action"], write["resource"]
    if action in OF_CLUSTER:
        return "cluster"
    if resource in by_id:
        return by_id[resource]
    if found := re.fullmatch(r"arn:aws:eks:[^:]*:\d*:(cluster|addon|nodegroup)/([^/]+)(?:/([^/]+)/.*)?", resource):
        kind = {"nodegroup": "nodeGroup"}.get(found[1], found[1])
        return kind if kind == "cluster" else f"{kind}/{found[3]}"
    if "oidc-provider" in resource:
        return "oidcProvider"
    name = resource.partition("/")[2]
    for word, kind in (("Addon", "addon"), ("Nodegroup", "nodeGroup"), ("AccessEntry", "accessEntry"), ("AccessPolicy", "accessEntry")):
        if word in action:
            return f"{kind}/{name}"
    return f"{action} {resource}"
