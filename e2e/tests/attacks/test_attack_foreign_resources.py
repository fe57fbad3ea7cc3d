"""Two tenants in one account. One names, field by field, what the other made and what others have in the account: each is
refused, at admission or by a condition, before anything is written; and nothing is told of what it named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from attacks.tenant import Tenant, install_admission, tenant
from fleet.account import OWNER, RESOURCE, Account, fresh_account
from fleet.manifests import ALLOWLISTS, CLOSED, account, cluster, existing, node_group
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, REGION, Durations
from keelson_harness.kubeapi import conditions

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
PODS = {"Service": "pods.eks.amazonaws.com"}
LIFE = Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "addons": [{"name": "vpc-cni"}]}
SHARED = {"accountRef": {"name": "shared"}}
NODES = {"scaling": {"min": 1, "max": 2}}


@dataclass
class Scene:
    on: Environment
    account: Account
    # Who attacks, and who has what is wanted.
    search: Tenant
    vault: Tenant
    # Of the attacker and of the victim: cluster, subnets, security group and node role of each.
    own: dict
    theirs: dict
    # Made by hand, for the victim's Pods; and a network that the account's owner opened to all.
    dns_role: str
    key: str
    template: str
    landing: list[str]

    @property
    def names(self) -> list[str]:
        """What a message must not tell: where the victim's things are."""
        return [self.theirs["vpc"], self.theirs["name"], "team-vault"]


def parts(theirs: Account, name: str) -> dict:
    """What others could name of a cluster."""
    found = theirs.eks.describe_cluster(name=name)["cluster"]
    vpc = found["resourcesVpcConfig"]
    tags = {role: tags for role, tags in theirs.roles().items() if tags.get(OWNER) == found["tags"][OWNER]}
    (node,) = [role for role, tags in tags.items() if tags[RESOURCE] == "role/node"]
    return {
        "name": name,
        "vpc": vpc["vpcId"],
        "subnets": vpc["subnetIds"],
        "group": vpc["clusterSecurityGroupId"],
        "cluster_role": found["roleArn"],
        "node_role": f"arn:aws:iam::{theirs.id}:role/{node}",
    }


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
        yield started


@pytest.fixture(scope="module")
def scene(on) -> Scene:
    shared = on.account(fresh_account())
    role = shared.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
    landing = shared.network("ab")
    vpc = shared.ec2.describe_subnets(SubnetIds=landing)["Subnets"][0]["VpcId"]
    template = shared.ec2.create_launch_template(LaunchTemplateName="vault", LaunchTemplateData={"UserData": "c2VjcmV0"})
    search, vault = tenant(on, "team-search"), tenant(on, "team-vault")
    lists = CLOSED | {"allowedNamespaces": ["team-search", "team-vault"], "allowedVpcIds": [vpc]}
    on.apply(account("shared", shared.id, roleArn=role, **lists, enforcedTags={"cost-center": "4711"}))
    install_admission(on)
    on.start()
    made = [cluster(name, who.namespace, **SHARED, **SMALL) for name, who in (("search", search), ("vault", vault))]
    for item, who in zip(made, (search, vault), strict=True):
        assert who.refusal(item) is None
    for item in made:
        on.await_condition(item, "InSync", timeout=60)
    own, theirs = (parts(shared, name) for name in ("search", "vault"))
    dns = shared.role("vault-dns", PODS)
    key = f"arn:aws:kms:{REGION}:{shared.id}:key/vault"
    return Scene(on, shared, search, vault, own, theirs, dns, key, template["LaunchTemplate"]["LaunchTemplateId"], landing)


@dataclass(frozen=True)
class Attempt:
    name: str
    spec: Callable[[Scene], dict]
    # The field that is named, and the list that would have to allow it.
    field: str
    list: str
    nodes: bool = False
    at_admission: bool = False

    def __str__(self) -> str:
        return self.name

    def item(self, scene: Scene) -> dict:
        name = self.name.replace(" ", "-")
        if self.nodes:
            return node_group("search", name, "team-search", **NODES, **self.spec(scene))
        return cluster(name, "team-search", **{**SHARED, **SMALL, **self.spec(scene)})


def identity(arn: str) -> dict:
    return {"podIdentities": [{"namespace": "kube-system", "serviceAccount": "dns", "roleArn": arn}]}


def landed(scene: Scene, *groups: str) -> dict:
    return {"network": {"existing": {"subnetIds": scene.landing, "securityGroupIds": list(groups)}}}


def chosen(vpc: str) -> dict:
    return {"network": {"existing": {"vpcId": vpc, "subnetSelector": {"tags": {"Name": "x"}}}}}


ATTEMPTS = [
    Attempt("network", lambda s: {"network": existing(*s.theirs["subnets"])}, "spec.network.existing.subnetIds", "allowedVpcIds"),
    Attempt("selector", lambda s: chosen(s.theirs["vpc"]), "spec.network.existing.vpcId", "allowedVpcIds"),
    Attempt("missing-network", lambda s: {"network": existing("subnet-0a", "subnet-0b")}, "spec.network.existing.subnetIds", "allowedVpcIds"),
    Attempt("group", lambda s: landed(s, s.theirs["group"]), "spec.network.existing.securityGroupIds", "allowedSecurityGroupIds"),
    Attempt("cluster-role", lambda s: {"roleArn": s.theirs["cluster_role"]}, "spec.roleArn", "allowedRoleArns"),
    Attempt("identity-of-nodes", lambda s: identity(s.theirs["node_role"]), "spec.podIdentities[kube-system/dns].roleArn", "allowedRoleArns"),
    Attempt("identity", lambda s: identity(s.dns_role), "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("addon-role", lambda s: {"addons": [{"name": "vpc-cni", "podIdentityRoleArn": s.dns_role}]}, "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("key", lambda s: {"secretsEncryption": {"kmsKeyArn": s.key}}, "spec.secretsEncryption.kmsKeyArn", "allowedKmsKeyArns", at_admission=True),
    Attempt("tags", lambda s: {"tags": {"Cost-Center": "free"}}, "spec.tags", "enforcedTags", at_admission=True),
    Attempt("node-role", lambda s: {"roleArn": s.theirs["node_role"]}, "spec.roleArn", "allowedRoleArns", nodes=True),
    Attempt("node-network", lambda s: {"subnets": {"ids": s.theirs["subnets"][:1]}}, "spec.subnets.ids", "allowedVpcIds", nodes=True),
    Attempt("administrator", lambda s: {"additionalRolePolicies": [ADMIN]}, "spec.additionalRolePolicies", "allowedPolicyArns", nodes=True),
    Attempt("cluster-policy", lambda s: {"additionalRolePolicies": ["arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"]}, "spec.additionalRolePolicies", "allowedPolicyArns", nodes=True),
    Attempt("template", lambda s: {"launchTemplate": {"id": s.template}}, "spec.launchTemplate.id", "allowedLaunchTemplateIds", nodes=True),
]
AT_ADMISSION = [attempt for attempt in ATTEMPTS if attempt.at_admission]
BY_CONDITION = [attempt for attempt in ATTEMPTS if not attempt.at_admission]


@pytest.mark.parametrize("attempt", AT_ADMISSION, ids=str)
def test_what_the_lists_alone_refuse_is_refused_at_admission(scene, attempt):
    refusal = scene.search.refusal(attempt.item(scene))
    assert refusal and attempt.field in refusal and attempt.list in refusal and 'AwsAccount "shared"' in refusal


@pytest.fixture(scope="module")
def tried(scene) -> int:
    """All attempts that are stored, at once. The place in the call log before them."""
    mark = scene.on.mark()
    for attempt in BY_CONDITION:
        assert scene.search.refusal(attempt.item(scene)) is None
    return mark


@pytest.mark.parametrize("attempt", BY_CONDITION, ids=str)
def test_what_is_anothers_is_denied_by_a_condition_that_tells_nothing_of_it(on, scene, tried, attempt):
    item = attempt.item(scene)
    found = on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert attempt.field in message and attempt.list in message and 'AwsAccount "shared"' in message
    told = message
    for value in values(item["spec"]):
        told = told.replace(value, "")
    assert not any(name in told for name in scene.names), message
    assert "network" not in found["status"] and found["status"].get("resources", []) == []


def values(spec: object) -> list[str]:
    """What the attacker wrote, which it may read again."""
    if isinstance(spec, dict):
        return [text for value in spec.values() for text in values(value)]
    if isinstance(spec, list):
        return [text for value in spec for text in values(value)]
    return [spec] if isinstance(spec, str) else []


def test_nothing_was_written_for_any_of_it(on, scene, tried):
    for attempt in BY_CONDITION:
        on.await_condition(attempt.item(scene), "Stalled", reason="AccessDenied", timeout=30)
    assert actions(on.writes(tried, scene.account.id)) == []
    attached = scene.account.iam.list_attached_role_policies(RoleName=scene.own["node_role"].rpartition("/")[2])
    names = {policy["PolicyName"] for policy in attached["AttachedPolicies"]}
    assert not names & {"AdministratorAccess", "AmazonEKSClusterPolicy"}


def test_attempts_are_deleted_though_no_list_names_them(on, scene, tried):
    on.delete(*(attempt.item(scene) for attempt in BY_CONDITION), timeout=30)
    assert actions(on.writes(tried, scene.account.id)) == []


def test_what_is_own_and_what_is_listed_can_be_named(on, scene):
    """A second cluster in the first one's network, with its security group; nodes on its role; another in the landing zone."""
    network = {"existing": {"subnetIds": scene.own["subnets"], "securityGroupIds": [scene.own["group"]]}}
    inside = cluster("search-two", "team-search", **SHARED, network=network, addons=[])
    landing = cluster("search-landing", "team-search", **SHARED, network=existing(*scene.landing), addons=[])
    nodes = node_group("search", "own-role", "team-search", **NODES, roleArn=scene.own["node_role"], tags={"cost-center": "free"})
    for item in (inside, landing, nodes):
        assert scene.search.refusal(item) is None
    for item in (inside, landing, nodes):
        on.await_condition(item, "InSync", timeout=60)
    group = scene.account.eks.describe_nodegroup(clusterName="search", nodegroupName="own-role")["nodegroup"]
    assert group["tags"]["cost-center"] == "4711"
    on.delete(inside, nodes, timeout=60)


def test_a_deletion_sweeps_no_network_that_the_spec_was_turned_to(on, scene):
    """An edit names the victim's subnets; in its network is what a sweep by name would take for the attacker's leftovers."""
    item = cluster("turned", "team-search", **SHARED, network=existing(*scene.landing), addons=[])
    assert scene.search.refusal(item) is None
    on.await_condition(item, "InSync", timeout=60)
    tags = [{"Key": "kubernetes.io/cluster/turned", "Value": "owned"}, {"Key": "elbv2.k8s.aws/cluster", "Value": "turned"}]
    group = scene.account.ec2.create_security_group(
        GroupName="victims",
        Description="of the victim",
        VpcId=scene.theirs["vpc"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )["GroupId"]
    item["spec"]["network"] = existing(*scene.theirs["subnets"])
    assert scene.search.refusal(item) is None
    on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    mark = on.mark()
    on.delete(item, timeout=60)
    assert "turned" not in scene.account.eks.list_clusters()["clusters"]
    assert scene.account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    named = [call for call in on.calls(mark, scene.account.id) if scene.theirs["vpc"] in (call["resource"], *call.get("names", ()))]
    assert actions([call for call in named if call.get("session")]) == []
    scene.account.ec2.delete_security_group(GroupId=group)


def test_a_list_that_is_narrowed_stalls_and_changes_nothing_and_keeps_nobody_from_deleting(on, scene):
    landing = cluster("search-landing", "team-search", **SHARED, network=existing(*scene.landing), addons=[])
    shared = on.api.get("keelson.dev/v1alpha1", "AwsAccount", "shared", None)
    try:
        mark = on.mark()
        on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "shared", {"spec": {"allowedVpcIds": []}}, None)
        on.await_condition(landing, "Stalled", reason="AccessDenied", timeout=30)
        assert actions(on.writes(mark, scene.account.id)) == []
        on.delete(landing, timeout=60)
        until(lambda: "search-landing" not in scene.account.eks.list_clusters()["clusters"], 10, "the deletion")
    finally:
        lists = {name: shared["spec"].get(name, []) for name in ALLOWLISTS}
        on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "shared", {"spec": lists}, None)


def test_the_victim_has_all_it_had(scene):
    assert parts(scene.account, "vault") == scene.theirs
    group = scene.account.ec2.describe_security_groups(GroupIds=[scene.theirs["group"]])["SecurityGroups"][0]
    assert "search" not in json.dumps(group)
