"""The network of one cluster, and the resources that its workload leaves behind."""

from __future__ import annotations

from keelson_harness.aws import REGION

from .account import CLUSTER, RESOURCE, Account


class Network:
    """The VPC of one cluster."""

    def __init__(self, account: Account, name: str):
        self.account, self.ec2, self.name = account, account.ec2, name
        tags_by_id = {i: t for i, t in account.tagged().items() if t[CLUSTER] == f"default/{name}"}
        by_resource = {tags[RESOURCE]: i for i, tags in tags_by_id.items()}
        self.vpc = by_resource["vpc"]
        self.subnet = by_resource[f"subnet/private/{REGION}a"]

    def another_vpc(self) -> str:
        return self.ec2.create_vpc(CidrBlock="10.200.0.0/16")["Vpc"]["VpcId"]


def leave(network: Network) -> list[str]:
    """Creates network interfaces and security groups as the VPC CNI and load balancer controllers do, with their tags."""
    ec2, name = network.ec2, network.name
    tags = {"node.k8s.amazonaws.com/instance_id": "i-0123456789abcdef0", "cluster.k8s.amazonaws.com/name": name}
    enis = [
        ec2.create_network_interface(SubnetId=network.subnet, TagSpecifications=tagged("network-interface", tags))
        for _ in range(2)
    ]
    groups = []
    for number, tag in enumerate(({f"kubernetes.io/cluster/{name}": "owned"}, {"elbv2.k8s.aws/cluster": name})):
        response = ec2.create_security_group(
            GroupName=f"k8s-elb-{number}", Description="of a load balancer", VpcId=network.vpc, TagSpecifications=tagged("security-group", tag)
        )
        groups.append(response["GroupId"])
    for group, other in (groups, reversed(groups)):
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": other}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    every = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": groups[1]}]}
    ec2.authorize_security_group_egress(GroupId=groups[0], IpPermissions=[every])
    return [eni["NetworkInterface"]["NetworkInterfaceId"] for eni in enis] + groups


def tagged(kind: str, tags: dict[str, str]) -> list[dict]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
