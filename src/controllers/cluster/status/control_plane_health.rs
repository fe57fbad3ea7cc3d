//! What EKS's health issues of an existing control plane mean for its conditions: the cluster may still answer, and is not
//! healthy. Pure.

use super::facts::{Facts, issues};
use crate::api::Reason;
use crate::api::status_cluster::HealthIssue;
use crate::aws::errors::health::{Reported, Subject, explain, passes};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::engine::Memory;
use crate::resources::eks::cluster::HEALTH_ISSUES;

/// The issues that EKS reports of the control plane.
pub fn health_issues(memory: &Memory) -> Vec<HealthIssue> {
    issues(Facts(memory).of_cluster(HEALTH_ISSUES))
}

/// The issues in the form of the table of issues.
pub fn reported(issues: &[HealthIssue]) -> Vec<Reported> {
    let one = |issue: &HealthIssue| Reported {
        code: issue.code.clone(),
        message: issue.message.clone().unwrap_or_default(),
        resource_ids: issue.resource_ids.clone(),
    };
    issues.iter().map(one).collect()
}

/// The issues with what to do, and whether all pass by themselves; `None` if there are none.
pub fn described(memory: &Memory) -> Option<(String, bool)> {
    let issues = reported(&health_issues(memory));
    let all_pass = issues.iter().all(|issue| passes(Subject::Cluster, &issue.code));
    (!issues.is_empty()).then(|| (explain(Subject::Cluster, &issues), all_pass))
}

/// The overall state of an otherwise ready cluster with health issues; `None` if it has none.
pub fn overall(memory: &Memory) -> Option<Overall> {
    let (why, all_pass) = described(memory)?;
    let value = ConditionValue::false_(Reason::Degraded, format!("control plane: {why}"));
    Some(if all_pass { Overall::Reconciling(value) } else { Overall::Stalled(value) })
}
