"""Nine clusters in three waves, upgraded by one commit that Flux applies: what AWS, the API server's audit log and Flux say of it."""

from __future__ import annotations

from datetime import datetime

import pytest
import yaml

from fleet.environment import Environment, environment, until
from fleet.manifests import key_of
from fleet.rings import GOAL, Rings
from keelson_harness.aws import Durations

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


def test_one_commit_upgrades_nine_clusters_wave_by_wave_and_nobody_else_writes_a_spec(on):
    fleet = Rings(on, NINE, WAVES)
    repository = on.cloud.git.repository("fleet")
    with on.operator(account=fleet.account.id):
        repository.commit(manifests(fleet))
        on.cloud.bootstrap(repository, "management", "1s")
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
