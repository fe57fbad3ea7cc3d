"""deploy/event-queue: CloudFormation accepts both templates, and they select the events that the operator acts on. (Needs no cloud.)"""

import re
from pathlib import Path

import pytest
import yaml

from keelson_harness.paths import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "event-queue"
TEMPLATES = sorted(FOLDER.glob("*.yaml"))


class Loader(yaml.SafeLoader):
    """Parses CloudFormation's short forms."""


def short_form(loader: Loader, suffix: str, node: yaml.Node) -> dict:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    return {suffix: loader.construct_sequence(node, deep=True)}


Loader.add_multi_constructor("!", short_form)


def template(path: Path) -> dict:
    return yaml.load(path.read_text(), Loader)  # noqa: S506


def patterns(path: Path) -> list[dict]:
    rules = [r for r in template(path)["Resources"].values() if r["Type"] == "AWS::Events::Rule"]
    return [rule["Properties"]["EventPattern"] for rule in rules]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_is_valid_for_cloudformation(path):
    text = path.read_text()
    assert "&" not in text and "<<:" not in text, "CloudFormation supports no aliases"
    found = template(path)
    for name in re.findall(r"!Ref (\w+)|!GetAtt (\w+)", text):
        one = "".join(name)
        assert one in found["Resources"] or one in found["Parameters"] or one == "AWS", one
    for pattern in patterns(path):
        assert pattern["source"] == ["aws.eks", "aws.ec2", "aws.iam"]
        assert pattern["detail-type"] == ["AWS API Call via CloudTrail"]


def test_excluded_events_are_equal_in_all_rules_and_never_relevant_to_the_operator():
    excluded = [pattern["detail"]["eventName"][0]["anything-but"] for path in TEMPLATES for pattern in patterns(path) if "detail" in pattern]
    assert len(excluded) == 2 and excluded[0] == excluded[1]
    resources = "".join(path.read_text() for path in (CHECKOUT / "src" / "resources").rglob("*.rs"))
    used = set(re.findall(r'"((?:Create|Delete|Modify|Attach|Detach)\w+)"', resources))
    # Interfaces and volumes are listed only during a deletion, not compared before.
    assert used & set(excluded[0]) == {"DeleteNetworkInterface", "DeleteVolume"}


def test_only_eventbridge_rules_of_the_stack_may_send_to_the_queue():
    """Not even a principal whose own policies allow it: the Deny applies to every request not made by such a rule."""
    statements = template(FOLDER / "queue.yaml")["Resources"]["QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    rules = [{"GetAtt": "Rule.Arn"}, {"GetAtt": "RuleOfOthers.Arn"}]
    allows = [s for s in statements if s["Effect"] == "Allow"]
    assert [s["Principal"] for s in allows] == [{"Service": "events.amazonaws.com"}]
    assert allows[0]["Condition"]["ArnEquals"] == {"aws:SourceArn": rules} and "aws:SourceAccount" in allows[0]["Condition"]["StringEquals"]
    (denies,) = [s for s in statements if s["Effect"] == "Deny" and s["Action"] == "sqs:SendMessage"]
    assert denies["Principal"] == "*" and denies["Condition"] == {"ArnNotEquals": {"aws:SourceArn": rules}}


def test_only_accounts_of_the_organization_may_put_events_on_the_bus():
    policy = template(FOLDER / "queue.yaml")["Resources"]["BusPolicy"]
    assert policy["Condition"] == "HasOrganization", "without an organization, no other account may"
    condition = policy["Properties"]["Statement"]["Condition"]
    assert condition == {"StringEquals": {"aws:PrincipalOrgID": {"Ref": "OrganizationId"}}}
