//! What lists show of an object: computed once when it changes, so that a list of ten thousand is fast. Pure.

use jiff::Timestamp;
use jiff::civil::Date;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::id::{Id, Kind};
use super::state::State;
use crate::api::conditions::{self, ConditionType, bounded};
use crate::api::fleet_rollout_status::ReleaseState;
use crate::api::policy::DriftPolicy;
use crate::api::status_cluster::{GitOpsStatus, SupportStatus};
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::cli::rollout::overview::overview;
use crate::cli::status::problems;
use crate::cli::subject::Subject;
use crate::controllers::runtime::decode::Unreadable;

/// Longest message in a list.
const MAX_MESSAGE: usize = 600;
/// Longest label in a list.
const MAX_LABELS: usize = 20;

/// When AWS's support of a Kubernetes version ends, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupportEnds {
    pub standard: Option<Date>,
    pub extended: Option<Date>,
}

impl SupportEnds {
    fn of(status: Option<&SupportStatus>) -> Self {
        let date = |date: &Option<String>| date.as_deref()?.parse().ok();
        status.map_or_else(Self::default, |status| Self {
            standard: date(&status.standard_ends),
            extended: date(&status.extended_ends),
        })
    }
}

/// An object in a list.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: Id,
    pub state: State,
    /// Reason of its state, as in its condition.
    pub reason: String,
    pub message: String,
    /// Since when it is in that state.
    pub since: Option<Timestamp>,
    /// When what is in progress should end, as estimated at the last change.
    pub until: Option<Timestamp>,
    /// What a person can do, each with its command.
    pub actions: Vec<String>,
    pub region: String,
    /// AWS account id, or the name of its AwsAccount as long as that is not known.
    pub account: String,
    /// Name of its AwsAccount.
    pub account_name: String,
    /// Of a node group: name of its cluster.
    pub cluster_name: String,
    /// Of a cluster.
    pub drift_policy: Option<DriftPolicy>,
    /// When AWS's support of its version ends.
    pub support: SupportEnds,
    pub version: String,
    /// Its numbers: `1.9` comes before `1.10`.
    pub version_order: Vec<u32>,
    pub target: String,
    pub nodes: String,
    /// Node groups: ready and all.
    pub groups: (i32, i32),
    /// The revision that the GitOps agent applied.
    pub revision: String,
    /// From which version of the agent to which a cluster is on its way.
    pub agent_transition: String,
    /// Which revision of its source a cluster may have, and which Git names.
    pub revision_transition: String,
    /// Labels as `key=value`.
    pub labels: Vec<String>,
    pub is_deleted: bool,
    /// All that a search looks at, in lower case.
    pub search: String,
}

impl Row {
    fn new(kind: Kind, metadata: &ObjectMeta, state: State, reason: &str, message: &str) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let labels = metadata.labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
        Self {
            id: Id { kind, namespace: text(&metadata.namespace), name: text(&metadata.name) },
            state,
            reason: reason.to_owned(),
            message: bounded(message, MAX_MESSAGE),
            since: None,
            until: None,
            actions: Vec::new(),
            region: String::new(),
            account: String::new(),
            account_name: String::new(),
            cluster_name: String::new(),
            drift_policy: None,
            support: SupportEnds::default(),
            version: String::new(),
            version_order: Vec::new(),
            target: String::new(),
            nodes: String::new(),
            groups: (0, 0),
            revision: String::new(),
            agent_transition: String::new(),
            revision_transition: String::new(),
            labels: labels.take(MAX_LABELS).collect(),
            is_deleted: metadata.deletion_timestamp.is_some(),
            search: String::new(),
        }
    }

    fn of_subject(kind: Kind, subject: &Subject, now: Timestamp) -> Self {
        let problems = problems::of(subject);
        let state = State::of_subject(subject, !problems.is_empty());
        let ready = subject.condition(ConditionType::Ready);
        // The first problem is that of the Ready condition, if it has one.
        let (reason, message) = match problems.first() {
            Some(problem) if state != State::Progressing => (problem.reason.as_str(), problem.message.as_str()),
            _ => (subject.reason(), ready.map_or("", |ready| ready.message.as_str())),
        };
        let doing = subject.doing();
        let message = if state == State::Progressing && !doing.is_empty() { &doing } else { message };
        let mut actions: Vec<String> = Vec::new();
        for action in problems.iter().flat_map(|problem| problems::advice_for(problem, subject)) {
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        Self {
            since: problems.first().and_then(|problem| problem.since).or_else(|| subject.since()),
            until: subject.expected_end(now),
            actions,
            version: subject.version.clone().unwrap_or_default(),
            target: subject.target_version.clone().unwrap_or_default(),
            nodes: subject.nodes.clone(),
            ..Self::new(kind, &subject.metadata, state, reason, message)
        }
    }

    /// The row of an EksCluster.
    pub fn of_cluster(object: &EksCluster, now: Timestamp) -> Self {
        let subject = Subject::from(object);
        let counts = object.status.as_ref().and_then(|status| status.node_groups.clone()).unwrap_or_default();
        let account_name = object.spec.account_name().to_owned();
        let revision = subject.gitops.as_ref().and_then(|gitops| gitops.revision.clone());
        let row = Self {
            region: object.spec.region.clone(),
            account: subject.account_id.clone().unwrap_or_else(|| account_name.clone()),
            account_name,
            drift_policy: Some(object.spec.drift_policy),
            support: SupportEnds::of(object.status.as_ref().and_then(|status| status.support.as_ref())),
            groups: (counts.ready, counts.total),
            revision: revision.unwrap_or_default(),
            agent_transition: subject.gitops.as_ref().map(agent_transition).unwrap_or_default(),
            revision_transition: subject.gitops.as_ref().map(revision_transition).unwrap_or_default(),
            ..Self::of_subject(Kind::EksCluster, &subject, now)
        };
        row.with_search()
    }

    /// The row of a NodeGroup. `drift_policy`: that of its cluster, if it is known.
    pub fn of_group(object: &NodeGroup, drift_policy: Option<DriftPolicy>, now: Timestamp) -> Self {
        let subject = Subject { drift_policy, ..Subject::from(object) };
        let row = Self {
            cluster_name: object.spec.cluster_ref.name.clone(),
            ..Self::of_subject(Kind::NodeGroup, &subject, now)
        };
        row.with_search()
    }

    /// The row of an AwsAccount.
    pub fn of_account(object: &AwsAccount) -> Self {
        let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let ready = conditions::get(conditions, ConditionType::Ready);
        let state = match ready {
            None => State::Unknown,
            Some(_) if conditions::is_true(conditions, ConditionType::Stalled) => State::Blocked,
            Some(ready) if ready.status == "True" => State::Ready,
            Some(_) => State::Failing,
        };
        let (reason, message) = ready.map_or(("", ""), |ready| (ready.reason.as_str(), ready.message.as_str()));
        let row = Self {
            since: ready.map(|ready| ready.last_transition_time.0),
            account: object.spec.account_id.clone(),
            account_name: object.name_any(),
            ..Self::new(Kind::AwsAccount, &object.metadata, state, reason, message)
        };
        row.with_search()
    }

    /// The row of a FleetRollout: the state of the release that needs most attention.
    pub fn of_rollout(object: &FleetRollout) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = conditions::get(&status.conditions, ConditionType::Ready);
        let release = status.releases.first();
        let is_stalled = conditions::is_true(&status.conditions, ConditionType::Stalled);
        let state = match release.map(|release| State::of_release(release.state)) {
            None if ready.is_none() => State::Unknown,
            None | Some(State::Ready) if is_stalled => State::Blocked,
            // Nothing more begins, also if what began has completed.
            None | Some(State::Ready) if object.spec.suspend => State::Held,
            Some(state) => state,
            None => State::Ready,
        };
        let reason = match release {
            _ if state == State::Held => ReleaseState::Suspended.as_str(),
            Some(release) => release.state.as_str(),
            None => ready.map_or("", |ready| ready.reason.as_str()),
        };
        let halt = release.and_then(|release| release.halt.as_ref());
        let message = halt.map(|halt| halt.message.as_str());
        let message = message.or_else(|| release.and_then(|release| release.message.as_deref()));
        let message = message.unwrap_or_else(|| ready.map_or("", |ready| ready.message.as_str()));
        let since = halt.map(|halt| halt.since.0).or_else(|| release.map(|release| release.since.0));
        let row = Self {
            since: since.or_else(|| ready.map(|ready| ready.last_transition_time.0)),
            target: release.map(|release| release.target.clone()).unwrap_or_default(),
            actions: overview(object, None).actions,
            ..Self::new(Kind::FleetRollout, &object.metadata, state, reason, message)
        };
        row.with_search()
    }

    /// The row of an object that cannot be decoded.
    pub fn of_unreadable(kind: Kind, object: &Unreadable) -> Self {
        Self::new(kind, &object.meta, State::Blocked, "Unreadable", &object.reason).with_search()
    }

    fn with_search(mut self) -> Self {
        let Self { id, region, account, account_name, version, reason, revision, labels, .. } = &self;
        let parts = [&id.title(), region, account, account_name, version, reason, revision];
        let text = parts.into_iter().chain(labels).map(String::as_str).collect::<Vec<_>>().join("\n");
        self.search = text.to_lowercase();
        self.version_order = self.version.split('.').map(|part| part.parse().unwrap_or_default()).collect();
        self
    }

    /// The cluster of a node group; `None` for other kinds.
    pub fn cluster(&self) -> Option<Id> {
        (self.id.kind == Kind::NodeGroup).then(|| Id::new(Kind::EksCluster, &self.id.namespace, &self.cluster_name))
    }

    /// Whether a person has to do something about it.
    pub fn requires_intervention(&self, now: Timestamp) -> bool {
        self.state.requires_intervention(self.since, now)
    }
}

fn agent_transition(of: &GitOpsStatus) -> String {
    of.upgrade.as_ref().map(|one| format!("{} → {}", one.from, one.to)).unwrap_or_default()
}

fn revision_transition(of: &GitOpsStatus) -> String {
    let held = of.held_revision.clone().unwrap_or_default();
    let part = |word: &str, revision: Option<String>| revision.map(|revision| format!("{word} {revision}"));
    [part("allowed", held.allowed), part("wanted", held.wanted)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rollout(suspend: bool, status: Value) -> Row {
        let object = json!({
            "metadata": {"name": "main"}, "spec": {"clusterSelector": {}, "waves": [{"name": "a"}], "suspend": suspend}, "status": status,
        });
        Row::of_rollout(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn suspended_rollout_is_held_also_if_its_releases_have_completed() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Available", "message": "m", "lastTransitionTime": "2026-11-30T23:00:00Z"});
        let release = |state: &str| json!([{"gate": "ControlPlane", "target": "1.36", "state": state, "since": "2026-11-30T23:00:00Z"}]);
        let status = |releases: Value| json!({"conditions": [condition("Ready", "True")], "releases": releases});
        for (suspend, releases, state, reason) in [
            (false, release("Completed"), State::Ready, "Completed"),
            (true, release("Completed"), State::Held, "Suspended"),
            (true, release("Suspended"), State::Held, "Suspended"),
            (true, release("Halted"), State::Halted, "Halted"),
            (true, json!([]), State::Held, "Suspended"),
            (false, json!([]), State::Ready, "Available"),
        ] {
            let row = rollout(suspend, status(releases.clone()));
            assert_eq!((row.state, row.reason.as_str()), (state, reason), "{suspend} {releases}");
        }
        let stalled = json!([condition("Ready", "False"), condition("Stalled", "True")]);
        let row = rollout(false, json!({"conditions": stalled, "releases": release("Completed")}));
        assert_eq!(row.state, State::Blocked, "its spec is not accepted any more");
    }
}
