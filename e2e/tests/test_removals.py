"""What an edit removes from a running cluster's spec is deleted in AWS, dependents before their dependencies; resources that Keelson does
not own are not deleted. Edits without effect are rejected.
"""

from __future__ import annotations

import pytest

from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.killing import killed_at
from fleet.manifests import cluster, key_of, node_group
from fleet.environment import Environment, actions, environment, is_in_sync, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, conditions

QUICK = Durations(1, 1, 1, 1, 0.3, 1)
FULL_NETWORK = {"zoneCount": 2, "nat": "PerZone", "endpoints": ["s3", "ecr.api", "sts"]}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=QUICK) as started:
        yield started


class Shop:
    def __init__(self, on: Environment, name: str, **spec: object):
        self.on, self.account = on, on.account(fresh_account())
        self.item = cluster(name, addons=[], network={"vpc": dict(FULL_NETWORK)}, **spec)

    def create(self) -> Shop:
        self.operator = self.on.start(account=self.account.id)
        self.on.apply(self.item)
        self.on.ready(self.item)
        return self

    def edit(self, **spec: object) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})
        return mark

    def network(self, **vpc: object) -> int:
        return self.edit(network={"vpc": vpc})

    def wait_in_sync(self, seconds: float = 60) -> None:
        self.on.await_in_sync(self.item, seconds)

    def writes(self, mark: int) -> list[str]:
        return [action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))]

    def keys(self, *kinds: str) -> list[str]:
        return sorted(key for key in self.account.resources() if key.partition("/")[0] in kinds)

    def recorded(self) -> list[str]:
        return sorted(line["key"] for line in self.on.status(self.item)["resources"])


@pytest.fixture(scope="module")
def shop(on: Environment) -> Shop:
    return Shop(on, "shop").create()


def test_endpoints_no_longer_listed_are_deleted_and_their_security_group_with_the_last_interface_endpoint(shop):
    mark = shop.network(endpoints=["s3", "sts"])
    shop.wait_in_sync()
    assert shop.writes(mark) == ["ec2:DeleteVpcEndpoints"]
    assert shop.keys("vpcEndpoint", "securityGroup") == ["securityGroup/endpoints", "vpcEndpoint/s3", "vpcEndpoint/sts"]
    mark = shop.network(endpoints=None)
    shop.wait_in_sync()
    assert shop.writes(mark) == ["ec2:DeleteVpcEndpoints", "ec2:DeleteVpcEndpoints", "ec2:DeleteSecurityGroup"]
    assert shop.keys("vpcEndpoint", "securityGroup") == []
    until(lambda: not [key for key in shop.recorded() if key.startswith(("vpcEndpoint", "securityGroup"))], 10, "the inventory")


def test_routes_are_moved_before_a_nat_gateway_is_deleted(shop, on):
    before = shop.keys("natGateway", "elasticIp")
    assert len(before) == 4
    # Not created by Keelson, but with its tags: tags alone do not prove ownership, so it stays.
    foreign_address = shop.account.ec2.allocate_address(Domain="vpc")["AllocationId"]
    uid = on.api.get(*key_of(shop.item))["metadata"]["uid"]
    tags = {OWNER: uid, RESOURCE: "elasticIp/eu-west-1b"}
    shop.account.ec2.create_tags(Resources=[foreign_address], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    mark = shop.network(nat="Single")
    shop.wait_in_sync()
    assert shop.writes(mark) == ["ec2:ReplaceRoute", "ec2:DeleteNatGateway", "ec2:ReleaseAddress"]
    shop.account.ec2.delete_tags(Resources=[foreign_address], Tags=[{"Key": key} for key in tags])
    assert foreign_address in shop.account.inventory()["addresses"]
    assert shop.keys("natGateway", "elasticIp") == ["elasticIp/eu-west-1a", "natGateway/eu-west-1a"]


def test_nat_removal_deletes_routes_first_and_addresses_last(shop):
    mark = shop.network(nat="None")
    shop.wait_in_sync()
    assert shop.writes(mark) == [*(["ec2:DeleteRoute"] * 2), "ec2:DeleteNatGateway", "ec2:ReleaseAddress"]
    assert shop.keys("natGateway", "elasticIp") == []
    for table in shop.account.ec2.describe_route_tables()["RouteTables"]:
        assert not [route for route in table["Routes"] if route.get("NatGatewayId")]
    until(lambda: not [key for key in shop.recorded() if key.startswith(("natGateway", "elasticIp", "route/private"))], 10, "the inventory")


def test_removed_resources_can_be_created_again(shop):
    shop.network(nat="Single", endpoints=["ecr.api"])
    shop.wait_in_sync()
    assert shop.keys("natGateway", "elasticIp", "vpcEndpoint", "securityGroup") == [
        "elasticIp/eu-west-1a",
        "natGateway/eu-west-1a",
        "securityGroup/endpoints",
        "vpcEndpoint/ecr.api",
    ]


def test_nat_gateway_used_by_a_foreign_route_is_kept_and_the_route_is_named(shop, on):
    ec2 = shop.account.ec2
    (gateway,) = [g["NatGatewayId"] for g in ec2.describe_nat_gateways(Filters=[{"Name": "state", "Values": ["available"]}])["NatGateways"]]
    vpc = shop.account.resources()["vpc"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    shop.network(nat="None")
    found = on.await_condition(shop.item, "Stalled", "True", timeout=20)
    message = conditions(found)["Stalled"]["message"]
    assert gateway in message and table in message, message
    assert gateway in {g["NatGatewayId"] for g in ec2.describe_nat_gateways(Filters=[{"Name": "state", "Values": ["available"]}])["NatGateways"]}
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": "now"}}})
    shop.wait_in_sync()
    assert shop.keys("natGateway", "elasticIp") == []
    ec2.delete_route_table(RouteTableId=table)


def test_oidc_provider_is_deleted_and_created_again(shop):
    assert shop.account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    mark = shop.edit(oidcProvider=False)
    shop.wait_in_sync()
    assert shop.writes(mark) == ["iam:DeleteOpenIDConnectProvider"]
    shop.edit(oidcProvider=True)
    shop.wait_in_sync()
    assert shop.account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]


def test_cluster_deletion_during_removals_leaves_nothing(shop, on):
    shop.network(nat="PerZone", endpoints=["s3", "sts"])
    shop.wait_in_sync()
    mark = shop.network(nat="None", endpoints=None)
    shop.edit(oidcProvider=False)
    until(lambda: "ec2:DeleteNatGateway" in shop.writes(mark), 20, "the first deletion")
    on.delete(shop.item, timeout=60)
    assert {kind: ids for kind, ids in shop.account.inventory().items() if ids and kind != "addresses"} == {}
    assert len(shop.account.inventory().get("addresses", [])) == 1, "the address that Keelson does not own"
    shop.operator.stop()


def test_removals_wait_for_approval_and_are_listed_in_the_plan(on):
    shop = Shop(on, "approved", changePolicy="Approval")
    operator = on.start(account=shop.account.id)

    def approve() -> None:
        def waits() -> str:
            status = on.status(shop.item)
            current = on.api.get(*key_of(shop.item))["metadata"]["generation"]
            ready = conditions({"status": status}).get("Ready", {})
            is_waiting = ready.get("reason") == "WaitingForApproval" and ready.get("observedGeneration") == current
            return status["plan"]["hash"] if is_waiting else ""

        hash_ = until(waits, 30, "a plan")
        on.api.patch(*key_of(shop.item)[:3], {"metadata": {"annotations": {"keelson.dev/approve": hash_}}})

    on.apply(shop.item)
    approve()
    on.ready(shop.item)
    mark = shop.network(nat="None", endpoints=["s3"])
    on.await_condition(shop.item, status="False", reason="WaitingForApproval", timeout=20)
    (step,) = [step for step in on.status(shop.item)["plan"]["steps"] if step["resource"] == "removals"]
    step_text = str(step)
    for what in ("network.vpc.nat[natGateway/eu-west-1a]", "network.vpc.nat[elasticIp/eu-west-1b]", "network.vpc.endpoints[sts]", "nat-", "vpce-"):
        assert what in step_text, step_text
    assert shop.writes(mark) == []
    approve()
    shop.wait_in_sync()
    assert shop.keys("natGateway", "elasticIp", "vpcEndpoint") == ["vpcEndpoint/s3"]
    on.api.patch(*key_of(shop.item)[:3], {"spec": {"changePolicy": "Automatic"}})
    on.delete(shop.item)
    operator.stop()


def test_removals_end_the_same_when_killed_after_every_write(on):
    """Each kill comes after AWS has executed a write and before its response arrives."""
    shop = Shop(on, "killed").create()
    shop.operator.stop()
    shop.network(nat="None", endpoints=None)
    killings = killed_at(on, shop.account.id, lambda: is_in_sync(on.api.get(*key_of(shop.item))))
    print(killings.summary("removals"))
    # Two routes, two gateways, two addresses, three endpoints, a group.
    assert len(killings.writes) >= 10 and len(killings.points) >= 5
    assert shop.keys("natGateway", "elasticIp", "vpcEndpoint", "securityGroup") == []
    with on.operator(account=shop.account.id):
        on.delete(shop.item)
    assert {kind: ids for kind, ids in shop.account.inventory().items() if ids} == {}


# Size of a node group


@pytest.fixture(scope="module")
def nodes(on: Environment) -> tuple[Account, dict]:
    account = on.account(fresh_account())
    on.start(account=account.id)
    small_cluster = cluster("small", addons=[], network={"vpc": {"zoneCount": 2, "nat": "None"}})
    group = node_group("small", "web", scaling={"min": 1, "max": 5, "desired": 2})
    on.apply(small_cluster, group)
    on.ready(small_cluster, group)
    return account, group


def scale(on: Environment, group: dict, replicas: int) -> dict:
    """Patches the scale subresource, as `kubectl scale` does."""
    version, kind, name, namespace = key_of(group)
    return on.api.patch(version, kind, name, {"spec": {"replicas": replicas}}, namespace, subresource="scale")


def size(account: Account) -> int:
    return account.eks.describe_nodegroup(clusterName="small", nodegroupName="web")["nodegroup"]["scalingConfig"]["desiredSize"]


def test_scale_without_effect_is_rejected_with_remedy(on, nodes):
    account, group = nodes
    for attempt in (lambda: scale(on, group, 4), lambda: on.api.patch(*key_of(group)[:3], {"spec": {"scaling": {"desired": 4}}})):
        with pytest.raises(ApiError) as error:
            attempt()
        assert error.value.code == 422, error.value.message
        for words in ("spec.scaling.desired", "desiredPolicy: Enforce", "autoscaler"):
            assert words in error.value.message
    assert size(account) == 2


def test_bounds_can_change_and_desired_size_can_be_removed(on, nodes):
    account, group = nodes
    on.api.patch(*key_of(group)[:3], {"spec": {"scaling": {"min": 3, "desired": 3}}})
    until(lambda: size(account) == 3, 45, "the size within the bounds")
    on.api.patch(*key_of(group)[:3], {"spec": {"scaling": {"desired": None}}})
    with pytest.raises(ApiError):
        on.api.patch(*key_of(group)[:3], {"spec": {"scaling": {"desired": 4}}})


def test_enforced_size_is_scaled(on, nodes):
    account, group = nodes
    on.api.patch(*key_of(group)[:3], {"spec": {"scaling": {"desired": 4, "desiredPolicy": "Enforce"}}})
    until(lambda: size(account) == 4, 45, "four nodes")
    assert scale(on, group, 5)["spec"]["replicas"] == 5
    until(lambda: size(account) == 5, 45, "five nodes")
    with pytest.raises(ApiError) as error:
        scale(on, group, 9)
    assert "between min and max" in error.value.message


def test_size_can_be_changed_before_creation(on):
    group = node_group("nowhere", "early", scaling={"min": 1, "max": 9, "desired": 9})
    on.apply(group)
    on.await_condition(group, status="False", reason="WaitingForCluster", timeout=10)
    assert scale(on, group, 2)["spec"]["replicas"] == 2
    on.delete(group)
