"""Resources of others in a VPC block its deletion until they are removed."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Cloud, expect_error


def found(describe: Any, **filters: str) -> list[dict[str, Any]]:
    answer = describe(Filters=[{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in filters.items()])
    return next(value for name, value in answer.items() if name != "ResponseMetadata")


def peering(cloud: Cloud, mine: str, theirs: str, way: str) -> tuple[Any, dict[str, str]]:
    ends = {"VpcId": mine, "PeerVpcId": theirs} if way == "requester" else {"VpcId": theirs, "PeerVpcId": mine}
    created = cloud.ec2.create_vpc_peering_connection(**ends)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    return cloud.ec2.delete_vpc_peering_connection, {"VpcPeeringConnectionId": created}


@pytest.mark.parametrize("way", ["requester", "accepter"])
@pytest.mark.parametrize("accepted", [False, True])
def test_peering_connection_blocks_vpc_deletion_on_both_sides(cloud: Cloud, way: str, accepted: bool) -> None:
    (mine, _), (theirs, _) = cloud.vpc(""), cloud.vpc("", "10.1.0.0/16")
    delete, connection = peering(cloud, mine, theirs, way)
    if accepted:
        cloud.ec2.accept_vpc_peering_connection(**connection)
    describe = cloud.ec2.describe_vpc_peering_connections
    by_end = {f"{way}_vpc_info__vpc_id": mine}
    (one,) = found(describe, **by_end, status_code="active" if accepted else "pending-acceptance")
    assert one["VpcPeeringConnectionId"] == connection["VpcPeeringConnectionId"]
    assert found(describe, **{f"{way}_vpc_info__vpc_id": theirs}) == []
    with expect_error("DependencyViolation", f"The vpc '{mine}' has dependencies"):
        cloud.ec2.delete_vpc(VpcId=mine)
    delete(**connection)
    assert found(describe, **by_end, status_code="active") == []
    cloud.ec2.delete_vpc(VpcId=mine)


def test_virtual_private_gateway_blocks_vpc_deletion(cloud: Cloud) -> None:
    vpc, _ = cloud.vpc("")
    gateway = cloud.ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
    cloud.ec2.attach_vpn_gateway(VpcId=vpc, VpnGatewayId=gateway)
    (one,) = found(cloud.ec2.describe_vpn_gateways, attachment__vpc_id=vpc)
    assert one["VpnGatewayId"] == gateway
    with expect_error("DependencyViolation"):
        cloud.ec2.delete_vpc(VpcId=vpc)
    cloud.ec2.detach_vpn_gateway(VpcId=vpc, VpnGatewayId=gateway)
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_transit_gateway_attachment_blocks_subnet_and_vpc_deletion(cloud: Cloud) -> None:
    vpc, (subnet,) = cloud.vpc("a")
    gateway = cloud.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ends = {"TransitGatewayId": gateway, "VpcId": vpc, "SubnetIds": [subnet]}
    created = cloud.ec2.create_transit_gateway_vpc_attachment(**ends)["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"]
    (one,) = found(cloud.ec2.describe_transit_gateway_vpc_attachments, vpc_id=vpc, state="available")
    assert one["TransitGatewayAttachmentId"] == created
    (interface,) = found(cloud.ec2.describe_network_interfaces, vpc_id=vpc)
    assert interface["InterfaceType"] == "transit_gateway" and created in interface["Description"]
    for delete, thing in ((cloud.ec2.delete_subnet, {"SubnetId": subnet}), (cloud.ec2.delete_vpc, {"VpcId": vpc})):
        with expect_error("DependencyViolation"):
            delete(**thing)
    cloud.ec2.delete_transit_gateway_vpc_attachment(TransitGatewayAttachmentId=created)
    assert found(cloud.ec2.describe_transit_gateway_vpc_attachments, vpc_id=vpc, state="available") == []
    cloud.ec2.delete_subnet(SubnetId=subnet)
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_network_acl_blocks_vpc_deletion_unless_it_is_the_default(cloud: Cloud) -> None:
    vpc, _ = cloud.vpc("")
    (default,) = found(cloud.ec2.describe_network_acls, vpc_id=vpc)
    assert default["IsDefault"] is True
    acl = cloud.ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]
    assert acl["IsDefault"] is False
    with expect_error("DependencyViolation", f"The vpc '{vpc}' has dependencies"):
        cloud.ec2.delete_vpc(VpcId=vpc)
    cloud.ec2.delete_network_acl(NetworkAclId=acl["NetworkAclId"])
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_instance_interface_blocks_subnet_deletion(cloud: Cloud) -> None:
    vpc, (subnet,) = cloud.vpc("a")
    parameters = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet, "InstanceType": "t3.small"}
    instance = cloud.ec2.run_instances(**parameters)["Instances"][0]["InstanceId"]
    (interface,) = found(cloud.ec2.describe_network_interfaces, vpc_id=vpc)
    assert interface["Attachment"]["InstanceId"] == instance
    for delete, thing in ((cloud.ec2.delete_subnet, {"SubnetId": subnet}), (cloud.ec2.delete_vpc, {"VpcId": vpc})):
        with expect_error("DependencyViolation"):
            delete(**thing)
    cloud.ec2.terminate_instances(InstanceIds=[instance])
    cloud.ec2.delete_subnet(SubnetId=subnet)
    cloud.ec2.delete_vpc(VpcId=vpc)


def test_groups_that_reference_each_other_can_be_deleted_after_their_rules(cloud: Cloud) -> None:
    ec2 = cloud.ec2
    vpc, _ = cloud.vpc("")
    one, other = (ec2.create_security_group(GroupName=n, Description="x", VpcId=vpc)["GroupId"] for n in ("one", "other"))
    rules = {one: other, other: one}
    for group, named in rules.items():
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": named}]}])
    for group in rules:
        with expect_error("DependencyViolation", f"resource {group} has a dependent object"):
            ec2.delete_security_group(GroupId=group)
    (seen,) = found(ec2.describe_security_groups, group_id=one)
    ec2.revoke_security_group_ingress(GroupId=one, IpPermissions=seen["IpPermissions"])
    ec2.delete_security_group(GroupId=other)
    ec2.delete_security_group(GroupId=one)
