"""Upgrade information from the workload cluster: disruption budgets that allow no eviction, blocking pods, old and new nodes."""

from __future__ import annotations

import pytest

from fleet.environment import Environment, environment, until
from gates import Gate, GateScenario
from gates.scenes import EVICTION_FAILURE
from keelson_harness.aws import Durations

NODEGROUP_SECONDS = 3
LABELS = {"app": "payments"}


@pytest.fixture(scope="module")
def on():
    durations = Durations(1, 1, 1, NODEGROUP_SECONDS, 0.3, 0.5)
    with environment(git=False, flux=False, durations=durations) as started:
        yield started


@pytest.fixture(scope="module")
def scenario(on: Environment) -> GateScenario:
    """A node group of two with a pod on each node and a budget that allows no eviction; the cluster's version is edited."""
    on.start("--drift-interval=2s")
    created = GateScenario(on, Gate("budget", groups=("web",)))
    on.ready(*created.items, timeout=60)
    for number, node in enumerate(until(lambda: nodes(on), 10, "the nodes")):
        run_pod(on, f"payments-{number}", node)
    create_budget(on, "never", {"maxUnavailable": 0})
    created.edit()
    return created


def nodes(on: Environment) -> list[str]:
    found = on.cloud.workload.api.list("v1", "Node")
    return [n["metadata"]["name"] for n in found if "eks.amazonaws.com/nodegroup" in n["metadata"]["labels"]]


def run_pod(on: Environment, name: str, node: str) -> None:
    container = {"name": "main", "image": "payments"}
    on.cloud.workload.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": LABELS},
            "spec": {"nodeName": node, "containers": [container], "tolerations": [{"operator": "Exists"}]},
        }
    )


def create_budget(on: Environment, name: str, bounds: dict) -> None:
    """A budget for those pods. Also writes its status, as no disruption controller runs here."""
    api = on.cloud.workload.api
    spec = {"selector": {"matchLabels": LABELS}, **bounds}
    meta = {"name": name, "namespace": "default"}
    budget = api.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec})
    status = {
        "observedGeneration": budget["metadata"]["generation"],
        "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2,
    }
    api.patch("policy/v1", "PodDisruptionBudget", name, {"status": status}, "default", "status")


def test_budget_that_never_allows_eviction_blocks_upgrade_before_any_write(scenario):
    ready = scenario.blocked("default/never")
    assert ready["reason"] == "UpgradeBlocked"
    verdict, message = scenario.verdict("PodDisruptionBudgets")
    assert verdict == "Failed" and "default/never" in message
    assert scenario.calls() == []


def test_budget_without_current_disruptions_is_a_warning_and_blocking_pods_are_named(on, scenario):
    api = on.cloud.workload.api
    api.delete("policy/v1", "PodDisruptionBudget", "never")
    create_budget(on, "tight", {"minAvailable": 1})
    on.aws.add_fault(
        {"account": scenario.account.id, "action": "UpdateNodegroupVersion", "times": 1}, {"health_issue": EVICTION_FAILURE}
    )
    scenario.reconcile_now()
    (web,) = scenario.groups
    until(lambda: scenario.version() == "1.34", 40, "the control plane")
    until(lambda: scenario.verdict("PodDisruptionBudgets")[0] == "Warning", 10, "the verdict")
    ready = scenario.blocked("PodEvictionFailure", "default/tight", "default/payments-", item=web)
    assert ready["reason"] == "UpgradeBlocked"
    assert not any(call["asked"].get("force") for call in scenario.calls())


def test_node_group_upgrade_progress_is_reported_per_node(on, scenario):
    """After the pods are deleted and the user requests a reconcile."""
    (web,) = scenario.groups
    api = on.cloud.workload.api
    for name in ("payments-0", "payments-1"):
        path = api.path("v1", "Pod", name)
        api.request("DELETE", path, json={"gracePeriodSeconds": 0})
    api.delete("policy/v1", "PodDisruptionBudget", "tight")
    scenario.reconcile_now(web)
    messages: set[str] = set()

    def is_updated() -> bool:
        found = scenario.conditions(web)
        if found.get("Upgrading", {}).get("status") == "True":
            messages.add(found["Upgrading"]["message"])
        return scenario.found(web)["status"].get("version") == "1.34"

    until(is_updated, 60, "the node group's update")
    on.ready(*scenario.items, timeout=30)
    assert any("cordoned" in message for message in messages), messages
    assert any("v1.34" in message for message in messages), messages
    assert scenario.found(web)["status"]["readyNodes"] == 2
    assert scenario.steps() == ["UpdateClusterVersion 1.34", *["UpdateNodegroupVersion web 1.34"] * 2]
