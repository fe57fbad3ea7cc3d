"""The policy evaluator of these tests makes the same decisions as IAM. (Needs no cloud.)"""

from __future__ import annotations

import pytest

from keelson_aws.policy_evaluator import Decision, Request, UnknownElement, arn_like, decide, holds, like

ALLOW = {"Sid": "Allow", "Effect": "Allow", "Action": "ec2:*", "Resource": "*"}


def test_default_is_deny():
    assert decide(Request("iam:GetRole"), [ALLOW]) == Decision(False)
    assert decide(Request("ec2:DescribeVpcs"), [ALLOW]) == Decision(True, ("Allow",))


def test_explicit_deny_overrides_allow():
    deny = {"Sid": "Deny", "Effect": "Deny", "NotAction": "ec2:Describe*", "Resource": "*"}
    assert decide(Request("ec2:DeleteVpc"), [deny, ALLOW]) == Decision(False, ("Deny",))
    assert decide(Request("ec2:DescribeVpcs"), [ALLOW, deny]).allowed


def test_condition_keys_are_case_insensitive_and_tag_keys_values_follow_the_condition_operator():
    by_tag = {**ALLOW, "Condition": {"Null": {"aws:ResourceTag/keelson.dev/owner": "false"}}}
    by_list = {**ALLOW, "Condition": {"ForAnyValue:StringLike": {"aws:TagKeys": "keelson.dev/*"}}}
    assert decide(Request("ec2:DeleteVpc", resource_tags={"Keelson.Dev/OWNER": "x"}), [by_tag]).allowed
    assert not decide(Request("ec2:CreateTags", request_tags={"Keelson.Dev/OWNER": "x"}), [by_list]).allowed
    with pytest.raises(ValueError, match="differ only in case"):
        decide(Request("ec2:DeleteVpc", resource_tags={"a": "1", "A": "2"}), [by_tag])


def test_boundary_must_allow_as_well():
    boundary = [{"Sid": "B", "Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*"}]
    assert decide(Request("ec2:DescribeVpcs"), [ALLOW], boundary).allowed
    assert decide(Request("ec2:DeleteVpc"), [ALLOW], boundary) == Decision(False, ("boundary",))


def test_actions_are_case_insensitive_and_resources_case_sensitive():
    statement = {**ALLOW, "Action": "EC2:deletevpc", "Resource": "arn:*:ec2:*:*:vpc/*"}
    assert decide(Request("ec2:DeleteVpc", "arn:aws:ec2:eu-west-1:1:vpc/vpc-1"), [statement]).allowed
    assert not decide(Request("ec2:DeleteVpc", "arn:aws:ec2:eu-west-1:1:VPC/vpc-1"), [statement]).allowed


def test_wildcards_match_slashes_and_arns_match_part_by_part():
    assert like("role/a/b", "role/*b") and not like("role/ab", "role/?") and like("a.c", "a.c") and not like("abc", "a.c")
    assert arn_like("arn:aws:iam::1:policy/a/b", "arn:*:iam::*:policy/*")
    assert not arn_like("arn:aws:iam::1:policy/a", "arn:*:policy/a")


@pytest.mark.parametrize(
    ("operator", "wanted", "keys", "expected"),
    [
        ("Null", {"k": "true"}, {}, True),
        ("Null", {"k": "false"}, {}, False),
        ("Null", {"k": "false"}, {"k": ["v"]}, True),
        ("StringEquals", {"K": ["a", "b"]}, {"k": ["b"]}, True),
        ("StringEquals", {"k": "A"}, {"k": ["a"]}, False),
        ("StringEquals", {"k": "a"}, {}, False),
        ("StringEqualsIfExists", {"k": "a"}, {}, True),
        ("StringNotEquals", {"k": ["a", "b"]}, {"k": ["b"]}, False),
        ("StringNotEquals", {"k": "a"}, {}, True),
        ("StringEqualsIgnoreCase", {"k": "A"}, {"k": ["a"]}, True),
        ("StringNotEqualsIgnoreCase", {"k": "A"}, {"k": ["a"]}, False),
        ("StringLike", {"k": "a*"}, {"k": ["abc"]}, True),
        ("StringLike", {"k": "a*"}, {"k": ["Abc"]}, False),
        ("ForAnyValue:StringEqualsIgnoreCase", {"k": ["x/1"]}, {"k": ["a", "X/1"]}, True),
        ("StringNotLike", {"k": "a*"}, {"k": ["abc"]}, False),
        ("ArnLike", {"k": "arn:aws:iam::*:role/x"}, {"k": ["arn:aws:iam::1:role/x"]}, True),
        ("ArnNotLike", {"k": "arn:aws:iam::*:role/x"}, {"k": ["arn:aws:iam::1:role/y"]}, True),
        ("Bool", {"k": "true"}, {"k": ["True"]}, True),
        ("ForAnyValue:StringLike", {"k": "x/*"}, {"k": ["a", "x/1"]}, True),
        ("ForAnyValue:StringLike", {"k": "x/*"}, {}, False),
        ("ForAllValues:StringEquals", {"k": ["a", "b"]}, {"k": ["a", "c"]}, False),
        ("ForAllValues:StringEquals", {"k": ["a", "b"]}, {}, True),
        # Every key of a condition must match.
        ("StringEquals", {"k": "a", "l": "b"}, {"k": ["a"], "l": ["c"]}, False),
    ],
)
def test_condition_matches_as_in_iam(operator, wanted, keys, expected):
    assert holds(operator, wanted, keys) is expected


def test_policy_variable_is_replaced_by_request_key_and_equals_nothing_without_it():
    wanted = {"aws:ResourceOrgID": "${aws:PrincipalOrgID}"}
    assert holds("StringEquals", wanted, {"aws:resourceorgid": ["o-1"], "aws:principalorgid": ["o-1"]})
    assert not holds("StringEquals", wanted, {"aws:resourceorgid": ["o-1"], "aws:principalorgid": ["o-2"]})
    assert not holds("StringEquals", wanted, {"aws:resourceorgid": ["o-1"]})


def test_policy_variable_in_a_resource_is_replaced_and_names_nothing_without_its_key():
    statement = {**ALLOW, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}/*"}
    tagged = {"aws:PrincipalTag/team": "a"}
    assert decide(Request("s3:GetObject", "arn:aws:s3:::a/x", tagged), [statement]).allowed
    assert not decide(Request("s3:GetObject", "arn:aws:s3:::b/x", tagged), [statement]).allowed
    assert not decide(Request("s3:GetObject", "arn:aws:s3:::a/x"), [statement]).allowed


def test_unknown_policy_element_is_an_error():
    with pytest.raises(UnknownElement):
        decide(Request("ec2:DeleteVpc"), [{**ALLOW, "NotPrincipal": "x"}])
    with pytest.raises(UnknownElement):
        decide(Request("ec2:DeleteVpc"), [{**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}])
