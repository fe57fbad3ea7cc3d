//! The names of the roles that Keelson creates. Pure.

use sha2::{Digest, Sha256};

/// The prefix of the names of all roles that Keelson creates.
pub const NAME_PREFIX: &str = "keelson-";

/// The part of a role name that identifies the object.
pub(super) fn name_hash(uid: &str) -> String {
    Sha256::digest(uid).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The permanent description of a role: tagging permissions cannot change it.
pub fn description(purpose: &str, cluster: &str) -> String {
    format!("EKS {purpose} role of {cluster}, made by Keelson")
}

/// Whether only the object with that UID gives a role this name.
pub fn is_named_for(name: &str, uid: &str) -> bool {
    let hash = name_hash(uid);
    name.starts_with(NAME_PREFIX)
        && name.rsplit_once('-').is_some_and(|(start, _)| start.ends_with(&format!("-{hash}")))
}

/// The prefix of the names of a cluster's roles. It also matches roles of clusters whose names start with this one's.
pub fn name_prefix(cluster: &str) -> String {
    let cluster: String = cluster.chars().take(38).collect();
    format!("{NAME_PREFIX}{cluster}-")
}

/// Whether a role has the name that Keelson gives to a role of that cluster and purpose, for whichever object.
pub fn is_named_after(name: &str, cluster: &str, purpose: &str) -> bool {
    let parts = name.strip_prefix(&name_prefix(cluster)).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(hash, of)| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && of == purpose)
}
