"""Health issues of existing clusters, node groups, add-ons and Fargate profiles, as tests post them.

EKS detects them up to three hours late: https://docs.aws.amazon.com/eks/latest/userguide/troubleshooting.html. A cluster stays
ACTIVE; a node group or add-on becomes DEGRADED.
"""

from __future__ import annotations

from typing import Any

from .model import load_model
from .state import Cluster

# The key of the posted object, the attribute of a cluster, and AWS's type with the codes.
KINDS = {
    "nodegroup": ("nodegroups", "NodegroupIssueCode"),
    "addon": ("addons", "AddonIssueCode"),
    "fargateProfile": ("fargate_profiles", "FargateProfileIssueCode"),
}


def codes(shape: str) -> list[str]:
    """The codes that AWS's model has."""
    return list(load_model().shape_for(shape).enum)


def post_issues(cluster: Cluster, body: dict[str, Any]) -> None:
    """{"issues": [{"code", "message", "resourceIds"}], "nodegroup" | "addon" | "fargateProfile", "status"}; no issues: healthy again."""
    kind = next((name for name in KINDS if name in body), None)
    known = codes(KINDS[kind][1] if kind else "ClusterIssueCode")
    issues = [{"message": "", "resourceIds": [], **issue} for issue in body["issues"]]
    unknown = [issue["code"] for issue in issues if issue["code"] not in known]
    if unknown:
        raise ValueError(f"EKS has no issue {', '.join(unknown)} here; known: {', '.join(known)}")
    target = getattr(cluster, KINDS[kind][0])[body[kind]].body if kind else cluster.body
    target["health"] = {"issues": issues}
    if "status" in body:
        target["status"] = body["status"]
    elif kind in ("nodegroup", "addon") and target["status"] in ("ACTIVE", "DEGRADED"):
        target["status"] = "DEGRADED" if issues else "ACTIVE"
