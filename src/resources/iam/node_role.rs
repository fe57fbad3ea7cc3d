//! Whether a cluster needs its own node role, and what its NodeGroups require of it. Pure.

use std::collections::BTreeSet;

use crate::api::policy::AdoptionPolicy;
use crate::api::{EksClusterSpec, NodeGroupSpec};

/// What the NodeGroups of a cluster require of the cluster's node role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRole {
    /// Whether any NodeGroup uses it; `None`: there are no NodeGroups.
    pub in_use: Option<bool>,
    /// Policies that they require, sorted.
    pub policies: Vec<String>,
    /// Policies that they require but the account does not allow: neither attached nor detached.
    pub refused_policies: Vec<String>,
    /// The names of their node groups in EKS.
    pub node_groups: Vec<String>,
}

impl NodeRole {
    /// The requirements of these NodeGroups. One with its own role requires nothing.
    pub fn of<'g>(groups: impl IntoIterator<Item = &'g NodeGroupSpec>) -> Self {
        let (mut in_use, mut policies) = (None, BTreeSet::new());
        for group in groups {
            let uses_it = group.role_arn.is_none();
            *in_use.get_or_insert(false) |= uses_it;
            policies.extend(group.additional_role_policies.iter().filter(|_| uses_it).cloned());
        }
        Self { in_use, policies: policies.into_iter().collect(), ..Self::default() }
    }

    /// Keeps only the policies that `allowed` accepts.
    #[must_use]
    pub fn with_only(mut self, allowed: impl Fn(&str) -> bool) -> Self {
        let (policies, refused) = self.policies.into_iter().partition(|policy| allowed(policy));
        (self.policies, self.refused_policies) = (policies, refused);
        self
    }

    /// Whether the role must exist: Karpenter's nodes use it, too. It is created together with the control plane, for future nodes. An adopted cluster
    /// is assumed to have its nodes and their role already.
    pub(crate) fn is_required(&self, spec: &EksClusterSpec) -> bool {
        spec.karpenter.is_some() || self.in_use.unwrap_or(spec.adoption_policy == AdoptionPolicy::Refuse)
    }
}
