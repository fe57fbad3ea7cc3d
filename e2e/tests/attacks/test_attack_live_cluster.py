"""Deleting or recovering an object must not take the network and the roles from a cluster that runs and is not the object's.

The control plane lost its owner tag, a recovery is half done, another cluster uses the VPC, or the object that recovers has another region
or cluster name than the one that was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet import restore
from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, existing, key_of, node_group
from keelson_harness.aws import Durations
from test_recover import recover

QUICK = "--drift-interval=2s"
DENIED = {"code": "AccessDeniedException", "status": 403, "message": "not authorized"}


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, flux=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


@dataclass
class Live:
    """A cluster that runs; no operator is running."""

    on: Environment
    account: Account
    item: dict
    before: dict[str, dict[str, str]]

    @property
    def name(self) -> str:
        return self.item["metadata"]["name"]

    def operator(self):
        return self.on.operator(QUICK, account=self.account.id)

    def assert_unharmed(self, *untagged: str) -> None:
        """Everything still exists, and its owner is the same."""
        now = {one: tags[OWNER] for one, tags in restore.owners(self.account).items()}
        assert {one: now.get(one) for one in self.before if one not in untagged} == {
            one: tags[OWNER] for one, tags in self.before.items() if one not in untagged
        }
        assert [gateway["State"] for gateway in self.account.ec2.describe_nat_gateways()["NatGateways"]] == ["available"]

    def deletions(self, since: int) -> list[str]:
        words = ("Delete", "Detach", "Release", "Disassociate", "Terminate")
        return [call for call in actions(self.on.writes(since, self.account.id)) if call.split(":")[1].startswith(words)]

    def await_blocked(self, item: dict) -> str:
        condition = until(lambda: c if (c := self.on.condition(item)).get("reason") == "DeletionBlocked" else None, 30, "DeletionBlocked")
        return condition["message"]


@pytest.fixture
def make(on: Environment):
    made: list[dict] = []

    def start(name: str, consent: bool = False, with_nodes: bool = False, **spec: object) -> Live:
        account = on.account(fresh_account())
        if consent:
            ref = aws_account(f"account-{account.id}", account.id, adoption={"policy": "Allow"})
            on.apply(ref)
            spec["accountRef"] = {"name": ref["metadata"]["name"]}
        item = cluster(f"{name}-{account.id[-3:]}", network={"vpc": {"zoneCount": 2}}, addons=[], **spec)
        items = [item, node_group(item["metadata"]["name"])] if with_nodes else [item]
        made.extend(items)
        with on.operator(QUICK, account=account.id):
            on.apply(*items)
            on.ready(*items)
        return Live(on, account, item, restore.owners(account))

    yield start
    on.aws.clear_faults()
    on.force_delete(*made)


def test_deletion_waits_while_the_control_plane_lacks_its_owner_tag(on, make):
    live = make("untagged", with_nodes=True)
    arn = live.account.eks.describe_cluster(name=live.name)["cluster"]["arn"]
    uid = live.before[live.name][OWNER]
    with live.operator():
        live.account.eks.untag_resource(resourceArn=arn, tagKeys=[OWNER])
        on.await_condition(live.item, "Ready", "False", "NotOwned")
        mark = on.mark()
        on.api.delete(*key_of(live.item))
        message = live.await_blocked(live.item)
        for part in (live.name, "vpc-", "role arn:", f"{OWNER}={uid}", "deletionPolicy: Retain"):
            assert part in message, message
        stays(lambda: actions(on.writes(mark, live.account.id)) == [], 3, "no write")
        live.assert_unharmed(live.name)
        # The message says what to do.
        live.account.eks.tag_resource(resourceArn=arn, tags={OWNER: uid})
        on.api.wait_gone(*key_of(live.item), 120)
    assert live.account.inventory() == {}


def test_half_recovered_object_gives_everything_back_when_it_is_deleted(on, make):
    live = make("half", with_nodes=True)
    old = restore.lose(on, live.item, node_group(live.name))[0]
    fault = {"service": "eks", "action": "TagResource", "account": live.account.id}
    on.aws.add_fault(fault, {"error": DENIED})
    on.apply(live.item)
    restore.annotate(on, live.item, old)
    with live.operator():
        on.await_condition(live.item, "Ready", "False", "AccessDenied")
        taken = [one for one, tags in restore.owners(live.account).items() if tags[OWNER] != live.before[one][OWNER]]
        assert len(taken) > 10, "the network and the roles"
        mark = on.mark()
        on.api.delete(*key_of(live.item))
        on.api.wait_gone(*key_of(live.item), 60)
        assert live.deletions(mark) == []
        live.assert_unharmed()
        # Another attempt takes over everything.
        on.aws.clear_faults()
        on.apply(live.item)
        restore.annotate(on, live.item, old)
        on.ready(live.item)


def test_network_that_another_cluster_uses_is_not_deleted(on, make):
    live = make("owner", consent=True)
    subnets = live.account.eks.describe_cluster(name=live.name)["cluster"]["resourcesVpcConfig"]["subnetIds"]
    guest = cluster(f"guest-{live.account.id[-3:]}", network=existing(*subnets), addons=[], accountRef=live.item["spec"]["accountRef"])
    with live.operator():
        on.apply(guest)
        on.ready(guest)
        mark = on.mark()
        on.api.delete(*key_of(live.item))
        assert f"EKS cluster {guest['metadata']['name']}" in live.await_blocked(live.item)
        assert actions(on.writes(mark, live.account.id)) == []
        live.assert_unharmed()
        on.delete(guest)
        on.api.wait_gone(*key_of(live.item), 120)


def assert_takes_nothing(live: Live, wrong: dict, old: str, *texts: str) -> None:
    on = live.on
    wrong = {**wrong, "metadata": {**wrong["metadata"], "annotations": {restore.RECOVER: old}}}
    mark = on.mark()
    on.apply(wrong)
    with live.operator():
        on.await_condition(wrong, "Stalled", reason="NotOwned")
        message = on.condition(wrong, "Stalled")["message"]
        assert all(text in message for text in texts), message
        on.delete(wrong)
    assert actions(on.writes(mark, live.account.id)) == []
    live.assert_unharmed()


@pytest.mark.parametrize("consent", [True, False], ids=["allowed-by-the-account", "ambient-account"])
def test_recovery_in_another_region_takes_no_roles(on, make, consent):
    live = make("region", consent=consent)
    (old,) = restore.lose(on, live.item)
    wrong = {**live.item, "spec": {**live.item["spec"], "region": "eu-central-1"}}
    on.apply(wrong)
    if consent:
        assert "without its cluster" in recover(on, live.account, "--dry-run")
        assert "nothing can be taken over" in recover(on, live.account, "--all")
        assert restore.RECOVER not in on.api.get(*key_of(wrong))["metadata"].get("annotations", {})
    assert_takes_nothing(live, wrong, old, "no cluster", f"keelson-{live.name}")


def test_recovery_with_another_cluster_name_takes_nothing(on, make):
    live = make("name", consent=True)
    (old,) = restore.lose(on, live.item)
    wrong = {**live.item, "spec": {**live.item["spec"], "clusterName": f"{live.name}-b"}}
    assert_takes_nothing(live, wrong, old, "spec.clusterName")


def test_resource_that_lost_a_tag_is_named_by_the_recovery(on, make):
    live = make("lost-tag")
    gateway = next(one for one in live.before if one.startswith("nat-"))
    live.account.ec2.delete_tags(Resources=[gateway], Tags=[{"Key": RESOURCE}])
    (old,) = restore.lose(on, live.item)
    on.apply(live.item)
    restore.annotate(on, live.item, old)
    with live.operator():
        until(lambda: on.status(live.item).get("recovery"), 30, "the recovery")
        notes = [event["note"] for event in on.events(live.item) if event["reason"] == "Recovered"]
    assert any(f"{gateway} (it has lost the tag {RESOURCE})" in note for note in notes), notes
