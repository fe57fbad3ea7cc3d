"""`logGroup`: the control plane's log group gets retention and tags once the cluster exists, and is deleted after it or left; one that was
there before the cluster, or that a cluster of others uses by then, is somebody's data."""

from __future__ import annotations

import time

import pytest

from fleet.account import CLUSTER, OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of
from keelson_harness.aws import REGION, Durations

KEY = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on: Environment) -> Account:
    account = on.account(fresh_account())
    on.start("--drift-interval=1s", "--max-deletions=100", account=account.id)
    return account


class Logs:
    """A cluster and its log group."""

    def __init__(self, on: Environment, account: Account, name: str, **spec: object):
        self.on, self.account, self.name = on, account, name
        self.since = on.mark()
        self.logs = self.account.client("logs")
        self.group = f"/aws/eks/{name}/cluster"
        defaults = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": [], "logging": ["audit"]}
        self.item = cluster(name, **{**defaults, **spec})

    def create(self) -> Logs:
        self.on.apply(self.item)
        self.on.ready(self.item)
        return self

    def found(self) -> dict | None:
        all_of_it = self.logs.describe_log_groups(logGroupNamePrefix=self.group)["logGroups"]
        return next((group for group in all_of_it if group["logGroupName"] == self.group), None)

    def tags(self) -> dict[str, str]:
        return self.account.log_groups()[self.group]

    def edit(self, **spec: object) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})
        self.on.await_in_sync(self.item)
        return mark

    def writes(self, mark: int | None = None) -> list[str]:
        """Those that succeeded."""
        calls = [call for call in self.on.writes(self.since if mark is None else mark, self.account.id) if call["status"] < 400]
        return [action.split(" ")[0] for action in actions(calls)]

    def notes(self) -> list[str]:
        return [event["note"] for event in self.on.events(self.item) if event["reason"] == "LeftAlone"]

    def earlier_group(self) -> None:
        """As an earlier cluster of that name left it; AWS and EKS compare times by the second."""
        self.logs.create_log_group(logGroupName=self.group)
        created = self.found()["creationTime"] / 1000
        until(lambda: time.time() >= int(created) + 1, 3, "the next second")


@pytest.fixture(scope="module")
def shop(on: Environment, account: Account) -> Logs:
    return Logs(on, account, "shop", logGroup={"retentionDays": 30}, tags={"team": "a"}).create()


def test_log_group_of_the_new_cluster_gets_retention_and_tags(on, shop):
    written = shop.writes()
    # EKS created it with the cluster; nothing is created in that name before.
    assert "logs:CreateLogGroup" not in written
    assert written.index("logs:TagResource") > written.index("eks:CreateCluster")
    assert shop.found()["retentionInDays"] == 30
    tags = shop.tags()
    assert tags["team"] == "a" and tags[RESOURCE] == "logGroup" and tags[CLUSTER] == "default/shop"
    line = next(line for line in on.status(shop.item)["resources"] if line["key"] == "logGroup")
    assert line["id"] == shop.group


def test_retention_that_somebody_changed_is_put_back(shop):
    shop.logs.put_retention_policy(logGroupName=shop.group, retentionInDays=7)
    until(lambda: shop.found()["retentionInDays"] == 30, 30, "the retention of the spec")


def test_edit_of_retention_and_key_changes_only_those(shop):
    mark = shop.edit(logGroup={"retentionDays": 90, "kmsKeyArn": KEY})
    assert shop.writes(mark) == ["logs:PutRetentionPolicy", "logs:AssociateKmsKey"]
    assert (shop.found()["retentionInDays"], shop.found()["kmsKeyId"]) == (90, KEY)
    # An absent key is not managed.
    mark = shop.edit(logGroup={"kmsKeyArn": None})
    assert shop.writes(mark) == [] and shop.found()["kmsKeyId"] == KEY


def test_one_that_eks_created_in_place_of_a_deleted_one_gets_retention_and_tags(shop):
    shop.logs.delete_log_group(logGroupName=shop.group)
    until(lambda: shop.found() and shop.found().get("retentionInDays") == 90 and OWNER in shop.tags(), 30, "another log group")


def test_deletion_of_the_cluster_deletes_its_log_group_last(on, shop):
    mark = on.mark()
    on.delete(shop.item)
    written = shop.writes(mark)
    assert written.index("eks:DeleteCluster") < written.index("logs:DeleteLogGroup")
    assert shop.account.inventory() == {} and shop.notes() == []


def test_retained_log_group_stays_without_an_owner_and_is_named(on, account):
    kept = Logs(on, account, "kept", logGroup={"retentionDays": 14, "deletionPolicy": "Retain"}).create()
    mark = on.mark()
    on.delete(kept.item)
    assert kept.found()["retentionInDays"] == 14 and OWNER not in kept.tags() and kept.tags()[CLUSTER] == "default/kept"
    assert "logs:DeleteLogGroup" not in kept.writes(mark) and kept.account.inventory() == {"logGroups": [kept.group]}
    (note,) = kept.notes()
    assert f"log group {kept.group}" in note and "after 14 days" in note and "aws logs delete-log-group" in note


def test_log_group_of_a_running_cluster_is_managed_from_the_edit_on_and_no_longer_without_the_field(on, account):
    later = Logs(on, account, "later").create()
    assert OWNER not in later.tags() and "retentionInDays" not in later.found()
    mark = later.edit(logGroup={"retentionDays": 5})
    assert set(later.writes(mark)) == {"logs:TagResource", "logs:PutRetentionPolicy"}
    assert later.found()["retentionInDays"] == 5 and OWNER in later.tags()
    mark = later.edit(logGroup=None)
    later.logs.put_retention_policy(logGroupName=later.group, retentionInDays=60)
    stays(lambda: later.found()["retentionInDays"] == 60, 3, "it is not managed")
    on.delete(later.item)
    assert "logs:DeleteLogGroup" not in later.writes(mark) and OWNER not in later.tags()
    assert later.found()["retentionInDays"] == 60


def test_log_group_of_eks_stays_and_is_named_without_the_field(on, account):
    absent = Logs(on, account, "absent").create()
    mark = on.mark()
    on.delete(absent.item)
    assert not [write for write in absent.writes(mark) if write.startswith("logs:")]
    (note,) = absent.notes()
    assert f"log group {absent.group}" in note and "keeps for ever" in note


def test_log_group_of_an_earlier_cluster_is_named_and_untouched(on, account):
    again = Logs(on, account, "again", logGroup={"retentionDays": 1})
    again.earlier_group()
    on.apply(again.item)
    on.await_condition(again.item, "Stalled", reason="NotOwned")
    message = on.condition(again.item, "Stalled")["message"]
    for part in (again.group, "an earlier cluster", "remove spec.logGroup", "adoptionPolicy: Adopt"):
        assert part in message, message
    on.delete(again.item)
    assert "retentionInDays" not in again.found() and again.tags() == {}
    assert not [write for write in again.writes() if write.split(":")[1] in ("TagResource", "PutRetentionPolicy", "DeleteLogGroup")]


def test_log_group_of_an_earlier_cluster_is_adopted_where_spec_and_account_allow_it(on, account):
    adopting = Logs(on, account, "adopting", logGroup={"retentionDays": 1}, adoptionPolicy="Adopt", accountRef={"name": "adopting"})
    on.apply(aws_account("adopting", account.id, adoption={"policy": "Allow"}))
    adopting.earlier_group()
    adopting.since = on.mark()
    adopting.create()
    assert adopting.found()["retentionInDays"] == 1 and OWNER in adopting.tags()
    assert "logs:CreateLogGroup" not in adopting.writes()
    on.delete(adopting.item)
    assert adopting.found() is None


def test_log_group_is_created_where_nothing_is_logged_yet(on, account):
    quiet = Logs(on, account, "quiet", logging=[], logGroup={"retentionDays": 3}).create()
    written = quiet.writes()
    assert written.index("logs:CreateLogGroup") > written.index("eks:CreateCluster")
    assert quiet.found()["retentionInDays"] == 3 and quiet.tags()[RESOURCE] == "logGroup"
    on.delete(quiet.item)
    assert quiet.found() is None


def test_owner_tag_that_somebody_removed_is_put_back(on, account):
    marked = Logs(on, account, "marked", logging=[], logGroup={"retentionDays": 3}).create()
    marked.logs.untag_resource(resourceArn=marked.found()["arn"].removesuffix(":*"), tagKeys=[OWNER, CLUSTER, RESOURCE])
    until(lambda: OWNER in marked.tags(), 30, "the owner tag")
    on.delete(marked.item)
    assert marked.found() is None


def test_log_group_of_a_cluster_that_has_the_name_by_now_is_not_deleted(on, account):
    """Our cluster is gone, and before its log group is deleted somebody creates a cluster of the same name, which writes there."""
    lost = Logs(on, account, "lost", logGroup={"retentionDays": 3}).create()
    denied = {"code": "AccessDeniedException", "status": 403, "message": "no"}
    on.aws.add_fault({"action": "DeleteLogGroup", "account": account.id}, {"error": denied})
    on.api.delete(*key_of(lost.item))
    until(lambda: "DeleteLogGroup" in str([call["action"] for call in on.calls(lost.since, account.id)]), 60, "the attempt")
    subnets, role = account.network()[:2], account.cluster_role("lost-again")
    account.eks.create_cluster(name="lost", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    on.aws.clear_faults()
    on.api.patch(*key_of(lost.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "again"}}})
    on.api.wait_gone(*key_of(lost.item), 60)
    assert lost.found()["retentionInDays"] == 3 and OWNER not in lost.tags()
    succeeded = [call for call in on.writes(lost.since, account.id) if call["action"] == "DeleteLogGroup" and call["status"] < 400]
    assert succeeded == []


def test_log_group_with_the_owner_tag_of_another_object_is_untouched(on, account):
    theirs = Logs(on, account, "theirs", logGroup={"retentionDays": 1})
    theirs.logs.create_log_group(logGroupName=theirs.group, tags={OWNER: "uid-of-another", CLUSTER: "default/other"})
    on.apply(theirs.item)
    on.await_condition(theirs.item, "Stalled", reason="NotOwned")
    assert "belongs to default/other (UID uid-of-another)" in on.condition(theirs.item, "Stalled")["message"]
    on.delete(theirs.item)
    assert theirs.tags()[OWNER] == "uid-of-another"


def test_owner_tag_that_comes_back_during_the_deletion_is_removed_again(on, account):
    """Before the finalizer is removed, what has its name after the cluster is read again, besides the lists of EC2 and IAM."""
    tagged = Logs(on, account, "tagged", logging=[], logGroup={"retentionDays": 3, "deletionPolicy": "Retain"}).create()
    arn, tags = tagged.found()["arn"].removesuffix(":*"), tagged.tags()
    on.aws.add_fault({"action": "DeleteVpc", "account": account.id}, {"error": {"code": "InternalError", "status": 500, "message": "no"}})
    on.api.delete(*key_of(tagged.item))
    until(lambda: OWNER not in tagged.tags(), 60, "the log group is released")
    tagged.logs.tag_resource(resourceArn=arn, tags=tags)
    on.aws.clear_faults()
    on.api.wait_gone(*key_of(tagged.item), 120)
    assert OWNER not in tagged.tags() and tagged.found()["retentionInDays"] == 3
    tagged.logs.delete_log_group(logGroupName=tagged.group)
