//! What the operator applied in a cluster, so that a steady cluster costs reads only.
//!
//! Not allowed here: bodies of objects, which may be Secrets; digests may. No I/O. The memory may be lost: then everything
//! is applied once more, which changes nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::object::ObjectId;

/// Unchanged objects are applied again after this time: it repairs changes that no generation or resourceVersion shows.
pub const REPAIR: Duration = Duration::from_secs(600);

/// What was applied in one cluster.
#[derive(Debug, Default)]
pub struct Memory {
    pub install: Install,
    pub handover: Handover,
    pub objects: HashMap<ObjectId, Applied>,
    /// The source of the kind that the spec does not select does not exist, or Keelson does not own it.
    pub other_source_absent: bool,
    /// The agents that the spec does not select: the selected one, when the others were looked up, and the note about
    /// them.
    pub competing_agents: Option<(&'static str, Instant, Option<String>)>,
    pub pod_network: PodNetwork,
}

/// Whether the agent may use the cluster's Pod network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodNetwork {
    /// No node is Ready, or nobody has looked.
    #[default]
    Unknown,
    /// Nodes have been Ready since then.
    ReadySince(Instant),
    /// The agent uses it.
    Used,
}

impl PodNetwork {
    /// Whether nodes have been Ready for so long.
    pub fn is_ready_for(self, long: Duration, now: Instant) -> bool {
        match self {
            Self::Unknown => false,
            Self::ReadySince(since) => now.duration_since(since) >= long,
            Self::Used => true,
        }
    }
}

/// How far Git has adopted the agent. On progress the manifests are applied again, which releases the adopted objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// Hash of the adopted parts of the agent; 0: none.
    pub progress: u64,
    /// All objects of the manifests were adopted and released at the last install.
    pub complete: bool,
}

/// Progress of the install manifests. `key` is a hash of what to install.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Install {
    #[default]
    Nothing,
    /// The CRDs are applied; `pending` are not served yet.
    Definitions {
        key: u64,
        pending: Vec<ObjectId>,
    },
    Done {
        key: u64,
        at: Instant,
    },
}

/// An object as it was after the last apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub digest: u64,
    pub version: ObjectVersion,
    pub at: Instant,
}

/// Changes when another client writes the object: its generation, or its resourceVersion if it has none (Secrets,
/// ConfigMaps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectVersion {
    Generation(i64),
    ResourceVersion(String),
}

impl Memory {
    /// Whether an object with `version` is still as Keelson applied it.
    pub fn is_unchanged(&self, id: &ObjectId, digest: u64, version: &ObjectVersion, now: Instant) -> bool {
        self.objects.get(id).is_some_and(|applied| {
            applied.digest == digest && applied.version == *version && now.duration_since(applied.at) < REPAIR
        })
    }

    /// Whether the install of `key` is complete and recent.
    pub fn is_installed(&self, key: u64, now: Instant) -> bool {
        matches!(self.install, Install::Done { key: done, at } if done == key && now.duration_since(at) < REPAIR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied_object() -> (Memory, ObjectId, Instant) {
        let id =
            ObjectId { api_version: "v1".into(), kind: "Secret".into(), namespace: Some("a".into()), name: "b".into() };
        let at = Instant::now();
        let applied = Applied { digest: 7, version: ObjectVersion::ResourceVersion("12".into()), at };
        (Memory { objects: [(id.clone(), applied)].into(), ..Memory::default() }, id, at)
    }

    #[test]
    fn unchanged_object_is_not_applied_again() {
        let (memory, id, at) = applied_object();
        assert!(memory.is_unchanged(&id, 7, &ObjectVersion::ResourceVersion("12".into()), at));
    }

    #[test]
    fn new_body_foreign_write_and_elapsed_time_cause_an_apply() {
        let (memory, id, at) = applied_object();
        let version = ObjectVersion::ResourceVersion("12".into());
        assert!(!memory.is_unchanged(&id, 8, &version, at));
        assert!(!memory.is_unchanged(&id, 7, &ObjectVersion::ResourceVersion("13".into()), at));
        assert!(!memory.is_unchanged(&id, 7, &version, at + REPAIR));
    }

    #[test]
    fn install_is_valid_for_its_key_and_ten_minutes() {
        let at = Instant::now();
        let memory = Memory { install: Install::Done { key: 1, at }, ..Memory::default() };
        assert!(memory.is_installed(1, at));
        assert!(!memory.is_installed(2, at));
        assert!(!memory.is_installed(1, at + REPAIR));
    }
}
