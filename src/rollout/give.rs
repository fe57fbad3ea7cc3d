//! Gives tickets: to clusters that ask, in a wave that is open, within its limit. Pure.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::member::Member;
use super::policy::{Policy, WavePolicy};
use super::release::Release;
use super::request::{Lane, RequestId, Step};
use super::summary::RolloutEvent;
use super::wave::Evaluation;
use super::wave_approval;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{MAX_APPROVED, MAX_TICKETS, TicketStatus, WaveState};
use crate::api::stored_time::whole_seconds;

/// A slot of a wave, which a cluster takes with a ticket, or with a claim without one.
#[derive(Clone, Debug)]
pub struct Slot {
    /// UID of the cluster.
    pub uid: String,
    /// The wave; an empty name counts in all waves.
    pub wave: String,
    /// What it is for.
    pub lane: Lane,
}

/// Gives the tickets of one release. `waves`: its evaluated waves that are open; `out`: the slots taken, of all releases.
pub fn give(release: &mut Release, policy: &Policy, waves: &[Evaluation<'_>], out: &mut Vec<Slot>, now: Timestamp) {
    for (wave, found) in policy.waves.iter().zip(waves) {
        let approved: BTreeSet<&str> = found.status.approved.iter().map(String::as_str).collect();
        let lane = Lane::of(release.step.gate);
        // A commit may be what lets a cluster finish another step.
        let counts = |slot: &&Slot| lane != Lane::Revision || slot.lane == lane;
        let have_one: HashSet<&str> = out.iter().filter(counts).map(|slot| slot.uid.as_str()).collect();
        let mut asking: Vec<(RequestId, &Member)> = found
            .members
            .iter()
            // One that a person must look at first would keep its slot. A commit may be what mends it.
            .filter(|one| !one.contested && !one.member.suspended)
            .filter(|one| one.member.stalled.is_none() || release.step.gate == Gate::Revision)
            .filter(|one| !wave.needs_approval || approved.contains(wave_approval::digest(&one.member.uid).as_str()))
            .filter_map(|one| Some((asks(one.member, release.step)?, one.member)))
            // One at a time: a cluster finishes a step before it begins the next one.
            .filter(|(_, member)| !have_one.contains(member.uid.as_str()))
            .collect();
        asking.sort_by_key(|(id, member)| (id.number, member.name.clone()));
        // A ticket of a wave that no longer exists counts in all waves.
        // A cluster that has failed, and is tolerated, keeps its ticket and takes no slot.
        let failed: HashSet<&str> = found.failed.iter().map(|(member, _)| member.uid.as_str()).collect();
        let in_wave = |name: &str| name == wave.name || !policy.has_wave(name);
        let is_taken = |slot: &&Slot| in_wave(&slot.wave) && !failed.contains(slot.uid.as_str());
        let taken: HashSet<String> = out.iter().filter(is_taken).map(|slot| slot.uid.clone()).collect();
        let mut free = wave.max_concurrent(found.members.len()).saturating_sub(taken.len());
        for (id, member) in asking {
            let needed = usize::from(!taken.contains(&member.uid));
            if free < needed || out.len() >= MAX_TICKETS {
                continue;
            }
            free -= needed;
            out.push(Slot { uid: member.uid.clone(), wave: wave.name.clone(), lane });
            release.status.tickets.push(TicketStatus {
                cluster: member.name.clone(),
                uid: member.uid.clone(),
                id: id.to_string(),
                wave: wave.name.clone(),
                since: whole_seconds(now),
            });
        }
    }
}

/// The request of a cluster for this step.
fn asks(member: &Member, step: Step) -> Option<RequestId> {
    let is_asked = member.standing(step).is_some_and(|standing| standing.is_asked);
    member.request_of(step.gate).asks.filter(|id| id.step == step && is_asked)
}

/// Accepts an approval, and says what needs one. Clusters without an approval wait; those that join later, too.
pub fn approve(
    found: &mut Evaluation<'_>,
    wave: &WavePolicy,
    step: Step,
    annotation: Option<&str>,
    events: &mut Vec<RolloutEvent>,
) {
    found.status.approval_hash = None;
    if !wave.needs_approval {
        found.status.approved.clear();
        return;
    }
    let left = left(found, step);
    let digests: HashSet<&str> = left.iter().map(|(_, digest)| digest.as_str()).collect();
    found.status.approved.retain(|one| digests.contains(one.as_str()));
    let waiting = waiting(&left, &found.status.approved, step);
    if waiting.is_empty() {
        return;
    }
    let hash = wave_approval::hash(step, &wave.name, &waiting);
    if wave_approval::contains(annotation, &hash) {
        let new: Vec<String> = waiting.iter().map(|member| wave_approval::digest(&member.uid)).collect();
        found.status.approved.extend(new);
        found.status.approved.sort();
        found.status.approved.truncate(MAX_APPROVED);
        events.push(RolloutEvent::approved(step, &wave.name, &hash, waiting.len()));
        return;
    }
    if found.status.state == WaveState::Progressing {
        found.status.state = WaveState::WaitingForApproval;
    }
    found.status.approval_hash = Some(hash);
}

/// The clusters that do not have the version, each with what is kept of an approved one.
pub fn left<'a>(found: &Evaluation<'a>, step: Step) -> Vec<(&'a Member, String)> {
    let has_version = |member: &Member| member.standing(step).is_some_and(|standing| standing.is_reached);
    let left = found.members.iter().map(|one| one.member).filter(|member| !has_version(member));
    left.map(|member| (member, wave_approval::digest(&member.uid))).collect()
}

/// Of those that are left, the clusters that an approval would let begin.
pub fn waiting<'a>(left: &[(&'a Member, String)], approved: &[String], step: Step) -> Vec<&'a Member> {
    let approved: HashSet<&str> = approved.iter().map(String::as_str).collect();
    // Of a revision only those that ask: the others have a later one, or wait for it.
    let is_left = |member: &Member| match step.gate {
        Gate::Revision => member.is_left(step) && asks(member, step).is_some(),
        Gate::ControlPlane | Gate::NodeGroups | Gate::Agent => member.is_left(step),
    };
    let waits = |(member, digest): &&(&Member, String)| is_left(member) && !approved.contains(digest.as_str());
    left.iter().filter(waits).map(|(member, _)| *member).collect()
}
