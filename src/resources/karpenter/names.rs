//! The names of a cluster's queue and of the rule that fills it, and the tag by which Karpenter finds subnets. Pure.
//!
//! Both exist in one region, where the cluster's name in EKS is unique, so the name is derived from it. It proves nothing: who owns them is
//! in their tags and in status.

use sha2::{Digest, Sha256};

use crate::resources::iam::role::NAME_PREFIX;

/// The tag of subnets in which Karpenter may launch instances.
pub const DISCOVERY: &str = "karpenter.sh/discovery";

/// Stands in status among the keys of tags while subnets may carry [`DISCOVERY`] because of the spec, and not because somebody wrote it.
pub const DISCOVERY_REQUESTED: &str = "keelson.dev/karpenter-discovery";

const QUEUE: &str = "karpenter";
const RULE: &str = "interruptions";
/// Of the cluster's name: EventBridge takes 64 characters, SQS 80.
const MAX: usize = 42;

/// The name of the queue.
pub fn queue(cluster: &str) -> String {
    name(cluster, QUEUE)
}

/// The name of the rule: another one than the queue's, which is its id as well.
pub fn rule(cluster: &str) -> String {
    name(cluster, RULE)
}

fn name(cluster: &str, what: &str) -> String {
    let part = if cluster.chars().count() <= MAX {
        cluster.to_owned()
    } else {
        let hash: String = Sha256::digest(cluster).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let start: String = cluster.chars().take(MAX - hash.len() - 1).collect();
        format!("{start}-{hash}")
    };
    format!("{NAME_PREFIX}{part}-{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_both_services_and_differ_by_cluster() {
        assert_eq!(
            (queue("payments"), rule("payments")),
            names("keelson-payments-karpenter", "keelson-payments-interruptions")
        );
        let (long, other) = ("c".repeat(100), "c".repeat(99));
        for cluster in [&long, &other, &"c".repeat(42), &"c".repeat(43)] {
            assert!(queue(cluster).len() <= 80 && rule(cluster).len() <= 64, "{}", rule(cluster));
        }
        assert_ne!(queue(&long), queue(&other));
    }

    fn names(queue: &str, rule: &str) -> (String, String) {
        (queue.to_owned(), rule.to_owned())
    }
}
