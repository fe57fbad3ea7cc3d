"""AwsAccount: values and edits."""

from . import Accepted, Refused, change, edit, wrong

BASE = {"accountId": "123456789012", "roleArn": "arn:aws:iam::123456789012:role/keelson"}

WRONG = [
    wrong("accountId", "1234", "12 digits"),
    wrong("accountId", 123456789012, "must be of type string"),
    wrong("roleArn", "keelson", "ARN of an IAM role"),
    wrong("roleArn", "arn:aws:iam::210987654321:role/keelson", "another account than accountId"),
    wrong("externalId", "two words", "as AssumeRole takes them"),
    Refused({"roleArn": None, "externalId": "fleet"}, "spec.externalId", "set roleArn"),
    wrong("allowedNamespaces", ["team-*"], "name of a namespace"),
    wrong("allowedNamespaces", ["a", "a"], "Duplicate value"),
    wrong("allowedRegions", ["Ireland"], "such as eu-west-1"),
    wrong("adoption", {"policy": "Sometimes"}, "Unsupported value"),
    wrong("adoption.clusterNames", ["legacy.*"], "name of an EKS cluster"),
    wrong("adoption.clusterNames", [], "should have at least 1 items"),
    wrong("adoption.namespaces", ["team-*"], "name of a namespace"),
    wrong("permissionsBoundaryArn", "boundary", "ARN of an IAM policy"),
    wrong("tags", {"keelson.dev/owner": "me"}, "choose another key"),
    wrong("tags", {"Team": "a", "team": "b"}, "which IAM takes for the same"),
]

IMMUTABLE = [
    edit("accountId", "123456789012", "210987654321", "make another AwsAccount"),
]

CHANGEABLE = [
    change("roleArn", None, "arn:aws-cn:iam::123456789012:role/path/other"),
    change("allowedNamespaces", None, ["*"]),
    change("allowedRegions", ["eu-west-1"], ["us-gov-west-1", "ap-southeast-4", "eusc-de-east-1"]),
    change("permissionsBoundaryArn", None, "arn:aws:iam::aws:policy/PowerUserAccess"),
    Accepted({"externalId": "6f1e2c0a-fleet"}),
    Accepted({"adoption": {"policy": "Allow", "clusterNames": ["legacy-*", "*"], "namespaces": ["team-payments"]}}),
]
