"""`changePolicy`: Observe never writes; Approval writes exactly what a person approved.

Checked against the call log: each write belongs to a step of the approved plan.
"""

from __future__ import annotations

import pytest

from fleet import plans
from fleet.killing import killed_at
from fleet.manifests import DEFAULT_ADDONS, key_of
from fleet.shop import APPROVE, ONE_ADDON, Shop
from fleet.environment import Environment, actions, environment, until
from fleet.upgrading import current
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.4, 0.4, 0.4, 0.1, 0.2)) as started:
        yield started


@pytest.fixture(scope="module")
def running(on: Environment) -> None:
    """One operator for the tests that do not start their own, with frequent drift detection."""
    with on.operator("--drift-interval=2s"):
        yield


# Crashes come first: `killed_at` starts its own operators.


def test_approved_plan_completes_after_kills_without_another_approval(on, capsys):
    shop = Shop(on, changePolicy="Approval", by_role=False, network={"vpc": {"zoneCount": 2}})
    shop.apply()
    with on.operator(account=shop.account.id):
        status = shop.asks()
    assert actions(shop.writes()) == [], "before anybody approved"
    shop.approve(status["plan"]["hash"])
    run = killed_at(on, shop.account.id, lambda: current(shop.found()))
    with capsys.disabled():
        print(f"\n  {run.summary('an approved create')}")
    assert plans.kinds_made(shop.writes()) == plans.kinds_to_make(status)
    assert len(run.points) >= 20
    shop.account.resources()

    shop.edit(logging=["audit"], tags={"team": "shop"}, addons=[*ONE_ADDON, {"name": "kube-proxy"}])
    with on.operator(account=shop.account.id):
        status = shop.asks()
        mark = on.mark()
        shop.reconcile_all()
    assert actions(shop.writes(mark)) == []
    approved = {resource for _, resource in plans.steps(status)}
    shop.approve(status["plan"]["hash"])
    run = killed_at(on, shop.account.id, lambda: current(shop.found()))
    with capsys.disabled():
        print(f"  {run.summary('an approved edit')}")
    written = plans.keys_written(shop.account, shop.writes(mark))
    assert written - approved == set() and {"cluster", "addon/kube-proxy"} <= written
    on.force_delete(shop.cluster)


# Observe


def test_observe_creates_nothing_and_reports_the_plan(on, running):
    shop = Shop(on, changePolicy="Observe", nodes=True)
    shop.apply()
    on.await_condition(shop.cluster, status="False", reason="Observed")
    # Nothing failed, and no action is needed.
    assert on.condition(shop.cluster, "Stalled")["status"] == "False"
    assert ("Create", "cluster") in plans.steps(shop.found()["status"])
    shop.nothing_is_written()
    on.delete(*shop.items, timeout=30)
    assert actions(shop.writes()) == []
    shop.go_away()


def test_observe_reports_the_diff_of_an_edit_and_writes_nothing(on, running):
    shop = Shop(on, changePolicy="Observe", nodes=True)
    shop.make()
    shop.edit(logging=["audit"], tags={"team": "shop"})
    shop.edit(shop.nodes, scaling={"min": 1, "max": 5}, labels={"a": "b"})
    for item, field in ((shop.cluster, "logging"), (shop.nodes, "labels")):
        found = on.await_condition(item, "InSync", "False", timeout=30)
        assert field in conditions(found)["InSync"]["message"]
        assert any(action == "Update" for action, _ in plans.steps(found["status"]))
    shop.nothing_is_written()
    shop.go_away()


def test_observe_does_not_revert_manual_changes(on, running):
    shop = Shop(on, changePolicy="Observe", nodes=True, logging=["audit"])
    shop.make()
    eks = shop.account.eks
    eks.update_cluster_config(name=shop.name, logging={"clusterLogging": [{"types": ["audit"], "enabled": False}]})
    eks.delete_addon(clusterName=shop.name, addonName="vpc-cni")
    on.await_condition(shop.cluster, "InSync", "False", timeout=30)
    until(lambda: "vpc-cni" in str(shop.plan()), 30, "the plan to create the add-on again")
    manual = {"UpdateClusterConfig", "DeleteAddon"}
    shop.reconcile_all()
    assert {write["action"] for write in shop.writes()} == manual
    assert len(shop.writes()) == 2
    shop.go_away()


def test_observe_leaves_aws_unchanged_when_the_object_is_deleted(on, running):
    shop = Shop(on, changePolicy="Observe", nodes=True)
    shop.make()
    before = shop.account.inventory()
    on.delete(*reversed(shop.items), timeout=30)
    assert actions(shop.writes()) == []
    assert shop.account.inventory() == before
    shop.go_away()


# Approval


def test_plan_is_applied_completely_and_only_after_its_hash_is_approved(on, running):
    """With a VPC: a plan of some thirty steps, approved at once."""
    shop = Shop(on, changePolicy="Approval", network={"vpc": {"zoneCount": 2}}, addons=ONE_ADDON)
    shop.apply()
    status = shop.asks()
    shop.nothing_is_written()
    for wrong in ("00000000", "", "yes", status["plan"]["hash"][:-1], f"{status['plan']['hash']}0"):
        shop.approve(wrong)
        shop.nothing_is_written()
    shop.approve(status["plan"]["hash"])
    on.ready(shop.cluster)
    assert plans.kinds_made(shop.writes()) == plans.kinds_to_make(status)
    # The approval is consumed.
    assert not shop.plan().get("approved")
    shop.nothing_is_written(on.mark())
    on.force_delete(shop.cluster)
    shop.go_away()


def test_edit_applies_exactly_the_approved_steps(on, running):
    shop = Shop(on, changePolicy="Approval")
    shop.make()
    shop.edit(logging=["audit"], addons=[*ONE_ADDON, {"name": "kube-proxy"}])
    status = shop.asks()
    assert sorted(plans.steps(status)) == [("Create", "addon/kube-proxy"), ("Update", "cluster")]
    shop.nothing_is_written()
    shop.approve(status["plan"]["hash"])
    on.await_condition(shop.cluster, "InSync")
    assert plans.keys_written(shop.account, shop.writes()) == {"addon/kube-proxy", "cluster"}
    assert len(shop.writes()) == 2
    shop.go_away()


def test_changed_plan_needs_a_new_approval(on, running):
    shop = Shop(on, changePolicy="Approval")
    shop.make()
    shop.edit(logging=["audit"])
    first = shop.asks()["plan"]["hash"]
    shop.edit(logging=["audit", "api"])
    second = shop.asks(other_than=first)["plan"]["hash"]
    shop.approve(first)
    shop.nothing_is_written()
    assert first in on.condition(shop.cluster)["message"], "the message says that the annotation names another plan"
    shop.approve(second)
    on.await_condition(shop.cluster, "InSync")
    assert len(shop.writes()) == 1
    types = [s["types"] for s in shop.account.eks.describe_cluster(name=shop.name)["cluster"]["logging"]["clusterLogging"] if s["enabled"]]
    assert sorted(sum(types, [])) == ["api", "audit"]
    shop.go_away()


def test_approval_is_valid_only_once(on, running):
    """A manual revert after an approval is a new change that needs a new approval, although its plan is the same."""
    shop = Shop(on, changePolicy="Approval")
    shop.make()
    shop.edit(logging=["audit"])
    hash_ = shop.asks()["plan"]["hash"]
    shop.approve(hash_)
    on.await_condition(shop.cluster, "InSync")
    off = {"clusterLogging": [{"types": ["audit"], "enabled": False}]}
    shop.account.eks.update_cluster_config(name=shop.name, logging=off)
    mark = on.mark()
    assert shop.asks()["plan"]["hash"] == hash_
    shop.nothing_is_written(mark)
    shop.approve(f"{hash_}/2")
    on.await_condition(shop.cluster, "InSync")
    assert len(shop.writes(mark)) == 1
    shop.go_away()


def test_manual_change_is_reverted_after_approval(on, running):
    shop = Shop(on, changePolicy="Approval", logging=["audit"])
    shop.make()
    off = {"clusterLogging": [{"types": ["audit"], "enabled": False}]}
    shop.account.eks.update_cluster_config(name=shop.name, logging=off)
    mark = on.mark()
    status = shop.asks()
    shop.nothing_is_written(mark)
    shop.approve(status["plan"]["hash"])
    on.await_condition(shop.cluster, "InSync")
    assert plans.keys_written(shop.account, shop.writes(mark)) == {"cluster"}
    shop.go_away()


def test_node_group_has_its_own_plan(on, running):
    shop = Shop(on, changePolicy="Approval", nodes=True)
    shop.make()
    shop.edit(shop.nodes, labels={"workload": "batch"})
    status = shop.asks(shop.nodes)
    assert plans.steps(status) == [("Update", f"nodeGroup/{shop.name}-nodes")]
    # An approval of the cluster does not cover its node groups.
    shop.approve(status["plan"]["hash"])
    shop.nothing_is_written()
    shop.approve(status["plan"]["hash"], shop.nodes)
    on.await_condition(shop.nodes, "InSync")
    assert plans.keys_written(shop.account, shop.writes()) == {f"nodeGroup/{shop.name}-nodes"}
    shop.go_away()


def test_new_node_group_waits_for_its_own_approval(on, running):
    shop = Shop(on, changePolicy="Approval")
    shop.make()
    shop.items.append(shop.nodes)
    on.apply(shop.nodes)
    hashes = {}
    for item in (shop.nodes, shop.cluster):
        ready = conditions(shop.found(item)).get("Ready", {})
        # The node role belongs to the cluster, which also needs approval if it has to create one.
        if item is shop.nodes or ready.get("reason") == "WaitingForApproval":
            hashes[item["kind"]] = shop.asks(item)["plan"]["hash"]
    shop.nothing_is_written()
    until(lambda: approve_all(shop) and shop.in_sync(), 60, "the node group")
    assert plans.kinds_made(shop.writes())["nodeGroup"] == 1
    shop.go_away()


def approve_all(shop: Shop) -> bool:
    """Approves every pending plan."""
    for item in shop.items:
        found = shop.found(item)
        pending = conditions(found).get("Ready", {}).get("reason") == "WaitingForApproval"
        hash_ = found.get("status", {}).get("plan", {}).get("hash")
        if pending and found["metadata"].get("annotations", {}).get(APPROVE) != hash_:
            shop.approve(hash_, item)
    return True


def test_deletion_waits_and_is_approved_as_a_whole(on, running):
    shop = Shop(on, changePolicy="Approval", nodes=True)
    shop.make()
    before = shop.account.inventory()
    on.api.delete(*key_of(shop.cluster))
    status = shop.asks()
    everything = {("Delete", "cluster"), ("Delete", "addon/vpc-cni"), ("Delete", f"nodeGroup/{shop.name}-nodes")}
    assert everything <= set(plans.steps(status)), "the plan also shows what is deleted with the cluster"
    shop.nothing_is_written()
    assert shop.account.inventory() == before
    assert on.api.find(*key_of(shop.nodes)), "its node groups wait with it"
    shop.approve(status["plan"]["hash"])
    for item in shop.items:
        on.api.wait_gone(*key_of(item), 60)
    left = shop.account.inventory()
    assert "clusters" not in left and "nodegroups" not in left
    on.delete(*shop.reference)


def test_upgrade_is_approved_as_a_whole(on, running):
    """All steps of control plane, add-ons and nodes take at most one approval per object."""
    shop = Shop(on, changePolicy="Approval", nodes=True, version="1.33", addons=[{"name": name} for name in DEFAULT_ADDONS])
    shop.make()
    shop.edit(version="1.35")
    status = shop.asks()
    assert ("Update", "cluster") in plans.steps(status)
    shop.nothing_is_written()
    shop.approve(status["plan"]["hash"])
    approvals = 1

    def upgraded() -> bool:
        nonlocal approvals
        nodes = shop.found(shop.nodes)
        hash_ = nodes.get("status", {}).get("plan", {}).get("hash")
        pending = conditions(nodes).get("Ready", {}).get("reason") == "WaitingForApproval"
        if pending and nodes["metadata"].get("annotations", {}).get(APPROVE) != hash_:
            shop.approve(hash_, shop.nodes)
            approvals += 1
        return shop.in_sync() and shop.found()["status"]["version"] == "1.35"

    try:
        until(upgraded, 90, "1.35")
    except AssertionError:
        raise AssertionError("\n".join(map(on.describe, shop.items))) from None
    order = [write["action"] for write in shop.writes()]
    assert order.count("UpdateClusterVersion") == 2 and "UpdateNodegroupVersion" in order
    assert approvals <= 2
    shop.go_away()
