//! Fields of eksctl that have no place in Keelson wherever they stand, and why: they are not misspelt. Pure.

use crate::cli::import::section::Origin;

/// The remark about a field that is none of eksctl's.
pub const UNKNOWN: &str = "unknown to Keelson: a field of another version of eksctl, or misspelt";

/// The file is eksctl's.
pub static EKSCTL: Origin = Origin { unknown: UNKNOWN, reason };

const AUTO_SCALING_GROUP: &str = "EKS owns the Auto Scaling group of a managed node group: Keelson does not change it";
const ZONES: &str = "Keelson creates subnets in availability zones only";
const KUBELET: &str =
    "EKS configures the kubelet: for a new node group with Amazon Linux 2023, write it in node.nodeConfig";

const OCEAN: &str = "Spot Ocean launches nodes by its own service: set capacityType: Spot on a node group, or run Karpenter (spec.karpenter)";

/// Fields of node groups; `eksctl` knows most of them for self-managed nodes only.
const OF_GROUPS: [(&str, &str); 13] = [
    (
        "asgMetricsCollection",
        "EKS owns the Auto Scaling group of a managed node group: `aws autoscaling enable-metrics-collection` collects its metrics",
    ),
    (
        "classicLoadBalancerNames",
        "EKS owns the Auto Scaling group, so that nodes are not registered at load balancers: use a Service in Kubernetes",
    ),
    (
        "targetGroupARNs",
        "EKS owns the Auto Scaling group, so that nodes are not registered at target groups: use a TargetGroupBinding of the AWS \
         Load Balancer Controller in Kubernetes",
    ),
    ("clusterDNS", KUBELET),
    (
        "connectionTracking",
        "EC2's timeouts of idle connections apply: your own launch template (launchTemplate.id) may set others",
    ),
    ("containerRuntime", "EKS's images have containerd, and no other runtime"),
    (
        "cpuCredits",
        "EC2's default for the instance type applies: your own launch template (launchTemplate.id) may set another",
    ),
    ("disableASGTagPropagation", AUTO_SCALING_GROUP),
    (
        "instancesDistribution",
        "a managed node group has either Spot or on-demand instances: set instanceTypes, and spot for one of two groups",
    ),
    ("kubeletExtraConfig", KUBELET),
    ("localZones", ZONES),
    ("maxInstanceLifetime", "EKS replaces nodes when their version or AMI release changes, and not by age"),
    ("spotOcean", OCEAN),
];

/// Paths without the indexes of lists.
const ELSEWHERE: [(&str, &str); 3] = [
    ("spotOcean", OCEAN),
    ("vpc.localZoneSubnets", ZONES),
    ("status", "is a state that eksctl reports, not a setting"),
];

/// Why the field at `path` has no place; `None`: it is not one of eksctl's.
fn reason(path: &str) -> Option<&'static str> {
    let of_group = path.strip_prefix("managedNodeGroups[").or_else(|| path.strip_prefix("nodeGroups["));
    let (name, table): (&str, &[(&str, &str)]) = match of_group.and_then(|rest| rest.split_once("].")) {
        Some((_, name)) => (name, &OF_GROUPS),
        None => (path, &ELSEWHERE),
    };
    table.iter().find(|(field, _)| *field == name).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_eksctl_are_known_where_eksctl_has_them_only() {
        for (path, known) in [
            ("nodeGroups[0].targetGroupARNs", true),
            ("managedNodeGroups[12].clusterDNS", true),
            ("nodeGroups[0].connectionTracking", true),
            ("managedNodeGroups[0].connectionTracking", true),
            ("connectionTracking", false),
            ("spotOcean", true),
            ("nodeGroups[0].spotOcean", true),
            ("vpc.localZoneSubnets", true),
            ("status", true),
            ("nodeGroups[0].status", false),
            ("nodeGroups[0].iam.clusterDNS", false),
            ("targetGroupARNs", false),
            ("vpc.status", false),
        ] {
            assert_eq!(reason(path).is_some(), known, "{path}");
        }
    }
}
