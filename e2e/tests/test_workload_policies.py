"""The policies that Keelson includes for roles of Pods, and their boundary: AWS knows their actions, they reach only what they say, and
the boundary under deploy/ allows them. (Needs no cloud.)"""

from __future__ import annotations

import json
import re

import botocore.session
import pytest

from fleet.account import OWNER
from fleet.policy import DEPLOY, statements_of
from keelson_aws.iam import managed_policies
from keelson_aws.policy_evaluator import Request, decide
from keelson_harness.paths import CHECKOUT

FOLDER = CHECKOUT / "src/resources/iam/workload_policies"
FILES = sorted(FOLDER.glob("*.json"))
BOUNDARY = statements_of(DEPLOY / "iam-workload-boundary.json")
REGION, ACCOUNT, CLUSTER = "eu-west-1", "123456789012", "payments"
# The EksCluster, as the role's tag names it.
OBJECT = "shop/payments-prod"
NODE_ROLE = f"keelson-{CLUSTER}-0a1b2c3d-node"
PLACE = {"partition": "aws", "region": REGION, "account": ACCOUNT, "cluster": CLUSTER, "nodeRole": NODE_ROLE}
EVERYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
# IAM's prefix of actions, and the service in AWS's models, where they differ; S3 has actions with other names than its operations.
SERVICES = {"elasticloadbalancing": "elbv2", "aps": "amp", "elasticfilesystem": "efs"}
S3 = {"s3:ListBucket": "ListObjectsV2"}
# Actions without an operation of that name.
NO_OPERATION = {
    "aps:GetLabels", "aps:GetMetricMetadata", "aps:GetSeries", "aps:RemoteWrite", "elasticfilesystem:Client*", "elasticloadbalancing:SetWebAcl",
    "iam:PassRole", "sts:TagSession",
}
# What may be written everywhere: nothing in it belongs to a cluster.
ANYWHERE = {"iam:CreateServiceLinkedRole", "route53:ChangeResourceRecordSets"}
# Included policies that the shipped boundary does not allow: docs/how-to/workload-roles.md says what to add.
BEYOND_THE_BOUNDARY = {"Karpenter", "S3CSIDriver"}
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


def session(cluster: str = CLUSTER, region: str = REGION, asked: str = REGION, of: str = OBJECT) -> dict[str, str]:
    """What EKS Pod Identity and the tags of the role tell of the caller, and the region that it calls."""
    return {
        "aws:PrincipalTag/eks-cluster-name": cluster,
        "aws:PrincipalTag/eks-cluster-arn": f"arn:aws:eks:{region}:{ACCOUNT}:cluster/{cluster}",
        "aws:PrincipalTag/keelson.dev/cluster": of,
        "aws:PrincipalAccount": ACCOUNT,
        "aws:ResourceAccount": ACCOUNT,
        "aws:RequestedRegion": asked,
    }


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
        # One of the two checks of an association: the other is of the load balancer.
        unlimited |= writes <= {"wafv2:AssociateWebACL", "wafv2:DisassociateWebACL"} and "loadbalancer" not in where
        decrypts = writes == {"kms:Decrypt"} and "kms:ViaService" in where
        assert CLUSTER in where or unlimited or decrypts, (name, sorted(writes))


FOREIGN = [
    ("AWSLoadBalancerController", "elasticloadbalancing:DeleteLoadBalancer", f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/x/1",
     "elbv2.k8s.aws/cluster", "{}"),
    ("AWSLoadBalancerController", "ec2:AuthorizeSecurityGroupIngress", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1", "aws:eks:cluster-name", "{}"),
    *[
        ("AWSLoadBalancerController", action, f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/x/1", "elbv2.k8s.aws/cluster", "{}")
        for action in ("elasticloadbalancing:SetWebAcl", "wafv2:AssociateWebACL", "wafv2:DisassociateWebACL")
    ],
    ("ClusterAutoscaler", "autoscaling:TerminateInstanceInAutoScalingGroup", f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:x",
     "eks:cluster-name", "{}"),
    ("Karpenter", "ec2:TerminateInstances", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-1", "kubernetes.io/cluster/{}", "owned"),
]


# Tags that the resources have besides.
MARKS = {"Karpenter": {"karpenter.sh/nodepool": "default"}}


@pytest.mark.parametrize(("name", "action", "resource", "key", "value"), FOREIGN)
def test_resources_of_another_cluster_are_out_of_reach(name, action, resource, key, value):
    def allowed(cluster: str) -> bool:
        tags = {key.format(cluster): value.format(cluster), **MARKS.get(name, {})}
        return decide(Request(action, resource, session(), resource_tags=tags), included(name)).allowed

    assert allowed(CLUSTER) and not allowed("other")
    tags = {key.format(CLUSTER): value.format(CLUSTER), **MARKS.get(name, {})}
    elsewhere = Request(action, resource.replace(REGION, "eu-north-1"), session(), resource_tags=tags)
    assert not decide(elsewhere, included(name)).allowed, "a cluster of that name in another region"


def test_karpenter_reaches_neither_managed_nodes_nor_what_keelson_owns():
    def allowed(action: str, resource: str, request: dict[str, str], tags: dict[str, str], **context: str) -> bool:
        return decide(Request(action, resource, {**session(), **context}, request, tags), included("Karpenter")).allowed

    own = {f"kubernetes.io/cluster/{CLUSTER}": "owned", "eks:eks-cluster-name": CLUSTER}
    instance, template = (f"arn:aws:ec2:{REGION}:{ACCOUNT}:{one}" for one in ("instance/i-1", "launch-template/lt-1"))
    assert not allowed("ec2:TerminateInstances", instance, {}, own), "of a managed node group"
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{CLUSTER}"
    assert allowed("sqs:ReceiveMessage", queue, {}, {})
    assert not allowed("sqs:ReceiveMessage", queue, {}, {OWNER: "uid"}), "the queue of another cluster, whose name is this cluster's"
    created = {"ec2:CreateAction": "CreateLaunchTemplate"}
    assert allowed("ec2:CreateTags", template, own, {}, **created)
    assert not allowed("ec2:CreateTags", template, {**own, OWNER: "uid"}, {}, **created), "Keelson finds launch templates by that tag"


# A cluster of another owner in the account; IAM takes the two names for one in the key of a tag.
NEIGHBOUR = CLUSTER.capitalize()
POOL = {"karpenter.sh/nodepool": "default"}
PROFILE_TAGS = {"topology.kubernetes.io/region": REGION, "karpenter.k8s.aws/ec2nodeclass": "default"}


def ec2_arn(kind: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/x"


# What a controller may do, and the tags of what it acts on: those that name the cluster in their value, as the real controllers, EKS and eksctl set them.
BY_VALUE = [
    *[("Karpenter", action, ec2_arn(kind), {**POOL, key: "{}"}, "kubernetes.io/cluster/{}")
      for action, kind in (("ec2:TerminateInstances", "instance"), ("ec2:DeleteLaunchTemplate", "launch-template"), ("ec2:RunInstances", "launch-template"))
      for key in ("eks:eks-cluster-name", "karpenter.sh/managed-by")],
    *[("Karpenter", f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:instance-profile/x", {**PROFILE_TAGS, "eks:eks-cluster-name": "{}"}, "kubernetes.io/cluster/{}")
      for action in ("AddRoleToInstanceProfile", "DeleteInstanceProfile", "RemoveRoleFromInstanceProfile", "TagInstanceProfile")],
    *[("AWSLoadBalancerController", "ec2:AuthorizeSecurityGroupIngress", ec2_arn("security-group"), {key: "{}"}, "kubernetes.io/cluster/{}")
      for key in ("aws:eks:cluster-name", "elbv2.k8s.aws/cluster", "alpha.eksctl.io/cluster-name")],
    *[("ClusterAutoscaler", "autoscaling:SetDesiredCapacity", f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:x", {key: "{}"}, "k8s.io/cluster-autoscaler/{}")
      for key in ("eks:cluster-name", "alpha.eksctl.io/cluster-name")],
]


@pytest.mark.parametrize(("name", "action", "resource", "tags", "key"), BY_VALUE)
def test_cluster_whose_name_differs_only_in_case_is_out_of_reach(name, action, resource, tags, key):
    def allowed(cluster: str) -> bool:
        all_tags = {tag: value.format(cluster) for tag, value in tags.items()} | {key.format(cluster): "owned"}
        return decide(Request(action, resource, session(), resource_tags=all_tags), included(name)).allowed

    assert allowed(CLUSTER) and not allowed(NEIGHBOUR)


def test_karpenter_creates_and_tags_for_its_own_cluster_only():
    """Requests of Karpenter v1: GetTags, InstanceProfileTags and the tagging of NodeClaims."""

    def allowed(action: str, resource: str, request: dict[str, str], tags: dict[str, str] | None = None, **context: str) -> bool:
        return decide(Request(action, resource, {**session(), **context}, request, tags or {}), included("Karpenter")).allowed

    def static(cluster: str) -> dict[str, str]:
        return {f"kubernetes.io/cluster/{cluster}": "owned", "eks:eks-cluster-name": cluster, "karpenter.k8s.aws/ec2nodeclass": "default"}

    kinds = ("fleet", "instance", "launch-template", "network-interface", "spot-instances-request", "volume")
    profile = f"arn:aws:iam::{ACCOUNT}:instance-profile/x"
    for cluster, may in ((CLUSTER, True), (NEIGHBOUR, False)):
        own = static(cluster) | POOL
        for kind in kinds:
            assert allowed("ec2:CreateFleet", ec2_arn(kind), own) is may, kind
            assert allowed("ec2:CreateTags", ec2_arn(kind), own, **{"ec2:CreateAction": "CreateFleet"}) is may, kind
        assert allowed("iam:CreateInstanceProfile", profile, static(cluster) | PROFILE_TAGS) is may
        # An instance of Karpenter before v1 gets the tag with the name.
        before = {f"kubernetes.io/cluster/{cluster}": "owned", "karpenter.sh/managed-by": cluster} | POOL
        later = {"Name": "node", "karpenter.sh/nodeclaim": "default-x", "eks:eks-cluster-name": CLUSTER}
        assert allowed("ec2:CreateTags", ec2_arn("instance"), later, before) is may
        assert allowed("ec2:CreateTags", ec2_arn("instance"), later, own) is may
    own = static(CLUSTER)
    assert not allowed("ec2:CreateTags", ec2_arn("instance"), {"eks:eks-cluster-name": CLUSTER}, own), "of a managed node group"
    assert not allowed("ec2:CreateTags", ec2_arn("instance"), {"eks:eks-cluster-name": NEIGHBOUR}, own | POOL), "given away"


def stored(name: str, cluster: str = CLUSTER, of: str = OBJECT) -> list[Request]:
    caller = session(cluster, of=of)
    return [
        Request("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}", caller),
        Request("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}", caller),
    ]


@pytest.mark.parametrize(
    ("name", "may"),
    [(f"{OBJECT}/db", True), ("other/payments-prod/db", False), (f"{OBJECT}-2/db", False), ("shop/db", False), (f"{CLUSTER}/db", False), ("db", False)],
)
def test_secrets_of_another_cluster_are_out_of_reach(name, may):
    for request in stored(name):
        assert decide(request, included("ExternalSecrets"), BOUNDARY).allowed is may, request.action
        # Also where the author of a manifest writes the policy.
        assert decide(request, EVERYTHING, BOUNDARY).allowed is may, request.action


def test_name_of_a_cluster_opens_no_secret():
    """A tenant chooses the name of its cluster in EKS: that of another tenant's secrets, or of another's cluster in another region."""
    for request in (*stored("prod/db", "prod", "tenant/mine"), *stored(f"{OBJECT}/db", CLUSTER, f"tenant/{CLUSTER}"), *stored("shop/db", "shop", "tenant/x")):
        assert not decide(request, included("ExternalSecrets", "prod")).allowed, request
        assert not decide(request, EVERYTHING, BOUNDARY).allowed, request


@pytest.mark.parametrize(("name", "action", "resource", "key", "value"), [row for row in FOREIGN if row[0] != "Karpenter"])
def test_boundary_reaches_no_cluster_of_that_name_in_another_region(name, action, resource, key, value):
    def allowed(**of: str) -> bool:
        return decide(Request(action, resource, session(**of), resource_tags={key.format(CLUSTER): value.format(CLUSTER)}), EVERYTHING, BOUNDARY).allowed

    assert allowed() and not allowed(cluster="other") and not allowed(region="us-east-1")
    bare = {key: value for key, value in session().items() if key != "aws:PrincipalTag/eks-cluster-arn"}
    without_session_tags = Request(action, resource, bare, resource_tags={key.format(CLUSTER): value.format(CLUSTER)})
    assert not decide(without_session_tags, EVERYTHING, BOUNDARY).allowed


def test_tags_of_the_cluster_are_written_only_on_what_is_created():
    """Otherwise a request that names its own cluster would take over what belongs to others."""
    tags = {"elbv2.k8s.aws/cluster": CLUSTER}
    controller = included("AWSLoadBalancerController")
    for action, kind, create in [
        *[("ec2:CreateTags", kind, None) for kind in ("instance/i-1", "security-group/sg-1", "vpc/vpc-1", "launch-template/lt-1")],
        ("ec2:CreateTags", "instance/i-1", "CreateSecurityGroup"),
        ("ec2:CreateTags", "instance/i-1", "RunInstances"),
        ("elasticloadbalancing:AddTags", "loadbalancer/app/x/1", None),
        ("elasticloadbalancing:AddTags", "targetgroup/x/1", None),
        ("elasticloadbalancing:CreateListener", "loadbalancer/app/x/1", None),
        ("elasticloadbalancing:CreateRule", "listener/app/x/1/2", None),
        ("elasticloadbalancing:CreateTrustStore", "truststore/x/1", None),
    ]:
        service = action.partition(":")[0]
        context = {**session(), **({f"{service}:CreateAction": create} if create else {})}
        resource = f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}"
        for tagged in ({}, {"elbv2.k8s.aws/cluster": "other"}):
            request = Request(action, resource, context, request_tags=tags, resource_tags=tagged)
            assert not decide(request, EVERYTHING, BOUNDARY).allowed, (action, kind)
            assert not decide(request, controller).allowed, (action, kind)
    for action, kind, create in [
        ("ec2:CreateSecurityGroup", "security-group/sg-1", None),
        ("ec2:CreateTags", "security-group/sg-1", "CreateSecurityGroup"),
        ("elasticloadbalancing:CreateLoadBalancer", "loadbalancer/app/x/1", None),
        ("elasticloadbalancing:CreateTargetGroup", "targetgroup/x/1", None),
        ("elasticloadbalancing:AddTags", "listener/app/x/1/2", "CreateListener"),
    ]:
        service = action.partition(":")[0]
        context = {**session(), **({f"{service}:CreateAction": create} if create else {})}
        request = Request(action, f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind}", context, request_tags=tags)
        assert decide(request, controller, BOUNDARY).allowed, (action, kind)


def test_controller_gives_firewalls_to_load_balancers_and_protects_nothing_else():
    for action, resource in [
        ("wafv2:DisassociateWebACL", f"arn:aws:apigateway:{REGION}::/restapis/x/stages/prod"),
        ("wafv2:AssociateWebACL", f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/x"),
        ("shield:DeleteProtection", f"arn:aws:shield::{ACCOUNT}:protection/x"),
        ("shield:CreateProtection", f"arn:aws:shield::{ACCOUNT}:protection/x"),
    ]:
        assert not decide(Request(action, resource, session()), included("AWSLoadBalancerController")).allowed, (action, resource)
        assert not decide(Request(action, resource, session()), EVERYTHING, BOUNDARY).allowed, (action, resource)
    acl = Request("wafv2:AssociateWebACL", f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/x/1", session())
    assert decide(acl, included("AWSLoadBalancerController"), BOUNDARY).allowed


def test_karpenter_launches_images_of_amazon_and_passes_the_one_node_role():
    karpenter = included("Karpenter")
    for kind in ("image/ami-1", "snapshot/snap-1"):
        for owner, may in (("amazon", True), ("aws-marketplace", False), (ACCOUNT, False), ("210987654321", False)):
            request = Request("ec2:RunInstances", f"arn:aws:ec2:{REGION}::{kind}", {**session(), "ec2:Owner": owner})
            assert decide(request, karpenter).allowed is may, (kind, owner)
    for kind in ("capacity-reservation/cr-1", "placement-group/training"):
        for action in ("ec2:RunInstances", "ec2:CreateFleet"):
            assert not decide(Request(action, f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}", session()), karpenter).allowed, (action, kind)
    passed = {**session(), "iam:PassedToService": "ec2.amazonaws.com"}
    for role, may in [
        (NODE_ROLE, True),
        (f"team/{NODE_ROLE}", True),
        # The cluster of that name of another object, such as in another region, and what a tenant names its cluster for.
        (f"keelson-{CLUSTER}-ffffffff-node", False),
        (f"KarpenterNodeRole-{CLUSTER}", False),
    ]:
        assert decide(Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", passed), karpenter).allowed is may, role


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
        # Names that a tenant could give to its cluster.
        ("s3:GetObject", f"arn:aws:s3:::{CLUSTER}-state/prod"),
        ("s3:ListBucket", f"arn:aws:s3:::{CLUSTER}-state"),
        ("sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{CLUSTER}"),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/other/db"),
        # What hides what somebody did.
        ("logs:PutRetentionPolicy", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/eks/other/cluster"),
        ("logs:CreateLogAnomalyDetector", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:audit"),
        ("logs:CreateExportTask", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/eks/other/cluster"),
        ("xray:PutResourcePolicy", "*"),
        ("xray:PutEncryptionConfig", "*"),
        ("xray:GetTraceSummaries", "*"),
        ("organizations:ListAccounts", "*"),
    ]:
        assert not decide(Request(action, resource, session()), EVERYTHING, BOUNDARY).allowed, (action, resource)
    other = {**session(), "aws:ResourceAccount": "210987654321"}
    for name in ("theirs", "keelson", "admin"):
        assert not decide(Request("sts:AssumeRole", f"arn:aws:iam::210987654321:role/{name}", other), EVERYTHING, BOUNDARY).allowed, name


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem not in BEYOND_THE_BOUNDARY])
def test_boundary_allows_what_the_included_policies_allow(name):
    allowed = actions(BOUNDARY)
    patterns = [re.compile(action.replace("*", ".*")) for action in allowed]
    missing = [action for action in actions(included(name)) if not any(pattern.fullmatch(action) for pattern in patterns)]
    assert missing == []
    for statement in included(name):
        if "aws:ResourceTag/elbv2.k8s.aws/cluster" in statement.get("Condition", {}).get("StringEquals", {}):
            tags = {"elbv2.k8s.aws/cluster": CLUSTER}
            for action in actions([statement]):
                resource = f"arn:aws:{action.split(':')[0]}:{REGION}:{ACCOUNT}:security-group/x"
                if "loadbalancer/app" in statement["Resource"]:
                    resource = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/x/1"
                assert decide(Request(action, resource, session(), resource_tags=tags), [statement], BOUNDARY).allowed, action


def test_what_the_shipped_boundary_lacks_for_karpenter_is_documented():
    page = (CHECKOUT / "docs/how-to/workload-roles.md").read_text()
    allowed = [re.compile(action.replace("*", ".*")) for action in actions(BOUNDARY)]
    missing = {action for action in actions(included("Karpenter")) if not any(pattern.fullmatch(action) for pattern in allowed)}
    assert {"ec2:RunInstances", "ec2:CreateFleet", "iam:PassRole", "ec2:TerminateInstances"} <= missing
    assert [action for action in sorted(missing) if f"`{action}`" not in page] == []
