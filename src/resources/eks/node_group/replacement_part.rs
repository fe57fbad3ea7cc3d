//! The part of a node group in a replacement: EKS cannot change its instance types and some other fields, so a node group with
//! other ones is made beside it. Pure.

use super::changes;
use crate::api::node_group::{DesiredPolicy, Scaling};
use crate::engine::resource::Succession;
use crate::engine::{Change, Key};

/// The part of a node group in a replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReplacementPart {
    /// The spec describes it.
    #[default]
    Described,
    /// The spec describes another one, which does not exist yet: what EKS cannot change is not compared, and its nodes are not
    /// updated.
    Outdated,
    /// It is made beside another one, once the gate opens.
    Successor {
        /// The gate.
        gate: Key,
        /// The size of the other one.
        nodes: i32,
    },
    /// Another one replaces it.
    Replaced(Succession),
}

impl ReplacementPart {
    /// What it waits for before it is created.
    pub(in super::super) fn gate(&self) -> Option<Key> {
        match self {
            Self::Successor { gate, .. } => Some(gate.clone()),
            Self::Described | Self::Outdated | Self::Replaced(_) => None,
        }
    }

    /// What replaces it.
    pub(in super::super) fn succession(&self) -> Option<Succession> {
        match self {
            Self::Replaced(succession) => Some(succession.clone()),
            Self::Described | Self::Outdated | Self::Successor { .. } => None,
        }
    }

    /// Whether a difference counts.
    pub(super) fn compares(&self, change: &Change) -> bool {
        *self != Self::Outdated || !(changes::is_fixed(change) || changes::replaces(change))
    }

    /// Number of nodes at creation: as many as the other one has, unless the spec owns the size.
    pub(super) fn initial_size(&self, scaling: &Scaling) -> i32 {
        match self {
            Self::Successor { nodes, .. } if scaling.desired_policy == DesiredPolicy::Initial => {
                scaling.initial().max(*nodes).min(scaling.max)
            }
            _ => scaling.initial(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_has_the_size_of_the_other_one_within_its_bounds() {
        let successor = ReplacementPart::Successor { gate: Key::single("replacementWindow"), nodes: 7 };
        let scaling = |desired_policy, max| Scaling { min: 1, max, desired: Some(2), desired_policy };
        assert_eq!(successor.initial_size(&scaling(DesiredPolicy::Initial, 9)), 7);
        assert_eq!(successor.initial_size(&scaling(DesiredPolicy::Initial, 5)), 5);
        assert_eq!(successor.initial_size(&scaling(DesiredPolicy::Enforce, 9)), 2, "the spec owns the size");
        assert_eq!(ReplacementPart::Described.initial_size(&scaling(DesiredPolicy::Initial, 9)), 2);
    }

    #[test]
    fn what_eks_cannot_change_is_not_compared_before_a_replacement() {
        let all = ["instanceTypes", "amiType", "version", "launchTemplate.id", "scaling.max", "labels.a"];
        let compared = |part: ReplacementPart| {
            let compares = |field: &&str| part.compares(&Change::in_place(*field, "a", "b"));
            all.iter().filter(|field| compares(field)).copied().collect::<Vec<_>>()
        };
        assert_eq!(compared(ReplacementPart::Outdated), ["scaling.max", "labels.a"]);
        assert_eq!(compared(ReplacementPart::Described), all);
    }
}
