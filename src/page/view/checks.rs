//! The checks of a wave: the last result of each against what is good, and when it is run again. Pure.

use jiff::{SignedDuration, Timestamp};

use super::badge::Badge;
use super::context::Context;
use crate::api::duration;
use crate::api::fleet_rollout::Wave;
use crate::api::fleet_rollout_check::{CheckState, CheckStatus, ConditionCheck, PrometheusCheck, WaveCheck};
use crate::api::fleet_rollout_status::{WaveState, WaveStatus};
use crate::api::listing::counted;
use crate::cli::time::format_between;
use crate::page::id::{Id, Kind};
use crate::page::state::State;

/// A check.
pub struct CheckRow {
    pub name: String,
    pub badge: Badge,
    /// `0.04, good is at most 0.01`.
    pub value: String,
    /// `3 failures in a row, of which 2 are tolerated`.
    pub counts: String,
    /// When it was run, and when it is run again.
    pub time: String,
    pub message: String,
    /// Clusters whose last result is not good.
    pub clusters: Vec<ClusterResult>,
}

/// The result of a cluster.
pub struct ClusterResult {
    pub cluster: String,
    pub href: String,
    pub badge: Badge,
    pub message: String,
}

/// The checks of a wave. `spec`: the wave in the spec, if it is still there.
pub fn checks(wave: &WaveStatus, spec: Option<&Wave>, context: &Context<'_>) -> Vec<CheckRow> {
    let of_spec = |name: &str| spec.and_then(|spec| spec.checks.iter().find(|check| check.name == name));
    wave.checks.iter().map(|check| row(check, of_spec(&check.name), wave.state, context)).collect()
}

fn row(check: &CheckStatus, spec: Option<&WaveCheck>, wave: WaveState, context: &Context<'_>) -> CheckRow {
    let is_open = matches!(wave, WaveState::Progressing | WaveState::Soaking);
    // What was found of a cluster is for those who may see it.
    let is_shown = check.cluster.as_deref().is_none_or(|cluster| may_see(cluster, context));
    let of_cluster = check.cluster.as_ref().filter(|_| is_shown).map(|cluster| format!("{cluster}: "));
    let found = check.message.as_ref().filter(|_| is_shown);
    let message = found.map(|found| format!("{}{found}", of_cluster.unwrap_or_default()));
    let value = check.value.as_ref().filter(|_| is_shown);
    let clusters = check.clusters.iter().filter(|one| may_see(&one.cluster, context)).map(|one| {
        let (namespace, name) = one.cluster.split_once('/').unwrap_or_default();
        ClusterResult {
            cluster: one.cluster.clone(),
            href: Id::new(Kind::EksCluster, namespace, name).path(),
            badge: badge(one.state, is_open, spec),
            message: one.message.clone(),
        }
    });
    let parts = [value.cloned().unwrap_or_default(), spec.map(describe_good).unwrap_or_default()];
    CheckRow {
        name: check.name.clone(),
        badge: badge(check.state, is_open, spec),
        value: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "),
        counts: counts(check, spec),
        time: time(check, spec, is_open, context),
        message: message.unwrap_or_default(),
        clusters: clusters.collect(),
    }
}

fn may_see(cluster: &str, context: &Context<'_>) -> bool {
    cluster.split_once('/').is_some_and(|(namespace, _)| context.viewer.may_see_namespace(namespace))
}

fn badge(state: CheckState, is_open: bool, spec: Option<&WaveCheck>) -> Badge {
    let is_job = spec.is_some_and(|spec| spec.job.is_some());
    match state {
        CheckState::Passed => Badge::with_text(State::Ready, "passed"),
        CheckState::Failed => Badge::with_text(State::Failing, "failed"),
        CheckState::Error => Badge::with_text(State::Warning, "error"),
        CheckState::Pending if is_open && is_job => Badge::with_text(State::Progressing, "running"),
        CheckState::Pending => Badge::with_text(State::Unknown, "no result yet"),
    }
}

/// Which results are good.
fn describe_good(check: &WaveCheck) -> String {
    if let Some(PrometheusCheck { min, max, .. }) = &check.prometheus {
        return match (min, max) {
            (Some(min), Some(max)) => format!("good is from {} to {}", min.0, max.0),
            (Some(min), None) => format!("good is at least {}", min.0),
            (None, Some(max)) => format!("good is at most {}", max.0),
            (None, None) => String::new(),
        };
    }
    if let Some(ConditionCheck { kind, type_, status, .. }) = &check.condition {
        return format!("good is {} {} of each {}", type_.as_str(), status.as_str(), kind.as_str());
    }
    check.job.as_ref().map(|job| format!("its Job must succeed within {}", job.timeout)).unwrap_or_default()
}

/// Failures and errors in a row, and how many of them are tolerated.
fn counts(check: &CheckStatus, spec: Option<&WaveCheck>) -> String {
    let limits = spec.and_then(|spec| {
        let of_query = spec.prometheus.as_ref().map(|query| (query.failure_limit, query.error_limit));
        let of_condition = spec.condition.as_ref().map(|condition| (condition.failure_limit, condition.error_limit));
        of_query.or(of_condition).or(spec.job.as_ref().map(|job| (job.failure_limit, job.error_limit)))
    });
    let (failure_limit, error_limit) = limits.unzip();
    let of = |count: i32, noun: &str, limit: Option<i32>| {
        let tolerated = limit.map(|limit| format!(" ({limit} tolerated)")).unwrap_or_default();
        (count > 0).then(|| format!("{} in a row{tolerated}", counted(count, noun)))
    };
    let parts = [of(check.failures, "failure", failure_limit), of(check.errors, "error", error_limit)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `3 min ago, next in about 40 s`.
fn time(check: &CheckStatus, spec: Option<&WaveCheck>, is_open: bool, context: &Context<'_>) -> String {
    let Some(ran) = check.last_run_at.as_ref().map(|time| time.0) else { return String::new() };
    let next = spec.filter(|_| is_open).and_then(|spec| next(check.state, ran, spec, context.now));
    let next = next.map(|next| format!(", next in about {}", format_between(context.now, next)));
    format!("{} ago{}", context.elapsed(Some(ran)), next.unwrap_or_default())
}

/// When it is run again. Results that change nothing are recorded rarely, so that it may have run since `ran`.
fn next(state: CheckState, ran: Timestamp, spec: &WaveCheck, now: Timestamp) -> Option<Timestamp> {
    let interval = match (&spec.prometheus, &spec.condition, &spec.job) {
        (Some(query), ..) => &query.interval,
        (None, Some(condition), _) => &condition.interval,
        // It runs until it succeeds.
        (None, None, Some(job)) if state != CheckState::Passed => &job.interval,
        _ => return None,
    };
    let interval = SignedDuration::try_from(duration::parse(interval)?).ok()?.as_secs().max(1);
    let elapsed = now.duration_since(ran).as_secs().max(0);
    let until_next = SignedDuration::from_secs(interval - elapsed % interval);
    now.saturating_add(until_next).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::page::fleet::Fleet;
    use crate::page::tests::now;
    use crate::page::viewer::Viewer;

    fn query() -> Value {
        json!({"name": "errors", "prometheus": {"address": "http://prometheus:9090", "query": "up", "max": 0.01, "interval": "1m",
            "failureLimit": 2}})
    }

    fn of(check: Value, spec: &Value, state: &str, viewer: &Viewer) -> CheckRow {
        let wave: WaveStatus =
            serde_json::from_value(json!({"name": "canary", "state": state, "checks": [check]})).unwrap();
        let spec: Wave = serde_json::from_value(json!({"name": "canary", "checks": [spec]})).unwrap();
        let fleet = Fleet::default();
        let context = Context { fleet: &fleet, viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        checks(&wave, Some(&spec), &context).pop().unwrap()
    }

    fn failed() -> Value {
        json!({"name": "errors", "state": "Failed", "value": "0.04", "cluster": "team-b/foreign", "failures": 1, "errors": 2,
            "lastRunAt": "2026-11-30T23:58:20Z", "message": "0.04 is above 0.01",
            "clusters": [{"cluster": "team-b/foreign", "state": "Failed", "message": "0.04 is above 0.01"}]})
    }

    #[test]
    fn result_stands_against_what_is_good() {
        let row = of(failed(), &query(), "Soaking", &Viewer::of_everything());
        assert_eq!(row.value, "0.04, good is at most 0.01");
        assert_eq!(row.counts, "1 failure in a row (2 tolerated), 2 errors in a row (4 tolerated)");
        assert_eq!(row.time, "1 min 40 s ago, next in about 20 s");
        assert_eq!((row.badge.shape, row.message.as_str()), ("failing", "team-b/foreign: 0.04 is above 0.01"));
        assert_eq!(row.clusters.len(), 1);
        // A wave that has passed runs nothing.
        assert_eq!(of(failed(), &query(), "Passed", &Viewer::of_everything()).time, "1 min 40 s ago");
    }

    #[test]
    fn condition_stands_against_its_status() {
        let spec = json!({"name": "errors", "condition": {"type": "InSync", "interval": "30s"}});
        let row = of(failed(), &spec, "Soaking", &Viewer::of_everything());
        assert_eq!(row.value, "0.04, good is InSync True of each EksCluster");
        assert_eq!(row.time, "1 min 40 s ago, next in about 20 s");
    }

    #[test]
    fn clusters_of_others_are_not_shown() {
        let row = of(failed(), &query(), "Soaking", &Viewer::of_namespaces(&["team-a"]));
        assert_eq!((row.value.as_str(), row.message.as_str()), ("good is at most 0.01", ""));
        assert!(row.clusters.is_empty());
        assert_eq!(row.badge.text, "failed", "the state of the wave is not a secret of the cluster");
    }

    #[test]
    fn each_state_has_its_shape() {
        let job = json!({"name": "errors", "job": {"cronJob": {"namespace": "a", "name": "b"}}});
        for (state, spec, wave, shape, word) in [
            ("Passed", query(), "Soaking", "ready", "passed"),
            ("Error", query(), "Soaking", "warning", "error"),
            ("Pending", query(), "Soaking", "unknown", "no result yet"),
            ("Pending", job.clone(), "Progressing", "progressing", "running"),
            ("Pending", job, "Pending", "unknown", "no result yet"),
        ] {
            let check = json!({"name": "errors", "state": state});
            let row = of(check, &spec, wave, &Viewer::of_everything());
            assert_eq!((row.badge.shape, row.badge.text.as_str()), (shape, word), "{state} {wave}");
            assert_eq!(row.time, "");
        }
    }
}
