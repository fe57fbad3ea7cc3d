"""Node groups: their instances, and the defaults that Terraform and Cluster API rely on."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, Server, expect_error


def instances(cloud: Cloud, *states: str) -> list[dict[str, Any]]:
    found = cloud.ec2.describe_instances(
        Filters=[
            {"Name": "tag:eks:nodegroup-name", "Values": ["nodes"]},
            {"Name": "instance-state-name", "Values": list(states or ["running"])},
        ]
    )
    return [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]


def test_defaults_are_those_of_eks(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    nodes = cloud.nodegroup()
    assert nodes["status"] == "ACTIVE"
    assert (nodes["version"], nodes["amiType"], nodes["capacityType"]) == ("1.33", "AL2023_x86_64_STANDARD", "ON_DEMAND")
    assert nodes["releaseVersion"].startswith("1.33.")
    assert (nodes["instanceTypes"], nodes["diskSize"], nodes["updateConfig"]) == (["t3.medium"], 20, {"maxUnavailable": 1})
    assert "remoteAccess" not in nodes and "launchTemplate" not in nodes


def test_arm_instances_need_an_explicit_arm_ami_type(cloud: Cloud) -> None:
    """The default AMI type is x86_64, regardless of the instance types."""
    cloud.cluster()
    of = {"clusterName": "demo", "nodegroupName": "n", "subnets": cloud.subnets, "nodeRole": cloud.node_role(), "instanceTypes": ["m7g.large"]}
    with expect_error("InvalidParameterException", "[m7g.large] is not a valid instance type for requested amiType AL2023_x86_64_STANDARD"):
        cloud.eks.create_nodegroup(**of)
    created = cloud.eks.create_nodegroup(**of, amiType="AL2023_ARM_64_STANDARD")["nodegroup"]
    assert (created["amiType"], created["instanceTypes"]) == ("AL2023_ARM_64_STANDARD", ["m7g.large"])


def test_instances_are_distributed_over_the_subnets(cloud: Cloud) -> None:
    cloud.cluster()
    nodes = cloud.nodegroup(scalingConfig={"minSize": 1, "maxSize": 5, "desiredSize": 4})
    group_name = nodes["resources"]["autoScalingGroups"][0]["name"]
    (group,) = cloud.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group_name])["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (1, 5, 4)
    assert {tag["Key"] for tag in group["Tags"]} >= {"eks:cluster-name", "eks:nodegroup-name", "kubernetes.io/cluster/demo"}
    running = instances(cloud)
    assert sorted(i["InstanceId"] for i in group["Instances"]) == sorted(i["InstanceId"] for i in running)
    assert [len([i for i in running if i["SubnetId"] == s]) for s in cloud.subnets] == [2, 2]
    zones = {s["SubnetId"]: s["AvailabilityZone"] for s in cloud.ec2.describe_subnets(SubnetIds=cloud.subnets)["Subnets"]}
    assert all(i["Placement"]["AvailabilityZone"] == zones[i["SubnetId"]] for i in running)
    security_group = cloud.describe()["resourcesVpcConfig"]["clusterSecurityGroupId"]
    assert all(security_group in [g["GroupId"] for g in i["SecurityGroups"]] for i in running)


def test_deletion_terminates_the_instances_and_frees_the_subnets(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    assert len(instances(cloud)) == 2
    assert cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")["nodegroup"]["status"] == "DELETING"
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
    assert instances(cloud) == [] and len(instances(cloud, "terminated")) == 2
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    for subnet in cloud.subnets:
        cloud.ec2.delete_subnet(SubnetId=subnet)
    cloud.ec2.delete_vpc(VpcId=cloud.vpc_id)
    assert set(cloud.inventory()) == {"global"}


def test_deleting_node_group_blocks_cluster_deletion(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup()
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    with expect_error("ResourceInUseException", "Cluster has nodegroups attached") as error:
        cloud.eks.delete_cluster(name="demo")
    assert error.body["clusterName"] == "demo" and error.body["nodegroupName"] == "nodes"
    with expect_error("ResourceInUseException", "DELETING"):
        cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")


def test_inactive_cluster_rejects_node_groups(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with expect_error("InvalidRequestException", "is not in ACTIVE status"):
        cloud.nodegroup(wait=False)


def test_client_tokens_and_names(cloud: Cloud) -> None:
    cloud.cluster()
    parameters = {"nodeRole": cloud.node_role(), "clientRequestToken": "n"}
    first = cloud.nodegroup(wait=False, **parameters)
    assert cloud.nodegroup(wait=False, **parameters)["nodegroupArn"] == first["nodegroupArn"]
    with expect_error("ResourceInUseException", "NodeGroup already exists with name nodes and cluster name demo"):
        cloud.nodegroup(wait=False, **{**parameters, "clientRequestToken": "m"})
    with expect_error("ResourceNotFoundException") as error:
        cloud.describe_nodegroup("none")
    assert error.message == "No node group found for name: none." and error.body["nodegroupName"] == "none"


SIZES = {
    "min over max": {"minSize": 3, "maxSize": 2, "desiredSize": 3},
    "desired over max": {"minSize": 1, "maxSize": 2, "desiredSize": 3},
    "desired under min": {"minSize": 2, "maxSize": 3, "desiredSize": 1},
    "too many": {"minSize": 1, "maxSize": 451, "desiredSize": 1},
}


@pytest.mark.parametrize("what", SIZES)
def test_invalid_sizes_are_rejected(cloud: Cloud, what: str) -> None:
    cloud.cluster()
    with expect_error("InvalidParameterException"):
        cloud.nodegroup(wait=False, scalingConfig=SIZES[what])


def test_invalid_parameters_are_rejected(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    role = cloud.node_role()
    for more, text in (
        ({"version": "1.34"}, "not compatible"),
        ({"version": "1.29"}, "unsupported"),
        ({"releaseVersion": "1.33.0-20200101"}, "is not valid for kubernetes version"),
        ({"instanceTypes": ["z9.huge"]}, "do not exist: [z9.huge]"),
        ({"amiType": "AL2023_x86_64"}, "Value 'AL2023_x86_64' at 'amiType' failed to satisfy constraint"),
        ({"amiType": "AL2_x86_64"}, "only supported for kubernetes versions 1.32 or earlier"),
        ({"amiType": "AL2023_x86_64_NVIDIA"}, "[t3.medium] is not a valid instance type"),
        ({"nodeRole": role + "x"}, "does not exist"),
        ({"nodeRole": cloud.describe()["roleArn"]}, "[ec2.amazonaws.com] were not found in the trust relationships"),
        ({"updateConfig": {"maxUnavailable": 1, "maxUnavailablePercentage": 10}}, "Only one of"),
        ({"nodegroupName": "x" * 64}, "63"),
    ):
        with expect_error("InvalidParameterException", text):
            cloud.eks.create_nodegroup(**{"clusterName": "demo", "nodegroupName": "n", "subnets": cloud.subnets, "nodeRole": role, **more})


def test_subnets_must_be_in_the_vpc_of_the_cluster(cloud: Cloud) -> None:
    cloud.cluster()
    _, other = cloud.vpc("a", "10.1.0.0/16")
    with expect_error("InvalidParameterException", "VPC"):
        cloud.nodegroup(wait=False, subnets=other)


def test_nodes_with_a_role_without_policies_cannot_join(cloud: Cloud) -> None:
    cloud.cluster()
    nodes = cloud.nodegroup(nodeRole=cloud.role("bare", "ec2.amazonaws.com"))
    assert nodes["status"] == "CREATE_FAILED"
    assert nodes["health"]["issues"][0]["code"] == "NodeCreationFailure"


def test_public_subnets_must_assign_public_addresses(cloud: Cloud) -> None:
    cloud.cluster()
    gateway = cloud.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    cloud.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=cloud.vpc_id)
    table = cloud.ec2.create_route_table(VpcId=cloud.vpc_id)["RouteTable"]["RouteTableId"]
    cloud.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    cloud.ec2.associate_route_table(RouteTableId=table, SubnetId=cloud.subnets[0])
    nodes = cloud.nodegroup()
    assert nodes["status"] == "CREATE_FAILED"
    assert nodes["health"]["issues"][0] == {
        "code": "Ec2SubnetInvalidConfiguration", "resourceIds": [cloud.subnets[0]], "message": nodes["health"]["issues"][0]["message"],
    }


def test_node_group_can_be_recreated_after_a_fault(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    issue = {"code": "IamThrottling", "message": "Rate exceeded"}
    server.post("faults", {"match": {"account": cloud.account, "action": "CreateNodegroup", "times": 1}, "then": {"health_issue": issue}})
    nodes = cloud.nodegroup()
    assert nodes["status"] == "CREATE_FAILED" and nodes["health"]["issues"][0]["code"] == "IamThrottling"
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
    assert cloud.nodegroup(nodeRole=nodes["nodeRole"])["status"] == "ACTIVE"


def test_configuration_is_updated(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup(labels={"a": "1", "b": "2"}, taints=[{"key": "t", "value": "x", "effect": "NO_SCHEDULE"}])
    update = cloud.eks.update_nodegroup_config(
        clusterName="demo",
        nodegroupName="nodes",
        scalingConfig={"minSize": 1, "maxSize": 4, "desiredSize": 3},
        labels={"addOrUpdateLabels": {"c": "3"}, "removeLabels": ["a"]},
        taints={"removeTaints": [{"key": "t", "value": "x", "effect": "NO_SCHEDULE"}]},
        updateConfig={"maxUnavailablePercentage": 50},
    )
    assert update["update"]["type"] == "ConfigUpdate"
    assert cloud.describe_nodegroup()["status"] == "UPDATING"
    with expect_error("ResourceInUseException", update["update"]["id"]):
        cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", scalingConfig={"desiredSize": 2})
    assert cloud.update_done(update, nodegroupName="nodes")["status"] == "Successful"
    nodes = cloud.describe_nodegroup()
    assert nodes["scalingConfig"] == {"minSize": 1, "maxSize": 4, "desiredSize": 3}
    assert (nodes["labels"], nodes["taints"], nodes["updateConfig"]) == ({"b": "2", "c": "3"}, [], {"maxUnavailablePercentage": 50})
    assert len(instances(cloud)) == 3


def test_size_set_by_an_autoscaler_is_returned(cloud: Cloud) -> None:
    cloud.cluster()
    nodes = cloud.nodegroup(scalingConfig={"minSize": 1, "maxSize": 5, "desiredSize": 1})
    name = nodes["resources"]["autoScalingGroups"][0]["name"]
    cloud.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
    assert cloud.describe_nodegroup()["scalingConfig"]["desiredSize"] == 4


def test_node_group_version_follows_the_cluster(cloud: Cloud) -> None:
    cloud.cluster(version="1.33")
    cloud.nodegroup()
    before = {i["InstanceId"] for i in instances(cloud)}
    with expect_error("InvalidParameterException", "not compatible"):
        cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version="1.34")
    with expect_error("InvalidParameterException", "already at the desired configuration"):
        cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes")
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    assert cloud.describe_nodegroup()["version"] == "1.33"
    update = cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version="1.34")
    assert update["update"]["type"] == "VersionUpdate"
    cloud.update_done(update, nodegroupName="nodes")
    nodes = cloud.describe_nodegroup()
    assert nodes["version"] == "1.34" and nodes["releaseVersion"].startswith("1.34.")
    assert len(instances(cloud)) == 2 and not before & {i["InstanceId"] for i in instances(cloud)}


def test_failed_version_update_has_an_error(cloud: Cloud, server: Server) -> None:
    cloud.cluster(version="1.33")
    cloud.nodegroup()
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    issue = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods", "resourceIds": ["node-1"]}
    server.post("faults", {"match": {"account": cloud.account, "action": "UpdateNodegroupVersion"}, "then": {"health_issue": issue}})
    done = cloud.update_done(cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version="1.34"), nodegroupName="nodes")
    assert done["status"] == "Failed" and done["errors"][0]["errorCode"] == "PodEvictionFailure"
    assert (cloud.describe_nodegroup()["status"], cloud.describe_nodegroup()["version"]) == ("ACTIVE", "1.33")


def test_launch_template_is_used(cloud: Cloud) -> None:
    cloud.cluster()
    template = cloud.ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData={"InstanceType": "m5.large"})["LaunchTemplate"]
    with expect_error("InvalidParameterException", "Disk size must be specified within the launch template."):
        cloud.nodegroup(wait=False, nodeRole=cloud.node_role(), launchTemplate={"id": template["LaunchTemplateId"]}, diskSize=30)
    role = cloud.iam.get_role(RoleName="node")["Role"]["Arn"]
    nodes = cloud.nodegroup(nodeRole=role, launchTemplate={"id": template["LaunchTemplateId"], "version": "1"})
    assert nodes["launchTemplate"] == {"id": template["LaunchTemplateId"], "name": "mine", "version": "1"}
    assert "diskSize" not in nodes and {i["InstanceType"] for i in instances(cloud)} == {"m5.large"}
    cloud.ec2.create_launch_template_version(LaunchTemplateName="mine", LaunchTemplateData={"InstanceType": "m5.xlarge"})
    update = cloud.eks.update_nodegroup_version(
        clusterName="demo", nodegroupName="nodes", launchTemplate={"id": template["LaunchTemplateId"], "version": "2"}
    )
    cloud.update_done(update, nodegroupName="nodes")
    assert cloud.describe_nodegroup()["launchTemplate"]["version"] == "2"
    assert {i["InstanceType"] for i in instances(cloud)} == {"m5.xlarge"}


def test_access_entry_of_the_node_role_is_deleted_with_the_last_group(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.nodegroup()["nodeRole"]
    entry = cloud.eks.describe_access_entry(clusterName="demo", principalArn=role)["accessEntry"]
    assert (entry["type"], entry["kubernetesGroups"]) == ("EC2_LINUX", ["system:nodes"])
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
    assert role not in cloud.eks.list_access_entries(clusterName="demo")["accessEntries"]


def test_limit_of_thirty_node_groups(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    for i in range(30):
        cloud.nodegroup(f"n{i}", wait=False, nodeRole=role, scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 0})
    with expect_error("ResourceLimitExceededException"):
        cloud.nodegroup("n30", wait=False, nodeRole=role)
    assert len(cloud.eks.list_nodegroups(clusterName="demo")["nodegroups"]) == 30


GPU_OVERRIDE = {
    "nodeMonitoringCondition": "AcceleratedHardwareReady", "nodeUnhealthyReason": "NvidiaXID64Error", "minRepairWaitTimeMins": 5,
    "repairAction": "Replace",
}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"maxUnhealthyNodeThresholdCount": 1, "maxUnhealthyNodeThresholdPercentage": 10}, "Only one of maxUnhealthyNodeThresholdCount"),
        ({"maxParallelNodesRepairedCount": 1, "maxParallelNodesRepairedPercentage": 10}, "Only one of maxParallelNodesRepairedCount"),
        ({"maxUnhealthyNodeThresholdPercentage": 101}, "less than or equal to 100"),
        ({"nodeRepairConfigOverrides": [{**GPU_OVERRIDE, "repairAction": "Restart"}]}, "Member must satisfy enum value set"),
        ({"nodeRepairConfigOverrides": [{k: v for k, v in GPU_OVERRIDE.items() if k != "repairAction"}]}, "requires repairAction"),
        ({"nodeRepairConfigOverrides": [GPU_OVERRIDE, {**GPU_OVERRIDE, "minRepairWaitTimeMins": 6}]}, "must be unique"),
    ],
)
def test_repair_settings_that_exclude_each_other_are_refused(cloud: Cloud, config: dict[str, Any], text: str) -> None:
    cloud.cluster()
    role = cloud.node_role()
    with expect_error("InvalidParameterException", text):
        cloud.nodegroup(nodeRole=role, nodeRepairConfig={"enabled": True, **config})


def test_repair_settings_are_replaced_as_a_whole(cloud: Cloud) -> None:
    cloud.cluster()
    config = {"enabled": True, "maxUnhealthyNodeThresholdPercentage": 10, "nodeRepairConfigOverrides": [GPU_OVERRIDE]}
    assert cloud.nodegroup(nodeRepairConfig=config)["nodeRepairConfig"] == config
    changed = {"enabled": True, "maxParallelNodesRepairedCount": 2}
    cloud.eks.update_nodegroup_config(
        clusterName="demo", nodegroupName="nodes", nodeRepairConfig={**changed, "nodeRepairConfigOverrides": []}
    )
    cloud.until(lambda: cloud.describe_nodegroup()["nodeRepairConfig"] == changed)


def test_warm_pool_is_added_changed_and_removed_by_an_update(cloud: Cloud) -> None:
    cloud.cluster()
    assert "warmPoolConfig" not in cloud.nodegroup()

    def updated(**config: Any) -> dict[str, Any]:
        cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", warmPoolConfig=config)
        found: dict[str, Any] = cloud.until(lambda: (n := cloud.describe_nodegroup())["status"] == "ACTIVE" and n)
        return dict(found["warmPoolConfig"])

    defaults = {"enabled": True, "minSize": 0, "poolState": "STOPPED", "reuseOnScaleIn": False}
    assert updated(enabled=True, maxGroupPreparedCapacity=8) == {**defaults, "maxGroupPreparedCapacity": 8}
    assert updated(minSize=2, poolState="RUNNING") == {**defaults, "minSize": 2, "poolState": "RUNNING"}, "enabled is kept"
    assert updated(enabled=False) == {"enabled": False}


@pytest.mark.parametrize(
    ("asked", "config", "text"),
    [
        ({"capacityType": "SPOT"}, {}, "capacity type SPOT"),
        ({"amiType": "BOTTLEROCKET_x86_64"}, {"poolState": "HIBERNATED"}, "HIBERNATED is not supported for Bottlerocket"),
        ({"amiType": "BOTTLEROCKET_x86_64"}, {"reuseOnScaleIn": True}, "reuseOnScaleIn is not supported for Bottlerocket"),
        ({}, {"minSize": 3, "maxGroupPreparedCapacity": 2}, "cannot be less than the minimum size"),
    ],
)
def test_warm_pool_is_refused_where_auto_scaling_has_none(cloud: Cloud, asked: dict[str, Any], config: dict[str, Any], text: str) -> None:
    cloud.cluster()
    role = cloud.node_role()
    with expect_error("InvalidParameterException", text):
        cloud.nodegroup(nodeRole=role, warmPoolConfig={"enabled": True, **config}, **asked)


def test_warm_pool_is_refused_for_an_own_image(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    data = {"ImageId": "ami-12345678"}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    with expect_error("InvalidParameterException", "not supported for custom AMIs"):
        cloud.nodegroup(nodeRole=role, warmPoolConfig={"enabled": True}, launchTemplate={"id": template})
