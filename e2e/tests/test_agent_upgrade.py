"""An upgrade of the GitOps agent starts in a maintenance window and after its approval. Until then the current version is maintained.

The tests build on each other, in file order. Flux's controllers do not run: the tests check only what is applied.
"""

from __future__ import annotations

import datetime

import pytest

from fleet import restore
from fleet.manifests import cluster, flux, key_of
from fleet.shop import APPROVE
from fleet.environment import environment, stays, until
from fleet.upgrading import far_window
from handover import FLUX, KUSTOMIZATION, NEWER, OLDER, components
from keelson_harness.kubeapi import conditions

# Long enough for any write to have happened.
QUIET_SECONDS = 4
CONTROLLER = "source-controller"


def always_open() -> list[dict]:
    """Windows that open daily, for longer than a day."""
    return [{"schedule": "0 0 * * *", "duration": "36h"}]


class Agent:
    """The agent of one cluster."""

    def __init__(self, on):
        self.on = on
        gitops = flux("https://git.example.com/fleet", "clusters/first")
        gitops["flux"]["version"] = OLDER
        self.item = cluster("agent", addons=[{"name": "vpc-cni"}], upgrade={"windows": [far_window()]}, gitops=gitops)

    @property
    def workload(self):
        return self.on.cloud.workload.api

    def edit(self, **spec: object) -> None:
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})

    def set_version(self, version: str | None) -> None:
        self.edit(gitops={"flux": {"version": version}})

    def gitops(self) -> dict:
        return self.on.status(self.item).get("gitops", {})

    def upgrade_status(self) -> dict:
        return self.gitops().get("upgrade", {})

    def applied(self) -> dict[str, str]:
        return {entry["field"]: entry["value"] for entry in self.gitops().get("applied", [])}

    def deployment(self) -> dict | None:
        return self.workload.find("apps/v1", "Deployment", CONTROLLER, FLUX)

    def image(self) -> str:
        found = self.deployment()
        return found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2] if found else ""

    def path(self) -> str:
        return self.workload.get(*KUSTOMIZATION, FLUX, FLUX)["spec"]["path"]

    def is_at(self, version: str) -> bool:
        return self.image() == image_of(version) and self.applied().get("flux.version") == version

    def delete_and_await_restore(self, version: str) -> None:
        """Deletes a component; the operator restores it at that version."""
        self.workload.delete("apps/v1", "Deployment", CONTROLLER, FLUX)
        until(lambda: self.image() == image_of(version), 40, f"the controller at {version}")

    def assert_stays_at(self, version: str) -> None:
        stays(lambda: self.image() == image_of(version) and self.applied()["flux.version"] == version, QUIET_SECONDS, version)


def image_of(version: str) -> str:
    found = next(i for i in components(version) if (i["kind"], i["metadata"]["name"]) == ("Deployment", CONTROLLER))
    return found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]


@pytest.fixture(scope="module")
def on():
    with environment(flux=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def agent(on):
    created = Agent(on)
    created.operator = on.start("--drift-interval=2s")
    on.apply(created.item)
    return created


def test_first_installation_does_not_wait_for_a_window(agent):
    until(lambda: agent.is_at(OLDER), 60, "the agent")
    assert agent.gitops()["bundledVersion"] == NEWER
    assert agent.upgrade_status() == {}


def test_outside_a_window_the_upgrade_waits_and_status_reports_the_next_window(on, agent):
    """The spec sets no version: as after an upgrade of Keelson that bundles a newer agent."""
    agent.set_version(None)
    until(agent.upgrade_status, 30, "the pending upgrade")
    upgrade = agent.upgrade_status()
    assert (upgrade["from"], upgrade["to"]) == (OLDER, NEWER)
    opens = datetime.datetime.fromisoformat(upgrade["nextWindow"])
    assert opens > datetime.datetime.now(datetime.timezone.utc)
    assert "bundled with this Keelson" in upgrade["message"] and opens.date().isoformat() in upgrade["message"]
    assert "startedAt" not in upgrade
    (step,) = [s for s in on.status(agent.item)["plan"]["steps"] if s["resource"] == "gitOpsAgent"]
    assert step["state"] == "Pending" and "maintenance window" in step["reason"]
    agent.assert_stays_at(OLDER)


def test_condition_reports_the_maintenance_window(on, agent):
    def reported() -> bool:
        return "maintenance window" in on.condition(agent.item, "GitOpsReady").get("message", "")

    until(reported, 20, "the condition")


def test_pending_upgrade_does_not_block_edits_or_repairs(agent):
    agent.edit(gitops={"flux": {"path": "clusters/second"}})
    until(lambda: agent.path() == "./clusters/second", 30, "the other path")
    agent.delete_and_await_restore(OLDER)
    until(lambda: agent.applied()["flux.path"] == "clusters/second", 20, "the record")
    assert agent.is_at(OLDER)


def test_restarted_operator_does_not_start_a_pending_upgrade(on, agent):
    agent.operator.kill()
    agent.operator.restart()
    on.await_ready(agent.operator)
    agent.assert_stays_at(OLDER)
    assert agent.upgrade_status()["to"] == NEWER


def test_observe_only_reports_the_upgrade(on, agent):
    agent.edit(changePolicy="Observe", upgrade={"windows": always_open()})
    until(lambda: "Observe" in agent.upgrade_status().get("message", ""), 30, "the pending upgrade")
    agent.assert_stays_at(OLDER)


def test_approval_policy_waits_even_in_an_open_window(on, agent):
    agent.edit(changePolicy="Approval")
    found = on.await_condition(agent.item, reason="WaitingForApproval", status="False", timeout=40)
    agent.hash = found["status"]["plan"]["hash"]
    (step,) = [s for s in found["status"]["plan"]["steps"] if s["resource"] == "gitOpsAgent"]
    assert OLDER in step["detail"] and NEWER in step["detail"]
    until(lambda: "approval" in agent.upgrade_status().get("message", ""), 20, "the pending upgrade")
    # The approved version is still maintained.
    agent.delete_and_await_restore(OLDER)
    agent.assert_stays_at(OLDER)


def test_approved_upgrade_runs_in_an_open_window(on, agent):
    hash_ = on.status(agent.item)["plan"]["hash"]
    on.api.patch(*key_of(agent.item)[:3], {"metadata": {"annotations": {APPROVE: hash_}}})
    until(lambda: agent.is_at(NEWER), 60, "the newer agent")
    until(lambda: not agent.upgrade_status(), 20, "no pending upgrade")
    agent.edit(changePolicy="Automatic")


def test_lower_version_in_the_spec_is_applied_immediately(on, agent):
    agent.edit(upgrade={"windows": [far_window()]}, gitops={"flux": {"version": OLDER}})
    until(lambda: agent.is_at(OLDER), 60, "the older agent")


def test_higher_version_in_the_spec_waits_for_its_window(on, agent):
    agent.set_version(NEWER)
    until(lambda: "requested by the spec" in agent.upgrade_status().get("message", ""), 30, "the pending upgrade")
    agent.assert_stays_at(OLDER)
    agent.edit(upgrade={"windows": always_open()})
    until(lambda: agent.is_at(NEWER), 60, "the newer agent")
    until(lambda: not agent.upgrade_status(), 20, "no pending upgrade")
    assert conditions(on.api.get(*key_of(agent.item)))["InSync"]["status"] == "True"


def test_recovered_cluster_keeps_its_agent_until_the_window(on, agent):
    """The record of what was applied is lost with the object; the new one names no version."""
    agent.set_version(OLDER)
    until(lambda: agent.is_at(OLDER), 60, "the older version")
    agent.operator.stop()
    gitops = flux("https://git.example.com/fleet", "clusters/first")
    item = cluster("agent", addons=[{"name": "vpc-cni"}], upgrade={"windows": [far_window()]}, gitops=gitops)
    (old,) = restore.lose(on, agent.item)
    restore.from_git(on, item)
    restore.annotate(on, item, old)
    agent.item = item
    with on.operator("--drift-interval=2s"):
        until(lambda: on.status(item).get("recovery"), 60, "the recovery")
        until(agent.upgrade_status, 60, "the pending upgrade")
        assert agent.upgrade_status()["from"] == OLDER and "window" in agent.upgrade_status()["message"]
        agent.assert_stays_at(OLDER)
