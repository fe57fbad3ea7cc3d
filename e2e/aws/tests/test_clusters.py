"""Clusters: create, describe, list, delete; and EKS's validation."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from conftest import Cloud, Server, expect_error


def test_cluster_is_creating_then_active(cloud: Cloud) -> None:
    created = cloud.cluster(wait=False, version="1.34", tags={"team": "a"})
    assert created["status"] == "CREATING"
    assert created["version"] == "1.34"
    assert created["resourcesVpcConfig"]["vpcId"] == cloud.vpc_id
    cloud.until(lambda: cloud.status() == "ACTIVE")


def test_endpoint_ca_and_issuer_are_absent_while_creating(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    creating = cloud.describe()
    assert creating["status"] == "CREATING"
    assert "endpoint" not in creating and "identity" not in creating and not creating["certificateAuthority"].get("data")
    active = cloud.until(lambda: cloud.status() == "ACTIVE" and cloud.describe())
    assert active["endpoint"].startswith("https://")
    assert base64.b64decode(active["certificateAuthority"]["data"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert active["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.eu-west-1.amazonaws.com/id/")


def test_each_cluster_has_its_own_issuer(cloud: Cloud) -> None:
    first = cloud.cluster("one")
    cloud.eks.create_cluster(name="two", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    second = cloud.until(lambda: cloud.status("two") == "ACTIVE" and cloud.describe("two"))
    assert first["identity"] != second["identity"]


def test_describe_returns_the_requested_values(cloud: Cloud) -> None:
    parameters: dict[str, Any] = {
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
    cluster = cloud.cluster(**parameters)
    for key in ("version", "upgradePolicy", "deletionProtection", "zonalShiftConfig", "accessConfig", "encryptionConfig", "controlPlaneScalingConfig"):
        assert cluster[key] == parameters[key]
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
    # Terraform would treat members that it did not set as a difference.
    assert not {"computeConfig", "storageConfig", "zonalShiftConfig", "encryptionConfig", "remoteNetworkConfig"} & set(cluster)


def test_default_service_cidr_does_not_overlap_the_vpc(cloud: Cloud) -> None:
    _, subnets = cloud.vpc(cidr="172.20.0.0/16")
    cluster = cloud.eks.create_cluster(name="c", roleArn=cloud.cluster_role(), resourcesVpcConfig={"subnetIds": subnets})["cluster"]
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"


def test_eks_creates_a_tagged_security_group_and_deletes_it(cloud: Cloud) -> None:
    cluster = cloud.cluster(tags={"keelson.dev/owner": "u"})
    group_id = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
    group = cloud.ec2.describe_security_groups(Filters=[{"Name": "tag:aws:eks:cluster-name", "Values": ["demo"]}])["SecurityGroups"][0]
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    assert group["GroupId"] == group_id
    assert tags["aws:eks:cluster-name"] == "demo" and tags["kubernetes.io/cluster/demo"] == "owned"
    # A cluster's own tags are not copied to the resources that EKS creates for it.
    assert "keelson.dev/owner" not in tags
    assert group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == group_id
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    with expect_error("InvalidGroup.NotFound"):
        cloud.ec2.describe_security_groups(GroupIds=[group_id])


def test_control_plane_has_interfaces_in_two_zones(cloud: Cloud) -> None:
    cloud.cluster()
    found = cloud.ec2.describe_network_interfaces(Filters=[{"Name": "description", "Values": ["Amazon EKS demo"]}])["NetworkInterfaces"]
    assert {interface["SubnetId"] for interface in found} == set(cloud.subnets)
    assert all(interface["Status"] == "in-use" and interface["RequesterManaged"] for interface in found)
    with expect_error("DependencyViolation"):
        cloud.ec2.delete_subnet(SubnetId=cloud.subnets[0])
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    cloud.ec2.delete_subnet(SubnetId=cloud.subnets[0])


def test_cluster_is_deleting_then_not_found(cloud: Cloud) -> None:
    cloud.cluster()
    assert cloud.eks.delete_cluster(name="demo")["cluster"]["status"] == "DELETING"
    assert cloud.status() == "DELETING"
    cloud.gone(cloud.eks.describe_cluster, name="demo")


def test_same_client_token_returns_the_same_cluster(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    parameters = {"name": "c", "roleArn": cloud.cluster_role(), "resourcesVpcConfig": {"subnetIds": subnets}, "clientRequestToken": "t-1"}
    first = cloud.eks.create_cluster(**parameters)["cluster"]
    assert cloud.eks.create_cluster(**parameters)["cluster"]["createdAt"] == first["createdAt"]
    with expect_error("InvalidParameterException", "other parameters"):
        cloud.eks.create_cluster(**{**parameters, "version": "1.33"})
    with expect_error("ResourceInUseException", "Cluster already exists with name: c") as error:
        cloud.eks.create_cluster(**{**parameters, "clientRequestToken": "t-2"})
    assert error.status == 409 and error.body["clusterName"] == "c"


def test_client_token_returns_the_first_result_also_when_that_was_deleted(cloud: Cloud) -> None:
    first = cloud.cluster(clientRequestToken="t")
    cloud.eks.delete_cluster(name="demo")
    cloud.gone(cloud.eks.describe_cluster, name="demo")
    again = cloud.eks.create_cluster(
        name="demo", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets},
        accessConfig={"authenticationMode": "API"}, clientRequestToken="t",
    )["cluster"]
    assert again["createdAt"] == first["createdAt"]
    cloud.gone(cloud.eks.describe_cluster, name="demo")


def test_unknown_cluster_returns_the_error_of_aws(cloud: Cloud) -> None:
    with expect_error("ResourceNotFoundException") as error:
        cloud.describe("nowhere")
    assert error.message == "No cluster found for name: nowhere."
    assert error.status == 404


def test_lists_are_paginated(cloud: Cloud) -> None:
    first = cloud.cluster("c0", wait=False)
    for i in range(1, 5):
        cloud.eks.create_cluster(name=f"c{i}", roleArn=first["roleArn"], resourcesVpcConfig={"subnetIds": cloud.subnets})
    pages = list(cloud.eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["clusters"]) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page["clusters"]] == [f"c{i}" for i in range(5)]


def test_regions_are_isolated(cloud: Cloud) -> None:
    cloud.cluster()
    assert Cloud(cloud.server, cloud.account, "eu-central-1").eks.list_clusters()["clusters"] == []


def test_creator_gets_an_access_entry_by_default(cloud: Cloud) -> None:
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
    with expect_error("InvalidRequestException", "deletion protection"):
        cloud.eks.delete_cluster(name="demo")
    cloud.update_done(cloud.eks.update_cluster_config(name="demo", deletionProtection=False))
    assert cloud.eks.delete_cluster(name="demo")["cluster"]["status"] == "DELETING"


def test_creating_cluster_cannot_be_deleted(cloud: Cloud) -> None:
    cloud.cluster(wait=False)
    with expect_error("ResourceInUseException", "in progress"):
        cloud.eks.delete_cluster(name="demo")


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
def test_invalid_parameters_are_rejected(cloud: Cloud, what: str) -> None:
    more, text = BAD[what]
    with expect_error("InvalidParameterException", text):
        cloud.cluster(wait=False, **more)
    assert cloud.eks.list_clusters()["clusters"] == []


def test_subnets_must_be_in_two_zones(cloud: Cloud) -> None:
    _, subnets = cloud.vpc(zones="aa")
    with expect_error("InvalidParameterException", "at least two different AZs"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets})


def test_subnets_must_be_in_one_vpc(cloud: Cloud) -> None:
    _, here = cloud.vpc("a")
    _, there = cloud.vpc("b", "10.1.0.0/16")
    with expect_error("InvalidParameterException", "same VPC"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": [*here, *there]})


def test_subnets_need_five_free_addresses(cloud: Cloud) -> None:
    vpc_id, subnets = cloud.vpc("a")
    small = cloud.ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.9.0/28", AvailabilityZone="eu-west-1b")["Subnet"]["SubnetId"]
    for _ in range(7):
        cloud.ec2.create_network_interface(SubnetId=small)
    with expect_error("InvalidParameterException", "free IP addresses"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": [*subnets, small]})


def test_security_groups_must_be_in_the_same_vpc(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    other, _ = cloud.vpc("a", "10.1.0.0/16")
    group = cloud.ec2.create_security_group(GroupName="x", Description="x", VpcId=other)["GroupId"]
    with expect_error("InvalidParameterException", "not in the same VPC"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets, "securityGroupIds": [group]})


def test_role_must_trust_eks(cloud: Cloud) -> None:
    role = cloud.role("wrong", "ec2.amazonaws.com", "AmazonEKSClusterPolicy")
    with expect_error("InvalidParameterException", "Role could not be assumed because the trusted entity is not correct"):
        cloud.cluster(wait=False, roleArn=role)


def test_role_must_have_its_policy(cloud: Cloud) -> None:
    role = cloud.role("bare", "eks.amazonaws.com")
    with expect_error("InvalidParameterException", "doesn't have the Amazon EKS Managed Policies"):
        cloud.cluster(wait=False, roleArn=role)


def test_disabling_both_endpoints_is_rejected(cloud: Cloud) -> None:
    _, subnets = cloud.vpc()
    with expect_error("InvalidParameterException", "Private and public endpoint access cannot be false"):
        cloud.cluster(wait=False, resourcesVpcConfig={"subnetIds": subnets, "endpointPublicAccess": False, "endpointPrivateAccess": False})


def test_auto_mode_must_be_enabled_completely(cloud: Cloud) -> None:
    cluster = cloud.cluster(
        computeConfig={"enabled": True, "nodePools": ["general-purpose", "system"], "nodeRoleArn": cloud.node_role()},
        storageConfig={"blockStorage": {"enabled": True}},
        kubernetesNetworkConfig={"elasticLoadBalancing": {"enabled": True}},
        bootstrapSelfManagedAddons=False,
    )
    assert cluster["computeConfig"]["nodePools"] == ["general-purpose", "system"]
    assert cluster["kubernetesNetworkConfig"]["elasticLoadBalancing"] == {"enabled": True}
