//! The rollout's side: its next status, from its policy, its last status and the state of all clusters. Pure.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::check_result::CheckRun;
use super::give::{Slot, approve, give};
use super::member::Member;
use super::membership::{Rollouts, Selection};
use super::policy::{Placement, Policy};
use super::release::{Existing, PlacedMember, Release, drop_ended, releases};
use super::request::{Lane, Step};
use super::revision::{self, SourcePlan};
use super::summary::{self, RolloutEvent};
use super::wave::{CheckInput, Evaluation, evaluate};
use super::wave_approval;
use super::wave_checks::{Checks, DueCheck};
use crate::api::conditions::bounded;
use crate::api::fleet_rollout::{FleetRolloutSpec, Gate};
use crate::api::fleet_rollout_status::{FleetRolloutStatus, HaltStatus, ReleaseStatus, TicketStatus};
use crate::api::listing::first_few_joined;
use crate::api::stored_time::whole_seconds;

/// Maximum number of failed clusters in a message.
const MAX_FAILED: usize = 3;
/// Longest message of a halt.
const MAX_MESSAGE: usize = 900;
/// Releases that have tickets at the same time: status has room for so many, and for those without tickets.
const MAX_WITH_TICKETS: usize = 20;
/// Longest recorded annotation.
const MAX_RETRY: usize = 256;

/// The annotations of a rollout, by which people decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Annotations<'a> {
    /// Hashes of what is approved.
    pub approve: Option<&'a str>,
    /// `TARGET/ANY`: continues a halted release.
    pub retry: Option<&'a str>,
    /// `TARGET/WAVE`: lets waves pass without their checks.
    pub promote: Option<&'a str>,
}

/// What a rollout decides on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its spec.
    pub spec: &'a FleetRolloutSpec,
    /// Its last status.
    pub status: &'a FleetRolloutStatus,
    /// Its annotations.
    pub annotations: Annotations<'a>,
    /// All rollouts, this one included.
    pub rollouts: &'a Rollouts<'a>,
    /// All clusters that can be read.
    pub clusters: &'a [Member],
    /// UIDs of clusters that exist and cannot be read: their tickets stay.
    pub unreadable: &'a BTreeSet<String>,
    /// Results of checks.
    pub results: &'a [CheckRun],
    /// Now.
    pub now: Timestamp,
}

/// The decision.
#[derive(Clone, Debug)]
#[must_use]
pub struct Outcome {
    /// The next status, apart from its conditions and generation.
    pub status: FleetRolloutStatus,
    /// What to publish once it is written.
    pub events: Vec<RolloutEvent>,
    /// Why the policy cannot be used: nothing begins.
    pub problem: Option<String>,
    /// Checks that must be run now, apart from those that run already.
    pub due: Vec<DueCheck>,
    /// Which revisions clusters may have; `None`: that is unknown.
    pub plans: Option<Vec<SourcePlan>>,
}

/// Decides the next status of a rollout.
pub fn advance(input: &Input<'_>) -> Outcome {
    let readable = input.clusters.iter().map(|member| (member.uid.as_str(), Some(member)));
    let existing: Existing<'_> = input.unreadable.iter().map(|uid| (uid.as_str(), None)).chain(readable).collect();
    let before = input.status;
    let problem = |why: String| {
        let mut status = before.clone();
        for release in &mut status.releases {
            take_back_only(release, &existing);
        }
        Outcome { status, events: Vec::new(), problem: Some(why), due: Vec::new(), plans: None }
    };
    let policy = match Policy::of(input.spec) {
        Ok(policy) => policy,
        Err(why) => return problem(why),
    };
    let placed = match placed(input.name, input.rollouts, input.clusters, &policy) {
        Ok(placed) => placed,
        Err(why) => return problem(why),
    };
    let mut events = Vec::new();
    let mut all = releases(&before.releases, &policy, &placed, input.now);
    for release in &mut all {
        release.take_back(&existing);
    }
    let last_handled_retry = retry(input, &mut all, &mut events);
    let mut found: Vec<Vec<Evaluation<'_>>> =
        all.iter_mut().map(|release| evaluate_release(release, input, &policy, &placed, &mut events)).collect();
    let halted: Vec<Step> =
        all.iter().filter(|release| release.status.halt.is_some()).map(|release| release.step).collect();
    let slots = |release: &Release| {
        let lane = Lane::of(release.step.gate);
        let slot = |ticket: &TicketStatus| Slot { uid: ticket.uid.clone(), wave: ticket.wave.clone(), lane };
        release.status.tickets.iter().map(slot).collect::<Vec<_>>()
    };
    let mut out: Vec<Slot> = all.iter().flat_map(slots).collect();
    out.extend(claimed_without_ticket(&placed, &policy, &out));
    let mut with_tickets = all.iter().filter(|release| !release.status.tickets.is_empty()).count();
    for (release, waves) in all.iter_mut().zip(&mut found) {
        let passed = waves.iter().take_while(|wave| wave.passed).count();
        let open = (passed + 1).min(waves.len());
        for (index, wave) in waves.iter_mut().take(open).enumerate() {
            if revision::leads(release.step, index, &placed) {
                // It follows its source by itself.
                continue;
            }
            approve(wave, &policy.waves[index], release.step, input.annotations.approve, &mut events);
        }
        let halted_by = halted
            .iter()
            .copied()
            .filter(|halted| release.step.is_stopped_by(*halted))
            .min_by_key(|halted| halted.target);
        let has_room = !release.status.tickets.is_empty() || with_tickets < MAX_WITH_TICKETS;
        if halted_by.is_none() && !policy.suspended && policy.gates.contains(&release.step.gate) && has_room {
            let had_none = release.status.tickets.is_empty();
            give(release, &policy, &waves[..open], &mut out, input.now);
            with_tickets += usize::from(had_none && !release.status.tickets.is_empty());
        }
        for wave in waves.iter_mut() {
            wave.status.in_progress = i32::try_from(release.in_progress(&wave.status.name)).unwrap_or(i32::MAX);
        }
        summary::close(waves, open, release.step, &placed);
        summary::summarize(release, &policy, waves, &placed, halted_by, &mut events);
        release.status.waves = waves.iter().map(|wave| wave.status.clone()).collect();
    }
    let plans = revision::plans(&all, &policy, &placed);
    let kept = revision::kept(&all, &plans, &policy, &placed);
    drop_ended(&mut all, &policy, &placed, &kept);
    all.sort_by_key(summary::order);
    let status = FleetRolloutStatus {
        members: i32::try_from(placed.len()).unwrap_or(i32::MAX),
        last_handled_retry,
        releases: all.into_iter().map(|release| release.status).collect(),
        ..before.clone()
    };
    let due = found.into_iter().flatten().flat_map(|wave| wave.checks.due).collect();
    Outcome { status, events, problem: None, due, plans: Some(plans) }
}

/// Clusters in the middle of a step for which this rollout has no ticket: it was deleted and created again, or the
/// cluster was another one's. They take a slot until they have finished.
fn claimed_without_ticket(placed: &[PlacedMember<'_>], policy: &Policy, out: &[Slot]) -> Vec<Slot> {
    let have_one: HashSet<(&str, Lane)> = out.iter().map(|slot| (slot.uid.as_str(), slot.lane)).collect();
    let mut found = Vec::new();
    for one in placed.iter().filter(|one| one.member.has_claimed()) {
        let wave = match one.placement {
            Placement::Wave(index) => policy.waves[index].name.clone(),
            // Such a name counts in all waves.
            Placement::Unmatched => String::new(),
            Placement::Ungated => continue,
        };
        for gate in [Gate::ControlPlane, Gate::Agent, Gate::Revision] {
            let lane = Lane::of(gate);
            let is_claimed = one.member.request_of(gate).claimed.is_some();
            if is_claimed && !have_one.contains(&(one.member.uid.as_str(), lane)) {
                found.push(Slot { uid: one.member.uid.clone(), wave: wave.clone(), lane });
            }
        }
    }
    found
}

fn take_back_only(status: &mut ReleaseStatus, existing: &Existing<'_>) {
    if let Some(step) = Step::of(status.gate, &status.target) {
        let mut release = Release { step, status: status.clone() };
        release.take_back(existing);
        *status = release.status;
    }
}

/// The clusters that the rollout selects.
///
/// # Errors
/// What is not known of a selector, or of another rollout.
pub(super) fn placed<'a>(
    name: &str,
    rollouts: &Rollouts<'_>,
    clusters: &'a [Member],
    policy: &Policy,
) -> Result<Vec<PlacedMember<'a>>, String> {
    let mut found = Vec::new();
    for member in clusters {
        let contested = match rollouts.selection(&member.labels) {
            Selection::None => continue,
            Selection::One(selected) if selected == name => false,
            Selection::One(_) => continue,
            Selection::Several(names) if names.contains(&name) => true,
            Selection::Several(_) => continue,
            Selection::Unknown(why) => return Err(why),
        };
        found.push(PlacedMember { member, placement: policy.placement(&member.labels), contested });
    }
    Ok(found)
}

/// Continues halted releases. Returns the annotation that was handled last.
fn retry(input: &Input<'_>, all: &mut [Release], events: &mut Vec<RolloutEvent>) -> Option<String> {
    let asked: Option<String> = input.annotations.retry.map(|text| text.chars().take(MAX_RETRY).collect());
    if asked.is_none() || asked == input.status.last_handled_retry {
        return input.status.last_handled_retry.clone();
    }
    let target = asked.as_deref().and_then(|text| text.split('/').next()).unwrap_or_default();
    let mut continues = false;
    for release in all.iter_mut().filter(|release| release.status.target == target) {
        if release.status.halt.take().is_some() {
            release.status.retried_at = Some(whole_seconds(input.now));
            // Failures and errors are counted anew.
            release.status.waves.iter_mut().for_each(|wave| wave.checks.clear());
            events.push(RolloutEvent::retried(release.step));
            continues = true;
        }
    }
    if !continues {
        events.push(RolloutEvent::retry_ignored(asked.as_deref().unwrap_or_default()));
    }
    asked
}

/// Evaluates the waves of a release, records promotions, and halts it.
fn evaluate_release<'a>(
    release: &mut Release,
    input: &Input<'_>,
    policy: &Policy,
    placed: &[PlacedMember<'a>],
    events: &mut Vec<RolloutEvent>,
) -> Vec<Evaluation<'a>> {
    let mut waves: Vec<Evaluation<'a>> = Vec::new();
    for (index, wave) in policy.waves.iter().enumerate() {
        let before = release.status.waves.iter().find(|status| status.name == wave.name);
        let had_passed = before.is_some_and(|status| status.passed_at.is_some());
        let may_run = !policy.suspended && release.status.halt.is_none() && waves.iter().all(|earlier| earlier.passed);
        let checks = CheckInput { may_run, results: input.results };
        let mut found = evaluate(release, policy, index, placed, checks, input.now);
        let named = format!("{}/{}", release.step.target, wave.name);
        if found.status.promoted_at.is_none() && wave_approval::contains(input.annotations.promote, &named) {
            found.status.promoted_at = Some(whole_seconds(input.now));
            found.passed = true;
            found.checks = Checks { status: found.checks.status, ..Checks::default() };
            events.push(RolloutEvent::promoted(release.step, &wave.name));
        }
        if found.status.passed_at.is_some() && !had_passed && !found.members.is_empty() {
            events.push(RolloutEvent::passed(release.step, &wave.name));
        }
        let clusters_failed = found.failed.len() > wave.max_failed;
        if (clusters_failed || found.checks.halt.is_some()) && release.status.halt.is_none() {
            let clusters = found.failed.iter().filter(|_| clusters_failed);
            let each = clusters.map(|(member, why)| format!("EksCluster {}: {why}", member.name));
            let each = each.chain(found.checks.halt.clone());
            found.checks.due.clear();
            let message = bounded(&first_few_joined(each, MAX_FAILED, "; ", "; and "), MAX_MESSAGE);
            events.push(RolloutEvent::halted(release.step, &message));
            release.status.halt =
                Some(HaltStatus { wave: wave.name.clone(), message, since: whole_seconds(input.now) });
        }
        waves.push(found);
    }
    waves
}
