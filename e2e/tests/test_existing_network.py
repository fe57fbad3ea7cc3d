"""A network that the user provides: judged by its routes, zones, DNS and addresses before anything is made; what changes later is reported and
stops no cluster that works.
"""

from __future__ import annotations

import pytest

from fleet.account import Account, fresh_account
from fleet.environment import Environment, environment, stays, until
from fleet.manifests import cluster, existing, key_of, node_group
from keelson_harness.aws import Durations

QUICK = Durations(1, 1, 1, 1, 0.3, 0.5)
DRIFT = "--drift-interval=2s"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=QUICK) as started:
        started.aws.control("POST", "settings", json={"NODES_NEED_NETWORK": 1})
        yield started


class Network:
    """A VPC of another team: private subnets in two zones, and changes that this team makes."""

    def __init__(self, on: Environment, zones: str = "ab", cidr: str = "10.9.0.0/16"):
        self.on, self.account = on, on.account(fresh_account())
        self.ec2, self.cidr = self.account.ec2, cidr
        self.subnets = self.account.network(zones, cidr)
        self.vpc = self.ec2.describe_subnets(SubnetIds=self.subnets)["Subnets"][0]["VpcId"]

    def tag(self, *subnets: str) -> None:
        self.ec2.create_tags(Resources=list(subnets), Tags=[{"Key": "use", "Value": "eks"}])

    def selector(self) -> dict:
        return {"existing": {"vpcId": self.vpc, "subnetSelector": {"tags": {"use": "eks"}}}}

    def main_table(self) -> str:
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        return next(t["RouteTableId"] for t in tables if any(a["Main"] for a in t["Associations"]))

    def isolate(self) -> None:
        self.ec2.delete_route(RouteTableId=self.main_table(), DestinationCidrBlock="0.0.0.0/0")

    def open(self) -> None:
        """All its subnets are routed to the internet."""
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.isolate()
        self.ec2.create_route(RouteTableId=self.main_table(), DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)

    def subnet(self, zone: str, number: int, bits: int = 24) -> str:
        block = f"{self.cidr.rpartition('.')[0].rpartition('.')[0]}.{number}.0/{bits}"
        created = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=block, AvailabilityZone=f"{self.account.region}{zone}")
        return created["Subnet"]["SubnetId"]


def refused(on: Environment, account: Account, item: dict, reason: str = "InvalidSpec") -> str:
    """The message; nothing was written."""
    mark = on.mark()
    on.apply(item)
    on.await_condition(item, "Stalled", reason=reason)
    message = on.condition(item)["message"]
    assert on.writes(mark, account.id) == []
    return message


def test_what_fails_for_certain_is_refused_before_the_first_write(on: Environment):
    here = Network(on)
    with on.operator(account=here.account.id):
        here.ec2.modify_vpc_attribute(VpcId=here.vpc, EnableDnsHostnames={"Value": False})
        item = cluster("no-dns", network=existing(*here.subnets), addons=[])
        message = refused(on, here.account, item)
        assert "network.existing.vpcId" in message and "enableDnsHostnames" in message, message
        here.ec2.modify_vpc_attribute(VpcId=here.vpc, EnableDnsHostnames={"Value": True})
        zone_id = here.ec2.describe_subnets(SubnetIds=here.subnets)["Subnets"][0]["AvailabilityZoneId"]
        zones = [{"name": "eu-west-1a", "id": zone_id, "type": "local-zone", "optInStatus": "opted-in"}]
        zones += [{"name": f"eu-west-1{letter}", "id": f"euw1-az{letter}"} for letter in "bc"]
        on.aws.control("POST", "zones", json={"account": here.account.id, "region": here.account.region, "zones": zones})
        on.delete(item)
    with on.operator(account=here.account.id):
        item = cluster("local", network=existing(*here.subnets), addons=[])
        message = refused(on, here.account, item)
        assert "network.existing.subnetIds" in message and f"{here.subnets[0]} is in eu-west-1a ({zone_id}: a local-zone" in message, message
        on.delete(item)


def test_nodes_in_public_subnets_without_public_addresses_are_refused(on: Environment):
    here = Network(on)
    here.open()
    item, nodes = cluster("public", network=existing(*here.subnets), addons=[]), node_group("public", subnets={"tier": "Public"})
    with on.operator(DRIFT, account=here.account.id):
        on.apply(item)
        on.ready(item)
        assert {subnet["tier"] for subnet in on.status(item)["network"]["subnets"]} == {"Public"}
        network = on.condition(item, "NetworkReady")
        assert network["status"] == "True" and "Ec2SubnetInvalidConfiguration" in network["message"], network
        assert "kubernetes.io/role/elb: 1" in network["message"], network
        message = refused(on, here.account, nodes)
        assert "spec.subnets" in message and "auto-assignment of public IPv4 addresses" in message, message
        on.delete(nodes)
        for subnet in here.subnets:
            here.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        on.apply(nodes)
        on.ready(nodes)
        # Fargate refuses public subnets: there is none for it.
        on.api.patch(*key_of(item)[:3], {"spec": {"fargateProfiles": [{"name": "jobs", "selectors": [{"namespace": "jobs"}]}]}})
        on.await_condition(item, "Stalled", reason="InvalidSpec")
        failed = on.condition(item)["message"]
        assert "Fargate profile jobs needs a private subnet" in failed, failed
        on.api.patch(*key_of(item)[:3], {"spec": {"fargateProfiles": []}})
        on.delete(nodes, item)


def test_private_subnets_without_a_way_out_are_reported_and_refused_for_nodes(on: Environment):
    here = Network(on)
    here.isolate()
    item, nodes = cluster("isolated", network=existing(*here.subnets), addons=[]), node_group("isolated")
    with on.operator(DRIFT, account=here.account.id):
        on.apply(item)
        on.ready(item)
        network = on.condition(item, "NetworkReady")
        assert "has no route out of the VPC, and it reaches no endpoint of ec2, ecr.api, ecr.dkr, s3" in network["message"], network
        message = refused(on, here.account, nodes)
        assert "has no route out of the VPC" in message and "VPC endpoints" in message, message
        on.delete(nodes, item)


def assert_reported(on: Environment, item: dict, text: str) -> None:
    """The difference is reported, the cluster stays Ready, and nothing is sent."""
    mark = on.mark()
    on.await_condition(item, "InSync", status="False", reason="Drifted", timeout=40)
    message = on.condition(item, "InSync")["message"]
    assert text in message, message
    stays(lambda: on.condition(item)["status"] == "True", 4, "Ready")
    account = on.status(item)["accountId"]
    assert [write for write in on.writes(mark, account) if write["service"] == "eks"] == []
    assert any(drift["resource"] == "existingNetwork" for drift in on.status(item)["drift"])


def test_later_changes_of_the_network_are_reported_and_stop_no_cluster(on: Environment):
    here = Network(on)
    here.tag(*here.subnets)
    item = cluster("later", network=here.selector(), addons=[])
    nodes = node_group("later")
    with on.operator(DRIFT, account=here.account.id):
        on.apply(item, nodes)
        on.ready(item, nodes)
        on.await_condition(item, "InSync")
        further = here.subnet("c", 77)
        here.tag(further)
        assert_reported(on, item, f"{further} is in eu-west-1c, and EKS adds no zone to a cluster")
        here.ec2.delete_subnet(SubnetId=further)
        on.await_condition(item, "InSync", timeout=40)
        # One in a zone of the cluster is taken; one that is full is not.
        more = here.subnet("a", 78)
        here.tag(more)
        placed = lambda: here.account.eks.describe_cluster(name="later")["cluster"]["resourcesVpcConfig"]["subnetIds"]  # noqa: E731
        on.await_condition(item, "InSync", timeout=40)
        stays(lambda: on.condition(item)["status"] in ("True", "False"), 3)
        on.await_condition(item, "InSync", timeout=40)
        assert set(placed()) == {*here.subnets, more}
        here.ec2.delete_tags(Resources=[here.subnets[1]], Tags=[{"Key": "use"}])
        assert_reported(on, item, f"{here.subnets[1]} stays until there is another subnet in eu-west-1b")
        here.tag(here.subnets[1])
        on.await_condition(item, "InSync", timeout=40)
        # Routes: all become public. The node group that selects private subnets exists, so it stays.
        here.open()

        def are_public() -> bool:
            assert on.condition(item)["status"] == on.condition(nodes)["status"] == "True", "Ready"
            return {subnet["tier"] for subnet in on.status(item)["network"]["subnets"]} == {"Public"}

        until(are_public, 60, "the routes in status")
        # The node group's next reconcile observes them as well.
        on.reconcile(item, nodes)
        assert are_public()
        on.delete(nodes, item)
