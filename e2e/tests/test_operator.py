"""The operator and the management cluster: API server outages, missing permissions, objects deleted in an unusual order."""

from __future__ import annotations

import subprocess
import time

import pytest
import yaml

from fleet.account import fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.paths import keelson_binary

DURATIONS = Durations(2, 1, 1.5, 1, 0.3, 0.5)
SHORT_LEASE = ("--lease-duration=6s", "--renew-deadline=4s", "--retry-period=1s")


@pytest.fixture(scope="module")
def on():
    with environment(own_control_plane=True, workload=False, git=False, durations=DURATIONS) as started:
        yield started


def pair(name: str, **spec) -> tuple[dict, dict]:
    return cluster(name, **spec), node_group(name)


def patch(on: Environment, item: dict, body: dict) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, body, namespace)


def restart_api_server(on: Environment, seconds_down: float) -> None:
    plane = on.cloud.management
    plane.apiserver.kill()
    time.sleep(seconds_down)
    plane.start_apiserver(on.cloud.etcd.url)
    plane.wait_apiserver()


def test_operator_survives_api_server_outage_longer_than_the_lease(on):
    account = fresh_account()
    with on.operator(*SHORT_LEASE, account=account) as operator:
        items = pair("outage")
        on.apply(*items)
        on.await_condition(items[0], "ControlPlaneReady", "False", "Creating")
        restart_api_server(on, seconds_down=7)
        on.ready(*items)
        assert operator.starts == 1 and operator.alive
        on.account(account).resources()
        on.delete(*items)
        assert on.account(account).inventory() == {}
        # At most a line every few seconds from each watch and the lease.
        noise = [line for line in operator.log.read_text().splitlines() if '"level":"WARN"' in line]
        assert len(noise) < 60, noise[:5]


def test_revoked_permission_is_logged_and_its_return_is_noticed(on):
    role = ("rbac.authorization.k8s.io/v1", "ClusterRole", "keelson")
    with on.operator(account=fresh_account()) as operator:
        original = on.api.get(*role)
        rules = [
            {**rule, "resources": [r for r in rule["resources"] if r != "eksclusters"]}
            for rule in original["rules"]
        ]
        on.api.patch(*role, {"rules": [rule for rule in rules if rule["resources"]]})
        item = cluster("forbidden")
        try:
            time.sleep(0.5)  # for the API server's own caches
            on.apply(item)
            until(lambda: "grant it to the operator" in operator.log.read_text(), 20, "the log line")
            assert on.account(operator.env["AWS_ACCESS_KEY_ID"]).inventory() == {}
        finally:
            on.api.patch(*role, {"rules": original["rules"]})
        on.await_condition(item, "NetworkReady", timeout=90)
        on.delete(item)


def test_node_group_recreated_during_cluster_deletion_does_not_block_it(on):
    account = fresh_account()
    with on.operator(account=account):
        items = pair("going")
        on.apply(*items)
        on.ready(*items)
        on.api.delete(*key_of(items[0]))
        on.api.wait_gone(*key_of(items[1]), 30)
        on.apply(items[1])
        on.await_condition(items[1], "Ready", "False", "WaitingForCluster")
        on.api.wait_gone(*key_of(items[0]), 60)
        assert on.account(account).inventory() == {}
        assert on.api.find(*key_of(items[1])) is not None
        on.delete(items[1], timeout=10)


def test_deleted_account_stays_until_no_cluster_uses_it(on):
    account_id = fresh_account()
    prod = aws_account("leaving", account_id)
    with on.operator(account=account_id):
        item = cluster("stranded", accountRef={"name": "leaving"})
        on.apply(prod, item)
        on.await_condition(item, "ControlPlaneReady")
        on.api.delete(*key_of(prod))
        on.await_condition(prod, status="False", reason="DeletionBlocked")
        assert "default/stranded" in on.condition(prod)["message"]
        # The existing cluster is still reconciled; a new one is rejected.
        late = cluster("late", accountRef={"name": "leaving"})
        on.apply(late)
        on.await_condition(late, "Stalled", reason="AccessDenied")
        assert "is being deleted" in on.condition(late)["message"]
        on.delete(late)
        on.api.delete(*key_of(item))
        on.api.wait_gone(*key_of(item), 60)
        on.api.wait_gone(*key_of(prod), 30)
        assert on.account(account_id).inventory() == {}


def test_cluster_deletion_waits_for_missing_account_object_and_completes_when_it_is_restored(on):
    """The account's finalizer was removed manually."""
    account_id = fresh_account()
    prod = aws_account("gone-account", account_id)
    with on.operator(account=account_id):
        item = cluster("stranded", accountRef={"name": "gone-account"})
        on.apply(prod, item)
        on.await_condition(item, "ControlPlaneReady")
        on.api.delete(*key_of(prod))
        on.await_condition(prod, status="False", reason="DeletionBlocked")
        on.force_delete(prod)
        on.api.wait_gone(*key_of(prod), 10)
        on.api.delete(*key_of(item))
        blocked = on.await_condition(item, "Ready", "False", "DeletionBlocked")
        assert "gone-account" in on.condition(item)["message"], blocked
        on.apply(prod)
        on.api.wait_gone(*key_of(item), 60)
        assert on.account(account_id).inventory() == {}
        on.delete(prod)


def test_operator_restart_changes_nothing_in_a_ready_cluster(on):
    account = fresh_account()
    with on.operator(account=account) as operator:
        items = pair("steady")
        on.apply(*items)
        on.ready(*items)
        since = on.condition(items[0])["lastTransitionTime"]
        mark = on.mark()
        operator.kill()
        operator.restart()
        on.await_ready(operator)
        until(lambda: any(c["action"] == "DescribeCluster" for c in on.calls(mark)), 20, "an observation of the cluster")
        time.sleep(2)
        assert actions(on.writes(mark)) == []
        now = on.condition(items[0])
        assert (now["status"], now["lastTransitionTime"]) == ("True", since)
        on.delete(*items)


def test_annotation_requests_an_immediate_reconcile(on):
    with on.operator(account=fresh_account()):
        items = pair("asked")
        on.apply(*items)
        on.ready(*items)
        time.sleep(1)
        mark = on.mark()
        patch(on, items[0], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
        until(lambda: any(c["action"] == "DescribeCluster" for c in on.calls(mark)), 5, "the observation")
        assert actions(on.writes(mark)) == []
        on.delete(*items)


def test_suspended_cluster_is_not_deleted_before_it_is_resumed(on):
    account = fresh_account()
    with on.operator(account=account):
        item = cluster("held")
        on.apply(item)
        on.await_condition(item, "ControlPlaneReady")
        patch(on, item, {"spec": {"suspend": True}})
        on.await_condition(item, "Reconciling", "False", "Suspended")
        mark = on.mark()
        on.api.delete(*key_of(item))
        time.sleep(2)
        assert actions(on.writes(mark)) == [] and on.api.find(*key_of(item))
        patch(on, item, {"spec": {"suspend": False}})
        on.api.wait_gone(*key_of(item), 60)
        assert on.account(account).inventory() == {}


def test_node_group_of_a_suspended_cluster_is_not_deleted_before_it_is_resumed(on):
    account = fresh_account()
    with on.operator(account=account):
        item, group = pair("paused")
        on.apply(item, group)
        on.ready(item, group)
        patch(on, item, {"spec": {"suspend": True}})
        on.await_condition(group, "Reconciling", "False", "Suspended")
        mark = on.mark()
        on.api.delete(*key_of(group))
        time.sleep(4)
        assert actions(on.writes(mark)) == [] and on.api.find(*key_of(group))
        assert "its EksCluster is suspended: nothing is deleted" in on.condition(group)["message"]
        patch(on, item, {"spec": {"suspend": False}})
        on.api.wait_gone(*key_of(group), 60)
        on.delete(item)


def test_cluster_that_cannot_be_read_counts_for_the_guard_against_mass_deletion(on):
    account = fresh_account()
    item, group = pair("unread")
    with on.operator(account=account):
        on.apply(item, group)
        on.ready(item, group)
    arn = on.status(item)["arn"]
    on.aws.add_fault({"action": "DescribeCluster"}, {"error": {"code": "AccessDeniedException", "status": 403, "message": "denied"}})
    # A new process that has never read the cluster.
    with on.operator(account=account, env={"KEELSON_MAX_DELETIONS": "0"}):
        on.await_condition(item, "Ready", "False", "AccessDenied")
        assert on.status(item)["arn"] == arn
        mark = on.mark()
        on.api.delete(*key_of(item))
        on.aws.clear_faults()
        patch(on, item, {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
        on.await_condition(item, "Stalled", "True", "WaitingForApproval")
        # Nothing is deleted yet: alerts on what is being lost would be false.
        reasons = [on.condition(item, kind)["reason"] for kind in ("Available", "ControlPlaneReady", "NetworkReady")]
        assert "Deleting" not in reasons, reasons
        # Its parts were not observed before, and are now.
        for part in ("ControlPlaneReady", "NetworkReady", "AddonsReady", "Available"):
            on.await_condition(item, part)
        sync = on.condition(item, "InSync")
        assert sync["status"] == "Unknown" and "not observed while the deletion waits" in sync["message"], sync
        # What is shown for the approval lists its node group.
        assert any(step["resource"].startswith("nodeGroup/") for step in on.status(item)["plan"]["steps"])
        assert actions(on.writes(mark)) == []
        release = on.status(item)["deletion"]["release"]
        patch(on, item, {"metadata": {"annotations": {"keelson.dev/release-deletion": release}}})
        on.delete(item, group)


def test_parts_of_a_deletion_that_waits_are_those_observed_now(on):
    account = fresh_account()
    item, group = pair("held-parts")
    with on.operator("--drift-interval=2s", account=account, env={"KEELSON_MAX_DELETIONS": "0"}):
        on.apply(item, group)
        on.ready(item, group)
        on.api.delete(*key_of(group))
        on.api.delete(*key_of(item))
        on.await_condition(item, "Stalled", "True", "WaitingForApproval")
        until(lambda: "the deletion waits" in on.condition(group, "NodesReady").get("message", ""), 20, "the nodes")
        assert on.condition(group, "NodesReady")["status"] == "True" and on.condition(group)["reason"] == "WaitingForCluster"
        ec2 = on.account(account).ec2
        gateway = ec2.describe_nat_gateways()["NatGateways"][0]["NatGatewayId"]
        ec2.delete_nat_gateway(NatGatewayId=gateway)
        network = on.await_condition(item, "NetworkReady", "False")
        assert "NAT gateway" in on.condition(item, "NetworkReady")["message"], network
        assert on.condition(item, "Available")["status"] == "True"
        release = on.status(item)["deletion"]["release"]
        patch(on, item, {"metadata": {"annotations": {"keelson.dev/release-deletion": release}}})
        on.delete(item, group)


def test_live_plan_shows_differences_between_spec_and_aws(on, tmp_path):
    account = fresh_account()
    with on.operator(account=account):
        items = pair("planned")
        on.apply(*items)
        on.ready(*items)
        mark = on.mark()

        def plan(**edits) -> str:
            manifest = tmp_path / "planned.yaml"
            wanted = [{**items[0], "spec": {**items[0]["spec"], **edits}}, items[1]]
            manifest.write_text(yaml.safe_dump_all(wanted))
            command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
            env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": account, "PATH": "/usr/bin:/bin"}
            result = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
            assert result.returncode == 0, result.stderr
            return result.stdout

        assert plan().count("0 to create, 0 to update, 0 to delete") == 2
        changed = plan(tags={"team": "shop"}, addons=[{"name": "coredns"}, {"name": "aws-ebs-csi-driver"}])
        assert "1 to create" in changed and "+ add-on aws-ebs-csi-driver" in changed, changed
        assert "~ VPC" in changed and "team (none) -> shop" in changed, changed
        steps = plan(version="1.35")
        assert "1. control plane 1.34 -> 1.35" in steps and "node groups to 1.35" in steps, steps
        assert actions(on.writes(mark)) == []
        on.delete(*items)


def test_nothing_is_created_when_the_finalizer_cannot_be_added(on):
    role = ("rbac.authorization.k8s.io/v1", "ClusterRole", "keelson")
    account = fresh_account()
    with on.operator(account=account):
        original = on.api.get(*role)

        def may_not_patch(rule: dict) -> dict:
            objects = {"eksclusters", "nodegroups"} & set(rule["resources"])
            verbs = [verb for verb in rule["verbs"] if not (objects and verb == "patch")]
            return {**rule, "verbs": verbs}

        rules = [may_not_patch(rule) for rule in original["rules"]]
        on.api.patch(*role, {"rules": [rule for rule in rules if rule["verbs"]]})
        item = cluster("unheld")
        try:
            time.sleep(0.5)
            on.apply(item)
            until(lambda: "the finalizer was not added" in on.condition(item).get("message", ""), 20, "the condition")
            time.sleep(2)
            assert on.writes(account=account) == []
        finally:
            on.api.patch(*role, {"rules": original["rules"]})
        on.await_condition(item, "NetworkReady", timeout=60)
        on.delete(item)


def test_transient_read_failures_keep_ready_true(on):
    account = fresh_account()
    with on.operator("--drift-interval=4s", account=account):
        items = pair("shaken")
        on.apply(*items)
        on.ready(*items)
        since = on.condition(items[0])["lastTransitionTime"]
        failing = {"error": {"code": "InternalError", "status": 500, "message": "an outage"}}
        on.aws.add_fault({"service": "ec2", "write": False, "account": account}, failing)
        try:
            until(lambda: on.condition(items[0], "InSync")["status"] == "Unknown", 20, "InSync=Unknown")
            now = on.condition(items[0])
            assert (now["status"], now["lastTransitionTime"]) == ("True", since)
        finally:
            on.aws.clear_faults()
        on.await_condition(items[0], "InSync", timeout=30)
        on.delete(*items)
