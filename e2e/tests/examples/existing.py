"""What a manifest names and somebody else created: made in the emulator, so that the manifest works there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from fleet.account import Account
from fleet.manifests import secret

SERVICES = ["eks.amazonaws.com", "capabilities.eks.amazonaws.com", "eks-fargate-pods.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com", "vpc-flow-logs.amazonaws.com"]
POLICIES = ["AdministratorAccess", "AmazonEKSClusterPolicy", "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"]
ID = re.compile(r"\b(vpc|subnet|sg|lt|ami|eipalloc)-[0-9a-f]+\b")
KEY = re.compile(r"arn:aws:kms:[\w-]+:\d+:key/[\w-]+")
ROLE = re.compile(r"arn:aws:iam::\d+:role/([\w-]+)(?![\w*-])")
POLICY = re.compile(r"arn:aws:iam::\d+:policy/([\w-]+)(?![\w*-])")
BUCKET = re.compile(r"arn:aws:s3:::([\w-]+)")


class Existing:
    """The resources that one file names."""

    def __init__(self, account: Account, label: str):
        self.account, self.label = account, label
        self.made: dict[str, str] = {}
        self.subnets: list[str] = []

    def replaced(self, text: str) -> str:
        """The text with the ids that AWS chose. Makes what has an id or an ARN."""
        for role in sorted(set(ROLE.findall(text))):
            self.role(role)
        for policy in sorted(set(POLICY.findall(text))):
            self.policy(policy)
        for bucket in sorted(set(BUCKET.findall(text))):
            where = {"LocationConstraint": self.account.region}
            self.account.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        for written in sorted({match[0] for match in ID.finditer(text)}):
            self.made[written] = self.resource(written)
        for written in sorted(set(KEY.findall(text))):
            self.made[written] = self.key()
        longest_first = sorted(self.made, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda match: self.made[match[0]], text) if longest_first else text

    def role(self, name: str) -> None:
        trust = {"Effect": "Allow", "Principal": {"Service": SERVICES, "AWS": f"arn:aws:iam::{self.account.id}:root"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
        iam = self.account.iam
        if name in {role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]}:
            return
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
        for policy in POLICIES:
            iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")

    def policy(self, name: str) -> None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        self.account.iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))

    def key(self) -> str:
        """A KMS key that Auto Scaling may use for volumes, too (docs/how-to/node-launch-template.md)."""
        root = f"arn:aws:iam::{self.account.id}:root"
        scaling = f"arn:aws:iam::{self.account.id}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
        allowed = {"Effect": "Allow", "Principal": {"AWS": [root, scaling]}, "Action": "kms:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        return self.account.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]

    def resource(self, written: str) -> str:
        """The id of a new resource of that kind. All are in one VPC."""
        ec2 = self.account.ec2
        match written.partition("-")[0]:
            case "lt":
                template = ec2.create_launch_template(LaunchTemplateName=f"{self.label}-{written}", LaunchTemplateData={"EbsOptimized": True})
                found = template["LaunchTemplate"]["LaunchTemplateId"]
                # The version that a manifest names.
                for _ in range(2):
                    ec2.create_launch_template_version(LaunchTemplateId=found, LaunchTemplateData={"EbsOptimized": True})
                return found
            case "ami":
                return ec2.register_image(Name=f"{self.label}-{written}", Architecture="x86_64", RootDeviceName="/dev/xvda")["ImageId"]
            case "eipalloc":
                return ec2.allocate_address(Domain="vpc")["AllocationId"]
            case "subnet":
                return self.network()[sum(one.startswith("subnet-") for one in self.made)]
            case "sg":
                return ec2.create_security_group(GroupName=f"{self.label}-{written}", Description="of others", VpcId=self.vpc())["GroupId"]
            case _:
                return self.vpc()

    def network(self) -> list[str]:
        self.subnets = self.subnets or self.account.network()
        return self.subnets

    def vpc(self) -> str:
        return self.account.ec2.describe_subnets(SubnetIds=self.network()[:1])["Subnets"][0]["VpcId"]


# The Secrets of spec.gitops


# By use: the type, and the keys of every form that a source accepts.
CONTENTS = {
    "git": ("Opaque", {"username": "git", "password": "p", "identity": "key", "known_hosts": "github.com ssh-ed25519 AAAA"}),
    "registry": ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": json.dumps({"auths": {"ghcr.io": {"auth": "YTpi"}}})}),
    "proxy": ("Opaque", {"address": "http://proxy.acme.example:3128"}),
    "decryption": ("Opaque", {"age.agekey": "AGE-SECRET-KEY-1"}),
    "verification": ("Opaque", {"cosign.pub": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "authors.asc": "key"}),
}
USES = {"imagePullSecretRef": "registry", "proxySecretRef": "proxy", "decryption": "decryption", "verify": "verification", "git": "git", "oci": "registry"}


def roles(item: dict) -> Iterator[dict]:
    """What lets the operator write the Secret that an EksCluster names: docs/how-to/cluster-access.md."""
    if not (reference := item["spec"].get("writeKubeconfigToSecretRef")):
        return
    api, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    metadata = {"name": f"keelson-{reference['name']}", "namespace": item["metadata"]["namespace"]}
    verbs = ["get", "create", "patch", "delete"]
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [reference["name"]], "verbs": verbs}
    yield {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": [rule]}
    subject = {"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}
    role = {"apiGroup": group, "kind": "Role", "name": metadata["name"]}
    yield {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}


def secrets(item: dict) -> Iterator[dict]:
    """The Secrets that an EksCluster names, labelled with their use."""

    def references(value: object, path: tuple[str, ...]) -> Iterator[dict]:
        if not isinstance(value, dict):
            return
        for key, inner in value.items():
            if key.endswith("ecretRef"):
                use = USES.get(key) or USES[path[-1]]
                kind, data = CONTENTS[use]
                yield {**secret(inner["name"], item["metadata"]["namespace"], use, **data), "type": kind}
            else:
                yield from references(inner, (*path, key))

    yield from references(item["spec"].get("gitops", {}), ())
