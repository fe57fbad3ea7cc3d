//! Which plans wait for an approval, and what an approval contains. Pure.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api::status_cluster::{PlanStatus, StepAction};
use crate::api::{
    APPROVE_ANNOTATION, EksCluster, NodeGroup, PlanApproval, PlanApprovalSpec, RELEASE_ANNOTATION, Reason,
};
use crate::cli::output;
use crate::cli::plan::print::RELEASED;
use crate::controllers::approvals::execution_policy::ONLY_OBJECTS;
use crate::resources::eks::cluster;

/// The kinds that have plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    EksCluster,
    NodeGroup,
}

impl Kind {
    /// `ekscluster.keelson.dev`.
    pub fn type_name(self) -> String {
        match self {
            Self::EksCluster => output::type_name::<EksCluster>(),
            Self::NodeGroup => output::type_name::<NodeGroup>(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EksCluster => "EksCluster",
            Self::NodeGroup => "NodeGroup",
        })
    }
}

/// The object to approve, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A cluster includes its node groups.
    pub kind: Kind,
    pub name: String,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or(("ekscluster", text));
        let kind = match kind.to_lowercase().as_str() {
            "ekscluster" | "eksclusters" | "ekc" => Kind::EksCluster,
            "nodegroup" | "nodegroups" | "ng" => Kind::NodeGroup,
            _ => return Err(format!("{kind:?} has no plans; use NAME, ekscluster/NAME or nodegroup/NAME")),
        };
        if name.is_empty() {
            return Err("the name is missing".to_owned());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// An object's metadata, conditions and plan.
#[derive(Clone, Debug)]
pub struct Planned {
    pub kind: Kind,
    pub metadata: ObjectMeta,
    pub conditions: Vec<Condition>,
    pub plan: PlanStatus,
    /// The value that releases its deletion while that is held.
    pub release: Option<String>,
    /// Hashes of PlanApprovals for it that are not decided yet.
    pub approvals: Vec<String>,
}

impl From<EksCluster> for Planned {
    fn from(cluster: EksCluster) -> Self {
        let status = cluster.status.unwrap_or_default();
        let (plan, deletion) = (status.plan.unwrap_or_default(), status.deletion.unwrap_or_default());
        let release = deletion.release.filter(|_| deletion.began.is_none());
        Self {
            kind: Kind::EksCluster,
            metadata: cluster.metadata,
            conditions: status.conditions,
            plan,
            release,
            approvals: Vec::new(),
        }
    }
}

impl From<NodeGroup> for Planned {
    fn from(group: NodeGroup) -> Self {
        let status = group.status.unwrap_or_default();
        let (plan, deletion) = (status.plan.unwrap_or_default(), status.deletion.unwrap_or_default());
        let release = deletion.release.filter(|_| deletion.began.is_none());
        Self {
            kind: Kind::NodeGroup,
            metadata: group.metadata,
            conditions: status.conditions,
            plan,
            release,
            approvals: Vec::new(),
        }
    }
}

/// What the user writes: the hash of a plan, or the release of a held deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalAnnotation {
    /// The annotation to set.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

impl ApprovalAnnotation {
    fn approve(text: impl Into<String>) -> Self {
        Self { key: APPROVE_ANNOTATION, value: text.into() }
    }
}

/// State of an object's approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalState {
    /// It waits for this.
    Waits(ApprovalAnnotation),
    /// It is approved, and the operator has not processed that yet.
    Approved,
    /// The spec is newer than the plan.
    Outdated,
    /// Nothing waits. Holds the object's Ready condition.
    Nothing(String),
}

impl Planned {
    /// `EksCluster default/demo`.
    pub fn title(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {}/{}", self.kind, part(&self.metadata.namespace), part(&self.metadata.name))
    }

    /// Whether the object is being deleted.
    pub fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// What its plan does with it, if that is no change of it: its deletion, or that it is given up and stays in AWS.
    pub fn end(&self) -> Option<&'static str> {
        let has = |action| self.plan.steps.iter().any(|step| step.action == action);
        match (has(StepAction::Release), has(StepAction::Delete)) {
            _ if !self.is_deleted() => None,
            (true, false) => Some(RELEASED),
            (true, true) => Some("to be deleted, but for what is released"),
            (false, _) => Some("to be deleted"),
        }
    }

    /// Whether its plan creates a cluster.
    pub fn is_new_cluster(&self) -> bool {
        let creates = |action, resource: &str| action == StepAction::Create && resource == cluster::KIND.name;
        self.kind == Kind::EksCluster && self.plan.steps.iter().any(|step| creates(step.action, &step.resource))
    }

    /// Why its approval does not help: what it names belongs to others.
    pub fn obstacle(&self) -> Option<String> {
        let is_it = |one: &&Condition| one.type_ == "Ready" && one.reason == Reason::NotOwned.as_str();
        let ready = self.conditions.iter().find(is_it)?;
        Some(format!("NotOwned: {}; approving does not solve it; see keelson recover", ready.message))
    }

    /// Records the undecided approvals of `all` that refer to it.
    pub fn note_approvals(&mut self, all: &[PlanApproval]) {
        let name = self.metadata.name.as_deref();
        let named = |spec: &PlanApprovalSpec| match self.kind {
            Kind::EksCluster => spec.cluster_ref.as_ref().map(|cluster| cluster.name.as_str()) == name,
            Kind::NodeGroup => spec.node_group_ref.as_ref().map(|group| group.name.as_str()) == name,
        };
        let open = |one: &&PlanApproval| one.status.as_ref().is_none_or(|status| status.state.is_none());
        let of = all.iter().filter(open).filter(|one| named(&one.spec)).map(|one| one.spec.hash.clone());
        self.approvals = of.collect();
    }

    /// Ignores its approval annotations when approving by an object: the operator may not accept them, and an
    /// editor's annotation must not keep an approver from approving.
    pub fn ignore_annotations(&mut self) {
        if let Some(all) = &mut self.metadata.annotations {
            all.retain(|key, _| ![APPROVE_ANNOTATION, RELEASE_ANNOTATION].contains(&key.as_str()));
        }
    }

    /// Whether the operator accepts an approval by annotation, according to the object's conditions.
    pub fn takes_annotations(&self) -> bool {
        !self.conditions.iter().any(|one| one.message.contains(ONLY_OBJECTS))
    }

    /// The hash that an approval of it contains.
    pub fn hash(&self) -> &str {
        self.release.as_ref().unwrap_or(&self.plan.hash)
    }

    /// Its approval state.
    pub fn standing(&self) -> ApprovalState {
        let hash = &self.plan.hash;
        let annotated = |key: &str| self.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let annotation = annotated(APPROVE_ANNOTATION);
        let waits = self.conditions.iter().any(|one| one.reason == Reason::WaitingForApproval.as_str());
        if !waits || hash.is_empty() {
            let ready = self.conditions.iter().find(|one| one.type_ == "Ready");
            let ready_message = ready.map(|ready| format!("{}: {}", ready.reason, ready.message));
            return ApprovalState::Nothing(
                ready_message.unwrap_or_else(|| "the operator has not observed it yet".to_owned()),
            );
        }
        if self.plan.generation.is_some() && self.plan.generation != self.metadata.generation {
            return ApprovalState::Outdated;
        }
        if self.approvals.iter().any(|approved| approved == self.hash()) {
            return ApprovalState::Approved;
        }
        if let Some(release) = &self.release {
            return match annotated(RELEASE_ANNOTATION) {
                Some(text) if text == release => ApprovalState::Approved,
                _ => ApprovalState::Waits(ApprovalAnnotation { key: RELEASE_ANNOTATION, value: release.clone() }),
            };
        }
        match annotation {
            Some(text) if named(text) == hash && self.plan.approval.as_ref() != Some(text) => ApprovalState::Approved,
            // The same text counts once: approving the same plan again needs a counter.
            Some(text) if named(text) == hash => {
                ApprovalState::Waits(ApprovalAnnotation::approve(format!("{hash}/{}", times(text) + 1)))
            }
            _ => ApprovalState::Waits(ApprovalAnnotation::approve(hash)),
        }
    }
}

/// The hash in an annotation.
fn named(annotation: &str) -> &str {
    annotation.split('/').next().unwrap_or_default().trim()
}

fn times(annotation: &str) -> u32 {
    annotation.split_once('/').and_then(|(_, times)| times.trim().parse().ok()).unwrap_or(1)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// An EksCluster whose plan waits for approval, changed by `change`.
    pub fn cluster(change: impl FnOnce(&mut Value)) -> Planned {
        let mut object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "default", "generation": 3},
            "spec": {"region": "eu-west-1", "version": "1.34"},
            "status": {
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": "WaitingForApproval", "message": "plan 3f9a1c20 waits",
                    "lastTransitionTime": "2026-11-21T10:00:00Z",
                }],
                "plan": {"hash": "3f9a1c20", "generation": 3, "summary": "1 to create, 0 to update, 0 to delete"},
            },
        });
        change(&mut object);
        Planned::from(serde_json::from_value::<EksCluster>(object).unwrap())
    }

    fn annotated(text: &str, taken: Option<&str>) -> ApprovalState {
        cluster(|object| {
            object["metadata"]["annotations"] = json!({APPROVE_ANNOTATION: text});
            object["status"]["plan"]["approval"] = json!(taken);
        })
        .standing()
    }

    #[test]
    fn a_plan_waits_until_its_hash_is_approved() {
        let waits = |text: &str| ApprovalState::Waits(ApprovalAnnotation::approve(text));
        assert_eq!(cluster(|_| ()).standing(), waits("3f9a1c20"));
        assert_eq!(annotated("00000000", None), waits("3f9a1c20"));
        assert_eq!(annotated("3f9a1c20", None), ApprovalState::Approved);
        assert_eq!(annotated("3f9a1c20/2", Some("3f9a1c20")), ApprovalState::Approved);
        // It was approved before, and waits again.
        assert_eq!(annotated("3f9a1c20", Some("3f9a1c20")), waits("3f9a1c20/2"));
        assert_eq!(annotated("3f9a1c20/2", Some("3f9a1c20/2")), waits("3f9a1c20/3"));
    }

    #[test]
    fn an_undecided_plan_approval_is_not_created_twice() {
        let approval = |spec: Value, state: Value| -> PlanApproval {
            let metadata = json!({"name": "a"});
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "PlanApproval", "metadata": metadata, "spec": spec,
                "status": {"state": state},
            }))
            .unwrap()
        };
        let standing = |approval: PlanApproval| {
            let mut planned = cluster(|_| ());
            planned.note_approvals(&[approval]);
            planned.standing()
        };
        let of = |kind: &str, name: &str| json!({kind: {"name": name}, "hash": "3f9a1c20"});
        assert_eq!(standing(approval(of("clusterRef", "demo"), Value::Null)), ApprovalState::Approved);
        for other in [
            approval(of("clusterRef", "demo"), json!("Used")),
            approval(of("clusterRef", "other"), Value::Null),
            approval(of("nodeGroupRef", "demo"), Value::Null),
        ] {
            assert!(matches!(standing(other), ApprovalState::Waits(_)));
        }
    }

    #[test]
    fn an_annotation_does_not_prevent_approval_by_an_object() {
        let mut annotated =
            cluster(|object| object["metadata"]["annotations"] = json!({APPROVE_ANNOTATION: "3f9a1c20"}));
        assert_eq!(annotated.standing(), ApprovalState::Approved);
        annotated.ignore_annotations();
        assert_eq!(annotated.standing(), ApprovalState::Waits(ApprovalAnnotation::approve("3f9a1c20")));
    }

    #[test]
    fn annotations_are_rejected_when_the_message_offers_none() {
        let with_message =
            |message: &str| cluster(|object| object["status"]["conditions"][0]["message"] = json!(message));
        let approvals = |only_objects| crate::controllers::approvals::execution_policy::Approvals {
            only_objects,
            ..Default::default()
        };
        let how = |only| {
            let approvals = approvals(only);
            crate::controllers::approvals::execution_policy::instructions(
                "demo -n default",
                APPROVE_ANNOTATION,
                "3f9a1c20",
                &approvals,
            )
        };
        assert!(with_message(&how(false)).takes_annotations());
        assert!(!with_message(&how(true)).takes_annotations());
    }

    #[test]
    fn a_held_deletion_waits_for_its_own_release() {
        let held_deletion = |annotation: Option<&str>| {
            cluster(|object| {
                object["status"]["deletion"] = json!({"release": "9f86d081884c7d65"});
                object["metadata"]["annotations"] =
                    json!({APPROVE_ANNOTATION: "3f9a1c20", RELEASE_ANNOTATION: annotation.unwrap_or_default()});
            })
        };
        let annotation = ApprovalAnnotation { key: RELEASE_ANNOTATION, value: "9f86d081884c7d65".to_owned() };
        assert_eq!(held_deletion(None).standing(), ApprovalState::Waits(annotation));
        assert_eq!(held_deletion(None).hash(), "9f86d081884c7d65");
        assert_eq!(held_deletion(Some("9f86d081884c7d65")).standing(), ApprovalState::Approved);
    }

    #[test]
    fn a_plan_of_an_older_spec_cannot_be_approved() {
        assert_eq!(cluster(|object| object["metadata"]["generation"] = json!(4)).standing(), ApprovalState::Outdated);
    }

    #[test]
    fn an_object_that_does_not_wait_shows_its_ready_condition() {
        let ready =
            |reason: &str| cluster(|object| object["status"]["conditions"][0]["reason"] = json!(reason)).standing();
        assert_eq!(ready("Available"), ApprovalState::Nothing("Available: plan 3f9a1c20 waits".to_owned()));
        let new = cluster(|object| drop(object["status"].take())).standing();
        assert_eq!(new, ApprovalState::Nothing("the operator has not observed it yet".to_owned()));
    }

    #[test]
    fn targets_have_the_syntax_of_kubectl() {
        let target = |text: &str| text.parse::<Target>();
        assert_eq!(target("demo"), Ok(Target { kind: Kind::EksCluster, name: "demo".to_owned() }));
        assert_eq!(target("ekc/demo"), target("demo"));
        assert_eq!(target("nodegroup/a"), Ok(Target { kind: Kind::NodeGroup, name: "a".to_owned() }));
        assert!(target("pod/a").is_err() && target("ng/").is_err());
    }
}
