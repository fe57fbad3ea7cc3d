//! The names of the node groups of a NodeGroup, and what they were created with. Pure.

use crate::api::NodeGroupSpec;
use crate::api::node_group::{CapacityType, LaunchTemplate, NodeSubnets, SubnetTier};
use crate::api::status_cluster::NodeGroupStatus;
use crate::engine::execution_policy::digest;

/// Longest name of a node group in EKS.
const MAX_NAME: usize = 63;
/// Bytes of a digest; names end with it, as hexadecimal digits.
const DIGEST_BYTES: usize = 5;

/// The digest of a node group that exists and that no record describes. It equals none of a spec.
pub const UNKNOWN: &str = "unknown";

/// A node group of the NodeGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name in EKS.
    pub name: String,
    /// What it was created with, or is to be: [`immutable_digest`].
    pub digest: String,
}

/// The node groups of the NodeGroup: the one in use and, during a replacement, another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub in_use: Group,
    pub other: Option<Group>,
}

impl Pair {
    /// Those on record. `first`: the name of the first node group; `desired`: the digest of the spec. Without a record of what the
    /// node group in use was created with, it is what the spec says: no edit was allowed since.
    pub fn recorded(status: &NodeGroupStatus, first: &str, desired: &str) -> Self {
        let name = status.node_group_name.clone().unwrap_or_else(|| first.to_owned());
        let digest = status.immutable_digest.clone().unwrap_or_else(|| desired.to_owned());
        let other = status.replacement.as_ref();
        let other = other.map(|one| Group { name: one.node_group_name.clone(), digest: one.digest.clone() });
        Self { in_use: Group { name, digest }, other }
    }
}

/// Digest of the fields that EKS cannot change in a node group that exists. It is stored in status and in names: another digest of
/// the same fields would replace node groups without an edit, so it must never change.
pub fn immutable_digest(spec: &NodeGroupSpec) -> String {
    let NodeSubnets { tier, zones, ids, cidrs } = &spec.subnets;
    let sorted = |list: &Option<Vec<String>>| {
        let mut list = list.clone().unwrap_or_default();
        list.sort();
        list.join(",")
    };
    let is_listed = ids.is_some() || cidrs.is_some();
    let tier = match tier {
        _ if is_listed => "",
        Some(SubnetTier::Public) => "Public",
        Some(SubnetTier::Private) | None => "Private",
    };
    let capacity = match spec.capacity_type {
        CapacityType::OnDemand => "OnDemand",
        CapacityType::Spot => "Spot",
        CapacityType::CapacityBlock => "CapacityBlock",
    };
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let template = spec
        .launch_template
        .as_ref()
        .map(|LaunchTemplate { id, name, version: _ }| format!("{}/{}", text(id.as_ref()), text(name.as_ref())));
    let mut all = vec![
        spec.instance_types.join(","),
        text(spec.ami_type.as_ref()),
        capacity.to_owned(),
        spec.disk_size_gib.map(|size| size.to_string()).unwrap_or_default(),
        text(spec.role_arn.as_ref()),
        tier.to_owned(),
        sorted(zones),
        sorted(ids),
        text(template.as_ref()),
    ];
    // Only with the field: the digest of a spec without it is that of earlier versions.
    all.extend(cidrs.is_some().then(|| sorted(cidrs)));
    digest(&all.join("\0"), DIGEST_BYTES)
}

/// The name of a node group that replaces the first one, or one that replaced it.
pub fn successor_name(first: &str, digest: &str) -> String {
    let length = MAX_NAME - DIGEST_BYTES * 2 - 1;
    let kept: String = first.chars().take(length).collect();
    format!("{kept}-{digest}")
}

/// The digest in a name of that form.
pub fn digest_in_name<'n>(first: &str, name: &'n str) -> Option<&'n str> {
    let (_, digest) = name.rsplit_once('-')?;
    let is_digest = digest.len() == DIGEST_BYTES * 2 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && successor_name(first, digest) == name).then_some(digest)
}

/// Whether a NodeGroup gives that name: its first node group has it, or one that a replacement made.
pub fn is_name_of(first: &str, name: &str) -> bool {
    name == first || digest_in_name(first, name).is_some()
}

/// Whether a node group may be of the NodeGroup whose first one is `first`; also if there is neither.
pub fn may_be_same(first: Option<&str>, name: Option<&str>) -> bool {
    match (first, name) {
        (Some(first), Some(name)) => is_name_of(first, name),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(more: Value) -> NodeGroupSpec {
        let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn digest_covers_what_eks_cannot_change_and_nothing_else() {
        let digest = |more: Value| immutable_digest(&spec(more));
        let plain = digest(json!({}));
        for same in [
            json!({"scaling": {"min": 0, "max": 5}, "labels": {"a": "b"}, "version": "1.34", "releaseVersion": "Pinned"}),
            json!({"subnets": {}}),
            json!({"subnets": {"tier": "Private"}, "update": {"maxUnavailable": 2}, "tags": {"a": "b"}}),
            json!({"replacementPolicy": "MakeBeforeBreak"}),
        ] {
            assert_eq!(digest(same.clone()), plain, "{same}");
        }
        let others = [
            json!({"instanceTypes": ["m7i.xlarge"]}),
            json!({"amiType": "BOTTLEROCKET_x86_64"}),
            json!({"capacityType": "Spot"}),
            json!({"diskSizeGiB": 50}),
            json!({"roleArn": "arn:aws:iam::111122223333:role/nodes"}),
            json!({"subnets": {"tier": "Public"}}),
            json!({"subnets": {"zones": ["eu-west-1a"]}}),
            json!({"subnets": {"ids": ["subnet-1"]}}),
            json!({"subnets": {"cidrs": ["10.0.0.0/24"]}}),
            json!({"subnets": {"ids": ["subnet-1"], "cidrs": ["10.0.0.0/24"]}}),
            json!({"launchTemplate": {"id": "lt-1"}}),
            json!({"launchTemplate": {"name": "lt-1"}}),
        ];
        let all: std::collections::BTreeSet<_> = others.iter().map(|more| digest(more.clone())).collect();
        assert_eq!(all.len(), others.len());
        assert!(!all.contains(&plain));
        let version = |version: &str| digest(json!({"launchTemplate": {"id": "lt-1", "version": version}}));
        assert_eq!(version("1"), version("2"));
        let zones = |zones: [&str; 2]| digest(json!({"subnets": {"zones": zones}}));
        assert_eq!(zones(["a", "b"]), zones(["b", "a"]), "a set has no order");
    }

    /// A new digest of an old spec would replace node groups at the upgrade of Keelson.
    #[test]
    fn digest_of_a_spec_never_changes() {
        assert_eq!(immutable_digest(&spec(json!({}))), "02c3a590b2");
    }

    #[test]
    fn names_fit_eks_and_lead_back_to_the_digest() {
        let long = "a".repeat(63);
        for first in ["web", "web-1", &long] {
            let name = successor_name(first, "0123456789");
            assert!(name.len() <= 63 && name.ends_with("-0123456789"), "{name}");
            assert_eq!(digest_in_name(first, &name), Some("0123456789"));
        }
        assert_eq!(successor_name("web", "0123456789"), "web-0123456789");
        for other in ["web", "web-1", "web-0123456789a", "web-012345678g", "api-0123456789", "web2-0123456789"] {
            assert_eq!(digest_in_name("web", other), None, "{other}");
        }
    }
}
