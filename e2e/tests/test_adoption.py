"""`adoptionPolicy: Adopt`: existing resources are adopted unchanged, except for fields that the spec sets; nothing else is ever adopted."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from fleet.account import Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import cluster, existing, key_of, node_group
from fleet.existing_clusters import TAGGING, Others, assert_released, imported, picture, reference, assert_idle
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


class ForeignCluster:
    """A cluster that Keelson did not create, and the manifest that `keelson import` writes for it."""

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
def foreign(on) -> Iterator[ForeignCluster]:
    created = ForeignCluster(on)
    yield created
    on.aws.clear_faults()
    on.force_delete(*created.items)


def assert_stalled(on: Environment, foreign: ForeignCluster, item: dict, *texts: str, reason: str) -> None:
    """The cluster stalls with these texts in its message, its node group is not ready, and AWS is unchanged."""
    since = on.mark()
    with on.operator("--drift-interval=2s", account=foreign.account.id):
        on.apply(item, foreign.group)
        on.await_condition(item, "Stalled", reason=reason)
        stalled = on.condition(item, "Stalled")
        for text in texts:
            assert text in stalled["message"], stalled
        assert_idle(on, foreign.account, 2)
        assert on.condition(foreign.group)["status"] != "True"
        assert actions(foreign.writes(since)) == []
        on.delete(foreign.group, item)
    assert actions(foreign.writes(since)) == []
    assert picture(foreign.account) == foreign.before


def is_cluster_call(call: dict, name: str) -> bool:
    """Whether the call concerns the cluster itself, not a resource in it."""
    return call["service"] == "eks" and unquote(call["resource"]).rpartition(":cluster/")[2] == name


def test_existing_cluster_is_refused_without_adopt_policy(on, foreign):
    foreign.cluster["spec"].pop("adoptionPolicy")
    texts = ("already exists and does not belong to this object", "adoptionPolicy: Adopt")
    assert_stalled(on, foreign, foreign.cluster, *texts, reason="NotOwned")


def test_cluster_owned_by_another_object_is_never_adopted(on, foreign):
    arn = foreign.described()["arn"]
    tags = {"keelson.dev/owner": "uid-of-another", "keelson.dev/cluster": "default/other"}
    foreign.account.eks.tag_resource(resourceArn=arn, tags=tags)
    foreign.before = picture(foreign.account)
    texts = ("belongs to default/other (UID uid-of-another)", "deletionPolicy: Retain")
    assert_stalled(on, foreign, foreign.cluster, *texts, reason="NotOwned")


def test_adopt_with_managed_network_and_role_is_refused_before_any_write(on, foreign):
    own = reference(foreign.account)
    item = cluster(foreign.name, version="1.34", adoptionPolicy="Adopt", accountRef=own)
    texts = ("network: {existing: {subnetIds: [subnet-", "roleArn: arn:aws:iam::")
    assert_stalled(on, foreign, item, *texts, reason="InvalidSpec")


def test_immutable_field_mismatch_prevents_adoption(on, foreign):
    spec = foreign.cluster["spec"]
    spec["kubernetesNetwork"] = {"serviceCidr": "10.77.0.0/16"}
    since = on.mark()
    with on.operator("--drift-interval=2s", account=foreign.account.id):
        on.apply(*foreign.items)
        on.await_condition(foreign.cluster, "Stalled", reason="InvalidSpec")
        assert "serviceCidr" in on.condition(foreign.cluster, "Stalled")["message"]
        assert_idle(on, foreign.account, 2)
        assert actions(foreign.writes(since)) == []


def test_adoption_changes_only_specified_fields_and_writes_owner_tags_last(on, foreign):
    foreign.cluster["spec"]["logging"] = ["api"]
    foreign.cluster["spec"]["tags"] = {"team": "shop"}
    foreign.group["spec"]["labels"] = {"workload": "batch"}
    since = on.mark()
    with on.operator("--drift-interval=2s", account=foreign.account.id):
        on.apply(*foreign.items)
        on.ready(*foreign.items)
        writes = foreign.writes(since)
        changes = [call for call in writes if call["action"] not in TAGGING]
        assert {c["action"] for c in changes} == {"UpdateClusterConfig", "UpdateNodegroupConfig"}
        assert len(changes) == 2, actions(changes)
        cluster_actions = [c["action"] for c in writes if is_cluster_call(c, foreign.name)]
        # The user's tag is written with the change.
        assert cluster_actions == ["TagResource", "UpdateClusterConfig", "TagResource"]
        assert_idle(on, foreign.account)

        # A later edit changes exactly that field.
        after, edited = picture(foreign.account), on.mark()
        on.api.patch(*key_of(foreign.cluster)[:3], {"spec": {"zonalShift": True}})
        until(lambda: "zonalShiftConfig" in foreign.described(), 30, "the edit")
        on.ready(*foreign.items)
        assert [c["action"] for c in foreign.writes(edited)] == ["UpdateClusterConfig"]
        now = picture(foreign.account)
        assert now.pop(f"cluster {foreign.name}") != after.pop(f"cluster {foreign.name}")
        assert now == after


def test_node_group_of_another_owner_is_not_adopted(on, foreign):
    described = {"clusterName": foreign.name, "nodegroupName": "workers"}
    arn = foreign.account.eks.describe_nodegroup(**described)["nodegroup"]["nodegroupArn"]
    foreign.account.eks.tag_resource(resourceArn=arn, tags={"keelson.dev/owner": "another"})
    with on.operator(account=foreign.account.id):
        on.apply(*foreign.items)
        on.await_condition(foreign.group, "Stalled", reason="NotOwned")
        message = on.condition(foreign.group, "Stalled")["message"]
        assert "node group workers" in message and "already exists" in message
        tags = foreign.account.eks.describe_nodegroup(**described)["nodegroup"]["tags"]
        assert tags == {"keelson.dev/owner": "another"}


def test_provider_that_is_newer_than_the_cached_list_is_adopted_without_a_create(on, foreign):
    iam, warm = foreign.account.iam, cluster(f"warm-{foreign.account.id[-3:]}", addons=[], accountRef=reference(foreign.account))
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    with on.operator(account=foreign.account.id):
        # Its providers are read, and shared by all clusters of the account.
        on.apply(warm)
        on.ready(warm)
        foreign.others.oidc_provider(foreign.name)
        since = on.mark()
        on.apply(*foreign.items)
        on.ready(*foreign.items)
        assert [c for c in on.calls(since, foreign.account.id) if c["action"] == "CreateOpenIDConnectProvider"] == []
        on.delete(warm)


def test_adoption_and_release_survive_a_kill_at_every_write(
    on, foreign, capsys
):
    on.apply(*foreign.items)
    run = killed_at(on, foreign.account.id, foreign.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('adoption')}")
    assert len(run.points) >= 5
    assert picture(foreign.account, without_ours=True) == foreign.before
    owned = [k for k, value in picture(foreign.account).items() if "keelson.dev/owner" in str(value)]
    kinds = ("cluster ", "add-on ", "entry ", "pod identity ", "node group ", "oidc-provider/")
    assert [kind for kind in kinds if not any(kind in key for key in owned)] == []

    for item in foreign.items:
        on.api.delete(*key_of(item))
    run = killed_at(on, foreign.account.id, lambda: not foreign.found())
    with capsys.disabled():
        print(f"\n  {run.summary('release')}")
    assert len(run.points) >= 5
    assert_released(foreign.account, foreign.before, f"default/{foreign.name}")


def test_adoption_with_changes_survives_a_kill_at_every_write(
    on, foreign, capsys
):
    foreign.cluster["spec"].update(logging=["api"], tags={"team": "shop"}, deletionProtection=True)
    foreign.group["spec"].update(labels={"workload": "batch"}, update={"maxUnavailable": 2})
    on.apply(*foreign.items)
    run = killed_at(on, foreign.account.id, foreign.is_ready)
    with capsys.disabled():
        print(f"\n  {run.summary('adoption with changes')}")
    assert len(run.points) >= 10
    described = foreign.described()
    assert described["logging"]["clusterLogging"][0] == {"types": ["api"], "enabled": True}
    assert described["deletionProtection"] is True and described["tags"]["team"] == "shop"
    of = {"clusterName": foreign.name, "nodegroupName": "workers"}
    group = foreign.account.eks.describe_nodegroup(**of)["nodegroup"]
    assert (group["labels"], group["updateConfig"]["maxUnavailable"]) == ({"workload": "batch"}, 2)
    # Each change is written once.
    updates = [point for point in run.writes if ":Update" in point]
    assert len(updates) == 3, updates
    created = [point for point in run.writes if ":Create" in point and "CreateTags" not in point]
    assert created == []


def test_fargate_profile_in_the_spec_is_adopted(on, foreign):
    pods = {"Service": "eks-fargate-pods.amazonaws.com"}
    policy = "AmazonEKSFargatePodExecutionRolePolicy"
    role = foreign.account.role("their-fargate", pods, policy)
    of = {"clusterName": foreign.name, "fargateProfileName": "batch"}
    foreign.account.eks.create_fargate_profile(
        **of,
        podExecutionRoleArn=role,
        subnets=foreign.others.subnets,
        selectors=[{"namespace": "batch"}],
    )

    def profile() -> dict:
        return foreign.account.eks.describe_fargate_profile(**of)["fargateProfile"]

    until(lambda: profile()["status"] == "ACTIVE", 30, "the profile")
    before = profile()
    profiles = [{"name": "batch", "selectors": [{"namespace": "batch"}]}]
    foreign.cluster["spec"]["fargateProfiles"] = profiles
    with on.operator(account=foreign.account.id):
        on.apply(*foreign.items)
        on.ready(*foreign.items)
        after = profile()
        assert after.pop("tags")["keelson.dev/resource"] == "fargateProfile/batch"
        before.pop("tags", None)
        assert after == before
        on.delete(foreign.group, foreign.cluster)
    assert profile()["tags"] == {"keelson.dev/cluster": f"default/{foreign.name}"}


def test_retained_cluster_stays_and_can_be_adopted_again(on, foreign):
    """Retain removes only the owner tags, also of the network and the roles; the tag that names the former owner stays."""
    account = on.account(fresh_account())
    name = f"kept-{account.id[-3:]}"
    vpc = {"zoneCount": 2, "endpoints": ["s3", "ecr.api"]}
    created = cluster(name, network={"vpc": vpc}, deletionPolicy="Retain")
    nodes = node_group(name, deletionPolicy="Retain")
    readopted: list[dict] = []
    try:
        with on.operator(account=account.id):
            on.apply(created, nodes)
            on.ready(created, nodes)
            without_owner_tags = picture(account, without_ours=True)
            on.delete(nodes, created)
            assert_released(account, without_owner_tags, f"default/{name}")
            readopted = imported(on, account, f"--name={name}")
            since = on.mark()
            on.apply(*readopted)
            on.ready(*readopted)
            writes = [c for c in on.writes(since, account.id) if c["status"] < 400]
            assert {call["action"] for call in writes} <= TAGGING, actions(writes)
    finally:
        on.force_delete(created, nodes, *readopted)


def test_adopt_policy_creates_a_missing_cluster(on, foreign):
    account = foreign.account
    network = existing(*foreign.others.subnets)
    item = cluster(
        "new-one",
        accountRef=reference(account),
        adoptionPolicy="Adopt",
        network=network,
        roleArn=foreign.cluster["spec"]["roleArn"],
        addons=[],
        oidcProvider=False,
    )
    try:
        with on.operator(account=account.id):
            on.apply(item)
            on.ready(item)
            # No node group uses a node role.
            assert [name for name in account.roles() if name.startswith("keelson-")] == []
            on.delete(item)
    finally:
        on.force_delete(item)
