//! The plan of a cluster as a graph: each resource right of what it follows, with its state. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::badge::Badge;
use super::context::Context;
use super::layers::{self, Before};
use super::schedule::{action, detail, expected_end, time};
use crate::api::listing::counted;
use crate::api::status_cluster::{ChangeType, EksClusterStatus, PlanStep, ResourceStatus, StepState};
use crate::api::{EksCluster, NodeGroup};
use crate::cli::plan::order::{self, Order};
use crate::cli::time::format_between;
use crate::controllers::status::progress::label;
use crate::engine::{Goal, Key};
use crate::page::fleet::Opened;
use crate::page::state::State;

/// Sizes of the picture, in its own units.
const WIDTH: usize = 146;
const HEIGHT: usize = 50;
const GAP: usize = 8;
/// Between layers: as much as the width of a laptop leaves, within these.
const LAYER_GAP: (usize, usize) = (20, 60);
/// What fits beside each other on a screen of 1280 pixels.
const PAGE_WIDTH: usize = 1140;
const MARGIN: usize = 2;
/// Resources that are shown; beyond that, those that are done are left out first.
const MAX_NODES: usize = 120;
/// Characters that fit into a line of a box.
const MAX_LINE: usize = 18;

/// The picture.
pub struct Graph {
    pub width: usize,
    pub height: usize,
    pub nodes: Vec<Node>,
    pub wires: Vec<Wire>,
    /// `41 resources: 12 done, 2 in progress, 27 waiting`.
    pub summary: String,
    /// Resources that are not shown.
    pub omitted: usize,
}

/// A resource.
pub struct Node {
    pub x: usize,
    pub y: usize,
    pub badge: Badge,
    /// Whether it takes longer than expected.
    pub is_late: bool,
    /// Lines of its box: what it is, its name, and what it does. Cut to fit.
    pub lines: [String; 3],
    /// Its whole name.
    pub name: String,
    /// All that is known of its state.
    pub detail: String,
    /// What it follows, in words.
    pub after: String,
}

/// A line from what comes first to what follows it.
pub struct Wire {
    pub path: String,
    /// `done`: what comes first is; otherwise `open`.
    pub class: &'static str,
}

/// A resource before it is placed.
struct Part {
    key: Key,
    badge: Badge,
    is_late: bool,
    /// What it does, in a few words.
    short: String,
    detail: String,
    /// What the plan says that it waits for.
    after: Option<Key>,
    /// A node group: others stand for all of them.
    is_group: bool,
}

/// The graph of a cluster; `None`: nothing is planned.
pub fn graph(object: &EksCluster, groups: &[Opened<'_, NodeGroup>], context: &Context<'_>) -> Option<Graph> {
    let status = object.status.as_ref()?;
    let plan = status.plan.as_ref().filter(|plan| !plan.steps.is_empty())?;
    let is_deleted = object.metadata.deletion_timestamp.is_some();
    let known = plan.steps.iter().map(|step| &step.resource).chain(status.resources.iter().map(|one| &one.key));
    let known: Vec<Key> = known.map(|key| Key::parse(key)).collect::<BTreeSet<_>>().into_iter().collect();
    let specs: Vec<&NodeGroup> = groups.iter().map(|group| &*group.object).collect();
    let goal = if is_deleted { Goal::Deleted } else { Goal::Present };
    let order = order::of_cluster(object, &specs, &known, goal);
    let mut parts = parts(status, groups, is_deleted, context);
    parts.extend(gates(&parts, &order, &known));
    parts.sort_by(|a, b| a.key.cmp(&b.key));
    parts.dedup_by(|a, b| a.key == b.key);
    let all = parts.len();
    let surplus = all.saturating_sub(MAX_NODES);
    let mut left_out = 0;
    parts.retain(|part| {
        let is_left_out = left_out < surplus && part.badge.shape == State::Ready.name();
        left_out += usize::from(is_left_out);
        !is_left_out
    });
    parts.truncate(MAX_NODES);
    let omitted = all - parts.len() + usize::try_from(plan.omitted_steps.unwrap_or_default()).unwrap_or_default();
    Some(draw(&parts, &before(&parts, &order), omitted))
}

/// The steps of the plan, the node groups, and, while the cluster is created, what exists already.
fn parts(
    status: &EksClusterStatus,
    groups: &[Opened<'_, NodeGroup>],
    is_deleted: bool,
    context: &Context<'_>,
) -> Vec<Part> {
    let steps = status.plan.iter().flat_map(|plan| &plan.steps);
    let mut parts: Vec<Part> = steps.map(|step| of_step(step, context)).collect();
    let planned: BTreeSet<Key> = parts.iter().map(|part| part.key.clone()).collect();
    let is_new = status
        .change
        .as_ref()
        .is_some_and(|change| change.change_type == ChangeType::Create && change.ended_at.is_none());
    let existing = status.resources.iter().filter(|_| is_new).map(of_resource);
    let of_groups = groups.iter().map(of_group);
    // Of a cluster that is changed, only those that are not ready.
    let of_groups = of_groups.filter(|part| is_new || is_deleted || part.badge.shape != State::Ready.name());
    parts.extend(existing.chain(of_groups).filter(|part| !planned.contains(&part.key)));
    parts
}

fn of_step(step: &PlanStep, context: &Context<'_>) -> Part {
    let after = step.after.as_deref().map(Key::parse);
    let end = expected_end(step).filter(|_| step.state == StepState::Running);
    let (state, short) = match (step.state, end) {
        (StepState::Pending, _) => (
            State::Unknown,
            match &after {
                Some(after) => format!("after {}", label(after)),
                None => format!("to {}", action(step.action)),
            },
        ),
        (StepState::Running, Some(end)) if end > context.now => {
            (State::Progressing, format!("{} left", format_between(context.now, end)))
        }
        (StepState::Running, Some(end)) => (State::Progressing, format!("{} late", format_between(end, context.now))),
        (StepState::Running, None) => (State::Progressing, "in progress".to_owned()),
        (StepState::Blocked, _) => (State::Blocked, "blocked".to_owned()),
        (StepState::Failed, _) => (State::Failing, "failed".to_owned()),
        (StepState::Done, _) => (State::Ready, "done".to_owned()),
    };
    let word = match step.state {
        StepState::Pending => "waits",
        StepState::Running => "in progress",
        StepState::Blocked => "blocked",
        StepState::Failed => "failed",
        StepState::Done => "done",
    };
    let since = step.since.as_ref().filter(|_| step.state == StepState::Running);
    let since = since.map(|since| format!("since {}", context.time(since.0))).unwrap_or_default();
    let parts = [action(step.action).to_owned(), since, time(step, context), detail(step)];
    Part {
        key: Key::parse(&step.resource),
        badge: Badge::with_text(state, word),
        is_late: end.is_some_and(|end| end <= context.now),
        short,
        detail: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "),
        after,
        is_group: step.resource.starts_with("nodeGroup/"),
    }
}

fn of_resource(resource: &ResourceStatus) -> Part {
    let (state, word) = match &resource.id {
        Some(_) => (State::Ready, "done"),
        None => (State::Progressing, "in progress"),
    };
    let id = resource.id.clone().unwrap_or_default();
    let detail = [resource.state.clone().unwrap_or_default(), id].into_iter().filter(|part| !part.is_empty());
    Part {
        key: Key::parse(&resource.key),
        badge: Badge::with_text(state, word),
        is_late: false,
        short: word.to_owned(),
        detail: detail.collect::<Vec<_>>().join(" "),
        after: None,
        is_group: false,
    }
}

/// A node group, with the state that it has in lists.
fn of_group(Opened { object, row }: &Opened<'_, NodeGroup>) -> Part {
    let (state, word) = match row.state {
        State::Ready => (State::Ready, "done"),
        State::Progressing if row.reason.starts_with("WaitingFor") => (State::Unknown, "waits"),
        State::Progressing => (State::Progressing, "in progress"),
        State::Failing => (State::Failing, "failed"),
        State::Blocked | State::Halted => (State::Blocked, "blocked"),
        other => (other, other.label()),
    };
    Part {
        key: order::node_group(&object.node_group_name()),
        badge: Badge::with_text(state, word),
        is_late: false,
        short: row.reason.clone(),
        detail: [row.reason.as_str(), &row.message].join(": ").trim_end_matches(": ").to_owned(),
        after: None,
        is_group: true,
    }
}

/// What steps wait for without being a resource, such as nodes that nobody has asked for yet.
fn gates(parts: &[Part], order: &Order, known: &[Key]) -> Vec<Part> {
    let has_groups = parts.iter().any(|part| part.is_group);
    let is_group_gate = |key: &Key| [order::nodes(), order::node_groups()].contains(key);
    let is_gate = |key: &&Key| match is_group_gate(key) {
        true => !has_groups,
        false => !known.contains(*key) && !order.contains_key(*key),
    };
    let waited_for: BTreeSet<&Key> = parts.iter().filter_map(|part| part.after.as_ref()).filter(is_gate).collect();
    let gate = |key: &Key| Part {
        key: key.clone(),
        badge: Badge::with_text(State::Unknown, "waits"),
        is_late: false,
        short: "to come".to_owned(),
        detail: String::new(),
        after: None,
        is_group: false,
    };
    waited_for.into_iter().map(gate).collect()
}

/// What each part follows: what is not shown is passed through.
fn before(parts: &[Part], order: &Order) -> Before {
    let shown: BTreeMap<&Key, usize> = parts.iter().enumerate().map(|(number, part)| (&part.key, number)).collect();
    let groups: Vec<&Key> = parts.iter().filter(|part| part.is_group).map(|part| &part.key).collect();
    let (nodes, node_groups) = (order::nodes(), order::node_groups());
    let of = |part: &Part| {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let of_order = order.get(if part.is_group { &nodes } else { &part.key });
        let mut left: Vec<&Key> = of_order.into_iter().flatten().chain(&part.after).collect();
        while let Some(key) = left.pop() {
            if !seen.insert(key) {
                continue;
            }
            match shown.get(key) {
                Some(&number) => {
                    found.insert(number);
                }
                // The gates of the nodes stand for the node groups.
                None if !part.is_group && !groups.is_empty() && (*key == nodes || *key == node_groups) => {
                    left.extend(&groups);
                }
                None => left.extend(order.get(key).into_iter().flatten()),
            }
        }
        found
    };
    parts.iter().map(of).collect()
}

fn draw(parts: &[Part], before: &Before, omitted: usize) -> Graph {
    let placed = layers::layers(before);
    let most = placed.layers.iter().map(Vec::len).max().unwrap_or_default();
    let height = most * (HEIGHT + GAP);
    let layers = placed.layers.len();
    let gap = PAGE_WIDTH.saturating_sub(layers * WIDTH) / layers.saturating_sub(1).max(1);
    let gap = gap.clamp(LAYER_GAP.0, LAYER_GAP.1);
    let mut places = vec![(0, 0); parts.len()];
    for (layer, of_layer) in placed.layers.iter().enumerate() {
        let top = (height - of_layer.len() * (HEIGHT + GAP)) / 2;
        for (row, &number) in of_layer.iter().enumerate() {
            places[number] = (MARGIN + layer * (WIDTH + gap), MARGIN + top + row * (HEIGHT + GAP));
        }
    }
    let wires = placed.before.iter().enumerate().flat_map(|(to, from)| from.iter().map(move |&from| (from, to)));
    let wire = |(from, to): (usize, usize)| {
        let is_done = parts[from].badge.shape == State::Ready.name();
        Wire { path: path(places[from], places[to], gap), class: if is_done { "done" } else { "open" } }
    };
    let name = |number: usize| label(&parts[number].key);
    let node = |(number, part): (usize, &Part)| {
        let after: Vec<String> = placed.before[number].iter().map(|&one| name(one)).collect();
        Node {
            x: places[number].0,
            y: places[number].1,
            badge: part.badge.clone(),
            is_late: part.is_late,
            lines: lines(part),
            name: name(number),
            detail: part.detail.clone(),
            after: after.join(", "),
        }
    };
    Graph {
        width: (2 * MARGIN + layers * (WIDTH + gap)).saturating_sub(gap),
        height: (2 * MARGIN + height).saturating_sub(GAP),
        nodes: parts.iter().enumerate().map(node).collect(),
        wires: wires.map(wire).collect(),
        summary: summary(parts),
        omitted,
    }
}

/// A curve from the right edge of a box to the left edge of another.
fn path(from: (usize, usize), to: (usize, usize), bend: usize) -> String {
    let (x, y) = (from.0 + WIDTH, from.1 + HEIGHT / 2);
    let (end_x, end_y) = (to.0, to.1 + HEIGHT / 2);
    format!("M{x} {y}C{} {y} {} {end_y} {end_x} {end_y}", x + bend, end_x.saturating_sub(bend))
}

/// What it is, its name, and what it does.
fn lines(part: &Part) -> [String; 3] {
    let (kind, name) = (label(&Key::parse(part.key.kind())), part.key.name());
    let (second, third) = if name.is_empty() { (part.short.as_str(), "") } else { (name, part.short.as_str()) };
    [kind.as_str(), second, third].map(fit)
}

/// A line that fits.
fn fit(line: &str) -> String {
    let length = line.chars().count();
    if length <= MAX_LINE {
        return line.to_owned();
    }
    let start: String = line.chars().take(MAX_LINE - 1).collect();
    format!("{}…", start.trim_end())
}

fn summary(parts: &[Part]) -> String {
    let mut words = vec!["done", "in progress", "waits", "failed", "blocked"];
    for part in parts {
        if !words.contains(&part.badge.text.as_str()) {
            words.push(&part.badge.text);
        }
    }
    let number = |word: &str| parts.iter().filter(|part| part.badge.text == word).count();
    let counts = words.iter().map(|&word| (number(word), if word == "waits" { "waiting" } else { word }));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    format!("{}: {}", counted(parts.len(), "resource"), counts.join(", "))
}

#[cfg(test)]
#[path = "plan_graph_tests.rs"]
mod tests;
