"""Node groups with a launch template: what EKS refuses, what it reports, and what instances, volumes and kubelets get of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from conftest import Cloud, Server, expect_error

KINDS = ("instance", "volume")
COST = {"Key": "cost-center", "Value": "4711"}
ONE_NODE = {"minSize": 1, "maxSize": 2, "desiredSize": 1}


def tagged(*kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [COST]} for kind in kinds]


def template(cloud: Cloud, data: dict[str, Any], name: str = "mine") -> dict[str, str]:
    created = cloud.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
    return {"id": created["LaunchTemplateId"]}


def another(cloud: Cloud, of: dict[str, str], data: dict[str, Any]) -> dict[str, str]:
    made = cloud.ec2.create_launch_template_version(LaunchTemplateId=of["id"], LaunchTemplateData=data)["LaunchTemplateVersion"]
    return {"id": of["id"], "version": str(made["VersionNumber"])}


def update(cloud: Cloud, launch_template: dict[str, str]) -> dict[str, Any]:
    return dict(cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", launchTemplate=launch_template))


def issue(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["health"]["issues"]
    return dict(found)


def running(cloud: Cloud) -> list[dict[str, Any]]:
    found = cloud.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
    return [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def mime(*parts: tuple[str, str]) -> str:
    body = "".join(f"--B\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    return f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n{body}--B--\n'


def node_config(**spec: Any) -> tuple[str, str]:
    return "application/node.eks.aws", json.dumps({"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": spec})


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        ({"IamInstanceProfile": {"Name": "x"}}, "InvalidParameterException", "IAM instance profile"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-1"}]}, "InvalidParameterException", "Subnet"),
        ({"InstanceInitiatedShutdownBehavior": "terminate"}, "InvalidParameterException", "shutdown behavior"),
        ({"HibernationOptions": {"Configured": True}}, "InvalidParameterException", "Hibernation"),
        ({"InstanceMarketOptions": {"MarketType": "spot"}}, "InvalidParameterException", "Instance market options are not supported with the launch template."),
        ({"SecurityGroupIds": ["sg-0123"], "NetworkInterfaces": [{"DeviceIndex": 0}]}, "InvalidRequestException", "the security groups must be a part of it"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidRequestException", "'sg-0123456789abcdef0' does not exist"),
    ],
)
def test_prohibited_content_is_refused_at_creation_and_update(cloud: Cloud, data: dict[str, Any], code: str, text: str) -> None:
    cloud.cluster()
    role = cloud.node_role()
    bad = template(cloud, {"EbsOptimized": True, **data}, "bad")
    with expect_error(code, text):
        cloud.nodegroup(nodeRole=role, launchTemplate=bad)
    good = template(cloud, {"EbsOptimized": True})
    cloud.nodegroup(nodeRole=role, launchTemplate=good, scalingConfig=ONE_NODE)
    with expect_error(code, text):
        update(cloud, another(cloud, good, {"EbsOptimized": True, **data}))


def test_what_is_in_the_template_excludes_parameters_of_the_group(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    typed, imaged = template(cloud, {"InstanceType": "m5.large"}, "typed"), template(cloud, {"ImageId": "ami-12345678"}, "imaged")
    for of, asked, code, text in (
        (typed, {"instanceTypes": ["m5.large"]}, "InvalidRequestException", "Cannot specify instance types in launch template and API request"),
        (typed, {"diskSize": 30}, "InvalidParameterException", "Disk size must be specified within the launch template."),
        (typed, {"remoteAccess": {"ec2SshKey": "key"}}, "InvalidParameterException", "Remote access configuration"),
        (typed, {"amiType": "CUSTOM"}, "InvalidParameterException", "amiType CUSTOM"),
        (imaged, {"amiType": "AL2023_x86_64_STANDARD"}, "InvalidParameterException", "You cannot specify an AMI Type other than CUSTOM"),
        (imaged, {"version": "1.34"}, "InvalidParameterException", "version to use when specifying an image id"),
    ):
        with expect_error(code, text):
            cloud.nodegroup(nodeRole=role, launchTemplate=of, **asked)
    with expect_error("InvalidParameterException", "CAPACITY_BLOCK"):
        cloud.nodegroup(nodeRole=role, capacityType="CAPACITY_BLOCK")


def test_template_is_named_by_id_or_name_and_its_version_becomes_a_number(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    made = template(cloud, {"EbsOptimized": True})
    another(cloud, made, {"EbsOptimized": False})
    for wrong, text in (
        ({"version": "1"}, "Either provide launch template ID or launch template name in the request."),
        ({**made, "name": "mine"}, "Either provide launch template ID or launch template name in the request."),
        ({"id": "lt-0123456789abcdef0"}, "Launch template could not be found : The specified launch template, with template ID lt-0123456789abcdef0, does not exist."),
        ({"name": "none"}, "with template name none, does not exist."),
        ({**made, "version": "7"}, "Could not find the specified version 7 for the launch template"),
    ):
        with expect_error("InvalidParameterException", text):
            cloud.nodegroup(nodeRole=role, launchTemplate=wrong)
    for number, (asked, resolved) in enumerate(((made, "1"), ({"name": "mine"}, "1"), ({**made, "version": "$Latest"}, "2"))):
        group = cloud.nodegroup(f"n{number}", nodeRole=role, launchTemplate=asked, scalingConfig=ONE_NODE)
        assert group["launchTemplate"] == {"id": made["id"], "name": "mine", "version": resolved}
        assert group["status"] == "ACTIVE" and "diskSize" not in group and group["instanceTypes"] == ["t3.medium"]


def test_update_needs_the_same_template_and_can_go_back_to_an_old_version(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    made, other = template(cloud, {"InstanceType": "m5.large"}), template(cloud, {"InstanceType": "m5.large"}, "other")
    cloud.nodegroup("plain", nodeRole=role, scalingConfig=ONE_NODE)
    with expect_error("InvalidParameterException", "created without one"):
        cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="plain", launchTemplate=made)
    cloud.nodegroup(nodeRole=role, launchTemplate=made, scalingConfig=ONE_NODE)
    with expect_error("InvalidParameterException", "cannot be replaced"):
        update(cloud, other)
    with expect_error("InvalidParameterException", "image id"):
        update(cloud, another(cloud, made, {"ImageId": "ami-12345678"}))
    for version, kind in ((another(cloud, made, {"InstanceType": "m5.xlarge"}), "m5.xlarge"), ({**made, "version": "1"}, "m5.large")):
        assert cloud.update_done(update(cloud, version), nodegroupName="nodes")["status"] == "Successful"
        assert cloud.describe_nodegroup()["launchTemplate"]["version"] == version["version"]
        assert {i["InstanceType"] for i in running(cloud) if {"Key": "eks:nodegroup-name", "Value": "nodes"} in i["Tags"]} == {kind}


def test_deleted_source_leaves_nodes_alone_and_refuses_updates(cloud: Cloud) -> None:
    cloud.cluster()
    made = template(cloud, {"InstanceType": "m5.large"})
    second = another(cloud, made, {"InstanceType": "m5.xlarge"})
    cloud.nodegroup(launchTemplate=second, scalingConfig=ONE_NODE)
    cloud.ec2.delete_launch_template_versions(LaunchTemplateId=made["id"], Versions=["2"])
    with expect_error("InvalidParameterException", "version 2"):
        update(cloud, second)
    cloud.ec2.delete_launch_template(LaunchTemplateId=made["id"])
    with expect_error("InvalidParameterException", "could not be found"):
        update(cloud, made)
    assert cloud.describe_nodegroup()["status"] == "ACTIVE" and len(running(cloud)) == 1


def of_eks(cloud: Cloud) -> str:
    found = cloud.ec2.describe_launch_templates(Filters=[{"Name": "tag:eks:nodegroup-name", "Values": ["nodes"]}])["LaunchTemplates"]
    return str(found[0]["LaunchTemplateId"])


def test_template_that_eks_made_must_not_be_changed(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup(launchTemplate=template(cloud, {"InstanceType": "m5.large"}), scalingConfig=ONE_NODE)
    own = of_eks(cloud)
    cloud.ec2.create_launch_template_version(LaunchTemplateId=own, LaunchTemplateData={"InstanceType": "m5.xlarge"})
    group = cloud.describe_nodegroup()
    assert (group["status"], issue(group)["code"]) == ("DEGRADED", "Ec2LaunchTemplateVersionMismatch")
    assert "Expected Launch Template version: 1" in issue(group)["message"]
    cloud.ec2.delete_launch_template_versions(LaunchTemplateId=own, Versions=["2"])
    assert cloud.describe_nodegroup()["status"] == "ACTIVE"
    cloud.ec2.delete_launch_template(LaunchTemplateId=own)
    assert issue(cloud.describe_nodegroup())["code"] == "Ec2LaunchTemplateNotFound"


def test_deletion_fails_where_eks_cannot_delete_its_template(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    cloud.nodegroup(scalingConfig=ONE_NODE)
    denied = {"code": "Ec2LaunchTemplateDeletionFailure", "message": "not authorized"}
    server.post("faults", {"match": {"account": cloud.account, "action": "DeleteNodegroup", "times": 1}, "then": {"health_issue": denied}})
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.until(lambda: cloud.describe_nodegroup()["status"] == "DELETE_FAILED")
    assert issue(cloud.describe_nodegroup())["code"] == "Ec2LaunchTemplateDeletionFailure"
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")


def test_volumes_and_tags_of_the_template_reach_the_nodes(cloud: Cloud) -> None:
    cloud.cluster()
    devices = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 80, "VolumeType": "gp3", "Iops": 6000, "Throughput": 250, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 40, "VolumeType": "io2", "Iops": 4000, "DeleteOnTermination": True}},
    ]
    made = template(cloud, {"BlockDeviceMappings": devices, "TagSpecifications": tagged(*KINDS, "network-interface")})
    cloud.nodegroup(launchTemplate=made, tags={"of": "group"}, scalingConfig=ONE_NODE)
    (instance,) = running(cloud)
    volumes = cloud.ec2.describe_volumes(Filters=[{"Name": "tag:eks:nodegroup-name", "Values": ["nodes"]}])["Volumes"]
    shown = {volume["Attachments"][0]["Device"]: (volume["Size"], volume["VolumeType"], volume["Iops"], volume.get("Throughput")) for volume in volumes}
    assert shown == {"/dev/xvda": (80, "gp3", 6000, 250), "/dev/xvdb": (40, "io2", 4000, None)}
    for tags in (instance["Tags"], *(volume["Tags"] for volume in volumes)):
        assert COST in tags and {"Key": "eks:cluster-name", "Value": "demo"} in tags and not any(tag["Key"] == "of" for tag in tags)
    interfaces = cloud.ec2.describe_network_interfaces(Filters=[{"Name": "tag:cost-center", "Values": ["4711"]}])["NetworkInterfaces"]
    assert [one["Attachment"]["InstanceId"] for one in interfaces] == [instance["InstanceId"]]
    # Those of a new version reach the nodes that replace them.
    update_tags = [{"ResourceType": kind, "Tags": [{"Key": "cost-center", "Value": "42"}]} for kind in KINDS]
    cloud.update_done(update(cloud, another(cloud, made, {"TagSpecifications": update_tags})), nodegroupName="nodes")
    (instance,) = running(cloud)
    (volume,) = cloud.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}])["Volumes"]
    assert all({"Key": "cost-center", "Value": "42"} in tags for tags in (instance["Tags"], volume["Tags"])) and volume["Size"] == 20


def test_disk_size_of_the_group_is_that_of_the_volume(cloud: Cloud) -> None:
    cloud.cluster()
    cloud.nodegroup(diskSize=33, scalingConfig=ONE_NODE)
    assert [volume["Size"] for volume in cloud.ec2.describe_volumes()["Volumes"]] == [33]


def deny(cloud: Cloud, server: Server, *kinds: str) -> None:
    statement = {
        "Effect": "Deny", "Action": "ec2:RunInstances", "Resource": [f"arn:aws:ec2:*:*:{kind}/*" for kind in kinds],
        "Condition": {"Null": {"aws:RequestTag/cost-center": "true"}},
    }
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, statement]}
    server.post("scp", {"account": cloud.account, "document": document})


def test_service_control_policy_that_demands_tags_refuses_a_template_without_them(cloud: Cloud, server: Server) -> None:
    cloud.cluster()
    role = cloud.node_role()
    deny(cloud, server, *KINDS)
    plain = cloud.nodegroup("plain", nodeRole=role, tags={"cost-center": "4711"})
    assert plain["status"] == "CREATE_FAILED" and issue(plain)["code"] == "AsgInstanceLaunchFailures"
    assert "ec2:RunInstances on resource" in issue(plain)["message"] and "explicit deny in a service control policy" in issue(plain)["message"]
    half, full = template(cloud, {"TagSpecifications": tagged("instance")}, "half"), template(cloud, {"TagSpecifications": tagged(*KINDS)}, "full")
    with expect_error("InvalidRequestException", "You are not authorized to launch instances with this launch template."):
        cloud.nodegroup(nodeRole=role, launchTemplate=half)
    assert cloud.nodegroup(nodeRole=role, launchTemplate=full, scalingConfig=ONE_NODE)["status"] == "ACTIVE"
    with expect_error("InvalidRequestException", "You are not authorized to launch instances"):
        update(cloud, another(cloud, full, {"TagSpecifications": tagged("volume")}))
    deny(cloud, server, "instance")
    assert cloud.nodegroup("half", nodeRole=role, launchTemplate=half, scalingConfig=ONE_NODE)["status"] == "ACTIVE"


def key(cloud: Cloud, **policy: Any) -> str:
    kms = cloud.client("kms")
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{cloud.account}:root"}, "Action": "kms:*", "Resource": "*"}
    own = [{"Effect": "Allow", "Resource": "*", **policy}] if policy else []
    return str(kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [root, *own]}))["KeyMetadata"]["Arn"])


def of_autoscaling(cloud: Cloud) -> dict[str, Any]:
    role = f"arn:aws:iam::{cloud.account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    return {"Principal": {"AWS": role}, "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey", "kms:CreateGrant"]}


def with_key(arn: str, **ebs: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "Encrypted": True, "KmsKeyId": arn, **ebs}}]}


def test_key_of_a_volume_must_be_usable_by_auto_scaling(cloud: Cloud) -> None:
    cloud.cluster()
    role = cloud.node_role()
    good, for_account = key(cloud, **of_autoscaling(cloud)), key(cloud)
    dying = key(cloud, **of_autoscaling(cloud))
    cloud.client("kms").schedule_key_deletion(KeyId=dying.rpartition("/")[2], PendingWindowInDays=7)
    for name, arn in (("account", for_account), ("dying", dying), ("none", good[:-4] + "0000")):
        group = cloud.nodegroup(name, nodeRole=role, launchTemplate=template(cloud, with_key(arn), name))
        assert (group["status"], issue(group)["code"]) == ("CREATE_FAILED", "AsgInstanceLaunchFailures")
        assert "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state" in issue(group)["message"]
    made = template(cloud, with_key(good))
    assert cloud.nodegroup(nodeRole=role, launchTemplate=made, scalingConfig=ONE_NODE)["status"] == "ACTIVE"
    (volume,) = cloud.ec2.describe_volumes()["Volumes"]
    assert volume["Encrypted"] and volume["KmsKeyId"] == good
    done = cloud.update_done(update(cloud, another(cloud, made, with_key(dying))), nodegroupName="nodes")
    assert done["status"] == "Failed" and done["errors"][0]["errorCode"] == "NodeCreationFailure"
    assert cloud.describe_nodegroup()["launchTemplate"]["version"] == "1" and len(running(cloud)) == 1


@pytest.mark.parametrize(
    ("ebs", "text"),
    [
        ({"VolumeSize": 8}, "InvalidBlockDeviceMapping"),
        ({"VolumeSize": 50, "VolumeType": "gp2", "Iops": 3000}, "iops is not supported for gp2"),
        ({"VolumeSize": 50, "VolumeType": "gp3", "Iops": 3000, "Throughput": 1000}, "ratio of more than 0.25"),
        ({"VolumeSize": 50, "VolumeType": "io2"}, "iops must be specified"),
        ({"VolumeSize": 50, "VolumeType": "zz9"}, "InvalidParameterValue - Value (zz9) for parameter volumeType is invalid"),
        ({"VolumeSize": 50, "KmsKeyId": "alias/aws/ebs"}, "requires the parameter Encrypted"),
    ],
)
def test_volumes_that_ebs_refuses_are_launch_failures(cloud: Cloud, ebs: dict[str, Any], text: str) -> None:
    cloud.cluster()
    group = cloud.nodegroup(launchTemplate=template(cloud, {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}]}))
    assert (group["status"], issue(group)["code"]) == ("CREATE_FAILED", "AsgInstanceLaunchFailures")
    assert text in issue(group)["message"] and running(cloud) == []


@pytest.mark.parametrize(
    ("ami_type", "text", "message"),
    [
        ("AL2023_x86_64_STANDARD", "#!/bin/sh\n", "User data was not in the MIME multipart format."),
        ("BOTTLEROCKET_x86_64", mime(("text/x-shellscript", "#!/bin/sh")), "User data was not in the TOML format."),
    ],
)
def test_user_data_must_have_the_format_of_the_image(cloud: Cloud, ami_type: str, text: str, message: str) -> None:
    cloud.cluster()
    group = cloud.nodegroup(amiType=ami_type, launchTemplate=template(cloud, {"UserData": encoded(text)}))
    assert group["status"] == "CREATE_FAILED"
    assert issue(group) == {"code": "Ec2LaunchTemplateInvalidConfiguration", "message": message, "resourceIds": []}


def test_node_config_of_an_own_image_must_name_the_cluster(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    role = cloud.node_role()
    of_cluster = {
        "name": "demo", "apiServerEndpoint": cluster["endpoint"], "certificateAuthority": cluster["certificateAuthority"]["data"],
        "cidr": cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"],
    }
    for name, spec, status in (("kubelet", {"kubelet": {}}, "CREATE_FAILED"), ("full", {"cluster": of_cluster}, "ACTIVE")):
        data = {"ImageId": "ami-12345678", "UserData": encoded(mime(node_config(**spec)))}
        group = cloud.nodegroup(name, nodeRole=role, launchTemplate=template(cloud, data, name), scalingConfig=ONE_NODE)
        assert group["status"] == status
        assert [one["code"] for one in group["health"]["issues"]] == ["NodeCreationFailure"] * (status != "ACTIVE")


def test_update_without_a_version_follows_the_cluster(cloud: Cloud) -> None:
    """Also one that only names another version of the template."""
    cloud.cluster(version="1.33")
    made = template(cloud, {"InstanceType": "m5.large"})
    cloud.nodegroup(launchTemplate=made, scalingConfig=ONE_NODE)
    cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.34"))
    cloud.update_done(update(cloud, another(cloud, made, {"InstanceType": "m5.xlarge"})), nodegroupName="nodes")
    assert cloud.describe_nodegroup()["version"] == "1.34"


def test_groups_of_the_template_replace_the_cluster_security_group(cloud: Cloud) -> None:
    cluster = cloud.cluster()
    role, own = cloud.node_role(), cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    group_id = cloud.ec2.create_security_group(GroupName="nodes", Description="x", VpcId=cloud.vpc_id)["GroupId"]
    made = template(cloud, {"SecurityGroupIds": [group_id]})
    by_interface = template(cloud, {"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group_id]}]}, "interface")
    for name, of in (("of-instance", made), ("of-interface", by_interface)):
        cloud.nodegroup(name, nodeRole=role, launchTemplate=of, scalingConfig=ONE_NODE)
        (instance,) = [i for i in running(cloud) if {"Key": "eks:nodegroup-name", "Value": name} in i["Tags"]]
        assert [one["GroupId"] for one in instance["SecurityGroups"]] == [group_id]
    # With private access the nodes must be admitted by the control plane.
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", resourcesVpcConfig={"endpointPrivateAccess": True}))
    failed = cloud.nodegroup("apart", nodeRole=role, launchTemplate=made, scalingConfig=ONE_NODE)
    assert issue(failed)["code"] == "NodeCreationFailure"
    rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": group_id}]}
    cloud.ec2.authorize_security_group_ingress(GroupId=own, IpPermissions=[rule])
    assert cloud.nodegroup("admitted", nodeRole=role, launchTemplate=made, scalingConfig=ONE_NODE)["status"] == "ACTIVE"


CAPACITY_BLOCK = {
    "InstanceMarketOptions": {"MarketType": "capacity-block"},
    "CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-0123"}},
    "InstanceType": "p5.48xlarge",
}


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("InstanceMarketOptions", "market type capacity-block"),
        ("CapacityReservationSpecification", "a capacity reservation id"),
        ("InstanceType", "an instance type"),
    ],
)
def test_template_of_a_capacity_block_names_its_market_reservation_and_type(cloud: Cloud, missing: str, text: str) -> None:
    cloud.cluster()
    role = cloud.node_role()
    data = {key: value for key, value in CAPACITY_BLOCK.items() if key != missing}
    with expect_error("InvalidParameterException", text):
        cloud.nodegroup(nodeRole=role, capacityType="CAPACITY_BLOCK", launchTemplate=template(cloud, data))


def test_group_of_a_capacity_block_is_updated_only_without_nodes(cloud: Cloud) -> None:
    cloud.cluster()
    block = template(cloud, CAPACITY_BLOCK)
    none = {"minSize": 0, "maxSize": 2, "desiredSize": 0}
    nodes = cloud.nodegroup(capacityType="CAPACITY_BLOCK", launchTemplate=block, scalingConfig=none)
    assert (nodes["capacityType"], nodes["status"]) == ("CAPACITY_BLOCK", "ACTIVE")
    next_version = another(cloud, block, {**CAPACITY_BLOCK, "EbsOptimized": True})
    cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", scalingConfig={"desiredSize": 1})
    cloud.until(lambda: cloud.describe_nodegroup()["status"] == "ACTIVE")
    with expect_error("InvalidRequestException", "desired size of 0"):
        update(cloud, next_version)
    cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", scalingConfig=none)
    cloud.until(lambda: cloud.describe_nodegroup()["status"] == "ACTIVE")
    update(cloud, next_version)
    cloud.until(lambda: cloud.describe_nodegroup()["launchTemplate"]["version"] == "2")
