//! The checks of a wave whose clusters have the version and are healthy: from what is recorded and new results to whether they are good,
//! what halts the release, and what must be run now. Pure.
//!
//! A query is good once a run that began at the end of the soak, or later, has passed; a Job once one that began after the arrival of the
//! last cluster has succeeded; a condition once a run at the end of the soak, or later, found that it had lasted for as long as the soak. What is not known is never good, and no time that passes makes it so. Every decision derives
//! from status: a run whose result is lost, with the process that requested it, is due again.

use jiff::{SignedDuration, Timestamp};

use super::check_policy::{CheckKind, CheckPolicy, MIN_INTERVAL, digest};
use super::check_result::{CheckKey, CheckRun, apply, describe_result};
use super::member::Member;
use super::policy::WavePolicy;
use super::release::Release;
use crate::api::fleet_rollout_check::{CheckState, CheckStatus, WaveCheck};

/// How old a recorded result may be that later ones only confirm: each write of status costs all that watch it.
const REFRESH: SignedDuration = SignedDuration::from_mins(10);

/// A run of a check that must begin now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCheck {
    /// Which check of which wave.
    pub key: CheckKey,
    /// Digest of its spec.
    pub definition: String,
    /// Digest of its clusters.
    pub covered: String,
    /// Its clusters, by namespace and name.
    pub clusters: Vec<String>,
    /// Its spec.
    pub spec: WaveCheck,
    /// Distinguishes this run from earlier ones of the same check: a run that is requested again after a restart has the same.
    pub attempt: String,
}

/// What is found of the checks of a wave.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Their status.
    pub status: Vec<CheckStatus>,
    /// Those that are not good, and why.
    pub waits_for: Vec<String>,
    /// Why the release halts.
    pub halt: Option<String>,
    /// What must be run.
    pub due: Vec<DueCheck>,
}

impl Checks {
    /// Whether all of them are good.
    pub fn are_good(&self) -> bool {
        self.waits_for.is_empty()
    }
}

/// What counts for the checks of a wave.
#[derive(Clone, Copy, Debug)]
pub struct Soak<'a> {
    /// Its clusters, all of which have the version and are healthy.
    pub clusters: &'a [&'a Member],
    /// When the last of them became healthy.
    pub begins: Timestamp,
    /// When the soak ends.
    pub ends: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The checks of a wave that does not run them now: what was recorded stays.
pub fn recorded(wave: &WavePolicy, before: &[CheckStatus]) -> Vec<CheckStatus> {
    before.iter().filter(|status| wave.checks.iter().any(|check| check.name == status.name)).cloned().collect()
}

/// Whether a check of the wave has failed, or was an error, too often.
pub fn has_exceeded_limit(wave: &WavePolicy, recorded: &[CheckStatus]) -> bool {
    let check = |status: &CheckStatus| wave.checks.iter().find(|check| check.definition == status.definition);
    recorded.iter().any(|status| check(status).is_some_and(|check| limit_exceeded(check, status).is_some()))
}

fn limit_exceeded(check: &CheckPolicy, status: &CheckStatus) -> Option<String> {
    let exceeded = [
        (status.failures, check.failure_limit, "consecutive failures", "failureLimit"),
        (status.errors, check.error_limit, "consecutive errors", "errorLimit"),
    ];
    let (count, limit, what, field) = exceeded.into_iter().find(|(count, limit, ..)| count > limit)?;
    Some(format!("check {}: {} ({count} {what}, {field} is {limit})", check.name, describe_result(status)))
}

/// Evaluates the checks of a wave. `before`: their last status; `results`: new ones, and those that were evaluated before.
pub fn evaluate(
    release: &Release,
    wave: &WavePolicy,
    before: &[CheckStatus],
    soak: Soak<'_>,
    results: &[CheckRun],
) -> Checks {
    let mut found = Checks::default();
    if soak.clusters.is_empty() {
        found.status = recorded(wave, before);
        return found;
    }
    let mut uids: Vec<String> = soak.clusters.iter().map(|member| member.uid.clone()).collect();
    uids.sort_unstable();
    let covered = digest(uids.iter());
    let counts_since = release.status.retried_at.as_ref().map_or(Timestamp::MIN, |at| at.0);
    for check in &wave.checks {
        let key = CheckKey { step: release.step, wave: wave.name.clone(), check: check.name.clone() };
        let of = SingleCheck { check, covered: &covered, soak: &soak };
        let last = before.iter().find(|status| status.name == check.name && status.definition == check.definition);
        let last = last.cloned().unwrap_or_else(|| CheckStatus::pending(&check.name, &check.definition));
        let is_new = |run: &&CheckRun| {
            let last_run_at = last.last_run_at.as_ref().map_or(Timestamp::MIN, |at| at.0);
            // Both are recorded in whole seconds.
            run.key == key
                && run.definition == check.definition
                && run.began_at.as_second() > last_run_at.as_second().max(counts_since.as_second())
        };
        let run = results.iter().filter(is_new).max_by_key(|run| run.began_at);
        let next = run.map_or_else(|| last.clone(), |run| apply(check, &last, run));
        if let Some(why) = limit_exceeded(check, &next) {
            found.halt.get_or_insert(why);
        }
        let is_good = of.is_good(&next);
        found.waits_for.extend(of.waits_for(&next, is_good));
        if of.is_due(&next, is_good) {
            found.due.push(DueCheck {
                key,
                definition: check.definition.clone(),
                covered: covered.clone(),
                clusters: soak.clusters.iter().map(|member| member.name.clone()).collect(),
                spec: check.spec.clone(),
                attempt: format!("{counts_since} {} {:?}", soak.begins, next.last_run_at),
            });
        }
        let records = !only_confirms(&last, &next) || is_good && soak.ends <= soak.now;
        found.status.push(if records { next } else { last });
    }
    // The wave passes.
    if found.are_good() && soak.ends <= soak.now {
        found.due.clear();
    }
    found
}

fn format_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the next result says the same as the recorded one, which is recent enough.
fn only_confirms(last: &CheckStatus, next: &CheckStatus) -> bool {
    let is_recent = match (&last.last_run_at, &next.last_run_at) {
        (Some(last), Some(next)) => next.0.duration_since(last.0) < REFRESH,
        _ => false,
    };
    let both_passed = (last.state, next.state) == (CheckState::Passed, CheckState::Passed);
    both_passed && is_recent && last.covered == next.covered && last.since == next.since
}

/// One check.
struct SingleCheck<'a> {
    check: &'a CheckPolicy,
    covered: &'a str,
    soak: &'a Soak<'a>,
}

impl SingleCheck<'_> {
    /// From when on a run counts. `status`: the last one.
    fn counts_from(&self, status: &CheckStatus) -> Timestamp {
        match self.check.kind {
            CheckKind::Query { .. } => self.soak.ends,
            CheckKind::Job => self.soak.begins,
            CheckKind::Condition => {
                let length = self.soak.ends.duration_since(self.soak.begins);
                let lasts = |since: Timestamp| since.saturating_add(length).unwrap_or(Timestamp::MAX);
                status.since.as_ref().map_or(self.soak.ends, |since| self.soak.ends.max(lasts(since.0)))
            }
        }
    }

    fn is_good(&self, status: &CheckStatus) -> bool {
        status.state == CheckState::Passed
            && status.covered == self.covered
            && status.last_run_at.as_ref().is_some_and(|at| at.0 >= self.counts_from(status))
    }

    fn is_due(&self, status: &CheckStatus, is_good: bool) -> bool {
        let Some(last) = status.last_run_at.as_ref().map(|at| at.0) else { return true };
        let now = self.soak.now;
        let after = |pause: SignedDuration| last.saturating_add(pause).is_ok_and(|at| at <= now);
        // It was about other clusters, or began too early.
        let counts_from = self.counts_from(status);
        let is_stale = status.covered != self.covered || last < counts_from && counts_from <= now;
        if is_stale && status.state == CheckState::Passed {
            return after(MIN_INTERVAL);
        }
        let is_done = self.check.kind == CheckKind::Job && is_good;
        !is_done && after(self.check.interval)
    }

    fn waits_for(&self, status: &CheckStatus, is_good: bool) -> Option<String> {
        if is_good {
            return None;
        }
        let why = match status.state {
            CheckState::Pending => "it has no result yet".to_owned(),
            CheckState::Passed if status.covered != self.covered => "it has no result of all clusters yet".to_owned(),
            CheckState::Passed if self.counts_from(status) <= self.soak.now => {
                "its last result is too old: it runs again".to_owned()
            }
            // It began after the clusters were healthy.
            CheckState::Passed if self.counts_from(status) > self.soak.ends => {
                format!("it is good, and must stay so until {}", format_time(self.counts_from(status)))
            }
            // So far, in the middle of the soak.
            CheckState::Passed => return None,
            CheckState::Failed => {
                format!("{} (failure {} of {})", describe_result(status), status.failures, self.check.failure_limit)
            }
            CheckState::Error => {
                format!("{} (error {} of {})", describe_result(status), status.errors, self.check.error_limit)
            }
        };
        Some(format!("check {}: {why}", self.check.name))
    }
}
