//! Shared by the agents' roll-ups: the health of an object, the counts, and short revisions.
//!
//! Not allowed here: which agent, clients and clocks. Pure.

use crate::api::stable_text::stable;
use crate::api::status_cluster::{FailingObject, GitOpsObjects};
use crate::workload::error::bounded;

/// Failing objects that are listed by name; the counts include the others.
const MAX_NAMED: usize = 10;
/// Digits of a commit without a `sha1:` prefix.
const COMMIT_LENGTH: usize = 40;

/// Health of one of the agent's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// In progress, or waiting for a dependency.
    Waiting,
    Failing {
        reason: String,
        message: String,
    },
    Suspended,
}

/// One of the agent's objects, for the counts.
pub struct Counted {
    pub kind: &'static str,
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// The object that syncs the cluster's path; listed first.
    pub is_root: bool,
    pub health: Health,
}

/// Whether older pods of a workload still run: of its replicas, (all, those of the newest template), and of its generations, (the
/// present one, the one that its controller has observed).
pub fn is_updating((replicas, updated): (i32, i32), (generation, observed): (i64, i64)) -> bool {
    replicas > updated || (observed != 0 && observed < generation)
}

/// Counts by health, and the first failing objects.
pub fn count(all: impl Iterator<Item = Counted>) -> (GitOpsObjects, Vec<FailingObject>) {
    let mut objects = GitOpsObjects::default();
    let mut failing = Vec::new();
    for Counted { kind, name, is_root, health } in all {
        match health {
            Health::Ready | Health::Waiting => objects.running += 1,
            Health::Suspended => objects.suspended += 1,
            Health::Failing { reason, message } => {
                objects.failing += 1;
                failing.push((!is_root, kind, name, reason, message));
            }
        }
    }
    // The root first, then by name: the same cluster always gives the same ten.
    failing.sort();
    failing.truncate(MAX_NAMED);
    let named = failing.into_iter().map(|(_, kind, name, reason, message)| FailingObject {
        kind: kind.into(),
        name: bounded(&name, 320),
        reason: Some(reason),
        message: Some(stable(&message).into_owned()),
    });
    (objects, named.collect())
}

/// Seven characters of the commit in `main@sha1:76087da78...` or of a bare commit; other revisions are cut.
pub fn short_revision(revision: &str) -> String {
    let (digest, least) = match revision.rsplit_once(':') {
        Some((_, digest)) => (digest, 1),
        None => (revision, COMMIT_LENGTH),
    };
    if digest.len() >= least && digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        digest.chars().take(7).collect()
    } else {
        bounded(revision, 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_is_shortened_to_the_commit() {
        for (revision, text) in [
            ("main@sha1:76087da78cdcec69b25c1392f6c5948b0bd320f5", "76087da"),
            ("refs/heads/feature:x@sha1:76087da78c", "76087da"),
            ("sha1:76087da78c", "76087da"),
            ("latest@sha256:abcdef0123456789", "abcdef0"),
            ("76087da78cdcec69b25c1392f6c5948b0bd320f5", "76087da"),
            ("v1.2.3", "v1.2.3"),
            ("cafe", "cafe"),
            ("odd:", "odd:"),
        ] {
            assert_eq!(short_revision(revision), text);
        }
    }

    #[test]
    fn workload_is_updating_while_older_pods_run() {
        assert!(is_updating((2, 1), (3, 3)), "the new pod is not ready");
        assert!(is_updating((1, 1), (3, 2)), "its controller has not seen the change");
        assert!(!is_updating((1, 1), (3, 3)) && !is_updating((0, 0), (1, 0)));
    }

    #[test]
    fn root_is_listed_first_and_at_most_ten_are_listed() {
        let failing = |n: usize| Counted {
            kind: "Kustomization",
            name: format!("shop/app-{n:02}"),
            is_root: n == 11,
            health: Health::Failing { reason: "BuildFailed".into(), message: "m".into() },
        };
        let others = [Health::Ready, Health::Waiting, Health::Suspended];
        let others = others.map(|health| Counted { kind: "HelmRelease", name: "a/b".into(), is_root: false, health });
        let (objects, named) = count((0..12).map(failing).chain(others));
        assert_eq!((objects.running, objects.failing, objects.suspended), (2, 12, 1));
        let names: Vec<_> = named.iter().map(|object| object.name.as_str()).collect();
        assert_eq!((names.len(), names[0], names[1]), (10, "shop/app-11", "shop/app-00"));
    }
}
