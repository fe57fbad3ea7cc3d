"""Conflicts of add-ons: others have changed the objects that an add-on consists of, or installed them themselves.

Sources: CreateAddon's and UpdateAddon's resolveConflicts in the EKS API reference; the text of the issue in eksctl-io/eksctl#5880.
"""

from __future__ import annotations

from typing import Any

from .state import Cluster, Part, bad_request, in_use

OBJECTS = {"vpc-cni": "DaemonSet.apps aws-node", "kube-proxy": "DaemonSet.apps kube-proxy", "coredns": "ConfigMap coredns"}


def issue(name: str) -> dict[str, Any]:
    text = f"Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n{OBJECTS.get(name, name)}"
    return {"code": "ConfigurationConflict", "message": text, "resourceIds": []}


def on_create(cluster: Cluster, name: str, mode: str) -> dict[str, Any] | None:
    """The issue of a creation, if any. PRESERVE is like NONE here. OVERWRITE takes the objects over."""
    if name not in cluster.edited_addons:
        return None
    if mode != "OVERWRITE":
        return issue(name)
    cluster.edited_addons.discard(name)
    return None


def on_update(cluster: Cluster, name: str, mode: str) -> dict[str, Any] | None:
    """The issue of an update, if any. PRESERVE succeeds and keeps the values of others."""
    if name not in cluster.edited_addons or mode == "PRESERVE":
        return None
    return on_create(cluster, name, mode)


def on_delete(cluster: Cluster, name: str, preserve: bool) -> None:
    """Without `preserve` the objects are deleted too, whoever changed them."""
    if not preserve:
        cluster.edited_addons.discard(name)


def check_updatable(part: Part, resource: dict[str, str]) -> None:
    """The text is that of eksctl-io/eksctl#8091. An add-on that was never created can only be deleted (aws/containers-roadmap#1411)."""
    status, name = part.body["status"], part.body["addonName"]
    if status in ("CREATING", "UPDATING", "DELETING"):
        raise in_use(f"Addon {name} cannot be updated as it is currently in {status} state", **resource)
    if status == "CREATE_FAILED":
        raise bad_request(f"Addon {name} cannot be updated as it is currently in {status} state", **resource)
