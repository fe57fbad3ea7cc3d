//! Whether a cluster needs a node role of its own, and what its NodeGroups want of it. Pure.

use std::collections::BTreeSet;

use crate::api::policy::AdoptionPolicy;
use crate::api::{EksClusterSpec, NodeGroupSpec};

/// What the NodeGroups of a cluster want of the node role that is made for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRole {
    /// Whether any NodeGroup takes it; `None`: there are no NodeGroups.
    pub taken: Option<bool>,
    /// Policies that they want on it, sorted.
    pub policies: Vec<String>,
    /// Policies that they want on it and that the account does not allow: they are neither attached nor detached.
    pub refused_policies: Vec<String>,
    /// Names that their node groups have in EKS.
    pub node_groups: Vec<String>,
}

impl NodeRole {
    /// What those NodeGroups want. One that names a role of its own wants nothing.
    pub fn of<'g>(groups: impl IntoIterator<Item = &'g NodeGroupSpec>) -> Self {
        let (mut taken, mut policies) = (None, BTreeSet::new());
        for group in groups {
            let takes = group.role_arn.is_none();
            *taken.get_or_insert(false) |= takes;
            policies.extend(group.additional_role_policies.iter().filter(|_| takes).cloned());
        }
        Self { taken, policies: policies.into_iter().collect(), ..Self::default() }
    }

    /// The same with those policies only that `allowed` lets through.
    #[must_use]
    pub fn with_only(mut self, allowed: impl Fn(&str) -> bool) -> Self {
        let (policies, refused) = self.policies.into_iter().partition(|policy| allowed(policy));
        (self.policies, self.refused_policies) = (policies, refused);
        self
    }

    /// Whether there is to be one: for nodes to come, it is made along with the control plane. A cluster that is taken over has
    /// its nodes and their role already, as far as anybody knows.
    pub(super) fn is_made(&self, spec: &EksClusterSpec) -> bool {
        self.taken.unwrap_or(spec.adoption_policy == AdoptionPolicy::Refuse)
    }
}
