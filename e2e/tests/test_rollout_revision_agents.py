"""FleetRollouts with the gate Revision, where the revision is a commit in Argo CD, and an artifact's digest in Flux.

Each cluster has an API server of its own, with the real Argo CD or the real source-controller.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.agent_rings import PATH, Applications, Artifacts, Followers, greeting
from fleet.environment import environment, stays, until
from keelson_harness.aws import Durations
from keelson_harness.paths import tools
from keelson_harness.registry import Registry

DURATIONS = Durations(1, 1, 0.5, 0.8, 0.2, 0.5)
# A fetch, a sync, and a busy machine.
SECONDS = 90
# Argo CD skips files that do not look like a manifest: the API server rejects this one.
BROKEN = {f"{PATH}/lost.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost, namespace: nowhere}\n"}


@pytest.fixture(scope="module")
def with_argocd():
    with environment(workload_each=True, flux=False, argocd=True, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module")
def with_registry():
    with environment(workload_each=True, git=False, durations=DURATIONS) as started:
        running = Registry(tools("registry")["registry"], started.cloud.directory / "registry")
        running.wait_ready()
        try:
            yield started, running
        finally:
            running.stop()


def reaches_the_second_wave(fleet: Followers, held: object, release: Callable[[str], object], text: str) -> None:
    """`release` publishes a revision, which the canary gets first; `held`: where the second wave stays meanwhile."""
    fleet.edit(fleet.rollout, suspend=True)
    release(text)
    until(lambda: fleet.text(fleet.canary) == text, SECONDS, "the canary's sync")
    stays(lambda: fleet.reference(fleet.prod) == held and fleet.text(fleet.prod) != text, 4, "the second wave, which is not its turn")
    fleet.edit(fleet.rollout, suspend=False)
    until(lambda: fleet.text(fleet.prod) == text, SECONDS, "the sync of the second wave")


def test_argo_cd_is_held_at_a_commit_and_moves_on_by_ticket(with_argocd):
    fleet = Applications(with_argocd, "applications")
    with with_argocd.operator("--drift-interval=5s", account=fleet.account.id):
        fleet.make()
        until(lambda: fleet.reference(fleet.prod) == fleet.first, SECONDS, "the held source")
        assert fleet.reference(fleet.canary) == "refs/heads/main", "the first wave follows the branch"
        reaches_the_second_wave(fleet, fleet.first, lambda text: fleet.repository.commit(greeting(text)), "second")
        release = fleet.await_state("Completed", SECONDS)
        assert fleet.reference(fleet.prod) == release["revision"] and release["gate"] == "Revision", release
        # A commit that cannot be applied stays in the first wave, until another one mends it.
        before = fleet.reference(fleet.prod)
        fleet.repository.commit(BROKEN)
        until(lambda: with_argocd.condition(fleet.canary, "GitOpsReady").get("reason") == "SyncFailed", SECONDS, "the failing sync")
        stays(lambda: fleet.reference(fleet.prod) == before, 4, "the second wave")
        fleet.repository.commit(greeting("third"), delete=tuple(BROKEN))
        until(lambda: fleet.text(fleet.prod) == "third", SECONDS, "the sync of the second wave")
    fleet.go_away()


def test_artifact_is_held_at_its_digest_and_moves_on_by_ticket(with_registry):
    on, registry = with_registry
    fleet = Artifacts(on, registry)
    with on.operator("--drift-interval=5s", account=fleet.account.id):
        fleet.make()
        until(lambda: fleet.reference(fleet.prod).get("digest") == fleet.first, SECONDS, "the held source")
        held = fleet.reference(fleet.prod)
        assert fleet.reference(fleet.canary) == {"tag": "prod"}, "the first wave follows the tag"
        pushed = []
        reaches_the_second_wave(fleet, held, lambda text: pushed.append(fleet.push(text)), "second")
        assert fleet.reference(fleet.prod)["digest"] == pushed[0]
        release = fleet.await_state("Completed", SECONDS)
        assert release["revision"].endswith(pushed[0]) and release["source"] == registry.url("revisions"), release
    fleet.go_away()
