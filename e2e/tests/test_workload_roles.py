"""`podIdentities[].role` and `addons[].podIdentityRole`: roles with their policies, made before what uses them and deleted after it."""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from fleet.account import OWNER, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.killing import killed_at
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, key_of
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions

OWN = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::dns/*"}]}
DNS = {"namespace": "kube-system", "serviceAccount": "external-dns"}
FLAGS = ("--drift-interval=1s", "--max-deletions=100", "--pod-credentials-lifetime=4s")
AGENT = {"name": "eks-pod-identity-agent"}
# It needs no nodes.
CNI = "vpc-cni"
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5)) as started:
        yield started


class Team:
    """A cluster in an account of its own, whose owner allows policies, and documents within a boundary."""

    def __init__(self, on: Environment, name: str, account: dict | None = None, **spec: object):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.iam, self.eks = self.account.iam, self.account.eks
        document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
        self.boundary = self.iam.create_policy(PolicyName="keelson-workload-boundary", PolicyDocument=document)["Policy"]["Arn"]
        allowed = {"allowedWorkloadPolicies": ["*"], "allowInlinePolicies": True, "workloadPermissionsBoundaryArn": self.boundary}
        self.access = aws_account(f"account-{self.account.id}", self.account.id, rolePath="/team/", **(allowed if account is None else account))
        self.item = cluster(name, accountRef={"name": self.access["metadata"]["name"]}, **{**SMALL, "addons": [AGENT], **spec})
        self.since = on.mark()

    def apply(self) -> Team:
        self.on.apply(self.access, self.item)
        return self

    def edit(self, **spec: object) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})
        self.on.await_in_sync(self.item)
        return mark

    def found(self) -> dict | None:
        return self.on.api.find(*key_of(self.item))

    def is_ready(self) -> bool:
        return conditions(self.found() or {}).get("Ready", {}).get("status") == "True"

    def roles(self) -> dict[str, str]:
        """Names of the roles of Pods, by what they are for."""
        tagged = {name: tags["keelson.dev/resource"] for name, tags in self.account.roles().items() if OWNER in tags}
        return {key.removeprefix("workloadRole/"): name for name, key in tagged.items() if key.startswith("workloadRole/")}

    def role(self, of: str = "kube-system/external-dns") -> dict:
        return self.iam.get_role(RoleName=self.roles()[of])["Role"]

    def attached(self, name: str) -> set[str]:
        return {policy["PolicyName"] for policy in self.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]}

    def inline(self, name: str) -> dict[str, dict]:
        found = {}
        for policy in self.iam.list_role_policies(RoleName=name)["PolicyNames"]:
            # It may be removed after the list was read.
            with contextlib.suppress(self.iam.exceptions.NoSuchEntityException):
                found[policy] = self.iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        return found

    def associations(self) -> dict[str, dict]:
        found = {}
        for one in self.eks.list_pod_identity_associations(clusterName=self.name)["associations"]:
            whole = self.eks.describe_pod_identity_association(clusterName=self.name, associationId=one["associationId"])["association"]
            found[f"{one['namespace']}/{one['serviceAccount']}"] = whole
        return found

    def writes(self, mark: int | None = None) -> list[str]:
        """Those that succeeded."""
        calls = [call for call in self.on.writes(self.since if mark is None else mark, self.account.id) if call["status"] < 400]
        return [action.split(" ")[0] for action in actions(calls)]


ROLE = {"policyArns": ["arn:aws:iam::aws:policy/AmazonRoute53ReadOnlyAccess"], "policies": ["ExternalDNS", "EBSCSIDriver"], "policy": OWN}


# Crashes come first: `killed_at` starts its own operators.


def test_roles_are_made_replaced_and_deleted_once_though_the_operator_is_killed_at_every_write(on, capsys):
    addons = [AGENT, {"name": CNI, "podIdentityRole": {"policies": ["VPCCNI"]}}]
    team = Team(on, "crash", addons=addons, podIdentities=[{**DNS, "role": ROLE}])
    team.apply()
    killed = killed_at(on, team.account.id, team.is_ready, flags=FLAGS, timeout=240)
    assert set(team.roles()) == {"kube-system/external-dns", f"addon:{CNI}"}
    whole = team.role()
    assert team.inline(whole["RoleName"]).keys() == {"keelson-ExternalDNS", "policy"}
    assert team.attached(whole["RoleName"]) == {"AmazonEBSCSIDriverPolicyV2", "AmazonRoute53ReadOnlyAccess"}
    on.api.patch(*key_of(team.item)[:3], {"spec": {"addons": [AGENT, {"name": CNI}], "podIdentities": []}})
    again = killed_at(on, team.account.id, lambda: team.is_ready() and not team.roles(), flags=FLAGS, timeout=240)
    assert team.associations() == {}
    on.api.delete(*key_of(team.item))
    gone = killed_at(on, team.account.id, lambda: not team.found(), flags=FLAGS, timeout=240)
    assert team.account.inventory().get("roles", []) == []
    with capsys.disabled():
        print(f"\n  {killed.summary('create')}\n  {again.summary('remove')}\n  {gone.summary('delete')}")


@pytest.fixture(scope="module")
def team(on):
    team = Team(on, "team", podIdentities=[{**DNS, "role": ROLE}])
    on.start(*FLAGS, account=team.account.id)
    team.apply()
    on.ready(team.item)
    return team


def test_role_has_its_policies_boundary_and_trust_before_the_association(team):
    role = team.role()
    assert role["Path"] == "/team/" and role["PermissionsBoundary"]["PermissionsBoundaryArn"] == team.boundary
    trust = role["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": team.account.id,
        "aws:RequestTag/eks-cluster-arn": f"arn:aws:eks:{REGION}:{team.account.id}:cluster/team",
        "aws:RequestTag/kubernetes-namespace": "kube-system",
        "aws:RequestTag/kubernetes-service-account": "external-dns",
    }
    inline = team.inline(role["RoleName"])
    assert inline["policy"] == OWN and "route53:ListHostedZones" in json.dumps(inline["keelson-ExternalDNS"])
    assert team.associations()["kube-system/external-dns"]["roleArn"] == role["Arn"]
    written = team.writes()
    for before in ("iam:PutRolePolicy", "iam:AttachRolePolicy"):
        assert max(n for n, action in enumerate(written) if action == before) < written.index("eks:CreatePodIdentityAssociation")


def test_document_that_says_the_same_in_another_way_is_no_difference(team):
    name = team.roles()["kube-system/external-dns"]
    same = {"Statement": {"Resource": ["arn:aws:s3:::dns/*"], "Action": "s3:getobject", "Effect": "Allow", "Sid": "x"}, "Version": "2012-10-17"}
    team.iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=json.dumps(same, indent=2))
    mark = team.on.mark()
    stays(lambda: "iam:PutRolePolicy" not in team.writes(mark), 3, "nothing to correct")
    other = {**OWN, "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    team.iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=json.dumps(other))
    until(lambda: team.inline(name)["policy"] == OWN, 30, "the document of the spec")


def test_what_somebody_adds_to_a_role_is_taken_away(team):
    name = team.roles()["kube-system/external-dns"]
    team.iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    team.iam.put_role_policy(RoleName=name, PolicyName="more", PolicyDocument=json.dumps(OWN))
    until(lambda: "AdministratorAccess" not in team.attached(name) and "more" not in team.inline(name), 30, "the policies of the spec")


def test_edit_of_the_policies_changes_only_those(team):
    mark = team.edit(podIdentities=[{**DNS, "role": {**ROLE, "policyArns": [], "policies": ["ExternalDNS"]}}])
    assert sorted(team.writes(mark)) == ["iam:DetachRolePolicy"] * 2
    mark = team.edit(podIdentities=[{**DNS, "role": ROLE}])
    assert sorted(team.writes(mark)) == ["iam:AttachRolePolicy"] * 2


def test_target_role_is_one_that_the_role_may_assume(team):
    target = "arn:aws:iam::210987654321:role/dns"
    team.edit(podIdentities=[{**DNS, "role": ROLE, "targetRoleArn": target, "disableSessionTags": True}])
    association = team.associations()["kube-system/external-dns"]
    assert (association["targetRoleArn"], association["disableSessionTags"]) == (target, True)
    role = team.role()
    assert team.inline(role["RoleName"])["target-role"]["Statement"][0]["Resource"] == target
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"] == {"StringEquals": {"aws:SourceAccount": team.account.id}}
    assert association["externalId"]


def test_pods_keep_their_credentials_while_another_role_replaces_theirs(team):
    name = team.roles()["kube-system/external-dns"]
    existing = team.account.role("dns", {"Service": "pods.eks.amazonaws.com"})
    before = time.monotonic()
    mark = team.edit(podIdentities=[{**DNS, "roleArn": existing}])
    assert team.associations()["kube-system/external-dns"]["roleArn"] == existing
    assert "eks:DeletePodIdentityAssociation" not in team.writes(mark)
    assert name in team.account.roles(), "Pods hold its credentials"
    until(lambda: name not in team.account.roles(), 30, "the deletion of the role")
    assert time.monotonic() - before > 4, "the lifetime of FLAGS"
    mark = team.edit(podIdentities=[{**DNS, "role": ROLE}])
    role = team.role()
    assert team.associations()["kube-system/external-dns"]["roleArn"] == role["Arn"]
    written = team.writes(mark)
    assert written.index("iam:PutRolePolicy") < written.index("eks:UpdatePodIdentityAssociation")


def test_role_that_a_foreign_association_uses_stays_and_is_named(team):
    role = team.role()
    of = {"clusterName": "team", "namespace": "default", "serviceAccount": "theirs"}
    theirs = team.eks.create_pod_identity_association(**of, roleArn=role["Arn"])["association"]["associationId"]
    team.on.api.patch(*key_of(team.item)[:3], {"spec": {"podIdentities": []}})
    until(lambda: "service account default/theirs" in json.dumps(team.on.status(team.item)), 30, "what uses the role")
    assert "external-dns" in "".join(team.roles())
    team.eks.delete_pod_identity_association(clusterName="team", associationId=theirs)
    until(lambda: not team.roles(), 30, "the deletion of the role")
    team.on.await_in_sync(team.item)


def test_addon_gets_a_role_and_loses_it_with_the_field(team):
    team.edit(addons=[AGENT, {"name": CNI, "podIdentityRole": {"policies": ["VPCCNI"]}, "namespace": "storage", "preserveOnDelete": True}])
    role = team.role(f"addon:{CNI}")
    (association,) = team.associations().values()
    assert (association["roleArn"], association["namespace"]) == (role["Arn"], "storage")
    assert team.attached(role["RoleName"]) == {"AmazonEKS_CNI_Policy"}
    team.edit(addons=[AGENT, {"name": CNI, "preserveOnDelete": True}])
    until(lambda: not team.roles() and not team.associations(), 30, "the add-on without a role")


def test_software_of_a_pruned_addon_stays_if_the_spec_said_so(team):
    mark = team.edit(addons=[AGENT], pruneAddons=True, pruneCoreAddons="Delete")
    until(lambda: CNI not in team.eks.list_addons(clusterName="team")["addons"], 30, "the add-on is gone from EKS")
    calls = [call for call in team.on.writes(mark, team.account.id) if call["action"] == "DeleteAddon"]
    assert [call["asked"]["preserve"] for call in calls] == [True]


def test_addon_in_another_namespace_is_refused_with_what_to_do(team):
    team.edit(addons=[AGENT, {"name": CNI, "namespace": "storage"}], pruneAddons=None)
    team.on.api.patch(*key_of(team.item)[:3], {"spec": {"addons": [AGENT, {"name": CNI, "namespace": "other"}]}})
    until(lambda: "EKS does not move an add-on to another namespace" in json.dumps(team.on.status(team.item)), 30, "the refusal")
    team.edit(addons=[AGENT])


def test_roles_outlive_the_cluster_that_is_deleted(team):
    team.edit(podIdentities=[{**DNS, "role": ROLE}])
    mark = team.on.mark()
    team.on.delete(team.item)
    calls = [call for call in team.on.writes(mark, team.account.id) if call["status"] < 400]
    deleted = [call["action"] for call in calls if call["action"] == "DeleteCluster" or "pod" in call["resource"].rpartition("-")[2]]
    assert deleted.index("DeleteCluster") < deleted.index("DeleteRole")
    assert [name for name in team.account.roles() if name.startswith("keelson-")] == []


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ({"policy": OWN}, "set allowInlinePolicies"),
        ({"policies": ["ExternalDNS"]}, "allowedWorkloadPolicies"),
        ({"policyArns": ["arn:aws:iam::aws:policy/AdministratorAccess"]}, "allowedPolicyArns"),
    ],
)
def test_account_allows_nothing_that_it_does_not_list(on, team, role, expected):
    name = f"closed-{min(role).lower()}"
    closed = Team(on, name, account={"allowedPolicyArns": [], "allowedWorkloadPolicies": []}, podIdentities=[{**DNS, "role": role}])
    closed.apply()
    on.await_condition(closed.item, status="False", reason="AccessDenied")
    message = on.condition(closed.item)["message"]
    assert expected in message and "spec.podIdentities[kube-system/external-dns].role" in message
    assert closed.writes() == []
    on.delete(closed.item)


def test_nobody_writes_documents_without_an_aws_account(on, team):
    item = cluster("ambient", **SMALL, addons=[AGENT], podIdentities=[{**DNS, "role": {"policy": OWN}}])
    on.apply(item)
    on.await_condition(item, status="False", reason="AccessDenied")
    message = on.condition(item)["message"]
    assert "without an AwsAccount" in message
    on.delete(item)
