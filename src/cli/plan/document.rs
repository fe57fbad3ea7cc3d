//! `keelson plan -o json`: the plan for programs. Pure.

use serde::Serialize;

use super::plan_summary;
use super::planned::Planned;
use super::print::{self, Row};
use super::timeline::Timeline;

/// The plans of all clusters.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Whether anything changes.
    pub changes: bool,
    /// What cannot be done.
    pub problems: Vec<String>,
    /// What was left out, and other remarks.
    pub notes: Vec<String>,
    pub objects: Vec<Object>,
}

/// The plan of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// `EksCluster default/demo`.
    pub object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    pub summary: String,
    pub steps: Vec<Step>,
    /// Resources that match the spec and are not in `steps`.
    pub matching: usize,
    /// The steps of an upgrade, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upgrade: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// A line of the plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `Create`, `Update`, `Adopt`, `Delete` or `Release`; absent: nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// Kind and name in the graph, such as `natGateway/eu-west-1a`.
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_after_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes_seconds: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl Document {
    /// Adds the plans of a cluster and its node groups.
    pub fn add(&mut self, all: &[Planned], live: bool) {
        let timeline = Timeline::of(all);
        for planned in all {
            self.changes |= plan_summary::has_changes(planned);
            self.problems.extend(plan_summary::problems(planned));
            if planned.is_context {
                continue;
            }
            let (rows, matching) = print::rows(planned, &timeline, live);
            self.objects.push(Object {
                object: planned.title.clone(),
                about: planned.about.clone(),
                summary: planned.plan.summary(),
                steps: rows.into_iter().map(step).collect(),
                matching,
                upgrade: planned.upgrade.clone(),
                notices: planned.notices.clone(),
            });
        }
    }
}

fn step(row: Row) -> Step {
    Step {
        action: row.action.map(|action| action.as_str()),
        resource: row.key.to_string(),
        starts_after_seconds: row.starts.map(|starts| starts.as_secs()),
        takes_seconds: row.takes.map(|takes| takes.as_secs()),
        details: row.details,
    }
}
