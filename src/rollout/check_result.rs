//! Results of checks: good, failed, or an error, and how many of them follow one another. Pure.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::check_policy::{CheckKind, CheckPolicy};
use super::request::Step;
use crate::api::conditions::bounded;
use crate::api::fleet_rollout_check::{CheckState, CheckStatus, ClusterCheckStatus, MAX_CLUSTERS};
use crate::api::stored_time::whole_seconds;

/// Longest message.
const MAX_MESSAGE: usize = 256;
/// Significant digits of a value in a message.
const DIGITS: i32 = 6;

/// A check of a wave of a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey {
    /// The release.
    pub step: Step,
    /// Name of the wave.
    pub wave: String,
    /// Name of the check.
    pub check: String,
}

/// The results of one run of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckRun {
    /// Which check.
    pub key: CheckKey,
    /// Digest of its spec.
    pub definition: String,
    /// Digest of its clusters.
    pub covered: String,
    /// When it began.
    pub began_at: Timestamp,
    /// What was found: of each cluster, or of the wave.
    pub found: Vec<ClusterOutcome>,
}

/// What was found of a cluster, or of a wave.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterOutcome {
    /// Namespace and name of the cluster; `None`: of the wave.
    pub cluster: Option<String>,
    /// What was found.
    pub outcome: Outcome,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The value of a query.
    Value(f64),
    /// A Job has succeeded.
    Succeeded,
    /// All objects have the condition, without interruption since then.
    Holds(Timestamp),
    /// A Job has failed, or an object does not have the condition.
    Failed(String),
    /// Nothing is known.
    Error(String),
}

/// An outcome, compared with the policy.
struct EvaluatedResult {
    cluster: Option<String>,
    state: CheckState,
    value: Option<f64>,
    /// Since when the objects have the condition.
    since: Option<Timestamp>,
    message: String,
    failures: i32,
    errors: i32,
}

/// The status after a run.
pub fn apply(check: &CheckPolicy, last: &CheckStatus, run: &CheckRun) -> CheckStatus {
    let mut judged: Vec<EvaluatedResult> = run.found.iter().map(|one| judge(check, last, one)).collect();
    // What is closest to a halt comes first, and is never cut off.
    let distance = |one: &EvaluatedResult| (one.failures - check.failure_limit).max(one.errors - check.error_limit);
    judged.sort_by_key(|one| {
        (one.state == CheckState::Passed, Reverse(distance(one)), Reverse(one.failures), one.cluster.clone())
    });
    let bad: Vec<&EvaluatedResult> = judged.iter().filter(|one| one.state != CheckState::Passed).collect();
    let base = CheckStatus {
        last_run_at: Some(whole_seconds(run.began_at)),
        covered: run.covered.clone(),
        ..CheckStatus::pending(&check.name, &check.definition)
    };
    let Some(worst) = judged.first() else {
        let message = Some("the run has no result".to_owned());
        return CheckStatus { state: CheckState::Error, errors: last.errors + 1, message, ..base };
    };
    let others = match bad.len() {
        0 | 1 => String::new(),
        2 => "; 1 more cluster is not good".to_owned(),
        number => format!("; {} more clusters are not good", number - 1),
    };
    let is_per_cluster = worst.cluster.is_some();
    let is_bad = worst.state != CheckState::Passed;
    let most = |count: fn(&EvaluatedResult) -> i32| bad.iter().map(|one| count(one)).max().unwrap_or_default();
    let of_cluster = |one: &&EvaluatedResult| {
        let (cluster, message) = (one.cluster.clone()?, bounded(&one.message, MAX_MESSAGE));
        Some(ClusterCheckStatus { cluster, state: one.state, failures: one.failures, errors: one.errors, message })
    };
    CheckStatus {
        state: worst.state,
        value: worst.value.filter(|_| is_bad || !is_per_cluster).map(format_value),
        // Of all objects.
        since: judged.iter().filter_map(|one| one.since).max().filter(|_| !is_bad).map(whole_seconds),
        cluster: worst.cluster.clone().filter(|_| is_bad),
        failures: most(|one| one.failures),
        errors: most(|one| one.errors),
        message: is_bad.then(|| bounded(&format!("{}{others}", worst.message), MAX_MESSAGE)),
        clusters: bad.iter().filter_map(of_cluster).take(MAX_CLUSTERS).collect(),
        ..base
    }
}

fn judge(check: &CheckPolicy, last: &CheckStatus, one: &ClusterOutcome) -> EvaluatedResult {
    let (state, value, message) = match &one.outcome {
        Outcome::Value(value) => compare(&check.kind, *value),
        Outcome::Succeeded | Outcome::Holds(_) => (CheckState::Passed, None, String::new()),
        Outcome::Failed(why) => (CheckState::Failed, None, why.clone()),
        Outcome::Error(why) => (CheckState::Error, None, why.clone()),
    };
    let (failures, errors) = match &one.cluster {
        None => (last.failures, last.errors),
        Some(cluster) => {
            let of = last.clusters.iter().find(|status| status.cluster == *cluster);
            of.map_or((0, 0), |status| (status.failures, status.errors))
        }
    };
    let (failures, errors) = match state {
        CheckState::Pending | CheckState::Passed => (0, 0),
        CheckState::Failed => (failures.saturating_add(1), 0),
        // It may fail still: an error in between does not make it good.
        CheckState::Error => (failures, errors.saturating_add(1)),
    };
    let since = match &one.outcome {
        Outcome::Holds(since) => Some(*since),
        Outcome::Value(_) | Outcome::Succeeded | Outcome::Failed(_) | Outcome::Error(_) => None,
    };
    EvaluatedResult { cluster: one.cluster.clone(), state, value, since, message, failures, errors }
}

fn compare(kind: &CheckKind, value: f64) -> (CheckState, Option<f64>, String) {
    let CheckKind::Query { min, max, .. } = kind else {
        return (CheckState::Error, None, "only a query has a value".to_owned());
    };
    if !value.is_finite() {
        return (CheckState::Error, None, format!("the query returned {value}"));
    }
    let failed = |word: &str, bound: f64| {
        let message = format!("{} is {word} {}", format_value(value), format_value(bound));
        (CheckState::Failed, Some(value), message)
    };
    match (*min, *max) {
        (_, Some(max)) if value > max => failed("above", max),
        (Some(min), _) if value < min => failed("below", min),
        _ => (CheckState::Passed, Some(value), String::new()),
    }
}

/// A value with the digits that people read.
fn format_value(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-9..1e15).contains(&size) {
        return format!("{value:e}").chars().take(32).collect();
    }
    // Between 10^-9 and 10^15.
    #[allow(clippy::cast_possible_truncation)]
    let magnitude = size.log10().floor() as i32;
    let decimals = usize::try_from((DIGITS - 1 - magnitude).max(0)).unwrap_or_default();
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// What was found, with the cluster.
pub fn describe_result(status: &CheckStatus) -> String {
    let cluster = status.cluster.as_ref().map(|cluster| format!("EksCluster {cluster}: ")).unwrap_or_default();
    format!("{cluster}{}", status.message.as_deref().unwrap_or_default())
}
