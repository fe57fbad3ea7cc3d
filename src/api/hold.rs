//! Holds: annotations on an object that keep anything from beginning. No I/O.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::bounded;
use super::listing::first_few_joined;

/// Prefix of the annotations that hold an object; the name of the hold follows, and the value is its reason.
pub const HOLD_PREFIX: &str = "hold.keelson.dev/";
/// Maximum entries of `holds`.
pub const MAX_HOLDS: usize = 20;
/// Longest reason in status, in characters.
const MAX_REASON: usize = 256;
/// Holds that a message names.
const MAX_NAMED: usize = 5;

/// A hold: an annotation `hold.keelson.dev/NAME`. While there is one, nothing begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// Name of the hold: the annotation's without its prefix.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The annotation's value.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub reason: String,
    /// Field manager that wrote the annotation, as far as the API server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub written_by: Option<String>,
}

impl HoldStatus {
    /// The annotation's key.
    pub fn annotation(&self) -> String {
        format!("{HOLD_PREFIX}{}", self.name)
    }
}

impl fmt::Display for HoldStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hold {} (", self.name)?;
        match self.reason.as_str() {
            "" => f.write_str("without a reason")?,
            reason => write!(f, "{reason:?}")?,
        }
        if let Some(by) = &self.written_by {
            write!(f, ", written by {by}")?;
        }
        f.write_str(")")
    }
}

/// The holds in `annotations`, by name. `previous`: the holds in status, which know who wrote them.
pub fn holds_in(annotations: &BTreeMap<String, String>, previous: &[HoldStatus]) -> Vec<HoldStatus> {
    let hold = |(key, value): (&String, &String)| {
        let name = key.strip_prefix(HOLD_PREFIX)?;
        let (name, reason) = (bounded(name, 63), bounded(value.trim(), MAX_REASON));
        let known = previous.iter().find(|hold| hold.name == name && hold.reason == reason);
        Some(HoldStatus { name, reason, written_by: known.and_then(|hold| hold.written_by.clone()) })
    };
    annotations.iter().filter_map(hold).take(MAX_HOLDS).collect()
}

/// Which holds keep anything from beginning.
pub fn describe_holds(holds: &[HoldStatus]) -> String {
    first_few_joined(holds, MAX_NAMED, ", ", " and ")
}

/// How to remove the holds of an object. `object`: kind and name, as for kubectl.
pub fn describe_removal(holds: &[HoldStatus], object: &str, namespace: &str) -> String {
    let keys: Vec<String> = holds.iter().map(|hold| format!("{}-", hold.annotation())).collect();
    format!("kubectl annotate {object} -n {namespace} {}", keys.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn holds_are_the_annotations_with_their_prefix() {
        let written = annotations(&[
            ("hold.keelson.dev/audit", " quarter end "),
            ("hold.keelson.dev/plain", ""),
            ("keelson.dev/approve", "1"),
            ("nohold.keelson.dev/x", "1"),
        ]);
        let holds = holds_in(&written, &[]);
        assert_eq!(describe_holds(&holds), "hold audit (\"quarter end\"), hold plain (without a reason)");
        assert_eq!(
            describe_removal(&holds, "ekscluster demo", "team"),
            "kubectl annotate ekscluster demo -n team hold.keelson.dev/audit- hold.keelson.dev/plain-"
        );
    }

    #[test]
    fn author_is_known_until_the_reason_changes() {
        let before = HoldStatus { name: "a".into(), reason: "x".into(), written_by: Some("kubectl-annotate".into()) };
        let of = |reason| holds_in(&annotations(&[("hold.keelson.dev/a", reason)]), std::slice::from_ref(&before));
        assert_eq!(of("x").first(), Some(&before));
        assert_eq!(of("y")[0].written_by, None);
        assert_eq!(before.to_string(), "hold a (\"x\", written by kubectl-annotate)");
    }

    #[test]
    fn status_stays_small() {
        let many: Vec<_> = (0..40).map(|n| (format!("hold.keelson.dev/{n:02}"), "r".repeat(4000))).collect();
        let holds = holds_in(&many.into_iter().collect(), &[]);
        assert_eq!(holds.len(), MAX_HOLDS);
        assert!(holds.iter().all(|hold| hold.reason.chars().count() <= MAX_REASON));
    }
}
