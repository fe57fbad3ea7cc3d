"""Many edits cost few writes; a name that is taken costs none; the same failure is written once."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.account import OWNER, Account, fresh_account
from fleet.manifests import cluster, flux, key_of, node_group
from fleet.environment import Environment, actions, environment, until
from fleet.upgrading import reach
from keelson_harness.kubeapi import conditions

EDITS = 400


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start("--drift-interval=10s")


@pytest.fixture
def tenant(on, operator, request):
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    found = on.account(fresh_account())
    on.apply(*reach(on, found, name))
    return name, found


def edits(aws: Account) -> set[str | None]:
    """The value of the tag that is edited, of each role that was made for a cluster."""
    return {tags.get("edit") for tags in aws.roles().values() if OWNER in tags}


def of(name: str, **spec: object) -> dict:
    return {"accountRef": {"name": name}, "addons": [{"name": "vpc-cni"}], "oidcProvider": False, **spec}


def test_hundreds_of_edits_cost_a_handful_of_writes_and_events(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **of(name))
    on.apply(item)
    on.ready(item)
    mark, before = on.mark(), len(on.events(item))
    began = time.monotonic()

    def edit(number: int) -> None:
        on.api.patch(*key_of(item)[:3], {"spec": {"tags": {"edit": str(number)}}})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(edit, range(EDITS)))
    edit(EDITS)
    seconds = time.monotonic() - began
    until(
        lambda: edits(aws) == {str(EDITS)},
        40,
        "the last edit in AWS",
    )
    on.ready(item)
    writes = Counter(call["action"] for call in on.writes(mark, aws.id))
    reconciles = 4 + seconds / 5
    roles = sum(OWNER in tags for tags in aws.roles().values())
    assert writes["TagRole"] <= roles * reconciles, (seconds, writes)
    events = on.events(item)[before:]
    assert len(events) <= 25, Counter(event["reason"] for event in events)
    print(f"{EDITS} edits in {seconds:.0f} s: {sum(writes.values())} writes {dict(writes)}, {len(events)} events")


def test_an_edit_by_itself_is_carried_out_at_once(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **of(name))
    on.apply(item)
    on.ready(item)
    time.sleep(2)
    began = time.monotonic()
    on.api.patch(*key_of(item)[:3], {"spec": {"tags": {"edit": "one"}}})
    until(lambda: edits(aws) == {"one"}, 20, "the tag")
    assert time.monotonic() - began < 5


def test_of_two_clusters_of_one_name_the_later_is_told_before_it_pays_for_anything(on: Environment, tenant):
    name, aws = tenant
    before = aws.inventory()
    names = [f"{name}-{letter}" for letter in "ab"]
    items = [cluster(one, clusterName="shared-name", **of(name)) for one in names]
    on.apply(*items)

    def told() -> list[dict]:
        return [item for item in items if on.condition(item, "Stalled").get("reason") == "NotOwned"]

    until(told, 30, "the refusal of one")
    # Made in the same second, either may hold it.
    (second,) = told()
    (first,) = (item for item in items if item is not second)
    said = on.condition(second)["message"]
    assert first["metadata"]["name"] in said and "nothing was made" in said, said
    on.ready(first)
    counts = aws.counts()
    assert (counts["vpcs"], counts["natGateways"], counts["clusters"]) == (1, 1, 1), counts
    owner = on.api.get(*key_of(first))["metadata"]["uid"]
    assert {tags["keelson.dev/owner"] for tags in aws.tagged().values()} == {owner}
    assert not on.api.get(*key_of(second))["metadata"].get("finalizers")
    # The name is free again: nobody has to do anything.
    on.delete(first, timeout=90)
    on.ready(second)
    on.delete(second, timeout=90)
    assert aws.inventory() == before


def test_of_two_node_groups_of_one_name_the_later_is_told(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **of(name))
    groups = [node_group(name, f"{name}-{letter}", nodeGroupName="workers") for letter in "ab"]
    on.apply(item, *groups)

    def told() -> list[dict]:
        return [group for group in groups if on.condition(group, "Stalled").get("reason") == "NotOwned"]

    until(told, 60, "the refusal of one")
    (second,) = told()
    (first,) = (group for group in groups if group is not second)
    on.ready(item, first)
    made = [call for call in on.writes(0, aws.id) if call["action"] == "CreateNodegroup"]
    assert len(made) == 1
    assert first["metadata"]["name"] in on.condition(second)["message"]


def test_a_name_that_somebody_elses_cluster_has_in_eks_costs_nothing(on: Environment, tenant):
    name, aws = tenant
    theirs = cluster(f"{name}-theirs", clusterName="taken", **of(name, deletionPolicy="Retain"))
    on.apply(theirs)
    on.ready(theirs)
    # Its object is gone, and the cluster stays: nobody's here.
    on.delete(theirs, timeout=60)
    mark = on.mark()
    item = cluster(name, clusterName="taken", **of(name))
    on.apply(item)
    on.await_condition(item, "Stalled", reason="NotOwned", timeout=30)
    assert actions(on.writes(mark, aws.id)) == []


def test_a_failure_whose_words_differ_at_each_try_is_written_once(on: Environment, tenant):
    """Flux names the temporary folder that it unpacked Git into, another one each time."""
    name, _ = tenant
    repository = on.cloud.git.repository(name)
    repository.commit({"elsewhere/x.yaml": ""})
    gitops = flux(repository.url, "not/there", interval="5s")
    gitops["flux"] |= {"interval": "5s"}
    item = cluster(name, gitops=gitops, **of(name))
    on.apply(item)
    on.await_condition(item, "GitOpsReady", status="False", reason="SyncFailed", timeout=120)
    until(lambda: "/tmp/kustomization-*" in on.condition(item, "GitOpsReady")["message"], 30, "what Flux says of the path")
    flux_says, ours, versions = set(), set(), set()
    until_then = time.monotonic() + 40
    while time.monotonic() < until_then:
        root = on.cloud.workload.api.get("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "flux-system")
        flux_says.add(conditions(root)["Ready"]["message"])
        found = on.api.get(*key_of(item))
        ours.add(conditions(found)["GitOpsReady"]["message"])
        versions.add(found["metadata"]["resourceVersion"])
        time.sleep(0.5)
    assert len(flux_says) > 1, flux_says
    assert len(ours) == 1, ours
    assert len(versions) <= 2, versions
    (said,) = ours
    assert "/tmp/kustomization-*" in said
    events = [e["note"] for e in on.events(item) if e["reason"] == "SyncFailed"]
    assert len(events) == 1, events
