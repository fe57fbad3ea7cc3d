"""Loss and restore of a management cluster: the objects and ConfigMaps that are left for the operator."""

from __future__ import annotations

import copy

from .account import CLUSTER, OWNER, Account
from .manifests import key_of
from .environment import Environment

NAMESPACE = "keelson-system"
RECOVER = "keelson.dev/recover"
INSTALLATION = "keelson.dev/installation"
KEPT = ("keelson-duration-estimates", "keelson-deletions", "keelson-installation")


def uid_of(on: Environment, item: dict) -> str:
    return on.api.get(*key_of(item))["metadata"]["uid"]


def annotate(on: Environment, item: dict, text: str | None) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, {"metadata": {"annotations": {RECOVER: text}}}, namespace)


def installation(on: Environment) -> str:
    return on.api.get("v1", "ConfigMap", "keelson-installation", NAMESPACE)["data"]["id"]


def lose(on: Environment, *items: dict) -> list[str]:
    """Loses the management cluster's objects without any action in AWS. Returns their UIDs."""
    uids = [uid_of(on, item) for item in items]
    on.force_delete(*items)
    for item in items:
        on.api.wait_gone(*key_of(item), 30)
    return uids


def from_git(on: Environment, *items: dict) -> None:
    """Applies the objects again: no status, no finalizer, another UID."""
    on.apply(*items)


def from_velero(on: Environment, backup: list[dict], with_status: bool = False) -> None:
    """Restores as Velero does: without the server's metadata fields, and without status unless requested."""
    for found in copy.deepcopy(backup):
        status = found.pop("status", {})
        for field in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"):
            found["metadata"].pop(field, None)
        found["metadata"].setdefault("labels", {})["velero.io/restore-name"] = "restore-1"
        on.apply(found)
        if with_status:
            version, kind, name, namespace = key_of(found)
            on.api.patch(version, kind, name, {"status": status}, namespace, subresource="status")


def backup_of(on: Environment, *items: dict) -> list[dict]:
    return [on.api.get(*key_of(item)) for item in items]


def forget_config(on: Environment, *names: str) -> None:
    """Loses the operator's ConfigMaps and its Lease."""
    for name in names or KEPT:
        on.api.delete("v1", "ConfigMap", name, NAMESPACE)
    on.api.delete("coordination.k8s.io/v1", "Lease", "keelson", NAMESPACE)


def owners(account: Account) -> dict[str, dict[str, str]]:
    """Tags of all resources with an owner tag, by id."""
    found = dict(account.tagged())
    found.update({name: tags for name, tags in account.roles().items() if OWNER in tags})
    eks = account.eks
    for cluster in eks.list_clusters()["clusters"]:
        of = {"clusterName": cluster}
        found[cluster] = eks.describe_cluster(name=cluster)["cluster"]["tags"]
        for group in eks.list_nodegroups(**of)["nodegroups"]:
            described = eks.describe_nodegroup(nodegroupName=group, **of)["nodegroup"]
            found[f"{cluster}/{group}"] = described["tags"]
        for addon in eks.list_addons(**of)["addons"]:
            found[f"{cluster}/{addon}"] = eks.describe_addon(addonName=addon, **of)["addon"]["tags"]
    for provider in account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        tags = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])["Tags"]
        found[provider["Arn"]] = {tag["Key"]: tag["Value"] for tag in tags}
    return {i: tags for i, tags in found.items() if OWNER in tags}


def owned_by(account: Account, cluster: str) -> set[str]:
    """The owner UIDs in the tags of the resources of the EksCluster `namespace/name`."""
    return {tags[OWNER] for tags in owners(account).values() if tags[CLUSTER] == cluster}
