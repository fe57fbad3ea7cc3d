//! One message of the queue: what CloudTrail tells of a call, as EventBridge delivers it. Pure.
//!
//! Shapes: <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>, and
//! around them <https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html>. Parameters differ from call to call,
//! and in how lists are written from service to service, so all that they name is taken, with the name of its field.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::aws::call::Service;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something was changed.
    Change(Event),
    /// Nothing that concerns us: a call that only read or was refused, another service.
    Other,
}

/// A change in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The account it was made in.
    pub account: String,
    /// The region; of IAM, which has none, the one that its events come from.
    pub region: String,
    /// The service that was called.
    pub service: Service,
    /// The call.
    pub action: String,
    /// Who called.
    pub caller_arn: Option<String>,
    user_agent: String,
    /// Everything named in the call and its answer: field (as `roleName`) and value.
    named: BTreeSet<(String, String)>,
}

/// Names taken from one event: more than the longest real one has.
const MOST_NAMES: usize = 4000;
/// ARNs are the longest names.
const LONGEST_NAME: usize = 2048;
/// How the SDK names an application in its user agent.
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

/// The message is none that EventBridge sends.
#[derive(Debug, thiserror::Error)]
#[error("not an event as EventBridge delivers it: {0}")]
pub struct Malformed(#[from] serde_json::Error);

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// When it is no event at all.
    pub fn read(body: &str) -> Result<Self, Malformed> {
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
        if detail.error_code.is_some() || detail.read_only == Some(true) {
            return Ok(Message::Other);
        }
        let mut named = BTreeSet::new();
        take("", &detail.request_parameters, &mut named);
        take("", &detail.response_elements, &mut named);
        take("arn", &detail.resources, &mut named);
        named.extend(resources.into_iter().map(|arn| ("arn".to_owned(), arn)));
        Ok(Message::Change(Event {
            account: detail.recipient_account_id.unwrap_or(account),
            region: detail.aws_region.unwrap_or(region),
            service,
            action: detail.event_name,
            caller_arn: detail.user_identity.arn,
            user_agent: detail.user_agent.unwrap_or_default(),
            named,
        }))
    }
}

/// Takes every text in `value` under the nearest field that has a name of its own.
fn take(field: &str, value: &Value, into: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                // How CloudTrail writes lists: {"items": [...]}, {"tag": 1, "content": ...}.
                let own = !matches!(name.as_str(), "items" | "content");
                take(if own { name } else { field }, member, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| take(field, item, into)),
        Value::String(text) if into.len() < MOST_NAMES && !text.is_empty() && text.len() <= LONGEST_NAME => {
            let field = in_camel_case(field);
            if text.starts_with("arn%3A") {
                // As it stood in the path of the request.
                let decoded =
                    url::form_urlencoded::parse(text.as_bytes()).next().map(|(decoded, _)| decoded.into_owned());
                into.extend(decoded.map(|decoded| (field.clone(), decoded)));
            }
            into.insert((field, text.clone()));
        }
        _ => {}
    }
}

/// `VpcId`, as younger calls have it, as `vpcId`.
fn in_camel_case(field: &str) -> String {
    let mut letters = field.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl Event {
    /// Whether the event names this id, name or ARN, in whatever field.
    pub fn names(&self, value: &str) -> bool {
        self.named.iter().any(|(_, named)| named == value)
    }

    /// The values of a field, wherever it stands.
    pub fn field<'e>(&'e self, field: &'e str) -> impl Iterator<Item = &'e str> {
        self.named.iter().filter(move |(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    /// Whether a Keelson called: this one, or another.
    pub fn is_by_keelson(&self) -> bool {
        self.user_agent.trim_matches(['[', ']']).split(' ').any(|part| part == OUR_APP)
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
