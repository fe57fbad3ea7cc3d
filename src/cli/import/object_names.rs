//! Kubernetes object names from EKS names: EKS allows upper case and `_`. Pure.

/// The name in lower case, with `_` as `-`, without leading and trailing characters that Kubernetes rejects.
pub fn object_name(eks: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let name: String = eks.chars().map(fits).collect();
    name.trim_matches(['-', '.']).to_owned()
}

/// The name of a node group's object, prefixed with the cluster's: many clusters have a node group `default`.
pub fn node_group_name(cluster: &str, group: &str) -> String {
    let (cluster, group) = (object_name(cluster), object_name(group));
    if group.starts_with(&format!("{cluster}-")) { group } else { format!("{cluster}-{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_in_kubernetes() {
        for (eks, expected) in [("demo", "demo"), ("Team_A-Prod", "team-a-prod"), ("A_", "a"), ("x__y", "x--y")] {
            assert_eq!(object_name(eks), expected);
        }
        assert_eq!(node_group_name("Demo", "ng-1"), "demo-ng-1");
        assert_eq!(node_group_name("demo", "demo-spot"), "demo-spot");
        assert_eq!(node_group_name("demo", "demonstration"), "demo-demonstration");
    }
}
