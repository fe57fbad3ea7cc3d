"""FleetRollouts whose clusters change in the middle: added, deleted; and a rollout that is deleted in the middle of a step."""

from __future__ import annotations

import pytest

from fleet import API
from fleet.environment import Environment, environment, stays, until
from fleet.manifests import key_of
from fleet.rings import GOAL, START, Rings
from keelson_harness.aws import Durations

# Long enough that something can happen in the middle of an update.
UPDATE_SECONDS = 4


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, UPDATE_SECONDS, 0.5, 0.8, 0.2, 0.5)) as started:
        yield started


def reason(on: Environment, item: dict) -> tuple[str, str]:
    ready = on.condition(item)
    return ready.get("reason", ""), ready.get("message", "")


def is_updating(fleet: Rings, item: dict) -> bool:
    return fleet.account.eks.describe_cluster(name=item["metadata"]["name"])["cluster"]["status"] == "UPDATING"


def test_approval_is_refused_after_another_cluster_has_joined(on):
    fleet = Rings(on, {"canary": 1, "prod": 2}, {"prod": {"approval": "Required", "maxConcurrent": 2}})
    (canary,), (first, joins) = fleet.rings.values()
    with on.operator(account=fleet.account.id):
        on.apply(fleet.rollout, canary, first)
        on.ready(canary, first)
        fleet.upgrade(canary, first)
        code = fleet.await_state("WaitingForApproval", 60)["waves"][1]["approvalHash"]
        on.apply(joins)
        on.ready(joins)
        fleet.upgrade(joins)
        of_both = until(lambda: {fleet.release()["waves"][1].get("approvalHash")} - {code, None}, 30, "a hash of both").pop()
        fleet.annotate(approve=code)
        stays(lambda: fleet.rings_of_updates() == ["canary"] and fleet.release()["state"] == "WaitingForApproval", 3, "the approval of one cluster alone")
        fleet.annotate(approve=of_both)
        until(fleet.has_arrived, 60, "all versions")
    fleet.go_away()


def test_cluster_that_is_added_to_an_earlier_wave_closes_the_later_ones_until_it_has_the_version(on):
    fleet = Rings(on, {"canary": 2, "prod": 1}, {"prod": {"approval": "Required"}})
    (canary, late), (prod,) = fleet.rings.values()
    with on.operator(account=fleet.account.id):
        on.apply(fleet.rollout, canary, prod)
        on.ready(canary, prod)
        fleet.upgrade(canary, prod)
        code = fleet.await_state("WaitingForApproval", 60)["waves"][1]["approvalHash"]
        # It is created at the older version.
        on.apply(late)
        on.ready(late)
        until(lambda: f"default/{late['metadata']['name']}: its spec.version is {START}" in fleet.release().get("message", ""), 30, "what it waits for")
        fleet.annotate(approve=code)
        stays(lambda: fleet.version(prod) == START, 3, "the second wave, which is closed again")
        fleet.upgrade(late)
        until(fleet.has_arrived, 90, "all versions")
        assert fleet.rings_of_updates() == ["canary", "canary", "prod"]
    fleet.go_away()


def test_cluster_that_is_deleted_in_the_middle_of_its_step_gives_its_slot_back(on):
    fleet = Rings(on, {"canary": 2, "prod": 1}, {"canary": {"maxConcurrent": 1}})
    with on.operator(account=fleet.account.id):
        fleet.make()
        mark = on.mark()
        fleet.upgrade()
        until(lambda: fleet.updates(mark), 30, "the first update")
        begun = fleet.updates(mark)[0]
        (deleted,) = [item for item in fleet.clusters if item["metadata"]["name"] == begun]
        left = [item for item in fleet.clusters if item is not deleted]
        on.delete(deleted, timeout=90)
        until(lambda: fleet.has_arrived(*left), 90, "the versions of those that are left")
        release = fleet.await_state("Completed")
        assert release["progress"] == "2/2", release
        until(lambda: not fleet.release().get("tickets"), 20, "all tickets are returned")
    fleet.go_away()


def test_rollout_that_is_deleted_in_the_middle_lets_what_has_begun_finish_and_nothing_begin(on):
    fleet = Rings(on, {"canary": 1, "prod": 2})
    canary, prod = fleet.rings["canary"][0], fleet.rings["prod"]
    with on.operator(account=fleet.account.id) as operator:
        fleet.make()
        for item in fleet.clusters:
            fleet.edit(item, upgrade={"rollout": fleet.name})
        fleet.upgrade()
        until(lambda: is_updating(fleet, canary), 30, "the canary's update")
        on.api.delete(API, "FleetRollout", fleet.name)
        until(lambda: fleet.version(canary) == GOAL and not is_updating(fleet, canary), 30, "the end of what had begun")
        until(lambda: reason(on, prod[0])[0] == "UpgradeBlocked", 20, "a block by a missing rollout")
        assert f"FleetRollout {fleet.name}, which spec.upgrade.rollout names, does not exist" in reason(on, prod[0])[1]
        # Also after a restart, which knows nothing of it.
        operator.kill()
        operator.restart()
        on.await_ready(operator)
        stays(lambda: [fleet.version(item) for item in prod] == [START, START], 4, "the versions of the next wave")
        on.apply(fleet.rollout)
        until(fleet.has_arrived, 90, "all versions")
        assert sorted(fleet.updates()) == sorted(item["metadata"]["name"] for item in fleet.clusters), "each once"
    fleet.go_away()


def test_ticket_of_a_rollout_that_was_created_again_counts(on):
    """It has forgotten its tickets, and the cluster in the middle of its step still takes a slot."""
    fleet = Rings(on, {"prod": 2}, {"prod": {"maxConcurrent": 1}})
    with on.operator(account=fleet.account.id):
        fleet.make()
        mark = on.mark()
        fleet.upgrade()
        until(lambda: fleet.updates(mark), 30, "the first update")
        begun = fleet.updates(mark)[0]
        for item in fleet.clusters:
            fleet.edit(item, upgrade={"rollout": fleet.name})
        on.api.delete(API, "FleetRollout", fleet.name)
        on.apply(fleet.rollout)
        (other,) = [item for item in fleet.clusters if item["metadata"]["name"] != begun]
        (first,) = [item for item in fleet.clusters if item is not other]
        stays(lambda: fleet.version(first) == GOAL or fleet.updates(mark) == [begun], UPDATE_SECONDS, "one at a time")
        until(fleet.has_arrived, 60, "all versions")
        (ended, _), (_, began) = fleet_period(fleet, first), fleet_period(fleet, other)
        assert ended <= began, "maxConcurrent is 1"
    fleet.go_away()


def fleet_period(fleet: Rings, item: dict) -> tuple:
    """When the update of a cluster had ended, and when it began."""
    names = [one["metadata"]["name"] for one in fleet.rings["prod"]]
    began, ended = fleet.periods()["prod"][names.index(item["metadata"]["name"])]
    return ended, began


def approve(on: Environment, item: dict) -> None:
    on.await_condition(item, status="False", reason="WaitingForApproval", timeout=30)
    version, kind, name, namespace = key_of(item)
    annotations = {"keelson.dev/approve": on.status(item)["plan"]["hash"]}
    on.api.patch(version, kind, name, {"metadata": {"annotations": annotations}}, namespace)


def test_approved_add_on_of_a_gated_step_does_not_begin_while_the_rollout_has_halted(on):
    """Another add-on of the step has a new version, which nobody has approved yet."""
    names = ["vpc-cni", "eks-pod-identity-agent"]
    fleet = Rings(on, {"canary": 1, "prod": 1}, each={"addons": [{"name": name} for name in names]}, gates=["ControlPlane"])
    (canary,), (prod,) = fleet.rings.values()
    name = prod["metadata"]["name"]

    def publish(addon: str, version: str, *minors: str) -> None:
        on.aws.publish(account=fleet.account.id, addon=addon, addonVersion=version, kubernetesVersions=list(minors), default=True)

    for addon in names:
        # It must be updated before the control plane.
        publish(addon, "v1.1.0-eksbuild.1", START)
    match = {"account": fleet.account.id, "action": "UpdateClusterVersion", "resource": f"*{canary['metadata']['name']}"}
    fault = on.aws.add_fault(match, {"health_issue": {"code": "Unknown", "message": "an internal failure"}})
    with on.operator(account=fleet.account.id):
        fleet.make()
        fleet.upgrade(canary)
        fleet.await_state("Halted", 90)
        mark = on.mark()

        def writes() -> list[str]:
            calls = on.writes(mark, fleet.account.id)
            return [call["action"] for call in calls if name in call["resource"] and call["action"].startswith("Update") and call["status"] < 400]

        fleet.edit(prod, changePolicy="Approval")
        fleet.upgrade(prod)
        approve(on, prod)
        until(lambda: reason(on, prod)[0] == "WaveHalted", 20, "WaveHalted")
        publish(names[1], "v1.9.0-eksbuild.1", START, GOAL)
        # What EKS installs at the older version stays as it is.
        publish(names[1], "v1.1.0-eksbuild.1", START)
        on.reconcile(prod)
        until(lambda: "v1.9.0-eksbuild.1" in str(on.status(prod)), 20, "the new version in its plan")
        stays(lambda: writes() == [], 4, "no write while the rollout has halted")
        on.aws.control("DELETE", "faults", params={"id": fault})
        on.reconcile(canary)
        until(lambda: fleet.has_arrived(canary), 60, "the canary's version")
        fleet.annotate(retry=f"{GOAL}/1")
        # The one that is approved is updated with its turn; then a person is asked.
        until(lambda: writes() == ["UpdateAddon"], 60, "the approved update")
        approve(on, prod)
        until(lambda: fleet.has_arrived(prod), 60, "its version")
        assert writes() == ["UpdateAddon", "UpdateAddon", "UpdateClusterVersion"]
    fleet.go_away()
