"""Regression tests with boto3 for problems that Terraform's AWS provider and Cluster API AWS found."""

from __future__ import annotations

import pytest

from conftest import Cloud, expect_error


@pytest.mark.parametrize(
    ("operation", "parameters", "code", "text"),
    [
        ("describe_launch_templates", {"LaunchTemplateIds": ["lt-0123"]}, "InvalidLaunchTemplateId.NotFound", "lt-0123"),
        ("delete_launch_template", {"LaunchTemplateId": "lt-0123"}, "InvalidLaunchTemplateId.NotFound", "lt-0123"),
        ("describe_network_acls", {"NetworkAclIds": ["acl-0123"]}, "InvalidNetworkAclID.NotFound", "'acl-0123'"),
        ("describe_addresses", {"AllocationIds": ["eipalloc-0123"]}, "InvalidAllocationID.NotFound", "'eipalloc-0123'"),
        ("describe_security_groups", {"GroupIds": ["sg-0123"]}, "InvalidGroup.NotFound", "'sg-0123'"),
        ("describe_vpcs", {"VpcIds": ["vpc-0123"]}, "InvalidVpcID.NotFound", "'vpc-0123'"),
    ],
)
def test_not_found_errors_have_the_code_of_the_resource_type(cloud: Cloud, operation: str, parameters: dict[str, object], code: str, text: str) -> None:
    with expect_error(code, text):
        getattr(cloud.ec2, operation)(**parameters)


def test_tags_of_a_launch_template_are_not_instance_tags(cloud: Cloud) -> None:
    data = {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "node"}]}]}
    own = [{"ResourceType": "launch-template", "Tags": [{"Key": "team", "Value": "a"}]}]
    cloud.ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=data, TagSpecifications=own)
    cloud.ec2.create_launch_template(LaunchTemplateName="bare", LaunchTemplateData={"InstanceType": "m5.large"}, TagSpecifications=own)
    (version,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateName="mine")["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["TagSpecifications"] == data["TagSpecifications"]
    (version,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateName="bare")["LaunchTemplateVersions"]
    assert "TagSpecifications" not in version["LaunchTemplateData"]
    (template,) = cloud.ec2.describe_launch_templates(LaunchTemplateNames=["mine"])["LaunchTemplates"]
    assert template["Tags"] == own[0]["Tags"]


def test_root_volume_is_deleted_with_its_node(cloud: Cloud) -> None:
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 50}}, {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 7}}]
    data = {"InstanceType": "m5.large", "BlockDeviceMappings": devices}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=data)["LaunchTemplate"]
    cloud.cluster()
    scaling = {"minSize": 1, "maxSize": 1, "desiredSize": 1}
    cloud.nodegroup(launchTemplate={"id": template["LaunchTemplateId"]}, scalingConfig=scaling)
    sizes = {volume["Size"] for volume in cloud.ec2.describe_volumes()["Volumes"]}
    assert {50, 7} <= sizes
    cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
    cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
    # EC2 keeps an additional volume without DeleteOnTermination.
    assert {volume["Size"] for volume in cloud.ec2.describe_volumes()["Volumes"]} == {7}
    # The caller's template is unchanged.
    (version,) = cloud.ec2.describe_launch_template_versions(LaunchTemplateName="mine")["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["BlockDeviceMappings"] == devices


def test_issuer_url_is_configurable(cloud: Cloud) -> None:
    cloud.server.post("settings", {"OIDC_ISSUER_URL": "https://127.0.0.1:6443/"})
    try:
        issuer = cloud.cluster()["identity"]["oidc"]["issuer"]
    finally:
        cloud.server.post("settings", {"OIDC_ISSUER_URL": ""})
    assert issuer.startswith("https://127.0.0.1:6443/id/")


def test_subnets_can_be_filtered_by_ipv6_cidr(cloud: Cloud) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    associated = [{"Name": "ipv6-cidr-block-association.state", "Values": ["associated"]}]
    cloud.until(lambda: cloud.ec2.describe_vpcs(VpcIds=[vpc["VpcId"]], Filters=associated)["Vpcs"])
    (described,) = cloud.ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"]
    block = described["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    created = cloud.ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24", Ipv6CidrBlock=block)["Subnet"]
    cloud.ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.1.0/24")
    (association,) = created["Ipv6CidrBlockAssociationSet"]
    assert association["Ipv6CidrBlock"] == block and association["Ipv6CidrBlockState"] == {"State": "associated"}
    values = {"association-id": association["AssociationId"], "ipv6-cidr-block": block, "state": "associated"}
    for name, value in values.items():
        found = cloud.ec2.describe_subnets(Filters=[{"Name": f"ipv6-cidr-block-association.{name}", "Values": [value]}])["Subnets"]
        assert [subnet["SubnetId"] for subnet in found] == [created["SubnetId"]], name


@pytest.mark.parametrize(
    ("path", "ami_type", "instance_type"),
    [
        ("eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id", "AL2023_x86_64_STANDARD", "m5.large"),
        ("bottlerocket/aws-k8s-1.34/arm64/latest/image_id", "BOTTLEROCKET_ARM_64", "m6g.large"),
    ],
)
def test_eks_images_can_be_described(cloud: Cloud, path: str, ami_type: str, instance_type: str) -> None:
    """Cluster API reads the root device and its size before it writes a launch template."""
    ami = cloud.client("ssm").get_parameter(Name=f"/aws/service/{path}")["Parameter"]["Value"]
    (image,) = cloud.ec2.describe_images(ImageIds=[ami])["Images"]
    assert image["ImageId"] == ami and image["RootDeviceName"] == image["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
    assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] <= 20 and image["ImageOwnerAlias"] == "amazon"
    with expect_error("InvalidAMIID.NotFound"):
        cloud.ec2.describe_images(ImageIds=["ami-0123456789abcdef0"])
    cloud.cluster(version="1.34")
    cloud.nodegroup(amiType=ami_type, instanceTypes=[instance_type], scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1})
    (reservation,) = cloud.ec2.describe_instances()["Reservations"]
    assert reservation["Instances"][0]["ImageId"] == ami
