"""Version updates of node groups: rolling replacement of the nodes, and the state after a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Cloud, Server, expect_error
from test_nodegroups import instances

# Each state lasts a fifth of it: long enough to be observed on a busy machine.
SECONDS = 2
STUCK = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods from nodes"}


@pytest.fixture(autouse=True)
def restore_duration(server: Server) -> Iterator[None]:
    """Restores the short duration, which upgraded_control_plane raises, after the test."""
    yield
    server.post("settings", {"NODEGROUP_SECONDS": 0.12})


def upgraded_control_plane(cloud: Cloud, **nodegroup: Any) -> None:
    """A control plane one minor newer than its node group of three."""
    cloud.cluster(version="1.33")
    cloud.nodegroup(scalingConfig={"minSize": 3, "maxSize": 3, "desiredSize": 3}, **nodegroup)
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    cloud.server.post("settings", {"NODEGROUP_SECONDS": SECONDS})


def begin(cloud: Cloud, version: str = "1.34", **more: Any) -> dict[str, Any]:
    update: dict[str, Any] = cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version=version, **more)
    return update


def watched(cloud: Cloud, update: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """All observed states of the nodes until the end of the update."""
    pictures: list[list[dict[str, Any]]] = []
    while True:
        now = cloud.nodes()
        # Checked after the observation, so that no state after the end is included.
        described = cloud.eks.describe_update(name="demo", updateId=update["update"]["id"], nodegroupName="nodes")
        if described["update"]["status"] != "InProgress":
            return pictures
        if not pictures or pictures[-1] != now:
            pictures.append(now)
        time.sleep(0.01)


def old(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in nodes if node["kubelet"].startswith("v1.33.")]


def new(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in nodes if node["kubelet"].startswith("v1.34.")]


def test_additional_nodes_are_launched_before_old_ones_are_terminated_one_by_one(cloud: Cloud) -> None:
    upgraded_control_plane(cloud)
    pictures = watched(cloud, begin(cloud))
    # A busy machine may miss the moment before they are launched.
    assert len(old(pictures[0])) == 3
    # Additional nodes: twice the number of zones. They are not ready at first, and no node is cordoned before they are.
    launched = next(p for p in pictures if new(p))
    assert len(new(launched)) == 4 and not any(n["ready"] for n in new(launched)) and not any(n["cordoned"] for n in launched)
    after = pictures[pictures.index(launched) + 1 :]
    assert all(n["ready"] for p in after for n in p) and all(n["cordoned"] for p in after for n in old(p))
    assert [len(old(p)) for p in after] == [3, 2, 1, 0]
    assert all(len(new(p)) >= 3 and not any(n["cordoned"] for n in new(p)) for p in after)
    assert (len(new(cloud.nodes())), len(old(cloud.nodes()))) == (3, 0) and len(instances(cloud)) == 3
    assert cloud.describe_nodegroup()["scalingConfig"] == {"minSize": 3, "maxSize": 3, "desiredSize": 3}
    name = cloud.describe_nodegroup()["resources"]["autoScalingGroups"][0]["name"]
    (group,) = cloud.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    assert (group["DesiredCapacity"], group["MaxSize"]) == (3, 3)


def test_max_unavailable_nodes_are_terminated_together(cloud: Cloud) -> None:
    upgraded_control_plane(cloud, updateConfig={"maxUnavailable": 2})
    left = [len(old(picture)) for picture in watched(cloud, begin(cloud))]
    assert sorted(set(left), reverse=True) == [3, 1, 0]


def test_minimal_strategy_launches_no_additional_nodes(cloud: Cloud) -> None:
    upgraded_control_plane(cloud, updateConfig={"maxUnavailable": 1, "updateStrategy": "MINIMAL"})
    assert {len(picture) for picture in watched(cloud, begin(cloud))} == {3}
    assert len(new(cloud.nodes())) == 3


def test_eviction_failure_fails_the_update_and_names_the_nodes(cloud: Cloud, server: Server) -> None:
    upgraded_control_plane(cloud)
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateNodegroupVersion"}, "then": {"health_issue": STUCK}})
    update = begin(cloud)
    done = cloud.update_done(update, nodegroupName="nodes")
    assert (done["status"], done["errors"][0]["errorCode"]) == ("Failed", "PodEvictionFailure")
    (stuck,) = old(cloud.nodes())
    assert done["errors"][0]["resourceIds"] == [stuck["name"]]
    assert not stuck["cordoned"] and len(cloud.nodes()) == 3, "what was replaced stays new, the rest is let be"
    assert (cloud.describe_nodegroup()["status"], cloud.describe_nodegroup()["version"]) == ("ACTIVE", "1.33")
    # Force overrides it and replaces only the remaining node.
    kept = {n["name"] for n in new(cloud.nodes())}
    assert cloud.update_done(begin(cloud, force=True), nodegroupName="nodes")["status"] == "Successful"
    assert len(new(cloud.nodes())) == 3 and kept <= {n["name"] for n in cloud.nodes()}


def test_old_nodes_are_kept_if_new_ones_do_not_become_ready(cloud: Cloud, server: Server) -> None:
    upgraded_control_plane(cloud)
    before = cloud.nodes()
    issue = {"code": "NodeCreationFailure", "message": "Couldn't proceed with upgrade process as new nodes are not joining node group nodes"}
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateNodegroupVersion"}, "then": {"health_issue": issue}})
    update = begin(cloud)
    pictures = watched(cloud, update)
    assert cloud.update_done(update, nodegroupName="nodes")["errors"][0]["errorCode"] == "NodeCreationFailure"
    assert not any(n["ready"] for p in pictures for n in new(p)) and cloud.nodes() == before


def test_version_of_a_group_without_nodes_is_updated(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    cloud.nodegroup(scalingConfig={"minSize": 0, "maxSize": 2, "desiredSize": 0})
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    cloud.update_done(begin(cloud), nodegroupName="nodes")
    assert cloud.describe_nodegroup()["version"] == "1.34" and cloud.nodes() == []
    cloud.update_done(
        cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", scalingConfig={"desiredSize": 1}), nodegroupName="nodes"
    )
    assert len(new(cloud.nodes())) == 1


def test_instance_added_by_an_autoscaler_after_a_failure_has_the_old_version(cloud: Cloud, server: Server) -> None:
    upgraded_control_plane(cloud)
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateNodegroupVersion"}, "then": {"health_issue": STUCK}})
    cloud.update_done(begin(cloud), nodegroupName="nodes")
    name = cloud.describe_nodegroup()["resources"]["autoScalingGroups"][0]["name"]
    cloud.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
    assert (len(old(cloud.nodes())), len(new(cloud.nodes()))) == (2, 2)


def test_node_update_is_rejected_during_a_cluster_update(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    cloud.nodegroup(version="1.32")
    first = cloud.eks.update_cluster_version(name="demo", version="1.34")
    with expect_error("InvalidRequestException", "is not in ACTIVE status"):
        begin(cloud, version="1.33")
    cloud.update_done(first)
