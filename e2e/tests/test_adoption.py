"""`adoptionPolicy: Adopt`: what is there is taken over as it is, but for what the spec names; and nothing else ever is."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from fleet.account import Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import cluster, existing, key_of, node_group
from fleet.others import TAGGING, Others, assert_released, imported, picture, reference, rests
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


class Theirs:
    """A cluster of somebody else's, and the manifest that `keelson import` writes of it."""

    def __init__(self, on: Environment):
        self.on = on
        self.account: Account = on.account(fresh_account())
        self.others = Others(self.account)
        self.name = f"small-{self.account.id[-3:]}"
        self.others.small(self.name)
        self.items = imported(on, self.account, f"--name={self.name}")
        self.cluster, self.group = self.items
        self.before = picture(self.account)

    def writes(self, since: int) -> list[dict]:
        return [c for c in self.on.writes(since, self.account.id) if c["status"] < 400]

    def found(self) -> list[dict]:
        return [found for item in self.items if (found := self.on.api.find(*key_of(item)))]

    def is_ready(self) -> bool:
        ready = [conditions(item).get("Ready", {}).get("status") for item in self.found()]
        return len(ready) == len(self.items) and set(ready) == {"True"}

    def described(self) -> dict:
        return self.account.eks.describe_cluster(name=self.name)["cluster"]


@pytest.fixture
def theirs(on) -> Iterator[Theirs]:
    made = Theirs(on)
    yield made
    on.aws.clear_faults()
    on.force_delete(*made.items)


def stalls(on: Environment, theirs: Theirs, item: dict, *says: str, reason: str) -> None:
    """It comes to nothing, nor does its node group, and says why; and AWS is as it was."""
    since = on.mark()
    with on.operator("--drift-interval=2s", account=theirs.account.id):
        on.apply(item, theirs.group)
        on.await_condition(item, "Stalled", reason=reason)
        told = on.condition(item, "Stalled")
        for part in says:
            assert part in told["message"], told
        rests(on, theirs.account, 2)
        assert on.condition(theirs.group)["status"] != "True"
        assert actions(theirs.writes(since)) == []
        on.delete(theirs.group, item)
    assert actions(theirs.writes(since)) == []
    assert picture(theirs.account) == theirs.before


def of_the_cluster(call: dict, name: str) -> bool:
    """Not of what is in it."""
    return call["service"] == "eks" and unquote(call["resource"]).rpartition(":cluster/")[2] == name


def test_what_is_there_is_refused_unless_the_spec_says_adopt(on, theirs):
    theirs.cluster["spec"].pop("adoptionPolicy")
    says = ("already exists and does not belong to this object", "adoptionPolicy: Adopt")
    stalls(on, theirs, theirs.cluster, *says, reason="NotOwned")


def test_what_another_object_owns_is_never_taken_over(on, theirs):
    arn = theirs.described()["arn"]
    tags = {"keelson.dev/owner": "uid-of-another", "keelson.dev/cluster": "default/other"}
    theirs.account.eks.tag_resource(resourceArn=arn, tags=tags)
    theirs.before = picture(theirs.account)
    says = ("belongs to default/other (UID uid-of-another)", "deletionPolicy: Retain")
    stalls(on, theirs, theirs.cluster, *says, reason="NotOwned")


def test_a_network_and_a_role_of_its_own_are_refused_before_anything_is_made(on, theirs):
    own = reference(theirs.account)
    item = cluster(theirs.name, version="1.34", adoptionPolicy="Adopt", accountRef=own)
    says = ("network: {existing: {subnetIds: [subnet-", "roleArn: arn:aws:iam::")
    stalls(on, theirs, item, *says, reason="InvalidSpec")


def test_what_cannot_be_changed_keeps_it_from_being_taken_over(on, theirs):
    spec = theirs.cluster["spec"]
    spec["kubernetesNetwork"] = {"serviceCidr": "10.77.0.0/16"}
    since = on.mark()
    with on.operator("--drift-interval=2s", account=theirs.account.id):
        on.apply(*theirs.items)
        on.await_condition(theirs.cluster, "Stalled", reason="InvalidSpec")
        assert "serviceCidr" in on.condition(theirs.cluster, "Stalled")["message"]
        rests(on, theirs.account, 2)
        assert actions(theirs.writes(since)) == []


def test_only_what_the_spec_names_is_changed_and_whose_it_is_comes_last(on, theirs):
    theirs.cluster["spec"]["logging"] = ["api"]
    theirs.cluster["spec"]["tags"] = {"team": "shop"}
    theirs.group["spec"]["labels"] = {"workload": "batch"}
    since = on.mark()
    with on.operator("--drift-interval=2s", account=theirs.account.id):
        on.apply(*theirs.items)
        on.ready(*theirs.items)
        writes = theirs.writes(since)
        changes = [call for call in writes if call["action"] not in TAGGING]
        assert {c["action"] for c in changes} == {"UpdateClusterConfig", "UpdateNodegroupConfig"}
        assert len(changes) == 2, actions(changes)
        of_cluster = [c["action"] for c in writes if of_the_cluster(c, theirs.name)]
        # The user's tag goes along with the change.
        assert of_cluster == ["TagResource", "UpdateClusterConfig", "TagResource"]
        rests(on, theirs.account)

        # An edit afterwards changes exactly that field.
        after, edited = picture(theirs.account), on.mark()
        on.api.patch(*key_of(theirs.cluster)[:3], {"spec": {"zonalShift": True}})
        until(lambda: "zonalShiftConfig" in theirs.described(), 30, "the edit")
        on.ready(*theirs.items)
        assert [c["action"] for c in theirs.writes(edited)] == ["UpdateClusterConfig"]
        now = picture(theirs.account)
        assert now.pop(f"cluster {theirs.name}") != after.pop(f"cluster {theirs.name}")
        assert now == after


def test_a_node_group_of_another_owner_stays_its_own(on, theirs):
    described = {"clusterName": theirs.name, "nodegroupName": "workers"}
    arn = theirs.account.eks.describe_nodegroup(**described)["nodegroup"]["nodegroupArn"]
    theirs.account.eks.tag_resource(resourceArn=arn, tags={"keelson.dev/owner": "another"})
    with on.operator(account=theirs.account.id):
        on.apply(*theirs.items)
        on.await_condition(theirs.group, "Stalled", reason="NotOwned")
        told = on.condition(theirs.group, "Stalled")["message"]
        assert "node group workers" in told and "already exists" in told
        tags = theirs.account.eks.describe_nodegroup(**described)["nodegroup"]["tags"]
        assert tags == {"keelson.dev/owner": "another"}


def test_killed_at_every_write_it_is_taken_over_and_let_go_of_as_if_nothing_had_been(
    on, theirs, capsys
):
    on.apply(*theirs.items)
    run = killed_at(on, theirs.account.id, theirs.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('adoption')}")
    assert len(run.points) >= 5
    assert picture(theirs.account, without_ours=True) == theirs.before
    owned = [k for k, value in picture(theirs.account).items() if "keelson.dev/owner" in str(value)]
    kinds = ("cluster ", "add-on ", "entry ", "pod identity ", "node group ", "oidc-provider/")
    assert [kind for kind in kinds if not any(kind in key for key in owned)] == []

    for item in theirs.items:
        on.api.delete(*key_of(item))
    run = killed_at(on, theirs.account.id, lambda: not theirs.found())
    with capsys.disabled():
        print(f"\n  {run.summary('release')}")
    assert len(run.points) >= 5
    assert_released(theirs.account, theirs.before, f"default/{theirs.name}")


def test_killed_at_every_write_of_a_taking_over_with_changes_it_comes_to_the_same(
    on, theirs, capsys
):
    theirs.cluster["spec"].update(logging=["api"], tags={"team": "shop"}, deletionProtection=True)
    theirs.group["spec"].update(labels={"workload": "batch"}, update={"maxUnavailable": 2})
    on.apply(*theirs.items)
    run = killed_at(on, theirs.account.id, theirs.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('adoption with changes')}")
    assert len(run.points) >= 10
    described = theirs.described()
    assert described["logging"]["clusterLogging"][0] == {"types": ["api"], "enabled": True}
    assert described["deletionProtection"] is True and described["tags"]["team"] == "shop"
    of = {"clusterName": theirs.name, "nodegroupName": "workers"}
    group = theirs.account.eks.describe_nodegroup(**of)["nodegroup"]
    assert (group["labels"], group["updateConfig"]["maxUnavailable"]) == ({"workload": "batch"}, 2)
    # Each change was made once.
    updates = [point for point in run.writes if ":Update" in point]
    assert len(updates) == 3, updates
    made = [point for point in run.writes if ":Create" in point and "CreateTags" not in point]
    assert made == []


def test_a_fargate_profile_that_is_listed_is_taken_over(on, theirs):
    pods = {"Service": "eks-fargate-pods.amazonaws.com"}
    policy = "AmazonEKSFargatePodExecutionRolePolicy"
    role = theirs.account.role("their-fargate", pods, policy)
    of = {"clusterName": theirs.name, "fargateProfileName": "batch"}
    theirs.account.eks.create_fargate_profile(
        **of,
        podExecutionRoleArn=role,
        subnets=theirs.others.subnets,
        selectors=[{"namespace": "batch"}],
    )

    def profile() -> dict:
        return theirs.account.eks.describe_fargate_profile(**of)["fargateProfile"]

    until(lambda: profile()["status"] == "ACTIVE", 30, "the profile")
    before = profile()
    profiles = [{"name": "batch", "selectors": [{"namespace": "batch"}]}]
    theirs.cluster["spec"]["fargateProfiles"] = profiles
    with on.operator(account=theirs.account.id):
        on.apply(*theirs.items)
        on.ready(*theirs.items)
        after = profile()
        assert after.pop("tags")["keelson.dev/resource"] == "fargateProfile/batch"
        before.pop("tags", None)
        assert after == before
        on.delete(theirs.group, theirs.cluster)
    assert profile()["tags"] == {"keelson.dev/cluster": f"default/{theirs.name}"}


def test_what_keelson_made_and_let_go_of_stays_and_can_be_taken_over_again(on, theirs):
    """Retain: the network and the roles, too, only lose what says that they are ours, and remember whose they were."""
    account = on.account(fresh_account())
    name = f"kept-{account.id[-3:]}"
    vpc = {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}
    made = cluster(name, network={"vpc": vpc}, deletionPolicy="Retain")
    nodes = node_group(name, deletionPolicy="Retain")
    again: list[dict] = []
    try:
        with on.operator(account=account.id):
            on.apply(made, nodes)
            on.ready(made, nodes)
            without = picture(account, without_ours=True)
            on.delete(nodes, made)
            assert_released(account, without, f"default/{name}")
            again = imported(on, account, f"--name={name}")
            since = on.mark()
            on.apply(*again)
            on.ready(*again)
            writes = [c for c in on.writes(since, account.id) if c["status"] < 400]
            assert {call["action"] for call in writes} <= TAGGING, actions(writes)
    finally:
        on.force_delete(made, nodes, *again)


def test_a_cluster_that_is_not_there_is_made(on, theirs):
    account = theirs.account
    network = existing(*theirs.others.subnets)
    item = cluster(
        "new-one",
        accountRef=reference(account),
        adoptionPolicy="Adopt",
        network=network,
        roleArn=theirs.cluster["spec"]["roleArn"],
        addons=[],
        oidcProvider=False,
    )
    try:
        with on.operator(account=account.id):
            on.apply(item)
            on.ready(item)
            # Nobody takes a node role.
            assert [name for name in account.roles() if name.startswith("keelson-")] == []
            on.delete(item)
    finally:
        on.force_delete(item)
