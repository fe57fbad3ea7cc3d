"""No wait is endless: past its deadline an object is Stalled, names what it waits for and what to do, and clears on progress."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, flux, key_of, node_group
from fleet.environment import Environment, environment, stays, until
from fleet.upgrading import far_window, reach

# 600 s, the minimum deadline, becomes 6 s; an hour, that of an upgrade, becomes 36 s.
SCALE = "--wait-deadline-scale=0.01"
LONGEST_SECONDS = 40
FARGATE = [{"name": "batch", "selectors": [{"namespace": "batch"}]}]
SYSTEM = [*FARGATE, {"name": "system", "selectors": [{"namespace": "kube-system"}]}]


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start(SCALE, "--drift-interval=10s")


@pytest.fixture(scope="module", autouse=True)
def waits_for_window(on, operator) -> tuple[dict, float]:
    """A cluster whose upgrade waits for a window in half a year, and since when: the other tests run meanwhile."""
    tenant = Tenant(on, "waits-for-window")
    item = tenant.cluster(version="1.33", addons=[{"name": "vpc-cni"}], upgrade={"windows": [far_window()]})
    on.apply(item)
    on.ready(item)
    edit(on, item, version="1.34")
    on.await_condition(item, status="False", reason="OutsideMaintenanceWindow")
    return item, time.time()


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


def await_stalled(on: Environment, item: dict, reason: str = "Timeout", timeout: float = 60) -> str:
    """Waits until the object is Stalled, and returns the message."""
    found = on.await_condition(item, "Stalled", reason=reason, timeout=timeout)
    by_type = {c["type"]: c for c in found["status"]["conditions"]}
    assert by_type["Ready"]["status"] == by_type["Reconciling"]["status"] == "False"
    assert " since 20" in by_type["Stalled"]["message"], by_type["Stalled"]["message"]
    return by_type["Stalled"]["message"]


def edit(on: Environment, item: dict, **spec: object) -> None:
    on.api.patch(*key_of(item)[:3], {"spec": spec})


def warnings(on: Environment, item: dict, reason: str) -> list[str]:
    return [e["note"] for e in on.events(item) if e["type"] == "Warning" and e["reason"] == reason]


def test_coredns_on_fargate_only_reports_the_required_profile(on, tenant):
    item = tenant.cluster(fargateProfiles=FARGATE)
    on.apply(item)
    message = await_stalled(on, item)
    assert "add-on coredns: waiting for nodes" in message and "selectors choose namespace kube-system" in message, message
    until(lambda: len(warnings(on, item, "Timeout")) == 1, 20, "one warning")
    edit(on, item, fargateProfiles=SYSTEM)
    on.ready(item)
    assert on.condition(item, "Stalled")["status"] == "False"
    assert "waits" not in on.status(item)
    (coredns,) = (a for a in on.status(item)["addons"] if a["name"] == "coredns")
    assert coredns["state"] == "ACTIVE"


def test_degraded_addon_stalls_until_it_is_fixed(on, tenant):
    issue = {"code": "AdmissionRequestDenied", "message": "a webhook denied it"}
    on.aws.add_fault(
        {"account": tenant.account.id, "action": "CreateAddon", "resource": "*kube-proxy"},
        {"health_issue": issue, "status": "DEGRADED"},
    )
    item = tenant.cluster(addons=[{"name": "kube-proxy"}])
    on.apply(item)
    message = await_stalled(on, item)
    for part in ("add-on kube-proxy", "DEGRADED", "a webhook denied it", "spec.addons"):
        assert part in message, message
    edit(on, item, addons=[{"name": "kube-proxy", "configuration": {"mode": "ipvs"}}])
    on.ready(item)


def test_deadline_of_a_node_group_survives_a_restart(on, tenant, operator):
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
    message = await_stalled(on, group)
    assert "no instance joined" in message and "launch template" in message, message
    (after,) = on.status(group)["waits"]
    assert after == before
    transition = on.condition(group, "Stalled")["lastTransitionTime"]
    assert parse_time(transition) >= parse_time(before["deadline"]), (transition, before)
    # Further reconciles keep the message constant: it contains no running time.
    time.sleep(2)
    on.reconcile(group)
    assert on.condition(group, "Stalled")["message"] == message
    until(lambda: len(warnings(on, group, "Timeout")) == 1, 20, "one warning")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_node_group_without_a_cluster_stalls_after_its_deadline(on, tenant):
    group = node_group(tenant.name)
    on.apply(group)
    message = await_stalled(on, group, timeout=80)
    assert "its EksCluster" in message and "does not exist" in message, message
    on.apply(tenant.cluster(addons=[{"name": "vpc-cni"}]))
    on.ready(group)
    assert on.condition(group, "Stalled")["status"] == "False"


def test_unreachable_agent_stalls_and_aws_is_unaffected(on, tenant):
    item = tenant.cluster(addons=[{"name": "vpc-cni"}], gitops=flux("https://git.example.com/fleet"))
    on.apply(item)
    await_stalled(on, item, reason="AgentUnreachable")
    edit(on, item, gitops=None)
    on.ready(item)


def test_node_group_with_a_custom_ami_is_not_waited_for_and_reports_the_action(on, tenant):
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
    message = on.condition(item)["message"]
    assert "with a custom AMI" in message and "spec.launchTemplate.version" in message, message
    assert tenant.calls("UpdateNodegroupVersion") == []
    # Its own version in the spec is refused, with the same advice.
    edit(on, group, version="1.34")
    on.await_condition(group, "Stalled", reason="InvalidSpec")
    assert "set launchTemplate.version to it" in on.condition(group)["message"]


def test_failed_updates_stop_after_three_tries_without_an_event_per_try(on, tenant):
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
    # One for the failed update, one for giving up; with these short deadlines also one for the timeout, which is filtered out.
    failed = [note for note in warnings(on, item, "Failed") if "kube-proxy" in note and " since 20" not in note]
    assert 1 <= len(failed) <= 2, failed
    assert [call["action"] for call in on.writes(mark, tenant.account.id)] == ["UpdateAddon"] * 3


def test_waiting_for_a_maintenance_window_never_stalls(on, waits_for_window):
    """No deadline applies, as the end of the wait is known. The last test, so that the others run meanwhile."""
    item, since = waits_for_window
    time.sleep(max(0, since + LONGEST_SECONDS - time.time()))
    stalled = on.condition(item, "Stalled")
    assert stalled["status"] == "False" and parse_time(stalled["lastTransitionTime"]).timestamp() <= since, stalled
    assert on.condition(item)["reason"] == "OutsideMaintenanceWindow"
