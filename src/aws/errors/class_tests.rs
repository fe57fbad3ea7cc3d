//! All codes and messages of the table.

use super::*;
use Class::*;
use Service::{AutoScaling, Ec2, Eks, Iam, Sqs, Ssm, Sts};

/// service, code, message, class. The messages are quoted from user reports.
const CASES: &[(Service, &str, &str, Class)] = &[
    // EKS: in use, or taken
    (Eks, "ResourceInUseException", "Cluster already exists with name: demo", Conflict),
    (Eks, "ResourceInUseException", "NodeGroup already exists with name workers and cluster name demo", Conflict),
    (Eks, "ResourceInUseException", "Addon already exists.", Conflict),
    (Eks, "ResourceInUseException", "The specified access entry resource is already in use on this cluster.", Conflict),
    (Eks, "ResourceInUseException", "Association already exists: a-1234", Conflict),
    (Eks, "ResourceInUseException", "Cluster has nodegroups attached", Busy),
    (
        Eks,
        "ResourceInUseException",
        "Cannot LoggingUpdate because cluster demo currently has update 1 in progress",
        Busy,
    ),
    (
        Eks,
        "ResourceInUseException",
        "Cannot create Fargate Profile b because cluster demo currently has Fargate profile a in status CREATING",
        Busy,
    ),
    // EKS: no change
    (
        Eks,
        "InvalidParameterException",
        "Cluster is already at the desired configuration with endpointPrivateAccess: true",
        NoChange,
    ),
    (Eks, "InvalidParameterException", "No changes needed for the logging config provided", NoChange),
    // EKS: IAM not visible yet
    (
        Eks,
        "InvalidParameterException",
        "Role with arn: arn:aws:iam::1:role/x, could not be assumed because it does not exist or the trusted entity is not correct",
        NotYetVisible,
    ),
    (Eks, "InvalidParameterException", "The role does not exist", NotYetVisible),
    (Eks, "InvalidParameterException", "Error in role params", NotYetVisible),
    (
        Eks,
        "InvalidParameterException",
        "Role could not be assumed because the trusted entity is not correct",
        NotYetVisible,
    ),
    (
        Eks,
        "InvalidParameterException",
        "The provided role doesn't have the Amazon EKS Managed Policies associated with it.",
        NotYetVisible,
    ),
    (
        Eks,
        "InvalidParameterException",
        "IAM role's policy must include the \"ec2:DescribeSubnets\" action",
        NotYetVisible,
    ),
    (
        Eks,
        "InvalidParameterException",
        "Misconfigured PodExecutionRole Trust Policy; Please add the eks-fargate-pods.amazonaws.com",
        NotYetVisible,
    ),
    (Eks, "InvalidParameterException", "Role provided in the request does not exist.", NotYetVisible),
    (Eks, "InvalidParameterException", "The specified principalArn is invalid: invalid principal.", NotYetVisible),
    (
        Eks,
        "ResourcePropagationDelayException",
        "Required resources were created and are still propagating",
        NotYetVisible,
    ),
    // EKS: invalid permanently
    (Eks, "InvalidParameterException", "unsupported Kubernetes version", Invalid),
    (Eks, "InvalidRequestException", "One or more of the subnets has fewer than 5 free IP addresses", Invalid),
    (
        Eks,
        "InvalidRequestException",
        "You are not authorized to launch instances with this launch template. Encoded authorization failure message: x",
        Denied,
    ),
    (Eks, "InvalidRequestException", "Cannot specify instance types in launch template and API request", Invalid),
    (Eks, "InvalidRequestException", "Cluster demo has deletion protection enabled", Invalid),
    (Eks, "InvalidRequestException", "Cluster 'demo' is not in ACTIVE status", Busy),
    (Eks, "InvalidStateException", "Kubernetes version upgrade is blocked by insights", Invalid),
    (Eks, "BadRequestException", "", Invalid),
    // EKS: others
    (Eks, "ResourceLimitExceededException", "Cluster limit exceeded for account", Quota),
    (
        Eks,
        "UnsupportedAvailabilityZoneException",
        "Cannot create cluster because us-east-1e does not currently have sufficient capacity",
        Capacity,
    ),
    (Eks, "ResourceNotFoundException", "No cluster found for name: demo.", NotFound),
    (Eks, "ClientException", "No cluster found for name: demo.", NotFound),
    (Eks, "ClientException", "Something is wrong", Invalid),
    (Eks, "NotFoundException", "", NotFound),
    (Eks, "ServerException", "", Unavailable),
    (Eks, "ServiceUnavailableException", "", Unavailable),
    (Eks, "AccessDeniedException", "User is not authorized to perform: eks:CreateCluster", Denied),
    (
        Eks,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        CredentialsUnavailable,
    ),
    (Eks, "ExpiredTokenException", "The security token included in the request is expired", CredentialsUnavailable),
    (Eks, "InvalidSignatureException", "Signature expired", CredentialsUnavailable),
    // Throttles, in every spelling
    (Eks, "ThrottlingException", "Rate exceeded", Throttled),
    (Iam, "Throttling", "Rate exceeded", Throttled),
    (Eks, "TooManyRequestsException", "", Throttled),
    (Ec2, "RequestLimitExceeded", "Request limit exceeded.", Throttled),
    (Ec2, "Client.Whatever", "Rate exceeded", Throttled),
    (Ec2, "EC2ThrottledException", "", Throttled),
    // EC2
    (Ec2, "DependencyViolation", "The vpc 'vpc-1' has dependencies and cannot be deleted.", Busy),
    (Ec2, "InvalidGroup.InUse", "", Busy),
    (Ec2, "InvalidIPAddress.InUse", "", Busy),
    (Ec2, "IncorrectState", "", Busy),
    (Ec2, "InvalidState", "The endpoint is pending", Busy),
    (Ec2, "InvalidVpcID.NotFound", "", NotFound),
    (Ec2, "InvalidSubnetID.NotFound", "", NotFound),
    (Ec2, "InvalidAllocationID.NotFound", "", NotFound),
    (Ec2, "NatGatewayNotFound", "", NotFound),
    (Ec2, "InvalidRouteTableID.NotFound", "", NotFound),
    (Ec2, "InvalidInternetGatewayID.NotFound", "", NotFound),
    (Ec2, "InvalidGroup.NotFound", "", NotFound),
    (Ec2, "InvalidVpcEndpointId.NotFound", "", NotFound),
    (Ec2, "InvalidNetworkInterfaceID.NotFound", "", NotFound),
    (Ec2, "Gateway.NotAttached", "", NotFound),
    (Ec2, "InvalidGroup.Duplicate", "", Conflict),
    (Ec2, "InvalidPermission.Duplicate", "", Conflict),
    (Ec2, "RouteAlreadyExists", "", Conflict),
    (Ec2, "FlowLogAlreadyExists", "", Conflict),
    (Ec2, "InvalidFlowLogId.NotFound", "", NotFound),
    (Ec2, "400", "LogDestination: logs does not exist.", Invalid),
    (Ec2, "400", "Access Denied for LogDestination: logs. Please check LogDestination permission", Denied),
    (Ec2, "Resource.AlreadyAssociated", "", Conflict),
    (Ec2, "InvalidSubnet.Conflict", "The CIDR '10.0.0.0/24' conflicts with another subnet", Conflict),
    (Ec2, "IdempotentParameterMismatch", "", Conflict),
    (Ec2, "VpcLimitExceeded", "The maximum number of VPCs has been reached.", Quota),
    (Ec2, "AddressLimitExceeded", "", Quota),
    (Ec2, "NatGatewayLimitExceeded", "", Quota),
    (Ec2, "InsufficientInstanceCapacity", "", Capacity),
    (Ec2, "InsufficientFreeAddressesInSubnet", "", Capacity),
    (
        Ec2,
        "InvalidParameterValue",
        "Value (us-east-1e) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: us-east-1a, us-east-1b.",
        Capacity,
    ),
    (Ec2, "InvalidParameterValue", "", Invalid),
    (Ec2, "InvalidVpcRange", "", Invalid),
    (Ec2, "MissingParameter", "", Invalid),
    (Ec2, "UnauthorizedOperation", "You are not authorized to perform this operation.", Denied),
    (Ec2, "OptInRequired", "You are not subscribed to this service", Denied),
    (Ec2, "AuthFailure", "AWS was not able to validate the provided access credentials", CredentialsUnavailable),
    (Ec2, "AuthFailure", "You do not have permission to access the specified resource.", Denied),
    (Ec2, "RequestExpired", "", CredentialsUnavailable),
    (Ec2, "InternalError", "", Unavailable),
    (Ec2, "Unavailable", "", Unavailable),
    (Ec2, "ServerInternal", "", Unavailable),
    (Ec2, "InvalidParameterValue", "Network interface 'eni-1' is currently in use.", Busy),
    // Codes that end like those of a resource that is not there yet: it will not appear by itself
    (Ec2, "LogDestinationNotFound", "", Invalid),
    (Ec2, "InvalidZone.NotFound", "", Invalid),
    (Ec2, "InvalidVpcEndpointService.NotFound", "", Invalid),
    (Ec2, "LogDestinationPermissionIssue", "", Denied),
    // It is about the resource, whoever asks
    (Ec2, "OperationNotPermitted", "", Invalid),
    (Ec2, "FilterLimitExceeded", "", Invalid),
    (Ec2, "TagPolicyViolation", "", Invalid),
    (Ec2, "DuplicateSubnetsInSameZone", "", Invalid),
    (Ec2, "AccountDisabled", "", Denied),
    (Ec2, "ResourceCountLimitExceeded", "", Quota),
    // By pattern
    (Ec2, "InvalidNewThing.NotFound", "", NotFound),
    (Ec2, "NewThingLimitExceeded", "", Quota),
    (Ec2, "InvalidNewThing.InUse", "", Busy),
    (Ec2, "InvalidNewThing", "", Invalid),
    // SSM and SQS
    (Ssm, "ParameterNotFound", "", NotFound),
    (Ssm, "InvalidKeyId", "", Invalid),
    (Sqs, "QueueDoesNotExist", "", NotFound),
    (Sqs, "KmsAccessDenied", "", Denied),
    (Sqs, "KmsThrottled", "", Throttled),
    (Sqs, "OverLimit", "", Busy),
    (Sqs, "ReceiptHandleIsInvalid", "", Invalid),
    // EC2 Auto Scaling
    (AutoScaling, "ResourceContention", "", Busy),
    (AutoScaling, "LimitExceeded", "", Invalid),
    (AutoScaling, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup 'eks-x' not found", NotFound),
    (AutoScaling, "ValidationError", "1 validation error detected", Invalid),
    // IAM
    (Iam, "OpenIdIdpCommunicationError", "", Unavailable),
    (Iam, "EntityAlreadyExists", "Role with name x already exists.", Conflict),
    (Iam, "NoSuchEntity", "The role with name x cannot be found.", NotFound),
    (Iam, "DeleteConflict", "Cannot delete entity, must detach all policies first.", Busy),
    (Iam, "MalformedPolicyDocument", "Invalid principal in policy: \"AWS\":\"arn:aws:iam::1:role/new\"", NotYetVisible),
    (Iam, "MalformedPolicyDocument", "Syntax errors in policy.", Invalid),
    (Iam, "ConcurrentModification", "", Busy),
    (Iam, "LimitExceeded", "Cannot exceed quota for RolesPerAccount: 1000", Quota),
    (Iam, "ServiceFailure", "", Unavailable),
    (Iam, "UnmodifiableEntity", "", Invalid),
    (Iam, "InvalidClientTokenId", "", CredentialsUnavailable),
    (Sts, "AccessDenied", "User: x is not authorized to perform: sts:AssumeRole on resource: y", Denied),
    (Sts, "RegionDisabledException", "", Denied),
    (Sts, "ExpiredToken", "", CredentialsUnavailable),
    (Sts, "SomethingNew", "", Unknown),
];

#[test]
fn every_code_and_message_has_the_expected_class() {
    let wrong: Vec<String> = CASES
        .iter()
        .filter_map(|(service, code, message, wanted)| {
            let class = classify(*service, Some(code), message, Some(400));
            (class != *wanted).then(|| format!("{service} {code} {message:?}: {class}, not {wanted}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn http_status_decides_without_a_code_and_404_is_not_not_found() {
    for (status, wanted) in [
        (Some(429), Throttled),
        (Some(403), Denied),
        (Some(500), Unavailable),
        (Some(503), Unavailable),
        (Some(404), Unknown),
        (Some(400), Unknown),
        (None, Unknown),
    ] {
        assert_eq!(classify(Ec2, None, "", status), wanted, "{status:?}");
    }
}

#[test]
fn every_class_is_in_the_table_or_created_internally() {
    let ours = [NotLeader, WrongAccount, OperationFailed, EvictionBlocked];
    let missing: Vec<Class> = Class::ALL
        .into_iter()
        .filter(|class| !ours.contains(class) && !CASES.iter().any(|case| case.3 == *class))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn labels_are_unique() {
    let labels: std::collections::BTreeSet<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    assert_eq!(labels.len(), Class::ALL.len());
}
