"""What is in a deletion's way in AWS: named if it is somebody else's, swept if the cluster left it, and never touched for its looks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from fleet.account import Account, fresh_account
from fleet.leftovers import Network, leave
from fleet.manifests import cluster, key_of, node_group
from fleet.neighbours import Neighbours, now
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


# Each puts something in the way, and returns its id, what is said of it, and how it is taken away again.
Way = tuple[str, str, Callable[[], object]]


def interface(network: Network) -> Way:
    made = network.ec2.create_network_interface(SubnetId=network.subnet, Description="of the licence server")
    eni = made["NetworkInterface"]["NetworkInterfaceId"]
    told = rf'network interface {eni} \(interface, owner {network.account.id}, "of the licence server"\)'
    return eni, told, lambda: network.ec2.delete_network_interface(NetworkInterfaceId=eni)


def instance(network: Network) -> Way:
    asked = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small"}
    made = network.ec2.run_instances(**asked, SubnetId=network.subnet)["Instances"][0]["InstanceId"]
    told = rf"network interface eni-\w+ \(interface, of instance {made}, "
    return made, told, lambda: network.ec2.terminate_instances(InstanceIds=[made])


def interface_endpoint(network: Network) -> Way:
    service = f"com.amazonaws.{REGION}.sqs"
    asked = {"VpcEndpointType": "Interface", "SubnetIds": [network.subnet], "PrivateDnsEnabled": False}
    made = network.ec2.create_vpc_endpoint(VpcId=network.vpc, ServiceName=service, **asked)["VpcEndpoint"]["VpcEndpointId"]
    told = rf"VPC endpoint {made} \(Interface, {service}, owner "
    return made, told, lambda: network.ec2.delete_vpc_endpoints(VpcEndpointIds=[made])


def gateway_endpoint(network: Network) -> Way:
    service = f"com.amazonaws.{REGION}.dynamodb"
    made = network.ec2.create_vpc_endpoint(VpcId=network.vpc, ServiceName=service)["VpcEndpoint"]["VpcEndpointId"]
    told = rf"VPC endpoint {made} \(Gateway, {service}, owner "
    return made, told, lambda: network.ec2.delete_vpc_endpoints(VpcEndpointIds=[made])


def peering_asked_for(network: Network) -> Way:
    return peering(network, VpcId=network.vpc, PeerVpcId=network.another_vpc())


def peering_accepted(network: Network) -> Way:
    way = peering(network, VpcId=network.another_vpc(), PeerVpcId=network.vpc)
    network.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=way[0])
    return way


def peering(network: Network, **ends: str) -> Way:
    made = network.ec2.create_vpc_peering_connection(**ends)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    (other,) = set(ends.values()) - {network.vpc}
    told = rf"VPC peering connection {made} \((active|pending-acceptance), with {other} of account {network.account.id}, owner {network.account.id}\)"
    return made, told, lambda: network.ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=made)


def subnet(network: Network) -> Way:
    made = network.ec2.create_subnet(VpcId=network.vpc, CidrBlock="10.0.252.0/24")["Subnet"]["SubnetId"]
    network.ec2.create_tags(Resources=[made], Tags=[{"Key": "Name", "Value": "databases"}])
    told = rf'subnet {made} \(10.0.252.0/24, owner {network.account.id}, "databases"\)'
    return made, told, lambda: network.ec2.delete_subnet(SubnetId=made)


def route_table(network: Network) -> Way:
    made = network.ec2.create_route_table(VpcId=network.vpc)["RouteTable"]["RouteTableId"]
    told = rf"route table {made} \(owner {network.account.id}\)"
    return made, told, lambda: network.ec2.delete_route_table(RouteTableId=made)


def security_group(network: Network) -> Way:
    made = network.ec2.create_security_group(GroupName="databases", Description="of the databases", VpcId=network.vpc)["GroupId"]
    told = rf'security group {made} \("databases", owner {network.account.id}, "of the databases"\)'
    return made, told, lambda: network.ec2.delete_security_group(GroupId=made)


def nat_gateway(network: Network) -> Way:
    made = network.ec2.create_nat_gateway(SubnetId=network.subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    told = rf"NAT gateway {made} \((pending|available), in {network.subnet}\)"
    return made, told, lambda: network.ec2.delete_nat_gateway(NatGatewayId=made)


def private_gateway(network: Network) -> Way:
    made = network.ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
    network.ec2.attach_vpn_gateway(VpcId=network.vpc, VpnGatewayId=made)
    told = rf"virtual private gateway {made} \(ipsec.1\)"
    return made, told, lambda: network.ec2.detach_vpn_gateway(VpcId=network.vpc, VpnGatewayId=made)


def look_alike_interface(network: Network) -> Way:
    """As those that nodes leave, but of another cluster."""
    tags = [{"Key": "cluster.k8s.amazonaws.com/name", "Value": "another"}]
    specification = [{"ResourceType": "network-interface", "Tags": tags}]
    made = network.ec2.create_network_interface(
        SubnetId=network.subnet, Description="aws-K8S-i-0123456789abcdef0", TagSpecifications=specification
    )
    eni = made["NetworkInterface"]["NetworkInterfaceId"]
    told = rf'network interface {eni} \(interface, owner {network.account.id}, "aws-K8S-i-0123456789abcdef0"\)'
    return eni, told, lambda: network.ec2.delete_network_interface(NetworkInterfaceId=eni)


def look_alike_group(network: Network) -> Way:
    """As those that load balancers leave, but without a tag."""
    made = network.ec2.create_security_group(
        GroupName=f"k8s-elb-{network.name}", Description="Security group for Kubernetes ELB", VpcId=network.vpc
    )["GroupId"]
    told = rf'security group {made} \("k8s-elb-{network.name}", owner '
    return made, told, lambda: network.ec2.delete_security_group(GroupId=made)


WAYS = {
    way.__name__.replace("_", "-"): way
    for way in (
        interface, instance, interface_endpoint, gateway_endpoint, peering_asked_for, peering_accepted, subnet, route_table,
        security_group, nat_gateway, private_gateway, look_alike_interface, look_alike_group,
    )
}


class Blocked:
    """A cluster that is being deleted, and what is in its way."""

    def __init__(self, on: Environment, network: Network, way: Callable[[Network], Way]):
        self.on = on
        self.item = cluster(network.name)
        self.id, self.told, self.remove = way(network)

    def message(self) -> str:
        return blocked_by(self.on, self.item)


def blocked_by(on: Environment, item: dict) -> str:
    ready = on.condition(item)
    return ready["message"] if ready.get("reason") == "DeletionBlocked" else ""


@pytest.fixture(scope="module")
def blocked(on: Environment, account, operator) -> dict[str, Blocked]:
    """A cluster for each kind of thing, all of them deleted at once."""
    network = {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["s3"]}}
    items = {name: cluster(name, network=network, oidcProvider=False, addons=[]) for name in WAYS}
    on.apply(*items.values())
    on.ready(*items.values(), timeout=150)
    made = {name: Blocked(on, Network(account, name), way) for name, way in WAYS.items()}
    for item in items.values():
        on.api.delete(*key_of(item))
    return made


@pytest.mark.parametrize("name", WAYS)
def test_what_blocks_is_named_and_stays(on, blocked, name):
    one = blocked[name]
    # In use for half a minute is the normal course of a deletion.
    message = until(one.message, 120, f"DeletionBlocked of {name}")
    assert re.search(one.told, message), message
    assert "delete what is not Keelson's by hand" in message
    touched = [call for call in on.writes() if call["resource"] == one.id and call["action"].startswith(("Delete", "Detach", "Terminate"))]
    assert actions(touched) == [], "it is not ours"


def test_without_what_blocked_them_the_deletions_end_by_themselves(on, blocked):
    for one in blocked.values():
        one.remove()
    for one in blocked.values():
        on.api.wait_gone(*key_of(one.item), 150)


def test_what_the_cluster_left_is_swept(on, account, operator):
    """Interfaces that its nodes left, one of them in use for a while; groups of load balancers whose rules name each other."""
    item, nodes = cluster("sweep", network={"vpc": {"zoneCount": 2}}), node_group("sweep")
    on.apply(item, nodes)
    on.ready(item, nodes)
    left = leave(Network(account, "sweep"))
    on.delete(nodes, item, timeout=90)
    assert not set(left) & {i for ids in account.inventory().values() for i in ids}


def test_a_rule_of_somebody_elses_group_that_names_one_of_ours_is_theirs_to_remove(on, account, operator):
    item = cluster("ruled", network={"vpc": {"zoneCount": 2, "nat": "None"}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    network = Network(account, "ruled")
    *_, ours = leave(network)
    theirs = network.ec2.create_security_group(GroupName="databases", Description="theirs", VpcId=network.vpc)["GroupId"]
    rules = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": ours}]}]
    network.ec2.authorize_security_group_ingress(GroupId=theirs, IpPermissions=rules)
    on.api.delete(*key_of(item))

    message = until(lambda: blocked_by(on, item), 60, "DeletionBlocked")
    assert f'security group {theirs} ("databases", owner {account.id}, "theirs")' in message and ours in message
    (found,) = network.ec2.describe_security_groups(GroupIds=[theirs])["SecurityGroups"]
    assert found["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == ours
    network.ec2.delete_security_group(GroupId=theirs)
    on.api.wait_gone(*key_of(item), 60)


@pytest.fixture(scope="module")
def shared(on, account, operator) -> dict:
    """A cluster in somebody else's network, deleted; and what was there before it, while it was there, and after it."""
    theirs = Neighbours(account, "shared")
    before = {
        "the node group of Terraform's module, which the spec names": theirs.terraform_group("nodes"),
        "a group of a self-managed cluster of that name": theirs.terraform_group("masters"),
        "the load balancer group of that cluster": theirs.load_balancer_group("k8s-traffic-shared-1"),
        "a group with rules of its own": theirs.group("databases", {}),
        "an interface of a node of that cluster": theirs.node_interface("i-00000000000000001", now(-60)),
        "another team's unattached interface": theirs.interface({"kubernetes.io/cluster/shared": "owned"}, "mine"),
    }
    named = before["the node group of Terraform's module, which the spec names"]
    theirs.allow(named, before["a group of a self-managed cluster of that name"])
    theirs.allow(before["a group with rules of its own"], named)
    network = {"existing": {"subnetIds": theirs.subnets, "securityGroupIds": [named]}}
    item = cluster("shared", network=network, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    vpc = account.eks.describe_cluster(name="shared")["cluster"]["resourcesVpcConfig"]
    ours = {
        "an interface that a node of ours left": theirs.node_interface(
            "i-00000000000000002", now(), vpc["clusterSecurityGroupId"]
        ),
        "a load balancer group": theirs.load_balancer_group("k8s-traffic-shared-2"),
        "the group of EKS, which the interface held": vpc["clusterSecurityGroupId"],
    }
    held = theirs.load_balancer_group("k8s-traffic-shared-3")
    theirs.allow(before["a group with rules of its own"], held)
    node = theirs.node()
    since = {
        "a load balancer group that somebody's rule names": held,
        "a group that Terraform made meanwhile": theirs.terraform_group("more-nodes"),
        "an interface of a node that runs": theirs.node_interface(node, now()),
    }
    found = {"groups": theirs.groups(), "interfaces": theirs.interfaces()}
    mark = on.mark()
    on.delete(item, timeout=90)
    return {
        "theirs": theirs, "item": item, "stays": {**before, **since}, "goes": ours, "before": found,
        "writes": [call for call in on.writes(mark, account.id) if call["service"] == "ec2"],
    }


def test_in_a_network_of_others_only_what_the_clusters_own_controllers_left_goes(shared):
    theirs = shared["theirs"]
    there = set(theirs.groups()) | theirs.interfaces()
    assert {what for what, i in shared["stays"].items() if i not in there} == set()
    assert {what for what, i in shared["goes"].items() if i in there} == set()
    assert {call["resource"] for call in shared["writes"]} == set(shared["goes"].values())


def test_in_a_network_of_others_no_rule_of_theirs_is_revoked(shared):
    rules = {group: shared["before"]["groups"][group] for group in shared["theirs"].groups()}
    assert shared["theirs"].groups() == rules
    assert [call for call in shared["writes"] if call["action"].startswith("Revoke")] == []


def test_what_is_left_in_a_network_of_others_is_named_once(on, shared):
    notes = [event["note"] for event in on.events(shared["item"]) if event["reason"] == "LeftAlone"]
    for what in ("the load balancer group of that cluster", "a load balancer group that somebody's rule names"):
        assert len([note for note in notes if shared["stays"][what] in note]) == 1, what


def test_what_was_there_before_the_cluster_is_on_record_in_status(on, account, operator):
    """Also when the operator is killed: a record that is made later only holds more."""
    theirs = Neighbours(account, "recorded", "10.11.0.0/16")
    group = theirs.load_balancer_group("k8s-traffic-recorded")
    item = cluster("recorded", network={"existing": {"subnetIds": theirs.subnets}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)

    def record() -> str:
        return next((r["id"] for r in on.status(item)["resources"] if r["key"] == "leftovers"), "")

    first = record()
    # With the VPC: of another one it says nothing.
    assert [word.partition("-")[0] for word in sorted(first.split()[1:])] == ["sg", "vpc"] and group in first, first
    theirs.load_balancer_group("k8s-traffic-later")
    operator.kill()
    operator.restart()
    on.await_ready(operator)
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.ready(item)
    assert record() == first
    on.delete(item)
    assert group in theirs.groups()


def test_a_deletion_that_eks_fails_each_time_is_tried_ever_more_rarely_and_says_so(on, account, operator):
    theirs = Neighbours(account, "stuck", "10.12.0.0/16")
    item = cluster("stuck", network={"existing": {"subnetIds": theirs.subnets}}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    mark = on.mark()

    def told() -> list[str]:
        notes = [event["note"] for event in on.events(item) if event["reason"] == "Deleted"]
        return [note for note in notes if "control plane" in note]

    on.aws.add_fault({"account": account.id, "action": "DeleteCluster"}, {"fail": "a stuck interface"})
    try:
        on.api.delete(*key_of(item))
        on.await_condition(item, "Stalled", reason="DeletionBlocked", timeout=60)
        assert "came to nothing" in on.condition(item)["message"]
        tries = [call for call in on.writes(mark, account.id) if call["action"] == "DeleteCluster"]
        assert 2 <= len(tries) <= 5
        assert told() == []
    finally:
        on.aws.clear_faults()
    # A person asks for a look: it need not wait for the next try.
    on.api.patch(*key_of(item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    on.api.wait_gone(*key_of(item), 60)
    assert told() == ["control plane stuck"]
