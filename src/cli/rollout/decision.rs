//! What a person decides about a rollout, and the annotation that says so. Pure.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::FleetRollout;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, HaltStatus, ReleaseState, ReleaseStatus, WaveState};
use crate::api::listing::first_few;
use crate::rollout::Member;
use crate::rollout::view::{MemberActivity, View};

/// The clusters of a wave that wait for an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub gate: Gate,
    pub target: String,
    pub wave: String,
    pub hash: String,
    /// Names and versions of the clusters that it covers; `None`: they cannot be listed.
    pub clusters: Option<Vec<(String, String)>>,
}

/// What waits for an approval, with the clusters that each hash covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// These approvals.
    For(Vec<Approval>),
    /// The clusters that are listed are not those that the hash in status covers, which it will be soon.
    Unsettled(String),
}

/// What waits for an approval. `hash`: only this one, which somebody has read elsewhere.
///
/// # Errors
/// There is no such wave, or no such hash.
pub fn waiting(
    rollout: &FleetRollout,
    view: Option<&View<'_>>,
    wave: Option<&str>,
    hash: Option<&str>,
) -> anyhow::Result<Waiting> {
    let name = rollout.name_any();
    let nothing = FleetRolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&nothing);
    if let Some(wave) = wave {
        known_wave(rollout, status.releases.iter(), wave)?;
    }
    let mut found = Vec::new();
    for release in &status.releases {
        for of in release.waves.iter().filter(|of| wave.is_none_or(|wave| wave == of.name)) {
            let Some(wanted) = &of.approval_hash else { continue };
            let seen = view.and_then(|view| view.wave(release, &of.name));
            if hash.is_none() && seen.as_ref().is_some_and(|seen| seen.hash.as_ref() != Some(wanted)) {
                return Ok(Waiting::Unsettled(of.name.clone()));
            }
            let clusters = seen.filter(|seen| seen.hash.as_ref() == Some(wanted)).map(|seen| {
                let version = |member: &Member| member.describe_at(release.gate).unwrap_or_default();
                let of = |member: &&Member| (member.name.clone(), version(member));
                let mut all: Vec<_> = seen.waiting.iter().map(of).collect();
                all.sort();
                all
            });
            let (target, wave) = (release.target.clone(), of.name.clone());
            found.push(Approval { gate: release.gate, target, wave, hash: wanted.clone(), clusters });
        }
    }
    if let Some(hash) = hash {
        let all: Vec<String> = found.iter().map(|one| one.hash.clone()).collect();
        found.retain(|one| one.hash == hash);
        ensure!(
            !found.is_empty(),
            "FleetRollout {name}: nothing waits for an approval with hash {hash}{}",
            if all.is_empty() { String::new() } else { format!("; waiting are: {}", all.join(", ")) }
        );
    }
    Ok(Waiting::For(found))
}

/// A version whose release has halted, with each halt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    pub target: String,
    pub halts: Vec<(Gate, HaltStatus)>,
}

/// The version that is retried. `target`: the one that the user named.
///
/// # Errors
/// None has halted, it is another one, or there are several.
pub fn halted(rollout: &FleetRollout, target: Option<&str>) -> anyhow::Result<Halted> {
    let name = rollout.name_any();
    let releases = rollout.status.iter().flat_map(|status| &status.releases);
    let halts: Vec<(&ReleaseStatus, &HaltStatus)> =
        releases.filter_map(|release| Some((release, release.halt.as_ref()?))).collect();
    let targets: BTreeSet<&str> = halts.iter().map(|(release, _)| release.target.as_str()).collect();
    let target = match (target, targets.first()) {
        (_, None) => bail!("FleetRollout {name}: no release has halted"),
        (Some(target), _) if targets.contains(target) => target,
        (Some(target), _) => {
            bail!("FleetRollout {name}: the release of {target} has not halted; halted: {}", first_few(&targets, 5))
        }
        (None, Some(only)) if targets.len() == 1 => only,
        (None, _) => bail!("FleetRollout {name}: several releases have halted ({}): name one", first_few(&targets, 5)),
    };
    let of = halts.iter().filter(|(release, _)| release.target == target);
    Ok(Halted { target: target.to_owned(), halts: of.map(|(release, halt)| (release.gate, (*halt).clone())).collect() })
}

impl Halted {
    /// What has halted, such as `control planes and node groups to 1.36`.
    pub fn describe(&self) -> String {
        let gates: Vec<&str> = self.halts.iter().map(|(gate, _)| gate.describe()).collect();
        format!("{} to {}", gates.join(" and "), self.target)
    }

    /// The value of the annotation, as the message of the halt has it, or one that did not count yet.
    pub fn value(&self, handled: Option<&str>, now: Timestamp) -> String {
        let since = self.halts.first().map_or(now, |(_, halt)| halt.since.0);
        let value = |at: Timestamp| format!("{}/{}", self.target, at.as_second());
        let usual = value(since);
        if handled == Some(usual.as_str()) { value(now) } else { usual }
    }
}

/// A wave of a version that is promoted, with what that skips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    pub target: String,
    pub wave: String,
    /// In words, for each release of the version.
    pub skips: Vec<String>,
    /// The release stays halted.
    pub has_halted: bool,
    /// It has passed, or was promoted.
    pub is_done: bool,
}

/// The wave to promote: `TARGET/WAVE`, or one of them where the other is in `wave` or clear.
///
/// # Errors
/// It is not clear, or there is no such version or wave.
pub fn promotion(
    rollout: &FleetRollout,
    view: Option<&View<'_>>,
    named: Option<&str>,
    wave: Option<&str>,
) -> anyhow::Result<Promotion> {
    let name = rollout.name_any();
    let (target, of_name) = match named.map(|named| named.split_once('/').unwrap_or((named, ""))) {
        Some((target, wave)) => (Some(target), Some(wave).filter(|wave| !wave.is_empty())),
        None => (None, None),
    };
    let wave = match (of_name, wave) {
        (Some(one), Some(other)) if one != other => bail!("{one} and {other}: name one wave"),
        (Some(wave), _) | (None, Some(wave)) => wave,
        (None, None) => bail!("name the wave: TARGET/WAVE, such as 1.36/canary, or --wave WAVE"),
    };
    let releases: Vec<&ReleaseStatus> = rollout.status.iter().flat_map(|status| &status.releases).collect();
    let open: BTreeSet<&str> = releases
        .iter()
        .filter(|release| release.state != ReleaseState::Completed)
        .map(|release| release.target.as_str())
        .collect();
    let target = match (target, open.first()) {
        (Some(target), _) => target,
        (None, None) => bail!("FleetRollout {name}: no release is in progress"),
        (None, Some(only)) if open.len() == 1 => only,
        (None, _) => bail!("FleetRollout {name}: releases of {} are in progress: name one", first_few(&open, 5)),
    };
    let of: Vec<&ReleaseStatus> = releases.into_iter().filter(|release| release.target == target).collect();
    if of.is_empty() {
        bail!("FleetRollout {name}: there is no release of {target}; in progress: {}", first_few(&open, 5));
    }
    known_wave(rollout, of.iter().copied(), wave)?;
    let states = of.iter().flat_map(|release| release.waves.iter().filter(|one| one.name == wave));
    let is_done = states.clone().all(|one| one.promoted_at.is_some() || one.state == WaveState::Passed);
    Ok(Promotion {
        target: target.to_owned(),
        wave: wave.to_owned(),
        skips: of.iter().filter_map(|release| skipped(release, view, wave)).collect(),
        has_halted: of.iter().any(|release| release.halt.is_some()),
        is_done,
    })
}

/// What a promotion skips of a release.
fn skipped(release: &ReleaseStatus, view: Option<&View<'_>>, wave: &str) -> Option<String> {
    /// Clusters that are named.
    const MAX_NAMES: usize = 5;
    let status = release.waves.iter().find(|one| one.name == wave)?;
    let what = format!("{} to {}", release.gate.describe(), release.target);
    let Some(seen) = view.and_then(|view| view.wave(release, wave)) else {
        let missing = status.members - status.at_target;
        return Some(format!("{what}: {missing} of {} clusters do not have the version", status.members));
    };
    let is_missing =
        |doing: &MemberActivity| !matches!(doing, MemberActivity::Arrived(_) | MemberActivity::Unhealthy(_));
    let missing: Vec<&str> =
        seen.clusters.iter().filter(|(_, doing)| is_missing(doing)).map(|(member, _)| member.name.as_str()).collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        let names = first_few(&missing, MAX_NAMES);
        parts.push(format!("{} of {} clusters do not have the version ({names})", missing.len(), status.members));
    }
    let unhealthy = seen
        .clusters
        .iter()
        .filter(|(_, doing)| matches!(doing, MemberActivity::Unhealthy(_) | MemberActivity::Failed(_)));
    let unhealthy: Vec<&str> = unhealthy.map(|(member, _)| member.name.as_str()).collect();
    if !unhealthy.is_empty() {
        parts.push(format!("not healthy: {}", first_few(&unhealthy, MAX_NAMES)));
    }
    if let Some(until) = seen.soaks_until {
        parts.push(format!("its soak lasts until {}", until.strftime("%Y-%m-%dT%H:%M:%SZ")));
    }
    let parts = if parts.is_empty() { "nothing is missing".to_owned() } else { parts.join("; ") };
    Some(format!("{what}: {parts}"))
}

fn known_wave<'a>(
    rollout: &FleetRollout,
    releases: impl Iterator<Item = &'a ReleaseStatus>,
    wave: &str,
) -> anyhow::Result<()> {
    let of_spec = rollout.spec.waves.iter().map(|one| one.name.as_str());
    let names: Vec<&str> =
        of_spec.chain(releases.flat_map(|release| release.waves.iter().map(|one| one.name.as_str()))).collect();
    let mut seen = BTreeSet::new();
    let known: Vec<&str> = names.into_iter().filter(|name| seen.insert(*name)).collect();
    ensure!(
        known.contains(&wave),
        "FleetRollout {} has no wave {wave}; its waves: {}",
        rollout.name_any(),
        first_few(&known, 20)
    );
    Ok(())
}
