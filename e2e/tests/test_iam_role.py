"""deploy/iam: the operator's role, as a CloudFormation template and as a Terraform module. (Needs no cloud.)

The template is created in moto. `terraform validate` checks the module where Terraform and a mirror of the AWS provider are installed. They
are not everywhere, so the module is also parsed, and held against the provider's documented arguments.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import cfnlint.api
import hcl2
import pytest
from cfnlint.config import ManualArgs
from moto import mock_aws

from keelson_harness.paths import DEPLOY

FOLDER = DEPLOY / "iam"
TEMPLATE = FOLDER / "keelson-role.cfn.yaml"
MODULE = FOLDER / "keelson-role.tf"
ACCOUNT = "123456789012"
ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
OPERATOR = "arn:aws:iam::111122223333:role/keelson"
# The parameters of each trust, and its statement as docs/install.md explains it.
TRUSTS = {
    "pod identity": (
        {"Namespace": "platform"},
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {"aws:RequestTag/kubernetes-namespace": "platform", "aws:RequestTag/kubernetes-service-account": "keelson"}
            },
        },
    ),
    "IRSA": (
        {"OidcIssuer": ISSUER, "Namespace": "platform"},
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": "system:serviceaccount:platform:keelson"}
            },
        },
    ),
    "other account": (
        {"TrustedRoleArn": OPERATOR, "ExternalId": "6f1e2c0a-fleet"},
        {
            "Effect": "Allow",
            "Principal": {"AWS": OPERATOR},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "6f1e2c0a-fleet"}},
        },
    ),
}
REQUIRED = {
    "keelson": "iam-policy.json",
    "keelson-roles": "iam-policy-roles.json",
    "keelson-eks": "iam-policy-eks.json",
}
BOUNDARIES = {"keelson-boundary": "iam-boundary.json", "keelson-workload-boundary": "iam-workload-boundary.json"}
OPTIONAL = {
    "EventQueue": ("keelson-events", "iam-policy-events.json"),
    "Adoption": ("keelson-adoption", "iam-policy-adoption.json"),
    "WorkloadRoles": ("keelson-workloads", "iam-policy-workloads.json"),
    "Karpenter": ("keelson-karpenter", "iam-policy-karpenter.json"),
    "Doctor": ("keelson-doctor", "iam-policy-doctor.json"),
}


def policy(name: str) -> dict:
    return json.loads((DEPLOY / name).read_text())


# CloudFormation


def test_template_contains_the_current_policies():
    subprocess.run([sys.executable, FOLDER / "generate.py", "--check"], check=True)


def test_template_is_valid_for_cloudformation():
    assert mistakes(TEMPLATE.read_text()) == []
    # What `aws cloudformation deploy` sends without a bucket.
    assert TEMPLATE.stat().st_size < 51_200


def test_linter_finds_a_mistake():
    assert mistakes(TEMPLATE.read_text().replace("Roles: [!Ref Role]", "Roles: [!Ref Rloe]"))


def mistakes(template: str) -> list[str]:
    return [str(match) for match in cfnlint.api.lint(template, config=ManualArgs(regions=["eu-west-1"]))]


class Stack:
    """The template in moto: the role's trust, and the policies of the account by name."""

    def __init__(self, parameters: dict[str, str]):
        with mock_aws():
            region = {"region_name": "eu-west-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
            cloudformation, iam = boto3.client("cloudformation", **region), boto3.client("iam", **region)
            cloudformation.create_stack(
                StackName="keelson-role",
                TemplateBody=TEMPLATE.read_text(),
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            )
            [stack] = cloudformation.describe_stacks(StackName="keelson-role")["Stacks"]
            self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
            self.trust = iam.get_role(RoleName="keelson")["Role"]["AssumeRolePolicyDocument"]
            attached = iam.list_attached_role_policies(RoleName="keelson")["AttachedPolicies"]
            self.attached = {entry["PolicyName"] for entry in attached}
            self.policies = {}
            for entry in iam.list_policies(Scope="Local")["Policies"]:
                version = iam.get_policy_version(PolicyArn=entry["Arn"], VersionId=entry["DefaultVersionId"])
                self.policies[entry["PolicyName"]] = version["PolicyVersion"]["Document"]


@pytest.mark.parametrize("name", TRUSTS)
def test_stack_creates_the_role_with_its_trust_and_policies(name):
    parameters, statement = TRUSTS[name]
    stack = Stack(parameters)
    assert stack.trust == {"Version": "2012-10-17", "Statement": [statement]}
    assert stack.attached == REQUIRED.keys()
    files = {**REQUIRED, **BOUNDARIES}
    assert stack.policies == {name: policy(file) for name, file in files.items()}
    assert stack.outputs == {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/keelson",
        "BoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/keelson-boundary",
        "WorkloadBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/keelson-workload-boundary",
    }


@pytest.mark.parametrize("parameter", OPTIONAL)
def test_parameter_attaches_another_policy(parameter):
    name, file = OPTIONAL[parameter]
    stack = Stack({parameter: "true"})
    assert stack.attached == {*REQUIRED, name}
    assert stack.policies[name] == policy(file)


# Terraform

# What the AWS provider's documentation lists (5.30): required arguments, optional ones, and further attributes.
PROVIDER = {
    "aws_iam_policy": (["policy"], ["description", "name", "name_prefix", "path", "tags"], ["arn", "id", "policy_id"]),
    "aws_iam_role": (
        ["assume_role_policy"],
        ["description", "force_detach_policies", "max_session_duration", "name", "path", "permissions_boundary", "tags"],
        ["arn", "id", "unique_id"],
    ),
    "aws_iam_role_policy_attachment": (["role", "policy_arn"], [], []),
    "aws_eks_pod_identity_association": (
        ["cluster_name", "namespace", "role_arn", "service_account"], ["tags"], ["association_arn", "association_id"]
    ),
    "data.aws_caller_identity": ([], [], ["account_id", "arn", "id", "user_id"]),
    "data.aws_partition": ([], [], ["dns_suffix", "id", "partition"]),
}
# Of Terraform itself.
META = {"for_each", "count", "depends_on", "lifecycle", "provider", "__is_block__", "__comments__"}


def module() -> dict:
    return hcl2.loads(MODULE.read_text())


def named(kind: str) -> dict[str, dict]:
    return {name.strip('"'): body for block in module()[kind] for name, body in block.items() if name.startswith('"')}


def test_module_uses_exactly_its_variables():
    used = set(re.findall(r"\bvar\.(\w+)", MODULE.read_text()))
    assert used == named("variable").keys()
    # The parameters of the template.
    parameters = re.findall(r"^  (\w+):\n    Type: String$", TEMPLATE.read_text(), re.MULTILINE)
    assert {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for name in parameters} == used


def test_references_of_the_module_exist():
    text = MODULE.read_text()
    (block,) = module()["locals"]
    assert set(re.findall(r"\blocal\.(\w+)", text)) == block.keys() - {"__is_block__"}
    resources = {f"{kind.strip(chr(34))}.{name.strip(chr(34))}" for entry in module()["resource"] for kind, body in entry.items() for name in body}
    assert set(re.findall(r"\b(aws_\w+\.\w+)(?:\.|\n)", re.sub(r"data\.\S+", "", text))) <= resources


def blocks(of_module: dict) -> Iterator[tuple[str, str, dict]]:
    """Kind, name and body of each resource and data source."""
    for prefix, key in (("", "resource"), ("data.", "data")):
        for entry in of_module[key]:
            for kind, named_blocks in entry.items():
                for called, body in named_blocks.items():
                    yield prefix + kind.strip('"'), called.strip('"'), body


def wrong_arguments(text: str) -> list[str]:
    """Arguments of resources that the provider does not have, or that are missing; attributes that it does not have."""
    wrong = []
    for kind, called, body in blocks(hcl2.loads(text)):
        required, optional, _ = PROVIDER[kind]
        given = body.keys() - META
        wrong += [f"{kind}.{called} has no argument {one}" for one in sorted(given - {*required, *optional})]
        wrong += [f"{kind}.{called} needs {one}" for one in required if one not in given]
    # `for_each` makes a collection, whose members have the attributes.
    for kind, attribute in re.findall(r"\b((?:data\.)?aws_\w+)\.\w+\.(\w+)", text):
        if not any(attribute in names for names in PROVIDER[kind]):
            wrong.append(f"{kind} has no attribute {attribute}")
    return wrong


def test_module_uses_arguments_and_attributes_of_the_provider():
    assert wrong_arguments(MODULE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("service_account =", "serviceaccount =", ["has no argument serviceaccount", "needs service_account"]),
        ("aws_iam_role.operator.arn", "aws_iam_role.operator.arns", ["has no attribute arns"]),
        ("current.account_id", "current.account", ["data.aws_caller_identity has no attribute account"]),
    ],
)
def test_argument_that_the_provider_does_not_have_is_found(old, new, expected):
    text = MODULE.read_text()
    assert old in text
    found = wrong_arguments(text.replace(old, new, 1))
    assert [message for message, part in zip(found, expected, strict=True) if part not in message] == [], found


# A mirror of providers in Terraform's own layout, as `terraform providers mirror` writes it: no registry is asked.
MIRROR = Path(os.environ.get("KEELSON_TERRAFORM_MIRROR", "/opt/tf-plugins"))
PROVIDER_FOLDER = MIRROR / "registry.terraform.io" / "hashicorp" / "aws"
needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None or not PROVIDER_FOLDER.is_dir(),
    reason=f"`terraform validate` needs terraform in PATH and the provider hashicorp/aws in {MIRROR} (or KEELSON_TERRAFORM_MIRROR)",
)


def validated(directory: Path, module_text: str) -> dict:
    """What `terraform validate -json` says about a configuration that uses that module as README.md does. Writes to `directory` only."""
    shutil.copytree(FOLDER, directory / "deploy" / "iam")
    for path in DEPLOY.glob("iam-*.json"):
        shutil.copy(path, directory / "deploy")
    (directory / "deploy" / "iam" / MODULE.name).write_text(module_text)
    (usage,) = re.findall(r"^```hcl\n(.*?)^```$", (FOLDER / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    usage, replaced = re.subn(r'"git::[^"]+"', '"./deploy/iam"', usage)
    assert replaced == 1
    (directory / "main.tf").write_text(f'provider "aws" {{\n  region = "eu-west-1"\n}}\n\n{usage}')
    settings = directory / "terraform.rc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}

    def terraform(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["terraform", *arguments], cwd=directory, env=env, capture_output=True, text=True, timeout=120, check=False)

    prepared = terraform("init", "-backend=false", "-input=false", "-no-color")
    assert prepared.returncode == 0, prepared.stderr
    return json.loads(terraform("validate", "-json").stdout)


@needs_terraform
def test_module_is_valid_for_terraform(tmp_path):
    report = validated(tmp_path, MODULE.read_text())
    assert report["valid"] and report["diagnostics"] == [], report


@needs_terraform
def test_terraform_finds_a_mistake_in_the_module(tmp_path):
    report = validated(tmp_path, MODULE.read_text().replace("service_account =", "serviceaccount =", 1))
    assert not report["valid"]
    assert {found["summary"] for found in report["diagnostics"]} == {"Missing required argument", "Unsupported argument"}
    assert {found["range"]["filename"] for found in report["diagnostics"]} == {f"deploy/iam/{MODULE.name}"}


def test_module_attaches_the_policies_of_the_template():
    (block,) = module()["locals"]
    files = dict(re.findall(r'"(keelson[\w-]*)" += "([\w.-]+)"', block["policies"]))
    assert files == REQUIRED | dict(OPTIONAL.values())
    for parameter, (name, _) in OPTIONAL.items():
        variable = re.sub(r"(?<!^)([A-Z])", r"_\1", parameter).lower()
        assert f'var.{variable} ? {{"{name}" =' in block["policies"]


@pytest.mark.parametrize(("name", "local"), [("pod identity", "trust_pod_identity"), ("IRSA", "trust_irsa"), ("other account", "trust_role")])
def test_trust_of_the_module_is_that_of_the_template(name, local):
    (block,) = module()["locals"]
    parameters, statement = TRUSTS[name]
    values = {
        "var.oidc_issuer": parameters.get("OidcIssuer"),
        "var.trusted_role_arn": parameters.get("TrustedRoleArn"),
        "var.external_id": parameters.get("ExternalId"),
        "var.namespace": parameters.get("Namespace"),
        "data.aws_partition.current.partition": "aws",
        "data.aws_caller_identity.current.account_id": ACCOUNT,
    }
    assert evaluated(block[local], values) == {"Version": "2012-10-17", "Statement": [statement]}


def evaluated(expression: str, values: dict[str, str]) -> dict:
    """`${jsonencode({...})}` with those values."""
    text = re.fullmatch(r"\$\{jsonencode\((.*)\)\}", expression)[1]
    for reference, value in values.items():
        text = text.replace(f"${{{reference}}}", str(value)).replace(reference, json.dumps(value))
    text = re.sub(r"([{ ])(\w+) += ", r'\1"\2" = ', text)
    return json.loads(re.sub(r'" += ', '": ', text))
