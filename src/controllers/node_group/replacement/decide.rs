//! Decides the next step of the replacement of a node group, from what is recorded and observed. Pure.
//!
//! At most two node groups exist: the one in use, and another one. If the other one is what the spec describes, it stays and the
//! one in use is drained and deleted; otherwise the one in use stays, because the edit was taken back or another one followed,
//! and the other one is drained and deleted, for Pods may run on it. Whichever stays must be ready before a Pod is evicted from
//! the other. The one that stays is the one in use from the moment at which the other one is being deleted.
//!
//! The decision depends on the present only, so it is the same after a crash at any point.

use super::node_group_names::{Group, Pair, successor_name};

/// A node group as EKS shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not observed, or it is not certain yet that it is absent.
    #[default]
    Unknown,
    /// Its name belongs to another owner.
    Foreign,
    /// It is not adopted yet.
    Unowned,
    Absent,
    /// It is created, or not usable.
    NotReady,
    /// It is ready or being updated, with that desired size.
    Ready(i32),
    Deleting,
    /// It is gone, and the launch template that Keelson created for it is not.
    TemplateLeft,
}

/// What the API of the cluster shows of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The node group that stays.
    pub stays: String,
    /// Its nodes that take Pods: ready, and not cordoned.
    pub schedulable: i32,
    /// The node group that is drained.
    pub leaves: String,
    /// Its nodes.
    pub leaving: i32,
    /// Its nodes that still take Pods.
    pub uncordoned: i32,
    /// Pods on them that are to be evicted, or are being evicted.
    pub pods: i32,
}

/// What a decision depends on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The name of the first node group.
    pub first: &'a str,
    /// The digest of the spec.
    pub desired: &'a str,
    /// The node groups on record.
    pub recorded: &'a Pair,
    pub in_use: State,
    pub other: State,
    /// A recent reading of the nodes, if there is one.
    pub nodes: Option<&'a Nodes>,
    /// Whether the policy allows to begin a replacement.
    pub may_begin: bool,
    /// Why nothing that disrupts workloads may start now, if so.
    pub closed: Option<&'a str>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is one node group, and the spec describes it.
    Steady,
    /// There is one node group, the spec describes another one, and the policy does not allow to replace it.
    Refused,
    /// The node groups are not observed yet.
    Observe,
    /// The name of the node group that stays belongs to another owner.
    NameTaken,
    /// The node group that the spec describes does not exist; holds why it may not be created yet.
    Create(Option<String>),
    /// The node group that stays is not ready in EKS.
    AwaitGroup,
    /// The nodes were not read recently.
    ReadNodes,
    /// Too few nodes of the node group that stays take Pods.
    AwaitNodes { ready: i32, needed: i32 },
    /// The other one is drained; holds why not now.
    Drain(Option<String>),
    /// EKS says that the other one, which is in use, has nodes, and the cluster shows none: what runs on them is unknown.
    Unaccounted { size: i32 },
    /// The other one is drained, and the nodes of the one that stays are ready: it is deleted.
    Delete,
    /// The other one is being deleted.
    AwaitDeletion,
    /// The other one is gone: its launch template is deleted.
    DeleteTemplate,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The node groups, to be recorded before anything is written to AWS.
    pub pair: Pair,
    pub step: Step,
    /// Whether the node group in use is the one that stays.
    pub in_use_stays: bool,
}

impl Decision {
    /// The node group that stays.
    pub fn stays(&self) -> &Group {
        match &self.pair.other {
            Some(other) if !self.in_use_stays => other,
            _ => &self.pair.in_use,
        }
    }

    /// The node group that is drained and deleted.
    pub fn leaves(&self) -> Option<&Group> {
        let other = self.pair.other.as_ref()?;
        Some(if self.in_use_stays { other } else { &self.pair.in_use })
    }
}

/// Decides the next step.
pub fn decide(input: &Input<'_>) -> Decision {
    let (mut pair, mut in_use, mut other) = (input.recorded.clone(), input.in_use, input.other);
    let is_gone = |state| matches!(state, State::Absent | State::TemplateLeft);
    // With none left, nothing waits for a launch template. If the one in use is only created again, the template stays on record.
    if pair.in_use.digest != input.desired && is_gone(in_use) && is_gone(other) {
        other = State::Absent;
    }
    // The one in use is gone or going: the other one has taken its place.
    if pair.other.is_some()
        && matches!(in_use, State::Absent | State::Deleting | State::TemplateLeft)
        && matches!(other, State::Ready(_) | State::NotReady)
        && let Some(successor) = pair.other.take()
    {
        let former = std::mem::replace(&mut pair.in_use, successor);
        pair.other = Some(former);
        std::mem::swap(&mut in_use, &mut other);
    }
    let is_desired = |group: &Group| group.digest == input.desired;
    // Nothing is left of one that the spec does not describe, or it was never there.
    if matches!(other, State::Absent | State::Foreign)
        && pair.other.as_ref().is_some_and(|group| !is_desired(group) || is_desired(&pair.in_use))
    {
        pair.other = None;
    }
    if pair.other.is_none() {
        let name = successor_name(input.first, input.desired);
        let step = match in_use {
            _ if is_desired(&pair.in_use) => Some(Step::Steady),
            // Its adoption compares it with the spec: until then no record says what it was created with.
            State::Unowned => {
                pair.in_use.digest = input.desired.to_owned();
                Some(Step::Steady)
            }
            _ if !input.may_begin => Some(Step::Refused),
            State::Unknown | State::Foreign => Some(Step::Observe),
            // Its name says that it is the desired one.
            _ if name == pair.in_use.name => {
                pair.in_use.digest = input.desired.to_owned();
                Some(Step::Steady)
            }
            _ => None,
        };
        if let Some(step) = step {
            return Decision { pair, step, in_use_stays: true };
        }
        pair.other = Some(Group { name, digest: input.desired.to_owned() });
        other = State::Absent;
    }
    let in_use_stays = pair.other.as_ref().is_none_or(|group| !is_desired(group)) || is_desired(&pair.in_use);
    let (stays, leaves) = if in_use_stays { (in_use, other) } else { (other, in_use) };
    let decision = Decision { pair, step: Step::Observe, in_use_stays };
    let step = next_step(input, &decision, stays, leaves);
    Decision { step, ..decision }
}

fn next_step(input: &Input<'_>, decision: &Decision, stays: State, leaves: State) -> Step {
    let closed = || input.closed.map(str::to_owned);
    let size = match (stays, leaves) {
        (State::Foreign, _) => return Step::NameTaken,
        (State::Unknown | State::Unowned, _) | (_, State::Unknown | State::Unowned | State::Foreign) => {
            return Step::Observe;
        }
        (_, State::Deleting) => return Step::AwaitDeletion,
        (State::Absent | State::TemplateLeft, _) => {
            let is_gone = matches!(leaves, State::Absent | State::TemplateLeft);
            return Step::Create(closed().filter(|_| !is_gone));
        }
        (State::NotReady | State::Deleting, _) => return Step::AwaitGroup,
        (_, State::TemplateLeft) => return Step::DeleteTemplate,
        (State::Ready(size), _) => size,
    };
    let leaves_name = decision.leaves().map(|group| group.name.as_str()).unwrap_or_default();
    let of_these = |nodes: &&Nodes| nodes.stays == decision.stays().name && nodes.leaves == leaves_name;
    let Some(nodes) = input.nodes.filter(of_these) else { return Step::ReadNodes };
    // An autoscaler may have removed the nodes before Pods came: without one, nothing takes over.
    let needed = if nodes.leaving > 0 { size.max(1) } else { size };
    if nodes.schedulable < needed {
        return Step::AwaitNodes { ready: nodes.schedulable, needed };
    }
    if nodes.uncordoned > 0 || nodes.pods > 0 {
        return Step::Drain(closed());
    }
    match leaves {
        State::Ready(size) if size > 0 && nodes.leaving == 0 && !decision.in_use_stays => Step::Unaccounted { size },
        _ => Step::Delete,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "interleaving_tests.rs"]
mod interleaving_tests;
