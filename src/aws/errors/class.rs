//! The class of an AWS error code and message. One table, and the only place that knows codes and phrases. Pure.
//!
//! Codes are from the API references of the services. Phrases are from messages of EKS and IAM with
//! `InvalidParameterException` and the like, where one code covers both an invalid value and a role that is not visible
//! yet.

use crate::aws::service::Service;

pub use crate::engine::Class;

/// A row of the table: the first match applies.
struct Rule {
    code: Code,
    service: Option<Service>,
    /// The message contains one of these phrases (lower case); empty: any message.
    phrases: &'static [&'static str],
    class: Class,
}

/// Codes are compared without a trailing `Exception`, so one entry covers the query and JSON protocols.
enum Code {
    Any,
    Is(&'static [&'static str]),
    Starts(&'static [&'static str]),
    Ends(&'static [&'static str]),
}

const fn rule(code: Code, class: Class) -> Rule {
    Rule { code, service: None, phrases: &[], class }
}

const fn phrase_rule(code: Code, phrases: &'static [&'static str], class: Class) -> Rule {
    Rule { code, service: None, phrases, class }
}

use Code::{Any, Ends, Is, Starts};

const TABLE: &[Rule] = &[
    rule(
        Is(&[
            "Throttling",
            "Throttled",
            "EC2Throttled",
            "TooManyRequests",
            "RequestLimitExceeded",
            "RequestThrottled",
            "PriorRequestNotComplete",
            "BandwidthLimitExceeded",
            "SlowDown",
        ]),
        Class::Throttled,
    ),
    phrase_rule(Any, &["rate exceeded", "too many requests"], Class::Throttled),
    phrase_rule(
        Is(&["InvalidParameter", "InvalidRequest"]),
        &["already at the desired configuration", "no changes needed"],
        Class::NoChange,
    ),
    // Instance types and launch templates are not new: the value is wrong, not invisible yet.
    phrase_rule(
        Is(&["InvalidParameter", "InvalidRequest"]),
        &["instance types do not exist", "instance type does not exist", "launch template"],
        Class::Invalid,
    ),
    phrase_rule(
        Is(&["InvalidParameter", "InvalidRequest"]),
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
    ),
    phrase_rule(Is(&["MalformedPolicyDocument"]), &["invalid principal in policy"], Class::NotYetVisible),
    rule(Is(&["ResourcePropagationDelay"]), Class::NotYetVisible),
    // One code for "the name is taken" and "wait for the other operation": only the message differs.
    phrase_rule(
        Is(&["ResourceInUse", "InvalidRequest"]),
        &["already exist", "already in use on this cluster", "already associated"],
        Class::Conflict,
    ),
    phrase_rule(
        Is(&["InvalidRequest"]),
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
    ),
    rule(Is(&["ResourceInUse"]), Class::Busy),
    phrase_rule(Is(&["Client"]), &["no cluster found for name", "no update found"], Class::NotFound),
    rule(Is(&["NoSuchEntity", "Gateway.NotAttached"]), Class::NotFound),
    rule(Ends(&["NotFound"]), Class::NotFound),
    rule(Ends(&[".Duplicate", "AlreadyExists", "AlreadyAssociated"]), Class::Conflict),
    rule(Is(&["InvalidSubnet.Conflict", "IdempotentParameterMismatch"]), Class::Conflict),
    phrase_rule(Is(&["InvalidParameter"]), &["conflicting dns domain"], Class::Conflict),
    rule(
        Is(&[
            "DependencyViolation",
            "DeleteConflict",
            "ConcurrentModification",
            "ConcurrentTagAccess",
            "EntityTemporarilyUnmodifiable",
            "IncorrectState",
            "IncorrectInstanceState",
            "OperationInProgress",
        ]),
        Class::Busy,
    ),
    rule(Ends(&[".InUse"]), Class::Busy),
    // EC2's InvalidState is temporary; EKS's is an upgrade insight that needs a user.
    Rule { code: Is(&["InvalidState"]), service: Some(Service::Ec2), phrases: &[], class: Class::Busy },
    // EC2's code for the destination of a flow log.
    phrase_rule(Is(&["400"]), &["access denied"], Class::Denied),
    phrase_rule(Is(&["400"]), &["logdestination"], Class::Invalid),
    rule(Ends(&["LimitExceeded", "QuotaExceeded"]), Class::Quota),
    phrase_rule(Is(&["AuthFailure"]), &["validate the provided access credentials"], Class::CredentialsUnavailable),
    rule(
        Is(&[
            "AccessDenied",
            "UnauthorizedOperation",
            "AuthFailure",
            "OptInRequired",
            "OperationNotPermitted",
            "NotAuthorized",
            "RegionDisabled",
            "Blocked",
            "PendingVerification",
        ]),
        Class::Denied,
    ),
    rule(
        Is(&[
            "ExpiredToken",
            "InvalidClientTokenId",
            "UnrecognizedClient",
            "InvalidAccessKeyId",
            "InvalidSecurity",
            "MissingAuthenticationToken",
            "SignatureDoesNotMatch",
            "InvalidSignature",
            "IncompleteSignature",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "TokenRefreshRequired",
            "InvalidIdentityToken",
            "IDPCommunicationError",
        ]),
        Class::CredentialsUnavailable,
    ),
    rule(Is(&["UnsupportedAvailabilityZone"]), Class::Capacity),
    rule(Starts(&["Insufficient"]), Class::Capacity),
    rule(Ends(&["NotAvailableInZone"]), Class::Capacity),
    phrase_rule(
        Is(&["InvalidParameterValue"]),
        &["subnets can currently only be created in", "following availability zones"],
        Class::Capacity,
    ),
    rule(
        Is(&[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServer",
            "Server",
            "Service",
            "ServiceFailure",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
        ]),
        Class::Unavailable,
    ),
    rule(
        Is(&[
            "BadRequest",
            "Client",
            "UnmodifiableEntity",
            "PolicyNotAttachable",
            "PolicyEvaluation",
            "PackedPolicyTooLarge",
            "VPCIdNotSpecified",
        ]),
        Class::Invalid,
    ),
    rule(Starts(&["Invalid", "Malformed", "Missing", "Validation", "Unsupported", "Unknown"]), Class::Invalid),
];

/// The class of an error response; `status` matters only for codes that are not in the table.
pub fn classify(service: Service, code: Option<&str>, message: &str, status: Option<u16>) -> Class {
    let code = code.map(|c| c.strip_suffix("Exception").unwrap_or(c)).unwrap_or_default();
    let message = message.to_lowercase();
    TABLE.iter().find(|rule| rule.matches(service, code, &message)).map_or_else(|| by_status(status), |rule| rule.class)
}

impl Rule {
    fn matches(&self, service: Service, code: &str, message: &str) -> bool {
        let code_matches = match self.code {
            Code::Any => true,
            Code::Is(codes) => codes.contains(&code),
            Code::Starts(starts) => starts.iter().any(|s| code.starts_with(s)),
            Code::Ends(ends) => ends.iter().any(|e| code.ends_with(e)),
        };
        code_matches
            && self.service.is_none_or(|s| s == service)
            && (self.phrases.is_empty() || self.phrases.iter().any(|phrase| message.contains(phrase)))
    }
}

/// A plain 404 is not `NotFound`: a wrong endpoint or a proxy also returns it, and the resource would be recreated.
fn by_status(status: Option<u16>) -> Class {
    match status {
        Some(429) => Class::Throttled,
        Some(401 | 403) => Class::Denied,
        Some(500..) => Class::Unavailable,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
