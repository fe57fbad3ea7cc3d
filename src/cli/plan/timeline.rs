//! When each step would start and end if everything takes its expected time, and which steps determine the end. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::planned::Planned;
use crate::controllers::cluster::agent::steps;
use crate::engine::{Action, Key, Step, Verdict};
use crate::resources::eks::{addon, node_group};
use crate::resources::graph::kinds;

/// When a step starts, how long it takes, and what it waited for last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub start: Duration,
    pub takes: Duration,
    pub after: Option<Key>,
    /// It waits for a maintenance window.
    pub waits_for_window: bool,
}

impl Slot {
    /// When it ends.
    pub fn end(&self) -> Duration {
        self.start + self.takes
    }
}

/// The timeline of a cluster and its node groups.
pub struct Timeline {
    slots: BTreeMap<Key, Slot>,
    /// What others replace: it is deleted, and nothing waits for that.
    replaced: BTreeSet<Key>,
}

impl Timeline {
    /// Of the plans of a cluster (the first) and its node groups.
    pub fn of(all: &[Planned]) -> Self {
        let nodes = all.iter().flat_map(|planned| planned.graph.nodes());
        let replaced = nodes.filter(|node| node.succession().is_some()).map(|node| node.key()).collect();
        let mut timeline = Self { slots: BTreeMap::new(), replaced };
        let Some((cluster, groups)) = all.split_first() else { return timeline };
        // Add-ons that need nodes come after the node groups, and those after the cluster; new ones also after the add-ons that nodes
        // need.
        let needs_nodes = |key: &Key| addon::KIND.is_of(key) && !cluster.before_nodes.contains(key);
        timeline.add(cluster, &|key| !needs_nodes(key), &BTreeMap::new());
        let is_before =
            |key: &Key| !addon::KIND.is_of(key) && kinds::find(key.kind()).is_none_or(|kind| kind.is_before_nodes);
        let gate = |ready: Option<Key>| ready.map(|key| (node_group::cluster_gate(), key)).into_iter().collect();
        let before_changes: BTreeMap<Key, Key> = gate(timeline.last(is_before));
        let before_new: BTreeMap<Key, Key> =
            gate(timeline.last(|key| is_before(key) || cluster.before_nodes.contains(key)));
        for group in groups {
            let is_new = |(key, step): (&Key, &Step)| node_group::KIND.is_of(key) && step.action == Action::Create;
            let gates = if group.plan.steps().any(is_new) { &before_new } else { &before_changes };
            timeline.add(group, &|_| true, gates);
        }
        let nodes = timeline.last_node_group();
        let gate = nodes.map(|key| (addon::nodes_gate(), key)).into_iter().collect();
        timeline.add(cluster, &needs_nodes, &gate);
        timeline.add_agent(cluster);
        timeline
    }

    /// A step's slot.
    pub fn slot(&self, key: &Key) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// When everything is done.
    pub fn end(&self) -> Duration {
        self.slots.values().map(Slot::end).max().unwrap_or_default()
    }

    /// The steps that determine the end, in order.
    pub fn critical_path(&self) -> Vec<(&Key, &Slot)> {
        let mut path = Vec::new();
        let mut next = self.slots.iter().max_by_key(|(_, slot)| slot.end());
        while let Some((key, slot)) = next {
            path.push((key, slot));
            next = slot.after.as_ref().and_then(|after| self.slots.get_key_value(after));
        }
        path.reverse();
        path
    }

    fn add(&mut self, planned: &Planned, of: &dyn Fn(&Key) -> bool, gates: &BTreeMap<Key, Key>) {
        let nodes = planned.graph.nodes().iter().filter(|node| of(&node.key()));
        let (replaced, others): (Vec<_>, Vec<_>) = nodes.partition(|node| node.succession().is_some());
        // What is replaced is deleted at the end: what holds it comes before it, and was created after it.
        for node in others.into_iter().chain(replaced.into_iter().rev()) {
            let key = node.key();
            let takes = match planned.plan.verdict(&key) {
                // Tags are written at once; a kind's expected time of an update is that of its longest.
                Some(Verdict::Step(step) | Verdict::Pending(step, _)) if only_tags(step) => Duration::from_secs(1),
                Some(Verdict::Step(step) | Verdict::Pending(step, _)) => node.expected(step.action),
                Some(Verdict::Waiting { action, .. }) => node.expected(*action),
                _ => continue,
            };
            let needs: Vec<Key> = match node.succession() {
                None => node.after().into_iter().chain(node.inside()).collect(),
                Some(succession) => planned.graph.held_by(&key).iter().cloned().chain([succession.successor]).collect(),
            };
            let needs = needs.into_iter().map(|need| gates.get(&need).cloned().unwrap_or(need));
            let last =
                needs.filter_map(|need| Some((self.slots.get(&need)?.end(), need))).max_by_key(|(ends, _)| *ends);
            let (start, after) = last.map_or((Duration::ZERO, None), |(ends, need)| (ends, Some(need)));
            let window = match planned.plan.verdict(&key) {
                Some(Verdict::Step(step) | Verdict::Pending(step, _)) => planned.window_of(step),
                _ => None,
            };
            let start = match window.map(|window| window.delay) {
                Some(Some(delay)) => start.max(delay),
                // No window opens again: it does not start.
                Some(None) => continue,
                None => start,
            };
            self.slots.insert(key, Slot { start, takes, after, waits_for_window: window.is_some() });
        }
    }

    /// The agent runs on nodes, and is installed as soon as they exist.
    fn add_agent(&mut self, cluster: &Planned) {
        let key = steps::key();
        let Some(Verdict::Step(step)) = cluster.plan.verdict(&key) else { return };
        let nodes = self.last_node_group();
        let after = nodes.or_else(|| self.last(|key| kinds::find(key.kind()).is_none_or(|kind| kind.is_before_nodes)));
        let start = after.as_ref().and_then(|after| self.slot(after)).map_or(Duration::ZERO, Slot::end);
        let takes = steps::expected(step.action);
        self.slots.insert(key, Slot { start, takes, after, waits_for_window: false });
    }

    /// The last node group that comes or changes.
    fn last_node_group(&self) -> Option<Key> {
        self.last(|key| node_group::KIND.is_of(key) && !self.replaced.contains(key))
    }

    fn last(&self, of: impl Fn(&Key) -> bool) -> Option<Key> {
        let last = self.slots.iter().filter(|(key, _)| of(key)).max_by_key(|(_, slot)| slot.end());
        last.map(|(key, _)| key.clone())
    }
}

fn only_tags(step: &Step) -> bool {
    step.action == Action::Update && step.changes.iter().all(|change| change.field.starts_with("tags"))
}
