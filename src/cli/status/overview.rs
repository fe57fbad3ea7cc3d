//! The answer of `keelson status`: what an object is doing, since when and until when, what is in the way, and what a
//! user can do. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::problems::{self, Problem};
use crate::api::Reason;
use crate::api::certificate_authority::CertificateAuthorityStatus;
use crate::api::conditions::ConditionType;
use crate::api::status_cluster::{ChangeStatus, PlanStep, StepAction, StepState, UpgradeStatus};
use crate::cli::approve::pending_plans::Kind;
use crate::cli::events::EventLine;
use crate::cli::subject::Subject;
use crate::controllers::status::progress::{doing, label};
use crate::engine::{Action, Key};
use crate::resources::eks::node_group;

const WAITING_FOR_CLUSTER: &str = Reason::WaitingForCluster.as_str();
/// Steps that are listed as next.
const MAX_NEXT: usize = 3;

/// The answer for one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// Its name in EKS.
    pub aws_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// Whether it can be used; absent: the operator does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<bool>,
    /// Why it cannot be used, unless its state says that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_because: Option<String>,
    pub ready: bool,
    /// Reason and message of its Ready condition.
    pub state: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The creation, edit or deletion that the object is at, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeStatus>,
    /// When what is in progress should end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What is in progress.
    pub doing: Vec<Activity>,
    /// What follows, and how many steps are not listed.
    pub next: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub next_omitted: usize,
    /// The certificate authorities while one replaces another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_authorities: Vec<CertificateAuthorityStatus>,
    /// What is in the way.
    pub problems: Vec<Problem>,
    /// What the user can do.
    pub actions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_groups: Vec<Overview>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventLine>,
}

/// Something in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The resource, or the upgrade.
    pub of: String,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When Keelson reports it as stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The answer for an object with its node groups.
pub fn overview(subject: &Subject, groups: &[Subject], events: Vec<EventLine>, now: Timestamp) -> Overview {
    let node_groups: Vec<Overview> = groups.iter().map(|group| overview(group, &[], Vec::new(), now)).collect();
    let ready = subject.condition(ConditionType::Ready);
    let usable = subject.condition(ConditionType::Available);
    let available = usable.map(|found| found.status == "True");
    let unavailable = usable.filter(|found| found.status != "True" && !found.message.is_empty());
    let unavailable = unavailable.filter(|found| ready.is_none_or(|ready| ready.message != found.message));
    let mut problems = problems::of(subject);
    let mut actions: Vec<String> = problems.iter().flat_map(|problem| problems::advice_for(problem, subject)).collect();
    actions.extend(subject.rotation_edits.iter().cloned());
    for (group, subject) in node_groups.iter().zip(groups) {
        let of_group = group.problems.iter().cloned();
        problems.extend(of_group.map(|problem| Problem { object: Some(subject.title()), ..problem }));
        actions.extend(group.actions.iter().cloned());
    }
    let mut seen = std::collections::BTreeSet::new();
    actions.retain(|action| seen.insert(action.clone()));
    let pending: Vec<&PlanStep> = subject.plan.steps.iter().filter(|step| step.state == StepState::Pending).collect();
    let until = subject.expected_end(now).max(node_groups.iter().filter_map(|group| group.until).max());
    let omitted = subject.plan.omitted_steps.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    Overview {
        kind: subject.kind.to_string(),
        namespace: subject.namespace().to_owned(),
        name: subject.name().to_owned(),
        aws_name: subject.aws_name.clone(),
        region: subject.region.clone(),
        account_id: subject.account_id.clone(),
        version: subject.version.clone(),
        target_version: subject.target_version.clone(),
        nodes: subject.nodes.clone(),
        available,
        unavailable_because: unavailable.map(|found| found.message.clone()),
        ready: subject.is_true(ConditionType::Ready),
        state: subject.reason().to_owned(),
        message: message(subject, ready.map(|ready| ready.message.as_str())),
        since: subject.since(),
        change: subject.change.clone(),
        until,
        doing: activities(subject).into_iter().chain(waiting_groups(&node_groups, groups)).collect(),
        next: pending.iter().take(MAX_NEXT).map(|step| describe_next(step)).collect(),
        next_omitted: pending.len().saturating_sub(MAX_NEXT) + omitted,
        certificate_authorities: subject.certificate_authorities.clone(),
        problems,
        actions,
        node_groups,
        events,
    }
}

/// The groups that wait for an add-on: their rows in the table below have no room for which.
fn waiting_groups(overviews: &[Overview], subjects: &[Subject]) -> Vec<Activity> {
    let groups = overviews.iter().zip(subjects);
    let waiting = groups.filter(|(group, _)| group.state == WAITING_FOR_CLUSTER && group.message.contains("add-on"));
    let activity = |(group, subject): (&Overview, &Subject)| Activity {
        of: subject.title(),
        what: group.message.clone(),
        since: group.since,
        until: None,
        deadline: None,
    };
    waiting.map(activity).collect()
}

/// The message of its Ready condition, or why that is outdated.
fn message(subject: &Subject, ready: Option<&str>) -> String {
    match ready {
        None => "the operator has not observed it yet: is it running (keelson version)?".to_owned(),
        Some(message) if subject.is_observed() => message.to_owned(),
        Some(message) => format!("{message} (of the spec before the last edit, which is not observed yet)"),
    }
}

fn action(step: &PlanStep) -> Action {
    match step.action {
        StepAction::Create => Action::Create,
        StepAction::Update => Action::Update,
        StepAction::Adopt => Action::Adopt,
        StepAction::Delete => Action::Delete,
        StepAction::Release => Action::Release,
    }
}

fn activities(subject: &Subject) -> Vec<Activity> {
    let mut found = Vec::new();
    if !subject.is_true(ConditionType::Ready)
        && let Some(message) = &subject.upgrade.message
    {
        let UpgradeStatus { from, to, step, steps, since, expected_end, .. } = &subject.upgrade;
        let count = step.zip(*steps).map(|(step, steps)| format!(", step {step} of {steps}")).unwrap_or_default();
        let versions = from.as_ref().zip(to.as_ref()).map(|(from, to)| format!(" from {from} to {to}{count}"));
        found.push(Activity {
            of: format!("upgrade{}", versions.unwrap_or_default()),
            what: message.clone(),
            since: since.as_ref().map(|time| time.0),
            until: expected_end.as_ref().map(|time| time.0),
            deadline: None,
        });
    }
    for step in subject.running() {
        let of = label(&Key::parse(&step.resource));
        let since = step.since.as_ref().map(|time| time.0);
        let takes = step.expected_seconds.map(SignedDuration::from_secs);
        let until = since.zip(takes).and_then(|(since, takes)| since.saturating_add(takes).ok());
        let detail = step.detail.as_ref().filter(|_| step.action == StepAction::Update);
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        let wait = subject.waits.iter().find(|wait| wait.on.starts_with(&format!("{of}:")));
        let deadline = wait.map(|wait| wait.deadline.0);
        let what = replacement(step, subject).unwrap_or_else(|| format!("{}{detail}", doing(action(step))));
        found.push(Activity { what, of, since, until, deadline });
    }
    if found.is_empty() && subject.is_true(ConditionType::Reconciling) {
        // Of a cluster there are many parts to wait for: the message names it.
        let of_cluster = subject.condition(ConditionType::Ready).filter(|_| subject.reason() == WAITING_FOR_CLUSTER);
        let what = of_cluster.map_or("waiting", |ready| ready.message.as_str());
        let waits = subject.waits.iter().map(|wait| Activity {
            of: wait.on.clone(),
            what: what.to_owned(),
            since: Some(wait.since.0),
            until: None,
            deadline: Some(wait.deadline.0),
        });
        found.extend(waits);
    }
    found
}

/// How far the replacement of the nodes is, if that is what the step does.
fn replacement(step: &PlanStep, subject: &Subject) -> Option<String> {
    let upgrading = subject.condition(ConditionType::Upgrading).filter(|found| found.status == "True")?;
    let is_of_group = subject.kind == Kind::NodeGroup && node_group::KIND.is_of(&Key::parse(&step.resource));
    // Before that, it repeats the time.
    let (_, progress) = upgrading.message.split_once("; ").filter(|_| is_of_group)?;
    Some(format!("nodes are replaced: {progress}"))
}

/// `create add-on coredns, after control plane`.
fn describe_next(step: &PlanStep) -> String {
    let name = label(&Key::parse(&step.resource));
    let after = step.after.as_deref().map(|after| format!(", after {}", label(&Key::parse(after))));
    format!("{} {name}{}", action(step).as_str().to_lowercase(), after.unwrap_or_default())
}
