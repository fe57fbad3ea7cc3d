//! What people see of a rollout: which clusters are in which wave, what each is doing, and what an approval covers. The
//! same judgements as those that decide. Pure.

use jiff::Timestamp;

use super::advance::placed;
use super::give::{left, waiting};
use super::member::{Health, Member, StepProgress};
use super::membership::{Rollout, Rollouts};
use super::policy::{Placement, Policy};
use super::release::{PlacedMember, Release};
use super::release_target::Target;
use super::request::Step;
use super::wave::{CheckInput, Evaluation, evaluate};
use super::wave_approval;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout_status::ReleaseStatus;

/// A rollout with its clusters.
#[derive(Clone, Debug)]
pub struct View<'a> {
    policy: Policy,
    placed: Vec<PlacedMember<'a>>,
    now: Timestamp,
}

/// A wave of a release with its clusters.
#[derive(Clone, Debug)]
pub struct WaveView<'a> {
    /// Its clusters.
    pub clusters: Vec<(&'a Member, MemberActivity)>,
    /// When its soak ends.
    pub soaks_until: Option<Timestamp>,
    /// The clusters that an approval lets begin; none: it needs none.
    pub waiting: Vec<&'a Member>,
    /// The hash of that approval.
    pub hash: Option<String>,
}

/// What a cluster of a wave is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberActivity {
    /// Its step failed.
    Failed(String),
    /// A person must change something before it begins.
    Blocked(String),
    /// It may begin, or has begun, and what it reports.
    InProgress {
        /// Since when.
        since: Timestamp,
        /// What it waits for.
        what: Option<String>,
    },
    /// It has the version and is not healthy.
    Unhealthy(String),
    /// Its wave waits for an approval.
    WaitsForApproval,
    /// It asks for its turn.
    WaitsForTurn,
    /// Something else holds it, such as its maintenance window.
    Waits(Option<String>),
    /// Its spec asks for an earlier version, and which one.
    NotAsked(String),
    /// It has the version, and is healthy since then.
    Arrived(Timestamp),
}

/// Clusters that the rollout selects, and that are in no wave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutsideWaves {
    /// They are blocked.
    pub unmatched: Vec<String>,
    /// They wait for nothing.
    pub ungated: Vec<String>,
}

impl<'a> View<'a> {
    /// The rollout with those of `clusters` that it selects.
    ///
    /// # Errors
    /// Why its policy cannot be used: nothing begins.
    pub fn of(
        rollout: &Rollout<'_>,
        rollouts: &Rollouts<'_>,
        clusters: &'a [Member],
        now: Timestamp,
    ) -> Result<Self, String> {
        let policy = Policy::of(rollout.spec)?;
        let placed = placed(rollout.name, rollouts, clusters, &policy)?;
        Ok(Self { policy, placed, now })
    }

    /// The wave of that name; `None`: the spec has none, or the release was not written by Keelson.
    pub fn wave(&self, release: &ReleaseStatus, name: &str) -> Option<WaveView<'a>> {
        let index = self.policy.waves.iter().position(|wave| wave.name == name)?;
        let release = Release::of(release)?;
        let checks = CheckInput { may_run: false, results: &[] };
        let found = evaluate(&release, &self.policy, index, &self.placed, checks, self.now);
        let needs_approval = self.policy.waves[index].needs_approval;
        let left = if needs_approval { left(&found, release.step) } else { Vec::new() };
        let waiting = waiting(&left, &found.status.approved, release.step);
        let clusters = found.members.iter().map(|one| (one.member, doing(one, &found, &release, &waiting)));
        Some(WaveView {
            clusters: clusters.collect(),
            soaks_until: found.soaks_until,
            hash: (!waiting.is_empty()).then(|| wave_approval::hash(release.step, name, &waiting)),
            waiting,
        })
    }

    /// Whether every cluster of the rollout has that version, or a later one: no release of it is left. Revisions have no order.
    pub fn is_reached_by_all(&self, target: Target) -> bool {
        let members = || self.placed.iter().map(|one| one.member);
        match target {
            Target::Kubernetes(target) => {
                let has = |member: &Member| {
                    let at = |version: Option<KubernetesVersion>| version.unwrap_or(member.wanted) >= target;
                    at(member.control_plane) && at(member.node_groups)
                };
                members().next().is_some() && members().all(has)
            }
            Target::Agent(target) => {
                let agents =
                    || members().filter_map(|member| member.agent.as_ref()).filter(|one| one.at.is_same_agent(&target));
                agents().next().is_some() && agents().all(|agent| agent.at >= target)
            }
            Target::Revision(_) => false,
        }
    }

    /// The waves of the spec in order, each with its clusters.
    pub fn waves(&self) -> Vec<(&str, Vec<&'a Member>)> {
        let in_wave = |index: usize| {
            let placed = self.placed.iter().filter(move |one| one.placement == Placement::Wave(index));
            placed.map(|one| one.member).filter(|member| !member.deleting).collect::<Vec<_>>()
        };
        self.policy.waves.iter().enumerate().map(|(index, wave)| (wave.name.as_str(), in_wave(index))).collect()
    }

    /// The clusters that are in no wave.
    pub fn outside(&self) -> OutsideWaves {
        let of = |placement: Placement| {
            let in_it = self.placed.iter().filter(move |one| one.placement == placement && !one.member.deleting);
            in_it.map(|one| one.member.name.clone()).collect()
        };
        OutsideWaves { unmatched: of(Placement::Unmatched), ungated: of(Placement::Ungated) }
    }
}

fn doing(one: &PlacedMember<'_>, found: &Evaluation<'_>, release: &Release, waiting: &[&Member]) -> MemberActivity {
    let PlacedMember { member, contested, .. } = one;
    if let Some((_, why)) = found.failed.iter().find(|(failed, _)| failed.uid == member.uid) {
        return MemberActivity::Failed(why.clone());
    }
    let gate = release.step.gate;
    let is = |what: fn(&StepProgress) -> bool| member.standing(release.step).is_some_and(|standing| what(&standing));
    if is(|standing| standing.is_reached) {
        return match member.health_of(gate) {
            Health::Since(since) => MemberActivity::Arrived(since),
            Health::Unhealthy(why) => MemberActivity::Unhealthy(why),
        };
    }
    if *contested {
        return MemberActivity::Blocked("other FleetRollouts select it, too".to_owned());
    }
    if member.suspended {
        return MemberActivity::Blocked("it is suspended in the middle of its step".to_owned());
    }
    let ticket = release.status.tickets.iter().find(|ticket| ticket.uid == member.uid);
    match (ticket, &member.stalled) {
        (Some(ticket), _) => MemberActivity::InProgress { since: ticket.since.0, what: member.waits_for.clone() },
        (None, _) if !is(|standing| standing.is_asked) => MemberActivity::NotAsked(member.describe_wanted(gate)),
        (None, Some(stalled)) => MemberActivity::Blocked(stalled.message.clone()),
        (None, None) if waiting.iter().any(|other| other.uid == member.uid) => MemberActivity::WaitsForApproval,
        (None, None) if asks(member, release.step) => MemberActivity::WaitsForTurn,
        (None, None) => MemberActivity::Waits(member.waits_for.clone()),
    }
}

fn asks(member: &Member, step: Step) -> bool {
    member.request_of(step.gate).asks.is_some_and(|asked| asked.step == step)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::member::Stalled;
    use super::super::request::Request;
    use super::super::world_objects;
    use super::*;
    use crate::api::fleet_rollout::FleetRolloutSpec;
    use crate::api::fleet_rollout_status::FleetRolloutStatus;

    fn member(name: &str, ring: &str, at: &str) -> Member {
        let at: KubernetesVersion = at.parse().unwrap();
        let healthy = world_objects::member(name, &format!("team/{name}"), ring, at, Timestamp::UNIX_EPOCH);
        Member { wanted: "1.36".parse().unwrap(), ..healthy }
    }

    #[test]
    fn each_cluster_is_doing_one_thing() {
        let spec: FleetRolloutSpec = serde_json::from_value(json!({
            "clusterSelector": {}, "gates": ["ControlPlane"], "waves": [
                {"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "maxConcurrent": 5},
                {"name": "prod", "selector": {"matchLabels": {"ring": "1"}}, "approval": "Required"},
            ],
        }))
        .unwrap();
        let ticket = |uid: &str| {
            json!({"cluster": format!("team/{uid}"), "uid": uid, "id": "ControlPlane/1.36/1", "wave": "canary",
                "since": "2026-11-28T00:00:00Z"})
        };
        let status: FleetRolloutStatus = serde_json::from_value(json!({"releases": [{
            "gate": "ControlPlane", "target": "1.36", "state": "Progressing", "since": "2026-11-28T00:00:00Z",
            "tickets": [ticket("goes"), ticket("fails")],
        }]}))
        .unwrap();
        let stalled = Some(Stalled { since: "2026-11-28T01:00:00Z".parse().unwrap(), message: "no capacity".into() });
        let clusters = [
            Member { waits_for: Some("Upgrading: 4 min".into()), ..member("goes", "0", "1.35") },
            Member { stalled: stalled.clone(), ..member("fails", "0", "1.35") },
            member("done", "0", "1.36"),
            Member { health: Health::Unhealthy("add-on x is DEGRADED".into()), ..member("ill", "0", "1.36") },
            Member { wanted: "1.35".parse().unwrap(), ..member("old", "0", "1.35") },
            Member { stalled, ..member("stuck", "0", "1.35") },
            Member {
                request: Request { asks: "ControlPlane/1.36/2".parse().ok(), ..Request::default() },
                ..member("next", "0", "1.35")
            },
            Member { waits_for: Some("OutsideMaintenanceWindow".into()), ..member("window", "0", "1.35") },
            member("later", "1", "1.35"),
            member("nowhere", "2", "1.35"),
        ];
        let rollout = Rollout { name: "main", spec: &spec, status: &status };
        let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
        let now = "2026-11-28T02:00:00Z".parse().unwrap();
        let view = View::of(&rollout, &rollouts, &clusters, now).unwrap();
        let canary = view.wave(&status.releases[0], "canary").unwrap();
        let found: Vec<_> =
            canary.clusters.iter().map(|(member, doing)| (member.uid.as_str(), doing.clone())).collect();
        let since = "2026-11-28T00:00:00Z".parse().unwrap();
        let expected = [
            ("goes", MemberActivity::InProgress { since, what: Some("Upgrading: 4 min".into()) }),
            ("fails", MemberActivity::Failed("no capacity".into())),
            ("done", MemberActivity::Arrived(Timestamp::UNIX_EPOCH)),
            ("ill", MemberActivity::Unhealthy("add-on x is DEGRADED".into())),
            ("old", MemberActivity::NotAsked("its spec.version is 1.35".into())),
            ("stuck", MemberActivity::Blocked("no capacity".into())),
            ("next", MemberActivity::WaitsForTurn),
            ("window", MemberActivity::Waits(Some("OutsideMaintenanceWindow".into()))),
        ];
        assert_eq!(found, expected);
        let prod = view.wave(&status.releases[0], "prod").unwrap();
        assert_eq!(prod.clusters, [(&clusters[8], MemberActivity::WaitsForApproval)]);
        let step = Step { gate: crate::api::fleet_rollout::Gate::ControlPlane, target: "1.36".parse().unwrap() };
        assert_eq!(prod.hash, Some(wave_approval::hash(step, "prod", &[&clusters[8]])));
        assert_eq!(view.outside().unmatched, ["team/nowhere"]);
        let members = view.waves().into_iter().map(|(name, members)| (name, members.len())).collect::<Vec<_>>();
        assert_eq!(members, [("canary", 8), ("prod", 1)]);
        assert!(view.wave(&status.releases[0], "gone").is_none() && canary.hash.is_none());
    }
}
