"""Deleting or recovering an object must not take the network and the roles from a cluster that runs and is not the object's.

The control plane lost its owner tag, a recovery is half done, another cluster uses the VPC, or the object that recovers has another region
or cluster name than the one that was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

    def await_blocked(self, item: dict, text: str = "") -> str:
        def found() -> str | None:
            condition = self.on.condition(item)
            return condition["message"] if condition.get("reason") == "DeletionBlocked" and text in condition["message"] else None

        return until(found, 30, f"DeletionBlocked {text}")


@pytest.fixture
def make(on: Environment):
    made: list[dict] = []

    def start(name: str, consent: bool = False, with_nodes: bool = False, own_role: bool = False, **spec: object) -> Live:
        account = on.account(fresh_account())
        if own_role:
            spec["roleArn"] = account.cluster_role(f"made-by-hand-{account.id[-3:]}")
        if consent:
            ref = aws_account(f"account-{account.id}", account.id, adoption={"policy": "Allow"})
            on.apply(ref)
            spec["accountRef"] = {"name": ref["metadata"]["name"]}
        vpc = {"zoneCount": 2, "endpoints": ["s3"]}
        item = cluster(f"{name}-{account.id[-3:]}", network={"vpc": vpc}, addons=[], **spec)
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


def guest_instance(live: Live, subnet: str) -> tuple[str, Callable[[], object]]:
    request = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small", "SubnetId": subnet}
    instance = live.account.ec2.run_instances(**request)["Instances"][0]["InstanceId"]
    return f"of instance {instance}", lambda: live.account.ec2.terminate_instances(InstanceIds=[instance])


def guest_cluster(live: Live, subnet: str) -> tuple[str, Callable[[], object]]:
    eks, name = live.account.eks, f"guest-{live.account.id[-3:]}"
    own = live.account.cluster_role(name)
    subnets = eks.describe_cluster(name=live.name)["cluster"]["resourcesVpcConfig"]["subnetIds"]
    eks.create_cluster(name=name, roleArn=own, resourcesVpcConfig={"subnetIds": subnets})
    until(lambda: eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 30, name)
    return f"EKS cluster {name}", lambda: eks.delete_cluster(name=name)


@pytest.mark.parametrize("guest", [guest_instance, guest_cluster])
def test_user_of_the_vpc_that_appears_after_the_deletion_began_keeps_its_gateways(on, make, guest):
    live = make("late")
    subnet = live.account.eks.describe_cluster(name=live.name)["cluster"]["resourcesVpcConfig"]["subnetIds"][0]
    on.aws.add_fault({"action": "DeleteCluster", "account": live.account.id}, {"error": DENIED})
    with live.operator():
        on.api.delete(*key_of(live.item))
        until(lambda: on.status(live.item).get("deletion", {}).get("began"), 30, "the start of the deletion")
        user, leave = guest(live, subnet)
        on.aws.clear_faults()
        message = live.await_blocked(live.item, user)
        assert "the deletion waits" in message and "deletionPolicy: Retain" in message, message
        network = on.condition(live.item, "NetworkReady")
        assert (network["reason"], user in network["message"]) == ("DeletionBlocked", True), network
        mark = on.mark()
        stays(lambda: actions(on.writes(mark, live.account.id)) == [], 3, "no write")
        # Its own cluster is gone; what the user needs is not.
        assert live.name not in live.account.eks.list_clusters()["clusters"]
        ec2 = live.account.ec2
        assert [gateway["State"] for gateway in ec2.describe_nat_gateways()["NatGateways"]] == ["available"]
        assert ec2.describe_internet_gateways()["InternetGateways"][0]["Attachments"]
        subnets = {one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}
        assert {one for one in live.before if one.startswith("subnet-")} <= subnets
        assert [one["VpcEndpointType"] for one in ec2.describe_vpc_endpoints()["VpcEndpoints"]] == ["Gateway"]
        leave()
        on.api.wait_gone(*key_of(live.item), 60)
    assert "vpcs" not in live.account.inventory()


def test_users_of_the_vpc_are_looked_for_with_few_calls(on, make):
    live = make("few-calls")
    with live.operator():
        until(lambda: on.condition(live.item)["status"] == "True", 30, "Ready")
        mark = on.mark()
        on.api.delete(*key_of(live.item))
        on.api.wait_gone(*key_of(live.item), 60)
    reads = [call["action"] for call in on.calls(mark, live.account.id)]
    # Interfaces: before the start; before NAT gateway and endpoint, subnets, internet gateway; and the sweep of leftovers. Instances: before the
    # start, and to name what is left behind.
    assert reads.count("DescribeNetworkInterfaces") <= 5 and reads.count("DescribeInstances") <= 2, sorted(reads)


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
    # With consent, the roles that are left are named.
    assert_takes_nothing(live, wrong, old, f"no cluster {live.name} exists here", f"keelson-{live.name}" if consent else "spec.region")


def test_ambient_account_is_no_consent_to_a_recovery_by_tags(on, make):
    """Its cluster has a role that Keelson did not create: whoever may tag could have written all that there is."""
    live = make("ambient", own_role=True)
    (old,) = restore.lose(on, live.item)
    mark = on.mark()
    on.apply(live.item)
    restore.annotate(on, live.item, old)
    consenting = aws_account("default", live.account.id, adoption={"policy": "Allow", "clusterNames": [live.name]})
    with live.operator():
        on.await_condition(live.item, "Stalled", reason="NotOwned")
        message = on.condition(live.item, "Stalled")["message"]
        assert "only tags indicate" in message and "the one named default" in message, message
        stays(lambda: actions(on.writes(mark, live.account.id)) == [], 2, "no write")
        # The message says what to do.
        try:
            on.apply(consenting)
            until(lambda: on.status(live.item).get("recovery"), 30, "the recovery")
        finally:
            on.force_delete(live.item, consenting)
    assert {tags[OWNER] for tags in restore.owners(live.account).values()}.isdisjoint({old})


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
