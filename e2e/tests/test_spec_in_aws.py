"""What a spec asks for is what boto3 finds in AWS: other accounts, other networks, access, add-ons, nodes."""

from __future__ import annotations

import json

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import CLOSED, account, cluster, existing, node_group
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, REGION

EXTERNAL_ID = "6f1e2c0a-fleet"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
SSM = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
CONFIGURATION = {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def operator(on):
    return on.start()


# A second account, and every field of the spec that is acted on


@pytest.fixture(scope="module")
def second(on) -> Account:
    """An account that lets the operator in by a role with an external id."""
    made = on.account(fresh_account())
    operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    made.role("keelson", operator, "AdministratorAccess", external_id=EXTERNAL_ID)
    for name in ("admins", "viewers", "shop"):
        made.role(name, {"AWS": f"arn:aws:iam::{made.id}:root"})
    made.cluster_role("own-cluster-role")
    return made


def arn(owner: Account, role: str) -> str:
    return f"arn:aws:iam::{owner.id}:role/{role}"


def payments(second: Account) -> dict:
    entries = [
        {"principalArn": arn(second, "admins"), "policies": [{"policyArn": ADMIN}]},
        {"principalArn": arn(second, "viewers"), "kubernetesGroups": ["viewers"]},
        {
            "principalArn": arn(second, "shop"),
            "policies": [
                {"policyArn": VIEW, "scope": {"type": "Namespace", "namespaces": ["shop", "cart"]}}
            ],
        },
    ]
    return cluster(
        "payments",
        accountRef={"name": "second"},
        clusterName="payments-prod",
        version="1.35",
        tags={"team": "payments"},
        network={
            "vpc": {
                "cidr": "10.40.0.0/16",
                "zones": [f"{REGION}a", f"{REGION}b"],
                "nat": "PerZone",
                "endpoints": ["s3", "ecr.api"],
            }
        },
        kubernetesNetwork={"serviceCidr": "172.21.0.0/16"},
        endpointAccess={"publicCidrs": ["203.0.113.0/24"]},
        logging=["api", "audit"],
        secretsEncryption={"kmsKeyArn": KEY},
        roleArn=arn(second, "own-cluster-role"),
        supportType="Standard",
        deletionProtection=True,
        access={"authenticationMode": "ApiAndConfigMap", "entries": entries},
        addons=[
            {"name": "vpc-cni", "version": "v1.20.5-eksbuild.1", "configuration": CONFIGURATION},
            {"name": "kube-proxy", "version": "Latest"},
            {"name": "coredns"},
        ],
    )


SPOT = node_group(
    "payments",
    "payments-spot",
    nodeGroupName="spot",
    amiType="AL2023_x86_64_STANDARD",
    instanceTypes=["m7i.large", "m7a.large"],
    capacityType="Spot",
    diskSizeGiB=50,
    scaling={"min": 1, "max": 5, "desired": 3},
    subnets={"tier": "Private", "zones": [f"{REGION}b"]},
    labels={"workload": "batch"},
    taints=[{"key": "spot", "value": "true", "effect": "NoSchedule"}],
    additionalRolePolicies=[SSM],
    update={"maxUnavailable": 2},
    repair={"enabled": True},
    tags={"shift": "night"},
)


@pytest.fixture(scope="module")
def payments_ready(on: Environment, operator, second) -> dict:
    item = payments(second)
    on.apply(
        account(
            "second",
            second.id,
            roleArn=arn(second, "keelson"),
            externalId=EXTERNAL_ID,
            tags={"cost-center": "4711"},
            # What the two specs name, and nothing else.
            **CLOSED
            | {
                "allowedRoleArns": [arn(second, "own-*")],
                "allowedPolicyArns": [SSM],
                "allowedKmsKeyArns": [KEY],
            },
            rolePath="/keelson/",
            enforcedTags={"shift": "any", "owner": "platform"},
        ),
        item,
        SPOT,
    )
    on.ready(item, SPOT)
    return item


@pytest.fixture(scope="module")
def described(payments_ready, second) -> dict:
    return second.eks.describe_cluster(name="payments-prod")["cluster"]


def test_everything_is_made_in_the_account_that_the_object_refers_to(on, payments_ready, second):
    assert second.counts()["clusters"] == 1
    assert on.account().inventory() == {}
    status = on.status(payments_ready)
    assert status["accountId"] == second.id and f":{second.id}:" in status["arn"]


def test_control_plane_is_as_the_spec_says(described, second):
    assert described["version"] == "1.35" and described["roleArn"] == arn(second, "own-cluster-role")
    assert described["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.21.0.0/16"
    vpc = described["resourcesVpcConfig"]
    assert (vpc["endpointPublicAccess"], vpc["endpointPrivateAccess"]) == (True, True)
    assert vpc["publicAccessCidrs"] == ["203.0.113.0/24"]
    on = [s["types"] for s in described["logging"]["clusterLogging"] if s["enabled"]]
    assert on == [["api", "audit"]]
    assert described["encryptionConfig"][0]["provider"]["keyArn"] == KEY
    assert described["upgradePolicy"]["supportType"] == "STANDARD"
    assert described["deletionProtection"] is True
    assert described["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"


def test_tags_of_the_account_and_of_the_object_are_on_everything(described, second):
    tags = [described["tags"], *second.tagged().values()]
    tags += [t for name, t in second.roles().items() if "keelson.dev/owner" in t]
    assert len(tags) > 15
    wanted = {"team": "payments", "cost-center": "4711", "shift": "any", "owner": "platform"}
    assert [t for t in tags if {key: t.get(key) for key in wanted} != wanted] == []


def test_no_cluster_role_is_made_beside_the_given_one(payments_ready, second):
    made = {n: t for n, t in second.roles().items() if "keelson.dev/owner" in t}
    assert [t["keelson.dev/resource"] for t in made.values()] == ["role/node"]


def test_each_zone_has_a_nat_gateway_of_its_own(payments_ready, second):
    ec2 = second.ec2
    zones = {s["SubnetId"]: s["AvailabilityZone"] for s in ec2.describe_subnets()["Subnets"]}
    assert len(zones) == 4
    gateways = {
        g["NatGatewayId"]: zones[g["SubnetId"]] for g in ec2.describe_nat_gateways()["NatGateways"]
    }
    assert sorted(gateways.values()) == [f"{REGION}a", f"{REGION}b"]
    for table in ec2.describe_route_tables()["RouteTables"]:
        for route in table["Routes"]:
            if gateway := route.get("NatGatewayId"):
                used_in = {zones[a["SubnetId"]] for a in table["Associations"]}
                assert used_in == {gateways[gateway]}, "traffic leaves its zone"


def test_subnets_lie_in_the_vpc_and_apart(payments_ready, second):
    import ipaddress

    blocks = [
        ipaddress.ip_network(s["CidrBlock"]) for s in second.ec2.describe_subnets()["Subnets"]
    ]
    whole = ipaddress.ip_network("10.40.0.0/16")
    assert all(block.subnet_of(whole) for block in blocks)
    assert not any(a.overlaps(b) for a in blocks for b in blocks if a is not b)
    vpc = second.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": [str(whole)]}])["Vpcs"][0]
    for name in ("enableDnsSupport", "enableDnsHostnames"):
        answer = second.ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=name)
        assert answer[name[0].upper() + name[1:]]["Value"] is True


def test_endpoints_are_reached_from_every_private_subnet(payments_ready, second):
    endpoints = {
        e["ServiceName"].partition(f"{REGION}.")[2]: e
        for e in second.ec2.describe_vpc_endpoints()["VpcEndpoints"]
    }
    assert set(endpoints) == {"s3", "ecr.api"}
    tables = second.ec2.describe_route_tables()["RouteTables"]
    owned = {
        t["RouteTableId"]
        for t in tables
        if any(tag["Key"] == "keelson.dev/owner" for tag in t["Tags"])
    }
    s3, registry = endpoints["s3"], endpoints["ecr.api"]
    assert s3["VpcEndpointType"] == "Gateway" and set(s3["RouteTableIds"]) <= owned
    assert len(s3["RouteTableIds"]) >= 2
    assert registry["VpcEndpointType"] == "Interface" and registry["PrivateDnsEnabled"] is True
    assert len(registry["SubnetIds"]) == 2
    group = second.ec2.describe_security_groups(GroupIds=[registry["Groups"][0]["GroupId"]])
    rule = group["SecurityGroups"][0]["IpPermissions"][0]
    assert (rule["FromPort"], rule["ToPort"]) == (443, 443)
    assert rule["IpRanges"][0]["CidrIp"] == "10.40.0.0/16"


def test_access_entries_have_their_groups_policies_and_scopes(payments_ready, second):
    def policies(role: str) -> list[tuple]:
        found = second.eks.list_associated_access_policies(
            clusterName="payments-prod", principalArn=arn(second, role)
        )["associatedAccessPolicies"]
        return [
            (p["policyArn"], p["accessScope"]["type"], sorted(p["accessScope"]["namespaces"]))
            for p in found
        ]

    assert policies("admins") == [(ADMIN, "cluster", [])]
    assert policies("shop") == [(VIEW, "namespace", ["cart", "shop"])]
    assert policies("viewers") == []
    entry = second.eks.describe_access_entry(
        clusterName="payments-prod", principalArn=arn(second, "viewers")
    )["accessEntry"]
    assert entry["kubernetesGroups"] == ["viewers"]


def test_addons_have_their_version_and_configuration(payments_ready, second):
    def addon(name: str) -> dict:
        return second.eks.describe_addon(clusterName="payments-prod", addonName=name)["addon"]

    assert second.eks.list_addons(clusterName="payments-prod")["addons"] == [
        "coredns",
        "kube-proxy",
        "vpc-cni",
    ]
    assert addon("vpc-cni")["addonVersion"] == "v1.20.5-eksbuild.1"
    assert json.loads(addon("vpc-cni")["configurationValues"]) == CONFIGURATION
    offered = {
        name: second.eks.describe_addon_versions(addonName=name, kubernetesVersion="1.35")[
            "addons"
        ][0]["addonVersions"]
        for name in ("kube-proxy", "coredns")
    }
    default = [
        v["addonVersion"]
        for v in offered["coredns"]
        if any(c["defaultVersion"] for c in v["compatibilities"])
    ]
    assert addon("coredns")["addonVersion"] == default[0]
    assert addon("kube-proxy")["addonVersion"] == offered["kube-proxy"][0]["addonVersion"]


def test_node_group_is_as_the_spec_says(payments_ready, second):
    group = second.eks.describe_nodegroup(clusterName="payments-prod", nodegroupName="spot")
    group = group["nodegroup"]
    subnets = second.ec2.describe_subnets(SubnetIds=group["subnets"])["Subnets"]
    assert [s["AvailabilityZone"] for s in subnets] == [f"{REGION}b"]
    assert subnets[0]["MapPublicIpOnLaunch"] is False
    assert group["version"] == "1.35" and group["amiType"] == "AL2023_x86_64_STANDARD"
    assert group["instanceTypes"] == ["m7i.large", "m7a.large"] and group["capacityType"] == "SPOT"
    assert group["scalingConfig"] == {"minSize": 1, "maxSize": 5, "desiredSize": 3}
    assert group["diskSize"] == 50 and group["labels"] == {"workload": "batch"}
    assert group["taints"] == [{"key": "spot", "value": "true", "effect": "NO_SCHEDULE"}]
    assert group["updateConfig"]["maxUnavailable"] == 2
    assert group["nodeRepairConfig"]["enabled"] is True
    # The account's own value of it, not the NodeGroup's.
    assert group["tags"]["shift"] == "any" and group["tags"]["team"] == "payments"
    path, _, role = group["nodeRole"].rpartition("/")
    assert path == f"arn:aws:iam::{second.id}:role/keelson"
    attached = second.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert {"AmazonSSMManagedInstanceCore", "AmazonEKSWorkerNodePolicy"} <= {
        policy["PolicyName"] for policy in attached
    }


def test_cluster_deleted_alone_takes_its_node_groups_and_nothing_of_others(
    on, payments_ready, second
):
    # Deletion protection is lifted by the deletion of the object, and by nothing else.
    before = {"keelson", "admins", "viewers", "shop", "own-cluster-role"}
    on.api.delete("keelson.dev/v1alpha1", "EksCluster", "payments")
    on.api.wait_gone("keelson.dev/v1alpha1", "EksCluster", "payments", timeout=60)
    assert on.api.find("keelson.dev/v1alpha1", "NodeGroup", "payments-spot") is None
    assert second.inventory() == {"roles": sorted(before)}


# Somebody else's network


@pytest.fixture(scope="module")
def given(on: Environment, operator) -> tuple[dict, list[str]]:
    theirs = on.account()
    subnets = theirs.network("ab")
    return cluster("billing", network=existing(*subnets)), subnets


def network_of(owner: Account) -> list:
    ec2 = owner.ec2
    return [
        ec2.describe_vpcs()["Vpcs"],
        [{**s, "AvailableIpAddressCount": 0} for s in ec2.describe_subnets()["Subnets"]],
        ec2.describe_route_tables()["RouteTables"],
        ec2.describe_internet_gateways()["InternetGateways"],
        ec2.describe_addresses()["Addresses"],
        ec2.describe_nat_gateways()["NatGateways"],
    ]


def test_existing_network_is_used_and_left_as_it_was(on, given):
    item, subnets = given
    nodes = node_group("billing", subnets={"ids": subnets})
    owner = on.account()
    before = network_of(owner)
    mark = on.mark()
    on.apply(item, nodes)
    on.ready(item, nodes)
    # boto3 was quiet meanwhile: all of these are the operator's.
    assert [c for c in actions(on.writes(mark)) if c.startswith("ec2:")] == []
    used = owner.eks.describe_cluster(name="billing")["cluster"]["resourcesVpcConfig"]["subnetIds"]
    assert sorted(used) == sorted(subnets)
    shown = on.status(item)["network"]
    assert [s["id"] for s in shown["subnets"]] == subnets and shown["vpcId"].startswith("vpc-")
    assert network_of(owner) == before
    mark = on.mark()
    on.delete(nodes, item)
    deletes = [c for c in actions(on.writes(mark)) if c.startswith("ec2:")]
    assert deletes == [], "something in EC2 was written"
    assert network_of(owner) == before
    assert set(owner.counts()) == {"vpcs", "subnets"}


def test_subnets_found_by_their_tags_are_used(on, given):
    owner = on.account()
    subnets = given[1]
    owner.ec2.create_tags(Resources=subnets, Tags=[{"Key": "tier", "Value": "private"}])
    vpc = owner.ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    selector = {"vpcId": vpc, "subnetSelector": {"tags": {"tier": "private"}}}
    item = cluster("chosen", network={"existing": selector}, addons=[])
    on.apply(item)
    on.ready(item)
    used = owner.eks.describe_cluster(name="chosen")["cluster"]["resourcesVpcConfig"]["subnetIds"]
    assert sorted(used) == sorted(subnets)
    on.delete(item)


def test_network_without_nat_and_public_subnets_is_closed(on, operator):
    vpc = {"cidr": "10.60.0.0/16", "zoneCount": 2, "nat": "None", "publicSubnets": False}
    item = cluster("closed", network={"vpc": vpc}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    counts = on.account().counts()
    assert not {"internetGateways", "natGateways", "addresses", "oidcProviders"} & set(counts)
    on.delete(item)


def test_tag_added_to_a_running_cluster_arrives_everywhere_and_a_foreign_one_stays(on, operator):
    item = cluster("tagged", network={"vpc": {"zoneCount": 2, "nat": "None"}}, addons=[])
    on.apply(item)
    on.ready(item)
    owner = on.account()
    ids = [i for i, t in owner.tagged().items() if t["keelson.dev/cluster"] == "default/tagged"]
    owner.ec2.create_tags(Resources=ids, Tags=[{"Key": "scanner", "Value": "seen"}])
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "tagged", {"spec": {"tags": {"a": "b"}}})

    def everywhere() -> bool:
        tags = owner.tagged()
        return all(tags[i].get("a") == "b" and tags[i].get("scanner") == "seen" for i in ids)

    until(everywhere, 20, "the tag")
    on.ready(item)
    on.delete(item)
