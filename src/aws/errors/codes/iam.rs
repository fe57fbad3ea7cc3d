//! Codes of IAM and STS: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.

use super::row::Advice::{Do, OfClass, Retried};
use super::row::{Row, phrase, row};
use crate::aws::service::Service::{self, Iam, Sts};
use crate::engine::Class;

const IAM: &[Service] = &[Iam];
const STS: &[Service] = &[Sts];

pub(super) const ROWS: &[Row] = &[
    phrase(IAM, &["MalformedPolicyDocument"], &["invalid principal in policy"], Class::NotYetVisible, Retried),
    row(&[Iam, Sts], &["MalformedPolicyDocument"], Class::Invalid, OfClass),
    row(IAM, &["NoSuchEntity"], Class::NotFound, Retried),
    row(IAM, &["EntityAlreadyExists"], Class::Conflict, OfClass),
    row(IAM, &["ConcurrentModification", "DeleteConflict", "EntityTemporarilyUnmodifiable"], Class::Busy, Retried),
    row(IAM, &["LimitExceeded"], Class::Quota, OfClass),
    row(IAM, &["InvalidInput", "PolicyEvaluation"], Class::Invalid, OfClass),
    row(
        IAM,
        &["UnmodifiableEntity"],
        Class::Invalid,
        Do("It is a service-linked role, which only its AWS service changes: name another role in the spec"),
    ),
    row(
        IAM,
        &["PolicyNotAttachable"],
        Class::Invalid,
        Do("The policy is for a service-linked role or for an AWS service only: name another policy in the spec"),
    ),
    row(
        IAM,
        &["OpenIdIdpCommunicationError"],
        Class::Unavailable,
        Do("IAM cannot reach the cluster's OIDC issuer: Keelson retries; if it stays, check the AWS Health Dashboard"),
    ),
    row(
        STS,
        &["PackedPolicyTooLarge"],
        Class::Invalid,
        Do("The session's tags and policies are too large: tags that the operator's own session passes on count too"),
    ),
    row(
        STS,
        &["InvalidIdentityToken", "IDPCommunicationError", "IDPRejectedClaim"],
        Class::CredentialsUnavailable,
        OfClass,
    ),
    row(STS, &["ExpiredToken"], Class::CredentialsUnavailable, OfClass),
];
