//! One wave of a release: which of its clusters have the version, have failed, and whether the wave has passed. Pure.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::check_result::CheckRun;
use super::member::{Health, Member, SourceState};
use super::policy::{Placement, Policy, WavePolicy};
use super::release::{PlacedMember, Release};
use super::release_target::Target;
use super::request::Step;
use super::revision;
use super::wave_checks::{self, Checks, Soak};
use crate::api::fleet_rollout::{Gate, NotAskedPolicy};
use crate::api::fleet_rollout_status::{TicketStatus, WaveState, WaveStatus};
use crate::api::stored_time::whole_seconds;

/// How long a cluster may have asked before its release is recorded.
const ASKED_BEFORE: SignedDuration = SignedDuration::from_secs(60);

/// What is found of a wave.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// Its status.
    pub status: WaveStatus,
    /// Its clusters, apart from those that are created, deleted or suspended.
    pub members: Vec<PlacedMember<'a>>,
    /// Its clusters that failed, and why.
    pub failed: Vec<(&'a Member, String)>,
    /// Whether later waves may begin.
    pub passed: bool,
    /// What it waits for, cluster by cluster.
    pub waits_for: Vec<String>,
    /// What does not keep it from passing, and a person should know.
    pub notes: Vec<String>,
    /// Whether a person must change something before it passes.
    pub needs_person: bool,
    /// Whether the spec of a cluster does not ask for the version: a person must change that as soon as another cluster waits for it.
    pub not_asked: bool,
    /// Whether it waits for nothing but such clusters: as long as no other cluster waits for them, it is idle.
    pub only_not_asked: bool,
    /// When its soak ends.
    pub soaks_until: Option<Timestamp>,
    /// What is found of its checks.
    pub checks: Checks,
}

/// What counts for the checks of a wave.
#[derive(Clone, Copy, Debug)]
pub struct CheckInput<'a> {
    /// Whether they are run: earlier waves have passed, and the release has not halted.
    pub may_run: bool,
    /// Their results.
    pub results: &'a [CheckRun],
}

/// Evaluates the wave of that index.
pub fn evaluate<'a>(
    release: &Release,
    policy: &Policy,
    index: usize,
    placed: &[PlacedMember<'a>],
    input: CheckInput<'_>,
    now: Timestamp,
) -> Evaluation<'a> {
    let wave = &policy.waves[index];
    let members: Vec<PlacedMember<'a>> = placed
        .iter()
        .filter(|one| one.placement == Placement::Wave(index) && counts(release, one.member))
        .copied()
        .collect();
    let leads = revision::leads(release.step, index, placed);
    let of = WaveRequest { leads, ..WaveRequest::of(release, policy, wave, now) };
    let mut status = of.status_before();
    let failed: Vec<(&Member, String)> =
        members.iter().filter_map(|one| Some((one.member, of.failure(one.member)?))).collect();
    let tolerated = failed.len() <= wave.max_failed;
    let failed_uids: HashSet<&str> = failed.iter().map(|(member, _)| member.uid.as_str()).collect();
    let is_failed = |member: &Member| failed_uids.contains(member.uid.as_str());
    let required: Vec<PlacedMember<'a>> = members
        .iter()
        .filter(|one| !(of.is_ignored(one.member) || tolerated && is_failed(one.member)))
        .copied()
        .collect();
    let missing: Vec<&PlacedMember<'_>> = required.iter().filter(|one| !of.has_version(one.member)).collect();
    let mut waits_for: Vec<String> = missing.iter().map(|one| of.describe_missing(one)).collect();
    let needs_person = missing.iter().any(|one| of.needs_person(one));
    let not_asked = missing.iter().filter(|one| of.is_not_asked(one)).count();
    let unhealthy = required.iter().filter(|one| of.has_version(one.member));
    waits_for.extend(unhealthy.filter_map(|one| of.describe_health(one.member)));
    if required.is_empty() && !failed.is_empty() {
        waits_for.push("all its clusters have failed, so nothing shows that the version is good".to_owned());
    } else if required.is_empty() && leads {
        waits_for.push("none of its clusters with this source is observed".to_owned());
    }
    let only_not_asked = not_asked > 0 && not_asked == waits_for.len();
    let mut soaks_until = None;
    let mut checks = Checks { status: wave_checks::recorded(wave, &status.checks), ..Checks::default() };
    let mut are_good = wave.checks.is_empty();
    if !waits_for.is_empty() {
        status.healthy_since = None;
    }
    // A revision that a wave has run stays good when a newer one follows.
    let is_revision = release.step.gate == Gate::Revision;
    if !missing.is_empty() {
        status.passed_at = status.passed_at.take().filter(|_| is_revision);
    } else if waits_for.is_empty() && status.passed_at.is_none() {
        let mut healthy_since = required.iter().filter_map(|one| of.health(one.member).since()).max();
        if release.step.gate != Gate::ControlPlane && !required.is_empty() {
            // The cluster's own soak begins with its control plane, and knows nothing of what follows.
            let since = status.healthy_since.get_or_insert_with(|| whole_seconds(now)).0;
            healthy_since = healthy_since.max(Some(since));
        }
        let soak = SignedDuration::try_from(wave.soak).unwrap_or(SignedDuration::MAX);
        let until = healthy_since.map_or(now, |since| since.saturating_add(soak).unwrap_or(Timestamp::MAX));
        if input.may_run && tolerated && status.promoted_at.is_none() {
            let clusters: Vec<&Member> = required.iter().map(|one| one.member).collect();
            let soak = Soak { clusters: &clusters, begins: healthy_since.unwrap_or(now), ends: until, now };
            checks = wave_checks::evaluate(release, wave, &status.checks, soak, input.results);
            are_good = checks.are_good();
        }
        if until > now {
            soaks_until = Some(until);
        } else if are_good {
            (status.passed_at, status.healthy_since) = (Some(whole_seconds(now)), None);
        }
    }
    status.checks.clone_from(&checks.status);
    let is_good = missing.is_empty() && waits_for.is_empty() && tolerated && status.passed_at.is_some();
    let has_run = is_revision && (status.passed_at.is_some() || status.promoted_at.is_some());
    let passed = is_good || has_run || status.promoted_at.is_some();
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.members = number(members.len());
    status.at_target = number(members.iter().filter(|one| has_run || of.has_version(one.member)).count());
    status.in_progress = number(release.in_progress(&wave.name));
    status.failed = number(failed.len());
    status.state = if !tolerated || wave_checks::has_exceeded_limit(wave, &status.checks) {
        WaveState::Failed
    } else if passed {
        WaveState::Passed
    } else if soaks_until.is_some() || !checks.waits_for.is_empty() {
        WaveState::Soaking
    } else {
        WaveState::Progressing
    };
    let uids: HashSet<&str> = members.iter().map(|one| one.member.uid.as_str()).collect();
    let left =
        release.status.tickets.iter().filter(|ticket| ticket.wave == wave.name && !uids.contains(ticket.uid.as_str()));
    let mut notes: Vec<String> = left
        .map(|ticket| {
            format!(
                "{} has left the wave in the middle of its step, and keeps its slot until that is done",
                ticket.cluster
            )
        })
        .collect();
    if tolerated {
        notes.extend(
            failed.iter().map(|(member, why)| format!("{} has failed, which maxFailed tolerates: {why}", member.name)),
        );
    }
    Evaluation {
        status,
        members,
        failed,
        passed,
        waits_for,
        notes,
        needs_person,
        not_asked: not_asked > 0,
        only_not_asked,
        soaks_until,
        checks,
    }
}

/// Clusters that are created are not upgraded; those that are suspended or deleted leave their wave, unless one that is
/// suspended has begun.
fn counts(release: &Release, member: &Member) -> bool {
    let has_begun = || release.has_ticket(&member.uid);
    member.standing(release.step).is_some() && !member.deleting && (!member.suspended || has_begun())
}

/// What is asked of each cluster of a wave.
struct WaveRequest<'r> {
    release: &'r Release,
    wave: &'r WavePolicy,
    step: Step,
    /// Whether its clusters follow their source without a ticket.
    leads: bool,
    ignores: bool,
    /// Whether node groups are a gate of their own: a cluster is good once those that follow its control plane have the version, too.
    with_node_groups: bool,
    now: Timestamp,
    /// Its status before.
    before: Option<&'r WaveStatus>,
    /// The tickets of the release, by UID.
    tickets: HashMap<&'r str, &'r TicketStatus>,
}

impl<'r> WaveRequest<'r> {
    fn of(release: &'r Release, policy: &Policy, wave: &'r WavePolicy, now: Timestamp) -> Self {
        let tickets = release.status.tickets.iter().map(|ticket| (ticket.uid.as_str(), ticket)).collect();
        let before = release.status.waves.iter().find(|status| status.name == wave.name);
        let ignores = policy.not_asked == NotAskedPolicy::Ignore;
        let with_node_groups = release.step.gate == Gate::ControlPlane && policy.gates.contains(&Gate::NodeGroups);
        Self { release, wave, step: release.step, leads: false, ignores, with_node_groups, now, before, tickets }
    }

    fn status_before(&self) -> WaveStatus {
        self.before.cloned().unwrap_or_else(|| WaveStatus {
            name: self.wave.name.clone(),
            state: WaveState::Pending,
            members: 0,
            at_target: 0,
            in_progress: 0,
            failed: 0,
            passed_at: None,
            healthy_since: None,
            promoted_at: None,
            promoted_by: None,
            checks: Vec::new(),
            approval_hash: None,
            approved: Vec::new(),
        })
    }

    fn has_version(&self, member: &Member) -> bool {
        member.standing(self.step).is_some_and(|standing| standing.is_reached)
    }

    fn asks(&self, member: &Member) -> bool {
        member.standing(self.step).is_some_and(|standing| standing.is_asked)
    }

    fn is_ignored(&self, member: &Member) -> bool {
        self.ignores && !self.has_version(member) && !self.asks(member)
    }

    /// Whether its source has fetched the revision.
    fn has_fetched(&self, member: &Member) -> bool {
        let fetched = member.source.as_ref().and_then(SourceState::revision);
        fetched.is_some_and(|revision| Target::Revision(revision) == self.step.target)
    }

    /// Whether its agent has applied the revision, whether that works or not.
    fn has_applied(&self, member: &Member) -> bool {
        let applied = member.source.as_ref().and_then(|source| source.applied);
        applied.is_some_and(|revision| Target::Revision(revision) == self.step.target)
    }

    /// Whether the wave has passed before.
    fn had_passed(&self) -> bool {
        self.before.is_some_and(|before| before.passed_at.is_some() || before.promoted_at.is_some())
    }

    /// The health that counts for this release.
    fn health(&self, member: &Member) -> Health {
        let node_groups = Step { gate: Gate::NodeGroups, ..self.step };
        if self.with_node_groups && self.has_version(member) && member.is_left(node_groups) {
            return Health::Unhealthy("its node groups follow".to_owned());
        }
        member.health_of(self.step.gate)
    }

    fn ticket(&self, member: &Member) -> Option<&TicketStatus> {
        self.tickets.get(member.uid.as_str()).copied()
    }

    /// When the step of a cluster that has not finished takes too long.
    fn deadline(&self, member: &Member) -> Option<Timestamp> {
        let is_applying = self.leads && !self.had_passed() && self.has_fetched(member) && !self.has_applied(member);
        let given =
            self.ticket(member).map(|ticket| ticket.since.0).or(is_applying.then_some(self.release.status.since.0))?;
        let is_finished = self.has_version(member) && self.health(member).since().is_some();
        let since = given.max(self.release.counts_since());
        let deadline = SignedDuration::try_from(self.wave.deadline).unwrap_or(SignedDuration::MAX);
        (!is_finished).then(|| since.saturating_add(deadline).unwrap_or(Timestamp::MAX))
    }

    /// Why the step of a cluster failed.
    fn failure(&self, member: &Member) -> Option<String> {
        // Nothing of it is observed: it neither proceeds nor fails.
        if member.suspended {
            return None;
        }
        if let Some(deadline) = self.deadline(member)
            && deadline <= self.now
        {
            let health = self.health(member);
            let why = member.waits_for.as_deref().or(match &health {
                Health::Unhealthy(why) => Some(why.as_str()),
                Health::Since(_) => None,
            });
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("its step takes longer than {}{why}", describe(self.wave.deadline)));
        }
        let stalled = member.stalled.as_ref()?;
        let is_good = self.has_version(member) && self.health(member).since().is_some();
        let counts = match self.ticket(member) {
            Some(ticket) => {
                stalled.since >= ticket.since.0
                    && self.release.status.retried_at.as_ref().is_none_or(|at| stalled.since > at.0)
            }
            // It failed right after its step: before the wave has passed.
            None => {
                self.has_version(member)
                    && self.has_taken_part(member)
                    && self.before.is_none_or(|before| before.passed_at.is_none())
                    && stalled.since > self.release.counts_since()
            }
        };
        (counts && !is_good).then(|| stalled.message.clone())
    }

    /// Whether it has asked for something since the release began: one that had the version before does not fail it.
    fn has_taken_part(&self, member: &Member) -> bool {
        let began = self.release.status.since.0.saturating_sub(ASKED_BEFORE).unwrap_or(Timestamp::MIN);
        member.request_of(self.step.gate).last_number() >= began.as_millisecond()
    }

    /// Whether nothing but its spec keeps it from beginning.
    fn is_not_asked(&self, one: &PlacedMember<'_>) -> bool {
        !one.contested && !one.member.suspended && !self.asks(one.member)
    }

    fn needs_person(&self, one: &PlacedMember<'_>) -> bool {
        let has_stalled = one.member.stalled.is_some() && self.asks(one.member);
        one.member.suspended || one.contested || has_stalled
    }

    fn describe_missing(&self, one: &PlacedMember<'_>) -> String {
        let PlacedMember { member, contested, .. } = one;
        let name = &member.name;
        if *contested {
            return format!("{name}: other FleetRollouts select it, too");
        }
        if member.suspended {
            return format!(
                "{name}: it is suspended in the middle of its step, and keeps its slot: set spec.suspend to false"
            );
        }
        if !self.asks(member) {
            return format!("{name}: {}", member.describe_wanted(self.step.gate));
        }
        match member.waits_for.as_deref().or(member.stalled.as_ref().map(|stalled| stalled.message.as_str())) {
            Some(why) => format!("{name}: {why}"),
            None => name.clone(),
        }
    }

    fn describe_health(&self, member: &Member) -> Option<String> {
        match self.health(member) {
            Health::Unhealthy(why) => Some(format!("{}: {why}", member.name)),
            Health::Since(_) => None,
        }
    }
}

/// A duration in words.
pub fn describe(duration: std::time::Duration) -> String {
    let whole = SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    format!("{whole:#}")
}
