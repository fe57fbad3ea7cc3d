//! An upgrade in a reconcile: reads the inputs, lets [`crate::upgrade`] decide, and expands the next graph for what
//! may run now. [`upgrade_status`] builds what status reports, [`observation`] what was observed; both are pure.
//!
//! I/O: AWS through [`crate::resources::eks::upgrade_data`], the workload cluster through [`crate::workload`]; reads only.

mod approved;
pub mod insights;
pub mod observation;
pub mod upgrade_state;
pub mod upgrade_status;
pub mod waiting;
pub mod wave;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::ResourceExt;

use super::Reconcile;
use super::status::control_plane_health;
use super::status::facts::{Facts, cluster_key};
use crate::api::node_group::SubnetTier;
use crate::api::status_cluster::{EksClusterStatus, PreflightCheck, SupportStatus, UpgradeStatus};
use crate::api::upgrade::UnreadableNodesPolicy;
use crate::api::{KubernetesVersion, NodeGroup, Reason};
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::states;
use crate::engine::Report;
use crate::hooks::HookHold;
use crate::resources::cloud::Cloud;
use crate::resources::eks::upgrade_data;
use crate::resources::graph::expand::Versions;
use crate::rollout::Lane;
use crate::upgrade::preflight::{self, Insight, Preflight};
use crate::upgrade::soak::Soak;
use crate::upgrade::support::{self, SupportDates};
use crate::upgrade::{
    Clock, Decision, Goal, Hold, Observation, Soaked, State, Step, UnreadNodes, WaveState, WindowState, Windows,
    decide, remaining_steps,
};
use observation::UpgradeReads;
use workload::WorkloadState;

/// Maximum age of the observation on which a control plane step starts.
const MAX_OBSERVATION_AGE: Duration = Duration::from_secs(20);

/// The decision, and its inputs for status.
pub struct Upgrade {
    pub decision: Decision,
    goal: Goal,
    observed: Observation,
    window: WindowState,
    soak: Option<Soak>,
    preflight: Option<Preflight>,
    support: Option<SupportDates>,
    /// EKS refreshes the insights.
    refreshing: bool,
    /// When to record again what the cluster says to its FleetRollout.
    wave_retry: Option<Timestamp>,
    /// The hook that is waited for.
    pub hook: Option<HookHold>,
}

impl Upgrade {
    /// The versions that the desired graph has now.
    pub fn versions(&self) -> Versions {
        let targets = &self.decision.targets;
        Versions { control_plane: Some(targets.control_plane.to_string()), addons: targets.addons.clone() }
    }

    /// `status.upgrade`, and the message of its conditions.
    pub fn status_and_message(
        &self,
        previous: &EksClusterStatus,
        report: &Report,
        now: Timestamp,
    ) -> (UpgradeStatus, Option<String>) {
        let input = upgrade_status::Input {
            previous: previous.upgrade.as_ref(),
            version_before: previous.version.as_deref(),
            decision: &self.decision,
            goal: self.goal.version,
            control_plane: self.observed.control_plane,
            plan: &report.plan,
            ended: &report.finished_operations,
            preflight: self.preflight.as_ref(),
            window: &self.window,
            soak: self.soak,
            now,
        };
        (input.status(), input.message())
    }

    /// When the decision may change by itself.
    pub fn requeue_after(&self, now: Timestamp) -> Option<Timestamp> {
        let poll = || now.saturating_add(crate::engine::failure::span(insights::POLL_INTERVAL)).ok();
        let after = self.refreshing.then(poll).flatten();
        let hook = self.hook.as_ref().and_then(|hook| now.saturating_add(hook.again).ok());
        after
            .into_iter()
            .chain(self.wave_retry)
            .chain(hook)
            .chain(upgrade_status::requeue_after(&self.decision, now))
            .min()
    }

    /// `status.support`.
    pub fn support(&self) -> Option<SupportStatus> {
        let SupportDates { standard, extended } = self.support?;
        let day = |date: Option<jiff::civil::Date>| date.map(|date| date.to_string());
        Some(SupportStatus { standard_ends: day(standard), extended_ends: day(extended) })
    }
}

impl Reconcile<'_> {
    /// Decides which version changes may run now. `None`: the control plane does not exist yet, or it has failed.
    pub(super) async fn upgrade(&mut self, cloud: &Cloud, previous: &EksClusterStatus) -> Option<Upgrade> {
        let goal = Goal::of(&self.object.spec).ok()?;
        let windows = Windows::parse(&self.object.spec.upgrade.windows).ok()?;
        let at: KubernetesVersion = Facts(&self.state.memory).of_cluster("version")?.parse().ok()?;
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let (mut read, support) = self.read(cloud, &goal, at).await;
        let window = windows.state(self.now);
        let soak = self.soak(previous, &groups, at);
        let wanted = crate::api::duration::parse(&self.object.spec.upgrade.soak).unwrap_or_default();
        let clock = Clock {
            now: self.now,
            window: window.clone(),
            soaked: Soaked {
                remaining: soak.map_or(Duration::ZERO, |soak| soak.remaining(wanted, self.now)),
                unhealthy: soak
                    .and_then(|_| observation::unhealthy(&self.state.memory, &groups, agent_fails(previous))),
            },
            on_hold: self.holds.any(),
            wave: WaveState::Free,
        };
        let mut made = self.state.kind.upgrade.preflight.clone();
        let decided = |made: &Option<(Preflight, Timestamp)>, read: &UpgradeReads, state: &states::State<_, _>| {
            let observed = observation::observe(&state.memory, &self.object.spec, &groups, read)?;
            Some((decide(&goal, &observed, &clock, made.as_ref().map(|(preflight, _)| preflight)), observed))
        };
        let (mut decision, mut observed) = decided(&made, &read, self.state)?;
        let mut known = WorkloadState::Reading(None);
        if decision.is_upgrade() {
            known = self.workload_state(cloud).await;
            read.nodes = known.reading().map(|reading| reading.nodes.clone());
            read.unread = match &known {
                WorkloadState::Read(_) => None,
                WorkloadState::Reading(_) => Some(UnreadNodes::Reading),
                WorkloadState::Failed(why) => Some(UnreadNodes::Failed(why.clone()))
                    .filter(|_| self.object.spec.upgrade.unreadable_nodes == UnreadableNodesPolicy::Block),
            };
            (decision, observed) = decided(&made, &read, self.state)?;
        }
        if let Some(to) = self.preflight_due(&decision, made.as_ref())
            && !matches!(known, WorkloadState::Reading(_))
            && let Some(insights) = self.insights(cloud, to).await
        {
            let known = (groups.as_slice(), &known);
            made = Some((self.preflight(cloud, &observed, &decision, known, (to, insights)).await, self.now));
            (decision, observed) = decided(&made, &read, self.state)?;
        }
        if decision.preflight_for().is_none() {
            made = None;
        }
        // The last question: nothing else holds the step.
        let is_healthy = self.is_healthy(previous);
        let wave = self.wave(previous, &goal, (&decision, &observed), is_healthy).await;
        // Hooks run when the cluster has its turn: what they save is fresh.
        let may_begin = wave == WaveState::Free;
        let hook = self.upgrade_hooks(previous, cloud, &goal, (&decision, &observed), may_begin).await;
        let wave = match &hook {
            Some(HookHold { failed, message, .. }) if may_begin => {
                WaveState::Hook { failed: *failed, message: message.clone() }
            }
            _ => wave,
        };
        if wave != WaveState::Free {
            let clock = Clock { wave, ..clock };
            decision = decide(&goal, &observed, &clock, made.as_ref().map(|(preflight, _)| preflight));
        }
        self.state.kind.upgrade.preflight.clone_from(&made);
        // Another actor may have changed it since the last observation: the next round decides on a fresh one.
        if decision.targets.control_plane != at && !self.is_fresh() {
            self.state.memory.entry(&cluster_key()).due = None;
            decision.targets.control_plane = at;
        }
        let preflight = made.map(|(preflight, _)| preflight);
        let refreshing = self.state.kind.upgrade.refresh.is_running();
        let wave_retry = self.wave_retry(Lane::Kubernetes);
        Some(Upgrade { decision, goal, observed, window, soak, preflight, support, refreshing, wave_retry, hook })
    }

    fn is_fresh(&self) -> bool {
        let observed_at = self.state.memory.get(&cluster_key()).and_then(|entry| entry.observed_at);
        observed_at.is_some_and(|at| Timestamp::now().duration_since(at).unsigned_abs() <= MAX_OBSERVATION_AGE)
    }

    /// Maximum age of a read that is shared by all clusters: not from before this process started, or a user
    /// requested an observation.
    fn read_age(&self) -> Duration {
        Timestamp::now().duration_since(self.state.memory.since).max(jiff::SignedDuration::ZERO).unsigned_abs()
    }

    /// What EKS offers. What cannot be read now is left out: nothing is concluded from it.
    async fn read(&self, cloud: &Cloud, goal: &Goal, at: KubernetesVersion) -> (UpgradeReads, Option<SupportDates>) {
        let mut read = UpgradeReads::default();
        let mut support = None;
        match upgrade_data::versions(cloud, self.read_age()).await {
            Ok(versions) => {
                support = versions.get(&at).copied();
                read.offered = versions.into_keys().collect();
            }
            Err(failure) => tracing::warn!(%failure, "cannot read which Kubernetes versions EKS offers"),
        }
        let on: Vec<_> = [at].into_iter().chain(remaining_steps::path(at, goal.version)).collect();
        for addon in &self.object.spec.addons {
            match upgrade_data::addon_offers(cloud, &addon.name, &on, self.read_age()).await {
                Ok(offers) => drop(read.offers.insert(addon.name.clone(), offers)),
                Err(failure) => {
                    tracing::warn!(%failure, addon = addon.name, "cannot read the versions that EKS offers of it")
                }
            }
        }
        (read, support)
    }

    /// The soak since the last step of the control plane. `None`: there was no step.
    fn soak(&self, previous: &EksClusterStatus, groups: &[Arc<NodeGroup>], at: KubernetesVersion) -> Option<Soak> {
        let stepped = previous.version.as_ref().is_some_and(|before| *before != at.to_string());
        let kept = previous.upgrade.as_ref().and_then(|upgrade| upgrade.soak.as_ref());
        let kept = kept.map(|kept| Soak {
            counted: u64::try_from(kept.seconds).unwrap_or_default(),
            healthy_since: kept.healthy_since.as_ref().map(|since| since.0),
        });
        let soak = if stepped { Soak::default() } else { kept? };
        let healthy = observation::unhealthy(&self.state.memory, groups, agent_fails(previous)).is_none();
        Some(soak.advance(healthy, self.now))
    }

    /// The version for which the checks must run now: they are missing, or too old to start on.
    fn preflight_due(&self, decision: &Decision, made: Option<&(Preflight, Timestamp)>) -> Option<KubernetesVersion> {
        if let State::Holding { why: Hold::Preflight { to }, .. } = &decision.state {
            return Some(*to);
        }
        let to = decision.preflight_for()?;
        let (_, at) = made?;
        // A refresh started for the last check: its result is awaited, and what blocks is reported until then.
        let interval = match self.state.kind.upgrade.refresh.is_running() {
            true => insights::POLL_INTERVAL.min(self.ctx.settings.intervals.drift),
            false => self.ctx.settings.intervals.drift,
        };
        let old = self.now.duration_since(*at).unsigned_abs() >= interval;
        let matters = match &decision.state {
            State::Running(Step::ControlPlane { .. }) => decision.targets.control_plane == to && !self.is_in_progress(),
            State::Blocked { .. } => true,
            _ => false,
        };
        (old && matters).then_some(to)
    }

    fn is_in_progress(&self) -> bool {
        Facts(&self.state.memory).cluster().is_some_and(|observed| observed.operation.is_some())
    }

    async fn preflight(
        &self,
        cloud: &Cloud,
        observed: &Observation,
        decision: &Decision,
        (groups, workload): (&[Arc<NodeGroup>], &WorkloadState),
        (to, insights): (KubernetesVersion, Option<Vec<Insight>>),
    ) -> Preflight {
        let spec = &self.object.spec;
        let known = |failure: crate::engine::Failure| tracing::warn!(%failure, "a check of the upgrade could not run");
        let versions =
            upgrade_data::versions(cloud, self.read_age()).await.map_err(known).ok().filter(|all| !all.is_empty());
        let facts = Facts(&self.state.memory);
        let subnets = facts.subnet_ids(SubnetTier::Private);
        let subnets = if subnets.is_empty() { facts.subnet_ids(SubnetTier::Public) } else { subnets };
        let free = upgrade_data::free_addresses(cloud, &subnets).await.map_err(known).ok();
        let forced = |name: &String| {
            let group = groups.iter().find(|group| group.node_group_name() == *name);
            group.and_then(|group| group.spec.update.as_ref()).is_some_and(|update| update.force)
        };
        let replaced = decision.remaining_steps.iter().any(|step| match step {
            Step::NodeGroups { names, .. } => !names.iter().all(forced),
            _ => false,
        });
        let budgets = workload.reading().filter(|_| replaced).and_then(|reading| reading.budgets.as_deref());
        let today = self.now.to_zoned(TimeZone::UTC).date();
        let health = control_plane_health::described(&self.state.memory);
        let checks = vec![
            preflight::control_plane(health.as_ref().map(|(why, passes)| (why.as_str(), *passes))),
            preflight::insights(spec.upgrade.insights, to, insights.as_deref()),
            preflight::version_offered(to, versions.as_ref(), today),
            preflight::addon_compatibility(&observed.addons, spec.upgrade.addons, observed.control_plane, to),
            preflight::free_addresses(free.as_deref()),
            preflight::node_groups(&observation::health(groups)),
            self.ami_types(cloud, groups, (observed.control_plane, to)).await,
            preflight::disruption_budgets(budgets, replaced),
        ];
        Preflight { to, checks }
    }

    async fn ami_types(
        &self,
        cloud: &Cloud,
        groups: &[Arc<NodeGroup>],
        (from, to): (KubernetesVersion, KubernetesVersion),
    ) -> PreflightCheck {
        let (mut checked, mut unsupported) = (0, Vec::new());
        for group in groups {
            let Some(ami_type) = observation::ami_type(group) else { continue };
            let exists = upgrade_data::ami_exists(cloud, ami_type, (from, to), self.read_age()).await;
            let Some(exists) = exists else { continue };
            checked += 1;
            if !exists {
                let moves = observation::moves_to(group, to, self.object.spec.upgrade.node_groups);
                let (node_group, ami_type) = (group.node_group_name(), ami_type.to_owned());
                unsupported.push(preflight::UnsupportedAmi { node_group, ami_type, moves });
            }
        }
        preflight::ami_types(checked, &unsupported, to)
    }

    /// The number of nodes that take Pods, as far as is known.
    pub(super) async fn schedulable_nodes(&self, cloud: &Cloud) -> i32 {
        if Facts(&self.state.memory).of_cluster("version").is_none() {
            return 0;
        }
        self.workload_state(cloud).await.reading().map_or(0, |reading| reading.nodes.schedulable)
    }

    /// The workload cluster's last answer. Starts a read in the background if one is due.
    async fn workload_state(&self, cloud: &Cloud) -> WorkloadState {
        let reads = &self.state.kind.upgrade.workload;
        let drift = self.ctx.settings.intervals.drift;
        if reads.is_due(self.now, drift) {
            reads.start_read(self.ctx, self.object, cloud, &self.state.memory, self.now).await;
        }
        reads.known(self.now)
    }

    /// Warns that AWS's support of the version ends soon. Returns the marker to keep so that each warning is
    /// published once.
    pub(super) fn warn_of_support(&self, upgrade: &Upgrade, published: Option<&str>) -> Option<String> {
        let before = published.and_then(|published| published.parse().ok());
        let today = self.now.to_zoned(TimeZone::UTC).date();
        let due = upgrade.support.and_then(|dates| {
            support::warning(upgrade.observed.control_plane, dates, self.object.spec.support_type, today, before)
        });
        let Some(warning) = due else { return published.map(str::to_owned) };
        self.ctx.events.publish(self.object, vec![EventMessage::warning(Reason::SupportEnding, warning.to_string())]);
        Some(warning.notice.to_string())
    }
}

/// Why the agent counts as unhealthy: what it applies fails. An unreachable agent says nothing about the cluster.
fn agent_fails(previous: &EksClusterStatus) -> Option<&str> {
    use crate::api::conditions::{ConditionType, get};
    let condition = get(&previous.conditions, ConditionType::GitOpsReady)?;
    let fails = condition.status == "False" && condition.reason == Reason::SyncFailed.as_str();
    fails.then_some(condition.message.as_str())
}
