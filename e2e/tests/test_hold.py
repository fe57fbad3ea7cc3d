"""`hold.keelson.dev/NAME: reason` on an object: nothing begins while it is there, and what is in progress is finished.

Checked against the call log: no write to AWS starts after the hold was seen.
"""

from __future__ import annotations

import time

import pytest

from fleet import command_line, plans
from fleet.environment import Environment, actions, environment, until
from fleet.manifests import key_of
from fleet.shop import A_MOMENT, APPROVE, ONE_ADDON, Shop
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

PREFIX = "hold.keelson.dev/"
# The control plane takes long enough to be seen while it changes.
DURATIONS = Durations(3, 3, 0.5, 1, 0.3, 0.2)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def running(on: Environment) -> None:
    with on.operator("--drift-interval=2s"):
        yield


def annotate(on: Environment, item: dict, name: str, reason: str | None) -> None:
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {f"{PREFIX}{name}": reason}}})


def hold(shop: Shop, name: str, reason: str, item: dict | None = None) -> None:
    """Places a hold, and waits until the operator shows it in status."""
    item = item or shop.cluster
    annotate(shop.on, item, name, reason)
    shown = lambda found: name in [one["name"] for one in found.get("status", {}).get("holds", [])]
    shop.on.await_state(item, shown, 30, f"hold {name} in status")
    # A step that started before the operator saw the hold.
    time.sleep(A_MOMENT)


def remove(shop: Shop, name: str, item: dict | None = None) -> None:
    annotate(shop.on, item or shop.cluster, name, None)


def on_hold(shop: Shop, item: dict | None = None) -> str:
    """Waits until the object is stopped by a hold. Returns the message."""
    found = shop.on.await_condition(item or shop.cluster, "Ready", "False", "OnHold", 40)
    assert conditions(found)["Stalled"]["status"] == "True", "it waits for a person"
    return conditions(found)["Ready"]["message"]


def test_nothing_is_created_on_hold_and_status_says_which_hold_why_and_how_to_remove_it(on):
    shop = Shop(on, nodes=True)
    shop.cluster["metadata"]["annotations"] = {f"{PREFIX}audit": "until the audit is over"}
    shop.apply()
    message = on_hold(shop)
    assert 'hold audit ("until the audit is over", written by ' in message, message
    assert f"kubectl annotate ekscluster {shop.name} -n default {PREFIX}audit-" in message, message
    shop.nothing_is_written()
    [shown] = shop.found()["status"]["holds"]
    assert (shown["name"], shown["reason"]) == ("audit", "until the audit is over") and shown["writtenBy"]
    printed = command_line.output(on, "status", shop.name)
    assert "until the audit is over" in printed and f"{PREFIX}audit-" in printed, printed
    assert "OnHold" in [event["reason"] for event in on.events(shop.cluster)]
    assert ("Create", "cluster") in plans.steps(shop.found()["status"]), "the plan still shows what comes"
    remove(shop, "audit")
    on.ready(*shop.items)
    assert "holds" not in shop.found()["status"]
    shop.go_away()


def test_create_in_progress_is_finished_and_nothing_else_begins(on):
    shop = Shop(on, nodes=True)
    shop.apply()
    until(lambda: "CreateCluster" in [write["action"] for write in shop.writes()], 40, "CreateCluster")
    hold(shop, "stop", "")
    mark = on.mark()
    until(lambda: shop.account.eks.describe_cluster(name=shop.name)["cluster"]["status"] == "ACTIVE", 30, "ACTIVE")
    assert "hold stop (without a reason" in on_hold(shop)
    shop.reconcile_all()
    assert actions(shop.writes(mark)) == []
    remove(shop, "stop")
    on.ready(*shop.items)
    shop.go_away()


def test_upgrade_stops_after_the_step_in_progress(on):
    shop = Shop(on, nodes=True, version="1.33")
    shop.make()
    shop.edit(version="1.35")
    until(lambda: "UpdateClusterVersion" in [write["action"] for write in shop.writes()], 40, "UpdateClusterVersion")
    hold(shop, "freeze", "year end")
    on.await_state(shop.cluster, lambda found: found["status"].get("version") == "1.34", 40, "the step that had begun")
    assert "year end" in on_hold(shop)
    shop.reconcile_all()
    begun = [write["action"] for write in shop.writes()]
    assert begun.count("UpdateClusterVersion") == 1 and "UpdateNodegroupVersion" not in begun, begun
    assert conditions(shop.found())["Upgrading"]["reason"] == "OnHold"
    remove(shop, "freeze")
    until(lambda: shop.in_sync() and shop.found()["status"]["version"] == "1.35", 90, "1.35")
    shop.go_away()


def test_hold_on_a_steady_cluster_keeps_it_ready_and_holds_the_next_edit(on):
    shop = Shop(on)
    shop.make()
    hold(shop, "freeze", "year end")
    assert on.condition(shop.cluster)["status"] == "True"
    assert "year end" in command_line.output(on, "status", shop.name)
    shop.edit(logging=["audit"])
    on_hold(shop)
    shop.nothing_is_written()
    # A second hold: both have to go.
    hold(shop, "second", "another team")
    remove(shop, "freeze")
    on.await_state(shop.cluster, lambda found: len(found["status"].get("holds", [])) == 1, 30, "one hold left")
    assert "another team" in on_hold(shop)
    shop.nothing_is_written()
    remove(shop, "second")
    on.await_condition(shop.cluster, "InSync")
    assert actions(shop.writes()) != []
    shop.go_away()


@pytest.mark.parametrize("of", ["cluster", "nodes"])
def test_node_group_is_held_by_its_own_hold_and_by_its_clusters(on, of):
    shop = Shop(on, nodes=True)
    shop.make()
    item = getattr(shop, of)
    hold(shop, "freeze", "year end", item)
    shop.edit(shop.nodes, scaling={"min": 1, "max": 5})
    message = on_hold(shop, shop.nodes)
    name = item["metadata"]["name"]
    assert f"kubectl annotate {item['kind'].lower()} {name} -n default {PREFIX}freeze-" in message, message
    shop.nothing_is_written()
    on.api.delete(*key_of(shop.nodes))
    time.sleep(A_MOMENT)
    shop.reconcile_all()
    assert actions(shop.writes()) == [] and on.api.find(*key_of(shop.nodes))
    remove(shop, "freeze", item)
    on.api.wait_gone(*key_of(shop.nodes), 60)
    assert "DeleteNodegroup" in [write["action"] for write in shop.writes()]
    shop.go_away()


def test_node_group_on_hold_is_kept_though_observe_would_retain_it(on):
    shop = Shop(on, nodes=True, changePolicy="Observe")
    shop.make()
    hold(shop, "freeze", "year end", shop.nodes)
    on.api.delete(*key_of(shop.nodes))
    assert "the deletion does not start" in on_hold(shop, shop.nodes)
    assert on.api.find(*key_of(shop.nodes))
    remove(shop, "freeze", shop.nodes)
    on.api.wait_gone(*key_of(shop.nodes), 60)
    assert actions(shop.writes()) == []
    shop.go_away()


def test_approved_plan_waits_for_the_hold_and_stays_approved(on):
    shop = Shop(on, changePolicy="Approval")
    shop.make()
    hold(shop, "freeze", "year end")
    shop.edit(logging=["audit"])
    hash_ = shop.asks()["plan"]["hash"]
    shop.approve(hash_)
    on_hold(shop)
    shop.nothing_is_written()
    # The approval was accepted: it counts without its annotation.
    on.api.patch(*key_of(shop.cluster)[:3], {"metadata": {"annotations": {APPROVE: None}}})
    shop.nothing_is_written()
    remove(shop, "freeze")
    on.await_condition(shop.cluster, "InSync")
    assert len(shop.writes()) == 1
    shop.go_away()


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_deletion_does_not_start_on_hold(on, policy):
    shop = Shop(on, nodes=True, deletionPolicy=policy)
    shop.make()
    before = shop.account.inventory()
    hold(shop, "keep", "data is being copied")
    on.api.delete(*key_of(shop.cluster))
    assert "data is being copied" in on_hold(shop)
    # AWS is not even read.
    on.reconcile(shop.cluster)
    time.sleep(A_MOMENT)
    assert actions(shop.writes()) == []
    assert shop.account.inventory() == before and on.api.find(*key_of(shop.nodes)), "its node groups wait with it"
    remove(shop, "keep")
    for item in shop.items:
        on.api.wait_gone(*key_of(item), 90)
    assert actions(shop.writes()) != []
    on.delete(*shop.reference)


def test_deletion_that_started_stops_after_what_is_in_progress(on):
    shop = Shop(on, nodes=True, addons=ONE_ADDON)
    shop.make()
    on.api.delete(*key_of(shop.cluster))
    until(lambda: "DeleteNodegroup" in [write["action"] for write in shop.writes()], 60, "DeleteNodegroup")
    hold(shop, "stop", "wrong cluster")
    mark = on.mark()
    on.api.wait_gone(*key_of(shop.nodes), 60)
    assert "wrong cluster" in on_hold(shop)
    time.sleep(A_MOMENT)
    assert actions(shop.writes(mark)) == [] and shop.account.eks.describe_cluster(name=shop.name)
    remove(shop, "stop")
    on.api.wait_gone(*key_of(shop.cluster), 90)
    on.delete(*shop.reference)
