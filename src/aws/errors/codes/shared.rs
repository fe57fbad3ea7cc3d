//! Codes that several services return.

use super::row::Advice::{Do, OfClass, Retried};
use super::row::{Row, phrase, row};
use crate::engine::Class;

/// Pages: <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>,
/// <https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html>.
pub(super) const ROWS: &[Row] = &[
    row(
        &[],
        &[
            "Throttling",
            "Throttled",
            "EC2Throttled",
            "TooManyRequests",
            "RequestLimitExceeded",
            "RequestThrottled",
            "PriorRequestNotComplete",
            "BandwidthLimitExceeded",
            "SlowDown",
        ],
        Class::Throttled,
        Retried,
    ),
    phrase(&[], &[], &["rate exceeded", "too many requests"], Class::Throttled, Retried),
    phrase(
        &[],
        &["AuthFailure"],
        &["validate the provided access credentials"],
        Class::CredentialsUnavailable,
        OfClass,
    ),
    row(&[], &["AccessDenied", "UnauthorizedOperation", "NotAuthorized", "AuthFailure"], Class::Denied, OfClass),
    row(
        &[],
        &["OptInRequired"],
        Class::Denied,
        Do("The account is not signed up for this service, or its activation is not complete: who administers the \
            account can complete it in the AWS console"),
    ),
    row(
        &[],
        &["Blocked", "PendingVerification", "AccountDisabled"],
        Class::Denied,
        Do("AWS holds the account back: contact AWS Support from that account"),
    ),
    row(
        &[],
        &["RegionDisabled"],
        Class::Denied,
        Do("STS, or the whole region, is not enabled in the account: who administers it can enable the region \
            (Account, AWS Regions), or its STS endpoint (IAM, Account settings)"),
    ),
    row(
        &[],
        &["TagPolicyViolation"],
        Class::Invalid,
        Do("The tag policy of the AWS organization rejects a tag: change it in spec.tags of the object or of its \
            AwsAccount"),
    ),
    row(
        &[],
        &[
            "ExpiredToken",
            "InvalidClientTokenId",
            "UnrecognizedClient",
            "InvalidAccessKeyId",
            "InvalidSecurity",
            "InvalidSecurity.RequestHasExpired",
            "MissingAuthenticationToken",
            "SignatureDoesNotMatch",
            "InvalidSignature",
            "IncompleteSignature",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "TokenRefreshRequired",
        ],
        Class::CredentialsUnavailable,
        OfClass,
    ),
    row(
        &[],
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServer",
            "Server",
            "ServerInternal",
            "Service",
            "ServiceFailure",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestAborted",
            "RetryableError",
        ],
        Class::Unavailable,
        Retried,
    ),
    row(
        &[],
        &["IdempotentParameterMismatch"],
        Class::Conflict,
        Do(
            "Another request used the same client token: Keelson retries; if it stays, another installation of Keelson \
            may manage the same object",
        ),
    ),
    row(
        &[],
        &[
            "BadRequest",
            "InvalidParameter",
            "InvalidParameterCombination",
            "InvalidParameterDependency",
            "InvalidParameterValue",
            "InvalidRequest",
            "InvalidInput",
            "MissingInput",
            "MissingParameter",
            "Validation",
            "ValidationError",
        ],
        Class::Invalid,
        OfClass,
    ),
    row(
        &[],
        &[
            "FilterLimitExceeded",
            "InvalidAction",
            "InvalidCharacter",
            "InvalidFilter",
            "InvalidMaxResults",
            "InvalidNextToken",
            "InvalidPaginationToken",
            "InvalidQueryParameter",
            "MalformedHttpRequest",
            "MalformedQueryString",
            "MissingAction",
            "NoSuchVersion",
            "RequestEntityTooLarge",
            "UnknownOperation",
            "UnknownParameter",
            "UnsupportedProtocol",
        ],
        Class::Invalid,
        Do("AWS does not understand the request: report this message to Keelson's maintainers, and check whether a \
            proxy or a custom endpoint answers in AWS's place"),
    ),
];
