//! A message of the queue: CloudTrail's record of a call, as EventBridge delivers it. Pure.
//!
//! Formats:
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>, and
//! the envelope <https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html>. Parameters differ between
//! calls, and list formats between services, so every value is collected with the name of its field.
//!
//! Anyone who can send to the queue, or to a bus before it, can forge a message. EventBridge itself sets the account
//! and the region of the envelope, and only AWS can send from a source that begins with `aws.`; so the envelope counts,
//! and a record that contradicts it is rejected. All data taken from a message is limited in size, depth and number.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::aws::service::Service;

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A change.
    Change(Event),
    /// Not relevant: a read, a failed call, or another service.
    Other,
}

/// A change in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The account of the call.
    pub account: String,
    /// The region; for IAM, which is global, the region that delivers its events.
    pub region: String,
    /// The service.
    pub service: Service,
    /// The API action.
    pub action: String,
    /// The caller.
    pub caller_arn: Option<String>,
    user_agent: String,
    /// All values in the call and its response, each with the fields (for example `roleName`) that contain it.
    named: BTreeMap<String, BTreeSet<String>>,
}

/// Maximum event size of EventBridge: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Maximum depth of a record for collecting values: more than CloudTrail's records have.
const MAX_DEPTH: usize = 32;
/// Maximum length of a name: longer than those of all calls and regions.
const MAX_WORD_LENGTH: usize = 128;
/// Maximum number of values from one event: more than the longest real one has.
const MAX_VALUES: usize = 4000;
/// Maximum length of a value: ARNs are the longest.
const MAX_VALUE_LENGTH: usize = 2048;
/// How the SDK adds the application name to its user agent.
const OUR_APP: &str = "app/keelson";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope {
    detail_type: String,
    source: String,
    account: String,
    region: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    detail: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_name: String,
    #[serde(default)]
    event_source: Option<String>,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    read_only: Option<bool>,
    #[serde(default)]
    user_agent: Option<String>,
    #[serde(default)]
    user_identity: Identity,
    #[serde(default)]
    aws_region: Option<String>,
    #[serde(default)]
    recipient_account_id: Option<String>,
    #[serde(default)]
    request_parameters: Value,
    #[serde(default)]
    response_elements: Value,
    #[serde(default)]
    resources: Value,
}

#[derive(Default, Deserialize)]
struct Identity {
    #[serde(default)]
    arn: Option<String>,
}

/// Why a message is rejected. The text quotes nothing of the message.
#[derive(Debug, thiserror::Error)]
pub enum RejectedMessage {
    /// It is not JSON, or a field is missing.
    #[error("it is not an event as EventBridge delivers it ({:?} error)", .0.classify())]
    NotAnEvent(#[from] serde_json::Error),
    /// It is larger than any event.
    #[error("it has {0} bytes, and EventBridge delivers at most {MAX_BODY_BYTES}")]
    TooLarge(usize),
    /// AWS does not write such a value in this field.
    #[error("its {0} is not valid in AWS")]
    Invalid(&'static str),
    /// The record contradicts the envelope.
    #[error("its record names another {0} than EventBridge does: it is forged")]
    Contradictory(&'static str),
}

impl Message {
    /// Parses the body of a message.
    ///
    /// # Errors
    /// When it is not a valid event.
    pub fn read(body: &str) -> Result<Self, RejectedMessage> {
        if body.len() > MAX_BODY_BYTES {
            return Err(RejectedMessage::TooLarge(body.len()));
        }
        let Envelope { detail_type, source, account, region, resources, detail } = serde_json::from_str(body)?;
        let service = match source.as_str() {
            "aws.ec2" => Service::Ec2,
            "aws.eks" => Service::Eks,
            "aws.iam" => Service::Iam,
            _ => return Ok(Message::Other),
        };
        if detail_type != "AWS API Call via CloudTrail" {
            return Ok(Message::Other);
        }
        let detail: Detail = serde_json::from_value(detail)?;
        check(&account, &region, service, &detail)?;
        if detail.error_code.is_some() || detail.read_only == Some(true) {
            return Ok(Message::Other);
        }
        let mut named = BTreeMap::new();
        collect("", &detail.request_parameters, MAX_DEPTH, &mut named);
        collect("", &detail.response_elements, MAX_DEPTH, &mut named);
        collect("arn", &detail.resources, MAX_DEPTH, &mut named);
        for arn in resources {
            insert("arn", arn, &mut named);
        }
        Ok(Message::Change(Event {
            account,
            region,
            service,
            action: detail.event_name,
            caller_arn: detail.user_identity.arn.filter(|arn| is_arn(arn)),
            user_agent: detail.user_agent.unwrap_or_default(),
            named,
        }))
    }
}

/// Checks that AWS could have written the record, and that it matches the envelope.
fn check(account: &str, region: &str, service: Service, detail: &Detail) -> Result<(), RejectedMessage> {
    let is_word = |text: &str, more: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && text.len() <= MAX_WORD_LENGTH && text.chars().all(good)
    };
    if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
        return Err(RejectedMessage::Invalid("account"));
    }
    if !is_word(region, "-") {
        return Err(RejectedMessage::Invalid("region"));
    }
    if !is_word(&detail.event_name, "") {
        return Err(RejectedMessage::Invalid("eventName"));
    }
    if detail.recipient_account_id.as_deref().is_some_and(|recipient| recipient != account) {
        return Err(RejectedMessage::Contradictory("account"));
    }
    if detail.aws_region.as_deref().is_some_and(|named| named != region) {
        return Err(RejectedMessage::Contradictory("region"));
    }
    let called = detail.event_source.as_deref().map(|source| source.split('.').next().unwrap_or_default());
    if called.is_some_and(|called| called != service.as_str()) {
        return Err(RejectedMessage::Contradictory("service"));
    }
    Ok(())
}

/// Needed because users read it in Kubernetes events.
fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.len() <= MAX_VALUE_LENGTH && text.chars().all(|c| c.is_ascii_graphic())
}

/// Collects every string in `value` under the nearest field with its own name, up to `levels` deep.
fn collect(field: &str, value: &Value, levels: usize, into: &mut BTreeMap<String, BTreeSet<String>>) {
    let Some(levels) = levels.checked_sub(1) else { return };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                // CloudTrail's list formats: {"items": [...]}, {"tag": 1, "content": ...}.
                let own = !matches!(name.as_str(), "items" | "content");
                collect(if own { name } else { field }, member, levels, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(field, item, levels, into)),
        Value::String(text) => {
            if text.starts_with("arn%3A") {
                // As encoded in the path of the request.
                let decoded = url::form_urlencoded::parse(text.as_bytes()).next();
                decoded.into_iter().for_each(|(decoded, _)| insert(field, decoded.into_owned(), into));
            }
            insert(field, text.clone(), into);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn insert(field: &str, value: String, into: &mut BTreeMap<String, BTreeSet<String>>) {
    let field_fits = field.len() <= MAX_WORD_LENGTH;
    let value_fits = !value.is_empty() && value.len() <= MAX_VALUE_LENGTH;
    if field_fits && value_fits && into.len() < MAX_VALUES {
        into.entry(value).or_default().insert(in_camel_case(field));
    }
}

/// Converts `VpcId`, as in newer calls, to `vpcId`.
fn in_camel_case(field: &str) -> String {
    let mut letters = field.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl Event {
    /// Whether the event contains this id, name or ARN in any field.
    pub fn names(&self, value: &str) -> bool {
        self.named.contains_key(value)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The values of a field, at any depth.
    pub fn field<'e>(&'e self, field: &'e str) -> impl Iterator<Item = &'e str> {
        self.named.iter().filter(move |(_, fields)| fields.contains(field)).map(|(value, _)| value.as_str())
    }

    /// Whether a Keelson made the call: this one, or another.
    pub fn is_by_keelson(&self) -> bool {
        self.user_agent.trim_matches(['[', ']']).split(' ').any(|part| part == OUR_APP)
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
