//! The message of a failure: the call, the resource, the reason from AWS, and what to do. Pure.

use std::fmt::Write;

use super::codes::{self, Advice};
use super::denial::{self, Policy};
use super::{Class, Failure};
use crate::aws::service::{NO_CALL, OPERATOR, Service};

/// AWS messages have at most a few hundred useful characters, and conditions have little room.
const MAX_LENGTH: usize = 700;

pub(super) fn format_message(failure: &Failure) -> String {
    let mut text = match failure.action {
        NO_CALL => format!("No credentials for {}: ", failure.resource),
        action => format!("{}:{action}", failure.service.as_str()),
    };
    if failure.action != NO_CALL {
        if !failure.resource.is_empty() {
            let _ = write!(text, " of {}", failure.resource);
        }
        if failure.account != OPERATOR {
            let _ = write!(text, " in account {}", failure.account);
        }
        let _ = write!(text, ", {}: ", failure.region);
    }
    match &failure.code {
        Some(code) if failure.message.is_empty() => text.push_str(code),
        Some(code) => {
            let _ = write!(text, "{}: {}", code, failure.message.trim_end_matches('.'));
        }
        None => text.push_str(failure.message.trim_end_matches('.')),
    }
    text.push('.');
    if let Some(advice) = advice(failure) {
        text.push(' ');
        text.push_str(&advice);
    }
    text
}

/// Removes parts that are useless or sensitive: EC2's encoded authorization message, and the canonical request with the
/// session token in a signature error.
pub(super) fn clean_message(message: &str) -> String {
    const CUT_AT: [&str; 3] =
        ["Encoded authorization failure message", "The Canonical String for this request", "The String-to-Sign"];
    let end = CUT_AT.iter().filter_map(|cut| message.find(cut)).min().unwrap_or(message.len());
    let mut text: String = message[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > MAX_LENGTH {
        let cut = (0..=MAX_LENGTH).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

fn advice(failure: &Failure) -> Option<String> {
    let code = failure.code.as_deref().unwrap_or_default();
    let row = codes::find(failure.service, code, &failure.message).filter(|row| row.class == failure.class);
    let text = match row.map_or(Advice::OfClass, |row| row.advice) {
        Advice::Do(text) => text.to_owned(),
        Advice::Quota(quota) => quota_advice(failure, &format!(" of \"{quota}\"")),
        Advice::OfClass | Advice::Retried => of_class(failure)?,
    };
    Some(text + ".")
}

/// What the class needs, with account and permission of the call.
fn of_class(failure: &Failure) -> Option<String> {
    Some(match failure.class {
        Class::Denied => denied(failure),
        Class::CredentialsUnavailable if failure.code.is_some() => {
            "AWS rejects the credentials: check that they are not expired or revoked, that the clock is right, and that \
             the region is enabled in the account, if it is one to opt in to".into()
        }
        Class::CredentialsUnavailable => {
            "Check the operator's credentials: the service account's role (IRSA or pod identity), environment or profile".into()
        }
        Class::Quota => quota_advice(failure, ""),
        Class::Capacity if !failure.valid_zones.is_empty() => {
            format!("Available zones: {}", failure.valid_zones.join(", "))
        }
        Class::Busy => format!("Blocked by: {}", failure.blocker.as_ref()?),
        Class::WrongAccount => "Correct the account id, the role, or the credentials; nothing was written".into(),
        _ => return None,
    })
}

fn quota_advice(failure: &Failure, quota: &str) -> String {
    let console = match failure.service {
        Service::Iam => "IAM's quotas",
        _ => "Service Quotas",
    };
    format!("Request a higher limit{quota} in {console} of account {}, or delete unused resources", failure.account)
}

fn denied(failure: &Failure) -> String {
    let called = format!("{}:{}", failure.service.as_str(), failure.action);
    let denial = denial::read(&failure.message);
    let by_identity = denial.as_ref().is_none_or(|denial| denial.policy == Policy::Identity);
    let by_trust = denial.as_ref().is_none_or(|denial| denial.policy == Policy::Trust);
    // AWS checks more than the called action, such as iam:PassRole.
    let permission = denial::action(&failure.message).unwrap_or_else(|| called.clone());
    let account = &failure.account;
    match denial {
        _ if failure.action == "AssumeRole" && by_trust => format!(
            "Check that role {} exists, that its trust policy allows the operator's own identity, and that the \
             external id matches",
            failure.resource
        ),
        _ if failure.action == "CreateRole" && permission == called && by_identity => format!(
            "Allow {permission} for the identity the operator uses in account {account}; the shipped policy allows it only with the permissions \
             boundary of deploy/iam-boundary.json: set permissionsBoundaryArn of the AwsAccount, and for roles of Pods \
             workloadPermissionsBoundaryArn (deploy/iam-workload-boundary.json)"
        ),
        Some(denial) => denial.advice(&called, account),
        None => format!(
            "Allow {permission} for the identity the operator uses in account {account}: its policy, the permissions boundary, or a service control policy forbids it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_error_does_not_quote_the_request() {
        let text = clean_message(
            "The request signature we calculated does not match. The Canonical String for this request should have been\n'POST\n/\nx-amz-security-token:SECRET'",
        );
        assert_eq!(text, "The request signature we calculated does not match.");
    }

    #[test]
    fn denied_role_creation_names_the_required_permissions_boundary() {
        let (account, region) = ("111122223333", "global");
        let call = |action| super::super::Call {
            service: Service::Iam,
            action,
            resource: "keelson-prod-node",
            account,
            region,
        };
        let format_message =
            |action| format_message(&call(action).failed(Class::Denied, "no identity-based policy allows the action"));
        assert!(format_message("CreateRole").contains("permissionsBoundaryArn"));
        assert!(!format_message("DeleteRole").contains("permissionsBoundaryArn"));
    }

    #[test]
    fn encoded_authorization_message_is_removed() {
        let text = clean_message(
            "You are not authorized to perform this operation. Encoded authorization failure message: AbCd",
        );
        assert_eq!(text, "You are not authorized to perform this operation.");
    }

    #[test]
    fn long_messages_are_truncated_at_a_character_boundary() {
        let text = clean_message(&"ü".repeat(2000));
        assert!(text.ends_with("...") && text.len() <= MAX_LENGTH + 3);
    }
}
