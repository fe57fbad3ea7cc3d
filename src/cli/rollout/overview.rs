//! The answer of `keelson rollout status`: each release with its waves, what each cluster is doing, and what a person can
//! do. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::api::FleetRollout;
use crate::api::conditions::{self, ConditionType};
use crate::api::fleet_rollout::{Gate, Share, Wave, WaveApproval};
use crate::api::fleet_rollout_status::{HaltStatus, ReleaseState, ReleaseStatus, WaveState, WaveStatus};
use crate::cli::status::problems::rollout_approval;
use crate::rollout::Member;
use crate::rollout::view::{MemberActivity, View};

/// The answer for one FleetRollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub name: String,
    pub ready: bool,
    /// Reason and message of its Ready condition.
    pub state: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether the operator has observed the current spec.
    pub observed: bool,
    pub suspended: bool,
    /// Number of clusters that it selects.
    pub members: i32,
    pub releases: Vec<ReleaseOverview>,
    /// The waves of the spec, whether something is rolled out or not. Empty: the clusters cannot be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveMembers>,
    /// Clusters that it selects, and no wave does: they are blocked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
    /// The same, and they wait for nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ungated: Vec<String>,
    /// What a person can do.
    pub actions: Vec<String>,
}

/// A wave of the spec with the versions of its clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveMembers {
    pub name: String,
    /// Number of its clusters.
    pub clusters: usize,
    /// How many of them have which version of Kubernetes; those that are being created have none.
    pub versions: BTreeMap<String, usize>,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseOverview {
    pub gate: &'static str,
    /// What is upgraded, in words.
    #[serde(skip)]
    pub what: &'static str,
    pub target: String,
    pub state: ReleaseState,
    pub progress: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<HaltStatus>,
    pub waves: Vec<WaveOverview>,
}

/// A wave of a release: its status, with its policy and its clusters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveOverview {
    #[serde(flatten)]
    pub status: WaveStatus,
    /// Absent: the spec has no such wave.
    #[serde(flatten)]
    pub policy: Option<WavePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soaks_until: Option<Timestamp>,
    /// Absent: they cannot be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Vec<ClusterOverview>>,
}

/// The limits of a wave.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WavePolicy {
    pub max_concurrent: Share,
    pub max_failed: i32,
    pub soak: String,
    pub approval_required: bool,
}

/// A cluster of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterOverview {
    /// `namespace/name`.
    pub cluster: String,
    /// What counts for this release; absent: it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub doing: ClusterState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a cluster is doing, by how much attention it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ClusterState {
    Failed,
    Blocked,
    InProgress,
    Unhealthy,
    WaitingForApproval,
    NotAsked,
    WaitingForTurn,
    Waiting,
    Arrived,
}

/// The answer for a FleetRollout. `view`: with its clusters, if they are known.
pub fn overview(rollout: &FleetRollout, view: Option<&View<'_>>) -> Overview {
    let status = rollout.status.clone().unwrap_or_default();
    let ready = conditions::get(&status.conditions, ConditionType::Ready);
    let outside = view.map(View::outside).unwrap_or_default();
    let releases = status.releases.iter().map(|one| release(one, rollout, view)).collect();
    let mut overview = Overview {
        name: rollout.name_any(),
        ready: ready.is_some_and(|ready| ready.status == "True"),
        state: ready.map_or_else(|| "Pending".to_owned(), |ready| ready.reason.clone()),
        message: ready.map_or_else(
            || "the operator has not observed it yet: is it running (keelson version)?".to_owned(),
            |ready| ready.message.clone(),
        ),
        since: ready.map(|ready| ready.last_transition_time.0),
        observed: status.observed_generation.is_some() && status.observed_generation == rollout.metadata.generation,
        suspended: rollout.spec.suspend,
        members: status.members,
        releases,
        waves: view.map(waves).unwrap_or_default(),
        unmatched: outside.unmatched,
        ungated: outside.ungated,
        actions: Vec::new(),
    };
    overview.actions = actions(&overview);
    overview
}

fn waves(view: &View<'_>) -> Vec<WaveMembers> {
    let of = |(name, members): (&str, Vec<&Member>)| {
        let mut versions: BTreeMap<String, usize> = BTreeMap::new();
        for version in members.iter().filter_map(|member| member.describe_at(Gate::ControlPlane)) {
            *versions.entry(version).or_default() += 1;
        }
        WaveMembers { name: name.to_owned(), clusters: members.len(), versions }
    };
    view.waves().into_iter().map(of).collect()
}

fn release(of: &ReleaseStatus, rollout: &FleetRollout, view: Option<&View<'_>>) -> ReleaseOverview {
    ReleaseOverview {
        gate: of.gate.as_str(),
        what: of.gate.describe(),
        target: of.target.clone(),
        state: of.state,
        progress: of.progress.clone(),
        message: of.message.clone(),
        since: of.since.0,
        halt: of.halt.clone(),
        waves: of.waves.iter().map(|status| wave(of, status, rollout, view)).collect(),
    }
}

fn wave(release: &ReleaseStatus, status: &WaveStatus, rollout: &FleetRollout, view: Option<&View<'_>>) -> WaveOverview {
    let policy = |wave: &Wave| WavePolicy {
        max_concurrent: wave.max_concurrent.clone(),
        max_failed: wave.max_failed,
        soak: wave.soak.clone(),
        approval_required: wave.approval == WaveApproval::Required,
    };
    let found = view.and_then(|view| view.wave(release, &status.name));
    let clusters = found.as_ref().map(|found| {
        let mut all: Vec<_> = found.clusters.iter().map(|(member, doing)| cluster(release, member, doing)).collect();
        all.sort_by(|a, b| (a.doing, &a.cluster).cmp(&(b.doing, &b.cluster)));
        all
    });
    WaveOverview {
        // Which clusters are approved is in what each is doing.
        status: WaveStatus { approved: Vec::new(), ..status.clone() },
        policy: rollout.spec.waves.iter().find(|wave| wave.name == status.name).map(policy),
        soaks_until: found.and_then(|found| found.soaks_until).filter(|_| status.state == WaveState::Soaking),
        clusters,
    }
}

fn cluster(release: &ReleaseStatus, member: &Member, doing: &MemberActivity) -> ClusterOverview {
    let (state, since, message) = match doing {
        MemberActivity::Failed(why) => (ClusterState::Failed, None, Some(why.clone())),
        MemberActivity::Blocked(why) => (ClusterState::Blocked, None, Some(why.clone())),
        MemberActivity::InProgress { since, what } => (ClusterState::InProgress, Some(*since), what.clone()),
        MemberActivity::Unhealthy(why) => (ClusterState::Unhealthy, None, Some(why.clone())),
        MemberActivity::WaitsForApproval => (ClusterState::WaitingForApproval, None, None),
        MemberActivity::NotAsked(why) => (ClusterState::NotAsked, None, Some(why.clone())),
        MemberActivity::WaitsForTurn => (ClusterState::WaitingForTurn, None, None),
        MemberActivity::Waits(what) => (ClusterState::Waiting, None, what.clone()),
        MemberActivity::Arrived(since) => (ClusterState::Arrived, Some(*since), None),
    };
    let version = member.describe_at(release.gate);
    ClusterOverview { cluster: member.name.clone(), version, doing: state, since, message }
}

/// What a person can do, each once.
fn actions(of: &Overview) -> Vec<String> {
    let name = &of.name;
    let mut found: Vec<String> = Vec::new();
    for release in &of.releases {
        let target = &release.target;
        if release.halt.is_some() {
            found.push(format!("once what is named is corrected, continue: keelson rollout retry {name} {target}"));
        }
        for wave in release.waves.iter().filter(|wave| wave.status.approval_hash.is_some()) {
            found.push(rollout_approval(name, &wave.status.name));
        }
        let waits = matches!(release.state, ReleaseState::Blocked | ReleaseState::Soaking);
        let current = release.waves.iter().position(|wave| wave.status.state != WaveState::Passed);
        // Nothing waits for the last one.
        let current = current.filter(|at| waits && at + 1 < release.waves.len());
        if let Some(wave) = current.and_then(|at| release.waves.get(at)) {
            let wave = &wave.status.name;
            found.push(format!(
                "let later waves begin without waiting for wave {wave}: keelson rollout promote {name} {target}/{wave}"
            ));
        }
    }
    if of.suspended {
        found.push("let clusters begin again: set spec.suspend to false".to_owned());
    }
    if !of.unmatched.is_empty() {
        found.push("give the clusters in no wave a label that a wave selects, or set spec.unmatched".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|action| seen.insert(action.clone()));
    found
}
