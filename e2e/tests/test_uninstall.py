"""Uninstalling deletes nothing in AWS: an object that is deleted only because its CRD or namespace is deleted waits until a user
releases it.
"""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, existing, key_of, namespace, node_group
from fleet.shop import LOOK_NOW, RELEASE
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
KINDS = ("eksclusters", "nodegroups", "awsaccounts")
TEAM, OTHER, GUARDED, AT_ONCE = "team-search", "team-vault", "team-guarded", "team-at-once"


@pytest.fixture(scope="module")
def on():
    with environment(own_control_plane=True, workload=False, git=False, durations=Durations(0.3, 0.2, 0.5, 0.2, 0.1, 0.1)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def clusters(on: Environment, account: Account) -> dict[str, list[dict]]:
    """A cluster with a node group in each of two namespaces, Ready."""
    subnets = account.network()[:2]
    on.apply(namespace(TEAM), namespace(OTHER))
    on.start(account=account.id)
    found = {}
    for name in (TEAM, OTHER):
        item = cluster(name, name, network=existing(*subnets), addons=[], oidcProvider=False)
        found[name] = [item, node_group(name, namespace=name, scaling={"min": 1, "max": 1})]
        on.apply(*found[name])
    for items in found.values():
        on.ready(*items)
    return found


def wait_for_held_deletion(on: Environment, item: dict) -> str:
    """Waits until the deletion of an object waits for a user. Returns the message."""

    def found() -> str | None:
        now = on.api.find(*key_of(item)) or {}
        stalled = conditions(now).get("Stalled", {})
        is_held = (stalled.get("status"), stalled.get("reason")) == ("True", "WaitingForApproval")
        return stalled["message"] if is_held and "deletionTimestamp" in now["metadata"] else None

    return until(found, 30, f"the deletion of {item['metadata']['name']} to be held")


def delete_calls(on: Environment, mark: int, account: Account) -> list[str]:
    return [one for one in actions(on.writes(mark, account.id)) if ":Delete" in one]


def test_namespace_deletion_deletes_nothing_in_aws(on, account, clusters):
    item, nodes = clusters[TEAM]
    mark = on.mark()
    on.api.delete("v1", "Namespace", TEAM, None)
    message = wait_for_held_deletion(on, item)
    assert f"namespace {TEAM} is being deleted" in message
    assert "spec.deletionPolicy to Retain" in message and "keelson approve" in message
    until(lambda: "deletionTimestamp" in on.api.get(*key_of(nodes))["metadata"], 20, "the node group to be deleted too")
    on.await_condition(nodes, status="False", reason="WaitingForCluster")
    assert delete_calls(on, mark, account) == []
    assert TEAM in account.inventory()["clusters"]


def test_object_released_by_a_user_is_deleted(on, account, clusters):
    item, nodes = clusters[TEAM]
    hash_ = on.status(item)["deletion"]["release"]
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: hash_}}}, TEAM)
    on.api.wait_gone(*key_of(nodes), 40)
    on.api.wait_gone(*key_of(item), 40)
    assert TEAM not in account.inventory().get("clusters", [])
    on.api.wait_gone("v1", "Namespace", TEAM, None, 40)


def test_with_approval_objects_only_the_namespace_annotation_releases_its_objects(on, account, clusters):
    """No PlanApproval can be created in a terminating namespace, and an annotation that an editor may set does not count."""
    for running in on.cloud.controllers:
        running.stop()
    item = cluster(GUARDED, GUARDED, network=existing(*account.network()[:2]), addons=[], oidcProvider=False)
    on.apply(namespace(GUARDED), item)
    with on.operator(account=account.id, name="keelson-1"):
        on.ready(item)
    with on.operator("--require-approval-objects", account=account.id, name="keelson-2"):
        on.api.delete("v1", "Namespace", GUARDED, None)
        message = wait_for_held_deletion(on, item)
        hash_ = on.status(item)["deletion"]["release"]
        assert f"kubectl annotate namespace {GUARDED} {RELEASE}={hash_}" in message
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: hash_}}}, GUARDED)
        on.api.patch("v1", "Namespace", GUARDED, {"metadata": {"annotations": {RELEASE: "0" * 16}}}, None)
        mark = on.mark()
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {LOOK_NOW: "now"}}}, GUARDED)
        until(lambda: on.calls(mark, account.id), 20, "another observation")
        assert wait_for_held_deletion(on, item) and delete_calls(on, mark, account) == []
        on.api.patch("v1", "Namespace", GUARDED, {"metadata": {"annotations": {RELEASE: f"{'0' * 16},{hash_}"}}}, None)
        on.api.wait_gone(*key_of(item), 40)
    assert GUARDED not in account.inventory().get("clusters", [])
    on.start(account=account.id)


def test_account_cluster_nodes_secret_and_namespace_deleted_at_once_are_all_deleted_after_a_release(on, account, clusters):
    """The account stays until its cluster is gone: nothing else has the role to delete it with. Secrets are not needed for that."""
    prod = aws_account("at-once", account.id, allowedNamespaces=[AT_ONCE])
    network = existing(*account.network()[:2])
    item = cluster(AT_ONCE, AT_ONCE, accountRef={"name": "at-once"}, network=network, addons=[], oidcProvider=False)
    nodes = node_group(AT_ONCE, namespace=AT_ONCE, scaling={"min": 1, "max": 1})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git", "namespace": AT_ONCE}}
    on.apply(prod, namespace(AT_ONCE), secret, item, nodes)
    on.ready(item, nodes)
    mark = on.mark()
    for one in (prod, secret, item, nodes):
        on.api.delete(*key_of(one))
    on.api.delete("v1", "Namespace", AT_ONCE, None)
    wait_for_held_deletion(on, item)
    on.await_condition(prod, status="False", reason="DeletionBlocked")
    assert f"needed by EksCluster {AT_ONCE}/{AT_ONCE}" in on.condition(prod)["message"]
    assert delete_calls(on, mark, account) == []
    hash_ = on.status(item)["deletion"]["release"]
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: hash_}}}, AT_ONCE)
    for one in (nodes, item, prod):
        on.api.wait_gone(*key_of(one), 60)
    on.api.wait_gone("v1", "Namespace", AT_ONCE, None, 40)
    assert AT_ONCE not in account.inventory().get("clusters", [])


def test_crd_deletion_deletes_nothing_in_aws(on, account, clusters):
    item, nodes = clusters[OTHER]
    mark = on.mark()
    # The CRD of node groups first: their cluster is not being deleted, so nothing else holds them.
    on.api.delete(*CRD, "nodegroups.keelson.dev", None)
    message = wait_for_held_deletion(on, nodes)
    assert "CustomResourceDefinition nodegroups.keelson.dev is being deleted" in message
    for kind in KINDS:
        if kind != "nodegroups":
            on.api.delete(*CRD, f"{kind}.keelson.dev", None)
    assert "CustomResourceDefinition eksclusters.keelson.dev is being deleted" in wait_for_held_deletion(on, item)
    assert delete_calls(on, mark, account) == []


def test_held_objects_are_retained_in_aws_when_a_user_chooses_so(on, account, clusters):
    item, nodes = clusters[OTHER]
    mark = on.mark()
    for one in (nodes, item):
        version, kind, name, namespace_ = key_of(one)
        on.api.patch(version, kind, name, {"spec": {"deletionPolicy": "Retain"}}, namespace_)
    for one in (nodes, item):
        on.api.wait_gone(*key_of(one), 40)
    for kind in KINDS:
        on.api.wait_gone(*CRD, f"{kind}.keelson.dev", None, 40)
    assert delete_calls(on, mark, account) == []
    assert OTHER in account.inventory()["clusters"]
