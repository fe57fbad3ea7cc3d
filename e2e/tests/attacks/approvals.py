"""PlanApprovals, and the hash that they must contain."""

from __future__ import annotations

from attacks.tenant import Tenant
from fleet.manifests import key_of
from fleet.environment import Environment, until
from keelson_harness.kubeapi import ApiError, conditions


def approval(tenant: Tenant, name: str, cluster_name: str, hash_: str, **spec: str) -> dict:
    spec.setdefault("approvedBy", "system:serviceaccount:team:approver")
    return tenant.object("PlanApproval", name, {"clusterRef": {"name": cluster_name}, "hash": hash_, **spec})


def await_pending_plan(on: Environment, item: dict, other_than: str = "") -> str:
    """Waits for a pending plan of the object; returns its hash, which an approval must contain."""

    def pending_hash() -> str | None:
        found = on.api.get(*key_of(item))
        status = found.get("status", {})
        newest = status.get("plan", {}).get("generation") == found["metadata"]["generation"]
        pending = conditions(found).get("Ready", {}).get("reason") == "WaitingForApproval"
        hash_ = status.get("plan", {}).get("hash")
        return hash_ if newest and pending and hash_ != other_than else None

    return until(pending_hash, 40, f"a pending plan of {item['metadata']['name']}")


def create_error(tenant: Tenant, item: dict) -> str | None:
    """The API server's error; None if it is created. By create, as an approver has no permission to patch."""
    try:
        tenant.api.create(item)
    except ApiError as error:
        return str(error)
    return None
