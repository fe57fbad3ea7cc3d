"""`InSync` is True only while all that is managed was compared and is as asked for: what a person changes by hand is named with
what is there and what is wanted, left alone under `Report`, and put right under `Correct`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fleet.account import RESOURCE
from fleet.manifests import key_of, node_group
from fleet.shop import Shop
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

INTERVAL = "--drift-interval=1s"
VPC = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["ecr.api"]}}}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
ANYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
NODE_ENTRY = "accessEntry/role/node"
ENOUGH = 60


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.4, 0.4, 0.4, 0.1, 0.2)) as started:
        started.operators = [started.start(INTERVAL)]
        yield started


def boundary(shop: Shop) -> str:
    return f"arn:aws:iam::{shop.account.id}:policy/keelson-boundary"


def make(on: Environment, nodes: bool = True, bounded: bool = True, **spec: object) -> Shop:
    """A cluster in a network of its own, in an account that puts a boundary on roles."""
    shop = Shop(on, nodes=nodes, **{**VPC, "tags": {"team": "shop"}, **spec})
    shop.account.iam.create_policy(PolicyName="keelson-boundary", PolicyDocument=ANYTHING)
    if bounded:
        shop.reference[0]["spec"]["permissionsBoundaryArn"] = boundary(shop)
    shop.make()
    for item in shop.items:
        on.await_condition(item, "InSync", timeout=30)
    return shop


def role(shop: Shop, purpose: str) -> str:
    (found,) = [name for name, tags in shop.account.roles().items() if tags.get(RESOURCE) == f"role/{purpose}"]
    return found


def id_of(shop: Shop, resource: str) -> str:
    (found,) = [i for i, tags in shop.account.tagged().items() if tags[RESOURCE] == resource]
    return found


def provider(shop: Shop) -> str:
    (found,) = shop.account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return found["Arn"]


def trust(shop: Shop) -> dict:
    return shop.account.iam.get_role(RoleName=role(shop, "cluster"))["Role"]["AssumeRolePolicyDocument"]


def endpoint(shop: Shop) -> dict:
    (found,) = shop.account.ec2.describe_vpc_endpoints(VpcEndpointIds=[id_of(shop, "vpcEndpoint/ecr.api")])["VpcEndpoints"]
    return found


def node_entry(shop: Shop) -> dict | None:
    eks, arn = shop.account.eks, f"arn:aws:iam::{shop.account.id}:role/{role(shop, 'node')}"
    if arn not in eks.list_access_entries(clusterName=shop.name)["accessEntries"]:
        return None
    return eks.describe_access_entry(clusterName=shop.name, principalArn=arn)["accessEntry"]


def let_in_others(shop: Shop) -> None:
    anybody = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{shop.account.id}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [*trust(shop)["Statement"], anybody]})
    shop.account.iam.update_assume_role_policy(RoleName=role(shop, "cluster"), PolicyDocument=document)


def attached(shop: Shop) -> list[str]:
    found = shop.account.iam.list_attached_role_policies(RoleName=role(shop, "node"))["AttachedPolicies"]
    return [policy["PolicyArn"] for policy in found]


def shut_endpoint(shop: Shop) -> None:
    ours, vpc = id_of(shop, "securityGroup/endpoints"), id_of(shop, "vpc")
    by_vpc = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    (default,) = shop.account.ec2.describe_security_groups(Filters=by_vpc)["SecurityGroups"]
    shop.account.ec2.modify_vpc_endpoint(
        VpcEndpointId=id_of(shop, "vpcEndpoint/ecr.api"), AddSecurityGroupIds=[default["GroupId"]], RemoveSecurityGroupIds=[ours]
    )


@dataclass
class ByHand:
    """A change past the operator: what it does, where that is to be seen, and how one sees that it is undone."""

    what: str
    do: Callable[[Shop], object]
    resource: str
    field: str
    seen: str
    wanted: str
    undone: Callable[[Shop], object]

    def __str__(self) -> str:
        return self.what


HANDS = [
    ByHand(
        "others are let take on the cluster's role", let_in_others, "role/cluster", "trustPolicy", ":root", "eks.amazonaws.com",
        lambda shop: len(trust(shop)["Statement"]) == 1,
    ),
    ByHand(
        "AdministratorAccess is attached to the node role",
        lambda shop: shop.account.iam.attach_role_policy(RoleName=role(shop, "node"), PolicyArn=ADMINISTRATOR),
        "role/node", f"policies[{ADMINISTRATOR}]", "attached", "not attached",
        lambda shop: ADMINISTRATOR not in attached(shop) and len(attached(shop)) == 3,
    ),
    ByHand(
        "a policy is written into the node role",
        lambda shop: shop.account.iam.put_role_policy(RoleName=role(shop, "node"), PolicyName="by-hand", PolicyDocument=ANYTHING),
        "role/node", "inlinePolicies[by-hand]", '"Action":"*"', "",
        lambda shop: not shop.account.iam.list_role_policies(RoleName=role(shop, "node"))["PolicyNames"],
    ),
    ByHand(
        "the boundary of the node role is taken away",
        lambda shop: shop.account.iam.delete_role_permissions_boundary(RoleName=role(shop, "node")),
        "role/node", "permissionsBoundary", "", "policy/keelson-boundary",
        lambda shop: "PermissionsBoundary" in shop.account.iam.get_role(RoleName=role(shop, "node"))["Role"],
    ),
    ByHand(
        "a tag of the OIDC provider is changed",
        lambda shop: shop.account.iam.tag_open_id_connect_provider(
            OpenIDConnectProviderArn=provider(shop), Tags=[{"Key": "team", "Value": "other"}]
        ),
        "oidcProvider", "tags.team", "other", "shop",
        lambda shop: {"Key": "team", "Value": "shop"}
        in shop.account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider(shop))["Tags"],
    ),
    ByHand(
        "the usual name of ECR leads past its endpoint",
        lambda shop: shop.account.ec2.modify_vpc_endpoint(
            VpcEndpointId=id_of(shop, "vpcEndpoint/ecr.api"), PrivateDnsEnabled=False
        ),
        "vpcEndpoint/ecr.api", "privateDnsEnabled", "false", "true",
        lambda shop: endpoint(shop)["PrivateDnsEnabled"],
    ),
    ByHand(
        "the endpoint of ECR gets another security group", shut_endpoint, "vpcEndpoint/ecr.api", "securityGroup", "", "sg-",
        lambda shop: id_of(shop, "securityGroup/endpoints") in [group["GroupId"] for group in endpoint(shop)["Groups"]],
    ),
    ByHand(
        "the access entry of the nodes is deleted",
        lambda shop: shop.account.eks.delete_access_entry(
            clusterName=shop.name, principalArn=f"arn:aws:iam::{shop.account.id}:role/{role(shop, 'node')}"
        ),
        NODE_ENTRY, "", "it is gone", "",
        lambda shop: (node_entry(shop) or {}).get("type") == "EC2_LINUX",
    ),
]


def comes(shop: Shop, holds: Callable[[], object], seconds: float = ENOUGH, what: str = "it") -> object:
    try:
        return until(holds, seconds, what)
    except AssertionError as error:
        told = [shop.on.describe(item) + f"\n  drift: {shop.found(item)['status'].get('drift')}" for item in shop.items]
        raise AssertionError("\n".join([str(error), *told, f"written: {actions(shop.writes())}"])) from None


def drift(shop: Shop, hand: ByHand) -> dict | None:
    found = shop.found().get("status", {}).get("drift", [])
    return next((one for one in found if one["resource"] == hand.resource and one["field"] == hand.field), None)


@pytest.fixture(scope="module")
def reported(on: Environment) -> Shop:
    """All hands at once on a cluster whose drift is only reported."""
    shop = make(on, driftPolicy="Report")
    until(lambda: NODE_ENTRY in [line["key"] for line in shop.found()["status"]["resources"]], 30, "the entry on record")
    for hand in HANDS:
        assert hand.undone(shop), f"{hand} at first"
        hand.do(shop)
        assert not hand.undone(shop), f"nothing was changed: {hand}"
    shop.mark = on.mark()
    return shop


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_what_hands_changed_is_named_with_what_is_there_and_what_is_wanted(on, reported, hand):
    found = comes(reported, lambda: drift(reported, hand), what=str(hand))
    assert hand.seen in found["seen"] and hand.wanted in found["wanted"], found
    on.await_condition(reported.cluster, "InSync", "False", "Drifted", timeout=10)


def test_under_report_nothing_of_it_is_put_right(on, reported):
    for hand in HANDS:
        comes(reported, lambda hand=hand: drift(reported, hand), what=str(hand))
    reported.nothing_is_written()
    assert not any(hand.undone(reported) for hand in HANDS)


@pytest.fixture(scope="module")
def corrected(on: Environment) -> Shop:
    return make(on)


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_under_correct_it_is_put_right(on, corrected, hand):
    mark = on.mark()
    hand.do(corrected)
    comes(corrected, lambda: len(corrected.writes(mark)) > 1, what="a write of the operator's")
    comes(corrected, lambda: hand.undone(corrected), what=str(hand))
    on.await_condition(corrected.cluster, "InSync", timeout=30)
    corrected.nothing_is_written(on.mark())


def test_an_oidc_provider_without_its_audience_is_told_with_what_to_do(on, corrected):
    """Whom tokens are for is nothing that the operator may change."""
    of = {"OpenIDConnectProviderArn": provider(corrected), "ClientID": "sts.amazonaws.com"}
    corrected.account.iam.remove_client_id_from_open_id_connect_provider(**of)
    found = on.await_condition(corrected.cluster, "InSync", "False", "Drifted", timeout=ENOUGH)
    message = conditions(found)["InSync"]["message"]
    assert "audiences (none) -> sts.amazonaws.com" in message and "aws iam add-client-id-to-open-id-connect-provider" in message
    on.await_condition(corrected.cluster, "Stalled", timeout=10)
    corrected.account.iam.add_client_id_to_open_id_connect_provider(**of)
    on.await_condition(corrected.cluster, "InSync", timeout=ENOUGH)
    on.await_condition(corrected.cluster, timeout=10)


def test_policies_that_somebody_spelled_otherwise_are_no_difference(on, corrected):
    """IAM keeps a document as it was written."""
    (statement,) = trust(corrected)["Statement"]
    spelled = {**statement, "Action": statement["Action"][::-1], "Sid": "ByHand"}
    document = json.dumps({"Statement": spelled, "Version": "2012-10-17"}, indent=2)
    corrected.account.iam.update_assume_role_policy(RoleName=role(corrected, "cluster"), PolicyDocument=document)
    corrected.nothing_is_written(on.mark())
    on.await_condition(corrected.cluster, "InSync", timeout=10)


def test_the_entry_of_a_node_role_that_was_made_anew_is_replaced(on, corrected):
    """EKS keeps the role's unique id with the entry: the old entry lets none of the new role's nodes in."""
    iam, name = corrected.account.iam, role(corrected, "node")

    def ready() -> bool:
        (seen,) = on.aws.nodes(corrected.account.id)
        return all(node["ready"] for node in seen["nodes"])

    assert ready()
    first = iam.get_role(RoleName=name)["Role"]["RoleId"]

    def deleted() -> bool:
        """The operator attaches again what it sees missing."""
        for policy in attached(corrected):
            iam.detach_role_policy(RoleName=name, PolicyArn=policy)
        try:
            iam.delete_role(RoleName=name)
        except iam.exceptions.DeleteConflictException:
            return False
        return True

    until(deleted, 20, "the role's deletion")
    assert not ready()

    def anew() -> str:
        roles = [r["RoleId"] for r in iam.list_roles()["Roles"] if r["RoleName"] == name]
        return roles[0] if roles and roles[0] != first else ""

    comes(corrected, anew, what="the role")
    comes(corrected, ready, what="nodes that are let in")
    on.await_condition(corrected.cluster, "InSync", timeout=30)
    corrected.nothing_is_written(on.mark())


def test_a_boundary_that_the_account_gets_later_is_put_on_every_role(on):
    """Also under Report: somebody asked for it."""
    shop = make(on, nodes=False, bounded=False, driftPolicy="Report")
    names = [role(shop, "cluster"), role(shop, "node")]
    got = lambda: [shop.account.iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary", {}) for name in names]  # noqa: E731
    assert got() == [{}, {}]
    version, kind, name, namespace = key_of(shop.reference[0])
    on.api.patch(version, kind, name, {"spec": {"permissionsBoundaryArn": boundary(shop)}}, namespace)
    comes(shop, lambda: [found.get("PermissionsBoundaryArn") for found in got()] == [boundary(shop)] * 2, what="the boundary")
    on.await_condition(shop.cluster, "InSync", timeout=30)
    assert {write["action"] for write in shop.writes()} == {"PutRolePermissionsBoundary"}
    shop.go_away()


def carrying(shop: Shop, key: str) -> list[str]:
    """Whatever of EC2, IAM and EKS carries a tag of that key."""
    account, eks = shop.account, shop.account.eks
    found = [i for i, tags in account.tagged().items() if key in tags]
    found += [name for name, tags in account.roles().items() if key in tags]
    tags = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider(shop))["Tags"]
    found += [provider(shop)] if key in [tag["Key"] for tag in tags] else []
    parts = {
        "cluster": eks.describe_cluster(name=shop.name)["cluster"],
        "addon": eks.describe_addon(clusterName=shop.name, addonName="vpc-cni")["addon"],
        "nodes": eks.describe_nodegroup(clusterName=shop.name, nodegroupName=shop.nodes["metadata"]["name"])["nodegroup"],
    }
    return found + [name for name, part in parts.items() if key in part["tags"]]


def tag_by_hand(shop: Shop, key: str) -> None:
    shop.account.ec2.create_tags(Resources=[id_of(shop, "vpc")], Tags=[{"Key": key, "Value": "theirs"}])
    shop.account.iam.tag_role(RoleName=role(shop, "node"), Tags=[{"Key": key, "Value": "theirs"}])
    arn = shop.account.eks.describe_cluster(name=shop.name)["cluster"]["arn"]
    shop.account.eks.tag_resource(resourceArn=arn, tags={key: "theirs"})


@pytest.fixture(scope="module")
def tagged(on: Environment) -> Shop:
    shop = make(on, tags={"team": "shop", "env": "prod", "stage": "blue"}, driftPolicy="Report")
    for key in ("karpenter.sh/discovery", "kubernetes.io/cluster/other"):
        tag_by_hand(shop, key)
    return shop


def test_a_tag_that_is_taken_out_of_the_spec_goes_everywhere_and_those_of_others_stay(on, tagged):
    everywhere = carrying(tagged, "env")
    assert len(everywhere) > 10 and everywhere == carrying(tagged, "team")
    tagged.edit(tags={"env": None})
    comes(tagged, lambda: not carrying(tagged, "env"), what="env gone")
    for item in tagged.items:
        comes(tagged, lambda item=item: tagged.found(item)["status"]["tagKeys"] == ["stage", "team"], what="env forgotten")
        on.await_condition(item, "InSync", timeout=30)
    assert carrying(tagged, "team") == everywhere
    for key in ("karpenter.sh/discovery", "kubernetes.io/cluster/other"):
        assert len(carrying(tagged, key)) == 3
    tagged.nothing_is_written(on.mark())


def test_a_tag_of_others_that_we_once_had_too_is_theirs(on, tagged):
    for item in tagged.items:
        comes(tagged, lambda item=item: "env" not in tagged.found(item)["status"]["tagKeys"], what="env forgotten")
    tag_by_hand(tagged, "env")
    tagged.nothing_is_written(on.mark())
    assert len(carrying(tagged, "env")) == 3


def test_a_tag_that_is_taken_out_while_the_operator_is_away_goes_as_well(on, tagged):
    assert carrying(tagged, "stage") == carrying(tagged, "team")
    on.operators.pop().stop()
    tagged.edit(tags={"stage": None})
    on.operators.append(on.start(INTERVAL))
    comes(tagged, lambda: not carrying(tagged, "stage"), what="stage gone")
    for item in tagged.items:
        comes(tagged, lambda item=item: tagged.found(item)["status"]["tagKeys"] == ["team"], what="stage forgotten")


def test_nodes_of_an_ami_of_ones_own_that_run_another_version_are_told(on):
    shop = make(on, nodes=False)
    image = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
    made = shop.account.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=image)
    template = {"id": made["LaunchTemplate"]["LaunchTemplateId"], "version": "1"}
    own = node_group(shop.name, f"{shop.name}-own", launchTemplate=template, version="1.33")
    on.apply(own)
    found = on.await_condition(own, "Stalled", reason="InvalidSpec", timeout=ENOUGH)
    said = conditions(found)
    assert said["InSync"]["status"] == "False" and said["NodesReady"]["status"] == "True"
    for kind in ("InSync", "Ready"):
        assert "version is 1.33, and nodes run 1.34" in said[kind]["message"] and "launchTemplate.version" in said[kind]["message"]
    on.api.patch(*key_of(own)[:3], {"spec": {"version": "1.34"}})
    on.await_condition(own, "InSync", timeout=30)
    on.await_condition(own, timeout=30)
    shop.items.append(own)
    shop.go_away()


def test_an_ami_release_that_eks_does_not_take_yet_is_pending_and_what_runs_stays_ready(on):
    release = "1.34.9-20270101"
    shop = Shop(on, nodes=True)
    # SSM names it before EKS takes it.
    on.aws.publish(account=shop.account.id, version="1.34", amiRelease=release, refused=True)
    shop.make()

    def pending() -> str:
        message = conditions(shop.found(shop.nodes))["InSync"]["message"]
        return message if release in message and "pending" in message else ""

    comes(shop, pending, what="the release as pending")
    asked = lambda: [c for c in shop.on.calls(0, shop.account.id) if c["action"] == "UpdateNodegroupVersion"]  # noqa: E731
    assert [call["status"] for call in asked()] == [400]
    since = conditions(shop.found(shop.nodes))["Ready"]["lastTransitionTime"]
    for _ in range(3):
        shop.look_again()
        said = conditions(shop.found(shop.nodes))
        assert said["Ready"]["status"] == "True" and said["Ready"]["lastTransitionTime"] == since
        assert said["Stalled"]["status"] == "False" and said["InSync"]["status"] == "True" and pending()
    assert len(asked()) == 1, "it is not asked again and again"
    reasons = [event["reason"] for event in on.events(shop.nodes)]
    assert "InvalidSpec" not in reasons and "Updated" not in reasons, reasons
    on.aws.publish(account=shop.account.id, version="1.34", amiRelease=release)
    comes(shop, lambda: shop.found(shop.nodes)["status"].get("releaseVersion") == release, 90, "the release once EKS takes it")
    on.await_condition(shop.nodes, "InSync", timeout=30)
    assert not pending()
    shop.go_away()
