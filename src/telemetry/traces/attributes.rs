//! Attributes of spans: an allow list, and values without secrets. Pure.
//!
//! Names are those of OpenTelemetry's semantic conventions where there is one, and otherwise begin with `keelson.`.

use crate::telemetry::redact::redact;

/// The attributes that may leave the process. A field with another name is not exported.
const ALLOWED: [&str; 28] = [
    "aws.request_id",
    "cloud.account.id",
    "cloud.provider",
    "cloud.region",
    "error.message",
    "error.type",
    "http.response.status_code",
    "k8s.namespace.name",
    "keelson.action",
    "keelson.call.outcome",
    "keelson.change.generation",
    "keelson.change.outcome",
    "keelson.change.type",
    "keelson.error.code",
    "keelson.object.kind",
    "keelson.object.name",
    "keelson.object.uid",
    "keelson.operation",
    "keelson.ready.message",
    "keelson.ready.reason",
    "keelson.reconcile.trigger",
    "keelson.resource",
    "keelson.wait.message",
    "keelson.wait.reason",
    "keelson.write",
    "rpc.method",
    "rpc.service",
    "rpc.system",
];

/// Longest value, in characters.
const MAX_VALUE: usize = 256;
/// Longest message, in characters.
const MAX_MESSAGE: usize = 1024;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// What may be exported of an attribute; `None`: nothing.
pub fn allowed(name: &str, value: &Value) -> Option<Value> {
    ALLOWED.contains(&name).then(|| match value {
        Value::Text(text) => {
            let max = if name.ends_with(".message") { MAX_MESSAGE } else { MAX_VALUE };
            Value::Text(bounded(text, max))
        }
        other => other.clone(),
    })
}

/// What may be exported of an error.
pub fn error(text: &str) -> String {
    bounded(text, MAX_MESSAGE)
}

/// Redacted first: a cut could hide the mark before a secret.
fn bounded(text: &str, max: usize) -> String {
    redact(text).chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_lists_every_attribute() {
        let page = include_str!("../../../docs/traces.md");
        let missing: Vec<_> = ALLOWED.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "not in docs/traces.md: {missing:?}");
    }

    #[test]
    fn only_listed_attributes_leave_and_without_secrets() {
        assert_eq!(allowed("password", &"hunter2".into()), None);
        assert_eq!(allowed("keelson.write", &Value::Bool(true)), Some(Value::Bool(true)));
        let url = allowed("keelson.resource", &"https://bot:hunter2@git.example.com/fleet".into());
        assert_eq!(url, Some("https://<redacted>@git.example.com/fleet".into()));
        assert_eq!(error("used k8s-aws-v1.c2VjcmV0"), "used k8s-aws-v1.<redacted>");
        let long = format!("{}https://bot:hunter2@host", "x".repeat(MAX_VALUE - 16));
        assert!(!format!("{:?}", allowed("keelson.resource", &long.as_str().into())).contains("hunter2"));
    }
}
