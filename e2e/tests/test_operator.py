"""The operator and the management cluster: an API server that goes away, rights that go missing, objects that go in an odd order."""

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

LIFE = Durations(2, 1, 1.5, 1, 0.3, 0.5)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


def pair(name: str, **spec) -> tuple[dict, dict]:
    return cluster(name, **spec), node_group(name)


def change(on: Environment, item: dict, body: dict) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, body, namespace)


def restart_api_server(on: Environment, away: float) -> None:
    plane = on.cloud.management
    plane.apiserver.kill()
    time.sleep(away)
    plane.start_apiserver(on.cloud.etcd.url)
    plane.wait_apiserver()


def test_api_server_away_for_longer_than_the_lease_is_waited_for(on):
    account = fresh_account()
    with on.operator(account=account) as operator:
        made = pair("outage")
        on.apply(*made)
        on.await_condition(made[0], "ControlPlaneReady", "False", "Creating")
        restart_api_server(on, away=12)
        on.ready(*made)
        assert operator.starts == 1 and operator.alive
        on.account(account).resources()
        on.delete(*made)
        assert on.account(account).inventory() == {}
        # A line every few seconds from each of the watches and the lease, and no more.
        noise = [line for line in operator.log.read_text().splitlines() if '"level":"WARN"' in line]
        assert len(noise) < 60, noise[:5]


def test_right_that_is_taken_away_is_named_in_the_log_and_its_return_is_noticed(on):
    role = ("rbac.authorization.k8s.io/v1", "ClusterRole", "keelson")
    with on.operator(account=fresh_account()) as operator:
        kept = on.api.get(*role)
        rules = [
            {**rule, "resources": [r for r in rule["resources"] if r != "eksclusters"]}
            for rule in kept["rules"]
        ]
        on.api.patch(*role, {"rules": [rule for rule in rules if rule["resources"]]})
        made = cluster("forbidden")
        try:
            time.sleep(0.5)  # for the API server's own caches
            on.apply(made)
            until(lambda: "grant it to the operator" in operator.log.read_text(), 20, "the log line")
            assert on.account(operator.env["AWS_ACCESS_KEY_ID"]).inventory() == {}
        finally:
            on.api.patch(*role, {"rules": kept["rules"]})
        on.await_condition(made, "NetworkReady", timeout=90)
        on.delete(made)


def test_node_group_made_again_while_its_cluster_goes_is_in_nobodys_way(on):
    account = fresh_account()
    with on.operator(account=account):
        made = pair("going")
        on.apply(*made)
        on.ready(*made)
        on.api.delete(*key_of(made[0]))
        on.api.wait_gone(*key_of(made[1]), 30)
        on.apply(made[1])
        on.await_condition(made[1], "Ready", "False", "WaitingForCluster")
        on.api.wait_gone(*key_of(made[0]), 60)
        assert on.account(account).inventory() == {}
        assert on.api.find(*key_of(made[1])) is not None
        on.delete(made[1], timeout=10)


def test_an_account_that_is_deleted_stays_until_no_cluster_needs_it(on):
    account_id = fresh_account()
    prod = aws_account("leaving", account_id)
    with on.operator(account=account_id):
        made = cluster("stranded", accountRef={"name": "leaving"})
        on.apply(prod, made)
        on.await_condition(made, "ControlPlaneReady")
        on.api.delete(*key_of(prod))
        on.await_condition(prod, status="False", reason="DeletionBlocked")
        assert "default/stranded" in on.condition(prod)["message"]
        # What is there goes on; what is new is refused.
        late = cluster("late", accountRef={"name": "leaving"})
        on.apply(late)
        on.await_condition(late, "Stalled", reason="AccessDenied")
        assert "is being deleted" in on.condition(late)["message"]
        on.delete(late)
        on.api.delete(*key_of(made))
        on.api.wait_gone(*key_of(made), 60)
        on.api.wait_gone(*key_of(prod), 30)
        assert on.account(account_id).inventory() == {}


def test_cluster_whose_account_object_is_gone_says_so_and_goes_when_it_is_back(on):
    """Somebody removed the account's finalizer by hand."""
    account_id = fresh_account()
    prod = aws_account("gone-account", account_id)
    with on.operator(account=account_id):
        made = cluster("stranded", accountRef={"name": "gone-account"})
        on.apply(prod, made)
        on.await_condition(made, "ControlPlaneReady")
        on.api.delete(*key_of(prod))
        on.await_condition(prod, status="False", reason="DeletionBlocked")
        on.force_delete(prod)
        on.api.wait_gone(*key_of(prod), 10)
        on.api.delete(*key_of(made))
        blocked = on.await_condition(made, "Ready", "False", "DeletionBlocked")
        assert "gone-account" in on.condition(made)["message"], blocked
        on.apply(prod)
        on.api.wait_gone(*key_of(made), 60)
        assert on.account(account_id).inventory() == {}
        on.delete(prod)


def test_restart_of_the_operator_changes_nothing_in_a_ready_cluster(on):
    account = fresh_account()
    with on.operator(account=account) as operator:
        made = pair("steady")
        on.apply(*made)
        on.ready(*made)
        since = on.condition(made[0])["lastTransitionTime"]
        mark = on.mark()
        operator.kill()
        operator.restart()
        on.await_ready(operator)
        until(lambda: any(c["action"] == "DescribeCluster" for c in on.calls(mark)), 20, "a look at the cluster")
        time.sleep(2)
        assert actions(on.writes(mark)) == []
        now = on.condition(made[0])
        assert (now["status"], now["lastTransitionTime"]) == ("True", since)
        on.delete(*made)


def test_annotation_asks_for_a_look_now(on):
    with on.operator(account=fresh_account()):
        made = pair("asked")
        on.apply(*made)
        on.ready(*made)
        time.sleep(1)
        mark = on.mark()
        change(on, made[0], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
        until(lambda: any(c["action"] == "DescribeCluster" for c in on.calls(mark)), 5, "the look")
        assert actions(on.writes(mark)) == []
        on.delete(*made)


def test_suspended_cluster_is_not_deleted_before_it_is_resumed(on):
    account = fresh_account()
    with on.operator(account=account):
        made = cluster("held")
        on.apply(made)
        on.await_condition(made, "ControlPlaneReady")
        change(on, made, {"spec": {"suspend": True}})
        on.await_condition(made, "Reconciling", "False", "Suspended")
        mark = on.mark()
        on.api.delete(*key_of(made))
        time.sleep(2)
        assert actions(on.writes(mark)) == [] and on.api.find(*key_of(made))
        change(on, made, {"spec": {"suspend": False}})
        on.api.wait_gone(*key_of(made), 60)
        assert on.account(account).inventory() == {}


def test_live_plan_tells_what_is_there_and_what_is_not(on, tmp_path):
    account = fresh_account()
    with on.operator(account=account):
        made = pair("planned")
        on.apply(*made)
        on.ready(*made)
        mark = on.mark()

        def plan(**change) -> str:
            manifest = tmp_path / "planned.yaml"
            wanted = [{**made[0], "spec": {**made[0]["spec"], **change}}, made[1]]
            manifest.write_text(yaml.safe_dump_all(wanted))
            command = [str(keelson_binary()), "plan", "--live", "-f", str(manifest)]
            env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": account, "PATH": "/usr/bin:/bin"}
            done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert plan().count("0 to create, 0 to update, 0 to delete") == 2
        changed = plan(tags={"team": "shop"}, addons=[{"name": "coredns"}, {"name": "aws-ebs-csi-driver"}])
        assert "1 to create" in changed and "+ add-on aws-ebs-csi-driver" in changed, changed
        assert "~ VPC" in changed and "team (none) -> shop" in changed, changed
        steps = plan(version="1.35")
        assert "1. control plane 1.34 -> 1.35" in steps and "node groups to 1.35" in steps, steps
        assert actions(on.writes(mark)) == []
        on.delete(*made)


def test_nothing_is_made_when_the_finalizer_cannot_be_put_on(on):
    role = ("rbac.authorization.k8s.io/v1", "ClusterRole", "keelson")
    account = fresh_account()
    with on.operator(account=account):
        kept = on.api.get(*role)

        def may_not_patch(rule: dict) -> dict:
            objects = {"eksclusters", "nodegroups"} & set(rule["resources"])
            verbs = [verb for verb in rule["verbs"] if not (objects and verb == "patch")]
            return {**rule, "verbs": verbs}

        rules = [may_not_patch(rule) for rule in kept["rules"]]
        on.api.patch(*role, {"rules": [rule for rule in rules if rule["verbs"]]})
        made = cluster("unheld")
        try:
            time.sleep(0.5)
            on.apply(made)
            until(lambda: "the finalizer was not added" in on.condition(made).get("message", ""), 20, "the condition")
            time.sleep(2)
            assert on.writes(account=account) == []
        finally:
            on.api.patch(*role, {"rules": kept["rules"]})
        on.await_condition(made, "NetworkReady", timeout=60)
        on.delete(made)


def test_reads_that_fail_for_a_moment_do_not_take_ready_away(on):
    account = fresh_account()
    with on.operator("--drift-interval=4s", account=account):
        made = pair("shaken")
        on.apply(*made)
        on.ready(*made)
        since = on.condition(made[0])["lastTransitionTime"]
        failing = {"error": {"code": "InternalError", "status": 500, "message": "an outage"}}
        on.aws.add_fault({"service": "ec2", "write": False, "account": account}, failing)
        try:
            until(lambda: on.condition(made[0], "InSync")["status"] == "Unknown", 20, "InSync=Unknown")
            now = on.condition(made[0])
            assert (now["status"], now["lastTransitionTime"]) == ("True", since)
        finally:
            on.aws.clear_faults()
        on.await_condition(made[0], "InSync", timeout=30)
        on.delete(*made)
