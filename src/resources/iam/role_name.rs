//! The names of the roles that Keelson creates. Pure.

use sha2::{Digest, Sha256};

use crate::engine::Key;

/// The prefix of the names of all roles that Keelson creates.
pub const NAME_PREFIX: &str = "keelson-";

/// The kind of roles in keys, apart from those of Pods. Here, as the file of the kind uses this one; a test compares the two.
pub(super) const ROLE: &str = "role";
/// The kind of the roles of Pods in keys.
pub(super) const WORKLOAD_ROLE: &str = "workloadRole";
/// The beginning of a purpose of a role of Pods. The operator's IAM policy names it.
const PODS: &str = "pod";

/// The part of a role name that identifies the object.
pub(super) fn name_hash(uid: &str) -> String {
    hash(uid, 4)
}

fn hash(text: &str, bytes: usize) -> String {
    Sha256::digest(text).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The last part of the name of the role with that key: what assumes it, for Pods as a hash. `None`: no role has that key.
pub fn purpose(key: &Key) -> Option<String> {
    match key.kind() {
        ROLE => Some(key.name().to_owned()),
        WORKLOAD_ROLE => Some(format!("{PODS}{}", hash(key.name(), 5))),
        _ => None,
    }
}

/// A name unique to the object: IAM is global, so the cluster's name alone is ambiguous. At most 64 characters.
pub(super) fn name(cluster: &str, uid: &str, purpose: &str) -> String {
    let prefix = if is_of_pods(purpose) { pod_name_prefix(cluster) } else { name_prefix(cluster) };
    format!("{prefix}{}-{purpose}", name_hash(uid))
}

fn is_of_pods(purpose: &str) -> bool {
    purpose.strip_prefix(PODS).is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// As [`name_prefix`], shorter by as much as the purpose of a role of Pods is longer.
fn pod_name_prefix(cluster: &str) -> String {
    let cluster: String = cluster.chars().take(33).collect();
    format!("{NAME_PREFIX}{cluster}-")
}

/// Whether the name may be that of a role of the cluster. The prefix also matches clusters whose names start with this one's.
pub fn may_be_of(name: &str, cluster: &str) -> bool {
    name.starts_with(&name_prefix(cluster)) || name.starts_with(&pod_name_prefix(cluster))
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
    let prefix = if is_of_pods(purpose) { pod_name_prefix(cluster) } else { name_prefix(cluster) };
    let parts = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(hash, of)| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && of == purpose)
}

/// Whether a role has the name that Keelson gives to the role with that key of that cluster, for whichever object.
pub fn is_named_for_key(name: &str, cluster: &str, key: &Key) -> bool {
    purpose(key).is_some_and(|purpose| is_named_after(name, cluster, &purpose))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::iam::{role, workload_role};

    #[test]
    fn kinds_are_those_of_the_table() {
        assert_eq!([ROLE, WORKLOAD_ROLE], [role::KIND.name, workload_role::KIND.name]);
    }

    #[test]
    fn names_of_roles_of_pods_fit_iam_and_differ_by_what_they_are_for() {
        let key = |name: &str| purpose(&Key::named(WORKLOAD_ROLE, name)).unwrap();
        let (dns, other) = (key("kube-system/external-dns"), key("kube-system/external-dns-2"));
        assert_ne!(dns, other);
        for cluster in ["demo", &"c".repeat(100)] {
            let name = name(cluster, "uid", &dns);
            assert!(name.len() <= 64, "{name}");
            assert!(is_named_for(&name, "uid") && is_named_after(&name, cluster, &dns) && may_be_of(&name, cluster));
            assert!(!is_named_after(&name, cluster, &other) && !is_named_after(&name, "other", &dns));
        }
        assert!(name("demo", "uid", &dns).contains("-pod"), "as the operator's IAM policy expects");
        assert_eq!(purpose(&Key::named("role", "node")).as_deref(), Some("node"));
        assert_eq!(purpose(&Key::named("addon", "coredns")), None);
    }
}
