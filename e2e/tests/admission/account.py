"""AwsAccount: values and edits."""

from . import Accepted, Rejected, change, edit, invalid

BASE = {"accountId": "123456789012", "roleArn": "arn:aws:iam::123456789012:role/keelson"}

INVALID = [
    invalid("accountId", "1234", "12 digits"),
    invalid("accountId", 123456789012, "must be of type string"),
    invalid("roleArn", "keelson", "ARN of an IAM role"),
    invalid("roleArn", "arn:aws:iam::210987654321:role/keelson", "another account than accountId"),
    invalid("externalId", "two words", "as AssumeRole takes them"),
    Rejected({"roleArn": None, "externalId": "fleet"}, "spec.externalId", "set roleArn"),
    invalid("allowedNamespaces", ["team-*"], "name of a namespace"),
    invalid("allowedNamespaces", ["a", "a"], "Duplicate value"),
    invalid("allowedRegions", ["Ireland"], "such as eu-west-1"),
    invalid("adoption", {"policy": "Sometimes"}, "Unsupported value"),
    invalid("adoption.clusterNames", ["legacy.*"], "name of an EKS cluster"),
    invalid("adoption.clusterNames", [], "should have at least 1 items"),
    invalid("adoption.namespaces", ["team-*"], "name of a namespace"),
    invalid("permissionsBoundaryArn", "boundary", "ARN of an IAM policy"),
    invalid("allowedRoleArns", ["keelson-*"], "ARN of an IAM role"),
    invalid("allowedRoleArns", ["arn:aws:iam::123456789012:policy/x"], "ARN of an IAM role"),
    invalid("allowedPolicyArns", ["AdministratorAccess"], "ARN of an IAM policy"),
    invalid("allowedVpcIds", ["10.0.0.0/16"], "id of a VPC"),
    invalid("allowedSecurityGroupIds", ["default"], "id of a security group"),
    invalid("allowedKmsKeyArns", ["arn:aws:kms:eu-west-1:123456789012:alias/x"], "ARN of a KMS key"),
    invalid("allowedLaunchTemplateIds", ["web"], "id of a launch template"),
    invalid("allowedImageOwners", ["self"], "amazon, aws-marketplace or the id of an account"),
    invalid("allowedImageOwners", ["1234"], "amazon, aws-marketplace or the id of an account"),
    invalid("allowedImageIds", ["golden-*"], "id of an AMI"),
    invalid("allowedCapacityReservationIds", ["training"], "id of a capacity reservation"),
    invalid("allowedPlacementGroups", ["näher"], "name of a placement group"),
    invalid("allowedElasticIpAllocationIds", ["203.0.113.1"], "allocation id of an Elastic IP address"),
    invalid("rolePath", "keelson", "begins and ends with /"),
    invalid("enforcedTags", {"keelson.dev/cluster": "team/x"}, "choose another key"),
    invalid("enforcedTags", {"Team": "a", "team": "b"}, "differ only in case"),
    invalid("tags", {"keelson.dev/owner": "me"}, "choose another key"),
    invalid("tags", {"Team": "a", "team": "b"}, "differ only in case"),
]

IMMUTABLE = [
    edit("accountId", "123456789012", "210987654321", "create another AwsAccount"),
]

CHANGEABLE = [
    change("roleArn", None, "arn:aws-cn:iam::123456789012:role/path/other"),
    change("allowedNamespaces", None, ["*"]),
    change("allowedRegions", ["eu-west-1"], ["us-gov-west-1", "ap-southeast-4", "eusc-de-east-1"]),
    change("permissionsBoundaryArn", None, "arn:aws:iam::aws:policy/PowerUserAccess"),
    change("allowedRoleArns", ["*"], ["arn:aws:iam::123456789012:role/team-*", "arn:*:iam::*:role/a/b"]),
    change("allowedPolicyArns", None, ["arn:aws:iam::aws:policy/*", "arn:aws:iam::123456789012:policy/team/x"]),
    change("allowedVpcIds", None, ["vpc-0123456789abcdef0", "vpc-0a*"]),
    change("allowedSecurityGroupIds", ["sg-1"], ["*"]),
    change("allowedKmsKeyArns", None, ["arn:aws:kms:*:123456789012:key/*"]),
    change("allowedLaunchTemplateIds", None, ["lt-0123"]),
    change("allowedImageOwners", ["amazon"], ["aws-marketplace", "099720109477"]),
    change("allowedImageOwners", None, []),
    change("allowedImageIds", ["ami-0123456789abcdef0"], ["ami-0a*", "*"]),
    change("allowedCapacityReservationIds", None, ["cr-0123456789abcdef0", "cr-0a*"]),
    change("allowedPlacementGroups", None, ["training *"]),
    change("allowedElasticIpAllocationIds", None, ["eipalloc-0123"]),
    change("rolePath", None, "/team/keelson/"),
    change("enforcedTags", {"cost-center": "1"}, {"cost-center": "2"}),
    Accepted({"externalId": "6f1e2c0a-fleet"}),
    Accepted({"adoption": {"policy": "Allow", "clusterNames": ["legacy-*", "*"], "namespaces": ["team-payments"]}}),
]
