"""`InSync` is True only while everything managed was compared and matches the spec. Manual changes are reported with observed and
desired value, left unchanged under `Report`, and reverted under `Correct`.
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

# Each cluster costs some 40 AWS calls each time, so a test removes its own when no other needs it.
INTERVAL = "--drift-interval=2s"
VPC = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "endpoints": ["ecr.api"]}}}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
ANYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
NODE_ENTRY = "accessEntry/role/node"
TIMEOUT = 60


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.4, 0.4, 0.4, 0.1, 0.2)) as started:
        started.operators = [started.start(INTERVAL)]
        yield started


def boundary(shop: Shop) -> str:
    return f"arn:aws:iam::{shop.account.id}:policy/keelson-boundary"


def make(on: Environment, nodes: bool = True, bounded: bool = True, **spec: object) -> Shop:
    """A cluster with its own network, in an account with a permissions boundary for roles."""
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


def trust_account_root(shop: Shop) -> None:
    anybody = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{shop.account.id}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [*trust(shop)["Statement"], anybody]})
    shop.account.iam.update_assume_role_policy(RoleName=role(shop, "cluster"), PolicyDocument=document)


def attached(shop: Shop) -> list[str]:
    found = shop.account.iam.list_attached_role_policies(RoleName=role(shop, "node"))["AttachedPolicies"]
    return [policy["PolicyArn"] for policy in found]


def replace_endpoint_security_group(shop: Shop) -> None:
    own_group, vpc = id_of(shop, "securityGroup/endpoints"), id_of(shop, "vpc")
    by_vpc = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    (default,) = shop.account.ec2.describe_security_groups(Filters=by_vpc)["SecurityGroups"]
    shop.account.ec2.modify_vpc_endpoint(
        VpcEndpointId=id_of(shop, "vpcEndpoint/ecr.api"), AddSecurityGroupIds=[default["GroupId"]], RemoveSecurityGroupIds=[own_group]
    )


@dataclass
class ManualChange:
    """A manual change: the change, the drift entry that it causes, and the check that it is reverted."""

    what: str
    apply: Callable[[Shop], object]
    resource: str
    field: str
    observed: str
    desired: str
    reverted: Callable[[Shop], object]

    def __str__(self) -> str:
        return self.what


MANUAL_CHANGES = [
    ManualChange(
        "another principal is allowed to assume the cluster's role", trust_account_root, "role/cluster", "trustPolicy", ":root", "eks.amazonaws.com",
        lambda shop: len(trust(shop)["Statement"]) == 1,
    ),
    ManualChange(
        "AdministratorAccess is attached to the node role",
        lambda shop: shop.account.iam.attach_role_policy(RoleName=role(shop, "node"), PolicyArn=ADMINISTRATOR),
        "role/node", f"policies[{ADMINISTRATOR}]", "attached", "not attached",
        lambda shop: ADMINISTRATOR not in attached(shop) and len(attached(shop)) == 3,
    ),
    ManualChange(
        "an inline policy is added to the node role",
        lambda shop: shop.account.iam.put_role_policy(RoleName=role(shop, "node"), PolicyName="by-hand", PolicyDocument=ANYTHING),
        "role/node", "inlinePolicies[by-hand]", '"Action":"*"', "",
        lambda shop: not shop.account.iam.list_role_policies(RoleName=role(shop, "node"))["PolicyNames"],
    ),
    ManualChange(
        "the boundary of the node role is removed",
        lambda shop: shop.account.iam.delete_role_permissions_boundary(RoleName=role(shop, "node")),
        "role/node", "permissionsBoundary", "", "policy/keelson-boundary",
        lambda shop: "PermissionsBoundary" in shop.account.iam.get_role(RoleName=role(shop, "node"))["Role"],
    ),
    ManualChange(
        "a tag of the OIDC provider is changed",
        lambda shop: shop.account.iam.tag_open_id_connect_provider(
            OpenIDConnectProviderArn=provider(shop), Tags=[{"Key": "team", "Value": "other"}]
        ),
        "oidcProvider", "tags.team", "other", "shop",
        lambda shop: {"Key": "team", "Value": "shop"}
        in shop.account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider(shop))["Tags"],
    ),
    ManualChange(
        "private DNS of the ECR endpoint is disabled",
        lambda shop: shop.account.ec2.modify_vpc_endpoint(
            VpcEndpointId=id_of(shop, "vpcEndpoint/ecr.api"), PrivateDnsEnabled=False
        ),
        "vpcEndpoint/ecr.api", "privateDnsEnabled", "false", "true",
        lambda shop: endpoint(shop)["PrivateDnsEnabled"],
    ),
    ManualChange(
        "the endpoint of ECR gets another security group", replace_endpoint_security_group, "vpcEndpoint/ecr.api", "securityGroup", "", "sg-",
        lambda shop: id_of(shop, "securityGroup/endpoints") in [group["GroupId"] for group in endpoint(shop)["Groups"]],
    ),
    ManualChange(
        "the access entry of the nodes is deleted",
        lambda shop: shop.account.eks.delete_access_entry(
            clusterName=shop.name, principalArn=f"arn:aws:iam::{shop.account.id}:role/{role(shop, 'node')}"
        ),
        NODE_ENTRY, "", "deleted", "",
        lambda shop: (node_entry(shop) or {}).get("type") == "EC2_LINUX",
    ),
]


def wait_for(shop: Shop, holds: Callable[[], object], seconds: float = TIMEOUT, what: str = "it") -> object:
    try:
        return until(holds, seconds, what)
    except AssertionError as error:
        states = [shop.on.describe(item) + f"\n  drift: {shop.found(item)['status'].get('drift')}" for item in shop.items]
        raise AssertionError("\n".join([str(error), *states, f"written: {actions(shop.writes())}"])) from None


def drift(shop: Shop, change: ManualChange) -> dict | None:
    found = shop.found().get("status", {}).get("drift", [])
    return next((one for one in found if one["resource"] == change.resource and one["field"] == change.field), None)


@pytest.fixture(scope="module")
def reported(on: Environment) -> Shop:
    """All manual changes at once, on a cluster whose drift is only reported."""
    shop = make(on, driftPolicy="Report")
    until(lambda: NODE_ENTRY in [line["key"] for line in shop.found()["status"]["resources"]], 30, "the entry in status.resources")
    for change in MANUAL_CHANGES:
        assert change.reverted(shop), f"{change} before the change"
        change.apply(shop)
        assert not change.reverted(shop), f"nothing was changed: {change}"
    shop.mark = on.mark()
    return shop


@pytest.mark.parametrize("change", MANUAL_CHANGES, ids=str)
def test_manual_change_is_reported_with_observed_and_desired_value(on, reported, change):
    found = wait_for(reported, lambda: drift(reported, change), what=str(change))
    assert change.observed in found["seen"] and change.desired in found["wanted"], found
    on.await_condition(reported.cluster, "InSync", "False", "Drifted", timeout=10)


def test_drift_policy_report_corrects_nothing(on, reported):
    for change in MANUAL_CHANGES:
        wait_for(reported, lambda change=change: drift(reported, change), what=str(change))
    reported.nothing_is_written()
    assert not any(change.reverted(reported) for change in MANUAL_CHANGES)
    reported.go_away()


@pytest.fixture(scope="module")
def corrected(on: Environment) -> Shop:
    return make(on)


@pytest.mark.parametrize("change", MANUAL_CHANGES, ids=str)
def test_drift_policy_correct_reverts_manual_change(on, corrected, change):
    mark = on.mark()
    change.apply(corrected)
    wait_for(corrected, lambda: len(corrected.writes(mark)) > 1, what="a write of the operator")
    wait_for(corrected, lambda: change.reverted(corrected), what=str(change))
    on.await_condition(corrected.cluster, "InSync", timeout=30)
    corrected.nothing_is_written(on.mark())


def test_missing_oidc_audience_is_reported_with_remedy(on, corrected):
    """The operator must not change the audiences."""
    of = {"OpenIDConnectProviderArn": provider(corrected), "ClientID": "sts.amazonaws.com"}
    corrected.account.iam.remove_client_id_from_open_id_connect_provider(**of)
    found = on.await_condition(corrected.cluster, "InSync", "False", "Drifted", timeout=TIMEOUT)
    message = conditions(found)["InSync"]["message"]
    assert "audiences (none) -> sts.amazonaws.com" in message and "aws iam add-client-id-to-open-id-connect-provider" in message
    on.await_condition(corrected.cluster, "Stalled", timeout=10)
    corrected.account.iam.add_client_id_to_open_id_connect_provider(**of)
    on.await_condition(corrected.cluster, "InSync", timeout=TIMEOUT)
    on.await_condition(corrected.cluster, timeout=10)


def test_equivalent_policy_document_is_not_drift(on, corrected):
    """IAM stores a document as it was written."""
    (statement,) = trust(corrected)["Statement"]
    spelled = {**statement, "Action": statement["Action"][::-1], "Sid": "ByHand"}
    document = json.dumps({"Statement": spelled, "Version": "2012-10-17"}, indent=2)
    corrected.account.iam.update_assume_role_policy(RoleName=role(corrected, "cluster"), PolicyDocument=document)
    corrected.nothing_is_written(on.mark())
    on.await_condition(corrected.cluster, "InSync", timeout=10)


def test_access_entry_of_recreated_node_role_is_replaced(on, corrected):
    """EKS stores the role's unique id with the entry: with the old entry, nodes of the new role cannot join."""
    iam, name = corrected.account.iam, role(corrected, "node")

    def ready() -> bool:
        (observed,) = on.aws.nodes(corrected.account.id)
        return all(node["ready"] for node in observed["nodes"])

    assert ready()
    first = iam.get_role(RoleName=name)["Role"]["RoleId"]

    def deleted() -> bool:
        """Retried, as the operator reattaches missing policies."""
        for policy in attached(corrected):
            iam.detach_role_policy(RoleName=name, PolicyArn=policy)
        try:
            iam.delete_role(RoleName=name)
        except iam.exceptions.DeleteConflictException:
            return False
        return True

    until(deleted, 20, "the role's deletion")
    assert not ready()

    def recreated() -> str:
        roles = [r["RoleId"] for r in iam.list_roles()["Roles"] if r["RoleName"] == name]
        return roles[0] if roles and roles[0] != first else ""

    wait_for(corrected, recreated, what="the role")
    wait_for(corrected, ready, what="ready nodes")
    on.await_condition(corrected.cluster, "InSync", timeout=30)
    corrected.nothing_is_written(on.mark())
    corrected.go_away()


def test_boundary_added_to_account_is_set_on_every_role(on):
    """Also under Report, as it is a change of the spec."""
    shop = make(on, nodes=False, bounded=False, driftPolicy="Report")
    names = [role(shop, "cluster"), role(shop, "node")]
    boundaries = lambda: [shop.account.iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary", {}) for name in names]  # noqa: E731
    assert boundaries() == [{}, {}]
    version, kind, name, namespace = key_of(shop.reference[0])
    on.api.patch(version, kind, name, {"spec": {"permissionsBoundaryArn": boundary(shop)}}, namespace)
    wait_for(shop, lambda: [found.get("PermissionsBoundaryArn") for found in boundaries()] == [boundary(shop)] * 2, what="the boundary")
    on.await_condition(shop.cluster, "InSync", timeout=30)
    assert {write["action"] for write in shop.writes()} == {"PutRolePermissionsBoundary"}
    shop.go_away()


def resources_with_tag(shop: Shop, key: str) -> list[str]:
    """All EC2, IAM and EKS resources with a tag of that key."""
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


def test_tag_removed_from_spec_is_removed_everywhere_and_foreign_tags_stay(on, tagged):
    tagged_before = resources_with_tag(tagged, "env")
    assert len(tagged_before) > 10 and tagged_before == resources_with_tag(tagged, "team")
    tagged.edit(tags={"env": None})
    wait_for(tagged, lambda: not resources_with_tag(tagged, "env"), what="removal of the tag env")
    for item in tagged.items:
        wait_for(tagged, lambda item=item: tagged.found(item)["status"]["tagKeys"] == ["stage", "team"], what="env removed from status.tagKeys")
        on.await_condition(item, "InSync", timeout=30)
    assert resources_with_tag(tagged, "team") == tagged_before
    for key in ("karpenter.sh/discovery", "kubernetes.io/cluster/other"):
        assert len(resources_with_tag(tagged, key)) == 3
    tagged.nothing_is_written(on.mark())


def test_tag_key_formerly_managed_and_set_by_others_is_not_touched(on, tagged):
    for item in tagged.items:
        wait_for(tagged, lambda item=item: "env" not in tagged.found(item)["status"]["tagKeys"], what="env removed from status.tagKeys")
    tag_by_hand(tagged, "env")
    tagged.nothing_is_written(on.mark())
    assert len(resources_with_tag(tagged, "env")) == 3


def test_tag_removed_from_spec_while_operator_is_down_is_removed(on, tagged):
    assert resources_with_tag(tagged, "stage") == resources_with_tag(tagged, "team")
    on.operators.pop().stop()
    tagged.edit(tags={"stage": None})
    on.operators.append(on.start(INTERVAL))
    wait_for(tagged, lambda: not resources_with_tag(tagged, "stage"), what="removal of the tag stage")
    for item in tagged.items:
        wait_for(tagged, lambda item=item: tagged.found(item)["status"]["tagKeys"] == ["team"], what="stage removed from status.tagKeys")
    tagged.go_away()


def test_custom_ami_nodes_with_another_version_are_reported(on):
    shop = make(on, nodes=False)
    image = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large"}
    response = shop.account.ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=image)
    template = {"id": response["LaunchTemplate"]["LaunchTemplateId"], "version": "1"}
    own = node_group(shop.name, f"{shop.name}-own", launchTemplate=template, version="1.33")
    on.apply(own)
    found = on.await_condition(own, "Stalled", reason="InvalidSpec", timeout=TIMEOUT)
    found_conditions = conditions(found)
    assert found_conditions["InSync"]["status"] == "False" and found_conditions["NodesReady"]["status"] == "True"
    for kind in ("InSync", "Ready"):
        assert "version is 1.33, and nodes run 1.34" in found_conditions[kind]["message"] and "launchTemplate.version" in found_conditions[kind]["message"]
    on.api.patch(*key_of(own)[:3], {"spec": {"version": "1.34"}})
    on.await_condition(own, "InSync", timeout=30)
    on.await_condition(own, timeout=30)
    shop.items.append(own)
    shop.go_away()


def test_ami_release_not_yet_accepted_by_eks_is_pending_and_node_group_stays_ready(on):
    release = "1.34.9-20270101"
    shop = Shop(on, nodes=True)
    # SSM lists it before EKS accepts it.
    on.aws.publish(account=shop.account.id, version="1.34", amiRelease=release, refused=True)
    shop.make()

    def pending() -> str:
        message = conditions(shop.found(shop.nodes))["InSync"]["message"]
        return message if release in message and "pending" in message else ""

    wait_for(shop, pending, what="the release as pending")
    update_calls = lambda: [c for c in shop.on.calls(0, shop.account.id) if c["action"] == "UpdateNodegroupVersion"]  # noqa: E731
    assert [call["status"] for call in update_calls()] == [400]
    since = conditions(shop.found(shop.nodes))["Ready"]["lastTransitionTime"]
    for _ in range(3):
        shop.reconcile_all()
        found_conditions = conditions(shop.found(shop.nodes))
        assert found_conditions["Ready"]["status"] == "True" and found_conditions["Ready"]["lastTransitionTime"] == since
        assert found_conditions["Stalled"]["status"] == "False" and found_conditions["InSync"]["status"] == "True" and pending()
    assert len(update_calls()) == 1, "the update is retried"
    reasons = [event["reason"] for event in on.events(shop.nodes)]
    assert "InvalidSpec" not in reasons and "Updated" not in reasons, reasons
    on.aws.publish(account=shop.account.id, version="1.34", amiRelease=release)
    wait_for(shop, lambda: shop.found(shop.nodes)["status"].get("releaseVersion") == release, 90, "the release once EKS accepts it")
    on.await_condition(shop.nodes, "InSync", timeout=30)
    assert not pending()
    shop.go_away()
