//! The desired graph: typed resources, and gates for external conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::erased::Node;
use super::key::Key;

/// A condition outside the graph that resources in it wait for: nodes that joined, objects that were deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name in the graph.
    pub key: Key,
    /// Whether dependents may proceed.
    pub open: bool,
    /// What it waits for, described for users.
    pub why: String,
    /// Resources that cannot be deleted while it is closed.
    pub holds: Vec<Key>,
}

/// Why a graph is invalid: a bug in the code that expands it, found by its tests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two resources with the same name.
    #[error("{0} is in the graph twice")]
    Twice(Key),
    /// A dependency that is not in the graph.
    #[error("{from} needs {to}, which is not in the graph")]
    Missing {
        /// The dependent.
        from: Key,
        /// The missing resource.
        to: Key,
    },
    /// A dependency cycle.
    #[error("{0} depends on itself")]
    Cycle(Key),
}

/// The desired resources, in creation order.
pub struct Graph<C> {
    nodes: Vec<Arc<dyn Node<C>>>,
    gates: BTreeMap<Key, Gate>,
    held_by: BTreeMap<Key, Vec<Key>>,
}

impl<C> Graph<C> {
    /// Orders the nodes so that each follows its dependencies.
    pub fn new(nodes: Vec<Arc<dyn Node<C>>>, gates: Vec<Gate>) -> Result<Self, GraphError> {
        let gates: BTreeMap<_, _> = gates.into_iter().map(|g| (g.key.clone(), g)).collect();
        let mut by_key: BTreeMap<Key, Arc<dyn Node<C>>> = BTreeMap::new();
        let mut given = Vec::new();
        for node in nodes {
            let key = node.key();
            if gates.contains_key(&key) || by_key.insert(key.clone(), node).is_some() {
                return Err(GraphError::Twice(key));
            }
            given.push(key);
        }
        let mut order = Vec::new();
        let mut state = BTreeMap::new();
        for key in &given {
            visit(key, &by_key, &gates, &mut state, &mut order)?;
        }
        let nodes: Vec<_> = order.iter().filter_map(|key| by_key.get(key).cloned()).collect();

        let mut held_by: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
        for node in &nodes {
            for held in node.holds() {
                held_by.entry(held).or_default().push(node.key());
            }
        }
        for gate in gates.values() {
            for held in &gate.holds {
                held_by.entry(held.clone()).or_default().push(gate.key.clone());
            }
        }
        // Each of these relations is traversed too, in another direction than creation.
        let held = |key: &Key| held_by.get(key).cloned().unwrap_or_default();
        acyclic(&by_key, |node| held(&node.key()).into_iter().chain(node.deleted_after()).collect())?;
        acyclic(&by_key, |node| node.observed_after().into_iter().collect())?;
        acyclic(&by_key, |node| node.deleted_with().into_iter().collect())?;
        Ok(Self { nodes, gates, held_by })
    }

    /// The nodes, each after its dependencies.
    pub fn nodes(&self) -> &[Arc<dyn Node<C>>] {
        &self.nodes
    }

    /// A node by its key.
    pub fn node(&self, key: &Key) -> Option<&Arc<dyn Node<C>>> {
        self.nodes.iter().find(|node| node.key() == *key)
    }

    /// A gate by its key.
    pub fn gate(&self, key: &Key) -> Option<&Gate> {
        self.gates.get(key)
    }

    /// Adds a gate, or replaces the one with its name.
    pub fn set_gate(&mut self, gate: Gate) {
        for held in &gate.holds {
            let holders = self.held_by.entry(held.clone()).or_default();
            if !holders.contains(&gate.key) {
                holders.push(gate.key.clone());
            }
        }
        self.gates.insert(gate.key.clone(), gate);
    }

    /// What must be deleted before `key`.
    pub fn held_by(&self, key: &Key) -> &[Key] {
        self.held_by.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Rejects a cycle in one relation. Keys outside the graph have no edges.
fn acyclic<C>(
    nodes: &BTreeMap<Key, Arc<dyn Node<C>>>,
    next: impl Fn(&dyn Node<C>) -> Vec<Key>,
) -> Result<(), GraphError> {
    let edges: BTreeMap<&Key, Vec<Key>> = nodes.iter().map(|(key, node)| (key, next(node.as_ref()))).collect();
    // Removes keys without outgoing edges until none is left, or only cycles and what leads to them.
    let mut remaining: BTreeSet<&Key> = edges.keys().copied().collect();
    loop {
        let ends: Vec<&Key> =
            remaining.iter().copied().filter(|key| !edges[*key].iter().any(|to| remaining.contains(to))).collect();
        if ends.is_empty() {
            break;
        }
        for end in ends {
            remaining.remove(end);
        }
    }
    // Following the edges for as many steps as there are keys ends in a cycle.
    let Some(mut in_cycle) = remaining.iter().next().copied() else { return Ok(()) };
    for _ in 0..remaining.len() {
        let next = edges[in_cycle].iter().find_map(|to| remaining.get(to).copied());
        in_cycle = next.unwrap_or(in_cycle);
    }
    Err(GraphError::Cycle(in_cycle.clone()))
}

/// Depth first: adds a node to `order` after its dependencies. `state` is false during the visit.
fn visit<C>(
    key: &Key,
    by_key: &BTreeMap<Key, Arc<dyn Node<C>>>,
    gates: &BTreeMap<Key, Gate>,
    state: &mut BTreeMap<Key, bool>,
    order: &mut Vec<Key>,
) -> Result<(), GraphError> {
    match state.get(key) {
        Some(true) => return Ok(()),
        Some(false) => return Err(GraphError::Cycle(key.clone())),
        None => {}
    }
    let Some(node) = by_key.get(key) else {
        return Ok(());
    };
    state.insert(key.clone(), false);
    let needs: BTreeSet<Key> = node.after().into_iter().chain(node.inside()).collect();
    for need in needs {
        if !by_key.contains_key(&need) && !gates.contains_key(&need) {
            return Err(GraphError::Missing { from: key.clone(), to: need });
        }
        visit(&need, by_key, gates, state, order)?;
    }
    state.insert(key.clone(), true);
    order.push(key.clone());
    Ok(())
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
