//! Revisions of the agents' sources. The clusters of the first wave that has a source follow it freely: the revisions that
//! they fetch are its releases. Those of later waves are held at a revision that all waves before have run in health. Nothing that has
//! halted is given to a new cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::{self, Decider, Question};
use super::member::SourceState;
use super::membership::{Rollout, Rollouts};
use super::policy::{Placement, Policy};
use super::release::{PlacedMember, Release};
use super::release_target::{Revision, SourceKey, Target};
use super::request::Step;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::ReleaseStatus;

/// What the clusters of a source may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    /// The source.
    pub source: SourceKey,
    /// The index of the first wave that has a cluster with it.
    pub leading: usize,
    /// The newest revision that a cluster of that wave has fetched.
    pub newest: Option<String>,
    /// For each wave the newest revision that all waves before it have run; for the leading one, whose clusters may be held as well, the
    /// newest that a cluster runs that follows the source.
    pub candidates: Vec<Option<Candidate>>,
    /// For each wave the revision with which a new cluster begins: the newest that all waves before have run, and otherwise the newest that
    /// the first wave has; never one that has halted.
    pub first: Vec<Option<String>>,
    /// The newest release, if it has halted.
    pub halted: Option<Step>,
    /// Whether a cluster of the leading wave that is held may follow the source: no wave comes before, or Git has adopted the source there.
    pub may_lead: bool,
    /// Whether a cluster of the leading wave follows the source: it would fetch a correction.
    pub is_followed: bool,
    /// Whether nobody follows the source: the clusters of the leading wave are held, and those of the waves before are gone.
    pub is_leaderless: bool,
}

/// A revision that a cluster may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The step to it.
    pub step: Step,
    /// The revision in full.
    pub revision: String,
}

/// What a new cluster begins with, without a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstRevision {
    /// This revision.
    Revision(String),
    /// Nothing yet: why, and what to do.
    Wait(String),
}

/// Whether a cluster follows its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// No rollout holds it.
    Freely,
    /// It is in the first wave of its source.
    Leading(String),
    /// It may have this revision, by a ticket.
    Held {
        /// `None`: none that is known.
        candidate: Option<Candidate>,
        /// The newest revision in the first wave.
        newest: Option<String>,
        /// If it is new.
        first: FirstRevision,
        /// Why no other revision follows.
        note: Option<String>,
    },
    /// It stays as it is until that is decided.
    Unchanged {
        /// Why.
        why: String,
        /// If it is new.
        first: FirstRevision,
    },
}

fn gates_revisions(policy: &Policy) -> bool {
    policy.gates.contains(&Gate::Revision)
}

/// The sources of clusters in waves, with the index of the wave. A suspended cluster still leads: others do not run ahead of it.
fn sources<'a>(placed: &'a [PlacedMember<'_>]) -> impl Iterator<Item = (usize, &'a SourceState)> {
    placed.iter().filter(|one| !one.member.deleting).filter_map(|one| match one.placement {
        Placement::Wave(index) => Some((index, one.member.source.as_ref()?)),
        Placement::Ungated | Placement::Unmatched => None,
    })
}

fn leading(placed: &[PlacedMember<'_>]) -> BTreeMap<SourceKey, usize> {
    let mut found = BTreeMap::new();
    for (index, source) in sources(placed) {
        let first = found.entry(source.key).or_insert(index);
        *first = index.min(*first);
    }
    found
}

/// Whether a wave of that index is the first one of the release's source.
pub fn leads(step: Step, index: usize, placed: &[PlacedMember<'_>]) -> bool {
    match step.target {
        Target::Revision(revision) => leading(placed).get(&revision.source()) == Some(&index),
        Target::Kubernetes(_) | Target::Agent(_) => false,
    }
}

/// The revisions that clusters of leading waves have fetched.
pub fn fetched<'a>(policy: &Policy, placed: &'a [PlacedMember<'_>]) -> BTreeMap<Step, &'a SourceState> {
    if !gates_revisions(policy) {
        return BTreeMap::new();
    }
    let leading = leading(placed);
    let of_leading = sources(placed).filter(|(index, source)| leading.get(&source.key) == Some(index));
    let step = |revision: Revision| Step { gate: Gate::Revision, target: Target::Revision(revision) };
    of_leading.filter_map(|(_, source)| Some((step(source.revision()?), source))).collect()
}

/// The one revision that all clusters in the leading wave of a source have fetched; suspended ones are not observed.
fn agreed(source: SourceKey, leading: usize, placed: &[PlacedMember<'_>]) -> Option<Step> {
    let of_wave = placed.iter().filter(|one| one.placement == Placement::Wave(leading));
    let active = of_wave.filter(|one| !one.member.deleting && !one.member.suspended);
    let sources = active.filter_map(|one| one.member.source.as_ref()).filter(|found| found.key == source);
    let all: BTreeSet<Option<Revision>> = sources.map(SourceState::revision).collect();
    let only = all.first().copied().flatten().filter(|_| all.len() == 1)?;
    Some(Step { gate: Gate::Revision, target: Target::Revision(only) })
}

/// What the clusters of each source may have, by the waves that have passed.
pub fn plans(releases: &[Release], policy: &Policy, placed: &[PlacedMember<'_>]) -> Vec<SourcePlan> {
    if !gates_revisions(policy) {
        return Vec::new();
    }
    let plan = |(source, leading): (SourceKey, usize)| {
        let is_of = |step: Step| matches!(step.target, Target::Revision(revision) if revision.source() == source);
        let mut of_source: Vec<&Release> = releases.iter().filter(|release| is_of(release.step)).collect();
        // The branch was set back to an earlier revision if all clusters that follow it say so: one of them may only be late.
        let agreed = agreed(source, leading, placed);
        let age = |release: &&Release| (agreed == Some(release.step), release.status.since.0, release.step);
        of_source.sort_by_key(age);
        let of_leading = || sources(placed).filter(move |(index, found)| *index == leading && found.key == source);
        let follows = |found: &SourceState| !found.held && (found.fetched.is_some() || found.applied.is_some());
        let runs = |found: &SourceState, step: Step| found.runs.map(Target::Revision) == Some(step.target);
        let is_run = |step: Step| of_leading().any(|(_, found)| follows(found) && runs(found, step));
        let candidate = |wave: usize| {
            let has_passed = |release: &&&Release| has_passed(&release.status, policy, wave);
            // No wave before that of those who follow it has run anything.
            let mut passed = of_source.iter().rev().filter(has_passed);
            let found = passed.find(|release| wave > leading || is_run(release.step))?;
            Some(Candidate { step: found.step, revision: found.status.revision.clone()? })
        };
        let is_halted = |release: &Release| release.status.halt.is_some();
        let newest = of_source.last();
        let first = |wave: usize| {
            let is_good = |release: &&&Release| !is_halted(release) && has_passed(&release.status, policy, wave);
            let good = of_source.iter().rev().find(is_good);
            good.or_else(|| newest.filter(|release| !is_halted(release)))?.status.revision.clone()
        };
        let waves = 0..policy.waves.len();
        let is_followed = of_leading().any(|(_, found)| follows(found));
        let may_lead = may_lead(source, leading, placed);
        SourcePlan {
            source,
            leading,
            newest: newest.and_then(|release| release.status.revision.clone()),
            candidates: waves.clone().map(candidate).collect(),
            first: waves.map(first).collect(),
            halted: newest.filter(|release| is_halted(release)).map(|release| release.step),
            may_lead,
            is_followed,
            is_leaderless: !may_lead && !is_followed && of_leading().any(|(_, found)| found.held),
        }
    };
    leading(placed).into_iter().map(plan).collect()
}

/// Whether clusters of a source's leading wave that are held may follow it: in the first wave of the policy, and where Git has adopted the
/// source of a wave before, so that this one has become the first.
fn may_lead(source: SourceKey, leading: usize, placed: &[PlacedMember<'_>]) -> bool {
    let is_before = |one: &PlacedMember<'_>| matches!(one.placement, Placement::Wave(index) if index < leading);
    let is_adopted = |one: &PlacedMember<'_>| !one.member.deleting && one.member.adopted_source == Some(source);
    leading == 0 || placed.iter().any(|one| is_before(one) && is_adopted(one))
}

/// Whether all waves before that of the index have passed.
fn has_passed(release: &ReleaseStatus, policy: &Policy, index: usize) -> bool {
    let passed = |name: &str| {
        let found = release.waves.iter().find(|wave| wave.name == name);
        found.is_some_and(|wave| wave.passed_at.is_some() || wave.promoted_at.is_some())
    };
    index > 0 && policy.waves.iter().take(index).all(|wave| passed(&wave.name))
}

/// The releases of revisions that stay: those that are fetched, those that a wave may have, and those that have halted, until a later
/// one is fetched.
pub fn kept(
    releases: &[Release],
    plans: &[SourcePlan],
    policy: &Policy,
    placed: &[PlacedMember<'_>],
) -> BTreeSet<Step> {
    let candidates = plans.iter().flat_map(|plan| plan.candidates.iter().skip(plan.leading + 1).flatten());
    let fetched: BTreeSet<Step> = fetched(policy, placed).into_keys().collect();
    let source = |step: Step| match step.target {
        Target::Revision(revision) => Some(revision.source()),
        Target::Kubernetes(_) | Target::Agent(_) => None,
    };
    let is_superseded = |release: &&Release| {
        releases.iter().any(|other| {
            fetched.contains(&other.step)
                && source(other.step) == source(release.step)
                && other.status.since.0 > release.status.since.0
        })
    };
    let halted = releases.iter().filter(|release| {
        let is_followed = plans.iter().any(|plan| Some(plan.source) == source(release.step));
        release.status.halt.is_some() && is_followed && !is_superseded(release)
    });
    let halted: Vec<Step> = halted.map(|release| release.step).collect();
    candidates.map(|candidate| candidate.step).chain(fetched.iter().copied()).chain(halted).collect()
}

/// Why no cluster of a source moves on by itself.
fn stopped(rollout: &Rollout<'_>, source: SourceKey) -> Option<String> {
    let name = rollout.name;
    if rollout.spec.suspend {
        return Some(format!("FleetRollout {name} is suspended"));
    }
    let of_source = |release: &&ReleaseStatus| {
        let step = Step::of(release.gate, &release.target);
        matches!(step, Some(Step { target: Target::Revision(revision), .. }) if revision.source() == source)
    };
    let halted = rollout.status.releases.iter().filter(of_source).find(|release| release.halt.is_some());
    halted.map(|release| format!("FleetRollout {name}: the release of {} has halted", release.target))
}

/// Whether a cluster follows its source. `is_held`: whether it is held at a revision of it; `plans`: those of each rollout, by its name, as
/// far as they are known.
pub fn follow<'p>(
    question: &Question<'_>,
    (source, is_held): (SourceKey, bool),
    plans: impl Fn(&str) -> Option<&'p [SourcePlan]>,
) -> Follow {
    if is_gated_by_nobody(question) {
        return Follow::Freely;
    }
    let unchanged = |why: String| Follow::Unchanged { first: FirstRevision::Wait(why.clone()), why };
    let (rollout, wave) = match ask::decider(question, Gate::Revision) {
        Decider::Open => return Follow::Freely,
        Decider::Blocked(why) | Decider::Unlisted(why) => return unchanged(why),
        Decider::Rollout(rollout, wave) => (rollout, wave),
    };
    let name = rollout.name;
    let undecided = || unchanged(format!("FleetRollout {name} decides about its source"));
    let Some(plan) = plans(name).and_then(|all| all.iter().find(|plan| plan.source == source)) else {
        return undecided();
    };
    let Ok(policy) = Policy::of(rollout.spec) else { return undecided() };
    let Some(index) = policy.waves.iter().position(|one| one.name == wave) else { return undecided() };
    let first = plan.first.get(index).cloned().flatten();
    let first = first.map_or_else(|| FirstRevision::Wait(describe_wait(name, plan)), FirstRevision::Revision);
    if index <= plan.leading && plan.is_leaderless {
        let note = format!(
            "FleetRollout {name}: no cluster of a wave before {wave} has this source any more, so no commit follows: give a cluster of \
             the first wave this source, or remove the waves before {wave}"
        );
        return Follow::Held { candidate: None, newest: plan.newest.clone(), first, note: Some(note) };
    }
    // One that is held does not jump to the newest one because others follow the source: it gets what they run, by a ticket.
    let is_follower = index <= plan.leading && (index == 0 || plan.may_lead || !is_held);
    if is_follower {
        // One that was held before, and leads since those of an earlier wave are gone, stays where it is.
        if let Some(why) = stopped(rollout, source) {
            let first = match first {
                FirstRevision::Wait(_) if rollout.spec.suspend => FirstRevision::Wait(why.clone()),
                first => first,
            };
            return Follow::Unchanged { why, first };
        }
        return Follow::Leading(format!(
            "FleetRollout {name}: wave {wave} is the first one with this source, and follows it"
        ));
    }
    let candidate = plan.candidates.get(index).cloned().flatten();
    Follow::Held { candidate, newest: plan.newest.clone(), first, note: None }
}

/// Whether no FleetRollout can hold a source: whatever else they block, agents of new clusters do not wait for it.
fn is_gated_by_nobody(question: &Question<'_>) -> bool {
    let Rollouts::Listed { readable, unreadable } = question.rollouts else { return false };
    let is_missing = question.rollout.is_some_and(|name| question.rollouts.get(name).is_none());
    let gates = |rollout: &Rollout<'_>| rollout.spec.gates.contains(&Gate::Revision);
    unreadable.is_empty() && !is_missing && !readable.iter().any(gates)
}

/// Why there is no revision with which a new cluster may begin, and what to do.
fn describe_wait(name: &str, plan: &SourcePlan) -> String {
    match plan.halted {
        Some(halted) if !plan.is_followed => format!(
            "FleetRollout {name}: the release of {target} has halted, no other revision is known to be good, and no cluster of the first \
             wave is left that would fetch a correction: commit it, then continue (keelson rollout retry {name} {target})",
            target = halted.target
        ),
        Some(halted) => format!(
            "FleetRollout {name}: the release of {target} has halted, and no other revision is known to be good: commit a correction, \
             or continue it (keelson rollout retry {name} {target})",
            target = halted.target
        ),
        None => format!(
            "FleetRollout {name}: no cluster of the first wave with this source has fetched a revision yet, with which this one would \
             begin: see what they wait for (keelson rollout status {name})"
        ),
    }
}
