//! Converts SDK errors: reads code, message, request id and status, and classifies failures without a response. No I/O.

use std::error::Error;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_eks::types::error::UnsupportedAvailabilityZoneException;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::class::classify;
use super::{AwsError, Call, Class, advice};

impl Call<'_> {
    /// Classifies an SDK error.
    pub fn sdk_failure<E>(&self, error: SdkError<E, HttpResponse>) -> ClassifiedError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if let Some(credentials) = find::<AwsError>(&error) {
            return ClassifiedError { error: credentials.clone(), origin: Origin::Credentials };
        }
        let mut failure = self.failed(Class::Unavailable, "");
        let mut origin = Origin::Transport;
        match &error {
            SdkError::ServiceError(response) => {
                let code = response.err().code().map(str::to_owned);
                let message = response.err().message().unwrap_or_default();
                let status = response.raw().status().as_u16();
                failure.message = advice::clean_message(message);
                failure.class = classify(self.service, code.as_deref(), message, Some(status));
                failure.valid_zones = valid_zones(response.err(), failure.class, message);
                failure.blocker = (failure.class == Class::Busy).then(|| blocker(self.resource, message)).flatten();
                if failure.message.is_empty() && code.is_none() {
                    failure.message = format!("HTTP status {status} without an error code");
                }
                failure.code = code;
                origin = Origin::Service;
            }
            SdkError::TimeoutError(_) => failure.message = "timeout: no response".into(),
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                failure.message =
                    format!("the response (HTTP status {status}) could not be read: {}", root_cause(&error));
            }
            SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) | _ => {
                if let Some(credentials) = find::<CredentialsError>(&error) {
                    origin = Origin::Credentials;
                    failure.class = Class::CredentialsUnavailable;
                    failure.message = format!("no credentials: {}", root_cause(credentials));
                } else if matches!(error, SdkError::ConstructionFailure(_)) {
                    failure.class = Class::Invalid;
                    failure.message = format!("the request could not be built: {}", root_cause(&error));
                } else {
                    failure.message = format!("no connection: {}", root_cause(&error));
                }
            }
        }
        if let Some(raw) = error.raw_response() {
            failure.http_status = Some(raw.status().as_u16());
            let headers = raw.headers();
            let id = headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id"));
            failure.request_id = id.map(str::to_owned);
        }
        failure.source = error.into_source().ok().map(Arc::from);
        ClassifiedError { error: failure.into(), origin }
    }
}

/// A classified failure and its origin.
pub struct ClassifiedError {
    pub error: AwsError,
    pub origin: Origin,
}

/// Origin of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The called service: only its responses affect its rate limits.
    Service,
    /// The transport: the call may have been applied.
    Transport,
    /// Missing credentials: the call was not sent. The failure is that of the call that fetches credentials.
    Credentials,
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}

/// The innermost errors are specific; the outer ones only say "dispatch failure" and the like.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    advice::clean_message(&last.to_string())
}

/// From the modelled error; from the message where EC2 (or an SDK without that field) has them only there.
fn valid_zones(error: &(dyn Error + 'static), class: Class, message: &str) -> Vec<String> {
    if let Some(modelled) = find::<UnsupportedAvailabilityZoneException>(error)
        && !modelled.valid_zones().is_empty()
    {
        return modelled.valid_zones().to_vec();
    }
    if class != Class::Capacity {
        return Vec::new();
    }
    let Some((_, list)) = message.rsplit_once(':') else {
        return Vec::new();
    };
    list.split(',').map(|zone| zone.trim().trim_end_matches('.').to_owned()).filter(|zone| is_zone_name(zone)).collect()
}

/// `eu-west-1a`, `us-gov-west-1b`.
fn is_zone_name(text: &str) -> bool {
    let mut ends = text.chars().rev();
    ends.next().is_some_and(|c| c.is_ascii_lowercase())
        && ends.next().is_some_and(|c| c.is_ascii_digit())
        && text.matches('-').count() >= 2
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The blocking resources in AWS's message: node groups, Fargate profiles, mapped addresses, or ids other than the
/// resource's own.
fn blocker(resource: &str, message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    const KINDS: [(&str, &str); 7] = [
        ("nodegroups attached", "node groups of the cluster"),
        ("node groups attached", "node groups of the cluster"),
        ("fargate profiles", "Fargate profiles of the cluster"),
        ("fargate profile", "another Fargate profile of the cluster"),
        ("mapped public address", "public addresses mapped in the VPC (load balancers, NAT gateways, instances)"),
        ("must detach all policies", "policies attached to the role"),
        ("must delete policies", "inline policies of the role"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(phrase, _)| lower.contains(phrase)) {
        return Some((*kind).to_owned());
    }
    let ids: Vec<&str> = message
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| is_resource_id(word) && !resource.contains(word))
        .collect();
    (!ids.is_empty()).then(|| ids.join(", "))
}

/// `eni-0123abcd`: letters, a dash, at least eight hex digits.
fn is_resource_id(word: &str) -> bool {
    word.rsplit_once('-').is_some_and(|(kind, id)| {
        !kind.is_empty()
            && kind.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            && id.len() >= 8
            && id.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
#[path = "sdk_tests.rs"]
mod tests;
