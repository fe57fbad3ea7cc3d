"""Resources in AWS that block a deletion: foreign ones are named, leftovers of the cluster are deleted, and similarity alone deletes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from fleet.account import Account, fresh_account
from fleet.leftovers import Network, leave, tagged
from fleet.manifests import cluster, key_of, node_group
from fleet.foreign_network import Neighbours, now
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import REGION, Durations

LIFE = Durations(1, 1, 0.5, 0.5, 0.2, 0.5)


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    return on.account(fresh_account())


@pytest.fixture(scope="module")
def operator(on, account):
    return on.start("--max-deletions=100", account=account.id)


# Each function creates a blocking resource and returns its id, the pattern of its description, and a function that removes it.
Blocker = tuple[str, str, Callable[[], object]]


def interface(network: Network) -> Blocker:
    created = network.ec2.create_network_interface(SubnetId=network.subnet, Description="of the licence server")
    eni = created["NetworkInterface"]["NetworkInterfaceId"]
    pattern = rf'network interface {eni} \(interface, owner {network.account.id}, "of the licence server"\)'
    return eni, pattern, lambda: network.ec2.delete_network_interface(NetworkInterfaceId=eni)


def instance(network: Network) -> Blocker:
    arguments = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small"}
    created = network.ec2.run_instances(**arguments, SubnetId=network.subnet)["Instances"][0]["InstanceId"]
    # It is not the cluster's, so the deletion does not start.
    pattern = rf"network interface eni-\w+ \(interface, of instance {created}, "
    return created, pattern, lambda: network.ec2.terminate_instances(InstanceIds=[created])


def karpenters_instance(network: Network) -> Blocker:
    """It is the cluster's, so the deletion starts; and nobody terminates it once the cluster is gone."""
    arguments = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "m5.large"}
    tags = {"karpenter.sh/nodepool": "spot", "eks:eks-cluster-name": network.name, f"kubernetes.io/cluster/{network.name}": "owned"}
    specification = tagged("instance", tags)
    created = network.ec2.run_instances(**arguments, SubnetId=network.subnet, TagSpecifications=specification)["Instances"][0]["InstanceId"]
    pattern = (
        rf"instance {created} \(m5.large, running, launched by Karpenter's node pool spot, of cluster {network.name}\).*"
        r"\(Karpenter's instances outlive the cluster: terminate them by hand"
    )
    return created, pattern, lambda: network.ec2.terminate_instances(InstanceIds=[created])


def transit_gateway(network: Network) -> Blocker:
    gateway = network.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ends = {"TransitGatewayId": gateway, "VpcId": network.vpc, "SubnetIds": [network.subnet]}
    created = network.ec2.create_transit_gateway_vpc_attachment(**ends)["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"]
    pattern = rf"network interface eni-\w+ \(transit_gateway, of a transit gateway, owner .*{created}.*delete-transit-gateway-vpc-attachment"
    return created, pattern, lambda: network.ec2.delete_transit_gateway_vpc_attachment(TransitGatewayAttachmentId=created)


def network_acl(network: Network) -> Blocker:
    created = network.ec2.create_network_acl(VpcId=network.vpc)["NetworkAcl"]["NetworkAclId"]
    network.ec2.create_tags(Resources=[created], Tags=[{"Key": "Name", "Value": "databases"}])
    return created, rf'network ACL {created} \("databases"\)', lambda: network.ec2.delete_network_acl(NetworkAclId=created)


def egress_only_gateway(network: Network) -> Blocker:
    created = network.ec2.create_egress_only_internet_gateway(VpcId=network.vpc)["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
    remove = lambda: network.ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=created)  # noqa: E731
    return created, rf"egress-only internet gateway {created}\b", remove


def interface_endpoint(network: Network) -> Blocker:
    service = f"com.amazonaws.{REGION}.sqs"
    arguments = {"VpcEndpointType": "Interface", "SubnetIds": [network.subnet], "PrivateDnsEnabled": False}
    created = network.ec2.create_vpc_endpoint(VpcId=network.vpc, ServiceName=service, **arguments)["VpcEndpoint"]["VpcEndpointId"]
    pattern = rf"VPC endpoint {created} \(Interface, {service}, owner "
    return created, pattern, lambda: network.ec2.delete_vpc_endpoints(VpcEndpointIds=[created])


def gateway_endpoint(network: Network) -> Blocker:
    service = f"com.amazonaws.{REGION}.dynamodb"
    created = network.ec2.create_vpc_endpoint(VpcId=network.vpc, ServiceName=service)["VpcEndpoint"]["VpcEndpointId"]
    pattern = rf"VPC endpoint {created} \(Gateway, {service}, owner "
    return created, pattern, lambda: network.ec2.delete_vpc_endpoints(VpcEndpointIds=[created])


def peering_asked_for(network: Network) -> Blocker:
    return peering(network, VpcId=network.vpc, PeerVpcId=network.another_vpc())


def peering_accepted(network: Network) -> Blocker:
    blocker = peering(network, VpcId=network.another_vpc(), PeerVpcId=network.vpc)
    network.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=blocker[0])
    return blocker


def peering(network: Network, **ends: str) -> Blocker:
    created = network.ec2.create_vpc_peering_connection(**ends)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    (other,) = set(ends.values()) - {network.vpc}
    pattern = rf"VPC peering connection {created} \((active|pending-acceptance), with {other} of account {network.account.id}, owner {network.account.id}\)"
    return created, pattern, lambda: network.ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=created)


def subnet(network: Network) -> Blocker:
    created = network.ec2.create_subnet(VpcId=network.vpc, CidrBlock="10.0.252.0/24")["Subnet"]["SubnetId"]
    network.ec2.create_tags(Resources=[created], Tags=[{"Key": "Name", "Value": "databases"}])
    pattern = rf'subnet {created} \(10.0.252.0/24, owner {network.account.id}, "databases"\)'
    return created, pattern, lambda: network.ec2.delete_subnet(SubnetId=created)


def route_table(network: Network) -> Blocker:
    created = network.ec2.create_route_table(VpcId=network.vpc)["RouteTable"]["RouteTableId"]
    pattern = rf"route table {created} \(owner {network.account.id}\)"
    return created, pattern, lambda: network.ec2.delete_route_table(RouteTableId=created)


def security_group(network: Network) -> Blocker:
    created = network.ec2.create_security_group(GroupName="databases", Description="of the databases", VpcId=network.vpc)["GroupId"]
    pattern = rf'security group {created} \("databases", owner {network.account.id}, "of the databases"\)'
    return created, pattern, lambda: network.ec2.delete_security_group(GroupId=created)


def nat_gateway(network: Network) -> Blocker:
    created = network.ec2.create_nat_gateway(SubnetId=network.subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    pattern = rf"NAT gateway {created} \((pending|available), in {network.subnet}\)"
    return created, pattern, lambda: network.ec2.delete_nat_gateway(NatGatewayId=created)


def private_gateway(network: Network) -> Blocker:
    created = network.ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
    network.ec2.attach_vpn_gateway(VpcId=network.vpc, VpnGatewayId=created)
    pattern = rf"virtual private gateway {created} \(ipsec.1\)"
    return created, pattern, lambda: network.ec2.detach_vpn_gateway(VpcId=network.vpc, VpnGatewayId=created)


def look_alike_interface(network: Network) -> Blocker:
    """Like those that nodes leave behind, but of another cluster."""
    tags = [{"Key": "cluster.k8s.amazonaws.com/name", "Value": "another"}]
    specification = [{"ResourceType": "network-interface", "Tags": tags}]
    created = network.ec2.create_network_interface(
        SubnetId=network.subnet, Description="aws-K8S-i-0123456789abcdef0", TagSpecifications=specification
    )
    eni = created["NetworkInterface"]["NetworkInterfaceId"]
    pattern = rf'network interface {eni} \(interface, owner {network.account.id}, "aws-K8S-i-0123456789abcdef0"\)'
    return eni, pattern, lambda: network.ec2.delete_network_interface(NetworkInterfaceId=eni)


def look_alike_group(network: Network) -> Blocker:
    """Like those that load balancers leave behind, but without a tag."""
    created = network.ec2.create_security_group(
        GroupName=f"k8s-elb-{network.name}", Description="Security group for Kubernetes ELB", VpcId=network.vpc
    )["GroupId"]
    pattern = rf'security group {created} \("k8s-elb-{network.name}", owner '
    return created, pattern, lambda: network.ec2.delete_security_group(GroupId=created)


BLOCKERS = {
    blocker.__name__.replace("_", "-"): blocker
    for blocker in (
        interface, instance, interface_endpoint, gateway_endpoint, peering_asked_for, peering_accepted, subnet, route_table,
        security_group, nat_gateway, private_gateway, karpenters_instance, transit_gateway, network_acl, egress_only_gateway, look_alike_interface, look_alike_group,
    )
}


class Blocked:
    """A cluster that is being deleted, and the resource that blocks it."""

    def __init__(self, on: Environment, network: Network, blocker: Callable[[Network], Blocker]):
        self.on = on
        self.item = cluster(network.name)
        self.id, self.pattern, self.remove = blocker(network)

    def message(self) -> str:
        return blocked_by(self.on, self.item)


def blocked_by(on: Environment, item: dict) -> str:
    ready = on.condition(item)
    return ready["message"] if ready.get("reason") == "DeletionBlocked" else ""


@pytest.fixture(scope="module")
def blocked(on: Environment, account, operator) -> dict[str, Blocked]:
    """One cluster per kind of blocker, all deleted at once."""
    network = {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["s3"]}}
    items = {name: cluster(name, network=network, oidcProvider=False, addons=[]) for name in BLOCKERS}
    on.apply(*items.values())
    on.ready(*items.values(), timeout=150)
    created = {name: Blocked(on, Network(account, name), blocker) for name, blocker in BLOCKERS.items()}
    for item in items.values():
        on.api.delete(*key_of(item))
    return created


@pytest.mark.parametrize("name", BLOCKERS)
def test_blocking_resource_is_named_and_not_deleted(on, blocked, name):
    one = blocked[name]
    # It is normal that resources are in use for half a minute during a deletion.
    message = until(one.message, 120, f"DeletionBlocked of {name}")
    assert re.search(one.pattern, message), message
    assert "delete what Keelson does not own by hand" in message
    touched = [call for call in on.writes() if call["resource"] == one.id and call["action"].startswith(("Delete", "Detach", "Terminate"))]
    assert actions(touched) == [], "it is not owned by Keelson"


def test_deletions_complete_once_the_blocking_resources_are_removed(on, blocked):
    for one in blocked.values():
        one.remove()
    for one in blocked.values():
        on.api.wait_gone(*key_of(one.item), 150)


def test_public_address_that_holds_the_internet_gateway_is_named(on, account, operator):
    item = cluster("addressed", network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    network = Network(account, "addressed")
    eni, _, remove = interface(network)
    address = network.ec2.allocate_address(Domain="vpc")
    association = network.ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=eni)["AssociationId"]
    on.api.delete(*key_of(item))

    found = rf"DetachInternetGateway [^\"]*Blocked by network interface {eni} \(interface, public address {address['PublicIp']}, owner"
    until(lambda: re.search(found, json.dumps(on.status(item))), 60, "the interface at the internet gateway")
    network.ec2.disassociate_address(AssociationId=association)
    network.ec2.release_address(AllocationId=address["AllocationId"])
    remove()
    on.api.wait_gone(*key_of(item), 60)


def test_leftovers_of_the_cluster_are_deleted(on, account, operator):
    """Interfaces of its nodes, one of them in use for a while, and load balancer groups whose rules reference each other."""
    item, nodes = cluster("sweep", network={"vpc": {"zoneCount": 2}}), node_group("sweep")
    on.apply(item, nodes)
    on.ready(item, nodes)
    left = leave(Network(account, "sweep"))
    on.delete(nodes, item, timeout=90)
    assert not set(left) & {i for ids in account.inventory().values() for i in ids}


def test_rule_of_a_foreign_security_group_is_not_revoked(on, account, operator):
    item = cluster("ruled", network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    network = Network(account, "ruled")
    *_, own = leave(network)
    foreign = network.ec2.create_security_group(GroupName="databases", Description="theirs", VpcId=network.vpc)["GroupId"]
    rules = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": own}]}]
    network.ec2.authorize_security_group_ingress(GroupId=foreign, IpPermissions=rules)
    on.api.delete(*key_of(item))

    message = until(lambda: blocked_by(on, item), 60, "DeletionBlocked")
    assert f'security group {foreign} ("databases", owner {account.id}, "theirs") in its rules' in message and own in message
    assert "remove those rules by hand, not their group" in message
    (found,) = network.ec2.describe_security_groups(GroupIds=[foreign])["SecurityGroups"]
    assert found["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == own
    network.ec2.delete_security_group(GroupId=foreign)
    on.api.wait_gone(*key_of(item), 60)


@pytest.fixture(scope="module")
def shared(on, account, operator) -> dict:
    """A cluster in an existing network, deleted; with the resources that existed before, during and after its lifetime."""
    foreign = Neighbours(account, "shared")
    before = {
        "the node group of Terraform's module, which the spec names": foreign.terraform_group("nodes"),
        "a group of a self-managed cluster of that name": foreign.terraform_group("masters"),
        "the load balancer group of that cluster": foreign.load_balancer_group("k8s-traffic-shared-1"),
        "a group with rules of its own": foreign.group("databases", {}),
        "an interface of a node of that cluster": foreign.node_interface("i-00000000000000001", now(-60)),
        "another team's unattached interface": foreign.interface({"kubernetes.io/cluster/shared": "owned"}, "mine"),
    }
    named = before["the node group of Terraform's module, which the spec names"]
    foreign.allow(named, before["a group of a self-managed cluster of that name"])
    foreign.allow(before["a group with rules of its own"], named)
    network = {"existing": {"subnetIds": foreign.subnets, "securityGroupIds": [named]}}
    item = cluster("shared", network=network, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    vpc = account.eks.describe_cluster(name="shared")["cluster"]["resourcesVpcConfig"]
    own = {
        "an interface that a node of the cluster left": foreign.node_interface(
            "i-00000000000000002", now(), vpc["clusterSecurityGroupId"]
        ),
        "a load balancer group": foreign.load_balancer_group("k8s-traffic-shared-2"),
        "the group of EKS, which the interface used": vpc["clusterSecurityGroupId"],
    }
    held = foreign.load_balancer_group("k8s-traffic-shared-3")
    foreign.allow(before["a group with rules of its own"], held)
    node = foreign.node()
    since = {
        "a load balancer group that a foreign rule references": held,
        "a group that Terraform created meanwhile": foreign.terraform_group("more-nodes"),
        "an interface of a node that runs": foreign.node_interface(node, now()),
    }
    found = {"groups": foreign.groups(), "interfaces": foreign.interfaces()}
    mark = on.mark()
    on.delete(item, timeout=90)
    return {
        "foreign": foreign, "item": item, "kept": {**before, **since}, "deleted": own, "before": found,
        "writes": [call for call in on.writes(mark, account.id) if call["service"] == "ec2"],
    }


def test_in_an_existing_network_only_leftovers_of_the_clusters_controllers_are_deleted(shared):
    foreign = shared["foreign"]
    existing = set(foreign.groups()) | foreign.interfaces()
    assert {what for what, i in shared["kept"].items() if i not in existing} == set()
    assert {what for what, i in shared["deleted"].items() if i in existing} == set()
    assert {call["resource"] for call in shared["writes"]} == set(shared["deleted"].values())


def test_in_an_existing_network_no_foreign_rule_is_revoked(shared):
    rules = {group: shared["before"]["groups"][group] for group in shared["foreign"].groups()}
    assert shared["foreign"].groups() == rules
    assert [call for call in shared["writes"] if call["action"].startswith("Revoke")] == []


def test_resources_left_in_an_existing_network_are_reported_once(on, shared):
    notes = [event["note"] for event in on.events(shared["item"]) if event["reason"] == "LeftAlone"]
    for what in ("the load balancer group of that cluster", "a load balancer group that a foreign rule references"):
        assert len([note for note in notes if shared["kept"][what] in note]) == 1, what


def test_preexisting_resources_are_recorded_in_status(on, account, operator):
    """Also across a restart: a record made later would contain more."""
    foreign = Neighbours(account, "recorded", "10.11.0.0/16")
    group = foreign.load_balancer_group("k8s-traffic-recorded")
    item = cluster("recorded", network={"existing": {"subnetIds": foreign.subnets}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)

    def record() -> str:
        return next((r["id"] for r in on.status(item)["resources"] if r["key"] == "leftovers"), "")

    first = record()
    # The record names its VPC: it is not valid for another one.
    assert [word.partition("-")[0] for word in sorted(first.split()[1:])] == ["sg", "vpc"] and group in first, first
    foreign.load_balancer_group("k8s-traffic-later")
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.ready(item)
    assert record() == first
    on.delete(item)
    assert group in foreign.groups()


def test_deletion_that_eks_fails_is_retried_with_backoff_and_reported(on, account, operator):
    foreign = Neighbours(account, "stuck", "10.12.0.0/16")
    item = cluster("stuck", network={"existing": {"subnetIds": foreign.subnets}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    mark = on.mark()

    def deleted_events() -> list[str]:
        notes = [event["note"] for event in on.events(item) if event["reason"] == "Deleted"]
        return [note for note in notes if "control plane" in note]

    on.aws.add_fault({"account": account.id, "action": "DeleteCluster"}, {"fail": "a stuck interface"})
    try:
        on.api.delete(*key_of(item))
        on.await_condition(item, "Stalled", reason="DeletionBlocked", timeout=60)
        assert "was started and failed" in on.condition(item)["message"]
        tries = [call for call in on.writes(mark, account.id) if call["action"] == "DeleteCluster"]
        assert 2 <= len(tries) <= 5
        assert deleted_events() == []
    finally:
        on.aws.clear_faults()
    # A reconcile requested by a person does not wait for the next retry.
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.api.wait_gone(*key_of(item), 60)
    assert deleted_events() == ["control plane stuck"]
