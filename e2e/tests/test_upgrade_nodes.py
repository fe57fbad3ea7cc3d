"""What the workload cluster itself says of an upgrade: budgets that allow no eviction, pods in the way, nodes old and new."""

from __future__ import annotations

import pytest

from fleet.environment import Environment, environment, until
from gates import Gate, Played
from gates.scenes import STUCK
from keelson_harness.aws import Durations

NODEGROUP_SECONDS = 3
LABELS = {"app": "payments"}


@pytest.fixture(scope="module")
def on():
    durations = Durations(1, 1, 1, NODEGROUP_SECONDS, 0.3, 0.5)
    with environment(git=False, flux=False, durations=durations) as started:
        yield started


@pytest.fixture(scope="module")
def scene(on: Environment) -> Played:
    """A node group of two with a pod on each node; its cluster's version is edited beside a budget that allows nothing."""
    on.start("--drift-interval=2s")
    made = Played(on, Gate("budget", groups=("web",)))
    on.ready(*made.items, timeout=60)
    for number, node in enumerate(until(lambda: nodes(on), 10, "the nodes")):
        run_a_pod(on, f"payments-{number}", node)
    guard(on, "never", {"maxUnavailable": 0})
    made.edit()
    return made


def nodes(on: Environment) -> list[str]:
    found = on.cloud.workload.api.list("v1", "Node")
    return [n["metadata"]["name"] for n in found if "eks.amazonaws.com/nodegroup" in n["metadata"]["labels"]]


def run_a_pod(on: Environment, name: str, node: str) -> None:
    container = {"name": "main", "image": "payments"}
    on.cloud.workload.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": LABELS},
            "spec": {"nodeName": node, "containers": [container], "tolerations": [{"operator": "Exists"}]},
        }
    )


def guard(on: Environment, name: str, bounds: dict) -> None:
    """A budget for those pods. Its status is the disruption controller's, which does not run here."""
    api = on.cloud.workload.api
    spec = {"selector": {"matchLabels": LABELS}, **bounds}
    meta = {"name": name, "namespace": "default"}
    made = api.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec})
    status = {
        "observedGeneration": made["metadata"]["generation"],
        "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2,
    }
    api.patch("policy/v1", "PodDisruptionBudget", name, {"status": status}, "default", "status")


def test_a_budget_that_never_allows_an_eviction_stops_it_before_anything_is_written(scene):
    ready = scene.blocked("default/never")
    assert ready["reason"] == "UpgradeBlocked"
    verdict, message = scene.verdict("PodDisruptionBudgets")
    assert verdict == "Failed" and "default/never" in message
    assert scene.calls() == []


def test_one_that_allows_none_just_now_is_a_warning_and_pods_in_the_way_are_named(on, scene):
    api = on.cloud.workload.api
    api.delete("policy/v1", "PodDisruptionBudget", "never")
    guard(on, "tight", {"minAvailable": 1})
    on.aws.add_fault(
        {"account": scene.account.id, "action": "UpdateNodegroupVersion", "times": 1}, {"health_issue": STUCK}
    )
    scene.look_now()
    (web,) = scene.groups
    until(lambda: scene.version() == "1.34", 40, "the control plane")
    until(lambda: scene.verdict("PodDisruptionBudgets")[0] == "Warning", 10, "the verdict")
    ready = scene.blocked("PodEvictionFailure", "default/tight", "default/payments-", item=web)
    assert ready["reason"] == "UpgradeBlocked"
    assert not any(call["asked"].get("force") for call in scene.calls())


def test_its_progress_is_told_node_by_node(on, scene):
    """The pods are gone; the person says: try again."""
    (web,) = scene.groups
    api = on.cloud.workload.api
    for name in ("payments-0", "payments-1"):
        path = api.path("v1", "Pod", name)
        api.request("DELETE", path, json={"gracePeriodSeconds": 0})
    api.delete("policy/v1", "PodDisruptionBudget", "tight")
    scene.look_now(web)
    messages: set[str] = set()

    def done() -> bool:
        found = scene.conditions(web)
        if found.get("Upgrading", {}).get("status") == "True":
            messages.add(found["Upgrading"]["message"])
        return scene.found(web)["status"].get("version") == "1.34"

    until(done, 60, "the node group's update")
    on.ready(*scene.items, timeout=30)
    assert any("cordoned" in message for message in messages), messages
    assert any("v1.34" in message for message in messages), messages
    assert scene.found(web)["status"]["readyNodes"] == 2
    assert scene.steps() == ["UpdateClusterVersion 1.34", *["UpdateNodegroupVersion web 1.34"] * 2]
