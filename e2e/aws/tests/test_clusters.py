"""Clusters: made, described, listed, deleted; and what EKS refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from conftest import Cloud, Server, refused


def test_a_cluster_is_creating_then_active(cloud: Cloud) -> None:
    made = cloud.cluster(wait=False, version="1.34", tags={"team": "a"})
    assert made["status"] == "CREATING"
    assert made["version"] == "1.34"
    assert made["resourcesVpcConfig"]["vpcId"] == cloud.vpc_id
    cloud.until(lambda: cloud.status() == "ACTIVE")


def test_endpoint_ca_and_issuer_are_withheld_while_creating(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    creating = cloud.describe()
    assert creating["status"] == "CREATING"
    assert "endpoint" not in creating and "identity" not in creating and not creating["certificateAuthority"].get("data")
    active = cloud.until(lambda: cloud.status() == "ACTIVE" and cloud.describe())
    assert active["endpoint"].startswith("https://")
    assert base64.b64decode(active["certificateAuthority"]["data"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert active["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.eu-west-1.amazonaws.com/id/")


def test_each_cluster_has_an_issuer_of_its_own(cloud: Cloud) -> None:
    first = cloud.cluster("one")
    cloud.eks.create_cluster(name="two", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    second = cloud.until(lambda: cloud.status("two") == "ACTIVE" and cloud.describe("two"))
    assert first["identity"] != second["identity"]


def test_what_was_asked_for_is_answered(cloud: Cloud) -> None:
    asked: dict[str, Any] = {
        "version": "1.35",
        "upgradePolicy": {"supportType": "STANDARD"},
        "deletionProtection": True,
        "zonalShiftConfig": {"enabled": True},
        "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        "encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"}}],
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.30.0.0/16"},
        "controlPlaneScalingConfig": {"tier": "tier-xl"},
        "logging": {"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]},
    }
    cluster = cloud.cluster(**asked)
    for key in ("version", "upgradePolicy", "deletionProtection", "zonalShiftConfig", "accessConfig", "encryptionConfig", "controlPlaneScalingConfig"):
        assert cluster[key] == asked[key]
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.30.0.0/16"
    assert cluster["logging"]["clusterLogging"] == [
        {"types": ["api", "audit"], "enabled": True},
        {"types": ["authenticator", "controllerManager", "scheduler"], "enabled": False},
    ]


def test_defaults_are_those_of_eks(cloud: Cloud) -> None:
    vpc_id, cloud.subnets = cloud.vpc()
    cluster = cloud.eks.create_cluster(name="plain", roleArn=cloud.cluster_role(), resourcesVpcConfig={"subnetIds": cloud.subnets})["cluster"]
    config = cluster["resourcesVpcConfig"]
    assert (config["endpointPublicAccess"], config["endpointPrivateAccess"], config["publicAccessCidrs"]) == (True, False, ["0.0.0.0/0"])
    assert cluster["accessConfig"]["authenticationMode"] == "CONFIG_MAP"
    assert cluster["upgradePolicy"] == {"supportType": "EXTENDED"}
    assert cluster["kubernetesNetworkConfig"]["ipFamily"] == "ipv4"
    # Terraform would see an answer to what it has not asked for as a difference.
    assert not {"computeConfig", "storageConfig", "zonalShiftConfig", "encryptionConfig", "remoteNetworkConfig"} & set(cluster)


def test_the_service_range_avoids_the_vpc(cloud: Cloud) -> None:
    _, subnets = cloud.vpc(cidr="172.20.0.0/16")
    cluster = cloud.eks.create_cluster(name="c", roleArn=cloud.cluster_role(), resourcesVpcConfig={"subnetIds": subnets})["cluster"]
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"


def test_eks_makes_a_tagged_security_group_and_takes_it_away(cloud: Cloud) -> None:
    cluster = cloud.cluster(tags={"keelson.dev/owner": "u"})
    group_id = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    group = cloud.ec2.describe_security_groups(Filters=[{"Name": "tag:aws:eks:cluster-name", "Values": ["demo"]}])["SecurityGroups"][0]
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    assert group["GroupId"] == group_id
    assert tags["aws:eks:cluster-name"] == "demo" and tags["kubernetes.io/cluster/demo"] == "owned"
    # A cluster's own tags do not spread to what EKS makes for it.
    assert "keelson.dev/owner" not in tags
    assert group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == group_id
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    with refused("InvalidGroup.NotFound"):
        cloud.ec2.describe_security_groups(GroupIds=[group_id])


def test_the_control_plane_has_interfaces_in_two_zones(cloud: Cloud) -> None:
    cloud.cluster()
    found = cloud.ec2.describe_network_interfaces(Filters=[{"Name": "description", "Values": ["Amazon EKS demo"]}])["NetworkInterfaces"]
    assert {interface["SubnetId"] for interface in found} == set(cloud.subnets)
    assert all(interface["Status"] == "in-use" and interface["RequesterManaged"] for interface in found)
    with refused("DependencyViolation"):
        cloud.ec2.delete_subnet(SubnetId=cloud.subnets[0])
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    cloud.ec2.delete_subnet(SubnetId=cloud.subnets[0])


def test_deleting_is_a_state_before_gone(cloud: Cloud) -> None:
    cloud.cluster()
    assert cloud.eks.delete_cluster(name="demo")["cluster"]["status"] == "DELETING"
    assert cloud.status() == "DELETING"
    cloud.gone(cloud.eks.describe_cluster, name="demo")


def test_the_same_token_gives_the_same_cluster(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    asked = {"name": "c", "roleArn": cloud.cluster_role(), "resourcesVpcConfig": {"subnetIds": subnets}, "clientRequestToken": "t-1"}
    first = cloud.eks.create_cluster(**asked)["cluster"]
    assert cloud.eks.create_cluster(**asked)["cluster"]["createdAt"] == first["createdAt"]
    with refused("InvalidParameterException", "other parameters"):
        cloud.eks.create_cluster(**{**asked, "version": "1.33"})
    with refused("ResourceInUseException", "Cluster already exists with name: c") as error:
        cloud.eks.create_cluster(**{**asked, "clientRequestToken": "t-2"})
    assert error.status == 409 and error.body["clusterName"] == "c"


def test_a_token_does_not_bring_back_what_was_deleted(cloud: Cloud) -> None:
    first = cloud.cluster(clientRequestToken="t")
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    again = cloud.eks.create_cluster(
        name="demo", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets},
        accessConfig={"authenticationMode": "API"}, clientRequestToken="t",
    )["cluster"]
    assert again["status"] == "CREATING"


def test_an_unknown_cluster_is_said_as_aws_says_it(cloud: Cloud) -> None:
    with refused("ResourceNotFoundException") as error:
        cloud.describe("nowhere")
    assert error.message == "No cluster found for name: nowhere."
    assert error.status == 404


def test_lists_are_paged(cloud: Cloud) -> None:
    first = cloud.cluster("c0", wait=False)
    for i in range(1, 5):
        cloud.eks.create_cluster(name=f"c{i}", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    pages = list(cloud.eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["clusters"]) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page["clusters"]] == [f"c{i}" for i in range(5)]


def test_regions_are_apart(cloud: Cloud) -> None:
    cloud.cluster()
    assert Cloud(cloud.server, cloud.account, "eu-central-1").eks.list_clusters()["clusters"] == []


def test_a_creator_gets_an_access_entry_unless_told_otherwise(cloud: Cloud) -> None:
    cloud.cluster()
    arn = cloud.sts.get_caller_identity()["Arn"]
    assert cloud.eks.list_access_entries(clusterName="demo")["accessEntries"] == [arn]
    policies = cloud.eks.list_associated_access_policies(clusterName="demo", principalArn=arn)["associatedAccessPolicies"]
    assert policies[0]["policyArn"].endswith("AmazonEKSClusterAdminPolicy")


def test_no_access_entry_without_bootstrap(cloud: Cloud) -> None:
    cloud.cluster(accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False})
    assert cloud.eks.list_access_entries(clusterName="demo")["accessEntries"] == []


def test_deletion_protection_blocks_deletion(cloud: Cloud) -> None:
    cloud.cluster(deletionProtection=True)
    with refused("InvalidRequestException", "deletion protection"):
        cloud.eks.delete_cluster(name="demo")
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", deletionProtection=False))
    assert cloud.eks.delete_cluster(name="demo")["cluster"]["status"] == "DELETING"


def test_a_cluster_is_not_deleted_while_it_is_made(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with refused("ResourceInUseException", "in progress"):
        cloud.eks.delete_cluster(name="demo")


def test_the_quota_is_said(server: Server, cloud: Cloud) -> None:
    server.post("settings", {"CLUSTERS_PER_REGION": 1})
    try:
        first = cloud.cluster("one", wait=False)
        with refused("ResourceLimitExceededException"):
            cloud.eks.create_cluster(name="two", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    finally:
        server.post("settings", {"CLUSTERS_PER_REGION": 1000})


BAD = {
    "unknown version": ({"version": "1.99"}, "unsupported Kubernetes version"),
    "bad name": ({"name": "-x"}, "name"),
    "no such role": ({"roleArn": "arn:aws:iam::123456789012:role/none"}, "does not exist"),
    "no subnets": ({"resourcesVpcConfig": {"subnetIds": []}}, "subnetIds"),
    "unknown subnet": ({"resourcesVpcConfig": {"subnetIds": ["subnet-0", "subnet-1"]}}, "does not exist"),
    "service range too small": ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.30.0.0/28"}}, "serviceIpv4Cidr"),
    "service range in the VPC": ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.0.0/16"}}, "overlaps"),
    "public service range": ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "8.8.0.0/16"}}, "serviceIpv4Cidr"),
    "extended version without extended support": ({"version": "1.31", "upgradePolicy": {"supportType": "STANDARD"}}, "extended support"),
    "reserved tag": ({"tags": {"aws:x": "y"}}, "aws:"),
    "half of auto mode": ({"computeConfig": {"enabled": True}}, "Auto Mode"),
    "no KMS key": ({"encryptionConfig": [{"resources": ["secrets"], "provider": {"keyArn": "nonsense"}}]}, "KMS"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_parameters_are_refused(cloud: Cloud, what: str) -> None:
    more, text = BAD[what]
    with refused("InvalidParameterException", text):
        cloud.cluster(wait=False, **more)
    assert cloud.eks.list_clusters()["clusters"] == []


def test_one_zone_is_not_enough(cloud: Cloud) -> None:
    _, subnets = cloud.vpc(zones="aa")
    with refused("InvalidParameterException", "at least two different AZs"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets})


def test_subnets_are_of_one_vpc(cloud: Cloud) -> None:
    _, here = cloud.vpc("a")
    _, there = cloud.vpc("b", "10.1.0.0/16")
    with refused("InvalidParameterException", "same VPC"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": [*here, *there]})


def test_subnets_need_five_free_addresses(cloud: Cloud) -> None:
    vpc_id, subnets = cloud.vpc("a")
    small = cloud.ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.9.0/28", AvailabilityZone="eu-west-1b")["Subnet"]["SubnetId"]
    for _ in range(7):
        cloud.ec2.create_network_interface(SubnetId=small)
    with refused("InvalidParameterException", "free IP addresses"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": [*subnets, small]})


def test_security_groups_are_of_the_same_vpc(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    other, _ = cloud.vpc("a", "10.1.0.0/16")
    group = cloud.ec2.create_security_group(GroupName="x", Description="x", VpcId=other)["GroupId"]
    with refused("InvalidParameterException", "not in the same VPC"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets, "securityGroupIds": [group]})


def test_the_role_has_to_trust_eks(cloud: Cloud) -> None:
    role = cloud.role("wrong", "ec2.amazonaws.com", "AmazonEKSClusterPolicy")
    with refused("InvalidParameterException", "Role could not be assumed because the trusted entity is not correct"):
        cloud.cluster(wait=False, roleArn=role)


def test_the_role_needs_its_policy(cloud: Cloud) -> None:
    role = cloud.role("bare", "eks.amazonaws.com")
    with refused("InvalidParameterException", "doesn't have the Amazon EKS Managed Policies"):
        cloud.cluster(wait=False, roleArn=role)


def test_both_endpoints_off_is_refused(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    with refused("InvalidParameterException", "Private and public endpoint access cannot be false"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets, "endpointPublicAccess": False, "endpointPrivateAccess": False})


def test_auto_mode_is_taken_whole(cloud: Cloud) -> None:
    cluster = cloud.cluster(
        computeConfig={"enabled": True, "nodePools": ["general-purpose", "system"], "nodeRoleArn": cloud.node_role()},
        storageConfig={"blockStorage": {"enabled": True}},
        kubernetesNetworkConfig={"elasticLoadBalancing": {"enabled": True}},
        bootstrapSelfManagedAddons=False,
    )
    assert cluster["computeConfig"]["nodePools"] == ["general-purpose", "system"]
    assert cluster["kubernetesNetworkConfig"]["elasticLoadBalancing"] == {"enabled": True}
