"""Another version of the GitOps agent begins in a maintenance window, and after its approval. Until then the agent is kept up as it is.

One story, in the order of the tests. Flux's controllers only look alive: what is applied is all that is asked about.
"""

from __future__ import annotations

import datetime

import pytest

from fleet.manifests import cluster, flux, key_of
from fleet.shop import APPROVE
from fleet.environment import environment, stays, until
from fleet.upgrading import far_window
from handover import FLUX, KUSTOMIZATION, NEWER, OLDER, components
from keelson_harness.kubeapi import conditions

# What would be written by then is written.
A_MOMENT = 4
CONTROLLER = "source-controller"


def opened() -> list[dict]:
    """Each day, for longer than a day."""
    return [{"schedule": "0 0 * * *", "duration": "36h"}]


class Story:
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

    def name_version(self, version: str | None) -> None:
        self.edit(gitops={"flux": {"version": version}})

    def gitops(self) -> dict:
        return self.on.status(self.item).get("gitops", {})

    def upgrade(self) -> dict:
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

    def put_back(self, version: str) -> None:
        """A part that somebody deletes comes back, at that version."""
        self.workload.delete("apps/v1", "Deployment", CONTROLLER, FLUX)
        until(lambda: self.image() == image_of(version), 40, f"the controller at {version}")

    def stays_at(self, version: str) -> None:
        stays(lambda: self.image() == image_of(version) and self.applied()["flux.version"] == version, A_MOMENT, version)


def image_of(version: str) -> str:
    found = next(i for i in components(version) if (i["kind"], i["metadata"]["name"]) == ("Deployment", CONTROLLER))
    return found["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]


@pytest.fixture(scope="module")
def on():
    with environment(flux=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def story(on):
    told = Story(on)
    told.operator = on.start("--drift-interval=2s")
    on.apply(told.item)
    return told


def test_a_first_installation_waits_for_no_window(story):
    until(lambda: story.is_at(OLDER), 60, "the agent")
    assert story.gitops()["bundledVersion"] == NEWER
    assert story.upgrade() == {}


def test_outside_a_window_the_agent_stays_and_status_says_until_when(on, story):
    """As after a Keelson that brought the older one: the spec names none."""
    story.name_version(None)
    until(story.upgrade, 30, "what waits")
    upgrade = story.upgrade()
    assert (upgrade["from"], upgrade["to"]) == (OLDER, NEWER)
    opens = datetime.datetime.fromisoformat(upgrade["nextWindow"])
    assert opens > datetime.datetime.now(datetime.timezone.utc)
    assert "this Keelson brings" in upgrade["message"] and opens.date().isoformat() in upgrade["message"]
    assert "startedAt" not in upgrade
    (step,) = [s for s in on.status(story.item)["plan"]["steps"] if s["resource"] == "gitOpsAgent"]
    assert step["state"] == "Pending" and "maintenance window" in step["reason"]
    story.stays_at(OLDER)


def test_it_says_so_in_the_condition_too(on, story):
    def told() -> bool:
        return "maintenance window" in on.condition(story.item, "GitOpsReady").get("message", "")

    until(told, 20, "the condition")


def test_meanwhile_edits_go_on_and_what_is_deleted_comes_back_as_it_was(story):
    story.edit(gitops={"flux": {"path": "clusters/second"}})
    until(lambda: story.path() == "./clusters/second", 30, "the other path")
    story.put_back(OLDER)
    until(lambda: story.applied()["flux.path"] == "clusters/second", 20, "the record")
    assert story.is_at(OLDER)


def test_an_operator_that_is_killed_and_replaced_begins_nothing(on, story):
    story.operator.kill()
    story.operator.restart()
    on.await_ready(story.operator)
    story.stays_at(OLDER)
    assert story.upgrade()["to"] == NEWER


def test_with_observe_it_is_only_shown(on, story):
    story.edit(changePolicy="Observe", upgrade={"windows": opened()})
    until(lambda: "Observe" in story.upgrade().get("message", ""), 30, "what waits")
    story.stays_at(OLDER)


def test_with_approval_it_waits_though_a_window_is_open(on, story):
    story.edit(changePolicy="Approval")
    found = on.await_condition(story.item, reason="WaitingForApproval", status="False", timeout=40)
    story.hash = found["status"]["plan"]["hash"]
    (step,) = [s for s in found["status"]["plan"]["steps"] if s["resource"] == "gitOpsAgent"]
    assert OLDER in step["detail"] and NEWER in step["detail"]
    until(lambda: "approval" in story.upgrade().get("message", ""), 20, "what waits")
    # It is kept up as it was approved.
    story.put_back(OLDER)
    story.stays_at(OLDER)


def test_once_it_is_approved_and_a_window_is_open_it_is_upgraded(on, story):
    hash_ = on.status(story.item)["plan"]["hash"]
    on.api.patch(*key_of(story.item)[:3], {"metadata": {"annotations": {APPROVE: hash_}}})
    until(lambda: story.is_at(NEWER), 60, "the newer agent")
    until(lambda: not story.upgrade(), 20, "that nothing waits")
    story.edit(changePolicy="Automatic")


def test_a_lower_version_that_the_spec_names_waits_for_nothing(on, story):
    story.edit(upgrade={"windows": [far_window()]}, gitops={"flux": {"version": OLDER}})
    until(lambda: story.is_at(OLDER), 60, "the older agent")


def test_a_higher_version_that_the_spec_names_waits_for_its_window_and_goes_in_it(on, story):
    story.name_version(NEWER)
    until(lambda: "the spec names" in story.upgrade().get("message", ""), 30, "what waits")
    story.stays_at(OLDER)
    story.edit(upgrade={"windows": opened()})
    until(lambda: story.is_at(NEWER), 60, "the newer agent")
    until(lambda: not story.upgrade(), 20, "that nothing waits")
    assert conditions(on.api.get(*key_of(story.item)))["InSync"]["status"] == "True"
