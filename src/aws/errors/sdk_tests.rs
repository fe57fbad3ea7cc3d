//! Conversion of SDK errors.

use aws_sdk_eks::operation::create_cluster::CreateClusterError;
use aws_sdk_eks::types::error::UnsupportedAvailabilityZoneException;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;

use super::*;
use crate::aws::service::Service;

fn call<'a>(service: Service, action: &'static str, resource: &'a str) -> Call<'a> {
    Call { service, action, resource, account: "111122223333", region: "eu-west-1" }
}

fn answered(service: Service, action: &'static str, resource: &str, code: &str, message: &str) -> AwsError {
    let meta = ErrorMetadata::builder().code(code).message(message).build();
    let mut raw = HttpResponse::new(StatusCode::try_from(400).expect("a status"), SdkBody::empty());
    raw.headers_mut().insert("x-amzn-requestid", "6f1e2c0a");
    let error = SdkError::service_error(CreateClusterError::generic(meta), raw);
    call(service, action, resource).sdk_failure(error).error
}

#[test]
fn message_has_call_resource_reason_and_advice() {
    let texts = [
        answered(
            Service::Eks,
            "CreateCluster",
            "cluster payments-prod",
            "AccessDeniedException",
            "User x is not authorized to perform: eks:CreateCluster",
        ),
        answered(
            Service::Sts,
            "AssumeRole",
            "arn:aws:iam::111122223333:role/keelson",
            "AccessDenied",
            "User y is not authorized to perform: sts:AssumeRole",
        ),
        answered(Service::Ec2, "CreateVpc", "vpc", "VpcLimitExceeded", "The maximum number of VPCs has been reached."),
        answered(
            Service::Ec2,
            "DeleteVpc",
            "vpc-0aaaaaaaa",
            "DependencyViolation",
            "The vpc 'vpc-0aaaaaaaa' has dependencies and cannot be deleted.",
        ),
        answered(
            Service::Eks,
            "DeleteCluster",
            "payments-prod",
            "ResourceInUseException",
            "Cluster has nodegroups attached",
        ),
        answered(Service::Eks, "CreateCluster", "payments-prod", "ServerException", ""),
    ]
    .map(|error| error.to_string());
    insta::assert_yaml_snapshot!(texts);
}

#[test]
fn request_id_is_stored_but_not_in_the_message() {
    let error = answered(Service::Eks, "CreateCluster", "demo", "InvalidParameterException", "no");
    assert_eq!(error.request_id.as_deref(), Some("6f1e2c0a"));
    assert_eq!(error.http_status, Some(400));
    assert!(!error.to_string().contains("6f1e2c0a"), "a status that held it would change with every attempt");
}

#[test]
fn valid_zones_are_read_from_the_modelled_error() {
    let modelled = UnsupportedAvailabilityZoneException::builder()
        .message("us-east-1e has no capacity")
        .valid_zones("us-east-1a")
        .valid_zones("us-east-1b")
        .meta(ErrorMetadata::builder().code("UnsupportedAvailabilityZoneException").build())
        .build();
    let raw = HttpResponse::new(StatusCode::try_from(400).expect("a status"), SdkBody::empty());
    let error = SdkError::service_error(CreateClusterError::UnsupportedAvailabilityZoneException(modelled), raw);
    let error = call(Service::Eks, "CreateCluster", "demo").sdk_failure(error).error;
    assert_eq!(error.class(), Class::Capacity);
    assert_eq!(error.valid_zones, ["us-east-1a", "us-east-1b"]);
    assert!(error.to_string().ends_with("Available zones: us-east-1a, us-east-1b."), "{error}");
}

#[test]
fn valid_zones_are_read_from_the_ec2_message() {
    let message = "Value (us-east-1e) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: us-east-1a, us-east-1b.";
    let error = answered(Service::Ec2, "CreateSubnet", "subnet", "InvalidParameterValue", message);
    assert_eq!(error.valid_zones, ["us-east-1a", "us-east-1b"]);
}

#[test]
fn blocker_is_the_other_resource_in_the_aws_message() {
    let table = [
        ("vpc-0aaaaaaaa", "The vpc 'vpc-0aaaaaaaa' has dependencies and cannot be deleted.", None),
        ("sg-0aaaaaaaa", "resource sg-0aaaaaaaa has a dependent object", None),
        ("sg-0aaaaaaaa", "resource sg-0aaaaaaaa is in use by eni-0bbbbbbbb", Some("eni-0bbbbbbbb")),
        (
            "igw-0aaaaaaaa",
            "Network vpc-0cccccccc has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
            Some("public addresses mapped in the VPC (load balancers, NAT gateways, instances)"),
        ),
    ];
    for (resource, message, wanted) in table {
        let error = answered(Service::Ec2, "Delete", resource, "DependencyViolation", message);
        assert_eq!(error.blocker.as_deref(), wanted, "{message}");
    }
}

#[test]
fn timeout_and_lost_connection_are_unavailable() {
    let io = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
    let errors: [SdkError<CreateClusterError, HttpResponse>; 2] =
        [SdkError::timeout_error("slow"), SdkError::dispatch_failure(ConnectorError::io(io().into()))];
    for error in errors {
        let reported = call(Service::Eks, "CreateCluster", "demo").sdk_failure(error);
        assert_eq!(reported.error.class(), Class::Unavailable);
        assert_eq!(reported.origin, Origin::Transport);
    }
}

#[test]
fn failed_assume_role_is_reported_as_that_call() {
    let denied = answered(Service::Sts, "AssumeRole", "arn:aws:iam::1:role/keelson", "AccessDenied", "not authorized");
    let credentials = CredentialsError::provider_error(denied);
    let error: SdkError<CreateClusterError, HttpResponse> =
        SdkError::dispatch_failure(ConnectorError::other(credentials.into(), None));
    let reported = call(Service::Eks, "CreateCluster", "demo").sdk_failure(error);
    assert_eq!((reported.error.action, reported.error.class()), ("AssumeRole", Class::Denied));
    assert_eq!(reported.origin, Origin::Credentials, "EKS was not called: its rate limits must not change");
}

#[test]
fn missing_credentials_are_classified() {
    let error: SdkError<CreateClusterError, HttpResponse> =
        SdkError::dispatch_failure(ConnectorError::other(CredentialsError::not_loaded("no provider").into(), None));
    let reported = call(Service::Eks, "CreateCluster", "demo").sdk_failure(error);
    assert_eq!(reported.error.class(), Class::CredentialsUnavailable);
}
