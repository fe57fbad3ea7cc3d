//! What pruning leaves alone although the spec does not list it: add-ons that make the cluster's network, and whatever
//! somebody creates again each time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::pruned_kind::PrunedKind;
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::addons::PruneCoreAddons;

/// Without these, nodes are not Ready and names are not resolved.
const CORE_ADDONS: [&str; 3] = ["vpc-cni", "kube-proxy", "coredns"];
/// What was deleted as often as this and exists again is owned by another controller: it would be deleted for ever.
const MAX_DELETIONS: u32 = 3;
/// GuardDuty installs it, and again whenever it is missing, as
/// <https://docs.aws.amazon.com/guardduty/latest/ug/managing-gdu-agent-eks-automatically.html> says.
const GUARD_DUTY_AGENT: &str = "aws-guardduty-agent";

/// What is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Core add-ons that stay.
    core: BTreeSet<String>,
    /// Names that came back after each deletion.
    returned: BTreeSet<String>,
    /// How often each was deleted.
    deletions: BTreeMap<String, u32>,
}

impl Limits {
    /// The same counts, for a new search.
    pub fn next(&self) -> Self {
        Self { deletions: self.deletions.clone(), ..Self::default() }
    }

    /// Whether `name` stays, and remembers it.
    pub fn spares(&mut self, kind: PrunedKind, name: &str, core: PruneCoreAddons) -> bool {
        if kind == PrunedKind::Addons && core == PruneCoreAddons::Keep && is_core(name) {
            self.core.insert(name.to_owned());
            return true;
        }
        let returned = self.deletions.get(name).is_some_and(|count| *count >= MAX_DELETIONS);
        if returned {
            self.returned.insert(name.to_owned());
        }
        returned
    }

    /// Counts a deletion.
    pub fn record_deletion(&mut self, name: &str) {
        *self.deletions.entry(name.to_owned()).or_default() += 1;
    }

    /// What stays, and why, each for an event.
    pub fn messages(&self, kind: PrunedKind) -> Vec<String> {
        let of = |name: &String| format!("{}[{name}]", kind.field());
        let core = self.core.iter().map(|name| {
            format!(
                "{} is not listed and stays: without it the cluster has no network. List it, or set pruneCoreAddons to \
                 Preserve or Delete",
                of(name)
            )
        });
        let returned = self.returned.iter().map(|name| {
            let who = if name == GUARD_DUTY_AGENT {
                "GuardDuty installs it: disable the automated agent configuration of Runtime Monitoring, set the tag \
                 GuardDutyManaged: \"false\" in spec.tags, or list it"
                    .to_owned()
            } else {
                format!(
                    "list it, or stop whoever creates it, and set the annotation {RECONCILE_AT_ANNOTATION} to a new value"
                )
            };
            format!("{} was deleted {MAX_DELETIONS} times, exists again, and stays: {who}", of(name))
        });
        core.chain(returned).collect()
    }
}

/// Whether the cluster's network needs the add-on.
pub fn is_core(name: &str) -> bool {
    CORE_ADDONS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_addons_stay_unless_the_spec_says_otherwise() {
        let mut limits = Limits::default();
        assert!(limits.spares(PrunedKind::Addons, "vpc-cni", PruneCoreAddons::Keep));
        assert!(!limits.spares(PrunedKind::Addons, "metrics-server", PruneCoreAddons::Keep));
        assert!(!limits.spares(PrunedKind::FargateProfiles, "coredns", PruneCoreAddons::Keep), "only an add-on");
        for policy in [PruneCoreAddons::Preserve, PruneCoreAddons::Delete] {
            assert!(!Limits::default().spares(PrunedKind::Addons, "vpc-cni", policy));
        }
        let messages = limits.messages(PrunedKind::Addons);
        assert!(
            messages.len() == 1 && messages[0].starts_with("addons[vpc-cni] is not listed and stays"),
            "{messages:?}"
        );
    }

    #[test]
    fn what_comes_back_after_each_deletion_is_left_and_reported() {
        let mut limits = Limits::default();
        let spares = |limits: &mut Limits| limits.spares(PrunedKind::Addons, GUARD_DUTY_AGENT, PruneCoreAddons::Keep);
        for _ in 0..MAX_DELETIONS {
            assert!(!spares(&mut limits));
            limits.record_deletion(GUARD_DUTY_AGENT);
            limits = limits.next();
        }
        assert!(spares(&mut limits));
        let messages = limits.messages(PrunedKind::Addons);
        assert!(
            messages[0].contains("was deleted 3 times, exists again, and stays: GuardDuty installs it"),
            "{messages:?}"
        );
        assert!(limits.next().messages(PrunedKind::Addons).is_empty());
    }
}
