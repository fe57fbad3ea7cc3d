"""Compares deploy/iam-policy*.json with the source: they allow every action that the code names, and no others. (Needs no cloud:
test_iam_policy.py compares them with the actual calls.)"""

import json
import re

from fleet.policy import (
    BOUNDARY,
    CHECKED_BY_AWS,
    POLICIES,
    STATEMENTS,
    TAG_PROTECTION,
    WORKLOAD_BOUNDARY,
    actions,
    allowed,
    permission,
    statements_of,
)
from keelson_harness.paths import CHECKOUT

# The size limit of a managed policy in IAM, without white space.
MAX_POLICY_CHARACTERS = 6144
# `keelson import` uses the user's credentials.
IMPORT_SOURCE = "src/resources/inventory/"
# `all_pages!(aws, name, "ListAddons", ...)`
PAGES = re.compile(r'\ball_pages!\(\s*[\w.&]+,\s*[\w.&]+,\s*"(\w+)"')
CALL = re.compile(r'\bcall\(\s*(?:Service::)?(AutoScaling|Ec2|Eks|Events|Iam|Kms|Logs|ServiceQuotas|Sqs|Ssm|Sts),\s*"(\w+)"')


def actions_in_code() -> set[str]:
    found = set()
    for folder in ("resources", "aws"):
        for path in (CHECKOUT / "src" / folder).rglob("*.rs"):
            relative_path = str(path.relative_to(CHECKOUT))
            if "tests" in relative_path or relative_path.startswith(IMPORT_SOURCE):
                continue
            code = re.split(r"#\[cfg\(test\)\]\s*(?:#\[path[^\]]*\]\s*)?mod ", path.read_text())[0]
            code = "\n".join(line for line in code.splitlines() if not line.strip().startswith("//"))
            # An action's name may be a constant of its file.
            for constant, value in re.findall(r'const (\w+): &str = "(\w+)"', code):
                code = re.sub(rf"\b{constant}\b(?!:)", f'"{value}"', code)
            found |= {permission(f"{service.lower()}:{action}") for service, action in CALL.findall(code)}
            found |= {permission(f"eks:{action}") for action in PAGES.findall(code)}
    return found


def test_policies_allow_exactly_the_actions_in_the_code():
    assert actions_in_code() - allowed() == set(), "called and not allowed"
    assert allowed() - actions_in_code() == set(), "allowed and never called"


def test_actions_checked_by_aws_are_in_separate_statements():
    for statement in STATEMENTS:
        if statement["Sid"].startswith(CHECKED_BY_AWS):
            assert not actions(statement) & actions_in_code(), statement["Sid"]


def test_policies_are_within_iam_limits():
    # Four for clusters, as one would be too large; those for adoption, `keelson doctor`, Karpenter and the event queue are optional.
    assert [policy.name.removesuffix(".json") for policy in POLICIES] == [
        "iam-policy-adoption", "iam-policy-doctor", "iam-policy-eks", "iam-policy-events", "iam-policy-karpenter", "iam-policy-roles",
        "iam-policy-workloads", "iam-policy",
    ]
    for policy in (*POLICIES, BOUNDARY, WORKLOAD_BOUNDARY):
        assert len(re.sub(r"\s", "", policy.read_text())) <= MAX_POLICY_CHARACTERS, policy.name
        sids = [statement["Sid"] for statement in statements_of(policy)]
        assert len(sids) == len(set(sids))
        assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)


def test_tag_protection_scp_is_within_organizations_limit():
    # https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
    assert len(re.sub(r"\s", "", TAG_PROTECTION.read_text())) <= 5120


def test_every_ec2_and_eks_write_has_a_tag_condition():
    for statement in STATEMENTS:
        writes = [
            action
            for action in actions(statement)
            if action.startswith(("ec2:", "eks:")) and not re.match(r"\w+:(Describe|List)", action)
        ]
        if writes:
            keys = json.dumps(statement.get("Condition", {}))
            # A launch also needs the launch template, whose own statement has a tag condition.
            assert any(key in keys for key in ("Tag/", "ec2:CreateAction", "ec2:LaunchTemplate")), (statement["Sid"], writes)
