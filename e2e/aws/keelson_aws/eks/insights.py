"""Upgrade insights of a cluster. All pass unless a test posts others."""

from __future__ import annotations

from typing import Any

from ..versions import MINORS, minor_number
from .operations import Context, operation, page
from .state import Cluster, bad_request, new_id, not_found

CHECKS = {
    "EKS add-on version compatibility": "Whether the installed add-on versions work with the next version of Kubernetes.",
    "kube-proxy version skew": "Whether kube-proxy would be too old for the API server after an upgrade.",
    "Kubelet version skew": "Whether kubelets would be too old for the API server after an upgrade.",
    "Deprecated APIs removed": "Whether APIs are used that the next version of Kubernetes no longer serves.",
    "Cluster health issues": "Whether health issues of the cluster stand in the way of an upgrade.",
}
SUMMARY = ("id", "name", "category", "kubernetesVersion", "lastRefreshTime", "lastTransitionTime", "description", "insightStatus")


def current_insights(context: Context, cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The cluster's insights for its next version: created on first use, recreated when the version has changed."""
    version = next_version(cluster)
    valid = {i: v for i, v in cluster.insights.items() if v.get("posted") or v["kubernetesVersion"] == version}
    if not any(not v.get("posted") for v in valid.values()):
        for name, description in CHECKS.items():
            insight = new_insight(context.now, version, {"name": name, "description": description})
            valid[insight["id"]] = insight
    cluster.insights = valid
    return valid


def next_version(cluster: Cluster) -> str:
    candidate = f"1.{minor_number(cluster.version) + 1}"
    return candidate if candidate in MINORS else cluster.version


def new_insight(now: float, version: str, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id(),
        "category": "UPGRADE_READINESS",
        "kubernetesVersion": version,
        "lastRefreshTime": now,
        "lastTransitionTime": now,
        "description": "",
        "insightStatus": {"status": "PASSING", "reason": "No issue was found."},
        "recommendation": "",
        "additionalInfo": {},
        "resources": [],
        "categorySpecificSummary": {"deprecationDetails": [], "addonCompatibilityDetails": []},
        **given,
    }


def post_insights(cluster: Cluster, now: float, posted: list[dict[str, Any]]) -> None:
    """Adds insights posted by a test; they replace existing ones of the same name. With `atRefresh` only the next refresh shows them:
    EKS evaluates insights once a day, or on demand (StartInsightsRefresh)."""
    for given in posted:
        if given.get("atRefresh"):
            cluster.next_insights[given["name"]] = {key: value for key, value in given.items() if key != "atRefresh"}
            continue
        cluster.insights = {i: v for i, v in cluster.insights.items() if v["name"] != given.get("name")}
        insight = new_insight(now, next_version(cluster), {**given, "posted": True})
        cluster.insights[insight["id"]] = insight


@operation
def list_insights(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    wanted = context.params.get("filter") or {}
    found = [
        {key: insight[key] for key in SUMMARY}
        for insight in current_insights(context, cluster).values()
        if (not wanted.get("categories") or insight["category"] in wanted["categories"])
        and (not wanted.get("kubernetesVersions") or insight["kubernetesVersion"] in wanted["kubernetesVersions"])
        and (not wanted.get("statuses") or insight["insightStatus"]["status"] in wanted["statuses"])
    ]
    return page(context, found, "insights")


@operation
def describe_insight(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    insight = current_insights(context, cluster).get(context.params["id"])
    if insight is None:
        raise not_found(f"No insight found for ID: {context.params['id']}", clusterName=cluster.name)
    return {"insight": {key: value for key, value in insight.items() if key != "posted"}}


@operation
def start_insights_refresh(context: Context) -> dict[str, Any]:
    cluster = context.cluster()
    if cluster.status not in ("ACTIVE", "UPDATING"):
        raise bad_request(f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name)
    if cluster.insights_refresh.get("status") != "IN_PROGRESS":
        cluster.insights_refresh = {"status": "IN_PROGRESS", "message": "Insights refresh is in progress", "startedAt": context.now}
        context.timeline.after(context.settings.addon_seconds, lambda: finish_refresh(context, cluster))
    return {key: cluster.insights_refresh[key] for key in ("message", "status")}


def finish_refresh(context: Context, cluster: Cluster) -> None:
    if "fail" in context.outcome:
        cluster.insights_refresh |= {"status": "FAILED", "message": context.outcome["fail"], "endedAt": context.now}
        return
    post_insights(cluster, context.now, list(cluster.next_insights.values()))
    cluster.next_insights = {}
    for insight in current_insights(context, cluster).values():
        insight["lastRefreshTime"] = context.now
    cluster.insights_refresh |= {"status": "COMPLETED", "message": "Insights refresh is completed", "endedAt": context.now}


@operation
def describe_insights_refresh(context: Context) -> dict[str, Any]:
    """Of the last refresh on demand. What AWS answers before the first one is not documented."""
    cluster = context.cluster()
    if not cluster.insights_refresh:
        raise not_found(f"No insights refresh found for cluster: {cluster.name}", clusterName=cluster.name)
    return dict(cluster.insights_refresh)
