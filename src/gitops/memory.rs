//! What the operator remembers of what it applied in a cluster, so that a cluster at rest costs reads only.
//!
//! May not enter: bodies of objects, which may be Secrets; their digests do. No I/O. All of it may be lost: then everything is applied
//! once more, which changes nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::object::ObjectId;

/// After this, what seems unchanged is applied again: it repairs what no generation or version tells of, such as labels.
pub const REPAIR: Duration = Duration::from_secs(600);

/// What was applied in one cluster.
#[derive(Debug, Default)]
pub struct Memory {
    pub install: Install,
    pub handover: Handover,
    pub objects: HashMap<ObjectId, Applied>,
    /// The source of the kind that is not asked for was looked for, and is not there, or is not ours.
    pub other_source_absent: bool,
    /// The other agent: its name, when it was looked for, and what there is to say of it.
    pub competing_agent: Option<(&'static str, Instant, Option<String>)>,
}

/// How far Git is with adopting the agent. When it gets further, the manifests are looked at again, to let go of what it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// Differs when Git has adopted another part of the agent; 0: none.
    pub progress: u64,
    /// All of the manifests were Git's and let go of when they were looked at last.
    pub complete: bool,
}

/// How far the install manifests are. `key` differs when what should be installed does.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Install {
    #[default]
    Nothing,
    /// The definitions were applied; these are not served yet.
    Definitions {
        key: u64,
        pending: Vec<ObjectId>,
    },
    Done {
        key: u64,
        at: Instant,
    },
}

/// An object as it was after we applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub digest: u64,
    pub version: ObjectVersion,
    pub at: Instant,
}

/// What changes when someone else writes an object: its generation, or its resourceVersion where it has none (Secrets, ConfigMaps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectVersion {
    Generation(i64),
    ResourceVersion(String),
}

impl Memory {
    /// Whether an object, seen with `version`, is still as we applied it.
    pub fn is_unchanged(&self, id: &ObjectId, digest: u64, version: &ObjectVersion, now: Instant) -> bool {
        self.objects.get(id).is_some_and(|applied| {
            applied.digest == digest && applied.version == *version && now.duration_since(applied.at) < REPAIR
        })
    }

    /// Whether the install of `key` is complete and was looked at lately.
    pub fn is_installed(&self, key: u64, now: Instant) -> bool {
        matches!(self.install, Install::Done { key: done, at } if done == key && now.duration_since(at) < REPAIR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> (Memory, ObjectId, Instant) {
        let id =
            ObjectId { api_version: "v1".into(), kind: "Secret".into(), namespace: Some("a".into()), name: "b".into() };
        let at = Instant::now();
        let applied = Applied { digest: 7, version: ObjectVersion::ResourceVersion("12".into()), at };
        (Memory { objects: [(id.clone(), applied)].into(), ..Memory::default() }, id, at)
    }

    #[test]
    fn what_nobody_changed_is_not_applied_again() {
        let (memory, id, at) = remembered();
        assert!(memory.is_unchanged(&id, 7, &ObjectVersion::ResourceVersion("12".into()), at));
    }

    #[test]
    fn a_new_body_someone_elses_write_and_time_are_reasons_to_apply() {
        let (memory, id, at) = remembered();
        let version = ObjectVersion::ResourceVersion("12".into());
        assert!(!memory.is_unchanged(&id, 8, &version, at));
        assert!(!memory.is_unchanged(&id, 7, &ObjectVersion::ResourceVersion("13".into()), at));
        assert!(!memory.is_unchanged(&id, 7, &version, at + REPAIR));
    }

    #[test]
    fn an_install_holds_for_its_key_and_a_while() {
        let at = Instant::now();
        let memory = Memory { install: Install::Done { key: 1, at }, ..Memory::default() };
        assert!(memory.is_installed(1, at));
        assert!(!memory.is_installed(2, at));
        assert!(!memory.is_installed(1, at + REPAIR));
    }
}
