//! What the commands show of an object, for EksClusters and NodeGroups alike. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::approve::pending_plans::{Kind, Target};
use super::estimate;
use crate::api::certificate_authority::CertificateAuthorityStatus;
use crate::api::conditions::{self, ConditionType};
use crate::api::hold::{HoldStatus, describe_removal};
use crate::api::hook::{HookFailurePolicy, HookStatus};
use crate::api::policy::DriftPolicy;
use crate::api::status_cluster::{
    ChangeStatus, DeletionStatus, GitOpsStatus, HealthIssue, PlanStatus, PlanStep, ResourceStatus, StepState,
    UpgradeStatus, WaitStatus,
};
use crate::api::{EksCluster, NodeGroup, Reason};
use crate::controllers::status::progress::label;
use crate::engine::Key;

/// An EksCluster or NodeGroup.
#[derive(Clone, Debug)]
pub struct Subject {
    pub kind: Kind,
    pub metadata: ObjectMeta,
    /// The cluster of a node group.
    pub cluster: Option<String>,
    /// Its name in EKS.
    pub aws_name: String,
    pub region: Option<String>,
    pub account_id: Option<String>,
    pub endpoint: Option<String>,
    /// Kubernetes version in EKS, and in the spec.
    pub version: Option<String>,
    pub target_version: Option<String>,
    /// Nodes: ready or desired, and the limits.
    pub nodes: String,
    pub instance_types: Vec<String>,
    pub observed_generation: Option<i64>,
    pub last_handled_reconcile_at: Option<String>,
    pub conditions: Vec<Condition>,
    pub plan: PlanStatus,
    pub upgrade: UpgradeStatus,
    pub waits: Vec<WaitStatus>,
    /// The last change: the creation, an edit, or the deletion.
    pub change: Option<ChangeStatus>,
    pub deletion: DeletionStatus,
    /// The hooks of the steps that are not over.
    pub hooks: Vec<HookStatus>,
    /// Names of the hooks of the spec whose failure stops what follows.
    pub stopping_hooks: Vec<String>,
    /// The FleetRollout that the spec names.
    pub rollout: Option<String>,
    /// What keeps anything from beginning.
    pub holds: Vec<HoldStatus>,
    /// That of its cluster; `None`: its cluster is unknown.
    pub drift_policy: Option<DriftPolicy>,
    /// Whether AWS differs from an unchanged spec.
    pub has_drift: bool,
    pub resources: Vec<ResourceStatus>,
    /// Health issues of EKS, each with the part that has it.
    pub issues: Vec<(String, HealthIssue)>,
    pub gitops: Option<GitOpsStatus>,
    /// The certificate authorities while the cluster has more than the one in use, and the edits that go on from there.
    pub certificate_authorities: Vec<CertificateAuthorityStatus>,
    pub rotation_edits: Vec<String>,
}

impl From<&EksCluster> for Subject {
    fn from(object: &EksCluster) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let of_control_plane = status.health_issues.into_iter().map(|issue| ("control plane".to_owned(), issue));
        let of_addons = status.addons.into_iter().flat_map(|addon| {
            let name = format!("add-on {}", addon.name);
            addon.issues.into_iter().map(move |issue| (name.clone(), issue))
        });
        let rotation = object.spec.control_plane.as_ref().and_then(|settings| settings.certificate_authority.as_ref());
        let authorities = status.certificate_authorities;
        let authorities = if authorities.len() > 1 { authorities } else { Vec::new() };
        let edits = rotation.map(|spec| authorities.iter().filter_map(|one| one.next_edit(spec)).collect());
        let stopping = object.spec.hooks.iter().filter(|hook| hook.on_failure == HookFailurePolicy::Stop);
        Self {
            kind: Kind::EksCluster,
            metadata: object.metadata.clone(),
            cluster: None,
            aws_name: object.cluster_name(),
            region: Some(object.spec.region.clone()),
            account_id: status.account_id,
            endpoint: status.endpoint,
            version: status.version,
            target_version: Some(object.spec.version.clone()),
            nodes: status.node_groups.map(|counts| counts.nodes.to_string()).unwrap_or_default(),
            instance_types: Vec::new(),
            observed_generation: status.observed_generation,
            last_handled_reconcile_at: status.last_handled_reconcile_at,
            conditions: status.conditions,
            plan: status.plan.unwrap_or_default(),
            upgrade: status.upgrade.unwrap_or_default(),
            waits: status.waits,
            change: status.change,
            deletion: status.deletion.unwrap_or_default(),
            hooks: status.hooks.into_iter().filter(|entry| !entry.closed).collect(),
            stopping_hooks: stopping.map(|hook| hook.name.clone()).collect(),
            rollout: object.spec.upgrade.rollout.clone(),
            holds: status.holds,
            drift_policy: Some(object.spec.drift_policy),
            has_drift: !status.drift.is_empty(),
            resources: status.resources,
            issues: of_control_plane.chain(of_addons).collect(),
            gitops: status.gitops,
            certificate_authorities: authorities,
            rotation_edits: edits.unwrap_or_default(),
        }
    }
}

impl From<&NodeGroup> for Subject {
    fn from(object: &NodeGroup) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let scaling = &object.spec.scaling;
        let number = |count: Option<i32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let (ready, desired) = (number(status.ready_nodes), number(status.replicas));
        let issues = status.health_issues.into_iter().map(|issue| (String::new(), issue)).collect();
        Self {
            kind: Kind::NodeGroup,
            metadata: object.metadata.clone(),
            cluster: Some(object.spec.cluster_ref.name.clone()),
            aws_name: object.node_group_name(),
            region: None,
            account_id: None,
            endpoint: None,
            version: status.version,
            target_version: object.spec.version.clone(),
            nodes: format!("{ready}/{desired} ({}-{})", scaling.min, scaling.max),
            instance_types: object.spec.instance_types.clone(),
            observed_generation: status.observed_generation,
            last_handled_reconcile_at: status.last_handled_reconcile_at,
            conditions: status.conditions,
            plan: status.plan.unwrap_or_default(),
            upgrade: status.upgrade.unwrap_or_default(),
            waits: status.waits,
            change: status.change,
            deletion: status.deletion.unwrap_or_default().into(),
            hooks: Vec::new(),
            stopping_hooks: Vec::new(),
            rollout: None,
            holds: status.holds,
            drift_policy: None,
            has_drift: !status.drift.is_empty(),
            resources: Vec::new(),
            issues,
            gitops: None,
            certificate_authorities: Vec::new(),
            rotation_edits: Vec::new(),
        }
    }
}

impl Subject {
    /// `EksCluster default/demo`.
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace(), self.name())
    }

    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The arguments by which a command names it.
    pub fn arguments(&self) -> String {
        let prefix = if self.kind == Kind::NodeGroup { "nodegroup/" } else { "" };
        format!("{prefix}{} -n {}", self.name(), self.namespace())
    }

    /// The command that removes its holds; `None`: it has none.
    pub fn removal_of_holds(&self) -> Option<String> {
        let object = format!("{} {}", self.kind.to_string().to_lowercase(), self.name());
        (!self.holds.is_empty()).then(|| describe_removal(&self.holds, &object, self.namespace()))
    }

    /// Whether it is what the user named, or belongs to it.
    pub fn belongs_to(&self, target: &Target) -> bool {
        match target.kind {
            Kind::EksCluster => self.cluster.as_deref().unwrap_or_else(|| self.name()) == target.name,
            Kind::NodeGroup => self.kind == Kind::NodeGroup && self.name() == target.name,
        }
    }

    pub fn condition(&self, of: ConditionType) -> Option<&Condition> {
        conditions::get(&self.conditions, of)
    }

    pub fn is_true(&self, of: ConditionType) -> bool {
        conditions::is_true(&self.conditions, of)
    }

    /// Reason of its Ready condition.
    pub fn reason(&self) -> &str {
        self.condition(ConditionType::Ready).map_or("Pending", |ready| ready.reason.as_str())
    }

    /// Whether the operator has observed the current spec.
    pub fn is_observed(&self) -> bool {
        self.observed_generation.is_some() && self.observed_generation == self.metadata.generation
    }

    /// Since when it is in its state: since it became ready, was stopped, or started to work.
    pub fn since(&self) -> Option<Timestamp> {
        let deletion = self.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        if let Some(waiting) = self.waiting_since(self.reason()) {
            return deletion.max(Some(waiting));
        }
        let kinds = [ConditionType::Ready, ConditionType::Stalled, ConditionType::Reconciling];
        let of_state = kinds.into_iter().find(|kind| self.is_true(*kind)).or(Some(ConditionType::Ready));
        let changed = of_state.and_then(|kind| self.condition(kind)).map(|found| found.last_transition_time.0);
        deletion.max(changed)
    }

    /// Since when its change waits for that reason; `None`: it waits for none, or another.
    pub fn waiting_since(&self, reason: &str) -> Option<Timestamp> {
        let waiting = self.change.as_ref()?.waiting.as_ref().filter(|waiting| waiting.reason == reason)?;
        Some(waiting.since.0)
    }

    /// The steps that are in progress.
    pub fn running(&self) -> impl Iterator<Item = &PlanStep> {
        self.plan.steps.iter().filter(|step| step.state == StepState::Running)
    }

    /// Whether it is being deleted.
    pub fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether its plan, or its deletion, waits for an approval that was not given yet.
    pub fn waits_for_approval(&self) -> bool {
        let waits = self.conditions.iter().any(|one| one.reason == Reason::WaitingForApproval.as_str());
        waits && self.deletion.began.is_none() && !self.plan.hash.is_empty()
    }

    /// Whether AWS differs from the spec as the spec was edited, and not as AWS was.
    pub fn has_pending_edit(&self) -> bool {
        let is_open = |step: &PlanStep| step.state != StepState::Done;
        !self.is_observed() || !self.has_drift && self.plan.steps.iter().any(is_open)
    }

    /// Whether it does not go on by itself.
    fn is_held(&self) -> bool {
        let holds = |reason| {
            matches!(
                reason,
                Reason::WaitingForApproval
                    | Reason::OnHold
                    | Reason::NotOwned
                    | Reason::DeletionBlocked
                    | Reason::InvalidSpec
                    | Reason::Observed
                    | Reason::Suspended
            )
        };
        self.is_true(ConditionType::Stalled) || Reason::parse(self.reason()).is_some_and(holds)
    }

    /// When it should be done; `None`: nothing is in progress, it does not go on by itself, or that is unknown, as when
    /// it takes longer than expected.
    pub fn expected_end(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_true(ConditionType::Reconciling) || self.is_held() {
            return None;
        }
        let of_upgrade = self.upgrade.expected_end.as_ref().map(|time| time.0);
        estimate::end(&self.plan, now).max(of_upgrade).filter(|end| *end > now)
    }

    /// What it is doing, in a few words: the steps in progress, else the message of its Ready condition.
    pub fn doing(&self) -> String {
        if self.is_true(ConditionType::Ready) {
            return String::new();
        }
        let names: Vec<String> = self.running().map(|step| label(&Key::parse(&step.resource))).collect();
        if !names.is_empty() && self.is_true(ConditionType::Reconciling) {
            return crate::api::listing::first_few(names, 3);
        }
        self.condition(ConditionType::Ready).map(|ready| ready.message.clone()).unwrap_or_default()
    }

    /// Creation of the object.
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }
}

/// Subjects in the order of tables: each cluster with its node groups after it, by namespace and name.
pub fn sorted(clusters: &[EksCluster], groups: &[NodeGroup]) -> Vec<Subject> {
    let drift_policy = |group: &NodeGroup| {
        let (name, namespace) = (Some(&group.spec.cluster_ref.name), &group.metadata.namespace);
        let is_its = |one: &&EksCluster| one.metadata.name.as_ref() == name && one.metadata.namespace == *namespace;
        clusters.iter().find(is_its).map(|cluster| cluster.spec.drift_policy)
    };
    let of_group = |group| Subject { drift_policy: drift_policy(group), ..Subject::from(group) };
    let mut all: Vec<Subject> = clusters.iter().map(Subject::from).chain(groups.iter().map(of_group)).collect();
    all.sort_by_key(|one| {
        let cluster = one.cluster.clone().unwrap_or_else(|| one.name().to_owned());
        (one.namespace().to_owned(), cluster, one.cluster.is_some(), one.name().to_owned())
    });
    all
}
