//! The tags of a role, which are those of its sessions: policies of the account that compare `aws:PrincipalTag` trust them. Pure.
//!
//! EKS Pod Identity gives sessions tags of its own, which name the cluster and the Pod. A session without them has those of its role, so no
//! tag of a spec may pass for one of them, on any role: Pods reach that of their node as well. Which other keys the account's policies
//! compare, only whoever owns the account knows: `enforcedTags` of the AwsAccount.

use crate::aws::tags::{Tags, is_same_key};
use crate::engine::Key;
use crate::resources::cloud::ResourceContext;

/// The tags of sessions: <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html>.
pub(super) const SESSION_TAGS: [&str; 6] = [
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-service-account",
    "eks-cluster-arn",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
];

/// Whether a tag with that key would pass for one that EKS gives to sessions.
pub(super) fn is_of_sessions(key: &str) -> bool {
    SESSION_TAGS.iter().any(|tag| is_same_key(key, tag))
}

/// The tags of the role with that key: those of the spec and the account, except what only EKS may say of a session.
pub(super) fn of_role(context: &ResourceContext<'_>, key: &Key) -> Tags {
    let mut own = context.clone();
    own.user_tags.retain(|name, _| !is_of_sessions(name));
    own.tags(key)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::resources::cloud::{AccountSettings, Intervals, Owner};
    use crate::resources::iam::role::{self, Purpose, Role};

    fn tags_of_node_role(own: &[(&str, &str)], enforced: &[(&str, &str)], former: &[&str]) -> Tags {
        let map = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let account = AccountSettings { enforced_tags: map(enforced), ..AccountSettings::default() };
        let owner = Owner { uid: "uid".into(), cluster: "shop/demo".into(), ..Owner::default() };
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: account.tags_with(&map(own)),
            former_tags: former.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>(),
            intervals: Intervals::default(),
        };
        Role::new(&context, Purpose::Node, &[], &account).tags
    }

    #[test]
    fn role_of_nodes_never_passes_for_a_session_of_a_pod() {
        let own = [("EKS-cluster-ARN", "arn:victim"), ("kubernetes-namespace", "kube-system"), ("team", "a")];
        // An older Keelson wrote it: it is removed.
        let tags = tags_of_node_role(&own, &[], &["kubernetes-namespace", "team"]);
        assert_eq!(
            (tags.get("EKS-cluster-ARN"), tags.get("kubernetes-namespace"), tags.get("team")),
            (None, None, Some("a"))
        );
        assert_eq!(tags.removed().collect::<Vec<_>>(), ["kubernetes-namespace"]);
        assert_eq!(tags.resource(), Some(role::key(Purpose::Node).to_string().as_str()));
    }

    #[test]
    fn key_that_policies_compare_is_the_accounts_in_every_case_once_it_is_enforced() {
        let tags = tags_of_node_role(&[("Team", "payments"), ("TEAM", "admins")], &[("team", "shop")], &[]);
        let teams: Vec<_> = tags.iter().filter(|(key, _)| key.eq_ignore_ascii_case("team")).collect();
        assert_eq!(teams, [("team", "shop")]);
    }
}
