"""What AWS refuses, with its code and status: the errors by which the operator decides. Reads only, so it costs nothing
and needs no permission to write: the shipped policies deny a write without tags before AWS finds that its resource is missing."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from conformance.settings import Settings

MISSING = "0123456789abcdef0"
NAME = "conformance-missing"
# (service, operation, parameters, code, status)
REFUSALS = (
    ("eks", "describe_cluster", {"name": NAME}, "ResourceNotFoundException", 404),
    ("eks", "list_nodegroups", {"clusterName": NAME}, "ResourceNotFoundException", 404),
    ("eks", "describe_nodegroup", {"clusterName": NAME, "nodegroupName": NAME}, "ResourceNotFoundException", 404),
    ("eks", "describe_addon", {"clusterName": NAME, "addonName": "vpc-cni"}, "ResourceNotFoundException", 404),
    ("ec2", "describe_vpcs", {"VpcIds": [f"vpc-{MISSING}"]}, "InvalidVpcID.NotFound", 400),
    ("ec2", "describe_subnets", {"SubnetIds": [f"subnet-{MISSING}"]}, "InvalidSubnetID.NotFound", 400),
    ("ec2", "describe_route_tables", {"RouteTableIds": [f"rtb-{MISSING}"]}, "InvalidRouteTableID.NotFound", 400),
    ("ec2", "describe_internet_gateways", {"InternetGatewayIds": [f"igw-{MISSING}"]}, "InvalidInternetGatewayID.NotFound", 400),
    ("ec2", "describe_nat_gateways", {"NatGatewayIds": [f"nat-{MISSING}"]}, "NatGatewayNotFound", 400),
    ("ec2", "describe_addresses", {"AllocationIds": [f"eipalloc-{MISSING}"]}, "InvalidAllocationID.NotFound", 400),
    ("ec2", "describe_security_groups", {"GroupIds": [f"sg-{MISSING}"]}, "InvalidGroup.NotFound", 400),
    ("iam", "get_role", {"RoleName": NAME}, "NoSuchEntity", 404),
    ("iam", "list_role_tags", {"RoleName": NAME}, "NoSuchEntity", 404),
    ("logs", "list_tags_for_resource", {"resourceArn": "arn:aws:logs:{region}:{account}:log-group:" + NAME}, "ResourceNotFoundException", 400),
    ("ssm", "get_parameter", {"Name": f"/{NAME}"}, "ParameterNotFound", 400),
)


@pytest.mark.parametrize(("service", "operation", "parameters", "code", "status"), REFUSALS, ids=[f"{r[0]}-{r[1]}" for r in REFUSALS])
def test_refusal_has_the_code_and_status_of_aws(settings: Settings, service: str, operation: str, parameters: dict, code: str, status: int) -> None:
    account = settings.account
    filled = {name: value.format(region=account.region, account=account.id) if isinstance(value, str) else value for name, value in parameters.items()}
    with pytest.raises(ClientError) as caught:
        getattr(account.client(service), operation)(**filled)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), answer["Error"]["Message"]
