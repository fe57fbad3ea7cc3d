"""PlanApprovals, and what they have to name."""

from __future__ import annotations

from attacks.tenant import Tenant
from fleet.manifests import key_of
from fleet.environment import Environment, until
from keelson_harness.kubeapi import ApiError, conditions


def approval(people: Tenant, name: str, cluster_name: str, hash_: str, **spec: str) -> dict:
    spec.setdefault("approvedBy", "system:serviceaccount:team:approver")
    return people.object("PlanApproval", name, {"clusterRef": {"name": cluster_name}, "hash": hash_, **spec})


def waits(on: Environment, item: dict, other_than: str = "") -> str:
    """What an approval of the object has to name."""

    def asked() -> str | None:
        found = on.api.get(*key_of(item))
        status = found.get("status", {})
        newest = status.get("plan", {}).get("generation") == found["metadata"]["generation"]
        waits = conditions(found).get("Ready", {}).get("reason") == "WaitingForApproval"
        hash_ = status.get("plan", {}).get("hash")
        return hash_ if newest and waits and hash_ != other_than else None

    return until(asked, 40, f"a plan of {item['metadata']['name']} that waits")


def refusal_of_create(people: Tenant, item: dict) -> str | None:
    """What the API server says against it; None: it is stored now. An approver may not patch, so not by applying it."""
    try:
        people.api.create(item)
    except ApiError as error:
        return str(error)
    return None
