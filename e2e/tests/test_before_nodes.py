"""New node groups wait for the add-ons that their nodes need (`addons[].beforeNodes`), and say so."""

from __future__ import annotations

from datetime import datetime

import pytest

from fleet.command_line import output
from fleet.environment import Environment, environment
from fleet.manifests import cluster, key_of, node_group
from keelson_harness.aws import ACCOUNT, Durations

SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False}
ISSUE = {"code": "ConfigurationConflict", "message": "a webhook denied it"}


@pytest.fixture(scope="module")
def on():
    durations = Durations(cluster_create=1, cluster_delete=0.5, nodegroup=0.5, addon=5, nat=0.5)
    with environment(workload=False, git=False, durations=durations) as started:
        started.start("--drift-interval=2s")
        yield started


def times(on: Environment, name: str) -> dict[str, float]:
    """When each creation in the cluster was asked for."""
    calls = [call for call in on.writes(account=ACCOUNT) if call["resource"].startswith(f"{name}/")]
    return {f"{call['action']} {call['resource']}": datetime.fromisoformat(call["time"]).timestamp() for call in calls}


def test_new_node_group_waits_until_the_addon_runs(on: Environment):
    item = cluster("waits", addons=[{"name": "vpc-cni"}, {"name": "kube-proxy", "beforeNodes": False}, {"name": "coredns"}], **SMALL)
    nodes = node_group("waits")
    on.apply(item, nodes)
    waits = on.await_state(nodes, lambda found: "vpc-cni (CREATING)" in message(found), 60, "the reason")
    assert message(waits) == "waiting for add-on vpc-cni (CREATING)" and reason(waits) == "WaitingForCluster"
    text = output(on, "status", "nodegroup/waits-default", "-n", "default")
    assert "waiting for its EksCluster: waiting for add-on vpc-cni (CREATING)" in text, text
    assert "NodeGroup default/waits-default: waiting for add-on vpc-cni (CREATING)" in output(on, "status", "waits", "-n", "default")
    on.aws.control("POST", "settings", json={"ADDON_SECONDS": 0.5})
    on.ready(item, nodes)
    asked = times(on, "waits")
    group = asked["CreateNodegroup waits/waits-default"]
    assert group - asked["CreateAddon waits/vpc-cni"] >= 5 and asked["CreateAddon waits/coredns"] > group, asked
    # Only new groups wait: another add-on holds up a second group, and not the first one.
    on.aws.add_fault({"account": ACCOUNT, "action": "CreateAddon", "resource": "*eks-pod-identity-agent"}, {"health_issue": ISSUE})
    later = node_group("waits", "later")
    spec = [{"name": name} for name in ("vpc-cni", "coredns", "eks-pod-identity-agent")]
    on.api.patch(*key_of(item)[:3], {"spec": {"addons": spec}})
    on.await_state(item, lambda found: "CREATE_FAILED" in str(found["status"].get("conditions")), 60, "the failure")
    on.apply(later)
    failed = on.await_state(later, lambda found: "CREATE_FAILED" in message(found), 30, "the failed add-on")
    assert "eks-pod-identity-agent (CREATE_FAILED)" in message(failed) and "a webhook denied it" in message(failed), message(failed)
    assert on.condition(nodes)["status"] == "True", "a group that exists does not wait"
    assert "CreateNodegroup waits/later" not in times(on, "waits")
    # Without the wait it is created.
    spec[2]["beforeNodes"] = False
    on.api.patch(*key_of(item)[:3], {"spec": {"addons": spec}})
    on.ready(later)
    on.aws.clear_faults()
    on.delete(later, nodes, item)


def message(item: dict) -> str:
    return ready(item).get("message", "")


def reason(item: dict) -> str:
    return ready(item).get("reason", "")


def ready(item: dict) -> dict:
    return next((one for one in item.get("status", {}).get("conditions", []) if one["type"] == "Ready"), {})
