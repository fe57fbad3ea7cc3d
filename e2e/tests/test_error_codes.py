"""Every error code and health issue that AWS names for the operator's calls is in its table (docs/aws-errors.md, which a Rust test
generates from the tables): as botocore's models have them, and as AWS's pages list them where the models have none.
"""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from keelson_harness.paths import CHECKOUT, DEPLOY

PAGE = CHECKOUT / "docs" / "aws-errors.md"
TROUBLESHOOTING = CHECKOUT / "docs" / "troubleshooting.md"

# Codes that all actions of a service return; the models do not have them.
COMMON = {
    # https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html
    "eks": "AccessDeniedException ExpiredTokenException IncompleteSignature InternalFailure MalformedHttpRequestException NotAuthorized "
    "OptInRequired RequestAbortedException RequestEntityTooLargeException RequestExpired RequestTimeoutException ServiceUnavailable "
    "ThrottlingException UnrecognizedClientException UnknownOperationException ValidationError",
    # https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
    "iam": "AccessDeniedException ExpiredTokenException IncompleteSignature InternalFailure MalformedHttpRequestException NotAuthorized "
    "OptInRequired RequestAbortedException RequestEntityTooLargeException RequestExpired RequestTimeoutException ServiceUnavailable "
    "ThrottlingException UnrecognizedClientException UnknownOperationException ValidationError Throttling AccessDenied InvalidClientTokenId "
    "SignatureDoesNotMatch MissingAuthenticationToken InvalidAction MalformedQueryString MissingAction MissingParameter "
    "InvalidParameterCombination InvalidParameterValue InvalidQueryParameter",
    # https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and API_AssumeRoleWithWebIdentity.html
    "sts": "AccessDenied ExpiredToken InvalidClientTokenId SignatureDoesNotMatch Throttling ServiceUnavailable IDPCommunicationError "
    "InvalidIdentityToken IDPRejectedClaim RegionDisabledException",
    # https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
    "ssm": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable InternalFailure",
    # https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
    "kms": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable InternalFailure",
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/CommonErrors.html
    "logs": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable InternalFailure",
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html
    "events": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable InternalFailure",
    # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
    "autoscaling": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable "
    "InternalFailure Throttling AccessDenied InvalidClientTokenId ExpiredToken",
    # https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/CommonErrors.html
    "servicequotas": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable "
    "InternalFailure",
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
    "sqs": "AccessDeniedException ThrottlingException ExpiredTokenException UnrecognizedClientException ServiceUnavailable InternalFailure "
    "AWS.SimpleQueueService.NonExistentQueue",
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html: those that all actions return, those that are
    # specific to the operator's actions, and server errors.
    "ec2": "AuthFailure Blocked IdempotentParameterMismatch IncompleteSignature InvalidAction InvalidCharacter InvalidClientTokenId "
    "InvalidPaginationToken InvalidParameter InvalidParameterCombination InvalidParameterDependency InvalidParameterValue "
    "InvalidQueryParameter MalformedQueryString MissingAction MissingAuthenticationToken MissingParameter OptInRequired PendingVerification "
    "RequestExpired TagPolicyViolation UnauthorizedOperation UnknownParameter UnsupportedOperation UnsupportedProtocol ValidationError "
    "AccountDisabled AddressLimitExceeded CannotDelete ConcurrentTagAccess DefaultVpcDoesNotExist DependencyViolation "
    "DuplicateSubnetsInSameZone FilterLimitExceeded FlowLogAlreadyExists FlowLogsLimitExceeded Gateway.NotAttached IncorrectInstanceState "
    "IncorrectState InstanceLimitExceeded InsufficientFreeAddressesInSubnet InternetGatewayLimitExceeded InvalidAddress.Locked "
    "InvalidAddress.NotFound InvalidAddressID.NotFound InvalidAllocationID.NotFound InvalidAMIID.NotFound InvalidAssociationID.NotFound "
    "InvalidAttachmentID.NotFound InvalidAvailabilityZone InvalidDhcpOptionID.NotFound InvalidDhcpOptionsID.NotFound InvalidFilter "
    "InvalidFlowLogId.NotFound InvalidGatewayID.NotFound InvalidGroup.Duplicate InvalidGroup.InUse InvalidGroup.NotFound "
    "InvalidGroup.Reserved InvalidGroupId.Malformed InvalidID InvalidInput InvalidInstanceID.NotFound InvalidInstanceType "
    "InvalidInternetGatewayId.Malformed InvalidInternetGatewayID.NotFound InvalidIPAddress.InUse InvalidLaunchTemplateId.Malformed "
    "InvalidLaunchTemplateId.NotFound InvalidLaunchTemplateId.VersionNotFound InvalidLaunchTemplateName.AlreadyExistsException "
    "InvalidLaunchTemplateName.MalformedException InvalidLaunchTemplateName.NotFoundException InvalidMaxResults InvalidNatGatewayID.NotFound "
    "InvalidNetworkAclID.NotFound InvalidNetworkInterface.InUse InvalidNetworkInterface.NotFound InvalidNetworkInterfaceID.NotFound "
    "InvalidNextToken InvalidPermission.Duplicate InvalidPermission.Malformed InvalidPermission.NotFound InvalidPrefixListID.NotFound "
    "InvalidRequest InvalidRoute.InvalidState InvalidRoute.Malformed InvalidRoute.NotFound InvalidRouteTableId.Malformed "
    "InvalidRouteTableID.NotFound InvalidSecurity.RequestHasExpired InvalidSecurityGroupId.Malformed InvalidSecurityGroupID.NotFound "
    "InvalidSecurityGroupRuleId.NotFound InvalidServiceName InvalidState InvalidSubnet InvalidSubnet.Conflict InvalidSubnet.Range "
    "InvalidSubnetID.Malformed InvalidSubnetID.NotFound InvalidSubnetId.NotFound InvalidTagKey.Malformed InvalidTenancy "
    "InvalidVolume.NotFound InvalidVpcEndpoint.NotFound InvalidVpcEndpointId.Malformed InvalidVpcEndpointId.NotFound "
    "InvalidVpcEndpointService.NotFound InvalidVpcEndpointType InvalidVpcID.Malformed InvalidVpcID.NotFound "
    "InvalidVpcPeeringConnectionID.NotFound InvalidVpcRange InvalidVpcState InvalidVpnGatewayAttachment.NotFound InvalidVpnGatewayID.NotFound "
    "InvalidZone.NotFound LegacySecurityGroup LogDestinationNotFound LogDestinationPermissionIssue MissingInput NatGatewayLimitExceeded "
    "NatGatewayMalformed NatGatewayNotFound NetworkInterfaceLimitExceeded NoSuchVersion OperationNotPermitted Resource.AlreadyAssociated "
    "ResourceCountLimitExceeded ResourceLimitExceeded RetryableError RouteAlreadyExists RouteLimitExceeded RouteTableLimitExceeded "
    "RulesPerSecurityGroupLimitExceeded SecurityGroupLimitExceeded SecurityGroupsPerInterfaceLimitExceeded SignatureDoesNotMatch "
    "SubnetLimitExceeded TagLimitExceeded Unsupported UnsupportedTenancy VcpuLimitExceeded VPCIdNotSpecified VPCResourceNotSpecified "
    "VpcEndpointLimitExceeded VpcLimitExceeded BandwidthLimitExceeded InsufficientAddressCapacity InsufficientCapacity "
    "InsufficientInstanceCapacity ServerInternal InternalFailure RequestLimitExceeded ServiceUnavailable InternalError Unavailable",
}

# AWS's type of the codes, and the part of the page.
ISSUES = {
    "ClusterIssueCode": "Clusters",
    "NodegroupIssueCode": "Node groups",
    "AddonIssueCode": "Add-ons",
    "FargateProfileIssueCode": "Fargate profiles",
    "CapabilityIssueCode": "Capabilities",
    "ErrorCode": "Updates",
}


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| code |", "| class |"))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@cache
def part(title: str) -> str:
    """What follows the heading that begins with `title`, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}[^\n]*\n(.*?)(?=^#+ |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@cache
def table() -> set[tuple[str, str]]:
    """Service (or "all") and code of each row that applies whatever the message is."""
    found = set()
    codes_part = PAGE.read_text().partition("\n## Codes\n")[2].partition("\n## ")[0]
    for codes, services, phrases, *_ in rows(codes_part):
        if not phrases:
            found |= {(service.strip(), code) for service in services.split(",") for code in re.findall(r"`([^`]+)`", codes)}
    return found


def is_listed(service: str, code: str) -> bool:
    plain = code.removesuffix("Exception")
    return bool({(service, plain), ("all", plain)} & table())


def actions() -> set[str]:
    """What the operator calls: the page of the kinds' actions, and the policies for what is for no kind."""
    found = set(re.findall(r"`(\w+:\w+)`", (CHECKOUT / "docs" / "iam-actions.md").read_text()))
    for path in DEPLOY.glob("iam-policy*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            listed = statement.get("Action", [])
            if not statement["Sid"].startswith("CheckedByAws"):
                found |= {listed} if isinstance(listed, str) else set(listed)
    return {action for action in found if "*" not in action}


@cache
def model(service: str) -> ServiceModel:
    # The name in IAM is not always that of the model.
    name = {"servicequotas": "service-quotas"}.get(service, service)
    return ServiceModel(Loader().load_service_model(name, "service-2"), service)


def modelled() -> list[tuple[str, str, str]]:
    """Service, operation and code of each error that AWS's models have for what the operator calls."""
    found = []
    for action in sorted(actions()):
        service, name = action.split(":")
        # IAM checks DeleteMessage for DeleteMessageBatch, which the operator calls; PassRole is no call.
        operation = {"DeleteMessage": "DeleteMessageBatch"}.get(name, name)
        if operation not in model(service).operation_names:
            assert action == "iam:PassRole", f"{action} is no operation"
            continue
        shapes = model(service).operation_model(operation).error_shapes
        found += [(service, operation, shape.metadata.get("error", {}).get("code", shape.name)) for shape in shapes]
    return found


def test_every_code_of_the_models_is_in_the_table():
    found = modelled()
    assert len(found) > 300
    assert sorted({(service, code) for service, _, code in found if not is_listed(service, code)}) == []


@pytest.mark.parametrize("service", sorted({action.split(":")[0] for action in actions()}))
def test_every_code_of_aws_pages_is_in_the_table(service):
    assert service in COMMON, "add the codes that all actions of this service return, with the page"
    assert [code for code in COMMON[service].split() if not is_listed(service, code)] == []


@pytest.mark.parametrize("shape", ISSUES)
def test_every_health_issue_of_the_model_is_in_the_table(shape):
    listed = {code.strip("`") for code, *_ in rows(part(ISSUES[shape]))}
    assert set(model("eks").shape_for(shape).enum) - listed == set()


def test_statuses_of_insights_are_known():
    """Insights have statuses instead of codes; any other than these counts as UNKNOWN."""
    source = (CHECKOUT / "src/resources/eks/upgrade_data.rs").read_text()
    known = {name.upper() for name in re.findall(r"InsightStatusValue::(\w+)", source)}
    assert set(model("eks").shape_for("InsightStatusValue").enum) - known == {"UNKNOWN"}


def reasons() -> list[str]:
    """The reasons of conditions, as the API writes them."""
    source = (CHECKOUT / "src/api/conditions.rs").read_text().partition("impl Reason {")[2].partition("\n}")[0]
    return re.findall(r'Self::\w+ => "(\w+)"', source)


def test_troubleshooting_has_an_entry_for_every_reason():
    assert len(reasons()) > 30
    text = TROUBLESHOOTING.read_text()
    entries = {reason for line in text.splitlines() if line.startswith("| `") for reason in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert [reason for reason in reasons() if reason not in entries] == []


def test_troubleshooting_has_the_commonest_errors():
    text = TROUBLESHOOTING.read_text().partition("## The commonest AWS errors")[2].partition("\n## ")[0]
    found = [cells for cells in rows(text) if cells[0] != "error"]
    assert len(found) >= 20 and all(len(cells) == 4 and cells[3] for cells in found)
