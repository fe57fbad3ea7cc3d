"""A deletion that cannot end does not start: EKS deletes no control plane that has node groups or Fargate profiles, so those that would stay
are looked for before the first write.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until, within
from fleet.manifests import cluster, key_of, node_group
from keelson_harness.aws import Durations

FARGATE = "eks-fargate-pods.amazonaws.com"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False, flux=False, durations=Durations(0.5, 0.5, 0.5, 0.5, 0.2, 0.2)) as started:
        yield started


class Scene:
    """A cluster with two NodeGroups that runs, and its operator."""

    def __init__(self, on: Environment, name: str):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.item = cluster(name, network={"vpc": {"zoneCount": 2}}, addons=[])
        self.groups = [node_group(name, f"{name}-{color}", instanceTypes=["m7i.large"]) for color in ("blue", "green")]

    def start(self) -> None:
        self.on.apply(self.item, *self.groups)
        self.on.ready(self.item, *self.groups)

    def subnets(self) -> list[str]:
        found = self.account.ec2.describe_subnets(Filters=[{"Name": "tag:keelson.dev/resource", "Values": ["subnet/private*"]}])
        return [one["SubnetId"] for one in found["Subnets"]]

    def delete(self) -> None:
        for item in (*self.groups, self.item):
            self.on.api.delete(*key_of(item))

    def await_blocked(self, text: str) -> str:
        def found() -> str | None:
            condition = self.on.condition(self.item)
            return condition["message"] if condition.get("reason") == "DeletionBlocked" and text in condition["message"] else None

        return until(found, 30, f"DeletionBlocked {text}")


@pytest.fixture
def scene(on: Environment) -> Iterator[Scene]:
    made = Scene(on, f"start-{fresh_account()[-4:]}")
    with on.operator(account=made.account.id):
        made.start()
        yield made
    on.force_delete(made.item, *made.groups)


def group_that_is_retained(scene: Scene) -> tuple[str, Callable[[], object]]:
    version, kind, name, _ = key_of(scene.groups[0])
    scene.on.api.patch(version, kind, name, {"spec": {"deletionPolicy": "Retain"}})
    text = f"node group {name}: NodeGroup {name} has deletionPolicy: Retain"
    return text, lambda: scene.on.api.patch(version, kind, name, {"spec": {"deletionPolicy": "Delete"}})


def group_that_is_suspended(scene: Scene) -> tuple[str, Callable[[], object]]:
    version, kind, name, _ = key_of(scene.groups[0])
    scene.on.api.patch(version, kind, name, {"spec": {"suspend": True}})
    return f"node group {name}: NodeGroup {name} has suspend: true", lambda: scene.on.api.patch(version, kind, name, {"spec": {"suspend": False}})


def group_on_hold(scene: Scene) -> tuple[str, Callable[[], object]]:
    version, kind, name, _ = key_of(scene.groups[0])
    annotated = lambda value: {"metadata": {"annotations": {"hold.keelson.dev/audit": value}}}
    scene.on.api.patch(version, kind, name, annotated("until the audit is over"))
    text = f"node group {name}: NodeGroup {name} has an annotation hold.keelson.dev/NAME"
    return text, lambda: scene.on.api.patch(version, kind, name, annotated(None))


def group_of_others(scene: Scene) -> tuple[str, Callable[[], object]]:
    eks, role = scene.account.eks, scene.account.role("nodes-by-hand", {"Service": "ec2.amazonaws.com"})
    for policy in ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly", "AmazonEKS_CNI_Policy"):
        scene.account.iam.attach_role_policy(RoleName="nodes-by-hand", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    names = {"clusterName": scene.name, "nodegroupName": "by-hand"}
    eks.create_nodegroup(**names, nodeRole=role, subnets=scene.subnets())
    until(lambda: eks.describe_nodegroup(**names)["nodegroup"]["status"] == "ACTIVE", 30, "by-hand")
    return "node group by-hand, which no NodeGroup names", lambda: eks.delete_nodegroup(**names)


def profile_of_others(scene: Scene) -> tuple[str, Callable[[], object]]:
    eks, role = scene.account.eks, scene.account.role("pods-by-hand", {"Service": FARGATE})
    names = {"clusterName": scene.name, "fargateProfileName": "by-hand"}
    eks.create_fargate_profile(**names, podExecutionRoleArn=role, subnets=scene.subnets(), selectors=[{"namespace": "batch"}])
    until(lambda: eks.describe_fargate_profile(**names)["fargateProfile"]["status"] == "ACTIVE", 30, "by-hand")
    return "Fargate profile by-hand, which this object does not own", lambda: eks.delete_fargate_profile(**names)


@pytest.mark.parametrize("stays_behind", [group_that_is_retained, group_that_is_suspended, group_on_hold, group_of_others, profile_of_others])
def test_deletion_does_not_start_while_something_would_keep_the_control_plane(on, scene, stays_behind):
    text, solve = stays_behind(scene)
    mark = on.mark()
    scene.delete()
    message = scene.await_blocked(text)
    assert message.startswith("the deletion does not start") and "deletionPolicy: Retain on the EksCluster" in message, message
    others = [group["metadata"]["name"] for group in scene.groups if group["metadata"]["name"] not in text]
    assert not any(name in message for name in others), "what is deleted with the cluster is no obstacle"
    stays(lambda: actions(on.writes(mark, scene.account.id)) == [], 2, "no write")
    assert on.status(scene.item).get("deletion", {}).get("began") is None
    solve()
    on.api.wait_gone(*key_of(scene.item), 90)
    assert set(scene.account.inventory()) <= {"roles"}, "by the test"


def test_blocked_deletion_reacts_to_its_node_groups_and_reads_aws_less_and_less_often(on, scene):
    version, kind, name, _ = key_of(scene.groups[0])
    group_that_is_retained(scene)
    since = on.mark()
    scene.delete()
    scene.await_blocked("deletionPolicy: Retain")

    def reads() -> list[datetime.datetime]:
        calls = on.calls(since, scene.account.id)
        return [datetime.datetime.fromisoformat(call["time"]) for call in calls if call["action"] == "ListFargateProfiles"]

    # The second read is 15 s after the first, the third 30 s after the second: `blocked.rs` has the schedule.
    until(lambda: reads() and (reads()[-1] - reads()[0]).total_seconds() > 10, 60, "the second read")
    last = reads()[-1]
    stays(lambda: reads()[-1] == last, 18, "no further read: with a fixed interval there would be one")
    on.api.patch(version, kind, name, {"spec": {"deletionPolicy": "Delete"}})
    # Twelve seconds before the third read.
    within(lambda: on.status(scene.item).get("deletion", {}).get("began"), 11, "the deletion to start at once")
    on.api.wait_gone(*key_of(scene.item), 90)


def test_retained_node_group_stays_with_its_retained_cluster(on, scene):
    group_that_is_retained(scene)
    scene.delete()
    scene.await_blocked("deletionPolicy: Retain")
    # The other way out.
    on.api.patch(*key_of(scene.item)[:3], {"spec": {"deletionPolicy": "Retain"}})
    on.api.wait_gone(*key_of(scene.item), 60)
    assert scene.name in scene.account.eks.list_clusters()["clusters"]
    assert len(scene.account.eks.list_nodegroups(clusterName=scene.name)["nodegroups"]) == 2
