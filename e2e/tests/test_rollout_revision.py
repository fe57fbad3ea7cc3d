"""FleetRollouts with the gate Revision: a commit reaches the clusters of a wave once the wave before has run it.

Each cluster has an API server of its own, with the real Flux. The tests build on each other, in file order.
"""

from __future__ import annotations

import pytest
import yaml

from fleet.agent_rings import PATH, Sources, greeting
from fleet.environment import environment, stays, until
from handover import FLUX, KUSTOMIZATION, SOURCE
from keelson_harness.aws import Durations

# A fetch, a sync, and a busy machine.
SECONDS = 60
BROKEN = {f"{PATH}/broken.yaml": "apiVersion: v1\nkind: [\n"}


@pytest.fixture(scope="module")
def on():
    with environment(workload_each=True, durations=Durations(1, 1, 0.5, 0.8, 0.2, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def fleet(on):
    created = Sources(on)
    with on.operator("--drift-interval=5s", account=created.account.id):
        created.make()
        yield created
        created.go_away()


def test_later_waves_are_held_at_what_they_run(fleet):
    until(lambda: fleet.reference(fleet.prod) == {"branch": "main", "commit": fleet.first}, SECONDS, "the held source")
    assert fleet.reference(fleet.canary) == {"branch": "main"}, "the first wave follows the branch"
    until(lambda: fleet.held(fleet.prod).get("allowed") == f"main@sha1:{fleet.first}", 20, "what status says")
    assert "is the first one with this source" in fleet.held(fleet.canary)["message"]
    # It is still ready: the source that is held reports the same revision.
    fleet.on.ready(*fleet.clusters)


def test_commit_reaches_the_second_wave_once_the_first_has_run_it(fleet):
    commit = fleet.repository.commit(greeting("second"))
    until(lambda: fleet.text(fleet.canary) == "second", SECONDS, "the canary's sync")
    assert fleet.text(fleet.prod) == "first", "the canary soaks"
    until(lambda: fleet.text(fleet.prod) == "second", SECONDS, "the sync of the second wave")
    assert fleet.reference(fleet.prod) == {"branch": "main", "commit": commit}
    release = fleet.await_state("Completed", SECONDS)
    assert (release["gate"], release["revision"], release["source"]) == ("Revision", f"main@sha1:{commit}", fleet.repository.url)
    assert release["target"].startswith(commit[:12]) and release["progress"] == "2/2"
    until(lambda: not fleet.release().get("tickets"), 20, "the ticket is returned")
    assert set(fleet.on.status(fleet.prod)["upgrade"]["revisionWave"]) == {"released", "term"}


def test_commit_that_fails_in_the_first_wave_stays_there_until_another_one_mends_it(fleet):
    before = fleet.reference(fleet.prod)
    broken = fleet.repository.commit(BROKEN)
    until(lambda: fleet.on.condition(fleet.canary, "GitOpsReady").get("reason") == "SyncFailed", SECONDS, "the failing sync")
    until(lambda: fleet.held(fleet.prod).get("wanted") == f"main@sha1:{broken}", 20, "what status says")
    until(lambda: f"main@sha1:{broken} is held back" in fleet.message(fleet.prod), 20, "the condition")
    stays(lambda: fleet.reference(fleet.prod) == before, 4, "the source of the second wave")
    fleet.repository.commit(greeting("third"), delete=tuple(BROKEN))
    until(lambda: fleet.text(fleet.prod) == "third", SECONDS, "the sync of the second wave")
    assert fleet.text(fleet.canary) == "third"


def test_restarted_operator_keeps_what_is_held(on, fleet):
    before = fleet.reference(fleet.prod)
    (operator,) = [controller for controller in on.cloud.controllers if controller.alive]
    generation = fleet.workload(fleet.prod).get(*SOURCE, FLUX, FLUX)["metadata"]["generation"]
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    stays(lambda: fleet.reference(fleet.prod) == before, 4, "the source")
    assert fleet.workload(fleet.prod).get(*SOURCE, FLUX, FLUX)["metadata"]["generation"] == generation, "it was not written in between"


def test_source_that_git_adopts_is_not_held(fleet):
    """The source is pinned when Git adopts it: then Git's definition counts."""
    meta = {"name": FLUX, "namespace": FLUX}
    source = {"apiVersion": SOURCE[0], "kind": SOURCE[1], "metadata": meta, "spec": {"interval": "1s", "ref": {"branch": "main"}, "url": fleet.repository.url}}
    root = {
        "apiVersion": KUSTOMIZATION[0],
        "kind": KUSTOMIZATION[1],
        "metadata": meta,
        "spec": {"interval": "5s", "path": f"./{PATH}", "prune": True, "sourceRef": {"kind": SOURCE[1], "name": FLUX}},
    }
    fleet.repository.commit({f"{PATH}/sync.yaml": yaml.safe_dump_all([source, root])})
    for item in fleet.clusters:
        until(lambda item=item: fleet.on.status(item)["gitops"].get("sourceAdopted"), SECONDS, "the adoption")
        until(lambda item=item: fleet.reference(item) == {"branch": "main"}, 30, "Git's definition")
        until(lambda item=item: not fleet.held(item), 20, "no hold")
    fleet.repository.commit(greeting("fourth"))
    until(lambda: [fleet.text(item) for item in fleet.clusters] == ["fourth", "fourth"], SECONDS, "the sync of both")
