//! An event in the JSON format of CloudEvents 1.0 (structured mode). Pure.
//!
//! See <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::needs::Need;
use crate::api::GROUP;

/// Content type of the body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// Ends the type of the event that says that a need has ended.
const RESOLVED: &str = ".resolved";

/// What an event says of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It needs a person.
    Open,
    /// It no longer does, since then.
    Resolved(Timestamp),
}

/// Id of the event. Receivers that have seen it drop it.
pub fn id(need_id: &str, phase: Phase) -> String {
    match phase {
        Phase::Open => need_id.to_owned(),
        Phase::Resolved(_) => format!("{need_id}-resolved"),
    }
}

/// The event. `installation`: the id of this installation of Keelson.
pub fn body(need: &Need, need_id: &str, phase: Phase, installation: Option<&str>) -> Vec<u8> {
    let about = &need.about;
    let subject = about.namespace.iter().chain([&about.name]).map(String::as_str).collect::<Vec<_>>().join("/");
    let (event_type, state, time) = match phase {
        Phase::Open => (need.kind.event_type().to_owned(), "Open", need.since),
        Phase::Resolved(at) => (format!("{}{RESOLVED}", need.kind.event_type()), "Resolved", Some(at)),
    };
    let mut event = json!({
        "specversion": "1.0",
        "id": id(need_id, phase),
        "source": installation.map_or_else(|| "urn:keelson".to_owned(), |id| format!("urn:keelson:{id}")),
        "type": event_type,
        "subject": format!("{}/{subject}", about.kind),
        "datacontenttype": "application/json",
        "data": {
            "state": state,
            "need": need_id,
            "reason": need.reason,
            "message": need.message,
            "object": {
                "apiVersion": format!("{GROUP}/v1alpha1"), "kind": about.kind, "name": about.name, "uid": about.uid,
            },
        },
    });
    // Absent where it is not known.
    if let Some(namespace) = &about.namespace {
        event["data"]["object"]["namespace"] = namespace.as_str().into();
    }
    if let Some(time) = time {
        event["time"] = Value::String(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    event.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::needs::{AffectedObject, NeedKind};
    use super::*;

    #[test]
    fn event_has_the_attributes_of_cloudevents() {
        let need = Need {
            about: AffectedObject {
                kind: "EksCluster",
                namespace: Some("team".into()),
                name: "demo".into(),
                uid: "u-1".into(),
            },
            kind: NeedKind::ObjectStalled,
            detail: "QuotaExceeded/1".into(),
            reason: "QuotaExceeded".into(),
            message: "the quota of VPCs is used up".into(),
            since: Some("2026-11-28T10:00:00Z".parse().unwrap()),
        };
        let event = |phase| -> Value { serde_json::from_slice(&body(&need, "ab", phase, Some("i-1"))).unwrap() };
        insta::assert_snapshot!(serde_json::to_string_pretty(&event(Phase::Open)).unwrap());
        let resolved = event(Phase::Resolved("2026-11-28T11:00:00Z".parse().unwrap()));
        assert_eq!(resolved["type"], "dev.keelson.object.stalled.resolved");
        assert_eq!((&resolved["id"], &resolved["data"]["need"]), (&json!("ab-resolved"), &json!("ab")));
        assert_eq!(
            (&resolved["time"], &resolved["data"]["state"]),
            (&json!("2026-11-28T11:00:00Z"), &json!("Resolved"))
        );
        let of_cluster_scope =
            Need { about: AffectedObject { namespace: None, ..need.about.clone() }, since: None, ..need };
        let event: Value = serde_json::from_slice(&body(&of_cluster_scope, "ab", Phase::Open, None)).unwrap();
        assert_eq!((&event["source"], &event["subject"]), (&json!("urn:keelson"), &json!("EksCluster/demo")));
        assert!(event.get("time").is_none() && event["data"]["object"].get("namespace").is_none());
    }
}
