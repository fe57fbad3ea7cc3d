//! AMI releases of node groups: their order and their Kubernetes version. Pure.
//!
//! `1.34.4-20261106` (Amazon Linux), `1.34-2026.11.12` (Windows), `1.51.0-47438798` (Bottlerocket: its own version and
//! a commit).

use std::cmp::Ordering;

use super::observed_node_group::Detail;
use crate::api::{KubernetesVersion, NodeGroupSpec};
use crate::aws::AwsError;
use crate::engine::Class;

/// The AMI type of a custom AMI from the launch template: it has no releases.
pub const CUSTOM: &str = "CUSTOM";

/// Why nodes with a custom AMI cannot be updated to `wanted`: only their owner can change the AMI.
pub fn own_ami_is_behind(spec: &NodeGroupSpec, current: &Detail) -> Option<String> {
    let wanted: KubernetesVersion = spec.version.as_deref()?.parse().ok()?;
    let behind = current.ami_type == CUSTOM && current.version.parse().is_ok_and(|at: KubernetesVersion| at < wanted);
    behind.then(|| match &spec.node {
        Some(_) => format!("its AMI is yours: set node.imageId to an AMI for {wanted}"),
        None => format!(
            "its AMI comes from the launch template: create a template version with an AMI for {wanted}, and set \
             launchTemplate.version to it"
        ),
    })
}

/// Whether `release` is newer than `than`.
pub fn is_newer(release: &str, than: &str) -> bool {
    compare(release, than) == Ordering::Greater
}

/// Whether EKS rejects the release as a parameter: SSM publishes new releases some time before EKS accepts them. EKS has
/// no code of its own for that, so its message decides which parameter it means.
pub fn is_release_rejected(error: &AwsError, release: &str) -> bool {
    let answer = &error.message;
    let is_about_release = answer.contains("release version") && answer.contains(release);
    error.class() == Class::Invalid && is_about_release && !answer.contains("lowered")
}

fn compare(left: &str, right: &str) -> Ordering {
    let parts = |release: &str| {
        let (head, tail) = release.split_once('-').unwrap_or((release, ""));
        // A date is comparable, a commit is not.
        let date = tail.split(['.', '-']).map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
        (numbers(head), date.unwrap_or_default())
    };
    parts(left).cmp(&parts(right))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// The Kubernetes version of a release, if its name contains it. Bottlerocket has its own versions.
pub fn kubernetes_version<'r>(release: &'r str, ami_type: &str) -> Option<&'r str> {
    if ami_type.starts_with("BOTTLEROCKET") || ami_type == CUSTOM {
        return None;
    }
    let head = release.split_once('-')?.0;
    let minor_ends = head.match_indices('.').nth(1).map_or(head.len(), |(at, _)| at);
    Some(&head[..minor_ends]).filter(|minor| numbers(minor).len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Service;
    use crate::aws::errors::Call;

    fn answered(class: Class, resource: &str, message: &str) -> AwsError {
        let (account, region) = ("111122223333", "eu-west-1");
        let call = Call { service: Service::Eks, action: "UpdateNodegroupVersion", resource, account, region };
        call.failed(class, message).into()
    }

    #[test]
    fn releases_compare_by_number_then_date() {
        for (newer, older) in [
            ("1.34.4-20261106", "1.34.4-20260923"),
            ("1.34.10-20261106", "1.34.9-20261106"),
            ("1.34-2026.11.12", "1.34-2026.9.30"),
            ("1.51.0-47438798", "1.50.0-cacc4ce9"),
        ] {
            assert!(is_newer(newer, older) && !is_newer(older, newer), "{newer} {older}");
        }
        // Another build of the same version: commits have no order.
        assert!(!is_newer("1.51.0-cacc4ce9", "1.51.0-fa12bc34") && !is_newer("1.51.0-fa12bc34", "1.51.0-cacc4ce9"));
        assert!(!is_newer("1.34.4-20261106", "1.34.4-20261106"));
    }

    #[test]
    fn rejected_release_is_distinguished_from_other_errors() {
        let newest = "1.34.5-20261201";
        for (answer, refusal) in [
            ("Requested release version 1.34.5-20261201 is not valid for kubernetes version 1.34.", true),
            (
                "Requested Nodegroup release version 1.34.5-20261201 is invalid. Allowed release version is \
                 1.34.4-20261106",
                true,
            ),
            ("Requested release version 1.34.6-20261215 is not valid for kubernetes version 1.34.", false),
            ("Nodegroup release version cannot be lowered from 1.34.6-20261215 to 1.34.5-20261201", false),
            ("Launch template version 7 does not exist in lt-1", false),
        ] {
            assert_eq!(is_release_rejected(&answered(Class::Invalid, "workers", answer), newest), refusal, "{answer}");
        }
        let rejection = "Requested release version 1.34.5-20261201 is not valid for kubernetes version 1.34.";
        assert!(!is_release_rejected(&answered(Class::Unavailable, "workers", rejection), newest));
        let named = "release version of 1.34.5-20261201";
        let other = answered(Class::Invalid, named, "Launch template version 7 does not exist in lt-1");
        assert!(other.to_string().contains(named) && !is_release_rejected(&other, newest), "a name is no answer");
    }

    #[test]
    fn custom_ami_is_updated_only_through_its_launch_template() {
        let current = Detail { ami_type: CUSTOM.into(), version: "1.33".into(), ..Detail::default() };
        let spec = |version: Option<&str>, node: serde_json::Value| -> NodeGroupSpec {
            let spec = serde_json::json!({
                "clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "version": version, "node": node,
            });
            serde_json::from_value(spec).unwrap()
        };
        let none = serde_json::Value::Null;
        let theirs = spec(Some("1.34"), none.clone());
        assert!(own_ami_is_behind(&theirs, &current).unwrap().contains("launchTemplate.version"));
        let own = spec(Some("1.34"), serde_json::json!({"imageId": "ami-1", "userData": "x"}));
        assert_eq!(own_ami_is_behind(&own, &current).unwrap(), "its AMI is yours: set node.imageId to an AMI for 1.34");
        for (wanted, ami_type) in [(Some("1.33"), CUSTOM), (None, CUSTOM), (Some("1.34"), "AL2023_x86_64_STANDARD")] {
            let spec = spec(wanted, none.clone());
            assert_eq!(own_ami_is_behind(&spec, &Detail { ami_type: ami_type.into(), ..current.clone() }), None);
        }
    }

    #[test]
    fn release_name_contains_the_kubernetes_version_except_for_bottlerocket() {
        let linux = "AL2023_x86_64_STANDARD";
        assert_eq!(kubernetes_version("1.34.4-20261106", linux), Some("1.34"));
        assert_eq!(kubernetes_version("1.34-2026.11.12", "WINDOWS_CORE_2022_x86_64"), Some("1.34"));
        assert_eq!(kubernetes_version("1.51.0-47438798", "BOTTLEROCKET_x86_64"), None);
        assert_eq!(kubernetes_version("ami-0123", linux), None);
        assert_eq!(kubernetes_version("nonsense", linux), None);
    }
}
