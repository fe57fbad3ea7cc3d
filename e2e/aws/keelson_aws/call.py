"""An AWS call, parsed from its HTTP request: caller, service, action, parameters, resource. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from .http import Request

READ_ONLY = re.compile(
    r"(Describe|List|Get|Receive|Lookup|Simulate|Search|Check|Decode|Head|BatchGet|Query|Scan|AssumeRole|GenerateCredentialReport"
    # It changes nothing but the insights.
    r"|StartInsightsRefresh)"
)
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
# Parameters that identify the resource of a call, in order of precedence.
RESOURCE_PARAMETERS = (
    "NatGatewayId", "SubnetId", "RouteTableId", "InternetGatewayId", "GroupId", "AllocationId", "AssociationId",
    "NetworkInterfaceId", "VpcEndpointId", "LaunchTemplateId", "LaunchTemplateName", "InstanceId", "VpcId", "VpcEndpointId.1",
    "FlowLogId.1", "VolumeId", "ResourceId.1", "RoleName", "InstanceProfileName", "PolicyArn", "OpenIDConnectProviderArn", "RoleArn", "UserName",
    "AutoScalingGroupName", "AutoScalingGroupNames.member.1", "Tags.member.1.ResourceId", "GroupName", "Url",
)
# EC2 ids and ARNs anywhere in the request.
NAME = re.compile(r"\b(?:(?:vpc|subnet|sg|rtb|igw|nat|eipalloc|vpce|lt|eni|fl|vol)-[0-9a-f]{8,17}\b|arn:aws[a-z-]*:(?:iam|kms|eks):[\w:/+=,.@-]+)")
QUERY_SERVICES = {"ec2", "iam", "sts", "autoscaling", "elasticloadbalancing", "cloudformation", "sns", "sqs"}


@dataclass
class Call:
    request: Request
    access_key: str
    region: str
    service: str
    action: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    account: str = ""
    caller_arn: str = ""
    resource: str = ""
    # Set by a fault: how the operation ends (see faults.py).
    outcome: dict[str, Any] = field(default_factory=dict)
    # For writes by Keelson: the IAM authorization checks (see authorization.py).
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def write(self) -> bool:
        return not READ_ONLY.match(self.action)

    @property
    def names(self) -> list[str]:
        """All EC2 ids and ARNs in the request, of any parameter; `resource` is only one of them."""
        text = unquote(f"{self.request.target} {self.request.body.decode('utf-8', 'replace')}")
        return sorted(set(NAME.findall(text)))


def read_call(request: Request) -> Call | None:
    """The call in a request; None if it is unsigned and its service cannot be determined."""
    found = CREDENTIAL.search(request.headers.get("authorization", ""))
    if found is None and "X-Amz-Credential" in request.query:
        found = CREDENTIAL.search("Credential=" + unquote(dict(parse_qsl(request.query)).get("X-Amz-Credential", "")))
    form = read_form(request)
    if found:
        call = Call(request, found[1], found[2], found[3].lower())
    elif str(form.get("Action", "")).startswith("AssumeRoleWith"):
        call = Call(request, "", "us-east-1", "sts")
    else:
        return None
    if "Action" in form:
        call.action = form["Action"]
        call.params = form
        call.resource = next((form[name] for name in RESOURCE_PARAMETERS if form.get(name)), "")
    elif "x-amz-target" in request.headers:
        call.action = request.headers["x-amz-target"].rpartition(".")[2]
        call.resource = json_resource(request.body)
    return call


def read_form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    if "Action=" in request.query:
        return dict(parse_qsl(request.query, keep_blank_values=True))
    return {}


def json_resource(body: bytes) -> str:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return ""
    for name in ("KeyId", "Name", "ResourceArn", "QueueUrl", "QueueName", "logGroupName", "logGroupNamePrefix", "resourceArn"):
        if isinstance(value, dict) and isinstance(value.get(name), str):
            return str(value[name])
    return ""
