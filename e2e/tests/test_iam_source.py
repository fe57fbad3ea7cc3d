"""deploy/iam-policy*.json against the source: every action that the code names, and no other. (Needs no cloud:
test_iam_policy.py holds it against what was really called.)"""

import json
import re

from fleet.policy import BOUNDARY, CHECKED_BY_AWS, POLICIES, STATEMENTS, TAG_PROTECTION, actions, allowed, permission, statements_of
from keelson_harness.paths import CHECKOUT

# IAM takes no larger managed policy; white space does not count.
LARGEST = 6144
# `keelson import` reads with the credentials of whoever runs it.
READ_BY_PEOPLE = "src/resources/inventory/"
# `all_pages!(aws, name, "ListAddons", ...)`
PAGES = re.compile(r'\ball_pages!\(\s*[\w.&]+,\s*[\w.&]+,\s*"(\w+)"')
CALL = re.compile(r'\bcall\(\s*(?:Service::)?(Ec2|Eks|Iam|Sqs|Ssm|Sts),\s*"(\w+)"')


def called() -> set[str]:
    found = set()
    for folder in ("resources", "aws"):
        for path in (CHECKOUT / "src" / folder).rglob("*.rs"):
            place = str(path.relative_to(CHECKOUT))
            if "tests" in place or place.startswith(READ_BY_PEOPLE):
                continue
            code = re.split(r"#\[cfg\(test\)\]\s*(?:#\[path[^\]]*\]\s*)?mod ", path.read_text())[0]
            code = "\n".join(line for line in code.splitlines() if not line.strip().startswith("//"))
            # An action's name may stand in a constant of its file.
            for constant, value in re.findall(r'const (\w+): &str = "(\w+)"', code):
                code = re.sub(rf"\b{constant}\b(?!:)", f'"{value}"', code)
            found |= {permission(f"{service.lower()}:{action}") for service, action in CALL.findall(code)}
            found |= {permission(f"eks:{action}") for action in PAGES.findall(code)}
    return found


def test_the_policy_allows_what_the_code_calls_and_no_more():
    assert called() - allowed() == set(), "called and not allowed"
    assert allowed() - called() == set(), "allowed and never called"


def test_what_aws_checks_for_us_is_kept_apart():
    for statement in STATEMENTS:
        if statement["Sid"].startswith(CHECKED_BY_AWS):
            assert not actions(statement) & called(), statement["Sid"]


def test_iam_takes_them():
    # Three for clusters, as one would be too large; that of taking over and that of the event queue, which not everybody needs.
    assert [policy.name.removesuffix(".json") for policy in POLICIES] == [
        "iam-policy-adoption", "iam-policy-eks", "iam-policy-events", "iam-policy-roles", "iam-policy",
    ]
    for policy in (*POLICIES, BOUNDARY):
        assert len(re.sub(r"\s", "", policy.read_text())) <= LARGEST, policy.name
        sids = [statement["Sid"] for statement in statements_of(policy)]
        assert len(sids) == len(set(sids))
        assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)


def test_the_organization_takes_the_protection_of_tags():
    # https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
    assert len(re.sub(r"\s", "", TAG_PROTECTION.read_text())) <= 5120


def test_nothing_is_written_in_ec2_or_eks_without_a_condition_on_tags():
    for statement in STATEMENTS:
        writes = [
            action
            for action in actions(statement)
            if action.startswith(("ec2:", "eks:")) and not re.match(r"\w+:(Describe|List)", action)
        ]
        if writes:
            keys = json.dumps(statement.get("Condition", {}))
            assert "Tag/" in keys or "ec2:CreateAction" in keys, (statement["Sid"], writes)
