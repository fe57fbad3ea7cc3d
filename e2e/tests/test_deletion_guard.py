"""A bad merge in Git must not delete a fleet: when more clusters of a namespace are to be deleted within an hour than
`--max-deletions`, the rest wait for a person. Counted across restarts and replicas; what deletes nothing in AWS is not counted.
"""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, key_of, namespace
from fleet.shop import APPROVE, RELEASE
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.cloud import NAMESPACE
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import conditions

MOST = 3
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
    return on.start(f"--max-deletions={MOST}", account=account.id)


@pytest.fixture(scope="module")
def fleet(on, account, subnets) -> dict[str, dict]:
    """Five clusters, one that is to be retained, one that is only observed; and an operator with the guard."""
    made = {name: small(name, subnets) for name in FLEET}
    made["kept"] = small("kept", subnets, deletionPolicy="Retain")
    made["watched"] = small("watched", subnets)
    made["late"] = small("late", subnets)
    # Another tenant's.
    made["neighbour"] = small("neighbour", subnets)
    made["neighbour"]["metadata"]["namespace"] = NEIGHBOURS
    on.apply(namespace(NEIGHBOURS))
    on.operators = [start(on, account)]
    on.apply(*made.values())
    on.ready(*made.values())
    on.api.patch(*key_of(made["watched"])[:3], {"spec": {"changePolicy": "Observe"}})
    on.await_condition(made["watched"], "InSync")
    return made


def there(account: Account) -> set[str]:
    return set(account.inventory().get("clusters", []))


def waiting(on: Environment, fleet: dict[str, dict]) -> dict[str, str]:
    """The message of each cluster that waits to be deleted, by name."""
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
def test_what_deletes_nothing_in_aws_is_not_counted(on, account, fleet, name):
    before = there(account)
    on.delete(fleet[name], timeout=30)
    assert there(account) == before


def test_of_five_deleted_at_once_three_go_and_two_wait(on, account, fleet):
    for name in FLEET:
        on.api.delete(*key_of(fleet[name]))
    until(lambda: len(waiting(on, fleet)) == len(FLEET) - MOST and len(there(account) & set(FLEET)) == 2, 40, "three of five")
    for name, message in waiting(on, fleet).items():
        assert name in there(account)
        assert "--max-deletions" in message and "keelson approve" in message, message
        gone = [other for other in FLEET if other not in waiting(on, fleet)]
        assert any(other in message for other in gone), "names what is being deleted"


def test_deletions_of_one_namespace_hold_up_no_other(on, account, fleet):
    assert waiting(on, fleet)
    on.delete(fleet["neighbour"], timeout=40)
    assert "neighbour" not in there(account)


def test_the_rest_wait_across_a_restart_and_one_more_waits_with_them(on, account, fleet):
    left = set(waiting(on, fleet))
    assert len(left) == 2
    for name in set(FLEET) - left:
        on.api.wait_gone(*key_of(fleet[name]), 40)
    mark = on.mark()
    restart(on, account)
    on.api.delete(*key_of(fleet["late"]))
    until(lambda: set(waiting(on, fleet)) == left | {"late"}, 40, "the late one to wait")
    assert actions(on.writes(mark, account.id)) == []
    table = on.api.get("v1", "ConfigMap", "keelson-deletions", NAMESPACE)
    assert all(name in str(table["data"]) for name in FLEET)


def test_one_that_is_approved_goes_and_no_other(on, account, fleet):
    name, *others = sorted(waiting(on, fleet))
    item = fleet[name]
    status = on.status(item)
    # Neither the approval of the plan nor the release of another deletion.
    foreign = on.status(fleet[others[0]])["deletion"]["release"]
    words = {APPROVE: status["plan"]["hash"], RELEASE: foreign}
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": words}})
    restart(on, account)
    on.await_condition(item, status="False", reason="WaitingForApproval")
    assert name in there(account)
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: status["deletion"]["release"]}}})
    on.api.wait_gone(*key_of(item), 40)
    assert name not in there(account)
    assert sorted(waiting(on, fleet)) == others and set(others) <= there(account)


def test_killed_while_they_are_deleted_it_goes_on_with_those_that_began_only(on, account, fleet):
    for item in [fleet[name] for name in sorted(waiting(on, fleet))]:
        word = on.status(item)["deletion"]["release"]
        mark = on.mark()
        on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {RELEASE: word}}})
        until(lambda mark=mark: on.writes(mark, account.id), 30, "the first write")
        restart(on, account)
        on.api.wait_gone(*key_of(item), 40)
    assert there(account) == {"kept", "watched"}
