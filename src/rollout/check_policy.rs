//! The checks of a wave, from its spec. Pure.

use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use super::check_query::facts_of;
use crate::api::duration;
use crate::api::fleet_rollout_check::{ConditionCheck, WaveCheck};

/// The shortest time between two runs of a check.
pub const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// Hexadecimal digits of a digest.
const DIGEST_BYTES: usize = 6;

/// A check.
#[derive(Clone, Debug)]
pub struct CheckPolicy {
    /// Its name.
    pub name: String,
    /// As it is in the spec: what a run needs.
    pub spec: WaveCheck,
    /// Digest of the spec.
    pub definition: String,
    /// What it is.
    pub kind: CheckKind,
    /// Time between two runs.
    pub interval: SignedDuration,
    /// How many consecutive failures are tolerated.
    pub failure_limit: i32,
    /// How many consecutive errors are tolerated.
    pub error_limit: i32,
}

/// What a check is.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// A value within bounds.
    Query {
        /// Whether each cluster has its own.
        per_cluster: bool,
        /// The lowest good value.
        min: Option<f64>,
        /// The highest good value.
        max: Option<f64>,
    },
    /// A Job that succeeds, once.
    Job,
    /// A condition that objects have throughout the soak.
    Condition,
}

impl CheckPolicy {
    /// The check of a wave's spec.
    ///
    /// # Errors
    /// What is invalid: the schema should have rejected it.
    pub fn of(spec: &WaveCheck) -> Result<Self, String> {
        let name = &spec.name;
        let invalid = |why: String| format!("check {name}: {why}");
        let time = |field: &str, text: &str| {
            let parsed = duration::parse(text).and_then(|time| SignedDuration::try_from(time).ok());
            parsed.ok_or_else(|| invalid(format!("{field}: {}", duration::refusal(text))))
        };
        let (kind, interval, failure_limit, error_limit) = match (&spec.prometheus, &spec.job, &spec.condition) {
            (Some(query), None, None) => {
                let facts = facts_of(&query.query).map_err(|why| invalid(format!("query: {why}")))?;
                let (min, max) = (query.min.map(|min| min.0), query.max.map(|max| max.0));
                if min.is_none() && max.is_none() {
                    return Err(invalid("min or max must be set".to_owned()));
                }
                time("timeout", &query.timeout)?;
                let kind = CheckKind::Query { per_cluster: !facts.is_empty(), min, max };
                (kind, time("interval", &query.interval)?, query.failure_limit, query.error_limit)
            }
            (None, Some(job), None) => {
                time("timeout", &job.timeout)?;
                (CheckKind::Job, time("interval", &job.interval)?, job.failure_limit, job.error_limit)
            }
            (None, None, Some(condition)) => {
                let ConditionCheck { kind, type_, status: _, interval, failure_limit, error_limit } = condition;
                if !kind.condition_types().contains(type_) {
                    return Err(invalid(format!("condition: no {} has the condition {type_}", kind.as_str())));
                }
                (CheckKind::Condition, time("interval", interval)?, *failure_limit, *error_limit)
            }
            _ => return Err(invalid("exactly one of prometheus, job and condition must be set".to_owned())),
        };
        let definition = digest([serde_json::to_string(spec).unwrap_or_default()].iter());
        let interval = interval.max(MIN_INTERVAL);
        Ok(Self { name: name.clone(), spec: spec.clone(), definition, kind, interval, failure_limit, error_limit })
    }
}

/// Digest of texts.
pub fn digest<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        // Each text with its length: ["a", "bc"] and ["ab", "c"] differ.
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
