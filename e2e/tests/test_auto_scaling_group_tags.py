"""`autoScalingGroupTags`: set on the Auto Scaling group that EKS creates for a node group, removed again, and nothing else of the group changed.

`test_replacement.py` has them on the group that replaces another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, actions, environment, until
from fleet.existing_clusters import Others, imported
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of, node_group
from fleet.upgrading import SMALL
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

LABEL = "k8s.io/cluster-autoscaler/node-template/label/team"
ENABLED = "k8s.io/cluster-autoscaler/enabled"
SET, REMOVE = "autoscaling:CreateOrUpdateTags", "autoscaling:DeleteTags"
# Kinds that are read one by one are compared every six intervals.
FLAGS = ("--drift-interval=1s",)


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.3, 0.5)) as started:
        yield started


class Group:
    """A node group in a cluster of its own account."""

    def __init__(self, on: Environment, account: Account, cluster_name: str, name: str, item: dict):
        self.on, self.account, self.cluster_name, self.name, self.item = on, account, cluster_name, name, item
        self.client = account.client("autoscaling")

    def group_name(self) -> str:
        described = self.account.eks.describe_nodegroup(clusterName=self.cluster_name, nodegroupName=self.name)["nodegroup"]
        return described["resources"]["autoScalingGroups"][0]["name"]

    def tags(self) -> dict[str, str]:
        return {key: tag["Value"] for key, tag in self.described().items()}

    def described(self) -> dict[str, dict]:
        (group,) = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.group_name()])["AutoScalingGroups"]
        return {tag["Key"]: tag for tag in group["Tags"]}

    def of_eks(self) -> dict[str, str]:
        name = self.cluster_name
        return {
            "eks:cluster-name": name, "eks:nodegroup-name": self.name, ENABLED: "true",
            f"k8s.io/cluster-autoscaler/{name}": "owned", f"kubernetes.io/cluster/{name}": "owned",
        }

    def set_by_hand(self, key: str, value: str, at_launch: bool = False) -> None:
        tag = {"ResourceId": self.group_name(), "ResourceType": "auto-scaling-group", "Key": key, "Value": value}
        self.client.create_or_update_tags(Tags=[{**tag, "PropagateAtLaunch": at_launch}])

    def await_tags(self, expected: dict[str, str], seconds: float = 30) -> None:
        """Those beside EKS's."""
        until(lambda: self.tags() == {**self.of_eks(), **expected}, seconds, f"{expected}, not {self.tags()}")

    def edit(self, tags: dict[str, str | None]) -> list[str]:
        """Returns the writes."""
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": {"autoScalingGroupTags": tags}})
        self.on.await_in_sync(self.item)
        return self.writes(mark)

    def writes(self, mark: int) -> list[str]:
        return [action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))]

    def found(self) -> dict:
        return self.on.api.find(*key_of(self.item)) or {}

    def is_ready(self) -> bool:
        ready = conditions(self.found()).get("Ready", {})
        return (ready.get("status"), ready.get("observedGeneration")) == ("True", self.found()["metadata"]["generation"])

    def keys_on_record(self) -> list[str]:
        return self.found().get("status", {}).get("autoScalingGroupTagKeys", [])


def new_group(on: Environment, name: str, tags: dict[str, str], account: dict | None = None, **spec: object) -> tuple[Group, list[dict]]:
    """The node group, and the objects to apply."""
    in_aws = on.account(fresh_account())
    access = aws_account(f"account-{in_aws.id}", in_aws.id, **(account or {}))
    reference = {"accountRef": {"name": access["metadata"]["name"]}}
    item = node_group(name, "workers", scaling={"min": 1, "max": 2}, tags={"shift": "day"}, autoScalingGroupTags=tags)
    item["metadata"]["name"] = f"{name}-workers"
    item["spec"]["nodeGroupName"] = "workers"
    return Group(on, in_aws, name, "workers", item), [access, cluster(name, **{**SMALL, "addons": [], **reference, **spec}), item]


def test_tags_are_set_changed_and_removed_though_the_operator_is_killed_at_every_write(on: Environment, capsys) -> None:
    wanted = {LABEL: "shop", "cost-center": "4711"}
    group, items = new_group(on, "crash", wanted)
    on.apply(*items)

    def until_tags(expected: dict[str, str]) -> Callable[[], bool]:
        return lambda: group.is_ready() and group.tags() == {**group.of_eks(), **expected}

    created = killed_at(on, group.account.id, until_tags(wanted), flags=FLAGS, timeout=120)
    assert any(point.startswith(SET) for point in created.points), created.points
    assert {key: tag["PropagateAtLaunch"] for key, tag in group.described().items() if key in wanted} == dict.fromkeys(wanted, False)
    group.set_by_hand("theirs", "x")
    on.api.patch(*key_of(group.item)[:3], {"spec": {"autoScalingGroupTags": {LABEL: "web", "cost-center": None, "tier": "1"}}})
    changed = killed_at(on, group.account.id, until_tags({LABEL: "web", "tier": "1", "theirs": "x"}), flags=FLAGS, timeout=120)
    assert {point.split(" ")[0] for point in changed.points} == {SET, REMOVE}
    on.api.patch(*key_of(group.item)[:3], {"spec": {"autoScalingGroupTags": None}})
    removed = killed_at(on, group.account.id, until_tags({"theirs": "x"}), flags=FLAGS, timeout=120)
    with on.operator(*FLAGS, account=group.account.id):
        until(lambda: not group.keys_on_record(), 60, "no key on record")
        group.await_tags({"theirs": "x"})
    with capsys.disabled():
        print(f"\n  {created.summary('create')}\n  {changed.summary('change')}\n  {removed.summary('remove')}")
    on.force_delete(*items)


def test_tags_of_an_adopted_group_are_imported_and_adopted_unchanged(on: Environment) -> None:
    account = on.account(fresh_account())
    others, name = Others(account), f"small-{account.id[-3:]}"
    others.small(name)
    theirs = Group(on, account, name, "workers", {})
    theirs.set_by_hand(LABEL, "shop", at_launch=True)
    theirs.set_by_hand("owners", "a, b")
    items = imported(on, account, f"--name={name}")
    theirs.item = next(item for item in items if item["kind"] == "NodeGroup")
    assert theirs.item["spec"]["autoScalingGroupTags"] == {LABEL: "shop"}, "not those of EKS, nor one that the API does not take"
    before = theirs.described()
    with on.operator(*FLAGS, account=account.id):
        mark = on.mark()
        on.apply(*items)
        on.ready(*items)
        assert SET not in theirs.writes(mark) and theirs.described() == before, "adopted unchanged"
        on.api.patch(*key_of(items[0])[:3], {"spec": {"changePolicy": "Observe"}})
        on.await_condition(items[0], "GitOpsReady", status="Unknown", reason="Observed")
        mark, keys = on.mark(), theirs.keys_on_record()
        on.api.patch(*key_of(theirs.item)[:3], {"spec": {"autoScalingGroupTags": {"tier": "1"}}})
        until(lambda: "autoScalingGroupTags.tier" in str(theirs.found()["status"]["plan"]), 30, "the plan")
        assert theirs.writes(mark) == [] and theirs.described() == before, "Observe writes nothing"
        assert theirs.keys_on_record() == keys == [LABEL]
        on.api.patch(*key_of(items[0])[:3], {"spec": {"changePolicy": "Automatic"}})
        theirs.await_tags({LABEL: "shop", "owners": "a, b", "tier": "1"})
        assert theirs.writes(mark).count(SET) == 1
        assert theirs.edit({LABEL: "web"}) == [SET]
        assert theirs.described()[LABEL]["PropagateAtLaunch"] is True, "as it was"
        assert theirs.edit({LABEL: None, "tier": None}) == [REMOVE]
        theirs.await_tags({"owners": "a, b"})
    on.force_delete(*items)


def test_approval_of_a_new_node_group_covers_the_tags(on: Environment) -> None:
    group, items = new_group(on, "asks", {LABEL: "shop"})
    with on.operator(*FLAGS, account=group.account.id):
        on.apply(*items[:2])
        on.ready(items[1])
        on.api.patch(*key_of(items[1])[:3], {"spec": {"changePolicy": "Approval"}})
        on.apply(group.item)
        plan = on.await_state(group.item, lambda item: bool(item.get("status", {}).get("plan", {}).get("hash")))["status"]["plan"]
        assert f"{LABEL}=shop" in str(plan["steps"])
        on.api.patch(*key_of(group.item)[:3], {"metadata": {"annotations": {"keelson.dev/approve": plan["hash"]}}})
        on.ready(group.item)
        group.await_tags({LABEL: "shop"})
    on.force_delete(*items)


@pytest.fixture(scope="module")
def group(on: Environment) -> Group:
    made, items = new_group(on, "shop", {LABEL: "shop", "cost-center": "1"}, account={"enforcedTags": {"cost-center": "4711"}})
    on.start(*FLAGS, account=made.account.id)
    on.apply(*items)
    on.ready(*items[1:])
    return made


def test_tag_that_the_account_enforces_has_its_value(group: Group) -> None:
    group.await_tags({LABEL: "shop", "cost-center": "4711"})
    message = group.on.condition(group.item, "InSync")["message"]
    assert "enforces other tags than spec.autoScalingGroupTags has for cost-center" in message
    assert group.edit({"cost-center": None}) == [REMOVE]


def test_tag_changed_or_deleted_by_hand_is_written_again(group: Group) -> None:
    group.set_by_hand(LABEL, "other")
    group.set_by_hand("theirs", "x")
    group.await_tags({LABEL: "shop", "theirs": "x"})
    group.client.delete_tags(Tags=[{"ResourceId": group.group_name(), "ResourceType": "auto-scaling-group", "Key": LABEL}])
    group.await_tags({LABEL: "shop", "theirs": "x"})


def test_key_that_eks_sets_stays_when_the_spec_no_longer_names_it(group: Group) -> None:
    assert group.edit({ENABLED: "true"}) == []
    assert group.edit({ENABLED: None}) == []
    group.await_tags({LABEL: "shop", "theirs": "x"})
    until(lambda: ENABLED not in group.keys_on_record(), 30, "the record")


def test_more_tags_than_one_call_takes_fill_the_group(group: Group) -> None:
    many = {f"k{number}": "v" for number in range(43)}
    assert group.edit({**many}) == [SET, SET]
    mark = group.on.mark()
    group.on.api.patch(*key_of(group.item)[:3], {"spec": {"autoScalingGroupTags": {"one-more": "v"}}})
    message = until(
        lambda: (found := group.on.condition(group.item)) and "LimitExceeded" in found.get("message", "") and found["message"], 30, "the refusal"
    )
    assert "at most 50 tags" in message and "remove some of spec.autoScalingGroupTags" in message
    assert SET not in [action for action in group.writes(mark) if "one-more" in group.tags()]
    assert group.edit({"one-more": None, **dict.fromkeys(many)}) == [REMOVE, REMOVE]
    group.await_tags({LABEL: "shop", "theirs": "x"})


def test_denied_tags_are_named_and_hold_up_no_other_edit(group: Group) -> None:
    group.on.aws.add_fault({"service": "autoscaling", "write": True, "account": group.account.id}, {"deny": "identity-based policy"})
    group.on.api.patch(*key_of(group.item)[:3], {"spec": {"autoScalingGroupTags": {"tier": "1"}, "labels": {"a": "b"}}})
    described = lambda: group.account.eks.describe_nodegroup(clusterName="shop", nodegroupName="workers")["nodegroup"]  # noqa: E731
    until(lambda: described().get("labels") == {"a": "b"}, 30, "the label")
    group.on.await_condition(group.item, "Ready", status="False", reason="AccessDenied")
    assert "autoscaling:CreateOrUpdateTags" in group.on.condition(group.item)["message"]
    group.on.aws.clear_faults()
    group.on.reconcile(group.item)
    group.await_tags({LABEL: "shop", "theirs": "x", "tier": "1"})


def test_deletion_touches_no_tags(group: Group) -> None:
    mark = group.on.mark()
    group.on.delete(group.item)
    assert {SET, REMOVE} & set(group.writes(mark)) == set()
