"""What Terraform's AWS provider and Cluster API AWS stumbled over, held with boto3."""

from __future__ import annotations

import pytest

from conftest import Cloud, refused


@pytest.mark.parametrize(
    ("operation", "parameters", "code", "text"),
    [
        ("describe_launch_templates", {"LaunchTemplateIds": ["lt-0123"]}, "InvalidLaunchTemplateId.NotFound", "lt-0123"),
        ("delete_launch_template", {"LaunchTemplateId": "lt-0123"}, "InvalidLaunchTemplateId.NotFound", "lt-0123"),
        ("describe_network_acls", {"NetworkAclIds": ["acl-0123"]}, "InvalidNetworkAclID.NotFound", "'acl-0123'"),
        ("describe_addresses", {"AllocationIds": ["eipalloc-0123"]}, "InvalidAllocationID.NotFound", "'eipalloc-0123'"),
        ("describe_security_groups", {"GroupIds": ["sg-0123"]}, "InvalidGroup.NotFound", "'sg-0123'"),
        ("describe_vpcs", {"VpcIds": ["vpc-0123"]}, "InvalidVpcID.NotFound", "'vpc-0123'"),
    ],
)
def test_what_is_gone_is_not_found_by_its_own_code(cloud: Cloud, operation: str, parameters: dict[str, object], code: str, text: str) -> None:
    with refused(code, text):
        getattr(cloud.ec2, operation)(**parameters)
