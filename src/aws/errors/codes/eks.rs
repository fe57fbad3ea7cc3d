//! Codes of EKS: <https://docs.aws.amazon.com/eks/latest/APIReference/API_Operations.html>.

use super::row::Advice::{Do, OfClass, Retried};
use super::row::{Row, phrase, row};
use crate::aws::service::Service::{self, Eks};
use crate::engine::Class;

const EKS: &[Service] = &[Eks];
/// Codes for both an invalid value and one that is not visible yet.
const PARAMETER: &[&str] = &["InvalidParameter", "InvalidRequest"];

pub(super) const ROWS: &[Row] = &[
    phrase(&[], PARAMETER, &["already at the desired configuration", "no changes needed"], Class::NoChange, Retried),
    phrase(
        &[],
        PARAMETER,
        &["not authorized to launch instances with this launch template"],
        Class::Denied,
        Do(
            "EKS tries a launch with the permissions of Keelson's role: check that it may call ec2:RunInstances and ec2:CreateTags, and \
            whether a service control policy demands tags or encrypted volumes that the NodeGroup does not have",
        ),
    ),
    // Instance types and launch templates are not new: the value is wrong, not invisible yet.
    phrase(
        &[],
        PARAMETER,
        &["instance types do not exist", "instance type does not exist", "launch template"],
        Class::Invalid,
        OfClass,
    ),
    phrase(
        &[],
        PARAMETER,
        &[
            "does not exist",
            "do not exist",
            "error in role params",
            "role could not be assumed because the trusted entity is not correct",
            "could not be assumed because",
            "doesn't have the amazon eks managed policies",
            "iam role's policy must include",
            "misconfigured podexecutionrole trust policy",
            "invalid principal",
        ],
        Class::NotYetVisible,
        Do("If the role or principal is not new: check that it exists, and its trust policy and policies, as the \
            message says"),
    ),
    row(EKS, &["ResourcePropagationDelay"], Class::NotYetVisible, Retried),
    // One code for "the name is taken" and "wait for the other operation": only the message differs.
    phrase(
        &[],
        &["ResourceInUse", "InvalidRequest"],
        &["already exist", "already in use on this cluster", "already associated"],
        Class::Conflict,
        OfClass,
    ),
    phrase(
        &[],
        &["InvalidRequest"],
        &[
            "not in active",
            "is not active",
            "in progress",
            "status creating",
            "status updating",
            "status deleting",
            "is being",
        ],
        Class::Busy,
        Retried,
    ),
    row(&[], &["ResourceInUse"], Class::Busy, Retried),
    phrase(EKS, &["Client"], &["no cluster found for name", "no update found"], Class::NotFound, Retried),
    row(EKS, &["Client"], Class::Invalid, OfClass),
    row(EKS, &["ResourceNotFound", "NotFound"], Class::NotFound, Retried),
    row(EKS, &["ResourceLimitExceeded"], Class::Quota, OfClass),
    row(EKS, &["UnsupportedAvailabilityZone"], Class::Capacity, OfClass),
    // An upgrade insight: unlike EC2's code of that name, it does not pass.
    row(
        EKS,
        &["InvalidState"],
        Class::Invalid,
        Do("Upgrade insights of EKS forbid it: see them in status.upgrade, or with `aws eks list-insights`"),
    ),
    row(EKS, &["InvalidParameter", "InvalidRequest", "BadRequest"], Class::Invalid, OfClass),
    row(EKS, &["Server", "ServiceUnavailable"], Class::Unavailable, Retried),
];
