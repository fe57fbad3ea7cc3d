//! The tree of a cluster's resources, with the state and age of each, as far as status has them. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::conditions::ConditionType;
use crate::api::status_cluster::{PlanStep, StepState};
use crate::cli::plan::style;
use crate::cli::subject::Subject;
use crate::cli::table::Table;
use crate::cli::time::format_age;
use crate::controllers::status::progress::label;
use crate::engine::Key;
use crate::resources::graph::kind::Area;
use crate::resources::graph::kinds;

/// A line of the tree.
struct Node {
    name: String,
    state: String,
    id: String,
    /// Since when it is in that state.
    since: Option<Timestamp>,
    sign: &'static str,
    children: Vec<Node>,
}

/// The parts of a cluster, each with its condition.
const PARTS: [(Area, &str, ConditionType); 3] = [
    (Area::Network, "network", ConditionType::NetworkReady),
    (Area::ControlPlane, "control plane", ConditionType::ControlPlaneReady),
    (Area::Addons, "add-ons", ConditionType::AddonsReady),
];

/// The tree of a cluster, the first of `all`, with its node groups; or of node groups alone.
pub fn text(all: &[Subject], now: Timestamp) -> String {
    let mut table = Table::new(["NAME", "STATE", "FOR", "ID"]);
    let mut roots: Vec<Node> = Vec::new();
    for one in all {
        let node = object(one);
        match roots.first_mut().filter(|_| one.cluster.is_some() && all[0].cluster.is_none()) {
            Some(cluster) => cluster.children.push(node),
            None => roots.push(node),
        }
    }
    for root in &roots {
        add(&mut table, root, "", "", now);
    }
    table.format("")
}

fn object(one: &Subject) -> Node {
    let sign = crate::cli::get::rows::sign(one);
    let children = if one.cluster.is_none() { parts(one) } else { steps(one, &|_| true, &[]) };
    let id = if one.aws_name == one.name() { String::new() } else { one.aws_name.clone() };
    Node { name: one.title(), state: one.reason().to_owned(), id, since: one.since(), sign, children }
}

fn parts(cluster: &Subject) -> Vec<Node> {
    let area = |key: &Key| kinds::find(key.kind()).map(|kind| kind.area);
    let mut nodes = Vec::new();
    for (part, name, condition) in PARTS {
        let keys: Vec<String> = cluster.resources.iter().map(|resource| resource.key.clone()).collect();
        let is_in_part = |key: &Key| area(key) == Some(part);
        let condition = cluster.condition(condition);
        let mut node = Node {
            name: name.to_owned(),
            state: condition.map(|found| found.reason.clone()).unwrap_or_default(),
            id: String::new(),
            since: condition.map(|found| found.last_transition_time.0),
            sign: " ",
            children: resources(cluster, &is_in_part),
        };
        node.children.extend(steps(cluster, &is_in_part, &keys));
        if condition.is_some() || !node.children.is_empty() {
            nodes.push(node);
        }
    }
    nodes.extend(gitops(cluster));
    let is_elsewhere = |key: &Key| !area(key).is_some_and(|area| PARTS.iter().any(|(part, ..)| *part == area));
    let known: Vec<String> = cluster.resources.iter().map(|resource| resource.key.clone()).collect();
    nodes.extend(steps(cluster, &is_elsewhere, &known));
    nodes
}

/// What exists, by the inventory of status; with the step that is in progress, if there is one.
fn resources(cluster: &Subject, is_in_part: &dyn Fn(&Key) -> bool) -> Vec<Node> {
    let steps: BTreeMap<&str, &PlanStep> =
        cluster.plan.steps.iter().map(|step| (step.resource.as_str(), step)).collect();
    let found = cluster.resources.iter().map(|resource| (Key::parse(&resource.key), resource));
    let found = found.filter(|(key, _)| is_in_part(key));
    found
        .map(|(key, resource)| {
            let step = steps.get(resource.key.as_str()).copied();
            let exists = if resource.id.is_some() { "exists" } else { "being created" };
            let state = resource.state.clone().unwrap_or_else(|| exists.to_owned());
            let action = step.map(|step| format!(", {}", describe(step))).unwrap_or_default();
            Node {
                name: label(&key),
                state: format!("{state}{action}"),
                id: resource.id.clone().unwrap_or_default(),
                since: step.and_then(|step| step.since.as_ref()).map(|time| time.0),
                sign: step.map_or(" ", sign),
                children: Vec::new(),
            }
        })
        .collect()
}

/// The steps of the plan whose resource does not exist yet.
fn steps(of: &Subject, is_in_part: &dyn Fn(&Key) -> bool, known: &[String]) -> Vec<Node> {
    let missing = of.plan.steps.iter().filter(|step| !known.contains(&step.resource) && step.state != StepState::Done);
    let missing = missing.map(|step| (Key::parse(&step.resource), step)).filter(|(key, _)| is_in_part(key));
    missing
        .map(|(key, step)| Node {
            name: label(&key),
            state: describe(step),
            id: String::new(),
            since: step.since.as_ref().map(|time| time.0),
            sign: sign(step),
            children: Vec::new(),
        })
        .collect()
}

fn describe(step: &PlanStep) -> String {
    let action = format!("{:?}", step.action).to_lowercase();
    match step.state {
        StepState::Pending => format!("to {action}"),
        StepState::Running => format!("{action} in progress"),
        StepState::Blocked => format!("{action} blocked"),
        StepState::Failed => format!("{action} failed"),
        StepState::Done => format!("{action} done"),
    }
}

fn sign(step: &PlanStep) -> &'static str {
    match step.state {
        StepState::Blocked | StepState::Failed => "-",
        StepState::Running => "~",
        StepState::Pending | StepState::Done => " ",
    }
}

/// The agent with its controllers and failing objects.
fn gitops(cluster: &Subject) -> Option<Node> {
    let gitops = cluster.gitops.as_ref()?;
    let condition = cluster.condition(ConditionType::GitOpsReady);
    let version = gitops.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let leaf = |name: String, state: String, sign| Node {
        name,
        state,
        id: String::new(),
        since: None,
        sign,
        children: Vec::new(),
    };
    let components = gitops.components.iter().map(|one| {
        let state = if one.ready { "Ready".to_owned() } else { one.message.clone().unwrap_or_default() };
        leaf(one.name.clone(), state, if one.ready { " " } else { "-" })
    });
    let failing = gitops.failing.iter().map(|one| {
        let reason = one.reason.clone().unwrap_or_else(|| "failing".to_owned());
        leaf(format!("{} {}", one.kind, one.name), reason, "-")
    });
    Some(Node {
        name: format!("GitOps agent {}{version}", gitops.agent.as_deref().unwrap_or_default()),
        state: condition.map(|found| found.reason.clone()).unwrap_or_default(),
        id: gitops.last_applied_revision.clone().unwrap_or_default(),
        since: condition.map(|found| found.last_transition_time.0),
        sign: " ",
        children: components.chain(failing).collect(),
    })
}

/// Adds a node and its children. `branch` stands before its name, `stem` before those of its children.
fn add(table: &mut Table, node: &Node, branch: &str, stem: &str, now: Timestamp) {
    let name = format!("{branch}{}", node.name);
    let age = format_age(node.since, now);
    table.styled_row(style::of_sign(node.sign), [&name, &node.state, &age, &node.id]);
    for (number, child) in node.children.iter().enumerate() {
        let (branch, more) = if number + 1 == node.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add(table, child, &format!("{stem}{branch}"), &format!("{stem}{more}"), now);
    }
}
