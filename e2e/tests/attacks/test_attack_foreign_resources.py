"""Two tenants in one account. One names, field by field, resources of the other and foreign ones of the account: each attempt is
refused, at admission or by a condition, before any write; and no message reveals anything of the named resource.
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
DURATIONS = Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "addons": [{"name": "vpc-cni"}]}
SHARED = {"accountRef": {"name": "shared"}}
AGENT = [{"name": "eks-pod-identity-agent"}]
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
NODES = {"scaling": {"min": 1, "max": 2}}


@dataclass
class Scenario:
    on: Environment
    account: Account
    # Attacker and victim.
    search: Tenant
    vault: Tenant
    # Cluster, subnets, security group and roles of the attacker and of the victim.
    own: dict
    victim_account: dict
    # Created manually for the victim's Pods; and a network that the account's owner allows for all.
    dns_role: str
    key: str
    template: str
    image: str
    landing: list[str]

    @property
    def names(self) -> list[str]:
        """Names that a message must not reveal."""
        return [self.victim_account["vpc"], self.victim_account["name"], "team-vault"]


def resources_of(victim_account: Account, name: str) -> dict:
    """Resources of a cluster that others could name."""
    found = victim_account.eks.describe_cluster(name=name)["cluster"]
    vpc = found["resourcesVpcConfig"]
    tags = {role: tags for role, tags in victim_account.roles().items() if tags.get(OWNER) == found["tags"][OWNER]}
    (node,) = [role for role, tags in tags.items() if tags[RESOURCE] == "role/node"]
    return {
        "name": name,
        "vpc": vpc["vpcId"],
        "subnets": vpc["subnetIds"],
        "group": vpc["clusterSecurityGroupId"],
        "cluster_role": found["roleArn"],
        "node_role": f"arn:aws:iam::{victim_account.id}:role/{node}",
    }


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@pytest.fixture(scope="module")
def scenario(on) -> Scenario:
    shared = on.account(fresh_account())
    role = shared.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
    landing = shared.network("ab")
    vpc = shared.ec2.describe_subnets(SubnetIds=landing)["Subnets"][0]["VpcId"]
    template = shared.ec2.create_launch_template(LaunchTemplateName="vault", LaunchTemplateData={"UserData": "c2VjcmV0"})
    image = private_image(shared, "vault")
    search, vault = tenant(on, "team-search"), tenant(on, "team-vault")
    lists = CLOSED | {"allowedNamespaces": ["team-search", "team-vault"], "allowedVpcIds": [vpc], "allowedImageOwners": ["amazon"]}
    on.apply(account("shared", shared.id, roleArn=role, **lists, enforcedTags={"cost-center": "4711"}))
    install_admission(on)
    on.start()
    items = [cluster(name, owner.namespace, **SHARED, **SMALL) for name, owner in (("search", search), ("vault", vault))]
    for item, owner in zip(items, (search, vault), strict=True):
        assert owner.apply_error(item) is None
    for item in items:
        on.await_condition(item, "InSync", timeout=60)
    own, victim_account = (resources_of(shared, name) for name in ("search", "vault"))
    dns = shared.role("vault-dns", PODS)
    key = f"arn:aws:kms:{REGION}:{shared.id}:key/vault"
    return Scenario(on, shared, search, vault, own, victim_account, dns, key, template["LaunchTemplate"]["LaunchTemplateId"], image, landing)


def private_image(owner: Account, name: str) -> str:
    disk = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}}]
    return str(owner.ec2.register_image(Name=name, RootDeviceName="/dev/xvda", BlockDeviceMappings=disk)["ImageId"])


@dataclass(frozen=True)
class Attempt:
    name: str
    spec: Callable[[Scenario], dict]
    # The field, and the allowlist that would have to contain its value.
    field: str
    list: str
    nodes: bool = False
    at_admission: bool = False

    def __str__(self) -> str:
        return self.name

    def item(self, scenario: Scenario) -> dict:
        name = self.name.replace(" ", "-")
        if self.nodes:
            return node_group("search", name, "team-search", **NODES, **self.spec(scenario))
        return cluster(name, "team-search", **{**SHARED, **SMALL, **self.spec(scenario)})


def identity(arn: str) -> dict:
    return {"podIdentities": [{"namespace": "kube-system", "serviceAccount": "dns", "roleArn": arn}]}


def of_image(image: str) -> dict:
    return {"node": {"imageId": image, "userData": "#!/bin/sh"}}
def pods(role: dict, **more: object) -> dict:
    """A role that Keelson would create for Pods; its policies are the attack."""
    return {"podIdentities": [{"namespace": "kube-system", "serviceAccount": "dns", "role": role, **more}], "addons": AGENT}


def addon_role(role: dict) -> dict:
    return {"addons": [*AGENT, {"name": "vpc-cni", "podIdentityRole": role}]}


def in_landing_zone(scenario: Scenario, *groups: str) -> dict:
    return {"network": {"existing": {"subnetIds": scenario.landing, "securityGroupIds": list(groups)}}}


def flow_logs(role: str) -> dict:
    return {"network": {"vpc": {"zoneCount": 2, "nat": "None", "flowLogs": {"cloudWatchLogs": {"logGroup": "/vpc/x", "roleArn": role}}}}}


def by_selector(vpc: str) -> dict:
    return {"network": {"existing": {"vpcId": vpc, "subnetSelector": {"tags": {"Name": "x"}}}}}


ATTEMPTS = [
    Attempt("network", lambda s: {"network": existing(*s.victim_account["subnets"])}, "spec.network.existing.subnetIds", "allowedVpcIds"),
    Attempt("selector", lambda s: by_selector(s.victim_account["vpc"]), "spec.network.existing.vpcId", "allowedVpcIds"),
    Attempt("missing-network", lambda s: {"network": existing("subnet-0a", "subnet-0b")}, "spec.network.existing.subnetIds", "allowedVpcIds"),
    Attempt("group", lambda s: in_landing_zone(s, s.victim_account["group"]), "spec.network.existing.securityGroupIds", "allowedSecurityGroupIds"),
    Attempt("cluster-role", lambda s: {"roleArn": s.victim_account["cluster_role"]}, "spec.roleArn", "allowedRoleArns"),
    Attempt("identity-of-nodes", lambda s: identity(s.victim_account["node_role"]), "spec.podIdentities[kube-system/dns].roleArn", "allowedRoleArns"),
    Attempt("identity", lambda s: identity(s.dns_role), "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("addon-role", lambda s: {"addons": [{"name": "vpc-cni", "podIdentityRoleArn": s.dns_role}]}, "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("pods-target", lambda s: pods({}, targetRoleArn=s.dns_role), "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("pods-administrator", lambda s: pods({"policyArns": [ADMIN]}), "policyArns", "allowedPolicyArns", at_admission=True),
    Attempt("pods-secrets", lambda s: pods({"policies": ["ExternalSecrets"]}), "policies", "allowedWorkloadPolicies", at_admission=True),
    Attempt("pods-everything", lambda s: pods({"policy": EVERYTHING}), "policy document", "allowInlinePolicies", at_admission=True),
    Attempt("addon-administrator", lambda s: addon_role({"policyArns": [ADMIN]}), "policyArns", "allowedPolicyArns", at_admission=True),
    Attempt("addon-everything", lambda s: addon_role({"policy": EVERYTHING}), "policy document", "allowInlinePolicies", at_admission=True),
    Attempt("karpenter", lambda s: {"karpenter": {}}, "spec.karpenter", "allowedWorkloadPolicies", at_admission=True),
    Attempt("pods-as-victim", lambda s: pods({}, targetRoleArn=s.victim_account["node_role"]),
            "spec.podIdentities[kube-system/dns].targetRoleArn", "allowedRoleArns"),
    Attempt("flow-log-role", lambda s: flow_logs(s.dns_role), "vault-dns", "allowedRoleArns", at_admission=True),
    Attempt("nat-address", lambda s: {"network": {"vpc": {"zoneCount": 2, "natAddresses": ["eipalloc-0a"]}}}, "eipalloc-0a", "allowedElasticIpAllocationIds", at_admission=True),
    Attempt("control-plane-group", lambda s: {"network": {"vpc": {"zoneCount": 2, "nat": "None", "securityGroupIds": [s.victim_account["group"]]}}}, "spec.network.vpc.securityGroupIds", "allowedSecurityGroupIds"),
    Attempt("log-key", lambda s: {"logGroup": {"retentionDays": 1, "kmsKeyArn": s.key}}, "spec.logGroup.kmsKeyArn", "allowedKmsKeyArns", at_admission=True),
    Attempt("key", lambda s: {"secretsEncryption": {"kmsKeyArn": s.key}}, "spec.secretsEncryption.kmsKeyArn", "allowedKmsKeyArns", at_admission=True),
    Attempt("tags", lambda s: {"tags": {"Cost-Center": "free"}}, "spec.tags", "enforcedTags", at_admission=True),
    Attempt("node-role", lambda s: {"roleArn": s.victim_account["node_role"]}, "spec.roleArn", "allowedRoleArns", nodes=True),
    Attempt("node-network", lambda s: {"subnets": {"ids": s.victim_account["subnets"][:1]}}, "spec.subnets.ids", "allowedVpcIds", nodes=True),
    Attempt("administrator", lambda s: {"additionalRolePolicies": [ADMIN]}, "spec.additionalRolePolicies", "allowedPolicyArns", nodes=True),
    Attempt("cluster-policy", lambda s: {"additionalRolePolicies": ["arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"]}, "spec.additionalRolePolicies", "allowedPolicyArns", nodes=True),
    Attempt("template", lambda s: {"launchTemplate": {"id": s.template}}, "spec.launchTemplate.id", "allowedLaunchTemplateIds", nodes=True),
    Attempt("image", lambda s: of_image(s.image), "spec.node.imageId", "allowedImageIds", nodes=True),
    Attempt("missing-image", lambda s: of_image("ami-0123456789abcdef0"), "spec.node.imageId", "allowedImageOwners: [amazon]", nodes=True),
    Attempt("reservation", lambda s: {"node": {"capacityReservationId": "cr-0a1b"}}, "spec.node.capacityReservationId", "allowedCapacityReservationIds", nodes=True),
    Attempt("placement", lambda s: {"node": {"placementGroup": "vault"}}, "spec.node.placementGroup", "allowedPlacementGroups", nodes=True),
]
AT_ADMISSION = [attempt for attempt in ATTEMPTS if attempt.at_admission]
BY_CONDITION = [attempt for attempt in ATTEMPTS if not attempt.at_admission]


@pytest.mark.parametrize("attempt", AT_ADMISSION, ids=str)
def test_allowlist_violations_are_rejected_at_admission(scenario, attempt):
    error = scenario.search.apply_error(attempt.item(scenario))
    assert error and attempt.field in error and attempt.list in error and 'AwsAccount "shared"' in error


@pytest.fixture(scope="module")
def mark_before(scenario) -> int:
    """Applies all attempts that admission accepts at once; returns the call log position before them."""
    mark = scenario.on.mark()
    for attempt in BY_CONDITION:
        assert scenario.search.apply_error(attempt.item(scenario)) is None
    return mark


@pytest.mark.parametrize("attempt", BY_CONDITION, ids=str)
def test_foreign_resource_is_denied_by_a_condition_that_reveals_nothing(on, scenario, mark_before, attempt):
    item = attempt.item(scenario)
    found = on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert attempt.field in message and attempt.list in message and 'AwsAccount "shared"' in message
    remaining = message
    for value in values(item["spec"]):
        remaining = remaining.replace(value, "")
    assert not any(name in remaining for name in scenario.names), message
    assert "network" not in found["status"] and found["status"].get("resources", []) == []


def values(spec: object) -> list[str]:
    """All strings of the spec: the attacker wrote them, so a message may contain them."""
    if isinstance(spec, dict):
        return [text for value in spec.values() for text in values(value)]
    if isinstance(spec, list):
        return [text for value in spec for text in values(value)]
    return [spec] if isinstance(spec, str) else []


def test_denied_attempts_cause_no_writes(on, scenario, mark_before):
    for attempt in BY_CONDITION:
        on.await_condition(attempt.item(scenario), "Stalled", reason="AccessDenied", timeout=30)
    assert actions(on.writes(mark_before, scenario.account.id)) == []
    attached = scenario.account.iam.list_attached_role_policies(RoleName=scenario.own["node_role"].rpartition("/")[2])
    names = {policy["PolicyName"] for policy in attached["AttachedPolicies"]}
    assert not names & {"AdministratorAccess", "AmazonEKSClusterPolicy"}


def test_denied_objects_can_be_deleted(on, scenario, mark_before):
    on.delete(*(attempt.item(scenario) for attempt in BY_CONDITION), timeout=30)
    assert actions(on.writes(mark_before, scenario.account.id)) == []


def test_own_and_listed_resources_are_allowed(on, scenario):
    """A second cluster in the first one's network, with its security group; nodes with its role; another cluster in the landing zone."""
    network = {"existing": {"subnetIds": scenario.own["subnets"], "securityGroupIds": [scenario.own["group"]]}}
    inside = cluster("search-two", "team-search", **SHARED, network=network, addons=[])
    landing = cluster("search-landing", "team-search", **SHARED, network=existing(*scenario.landing), addons=[])
    nodes = node_group("search", "own-role", "team-search", **NODES, roleArn=scenario.own["node_role"], tags={"cost-center": "free"})
    for item in (inside, landing, nodes):
        assert scenario.search.apply_error(item) is None
    for item in (inside, landing, nodes):
        on.await_condition(item, "InSync", timeout=60)
    group = scenario.account.eks.describe_nodegroup(clusterName="search", nodegroupName="own-role")["nodegroup"]
    assert group["tags"]["cost-center"] == "4711"
    on.delete(inside, nodes, timeout=60)


def test_image_is_allowed_once_the_account_lists_it_or_its_owner(on, scenario):
    """Removing it later stalls the group and changes nothing of it, as with every list."""
    golden = on.account(fresh_account())
    shared_image = private_image(golden, "golden")
    golden.ec2.modify_image_attribute(ImageId=shared_image, LaunchPermission={"Add": [{"UserId": scenario.account.id}]})
    eks = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
    of_eks = scenario.account.client("ssm").get_parameter(Name=eks)["Parameter"]["Value"]
    item = node_group("search", "golden", "team-search", scaling={"min": 1, "max": 1}, **of_image(of_eks))

    def allow(**lists: list[str]) -> None:
        on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "shared", {"spec": lists}, None)

    def runs(image: str) -> None:
        until(lambda: on.condition(item, "InSync")["status"] == "True" and described()["releaseVersion"] == image, 60, image)

    def described() -> dict:
        return scenario.account.eks.describe_nodegroup(clusterName="search", nodegroupName="golden")["nodegroup"]

    def edit_image(image: str) -> None:
        item["spec"]["node"]["imageId"] = image
        assert scenario.search.apply_error(item) is None
        on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)

    try:
        assert scenario.search.apply_error(item) is None
        on.await_condition(item, "InSync", timeout=60)
        edit_image(scenario.image)
        assert described()["releaseVersion"] == of_eks
        allow(allowedImageIds=[scenario.image])
        runs(scenario.image)
        mark = on.mark()
        allow(allowedImageIds=[])
        on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
        assert actions(on.writes(mark, scenario.account.id)) == [] and described()["status"] == "ACTIVE"
        edit_image(shared_image)
        allow(allowedImageOwners=["amazon", golden.id])
        runs(shared_image)
    finally:
        allow(allowedImageIds=[], allowedImageOwners=["amazon"])
        on.delete(item, timeout=60)


def test_deletion_does_not_touch_a_network_set_by_a_later_edit(on, scenario):
    """An edit names the victim's subnets, whose network has a group that a search by name would match as the attacker's leftover."""
    item = cluster("turned", "team-search", **SHARED, network=existing(*scenario.landing), addons=[])
    assert scenario.search.apply_error(item) is None
    on.await_condition(item, "InSync", timeout=60)
    tags = [{"Key": "kubernetes.io/cluster/turned", "Value": "owned"}, {"Key": "elbv2.k8s.aws/cluster", "Value": "turned"}]
    group = scenario.account.ec2.create_security_group(
        GroupName="victims",
        Description="of the victim",
        VpcId=scenario.victim_account["vpc"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )["GroupId"]
    item["spec"]["network"] = existing(*scenario.victim_account["subnets"])
    assert scenario.search.apply_error(item) is None
    on.await_condition(item, "Stalled", reason="AccessDenied", timeout=30)
    mark = on.mark()
    on.delete(item, timeout=60)
    assert "turned" not in scenario.account.eks.list_clusters()["clusters"]
    assert scenario.account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    named = [call for call in on.calls(mark, scenario.account.id) if scenario.victim_account["vpc"] in (call["resource"], *call.get("names", ()))]
    assert actions([call for call in named if call.get("session")]) == []
    scenario.account.ec2.delete_security_group(GroupId=group)


def test_narrowed_allowlist_stalls_without_changes_and_allows_deletion(on, scenario):
    landing = cluster("search-landing", "team-search", **SHARED, network=existing(*scenario.landing), addons=[])
    shared = on.api.get("keelson.dev/v1alpha1", "AwsAccount", "shared", None)
    try:
        mark = on.mark()
        on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "shared", {"spec": {"allowedVpcIds": []}}, None)
        on.await_condition(landing, "Stalled", reason="AccessDenied", timeout=30)
        assert actions(on.writes(mark, scenario.account.id)) == []
        on.delete(landing, timeout=60)
        until(lambda: "search-landing" not in scenario.account.eks.list_clusters()["clusters"], 10, "the deletion")
    finally:
        lists = {name: shared["spec"].get(name, []) for name in ALLOWLISTS}
        on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "shared", {"spec": lists}, None)


def test_victims_resources_are_unchanged(scenario):
    assert resources_of(scenario.account, "vault") == scenario.victim_account
    group = scenario.account.ec2.describe_security_groups(GroupIds=[scenario.victim_account["group"]])["SecurityGroups"][0]
    assert "search" not in json.dumps(group)
