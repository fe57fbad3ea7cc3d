//! What the checks of an EksCluster's spec against AWS found, kept between reconciles. Pure.

use std::collections::BTreeSet;

/// Results kept between reconciles.
#[derive(Debug, Default)]
pub(super) struct SpecCheck {
    /// The generation of the spec that passed.
    generation: Option<i64>,
    /// The policies of the node role that exist; `None` before the first check. A NodeGroup that appears after the check waits for
    /// the next one: attaching a policy that does not exist fails the role for all groups.
    node_policies: Option<BTreeSet<String>>,
}

impl SpecCheck {
    /// Discards the results, so that everything is checked again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether this generation of the spec passed.
    pub(super) fn has_passed(&self, generation: Option<i64>) -> bool {
        self.generation == generation
    }

    /// Records that this generation of the spec passed.
    pub(super) fn record_passed(&mut self, generation: Option<i64>) {
        self.generation = generation;
    }

    /// Records which policies of the node role exist.
    pub(super) fn record_policies(&mut self, existing: BTreeSet<String>) {
        self.node_policies = Some(existing);
    }

    /// Whether the node role can get this policy.
    pub(super) fn is_attachable(&self, policy: &str) -> bool {
        self.node_policies.as_ref().is_none_or(|existing| existing.contains(policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_that_no_check_found_is_not_attached() {
        let mut check = SpecCheck::default();
        assert!(check.is_attachable("checked"), "before the first check nothing is known to be missing");
        check.node_policies = Some(BTreeSet::from(["checked".to_owned()]));
        assert!(check.is_attachable("checked") && !check.is_attachable("appeared after the check"));
        check.forget();
        assert!(check.is_attachable("appeared after the check"));
    }
}
