"""PlanApproval: values and edits."""

from . import Accepted, Rejected, invalid

HASH = "f582f36209a1c7de"
BASE = {"clusterRef": {"name": "payments-prod"}, "hash": HASH, "approvedBy": "jane@example.com"}

INVALID = [
    invalid("hash", "3f9a1c20", "16 hexadecimal digits of status.plan.hash"),
    invalid("hash", HASH.upper(), "16 hexadecimal digits of status.plan.hash"),
    invalid("clusterRef.name", "Payments", "name of a Kubernetes object"),
    Rejected({"clusterRef": None}, "spec", "exactly one of clusterRef, nodeGroupRef"),
    Rejected({"nodeGroupRef": {"name": "spot"}}, "spec", "exactly one of clusterRef, nodeGroupRef"),
]

IMMUTABLE = [
    Rejected({"hash": "0" * 16}, "spec", "create another PlanApproval", {"hash": HASH}),
    Rejected({"clusterRef": {"name": "other"}}, "spec", "create another PlanApproval", {"hash": HASH}),
]

CHANGEABLE = [
    Accepted({"hash": HASH}),
]
