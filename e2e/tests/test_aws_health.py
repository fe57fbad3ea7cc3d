"""What AWS reports of clusters that exist, and who denied a call: shown with what to do, and by whom."""

from __future__ import annotations

import json

import pytest

from faults import SMALL, Played, Scene, play
from fleet.environment import Environment, environment, until
from fleet.manifests import key_of, node_group
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1"
DISABLED = {"code": "KmsKeyDisabled", "message": "The AWS KMS Key associated with your cluster is disabled.", "resourceIds": [KEY]}
PASSROLE = {"by": "identity-based policy", "action": "iam:PassRole", "resource": "arn:aws:iam::1:role/x"}

# Who denied a call, and what the message has to say besides AWS's own words.
DENIALS = {
    "by-scp": ("CreateSubnet", "service control policy", ("organization", "no policy of the account can", "ec2:CreateSubnet")),
    "by-boundary": ("AttachRolePolicy", "permissions boundary", ("permissions boundary", "IAM", "iam:AttachRolePolicy")),
    "by-identity": ("CreateVpc", "identity-based policy", ("Allow ec2:CreateVpc for the identity",)),
    "by-deny": ("CreateVpc", {"by": "identity-based policy", "explicit": True}, ("denies ec2:CreateVpc explicitly",)),
    "by-endpoint": ("CreateVpc", "VPC endpoint policy", ("VPC endpoint", "owns that VPC")),
    "pass-role": ("CreateCluster", PASSROLE, ("Allow iam:PassRole for the identity",)),
}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start("--drift-interval=3s")


@pytest.fixture(scope="module")
def denied(on: Environment, operator) -> dict[str, Played]:
    return {name: play(on, Scene(name, (({"action": action}, {"deny": by}),))) for name, (action, by, _) in DENIALS.items()}


@pytest.fixture(scope="module")
def healthy(on: Environment, operator) -> Played:
    scene = play(on, Scene("healthy", (), {**SMALL, "addons": [{"name": "kube-proxy"}]}, nodes=True))
    on.ready(*scene.items)
    return scene


def post(on: Environment, scene: Played, *issues: dict, **more: str) -> None:
    name = scene.cluster["metadata"]["name"]
    body = {"account": scene.account.id, "region": REGION, "cluster": name, "issues": list(issues), **more}
    on.aws.control("POST", "issues", json=body)


@pytest.mark.parametrize("name", DENIALS)
def test_message_names_who_denied_and_who_can_change_it(on, denied, name):
    scene = denied[name]
    found = on.await_condition(scene.cluster, "Stalled", reason="AccessDenied", timeout=40)
    message = conditions(found)["Ready"]["message"]
    for part in DENIALS[name][2]:
        assert part in message, message
    assert "Encoded authorization" not in message and scene.account.id in message


def failed_reconciles(operator, cluster: dict) -> list[dict]:
    """The log lines of the cluster's failed reconciles whose AWS call has a request id."""
    lines = [json.loads(line) for line in operator.log.read_text().splitlines() if '"the reconcile failed"' in line]
    name = cluster["metadata"]["name"]
    return [line for line in lines if line["span"]["object_name"] == name and line.get("request_id")]


def test_log_has_the_request_id_of_a_failed_call_and_status_has_not(on, operator, denied):
    scene = denied["by-identity"]
    found = on.await_condition(scene.cluster, "Stalled", reason="AccessDenied", timeout=40)
    until(lambda: failed_reconciles(operator, scene.cluster), 20, "the log line")
    line = failed_reconciles(operator, scene.cluster)[0]
    assert (line["step"], line["class"], line["action"], line["level"]) == ("execute", "denied", "CreateVpc", "WARN")
    assert line["code"] and line["http_status"] and line["error"].count("CreateVpc of") == 1, line
    assert line["request_id"] not in json.dumps(found["status"])


def test_health_issue_of_an_active_cluster_is_shown_at_once_with_what_to_do(on, healthy):
    post(on, healthy, DISABLED)
    found = on.await_condition(healthy.cluster, status="False", reason="Degraded", timeout=20)
    all_conditions = conditions(found)
    assert all_conditions["Stalled"]["status"] == "True" and all_conditions["ControlPlaneReady"]["status"] == "False"
    message = all_conditions["Ready"]["message"]
    for part in ("control plane: KmsKeyDisabled", KEY, "aws kms enable-key"):
        assert part in message, message
    assert found["status"]["healthIssues"] == [DISABLED]
    until(lambda: [e for e in on.events(healthy.cluster) if e["reason"] == "Degraded" and "enable-key" in e["note"]], 20, "the event")
    post(on, healthy)
    on.ready(healthy.cluster, timeout=20)
    assert "healthIssues" not in on.status(healthy.cluster)


def test_issue_that_passes_by_itself_stalls_nothing(on, healthy):
    post(on, healthy, {"code": "InternalFailure", "message": "try later"})
    found = on.await_condition(healthy.cluster, "Reconciling", reason="Degraded", timeout=20)
    assert conditions(found)["Stalled"]["status"] == "False" and conditions(found)["Ready"]["status"] == "False"
    post(on, healthy)
    on.ready(healthy.cluster, timeout=20)


def test_upgrade_waits_for_the_control_plane_to_be_healthy(on, operator):
    scene = play(on, Scene("unhealthy", (), {**SMALL, "version": "1.33"}))
    on.ready(scene.cluster)
    post(on, scene, DISABLED)
    on.await_condition(scene.cluster, status="False", reason="Degraded", timeout=20)
    version, kind, name, _ = key_of(scene.cluster)
    on.api.patch(version, kind, name, {"spec": {"version": "1.34"}})
    found = on.api.wait(version, kind, name, lambda i: (i["status"].get("upgrade") or {}).get("preflight"), timeout=30)
    (check,) = (check for check in found["status"]["upgrade"]["preflight"] if check["check"] == "ControlPlane")
    assert check["verdict"] == "Failed" and "KmsKeyDisabled" in check["message"]
    assert [call for call in on.calls(0, scene.account.id) if call["action"] == "UpdateClusterVersion"] == []
    post(on, scene)
    on.ready(scene.cluster, timeout=60)
    assert on.status(scene.cluster)["version"] == "1.34"


def test_degraded_node_group_says_what_to_do(on, healthy):
    issue = {"code": "AsgInstanceLaunchFailures", "message": "Could not launch On-Demand Instances"}
    post(on, healthy, issue, nodegroup=healthy.nodes["metadata"]["name"])
    found = on.await_condition(healthy.nodes, status="False", reason="InsufficientCapacity", timeout=20)
    message = conditions(found)["Ready"]["message"]
    assert "Could not launch" in message and "activity of the Auto Scaling group" in message, message
    post(on, healthy, nodegroup=healthy.nodes["metadata"]["name"])
    on.ready(healthy.nodes, timeout=20)


def test_failed_creations_say_what_to_do(on, operator):
    addons = (
        {"action": "CreateAddon"},
        {"health_issue": {"code": "AddonPermissionFailure", "message": "no credentials"}, "status": "CREATE_FAILED"},
    )
    nodes = ({"action": "CreateNodegroup"}, {"health_issue": {"code": "Ec2SubnetNotFound", "message": "subnet-1 is gone"}})
    scene = play(on, Scene("failed", (addons, nodes), {**SMALL, "addons": [{"name": "kube-proxy", "beforeNodes": False}]}))
    group = node_group("failed")
    on.apply(group)
    found = on.await_condition(scene.cluster, "Stalled", reason="AccessDenied", timeout=40)
    message = conditions(found)["Ready"]["message"]
    assert "CREATE_FAILED: AddonPermissionFailure: no credentials. " in message and "podIdentityRoleArn" in message, message
    found = on.await_condition(group, "Stalled", reason="Failed", timeout=40)
    message = conditions(found)["Ready"]["message"]
    assert "CREATE_FAILED: Ec2SubnetNotFound: subnet-1 is gone. " in message and "other subnets" in message, message
