"""Many edits cause few writes; a name that is already in use causes none; the same failure is written once."""

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
from keelson_harness.load import busy_factor

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


def edit_tags(aws: Account) -> set[str | None]:
    """The values of the edited tag on the roles created for a cluster."""
    return {tags.get("edit") for tags in aws.roles().values() if OWNER in tags}


def spec_of(name: str, **spec: object) -> dict:
    return {"accountRef": {"name": name}, "addons": [{"name": "vpc-cni"}], "oidcProvider": False, **spec}


def test_many_edits_cause_few_writes_and_events(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **spec_of(name))
    on.apply(item)
    on.ready(item)
    mark, before = on.mark(), len(on.events(item))
    start = time.monotonic()

    def edit(number: int) -> None:
        on.api.patch(*key_of(item)[:3], {"spec": {"tags": {"edit": str(number)}}})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(edit, range(EDITS)))
    edit(EDITS)
    seconds = time.monotonic() - start
    until(
        lambda: edit_tags(aws) == {str(EDITS)},
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


def test_single_edit_is_applied_immediately(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **spec_of(name))
    on.apply(item)
    on.ready(item)
    time.sleep(2)
    start = time.monotonic()
    on.api.patch(*key_of(item)[:3], {"spec": {"tags": {"edit": "one"}}})
    until(lambda: edit_tags(aws) == {"one"}, 20, "the tag")
    assert time.monotonic() - start < 5 * busy_factor()


def test_second_cluster_of_the_same_name_is_refused_before_any_cost(on: Environment, tenant):
    name, aws = tenant
    before = aws.inventory()
    names = [f"{name}-{letter}" for letter in "ab"]
    items = [cluster(one, clusterName="shared-name", **spec_of(name)) for one in names]
    on.apply(*items)

    def refused() -> list[dict]:
        return [item for item in items if on.condition(item, "Stalled").get("reason") == "NotOwned"]

    until(refused, 30, "the refusal of one")
    # Both were created in the same second, so either may own the name.
    (second,) = refused()
    (first,) = (item for item in items if item is not second)
    message = on.condition(second)["message"]
    assert first["metadata"]["name"] in message and "nothing more is created" in message, message
    on.ready(first)
    counts = aws.counts()
    assert (counts["vpcs"], counts["natGateways"], counts["clusters"]) == (1, 1, 1), counts
    owner = on.api.get(*key_of(first))["metadata"]["uid"]
    assert {tags["keelson.dev/owner"] for tags in aws.tagged().values()} == {owner}
    assert not on.api.get(*key_of(second))["metadata"].get("finalizers")
    # Once the name is free, the second proceeds without any action.
    on.delete(first, timeout=90)
    on.ready(second)
    on.delete(second, timeout=90)
    assert aws.inventory() == before


def test_second_node_group_of_the_same_name_is_refused(on: Environment, tenant):
    name, aws = tenant
    item = cluster(name, **spec_of(name))
    groups = [node_group(name, f"{name}-{letter}", nodeGroupName="workers") for letter in "ab"]
    on.apply(item, *groups)

    def refused() -> list[dict]:
        return [group for group in groups if on.condition(group, "Stalled").get("reason") == "NotOwned"]

    until(refused, 60, "the refusal of one")
    (second,) = refused()
    (first,) = (group for group in groups if group is not second)
    on.ready(item, first)
    created = [call for call in on.writes(0, aws.id) if call["action"] == "CreateNodegroup"]
    assert len(created) == 1
    assert first["metadata"]["name"] in on.condition(second)["message"]


def test_name_of_a_foreign_eks_cluster_causes_no_writes(on: Environment, tenant):
    name, aws = tenant
    retained = cluster(f"{name}-retained", clusterName="taken", **spec_of(name, deletionPolicy="Retain"))
    on.apply(retained)
    on.ready(retained)
    # The object is deleted and the EKS cluster stays, without an owner.
    on.delete(retained, timeout=60)
    mark = on.mark()
    item = cluster(name, clusterName="taken", **spec_of(name))
    on.apply(item)
    on.await_condition(item, "Stalled", reason="NotOwned", timeout=30)
    assert actions(on.writes(mark, aws.id)) == []


def test_failure_with_a_varying_message_is_written_once(on: Environment, tenant):
    """Flux's message names the temporary folder of the checkout, a new one at each try."""
    name, _ = tenant
    repository = on.cloud.git.repository(name)
    repository.commit({"elsewhere/x.yaml": ""})
    gitops = flux(repository.url, "not/there", interval="5s")
    gitops["flux"] |= {"interval": "5s"}
    item = cluster(name, gitops=gitops, **spec_of(name))
    on.apply(item)
    on.await_condition(item, "GitOpsReady", status="False", reason="SyncFailed", timeout=120)
    until(lambda: "/tmp/kustomization-*" in on.condition(item, "GitOpsReady")["message"], 30, "Flux's message about the path")
    flux_messages, messages, versions = set(), set(), set()
    deadline = time.monotonic() + 90
    # Flux tries again every five seconds.
    while len(flux_messages) < 4 and time.monotonic() < deadline:
        root = on.cloud.workload.api.get("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "flux-system")
        flux_messages.add(conditions(root)["Ready"]["message"])
        found = on.api.get(*key_of(item))
        messages.add(conditions(found)["GitOpsReady"]["message"])
        versions.add(found["metadata"]["resourceVersion"])
        time.sleep(0.5)
    assert len(flux_messages) > 1, flux_messages
    assert len(messages) == 1, messages
    assert len(versions) <= 2, versions
    (message,) = messages
    assert "/tmp/kustomization-*" in message
    events = [e["note"] for e in on.events(item) if e["reason"] == "SyncFailed"]
    assert len(events) == 1, events
