//! The releases of a rollout: those in its status, and those that its clusters ask for. Tickets that clusters have
//! returned are taken back here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::member::Member;
use super::policy::{Placement, Policy};
use super::request::{Lane, RequestId, Step};
use super::revision;
use crate::api::fleet_rollout_status::{ReleaseState, ReleaseStatus};
use crate::api::stored_time::whole_seconds;

/// A cluster of the rollout.
#[derive(Clone, Copy, Debug)]
pub struct PlacedMember<'a> {
    /// The cluster.
    pub member: &'a Member,
    /// Where it belongs.
    pub placement: Placement,
    /// Whether other rollouts select it, too: then it never begins.
    pub contested: bool,
}

/// The clusters that exist, by UID; `None`: it cannot be read.
pub type Existing<'a> = BTreeMap<&'a str, Option<&'a Member>>;

/// A release, with its status.
#[derive(Clone, Debug)]
pub struct Release {
    /// What clusters get.
    pub step: Step,
    /// Its status, as it will be written.
    pub status: ReleaseStatus,
}

impl Release {
    fn new(step: Step, now: Timestamp) -> Self {
        let status = ReleaseStatus {
            gate: step.gate,
            target: step.target.to_string(),
            revision: None,
            source: None,
            state: ReleaseState::Progressing,
            wave: None,
            progress: String::new(),
            message: None,
            since: whole_seconds(now),
            halt: None,
            retried_at: None,
            waves: Vec::new(),
            tickets: Vec::new(),
        };
        Self { step, status }
    }

    /// `None`: status was not written by Keelson.
    pub(super) fn of(status: &ReleaseStatus) -> Option<Self> {
        Some(Self { step: Step::of(status.gate, &status.target)?, status: status.clone() })
    }

    /// When failures began to count that it still has: at its start, or when it was last retried.
    pub fn counts_since(&self) -> Timestamp {
        self.status.retried_at.as_ref().unwrap_or(&self.status.since).0
    }

    /// Whether a cluster has a ticket of it.
    pub fn has_ticket(&self, uid: &str) -> bool {
        self.status.tickets.iter().any(|ticket| ticket.uid == uid)
    }

    /// How many clusters have a ticket of one of its waves.
    pub fn in_progress(&self, wave: &str) -> usize {
        self.status.tickets.iter().filter(|ticket| ticket.wave == wave).count()
    }

    /// Takes back the tickets of clusters that have returned them, or are gone.
    pub fn take_back(&mut self, clusters: &Existing<'_>) {
        self.status.tickets.retain(|ticket| {
            let Some(found) = clusters.get(ticket.uid.as_str()) else { return false };
            let Some(member) = found else { return true };
            // It was not written by Keelson: nobody can claim it.
            let Ok(id) = ticket.id.parse::<RequestId>() else { return false };
            // A cluster that is being deleted claims nothing any more.
            let request = member.request_of(id.step.gate);
            let never_claimed = member.deleting && request.claimed != Some(id);
            !never_claimed && !request.has_returned(id)
        });
    }
}

/// The releases in status, and those that clusters ask for, in the order of targets and gates.
pub fn releases(
    previous: &[ReleaseStatus],
    policy: &Policy,
    placed: &[PlacedMember<'_>],
    now: Timestamp,
) -> Vec<Release> {
    let mut found: BTreeMap<Step, Release> =
        previous.iter().filter_map(Release::of).map(|release| (release.step, release)).collect();
    for step in demanded(policy, placed) {
        found.entry(step).or_insert_with(|| Release::new(step, now));
    }
    for (step, source) in revision::fetched(policy, placed) {
        found.entry(step).or_insert_with(|| {
            let mut release = Release::new(step, now);
            (release.status.revision, release.status.source) = (source.fetched.clone(), Some(source.url.clone()));
            release
        });
    }
    let mut found: Vec<Release> = found.into_values().collect();
    found.sort_by_key(|release| (release.step.target, release.step.gate));
    found
}

/// The steps that are left of clusters in waves.
fn demanded(policy: &Policy, placed: &[PlacedMember<'_>]) -> BTreeSet<Step> {
    let in_waves = placed.iter().filter(|one| one.placement != Placement::Ungated && !one.member.deleting);
    in_waves.flat_map(|one| policy.gates.iter().flat_map(|gate| one.member.steps_left(*gate))).collect()
}

/// How many releases of a lane status has, apart from those with tickets or a halt.
const fn max_releases(lane: Lane) -> usize {
    match lane {
        Lane::Kubernetes => 12,
        Lane::Agent => 8,
        Lane::Revision => 15,
    }
}

/// Drops releases that nobody asks for any more: the last one of each gate stays until there is another one. `kept`: those of
/// revisions that stay.
pub fn drop_ended(releases: &mut Vec<Release>, policy: &Policy, placed: &[PlacedMember<'_>], kept: &BTreeSet<Step>) {
    let mut demanded = demanded(policy, placed);
    demanded.extend(kept);
    let last: Vec<Step> = policy
        .gates
        .iter()
        .filter_map(|gate| {
            let is_reached =
                |step: &Step| placed.iter().any(|one| one.member.standing(*step).is_some_and(|found| found.is_reached));
            let of_gate = releases.iter().map(|release| release.step);
            of_gate.filter(|step| step.gate == *gate && is_reached(step)).max_by_key(|step| step.target)
        })
        .filter(|last| !demanded.iter().any(|step| step.gate == last.gate))
        .collect();
    let in_waves = || placed.iter().filter(|one| one.placement != Placement::Ungated && !one.member.deleting);
    releases.retain(|release| {
        // A halt stays while a cluster asks for the version, also if all have it; it goes with what was asked for.
        let stays = match release.status.halt {
            Some(_) => in_waves().any(|one| one.member.asks_for(release.step)),
            None => last.contains(&release.step),
        };
        demanded.contains(&release.step) || stays || !release.status.tickets.is_empty()
    });
    // A cluster far behind asks for many: the first ones come first. What has halted or is in progress is not forgotten.
    let mut numbers: BTreeMap<Lane, usize> = BTreeMap::new();
    releases.retain(|release| {
        let lane = Lane::of(release.step.gate);
        let number = numbers.entry(lane).or_default();
        *number += 1;
        *number <= max_releases(lane) || !release.status.tickets.is_empty() || release.status.halt.is_some()
    });
}
