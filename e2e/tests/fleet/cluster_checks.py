"""What holds of every Ready cluster, whether AWS is the emulator or a real account: used by `test_lifecycle.py` and by the conformance run."""

from __future__ import annotations

import re

from keelson_harness.kubeapi import conditions

from .account import OWNER, RESOURCE, Account
from .environment import Environment
from .manifests import key_of

ANYWHERE = "0.0.0.0/0"
PARTS = ("NetworkReady", "ControlPlaneReady", "AddonsReady", "InSync", "Ready")


def resource_id(account: Account, resource: str) -> str:
    """The id of the EC2 resource with that key."""
    (found,) = [i for i, tags in account.tagged().items() if tags[RESOURCE] == resource]
    return found


def default_route(account: Account, table: str) -> dict:
    (found,) = account.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return next((r for r in found["Routes"] if r.get("DestinationCidrBlock") == ANYWHERE), {})


def subnets_of(account: Account, item: dict) -> dict[str, dict]:
    vpc = [{"Name": "vpc-id", "Values": [item["status"]["network"]["vpcId"]]}]
    return {s["SubnetId"]: s for s in account.ec2.describe_subnets(Filters=vpc)["Subnets"]}


def assert_everything_is_tagged_with_its_owner(account: Account, item: dict) -> None:
    """item: the EksCluster with its status."""
    meta = item["metadata"]
    found = list(account.tagged().values()) + [tags for tags in account.roles().values() if OWNER in tags]
    assert len(found) > 10
    assert {entry[OWNER] for entry in found} == {meta["uid"]}
    assert {entry["keelson.dev/cluster"] for entry in found} == {f"{meta['namespace']}/{meta['name']}"}
    assert all(entry["Name"] for entry in found)


def assert_subnets_are_tagged_for_load_balancers(account: Account, item: dict, cluster: str) -> None:
    subnets = subnets_of(account, item)
    assert subnets
    for subnet in subnets.values():
        found = {tag["Key"]: tag["Value"] for tag in subnet["Tags"]}
        public = found[RESOURCE].startswith("subnet/public/")
        role = "kubernetes.io/role/elb" if public else "kubernetes.io/role/internal-elb"
        assert found[f"kubernetes.io/cluster/{cluster}"] == "shared" and found[role] == "1"


def assert_subnets_route_through_their_gateway(account: Account, item: dict) -> None:
    """Of a network with one NAT gateway."""
    vpc = [{"Name": "vpc-id", "Values": [item["status"]["network"]["vpcId"]]}]
    attached = [{"Name": "attachment.vpc-id", "Values": [item["status"]["network"]["vpcId"]]}]
    alive = {"Name": "state", "Values": ["pending", "available"]}
    (gateway,) = account.ec2.describe_nat_gateways(Filters=[*vpc, alive])["NatGateways"]
    (igw,) = account.ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]
    targets = {}
    for table in account.ec2.describe_route_tables(Filters=vpc)["RouteTables"]:
        out = [r for r in table["Routes"] if r.get("DestinationCidrBlock") == ANYWHERE]
        for association in table["Associations"]:
            if association.get("SubnetId"):
                targets[association["SubnetId"]] = out[0].get("NatGatewayId") or out[0].get("GatewayId")
    by_tier = {s["id"]: s["tier"] for s in item["status"]["network"]["subnets"]}
    expected = {"Private": gateway["NatGatewayId"], "Public": igw["InternetGatewayId"]}
    assert targets == {subnet: expected[tier] for subnet, tier in by_tier.items()}


def assert_status_matches_aws(account: Account, item: dict, cluster: str) -> None:
    status = item["status"]
    described = account.eks.describe_cluster(name=cluster)["cluster"]
    assert {name: status[name] for name in ("arn", "version", "platformVersion", "endpoint")} == {
        name: described[name] for name in ("arn", "version", "platformVersion", "endpoint")
    }
    assert status["accountId"] == account.id
    assert status["oidcIssuer"] == described["identity"]["oidc"]["issuer"]
    vpc = described["resourcesVpcConfig"]
    assert status["network"]["vpcId"] == vpc["vpcId"]
    assert status["network"]["clusterSecurityGroupId"] == vpc["clusterSecurityGroupId"]
    subnets = subnets_of(account, item)
    for shown in status["network"]["subnets"]:
        actual = subnets.pop(shown["id"])
        assert (shown["zone"], shown["cidr"]) == (actual["AvailabilityZone"], actual["CidrBlock"])
    assert not subnets


def assert_status_lists_every_resource(account: Account, item: dict, node_groups: list[str]) -> None:
    """node_groups: keys that are in the status of NodeGroups instead."""
    shown = {entry["key"]: entry["id"] for entry in item["status"]["resources"]}
    actual = account.resources()
    for key in node_groups:
        del actual[key]
    ids = set(shown.values())
    assert {key: i for key, i in actual.items() if shown.get(key) != i and i not in ids} == {}
    assert all(entry["state"] for entry in item["status"]["resources"])


def assert_plan_is_empty(item: dict) -> None:
    plan = item["status"]["plan"]
    assert plan["summary"] == "0 to create, 0 to update, 0 to delete"
    assert plan.get("steps", []) == []
    assert plan["generation"] == item["metadata"]["generation"]


def assert_conditions_follow_the_contract(item: dict, nodes: dict, parts: tuple[str, ...] = PARTS) -> None:
    found = conditions(item)
    assert {kind: found[kind]["status"] for kind in parts} == dict.fromkeys(parts, "True")
    # kstatus: abnormal conditions are False or missing.
    assert all(found[k]["status"] == "False" for k in ("Reconciling", "Stalled") if k in found)
    of_nodes = conditions(nodes)
    assert {of_nodes[kind]["status"] for kind in ("Ready", "NodesReady", "InSync")} == {"True"}
    for condition in (*found.values(), *of_nodes.values()):
        assert re.fullmatch("[A-Z][A-Za-z]+", condition["reason"]), condition


def assert_every_create_has_an_event(on: Environment, account: Account, items: list[dict]) -> None:
    objects = [on.api.get(*key_of(item)) for item in items]
    event_notes = " ".join(e["note"] for item in objects for e in on.events(item) if e["reason"] == "Created")
    without_event = {key: i for key, i in account.resources().items() if i not in event_notes}
    assert without_event == {}
