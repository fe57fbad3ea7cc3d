"""A bad merge in Git must not delete a fleet: if more clusters of a namespace are deleted within an hour than `--max-deletions`,
the rest wait for approval. The count survives restarts and changes of the leader; deletions that delete nothing in AWS do not count.
"""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, key_of, namespace, node_group
from fleet.shop import APPROVE, RELEASE
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.cloud import NAMESPACE
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions

MAX_DELETIONS = 3
FLEET = [f"fleet-{n}" for n in range(1, 6)]
NEIGHBOURS = "neighbours"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.3, 0.2, 0.5, 0.2, 0.1, 0.1)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def subnets(account) -> list[str]:
    return account.network()[:2]


def small(name: str, subnets: list[str], **spec: object) -> dict:
    return cluster(name, network=existing(*subnets), addons=[], oidcProvider=False, **spec)


def start(on: Environment, account: Account) -> Controller:
    return on.start(f"--max-deletions={MAX_DELETIONS}", account=account.id)


@pytest.fixture(scope="module")
def fleet(on, account, subnets) -> dict[str, dict]:
    """Five clusters, one with Retain, one with Observe, one to delete later, one of another tenant; and an operator with the guard."""
    created = {name: small(name, subnets) for name in FLEET}
    created["kept"] = small("kept", subnets, deletionPolicy="Retain")
    created["watched"] = small("watched", subnets)
    created["late"] = small("late", subnets)
    # Owned by another tenant.
    created["neighbour"] = small("neighbour", subnets)
    created["neighbour"]["metadata"]["namespace"] = NEIGHBOURS
    on.apply(namespace(NEIGHBOURS))
    on.operators = [start(on, account)]
    on.apply(*created.values())
    on.ready(*created.values())
    on.api.patch(*key_of(created["watched"])[:3], {"spec": {"changePolicy": "Observe"}})
    on.await_condition(created["watched"], "InSync")
    return created


def existing_clusters(account: Account) -> set[str]:
    return set(account.inventory().get("clusters", []))


def held(on: Environment, fleet: dict[str, dict]) -> dict[str, str]:
    """Messages of the clusters whose deletion is held, by name."""
    found = {}
    for name, item in fleet.items():
        ready = conditions(on.api.find(*key_of(item)) or {}).get("Ready", {})
        if ready.get("reason") == "WaitingForApproval":
            found[name] = ready["message"]
    return found


def restart(on: Environment, account: Account) -> None:
    (old,) = on.operators
    old.kill()
    on.operators = [start(on, account)]


@pytest.mark.parametrize("name", ["kept", "watched"])
def test_deletion_without_aws_deletes_is_not_counted(on, account, fleet, name):
    before = existing_clusters(account)
    on.delete(fleet[name], timeout=30)
    assert existing_clusters(account) == before


def test_deletions_above_the_limit_wait(on, account, fleet):
    for name in FLEET:
        on.api.delete(*key_of(fleet[name]))
    until(lambda: len(held(on, fleet)) == len(FLEET) - MAX_DELETIONS and len(existing_clusters(account) & set(FLEET)) == 2, 40, "three of five")
    for name, message in held(on, fleet).items():
        assert name in existing_clusters(account)
        assert "--max-deletions" in message and "keelson approve" in message, message
        gone = [other for other in FLEET if other not in held(on, fleet)]
        assert any(other in message for other in gone), "the message names what is being deleted"


def test_limit_of_one_namespace_does_not_affect_another(on, account, fleet):
    assert held(on, fleet)
    on.delete(fleet["neighbour"], timeout=40)
    assert "neighbour" not in existing_clusters(account)


def test_held_deletions_survive_a_restart_and_new_ones_are_held(on, account, fleet):
    left = set(held(on, fleet))
    assert len(left) == 2
    for name in set(FLEET) - left:
        on.api.wait_gone(*key_of(fleet[name]), 40)
    mark = on.mark()
    restart(on, account)
    on.api.delete(*key_of(fleet["late"]))
    until(lambda: set(held(on, fleet)) == left | {"late"}, 40, "the late one to be held")
    assert actions(on.writes(mark, account.id)) == []
    table = on.api.get("v1", "ConfigMap", "keelson-deletions", NAMESPACE)
    assert all(name in str(table["data"]) for name in FLEET)


def test_only_the_approved_deletion_proceeds(on, account, fleet):
    name, *others = sorted(held(on, fleet))
    item = fleet[name]
    status = on.status(item)
    # Neither the approval of the plan nor the release of another deletion.
    foreign = on.status(fleet[others[0]])["deletion"]["release"]
    annotations = {APPROVE: status["plan"]["hash"], RELEASE: foreign}
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": annotations}})
    restart(on, account)
    on.await_condition(item, status="False", reason="WaitingForApproval")
    assert name in existing_clusters(account)
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: status["deletion"]["release"]}}})
    on.api.wait_gone(*key_of(item), 40)
    assert name not in existing_clusters(account)
    assert sorted(held(on, fleet)) == others and set(others) <= existing_clusters(account)


def test_restart_continues_only_deletions_that_have_started(on, account, fleet):
    for item in [fleet[name] for name in sorted(held(on, fleet))]:
        release = on.status(item)["deletion"]["release"]
        mark = on.mark()
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: release}}})
        until(lambda mark=mark: on.writes(mark, account.id), 30, "the first write")
        restart(on, account)
        on.api.wait_gone(*key_of(item), 40)
    assert existing_clusters(account) == {"kept", "watched"}


def groups_in_aws(account: Account, name: str) -> set[str]:
    return set(account.eks.list_nodegroups(clusterName=name)["nodegroups"])


def test_node_groups_of_a_cluster_that_stays_have_limits_of_their_own(on, account, subnets):
    """Pruned from Git with their cluster left: the first may go, the others wait; deleted with their cluster they are not counted."""
    for operator in on.operators:
        operator.kill()
    limits = ("--max-node-group-deletions=1", "--max-deletions=100")
    on.operators = [on.start(*limits, account=account.id)]
    item, groups = small("pools", subnets), [node_group("pools", f"pool-{n}", instanceTypes=["m7i.large"]) for n in range(4)]
    on.apply(item, *groups)
    on.ready(item, *groups)
    on.delete(groups[0], timeout=40)
    on.api.delete(*key_of(groups[1]))
    found = on.await_condition(groups[1], status="False", reason="WaitingForApproval", timeout=30)
    message = conditions(found)["Ready"]["message"]
    for part in ("--max-node-group-deletions", "default/pool-0", "keelson approve nodegroup/pool-1"):
        assert part in message, message
    # Restarts and another leader keep the count.
    on.operators[0].kill()
    on.operators = [on.start(*limits, account=account.id)]
    on.api.delete(*key_of(groups[2]))
    on.await_condition(groups[2], status="False", reason="WaitingForApproval", timeout=30)
    assert groups_in_aws(account, "pools") == {"pool-1", "pool-2", "pool-3"}
    table = on.api.get("v1", "ConfigMap", "keelson-deletions", NAMESPACE)["data"]
    assert "pool-0" in table["nodeGroupsBegan"] and "pool-1" in table["nodeGroupsHeld"]
    release = on.status(groups[1])["deletion"]["release"]
    on.api.patch(*key_of(groups[1])[:3], {"metadata": {"annotations": {RELEASE: release}}})
    on.api.wait_gone(*key_of(groups[1]), 40)
    assert groups_in_aws(account, "pools") == {"pool-2", "pool-3"}
    # With their cluster they need no release.
    on.delete(item, timeout=60)
    on.api.wait_gone(*key_of(groups[2]), 20)
    assert "pools" not in existing_clusters(account)
