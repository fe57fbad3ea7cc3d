//! Nodes that boot a custom AMI run the kubelet of that AMI: EKS accepts no version for them, and changes none. Their
//! version is compared with the desired one, and only the user can change it. Pure.

use super::nodes::NodesObservation;
use crate::api::{KubernetesVersion, NodeGroupSpec};
use crate::workload::nodes::Count;

/// EKS's AMI type of such nodes.
const CUSTOM: &str = "CUSTOM";

/// What is known of a node group.
pub struct Facts<'a> {
    /// Its AMI type in EKS.
    pub ami_type: Option<String>,
    /// Its version in EKS: used only where the nodes cannot be read.
    pub version: Option<String>,
    /// Its nodes in its cluster's API.
    pub nodes: &'a NodesObservation,
}

/// Nodes that run another version than desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionMismatch {
    /// The NodeGroup sets the version itself; otherwise it follows its cluster.
    pub own: bool,
    /// What differs, and what to do.
    pub message: String,
}

/// Which nodes run another version. `follows`: their desired version where the spec sets none.
pub fn version_mismatch(spec: &NodeGroupSpec, follows: Option<&str>, there: &Facts<'_>) -> Option<VersionMismatch> {
    if there.ami_type.as_deref() != Some(CUSTOM) {
        return None;
    }
    let own = spec.version().ok().flatten();
    let wanted: KubernetesVersion = own.or_else(|| follows?.parse().ok())?;
    let runs = match &there.nodes.count {
        Some(count) if count.total > 0 => others(count, wanted)?,
        _ => there.version.clone().filter(|version| *version != wanted.to_string())?,
    };
    let difference = match own {
        Some(_) => format!("version is {wanted}, and nodes run {runs}"),
        None => format!("nodes should follow their cluster to {wanted}, and run {runs}"),
    };
    let message = match &spec.node {
        Some(_) => format!(
            "{difference}. Their AMI is yours, so EKS cannot change the version: set node.imageId to an AMI of Kubernetes {wanted}"
        ),
        None => format!(
            "{difference}. Their AMI comes from the launch template, so EKS cannot change the version: put an AMI of \
             Kubernetes {wanted} into a new version of the launch template, and set launchTemplate.version to it"
        ),
    };
    Some(VersionMismatch { own: own.is_some(), message })
}

/// The kubelets of another minor version, such as `v1.33.7-eks-ecaa3a6`.
fn others(count: &Count, wanted: KubernetesVersion) -> Option<String> {
    let prefix = format!("v{wanted}.");
    let others: Vec<_> = count.kubelets.keys().filter(|kubelet| !kubelet.starts_with(&prefix)).cloned().collect();
    (!others.is_empty()).then(|| others.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::nodes::Kubelets;

    fn nodes(kubelets: &[&str]) -> NodesObservation {
        let of = |kubelet: &&str| ((*kubelet).to_owned(), Kubelets { nodes: 1, example: "a".into() });
        let total = i32::try_from(kubelets.len()).unwrap();
        let count = Count { total, ready: total, cordoned: 0, kubelets: kubelets.iter().map(of).collect() };
        NodesObservation { count: Some(count), guarded: Vec::new() }
    }

    #[test]
    fn kubelet_versions_count_and_eks_only_without_them() {
        let table = [
            // AMI type, version in EKS, kubelets, own version, followed version, what differs
            ("AL2023_x86_64_STANDARD", "1.33", None, Some("1.34"), None, None),
            ("CUSTOM", "1.33", None, Some("1.34"), None, Some("version is 1.34, and nodes run 1.33.")),
            ("CUSTOM", "1.34", None, Some("1.34"), None, None),
            ("CUSTOM", "1.34", Some(vec!["v1.33.7-eks-1"]), Some("1.34"), None, Some("nodes run v1.33.7-eks-1.")),
            ("CUSTOM", "1.33", Some(vec!["v1.34.4-eks-1"]), Some("1.34"), None, None),
            ("CUSTOM", "1.35", Some(vec!["v1.34.4-eks-1"]), Some("1.34"), None, None),
            ("CUSTOM", "1.33", Some(vec![]), Some("1.34"), None, Some("nodes run 1.33.")),
            ("CUSTOM", "1.34", Some(vec!["v1.34.4", "v1.33.7"]), Some("1.34"), None, Some("nodes run v1.33.7.")),
            ("CUSTOM", "1.33", None, None, Some("1.34"), Some("follow their cluster to 1.34, and run 1.33.")),
            ("CUSTOM", "1.33", None, None, None, None),
        ];
        for (ami_type, version, kubelets, own, follows, expected) in table {
            let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
            if let Some(own) = own {
                spec["version"] = own.into();
            }
            let spec = serde_json::from_value(spec).unwrap();
            let nodes = kubelets.as_deref().map(nodes).unwrap_or_default();
            let facts = Facts { ami_type: Some(ami_type.into()), version: Some(version.into()), nodes: &nodes };
            let found = version_mismatch(&spec, follows, &facts);
            let what = format!("{ami_type} {version} {kubelets:?} {own:?} {follows:?}: {found:?}");
            match expected {
                None => assert_eq!(found, None, "{what}"),
                Some(expected) => {
                    let found = found.expect(&what);
                    assert!(found.message.contains(expected) && found.own == own.is_some(), "{what}");
                }
            }
        }
    }
}
