"""PlanApproval: values and edits."""

from . import Accepted, Refused, wrong

HASH = "f582f36209a1c7de"
BASE = {"clusterRef": {"name": "payments-prod"}, "hash": HASH, "approvedBy": "jane@example.com"}

WRONG = [
    wrong("hash", "3f9a1c20", "16 hexadecimal digits of status.plan.hash"),
    wrong("hash", HASH.upper(), "16 hexadecimal digits of status.plan.hash"),
    wrong("clusterRef.name", "Payments", "name of a Kubernetes object"),
    Refused({"clusterRef": None}, "spec", "exactly one of clusterRef, nodeGroupRef"),
    Refused({"nodeGroupRef": {"name": "spot"}}, "spec", "exactly one of clusterRef, nodeGroupRef"),
]

IMMUTABLE = [
    Refused({"hash": "0" * 16}, "spec", "make another PlanApproval", {"hash": HASH}),
    Refused({"clusterRef": {"name": "other"}}, "spec", "make another PlanApproval", {"hash": HASH}),
]

CHANGEABLE = [
    Accepted({"hash": HASH}),
]
