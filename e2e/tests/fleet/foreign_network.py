"""Another team's network and its resources, tagged as Terraform, kops and controllers tag them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .account import Account
from .leftovers import tagged


def now(ahead: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Neighbours:
    """Another team's VPC. Everything in it carries the name of a cluster, and Keelson created none of it."""

    def __init__(self, account: Account, cluster: str, cidr: str = "10.9.0.0/16"):
        self.account, self.ec2, self.cluster = account, account.ec2, cluster
        self.subnets = account.network("ab", cidr)
        found = self.ec2.describe_subnets(SubnetIds=self.subnets[:1])["Subnets"]
        self.vpc = found[0]["VpcId"]

    def group(self, name: str, tags: dict[str, str], description: str = "made by others") -> str:
        request = {"GroupName": name, "Description": description, "VpcId": self.vpc}
        if tags:
            request["TagSpecifications"] = tagged("security-group", tags)
        return self.ec2.create_security_group(**request)["GroupId"]

    def terraform_group(self, name: str) -> str:
        """As terraform-aws-eks and kops create them for nodes."""
        return self.group(name, {f"kubernetes.io/cluster/{self.cluster}": "owned", "Name": name})

    def load_balancer_group(self, name: str) -> str:
        """As the AWS Load Balancer Controller of a cluster of that name creates them."""
        tags = {"elbv2.k8s.aws/cluster": self.cluster, "elbv2.k8s.aws/resource": "backend-sg"}
        return self.group(name, tags, "[k8s] Shared Backend SecurityGroup for LoadBalancer")

    def allow(self, group: str, source: str) -> None:
        rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": source}]}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

    def interface(self, tags: dict[str, str], description: str, *groups: str) -> str:
        request = {"SubnetId": self.subnets[0], "Description": description}
        if groups:
            request["Groups"] = list(groups)
        specification = tagged("network-interface", tags)
        response = self.ec2.create_network_interface(**request, TagSpecifications=specification)
        return response["NetworkInterface"]["NetworkInterfaceId"]

    def node_interface(self, instance: str, created: str, *groups: str) -> str:
        """As the VPC CNI of a cluster of that name creates them."""
        tags = {
            "cluster.k8s.amazonaws.com/name": self.cluster,
            "node.k8s.amazonaws.com/instance_id": instance,
            "node.k8s.amazonaws.com/createdAt": created,
        }
        return self.interface(tags, f"aws-K8S-{instance}", *groups)

    def node(self) -> str:
        """A running instance."""
        request = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small"}
        return self.ec2.run_instances(**request, SubnetId=self.subnets[1])["Instances"][0]["InstanceId"]

    def groups(self) -> dict[str, tuple]:
        """Rules by id of all security groups in the VPC."""
        by_vpc = [{"Name": "vpc-id", "Values": [self.vpc]}]
        found = self.ec2.describe_security_groups(Filters=by_vpc)["SecurityGroups"]
        return {g["GroupId"]: (g["IpPermissions"], g["IpPermissionsEgress"]) for g in found}

    def interfaces(self) -> set[str]:
        by_vpc = [{"Name": "vpc-id", "Values": [self.vpc]}]
        found = self.ec2.describe_network_interfaces(Filters=by_vpc)["NetworkInterfaces"]
        return {interface["NetworkInterfaceId"] for interface in found}
