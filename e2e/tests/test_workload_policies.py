"""The policies that Keelson includes for roles of Pods, and their boundary: AWS knows their actions, they reach only what they say, and
the boundary under deploy/ allows them. (Needs no cloud.)"""

from __future__ import annotations

import json
import re

import botocore.session
import pytest

from fleet.policy import DEPLOY, statements_of
from keelson_aws.iam import managed_policies
from keelson_aws.policy_evaluator import Request, decide
from keelson_harness.paths import CHECKOUT

FOLDER = CHECKOUT / "src/resources/iam/workload_policies"
FILES = sorted(FOLDER.glob("*.json"))
BOUNDARY = statements_of(DEPLOY / "iam-workload-boundary.json")
REGION, ACCOUNT, CLUSTER = "eu-west-1", "123456789012", "payments"
PLACE = {"partition": "aws", "region": REGION, "account": ACCOUNT, "cluster": CLUSTER, "nodeRole": f"keelson-{CLUSTER}-????????-node"}
# IAM's prefix of actions, and the service in AWS's models, where they differ; S3 has actions with other names than its operations.
SERVICES = {"elasticloadbalancing": "elbv2", "aps": "amp", "elasticfilesystem": "efs"}
S3 = {"s3:ListBucket": "ListObjectsV2"}
# Actions without an operation of that name.
NO_OPERATION = {
    "aps:GetLabels", "aps:GetMetricMetadata", "aps:GetSeries", "aps:RemoteWrite", "elasticfilesystem:Client*", "elasticloadbalancing:SetWebAcl",
    "iam:PassRole", "sts:TagSession",
}
# What may be written everywhere: nothing in it belongs to a cluster.
ANYWHERE = {
    "elasticloadbalancing:SetWebAcl", "shield:CreateProtection", "shield:DeleteProtection", "wafv2:AssociateWebACL", "wafv2:DisassociateWebACL",
    "iam:CreateServiceLinkedRole", "route53:ChangeResourceRecordSets",
}
READ = re.compile(r"[\w-]+:(Describe|Get|List|Receive)")


def included(name: str, cluster: str = CLUSTER, region: str = REGION) -> list[dict]:
    """The statements for a cluster."""
    text = json.dumps(json.loads((FOLDER / f"{name}.json").read_text())["statements"])
    for placeholder, value in {**PLACE, "cluster": cluster, "region": region}.items():
        text = text.replace(f"{{{{{placeholder}}}}}", value)
    return json.loads(text)


def actions(statements: list[dict]) -> set[str]:
    found = set()
    for statement in statements:
        found |= {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])
    return found


def session(cluster: str = CLUSTER) -> dict[str, str]:
    """What EKS Pod Identity tells of the caller."""
    return {"aws:PrincipalTag/eks-cluster-name": cluster, "aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT}


@pytest.mark.parametrize("statements", [*(included(path.stem) for path in FILES), BOUNDARY], ids=[*(path.stem for path in FILES), "boundary"])
def test_aws_knows_each_action(statements):
    models = botocore.session.get_session()
    unknown = []
    for action in actions(statements) - NO_OPERATION:
        prefix, _, name = action.partition(":")
        operations = models.get_service_model(SERVICES.get(prefix, prefix)).operation_names
        pattern = re.compile(S3.get(action, name).replace("*", ".*"))
        if not any(pattern.fullmatch(operation) for operation in operations):
            unknown.append(action)
    assert unknown == []


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_aws_manages_each_policy_that_is_attached_by_name(name):
    known = {policy.arn.split(":policy/")[1] for policy in managed_policies()}
    assert set(json.loads((FOLDER / f"{name}.json").read_text())["managed"]) <= known


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_writes_are_limited_to_the_cluster_or_listed_as_unlimited(name):
    for statement in included(name):
        writes = {action for action in actions([statement]) if not READ.match(action)} - ANYWHERE
        if not writes:
            continue
        where = json.dumps([statement["Resource"], statement.get("Condition", {})])
        # Karpenter launches where its manifests say; a security group is created in a VPC, with the cluster's tag in a statement beside.
        unlimited = writes <= {"ec2:CreateFleet", "ec2:RunInstances"} or writes == {"ec2:CreateSecurityGroup"} and ":vpc/*" in where
        decrypts = writes == {"kms:Decrypt"} and "kms:ViaService" in where
        assert CLUSTER in where or unlimited or decrypts, (name, sorted(writes))


FOREIGN = [
    ("AWSLoadBalancerController", "elasticloadbalancing:DeleteLoadBalancer", f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/x/1",
     "elbv2.k8s.aws/cluster", "{}"),
    ("AWSLoadBalancerController", "ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1", "aws:eks:cluster-name", "{}"),
    ("ClusterAutoscaler", "autoscaling:TerminateInstanceInAutoScalingGroup", f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:x",
     "eks:cluster-name", "{}"),
    ("Karpenter", "ec2:TerminateInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1", "kubernetes.io/cluster/{}", "owned"),
]


@pytest.mark.parametrize(("name", "action", "resource", "key", "value"), FOREIGN)
def test_resources_of_another_cluster_are_out_of_reach(name, action, resource, key, value):
    def allowed(cluster: str) -> bool:
        tags = {key.format(cluster): value.format(cluster)}
        return decide(Request(action, resource, session(), resource_tags=tags), included(name)).allowed

    assert allowed(CLUSTER) and not allowed("other")
    elsewhere = Request(action, resource.replace(REGION, "eu-north-1"), session(), resource_tags={key.format(CLUSTER): value.format(CLUSTER)})
    assert not decide(elsewhere, included(name)).allowed, "a cluster of that name in another region"


def secret(name: str) -> Request:
    return Request("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}", session())


def test_secrets_of_another_cluster_are_out_of_reach():
    for name, may in ((f"{CLUSTER}/db", True), ("other/db", False), (f"{CLUSTER}-2/db", False), ("db", False)):
        assert decide(secret(name), included("ExternalSecrets")).allowed is may, name
        # Also where the author of a manifest writes the policy.
        everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        assert decide(secret(name), everything, BOUNDARY).allowed is may, name


def test_records_of_certificate_challenges_are_the_only_ones_that_cert_manager_writes():
    def allowed(name: str, kind: str) -> bool:
        context = {
            **session(),
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": [name],
            "route53:ChangeResourceRecordSetsRecordTypes": [kind],
        }
        return decide(Request("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1", context), included("CertManager")).allowed

    assert allowed("_acme-challenge.example.com", "TXT")
    assert not allowed("www.example.com", "TXT") and not allowed("_acme-challenge.example.com", "A")
    bare = Request("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1", session())
    assert not decide(bare, included("CertManager")).allowed


def test_boundary_lets_an_author_of_policies_do_nothing_with_identities():
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    role = f"arn:aws:iam::{ACCOUNT}:role"
    for action, resource in [
        ("iam:CreateRole", f"{role}/x"),
        ("iam:PassRole", f"{role}/keelson-other-0a1b2c3d-node"),
        ("iam:PutRolePolicy", f"{role}/keelson-payments-0a1b2c3d-pod0123456789"),
        ("iam:DeleteRolePermissionsBoundary", f"{role}/keelson-payments-0a1b2c3d-pod0123456789"),
        ("iam:CreateServiceLinkedRole", f"{role}/aws-service-role/eks.amazonaws.com/x"),
        ("sts:AssumeRole", f"{role}/keelson"),
        ("sts:AssumeRole", f"{role}/admin"),
        ("eks:CreateAccessEntry", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/other"),
        ("eks-auth:AssumeRoleForPodIdentity", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/other"),
        ("ec2:TerminateInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
        ("ec2:RunInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
        ("ec2:ModifyInstanceAttribute", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1"),
        ("s3:GetObject", "arn:aws:s3:::terraform-state/prod"),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/other/db"),
        ("organizations:ListAccounts", "*"),
    ]:
        assert not decide(Request(action, resource, session()), everything, BOUNDARY).allowed, (action, resource)
    other = {**session(), "aws:ResourceAccount": "210987654321"}
    assert decide(Request("sts:AssumeRole", "arn:aws:iam::210987654321:role/theirs", other), everything, BOUNDARY).allowed
    assert not decide(Request("sts:AssumeRole", "arn:aws:iam::210987654321:role/keelson", other), everything, BOUNDARY).allowed


# What Karpenter needs of IAM and EC2 reaches beyond a cluster: docs/how-to/workload-roles.md.
@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem != "Karpenter"])
def test_boundary_allows_what_the_included_policies_allow(name):
    allowed = actions(BOUNDARY)
    patterns = [re.compile(action.replace("*", ".*")) for action in allowed]
    missing = [action for action in actions(included(name)) if not any(pattern.fullmatch(action) for pattern in patterns)]
    assert missing == []
    for statement in included(name):
        if "aws:ResourceTag/elbv2.k8s.aws/cluster" in json.dumps(statement):
            tags = {"elbv2.k8s.aws/cluster": CLUSTER}
            for action in actions([statement]):
                resource = f"arn:aws:{action.split(':')[0]}:{REGION}:{ACCOUNT}:security-group/x"
                assert decide(Request(action, resource, session(), resource_tags=tags), [statement], BOUNDARY).allowed, action
