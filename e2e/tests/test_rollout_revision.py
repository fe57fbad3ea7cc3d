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
    created = Sources(on, prod=2)
    with on.operator("--drift-interval=5s", account=created.account.id):
        # The third joins later.
        on.apply(created.rollout, created.canary, created.prod)
        on.ready(created.canary, created.prod)
        yield created
        created.go_away()


def test_later_waves_are_held_at_what_they_run(fleet):
    until(lambda: fleet.reference(fleet.prod) == {"branch": "main", "commit": fleet.first}, SECONDS, "the held source")
    assert fleet.reference(fleet.canary) == {"branch": "main"}, "the first wave follows the branch"
    until(lambda: fleet.held(fleet.prod).get("allowed") == f"main@sha1:{fleet.first}", 20, "what status says")
    assert "is the first one with this source" in fleet.held(fleet.canary)["message"]
    # It is still ready: the source that is held reports the same revision.
    fleet.on.ready(fleet.canary, fleet.prod)


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


def test_new_cluster_begins_with_the_newest_good_revision_and_not_with_one_that_fails(on, fleet):
    good = fleet.reference(fleet.prod)["commit"]
    fleet.repository.commit(BROKEN)
    until(lambda: on.condition(fleet.canary, "GitOpsReady").get("reason") == "SyncFailed", SECONDS, "the failing sync")
    late = fleet.rings["prod"][1]
    on.apply(late)
    on.ready(late)
    assert fleet.reference(late) == {"branch": "main", "commit": good} and fleet.text(late) == "third"
    fleet.repository.commit(greeting("mended"), delete=tuple(BROKEN))
    until(lambda: {fleet.text(item) for item in fleet.clusters} == {"mended"}, 2 * SECONDS, "the sync of all")


def test_waves_stay_where_they_are_when_nobody_leads(fleet):
    second = fleet.rings["prod"]
    before = [fleet.reference(item) for item in second]
    fleet.label(fleet.canary, fleet=None)
    text = "no cluster of a wave before prod has this source any more"
    until(lambda: all(text in fleet.held(item).get("message", "") for item in second), SECONDS, "what status says")
    fleet.repository.commit(greeting("without a leader"))
    until(lambda: fleet.text(fleet.canary) == "without a leader", SECONDS, "the sync of the cluster that is in no wave any more")
    stays(lambda: [fleet.reference(item) for item in second] == before, 4, "the sources of the second wave")
    fleet.label(fleet.canary, fleet=fleet.name)
    until(lambda: {fleet.text(item) for item in fleet.clusters} == {"without a leader"}, 2 * SECONDS, "the sync of all")


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
    until(lambda: {fleet.text(item) for item in fleet.clusters} == {"fourth"}, SECONDS, "the sync of all")
