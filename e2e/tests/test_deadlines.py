"""Nothing waits for ever: past its deadline an object is Stalled with what is waited for and what to do; what goes on clears it."""

from __future__ import annotations

from datetime import datetime

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, flux, key_of, node_group
from fleet.environment import Environment, environment, stays, until
from fleet.upgrading import far_window, reach

# 600 s, the least that a wait is given, become 6; an hour becomes 36 s.
SCALE = "--wait-deadline-scale=0.01"
FARGATE = [{"name": "system", "selectors": [{"namespace": "kube-system"}]}]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start(SCALE, "--drift-interval=10s")


class Tenant:
    """An account of its own, and the objects that use it."""

    def __init__(self, on: Environment, name: str):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        on.apply(*reach(on, self.account, name))

    def cluster(self, **spec: object) -> dict:
        spec = {"accountRef": {"name": self.name}, **spec}
        return cluster(self.name, **spec)

    def calls(self, action: str) -> list[dict]:
        return [call for call in self.on.calls(0, self.account.id) if call["action"] == action]


@pytest.fixture
def tenant(on, operator, request) -> Tenant:
    return Tenant(on, request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-"))


def stalled(on: Environment, item: dict, reason: str = "Timeout", timeout: float = 60) -> str:
    """Waits until it is, and returns what it says."""
    found = on.await_condition(item, "Stalled", reason=reason, timeout=timeout)
    says = {c["type"]: c for c in found["status"]["conditions"]}
    assert says["Ready"]["status"] == says["Reconciling"]["status"] == "False"
    assert " since 20" in says["Stalled"]["message"], says["Stalled"]["message"]
    return says["Stalled"]["message"]


def edit(on: Environment, item: dict, **spec: object) -> None:
    on.api.patch(*key_of(item)[:3], {"spec": spec})


def warnings(on: Environment, item: dict, reason: str) -> list[str]:
    return [e["note"] for e in on.events(item) if e["type"] == "Warning" and e["reason"] == reason]


def test_dns_on_fargate_alone_says_what_it_needs_and_then_runs(on, tenant):
    item = tenant.cluster(fargateProfiles=FARGATE)
    on.apply(item)
    said = stalled(on, item)
    assert "add-on coredns: waiting for nodes" in said and "computeType: Fargate" in said, said
    assert len(warnings(on, item, "Timeout")) == 1
    names = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
    addons = [{"name": name} for name in names]
    addons.append({"name": "coredns", "configuration": {"computeType": "Fargate"}})
    edit(on, item, addons=addons)
    on.ready(item)
    assert on.condition(item, "Stalled")["status"] == "False"
    assert "waits" not in on.status(item)
    (made,) = (a for a in on.status(item)["addons"] if a["name"] == "coredns")
    assert made["state"] == "ACTIVE"


def test_an_add_on_that_stays_degraded_is_stuck_until_it_is_put_right(on, tenant):
    issue = {"code": "AdmissionRequestDenied", "message": "a webhook denied it"}
    on.aws.add_fault(
        {"account": tenant.account.id, "action": "CreateAddon", "resource": "*kube-proxy"},
        {"health_issue": issue, "status": "DEGRADED"},
    )
    item = tenant.cluster(addons=[{"name": "kube-proxy"}])
    on.apply(item)
    said = stalled(on, item)
    for part in ("add-on kube-proxy", "DEGRADED", "a webhook denied it", "spec.addons"):
        assert part in said, said
    edit(on, item, addons=[{"name": "kube-proxy", "configuration": {"mode": "ipvs"}}])
    on.ready(item)


def test_a_node_group_that_never_comes_is_stuck_and_another_process_goes_on_counting(on, tenant, operator):
    issue = {"code": "NodeCreationFailure", "message": "no instance joined"}
    rule = {"account": tenant.account.id, "action": "CreateNodegroup"}
    on.aws.add_fault(rule, {"health_issue": issue, "status": "CREATING"})
    item, group = tenant.cluster(addons=[{"name": "vpc-cni"}]), node_group(tenant.name)
    on.apply(item, group)
    until(lambda: on.status(group).get("waits") and on.status(group).get("arn"), 40, "a wait in status")
    (before,) = on.status(group)["waits"]
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    said = stalled(on, group)
    assert "no instance joined" in said and "launch template" in said, said
    (after,) = on.status(group)["waits"]
    assert after == before
    told = on.condition(group, "Stalled")["lastTransitionTime"]
    assert at(told) >= at(before["deadline"]), (told, before)
    # It is looked at as before, and says the same: nothing ticks.
    stays(lambda: on.condition(group, "Stalled")["message"] == said, 8, "the message")
    assert len(warnings(on, group, "Timeout")) == 1


def at(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_node_group_waits_for_its_cluster_no_longer_than_one_takes(on, tenant):
    group = node_group(tenant.name)
    on.apply(group)
    said = stalled(on, group, timeout=80)
    assert "its EksCluster" in said and "does not exist" in said, said
    on.apply(tenant.cluster(addons=[{"name": "vpc-cni"}]))
    on.ready(group)
    assert on.condition(group, "Stalled")["status"] == "False"


def test_an_agent_that_cannot_be_reached_is_stuck_and_aws_is_kept(on, tenant):
    item = tenant.cluster(addons=[{"name": "vpc-cni"}], gitops=flux("https://git.example.com/fleet"))
    on.apply(item)
    stalled(on, item, reason="AgentUnreachable")
    edit(on, item, gitops=None)
    on.ready(item)


def test_a_maintenance_window_is_waited_for_however_long(on, tenant):
    # Half a year from now: no deadline passes, as the end is known.
    item = tenant.cluster(version="1.33", addons=[{"name": "vpc-cni"}], upgrade={"windows": [far_window()]})
    on.apply(item)
    on.ready(item)
    edit(on, item, version="1.34")
    on.await_condition(item, status="False", reason="OutsideMaintenanceWindow")
    # Longer than any deadline is here.
    stays(lambda: on.condition(item, "Stalled")["status"] == "False", 40, "what waits for a window")
    assert on.condition(item)["reason"] == "OutsideMaintenanceWindow"


def test_a_group_with_an_ami_of_its_own_is_not_waited_for_and_says_what_to_do(on, tenant):
    template = tenant.account.ec2.create_launch_template(
        LaunchTemplateName="own", LaunchTemplateData={"ImageId": "ami-12345678", "InstanceType": "t3.large"}
    )["LaunchTemplate"]["LaunchTemplateId"]
    item = tenant.cluster(version="1.33", addons=[{"name": "vpc-cni"}])
    group = node_group(tenant.name, launchTemplate={"id": template, "version": "1"})
    on.apply(item, group)
    on.ready(item, group)
    edit(on, item, version="1.34")
    until(lambda: on.status(item).get("version") == "1.34", 60, "1.34")
    on.ready(item)
    said = on.condition(item)["message"]
    assert "with an AMI of its own" in said and "spec.launchTemplate.version" in said, said
    assert tenant.calls("UpdateNodegroupVersion") == []
    # Asked for by its own version, it is refused with the same cure.
    edit(on, group, version="1.34")
    on.await_condition(group, "Stalled", reason="InvalidSpec")
    assert "set launchTemplate.version to it" in on.condition(group)["message"]


def test_updates_that_eks_fails_each_time_are_told_once_done_and_not_at_each_try(on, tenant):
    item = tenant.cluster(addons=[{"name": "kube-proxy"}])
    on.apply(item)
    on.ready(item)
    rule = {"account": tenant.account.id, "action": "UpdateAddon"}
    on.aws.add_fault(rule, {"fail": "it conflicts"})
    mark = on.mark()
    edit(on, item, addons=[{"name": "kube-proxy", "configuration": {"mode": "ipvs"}}])
    until(lambda: len(tenant.calls("UpdateAddon")) == 3, 60, "the third try")
    on.await_condition(item, "Stalled", reason="Failed", timeout=60)
    stays(lambda: len(tenant.calls("UpdateAddon")) == 3, 5, "three tries")
    normal = [e for e in on.events(item) if e["reason"] == "Updated" and "kube-proxy" in e["note"]]
    assert normal == []
    # That an update failed, and that it is given up; with deadlines as short as here, in between that it takes long.
    failed = [note for note in warnings(on, item, "Failed") if "kube-proxy" in note and " since 20" not in note]
    assert 1 <= len(failed) <= 2, failed
    assert [call["action"] for call in on.writes(mark, tenant.account.id)] == ["UpdateAddon"] * 3
