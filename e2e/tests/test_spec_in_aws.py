"""boto3 finds in AWS what a spec asks for: other accounts, other networks, access, add-ons, nodes."""

from __future__ import annotations

import json

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import CLOSED, account, cluster, existing, key_of, node_group
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


# A second account, and every field of the spec that has an effect


@pytest.fixture(scope="module")
def second_account(on) -> Account:
    """An account with a role that the operator assumes with an external id."""
    created = on.account(fresh_account())
    operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    created.role("keelson", operator, "AdministratorAccess", external_id=EXTERNAL_ID)
    for name in ("admins", "viewers", "shop"):
        created.role(name, {"AWS": f"arn:aws:iam::{created.id}:root"})
    created.cluster_role("own-cluster-role")
    return created


def arn(owner: Account, role: str) -> str:
    return f"arn:aws:iam::{owner.id}:role/{role}"


def payments(second_account: Account) -> dict:
    entries = [
        {"principalArn": arn(second_account, "admins"), "policies": [{"policyArn": ADMIN}]},
        {"principalArn": arn(second_account, "viewers"), "kubernetesGroups": ["viewers"]},
        {
            "principalArn": arn(second_account, "shop"),
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
        roleArn=arn(second_account, "own-cluster-role"),
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
def payments_ready(on: Environment, operator, second_account) -> dict:
    item = payments(second_account)
    on.apply(
        account(
            "second",
            second_account.id,
            roleArn=arn(second_account, "keelson"),
            externalId=EXTERNAL_ID,
            tags={"cost-center": "4711"},
            # Only what the two specs name.
            **CLOSED
            | {
                "allowedRoleArns": [arn(second_account, "own-*")],
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
def eks_cluster(payments_ready, second_account) -> dict:
    return second_account.eks.describe_cluster(name="payments-prod")["cluster"]


def test_own_tag_that_the_account_replaces_is_named(on, payments_ready):
    message = on.condition(SPOT, "InSync")["message"]
    assert "AwsAccount second enforces other tags than spec.tags has for shift" in message, message
    overridden = [event for event in on.events(SPOT) if event["reason"] == "TagsOverridden"]
    assert len(overridden) == 1 and overridden[0]["type"] == "Warning", overridden
    assert "enforces" not in on.condition(payments_ready, "InSync")["message"]


def test_everything_is_created_in_the_referenced_account(on, payments_ready, second_account):
    assert second_account.counts()["clusters"] == 1
    assert on.account().inventory() == {}
    status = on.status(payments_ready)
    assert status["accountId"] == second_account.id and f":{second_account.id}:" in status["arn"]


def test_control_plane_matches_spec(eks_cluster, second_account):
    assert eks_cluster["version"] == "1.35" and eks_cluster["roleArn"] == arn(second_account, "own-cluster-role")
    assert eks_cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.21.0.0/16"
    vpc = eks_cluster["resourcesVpcConfig"]
    assert (vpc["endpointPublicAccess"], vpc["endpointPrivateAccess"]) == (True, True)
    assert vpc["publicAccessCidrs"] == ["203.0.113.0/24"]
    on = [s["types"] for s in eks_cluster["logging"]["clusterLogging"] if s["enabled"]]
    assert on == [["api", "audit"]]
    assert eks_cluster["encryptionConfig"][0]["provider"]["keyArn"] == KEY
    assert eks_cluster["upgradePolicy"]["supportType"] == "STANDARD"
    assert eks_cluster["deletionProtection"] is True
    assert eks_cluster["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"


def test_account_and_object_tags_are_on_every_resource(eks_cluster, second_account):
    tags = [eks_cluster["tags"], *second_account.tagged().values()]
    tags += [t for name, t in second_account.roles().items() if "keelson.dev/owner" in t]
    assert len(tags) > 15
    wanted = {"team": "payments", "cost-center": "4711", "shift": "any", "owner": "platform"}
    assert [t for t in tags if {key: t.get(key) for key in wanted} != wanted] == []


def test_no_cluster_role_is_created_when_one_is_given(payments_ready, second_account):
    own_roles = {n: t for n, t in second_account.roles().items() if "keelson.dev/owner" in t}
    assert [t["keelson.dev/resource"] for t in own_roles.values()] == ["role/node"]


def test_each_zone_has_its_own_nat_gateway(payments_ready, second_account):
    ec2 = second_account.ec2
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


def test_subnets_are_within_the_vpc_and_do_not_overlap(payments_ready, second_account):
    import ipaddress

    blocks = [
        ipaddress.ip_network(s["CidrBlock"]) for s in second_account.ec2.describe_subnets()["Subnets"]
    ]
    whole = ipaddress.ip_network("10.40.0.0/16")
    assert all(block.subnet_of(whole) for block in blocks)
    assert not any(a.overlaps(b) for a in blocks for b in blocks if a is not b)
    vpc = second_account.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": [str(whole)]}])["Vpcs"][0]
    for name in ("enableDnsSupport", "enableDnsHostnames"):
        answer = second_account.ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=name)
        assert answer[name[0].upper() + name[1:]]["Value"] is True


def test_endpoints_are_reachable_from_every_private_subnet(payments_ready, second_account):
    endpoints = {
        e["ServiceName"].partition(f"{REGION}.")[2]: e
        for e in second_account.ec2.describe_vpc_endpoints()["VpcEndpoints"]
    }
    assert set(endpoints) == {"s3", "ecr.api"}
    tables = second_account.ec2.describe_route_tables()["RouteTables"]
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
    group = second_account.ec2.describe_security_groups(GroupIds=[registry["Groups"][0]["GroupId"]])
    rule = group["SecurityGroups"][0]["IpPermissions"][0]
    assert (rule["FromPort"], rule["ToPort"]) == (443, 443)
    assert rule["IpRanges"][0]["CidrIp"] == "10.40.0.0/16"


def test_access_entries_have_their_groups_policies_and_scopes(payments_ready, second_account):
    def policies(role: str) -> list[tuple]:
        found = second_account.eks.list_associated_access_policies(
            clusterName="payments-prod", principalArn=arn(second_account, role)
        )["associatedAccessPolicies"]
        return [
            (p["policyArn"], p["accessScope"]["type"], sorted(p["accessScope"]["namespaces"]))
            for p in found
        ]

    assert policies("admins") == [(ADMIN, "cluster", [])]
    assert policies("shop") == [(VIEW, "namespace", ["cart", "shop"])]
    assert policies("viewers") == []
    entry = second_account.eks.describe_access_entry(
        clusterName="payments-prod", principalArn=arn(second_account, "viewers")
    )["accessEntry"]
    assert entry["kubernetesGroups"] == ["viewers"]


def test_addons_have_their_version_and_configuration(payments_ready, second_account):
    def addon(name: str) -> dict:
        return second_account.eks.describe_addon(clusterName="payments-prod", addonName=name)["addon"]

    assert second_account.eks.list_addons(clusterName="payments-prod")["addons"] == [
        "coredns",
        "kube-proxy",
        "vpc-cni",
    ]
    assert addon("vpc-cni")["addonVersion"] == "v1.20.5-eksbuild.1"
    assert json.loads(addon("vpc-cni")["configurationValues"]) == CONFIGURATION
    offered = {
        name: second_account.eks.describe_addon_versions(addonName=name, kubernetesVersion="1.35")[
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


def test_node_group_matches_spec(payments_ready, second_account):
    group = second_account.eks.describe_nodegroup(clusterName="payments-prod", nodegroupName="spot")
    group = group["nodegroup"]
    subnets = second_account.ec2.describe_subnets(SubnetIds=group["subnets"])["Subnets"]
    assert [s["AvailabilityZone"] for s in subnets] == [f"{REGION}b"]
    assert subnets[0]["MapPublicIpOnLaunch"] is False
    assert group["version"] == "1.35" and group["amiType"] == "AL2023_x86_64_STANDARD"
    assert group["instanceTypes"] == ["m7i.large", "m7a.large"] and group["capacityType"] == "SPOT"
    assert group["scalingConfig"] == {"minSize": 1, "maxSize": 5, "desiredSize": 3}
    assert group["diskSize"] == 50 and group["labels"] == {"workload": "batch"}
    assert group["taints"] == [{"key": "spot", "value": "true", "effect": "NO_SCHEDULE"}]
    assert group["updateConfig"]["maxUnavailable"] == 2
    assert group["nodeRepairConfig"]["enabled"] is True
    # The account's value of the tag, not the NodeGroup's.
    assert group["tags"]["shift"] == "any" and group["tags"]["team"] == "payments"
    path, _, role = group["nodeRole"].rpartition("/")
    assert path == f"arn:aws:iam::{second_account.id}:role/keelson"
    attached = second_account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert {"AmazonSSMManagedInstanceCore", "AmazonEKSWorkerNodePolicy"} <= {
        policy["PolicyName"] for policy in attached
    }


def test_cluster_deletion_deletes_its_node_groups_and_no_foreign_resources(
    on, payments_ready, second_account
):
    # Deleting the object removes deletion protection; nothing else does.
    before = {"keelson", "admins", "viewers", "shop", "own-cluster-role"}
    on.api.delete("keelson.dev/v1alpha1", "EksCluster", "payments")
    on.api.wait_gone("keelson.dev/v1alpha1", "EksCluster", "payments", timeout=60)
    assert on.api.find("keelson.dev/v1alpha1", "NodeGroup", "payments-spot") is None
    # EKS leaves the log group of the control plane.
    assert second_account.inventory() == {"roles": sorted(before), "logGroups": ["/aws/eks/payments-prod/cluster"]}


# An existing network


@pytest.fixture(scope="module")
def existing_network(on: Environment, operator) -> tuple[dict, list[str]]:
    owner = on.account()
    subnets = owner.network("ab")
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


def test_existing_network_is_used_and_left_unchanged(on, existing_network):
    item, subnets = existing_network
    nodes = node_group("billing", subnets={"ids": subnets})
    owner = on.account()
    before = network_of(owner)
    mark = on.mark()
    on.apply(item, nodes)
    on.ready(item, nodes)
    # The test called no writes meanwhile: all of these are the operator's.
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


def test_subnets_selected_by_tags_are_used(on, existing_network):
    owner = on.account()
    subnets = existing_network[1]
    owner.ec2.create_tags(Resources=subnets, Tags=[{"Key": "tier", "Value": "private"}])
    vpc = owner.ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"]
    selector = {"vpcId": vpc, "subnetSelector": {"tags": {"tier": "private"}}}
    item = cluster("chosen", network={"existing": selector}, addons=[])
    on.apply(item)
    on.ready(item)
    used = owner.eks.describe_cluster(name="chosen")["cluster"]["resourcesVpcConfig"]["subnetIds"]
    assert sorted(used) == sorted(subnets)
    on.delete(item)


def test_subnets_listed_by_range_and_zone_are_used(on, existing_network):
    owner = on.account()
    subnets = existing_network[1]
    found = {one["SubnetId"]: one for one in owner.ec2.describe_subnets(SubnetIds=subnets)["Subnets"]}
    first, *others = subnets
    vpc, ranges = found[first]["VpcId"], {id_: one["CidrBlock"] for id_, one in found.items()}
    references = [{"cidr": ranges[first]}, *({"zone": found[one]["AvailabilityZone"]} for one in others)]
    item = cluster("listed", network={"existing": {"vpcId": vpc, "subnets": references}}, addons=[])
    nodes = node_group("listed", subnets={"cidrs": [ranges[first]]})
    on.apply(item, nodes)
    on.ready(item, nodes)
    used = owner.eks.describe_cluster(name="listed")["cluster"]["resourcesVpcConfig"]["subnetIds"]
    assert sorted(used) == sorted(subnets)
    assert owner.eks.describe_nodegroup(clusterName="listed", nodegroupName="listed-default")["nodegroup"]["subnets"] == [first]
    # What no longer identifies a subnet is reported, and a cluster that works stays Ready.
    on.api.patch(*key_of(item)[:3], {"spec": {"network": {"existing": {"subnets": [{"cidr": "10.99.0.0/24"}, *references]}}}})
    on.await_condition(item, "InSync", status="False", reason="Drifted")
    message = on.condition(item, "InSync")["message"]
    assert f"{vpc} has no subnet of 10.99.0.0/24: correct it, or name another one" in message, message
    assert on.condition(item)["status"] == "True"
    on.delete(nodes, item)


def test_network_without_nat_and_public_subnets_has_no_gateways(on, operator):
    vpc = {"cidr": "10.60.0.0/16", "zoneCount": 2, "nat": "None", "publicSubnets": False}
    item = cluster("closed", network={"vpc": vpc}, oidcProvider=False, addons=[])
    on.apply(item)
    on.ready(item)
    counts = on.account().counts()
    assert not {"internetGateways", "natGateways", "addresses", "oidcProviders"} & set(counts)
    on.delete(item)


def test_tag_added_to_running_cluster_reaches_every_resource_and_foreign_tags_stay(on, operator):
    item = cluster("tagged", network={"vpc": {"zoneCount": 2, "nat": "None"}}, addons=[])
    on.apply(item)
    on.ready(item)
    owner = on.account()
    ids = [i for i, t in owner.tagged().items() if t["keelson.dev/cluster"] == "default/tagged"]
    owner.ec2.create_tags(Resources=ids, Tags=[{"Key": "scanner", "Value": "seen"}])
    on.api.patch("keelson.dev/v1alpha1", "EksCluster", "tagged", {"spec": {"tags": {"a": "b"}}})

    def is_on_every_resource() -> bool:
        tags = owner.tagged()
        return all(tags[i].get("a") == "b" and tags[i].get("scanner") == "seen" for i in ids)

    until(is_on_every_resource, 20, "the tag")
    on.ready(item)
    on.delete(item)
