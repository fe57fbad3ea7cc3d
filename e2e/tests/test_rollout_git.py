"""Nine clusters in three waves, upgraded by one commit that Flux applies: what AWS, the API server's audit log and Flux say of it."""

from __future__ import annotations

from datetime import datetime

import pytest
import yaml

from fleet import API
from fleet.environment import Environment, environment, until
from fleet.manifests import key_of
from fleet.page_examples import page_examples
from fleet.rings import GOAL, Rings
from keelson_harness.aws import Durations
from keelson_harness.git import Repository
from keelson_harness.kubeapi import conditions

NINE = {"canary": 3, "early": 3, "prod": 3}
WAVES = {"canary": {"maxConcurrent": 2, "soak": "2s"}, "early": {"maxConcurrent": 2}, "prod": {"maxConcurrent": "70%"}}
OPERATOR = "system:serviceaccount:keelson-system:keelson"
FLUX = "system:serviceaccount:flux-system:kustomize-controller"
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "flux-system")
SECONDS = 120


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, management_pods=True, audit=True, durations=Durations(1, 1.5, 0.5, 0.8, 0.2, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def repository(on: Environment) -> Repository:
    """That of the management cluster, which Flux syncs."""
    found = on.cloud.git.repository("fleet")
    on.cloud.bootstrap(found, "management", "1s")
    return found


def manifests(fleet: Rings) -> dict[str, str]:
    return {"management/fleet.yaml": yaml.safe_dump_all([fleet.rollout, *fleet.clusters])}


def writes_of_specs(on: Environment) -> list[tuple[str, str]]:
    """Who wrote a spec of Keelson's objects, and of which one."""
    return [(event["user"]["username"], event["objectRef"].get("name", "")) for event in on.cloud.management.audit_log() if writes_spec(event)]


def writes_spec(event: dict) -> bool:
    if event["objectRef"].get("subresource") or event["verb"] == "delete" or event["responseStatus"]["code"] >= 400:
        return False
    body = event.get("requestObject") or {}
    if isinstance(body, list):
        return any(operation["path"].startswith("/spec") for operation in body)
    return "spec" in body


def is_dry_run(event: dict) -> bool:
    return "dryRun=" in event["requestURI"]


def test_one_commit_upgrades_nine_clusters_wave_by_wave_and_nobody_else_writes_a_spec(on, repository):
    fleet = Rings(on, NINE, WAVES)
    with on.operator(account=fleet.account.id):
        repository.commit(manifests(fleet))
        until(lambda: all(on.api.find(*key_of(item)) for item in fleet.clusters), SECONDS, "the clusters' objects")
        on.ready(*fleet.clusters)
        mark = on.mark()
        for item in fleet.clusters:
            item["spec"]["version"] = GOAL
        commit = repository.commit(manifests(fleet), message="Upgrade all clusters")
        until(fleet.has_arrived, SECONDS, "all versions")
        release = fleet.await_state("Completed")
        assert (release["target"], release["progress"]) == (GOAL, "9/9")

        # The call log.
        fleet.assert_each_was_updated_once(mark)
        fleet.assert_waves_followed_one_another(mark)
        passed = {wave["name"]: datetime.fromisoformat(wave["passedAt"]) for wave in release["waves"]}
        updates = [call for call in on.writes(mark, fleet.account.id) if call["action"] == "UpdateClusterVersion"]
        order = list(NINE)
        for call in updates:
            ring = call["resource"].split("/")[-1].removeprefix(f"{fleet.name}-").rpartition("-")[0]
            before = order[: order.index(ring)]
            assert all(datetime.fromisoformat(call["time"]) >= passed[name] for name in before), (call, passed)

        # The audit log.
        wrote = {user for user, _ in writes_of_specs(on)}
        assert wrote == {FLUX}, wrote
        by_operator = [event for event in on.cloud.management.audit_log() if event["user"]["username"] == OPERATOR]
        assert [event for event in by_operator if event["objectRef"].get("subresource") == "status"], "the operator's writes are in the log"

        # Flux compares everything once more, and finds nothing to correct.
        requested = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "after-the-upgrade"}}}
        version, kind, name, namespace = KUSTOMIZATION
        corrected = len([event for event in on.cloud.management.audit_log() if writes_spec(event) and not is_dry_run(event)])
        on.api.patch(version, kind, name, requested, namespace)
        handled = lambda: on.api.get(*KUSTOMIZATION)["status"]  # noqa: E731
        until(lambda: handled().get("lastHandledReconcileAt") == "after-the-upgrade", SECONDS, "Flux's next comparison")
        assert handled()["lastAppliedRevision"].endswith(commit)
        assert len([event for event in on.cloud.management.audit_log() if writes_spec(event) and not is_dry_run(event)]) == corrected
        generations = {on.api.get(*key_of(item))["metadata"]["generation"] for item in fleet.clusters}
        assert generations == {2}, "created, and raised by the commit"


def test_kustomization_of_the_page_fails_while_a_rollout_has_halted_and_not_while_one_is_in_progress(on, repository):
    """The example of how-to/notifications.md, by a real kustomize-controller. The test writes the status that the operator would write."""
    spec = {"clusterSelector": {"matchLabels": {"fleet": "nobody"}}, "waves": [{"name": "canary"}]}
    rollout = {"apiVersion": API, "kind": "FleetRollout", "metadata": {"name": "main"}, "spec": spec}
    repository.commit({"fleet/rollout.yaml": yaml.safe_dump(rollout)})
    (example,) = [item for item in page_examples("how-to/notifications.md") if item["kind"] == KUSTOMIZATION[1]]
    of_example = (*KUSTOMIZATION[:2], example["metadata"]["name"], example["metadata"]["namespace"])
    example["spec"] |= {"interval": "2s", "timeout": "10s"}

    def report(ready: str, stalled: str, reason: str) -> None:
        at = {"lastTransitionTime": "2026-11-28T10:00:00Z", "observedGeneration": 1, "message": f"control planes to {GOAL} (1/3)", "reason": reason}
        found = [{"type": kind, "status": status, **at} for kind, status in {"Ready": ready, "Stalled": stalled}.items()]
        on.api.patch(API, "FleetRollout", "main", {"status": {"observedGeneration": 1, "conditions": found}}, subresource="status")

    def await_ready(status: str) -> dict:
        holds = lambda item: conditions(item).get("Ready", {}).get("status") == status  # noqa: E731
        return conditions(on.api.wait(*of_example[:3], holds, of_example[3], SECONDS, f"a Kustomization that is Ready: {status}"))["Ready"]

    on.api.apply_all([example])
    until(lambda: on.api.find(API, "FleetRollout", "main"), SECONDS, "the FleetRollout, which Flux applies")
    report("True", "False", "Available")
    await_ready("True")
    # An upgrade that lasts for days is no failure.
    report("False", "False", "Upgrading")
    handled = lambda: on.api.get(*of_example)["metadata"]["resourceVersion"]  # noqa: E731
    before = handled()
    until(lambda: handled() != before, SECONDS, "the next health check")
    await_ready("True")
    for reason in ("WaveHalted", "WaitingForApproval", "UpgradeBlocked"):
        report("False", "True", reason)
        ready = await_ready("False")
        assert ready["reason"] == "HealthCheckFailed" and "FleetRollout/main" in ready["message"], ready
        report("False", "False", "Upgrading")
        await_ready("True")
